//! Losses with their settings: known answers, gradients, and the targets that they take.

use fedra_data::{Dataset, DatasetError, Targets};
use fedra_protocol::layers::{Embedding, Linear, Tanh};
use fedra_protocol::{Layer, Loss, ModelSpec, Objective, Shape, UpdateRange};

use super::predict::outputs;
use super::{changed, check_gradient, close, plan, some_data, train, values};
use crate::{LearningError, evaluate, gradient, init_parameters};

fn linear(outputs: u32) -> Layer {
    Linear { outputs }.into()
}

/// Two features to `outputs`.
fn spec(outputs: u32, objective: impl Into<Objective>) -> ModelSpec {
    ModelSpec::new(&[2], vec![linear(outputs)], objective).unwrap()
}

fn cross_entropy(class_weights: &[f32], label_smoothing: f32) -> Objective {
    Objective::SoftmaxCrossEntropy { class_weights: class_weights.to_vec(), label_smoothing }
}

fn of_values(width: usize, features: &[f32], targets: &[f32]) -> Dataset {
    let targets = Targets::Values { values: targets.to_vec(), width };
    Dataset::new(features.to_vec(), Shape::Features(2), targets).unwrap()
}

/// Weights that pass the two features on to `n` outputs, the others zero.
fn identity(n: usize) -> Vec<f32> {
    let mut parameters = vec![0.0; 2 * n + n];
    (parameters[0], parameters[n + 1]) = (1.0, 1.0);
    parameters
}

#[test]
fn gradients_match_finite_differences() {
    let losses = [
        Loss::BinaryCrossEntropy.into(),
        Objective::BinaryCrossEntropy { positive_weights: vec![0.5, 2.0, 1.0, 4.0] },
        Objective::Huber { delta: 0.7 },
        cross_entropy(&[0.5, 2.0, 1.0, 0.25], 0.0),
        cross_entropy(&[], 0.2),
        cross_entropy(&[0.5, 2.0, 1.0, 0.25], 0.1),
    ];
    for loss in losses {
        let layers = vec![linear(5), Tanh.into(), linear(4)];
        check_gradient(&ModelSpec::new(&[3], layers, loss.clone()).unwrap());
        let layers = vec![Embedding { width: 3 }.into(), linear(4)];
        check_gradient(&ModelSpec::of_tokens(3, 5, layers, loss).unwrap());
    }
}

#[test]
fn binary_cross_entropy_of_two_questions_by_hand() {
    let spec = spec(2, Loss::BinaryCrossEntropy);
    // The outputs are the features: ln 3 is yes with probability 3/4, 0 with 1/2.
    let features = [3f32.ln(), 0.0, -3f32.ln(), 200.0];
    let data = of_values(2, &features, &[1.0, 0.0, 0.0, 1.0]);
    close(&outputs(&spec, &identity(2), features.to_vec()), &[0.75, 0.5, 0.25, 1.0]);
    let result = evaluate(&spec, &identity(2), &data, 1).unwrap();
    let expected = (-(0.75f64.ln()) - 0.5f64.ln() - 0.75f64.ln() - 0.0) / 4.0;
    assert!((result.quality.loss - expected).abs() < 1e-6, "{result:?} {expected}");
    // One half is not yes, so all four are right.
    assert_eq!((result.quality.accuracy, result.examples), (Some(1.0), 2));
    let wrong = of_values(2, &features, &[1.0, 1.0, 0.0, 1.0]);
    assert_eq!(evaluate(&spec, &identity(2), &wrong, 1).unwrap().quality.accuracy, Some(0.75));
    // (p - t) / 2 for each output of the first example, times (x, 1).
    let flat = gradient(&spec, &identity(2), &data, &[0]).unwrap();
    let x = 3f32.ln();
    close(&flat, &[-0.125 * x, 0.25 * x, 0.0, 0.0, -0.125, 0.25]);
    // The surest mistake costs as much as its output, with a gradient of one half.
    let mistake = of_values(2, &[0.0, 200.0], &[0.0, 0.0]);
    let result = evaluate(&spec, &identity(2), &mistake, 1).unwrap();
    assert!((result.quality.loss - (200.0 + 2f64.ln()) / 2.0).abs() < 1e-5, "{result:?}");
    let flat = gradient(&spec, &identity(2), &mistake, &[0]).unwrap();
    close(&flat[4..], &[0.25, 0.5]);
}

#[test]
fn a_yes_counts_as_much_as_the_weight_of_its_output() {
    let weighted = Objective::BinaryCrossEntropy { positive_weights: vec![3.0, 0.5] };
    let (spec, x) = (spec(2, weighted), 3f32.ln());
    // Probabilities 3/4 and 1/4.
    let loss = |targets: [f32; 2]| {
        let data = of_values(2, &[x, -x], &targets);
        evaluate(&spec, &identity(2), &data, 1).unwrap().quality.loss
    };
    let (likely, unlikely) = (-(0.75f64.ln()), -(0.25f64.ln()));
    for (targets, expected) in [
        ([1.0, 1.0], (3.0 * likely + 0.5 * unlikely) / 2.0),
        ([0.0, 0.0], (unlikely + likely) / 2.0),
        ([1.0, 0.0], (3.0 * likely + likely) / 2.0),
    ] {
        assert!((loss(targets) - expected).abs() < 1e-6, "{targets:?}");
    }
    // w (p - 1) / 2 of a yes, and p / 2 of a no.
    let data = of_values(2, &[x, -x], &[1.0, 0.0]);
    let flat = gradient(&spec, &identity(2), &data, &[0]).unwrap();
    close(&flat[4..], &[-0.375, 0.125]);
}

#[test]
fn one_question_takes_classes_or_values_of_0_and_1() {
    let spec = spec(1, Loss::BinaryCrossEntropy);
    let features = vec![2.0, 3.0, 1.0, 0.0];
    let classes = Targets::from_labels(vec![1.0, 0.0], 2).unwrap();
    assert_eq!(classes, Targets::Classes(vec![1, 0]));
    let classes = Dataset::new(features.clone(), Shape::Features(2), classes).unwrap();
    let same = values(&features, 2, &[1.0, 0.0]);
    let (start, plan) = ([0.5, -0.5, 0.0], plan(3, 1, 0.5));
    assert_eq!(train(&spec, &start, &classes, &plan), train(&spec, &start, &same, &plan));
    let learned = train(&spec, &start, &classes, &changed(200, 2, 0.5, |_| {}));
    let answers = outputs(&spec, &learned, features);
    assert!(answers[0] > 0.9 && answers[1] < 0.1, "{answers:?}");
}

#[test]
fn a_target_that_is_no_answer_is_named() {
    let error = |spec: &ModelSpec, data: &Dataset| data.check_for(spec).unwrap_err();
    let two = spec(2, Loss::BinaryCrossEntropy);
    let refused = error(&two, &of_values(2, &[0.0; 4], &[0.0, 1.0, 1.0, 0.5]));
    assert_eq!(refused, DatasetError::Answer { index: 1, output: 1, target: 0.5 });
    for words in ["targets of 0 and 1", "example 1 has 0.5 for output 1", "1 for yes"] {
        assert!(refused.to_string().contains(words), "{refused}");
    }
    let one = spec(1, Loss::BinaryCrossEntropy);
    let class =
        |class| Dataset::new(vec![0.0; 2], Shape::Features(2), Targets::Classes(vec![class]));
    assert_eq!(
        error(&one, &class(2).unwrap()),
        DatasetError::Answer { index: 0, output: 0, target: 2.0 }
    );
    assert_eq!(class(1).unwrap().check_for(&one), Ok(()));
    let refused = error(&two, &class(1).unwrap()).to_string();
    assert!(refused.contains("2 values of 0 or 1 an example"), "{refused}");
    assert!(error(&two, &of_values(1, &[0.0; 2], &[1.0])).to_string().contains("2 values of 0"));
    // A question at each position.
    let layers = vec![Embedding { width: 2 }.into(), linear(1)];
    let positions = ModelSpec::of_tokens(3, 4, layers, Loss::BinaryCrossEntropy).unwrap();
    let data = |classes: [u32; 3]| {
        let targets = Targets::PositionClasses { classes: classes.to_vec(), positions: 3 };
        Dataset::new(vec![0u32, 1, 2], positions.input(), targets).unwrap()
    };
    let refused = error(&positions, &data([0, 1, 7]));
    assert_eq!(refused, DatasetError::Answer { index: 0, output: 2, target: 7.0 });
    let (good, start) = (data([0, 1, 1]), init_parameters(&positions, 1));
    let trained = train(&positions, &start, &good, &plan(100, 1, 1.0));
    assert_eq!(evaluate(&positions, &trained, &good, 1).unwrap().quality.accuracy, Some(1.0));
}

#[test]
fn huber_is_a_square_near_the_target_and_a_line_beyond() {
    let spec = spec(2, Objective::Huber { delta: 2.0 });
    let data = of_values(2, &[1.0, -10.0], &[0.0, 0.0]);
    let result = evaluate(&spec, &identity(2), &data, 1).unwrap();
    // 1^2 / 2 and 2 (10 - 1), over two outputs.
    assert_eq!((result.quality.loss, result.quality.accuracy), (9.25, None));
    let flat = gradient(&spec, &identity(2), &data, &[0]).unwrap();
    // The slopes 1 and -2, over two outputs, times (x, 1).
    close(&flat, &[0.5, -1.0, -5.0, 10.0, 0.5, -1.0]);
    assert_eq!(outputs(&spec, &identity(2), vec![1.0, -10.0]), [1.0, -10.0]);
    assert_eq!(
        UpdateRange::default_for(Loss::Huber),
        UpdateRange::default_for(Loss::MeanSquaredError)
    );
}

#[test]
fn class_weights_and_smoothing_by_hand() {
    // Outputs (ln 3, 0): the probabilities are 3/4 and 1/4.
    let features = [3f32.ln(), 0.0];
    let data = |class| {
        Dataset::new(features.to_vec(), Shape::Features(2), Targets::Classes(vec![class])).unwrap()
    };
    let (yes, no) = (-(0.75f64.ln()), -(0.25f64.ln()));
    for (objective, first, second) in [
        (cross_entropy(&[], 0.0), yes, no),
        (cross_entropy(&[0.5, 4.0], 0.0), 0.5 * yes, 4.0 * no),
        (cross_entropy(&[], 0.2), 0.9 * yes + 0.1 * no, 0.1 * yes + 0.9 * no),
        (
            cross_entropy(&[0.5, 4.0], 0.2),
            0.9 * 0.5 * yes + 0.1 * 4.0 * no,
            0.1 * 0.5 * yes + 0.9 * 4.0 * no,
        ),
    ] {
        let spec = spec(2, objective);
        for (class, expected) in [(0, first), (1, second)] {
            let loss = evaluate(&spec, &identity(2), &data(class), 1).unwrap().quality.loss;
            assert!((loss - expected).abs() < 1e-6, "{spec:?} {class}: {loss} {expected}");
        }
    }
    // A weight scales an example's gradient, whatever else is in the batch.
    let both = Dataset::new(
        [features, features].concat(),
        Shape::Features(2),
        Targets::Classes(vec![0, 1]),
    )
    .unwrap();
    let flat = |objective, index: &[u32]| {
        gradient(&spec(2, objective), &identity(2), &both, index).unwrap()
    };
    let (plain, weighted) = (cross_entropy(&[], 0.0), cross_entropy(&[0.5, 4.0], 0.0));
    let scaled = |index, factor: f32| -> Vec<f32> {
        flat(plain.clone(), &[index]).iter().map(|value| factor * value).collect()
    };
    close(&flat(weighted.clone(), &[0]), &scaled(0, 0.5));
    let mean: Vec<f32> =
        scaled(0, 0.5).iter().zip(scaled(1, 4.0)).map(|(a, b)| (a + b) / 2.0).collect();
    close(&flat(weighted, &[0, 1]), &mean);
}

#[test]
fn a_rare_class_with_a_weight_is_not_overlooked() {
    // The same features with two classes, 9 to 1: without weights the frequent one wins.
    let classes = (0..10).map(|i| u32::from(i == 9)).collect();
    let data = Dataset::new(vec![1.0; 20], Shape::Features(2), Targets::Classes(classes)).unwrap();
    let learned = |objective| {
        let spec = spec(2, objective);
        let trained = train(&spec, &[0.0; 6], &data, &plan(400, 10, 0.1));
        outputs(&spec, &trained, vec![1.0, 1.0])
    };
    let close = |actual: f32, expected: f32| assert!((actual - expected).abs() < 0.01, "{actual}");
    close(learned(cross_entropy(&[], 0.0))[1], 0.1);
    close(learned(cross_entropy(&[1.0, 9.0], 0.0))[1], 0.5);
    // Smoothing moves the optimum to (1 - s) share + s / 2.
    close(learned(cross_entropy(&[], 0.4))[1], 0.6 * 0.1 + 0.2);
}

#[test]
fn a_loss_beyond_all_numbers_is_an_error() {
    let spec = spec(2, Loss::BinaryCrossEntropy);
    let data = some_data(&spec, 2);
    let result = evaluate(&spec, &[f32::NAN; 6], &data, 1);
    assert_eq!(result, Err(LearningError::Diverged));
}
