//! Known answers, worked out by hand, and properties of the metrics.

use fedra_data::{Dataset, Targets};
use fedra_protocol::layers::{Embedding, Linear};
use fedra_protocol::{Layer, Loss, ModelSpec, Quality};
use proptest::prelude::*;

use super::*;
use crate::{EvaluationResult, evaluate, init_parameters};

fn close(value: f64, expected: f64) {
    assert!((value - expected).abs() < 1e-12, "{value} is not {expected}");
}

/// Scores that make `class` the prediction.
fn for_class(class: usize, classes: usize) -> Vec<f32> {
    (0..classes).map(|other| if other == class { 1.0 } else { 0.0 }).collect()
}

fn classified(classes: usize, pairs: &[(usize, usize)]) -> Classification {
    let mut metrics = Classification::new(classes, pairs.len());
    pairs.iter().for_each(|&(target, class)| metrics.add(&for_class(class, classes), target));
    metrics
}

const PAIRS: [(usize, usize); 5] = [(0, 0), (0, 1), (1, 1), (1, 1), (2, 0)];

#[test]
fn a_class_that_is_never_right_counts_zero_and_one_that_never_occurs_not_at_all() {
    // F1: class 0 has 2/4, class 1 has 4/5, class 2 has 0.
    for classes in [3, 4] {
        let metrics = classified(classes, &PAIRS);
        close(metrics.accuracy().unwrap(), 0.6);
        close(metrics.macro_f1().unwrap(), (0.5 + 0.8) / 3.0);
        assert_eq!(metrics.top_5_accuracy(), None);
    }
    // Predicted, and no example is of it: it counts 0.
    close(classified(4, &[(0, 0), (0, 3)]).macro_f1().unwrap(), (2.0 / 3.0) / 2.0);
    let none = Classification::new(3, 0);
    assert_eq!((none.accuracy(), none.macro_f1()), (None, None));
}

#[test]
fn a_matrix_has_a_row_for_each_class_of_examples() {
    let (matrix, auc) = classified(4, &PAIRS).into_parts();
    let matrix = matrix.unwrap();
    assert_eq!(auc, None, "there are more than two classes");
    let rows: Vec<_> = matrix.rows().collect();
    assert_eq!(rows, [[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]);
    let recalls: Vec<_> = (0..4).map(|class| matrix.recall(class)).collect();
    assert_eq!(recalls, [Some(0.5), Some(1.0), Some(0.0), None]);
    let precisions: Vec<_> = (0..4).map(|class| matrix.precision(class)).collect();
    assert_eq!(precisions, [Some(0.5), Some(2.0 / 3.0), None, None]);
    assert!(ConfusionMatrix::new(100).is_some());
    assert_eq!(ConfusionMatrix::new(101), None);
}

#[test]
fn the_five_greatest_scores_are_asked_with_more_than_ten_classes() {
    let falling: Vec<f32> = (0..11).map(|class| -(class as f32)).collect();
    let mut metrics = Classification::new(11, 3);
    [0, 4, 5].into_iter().for_each(|target| metrics.add(&falling, target));
    assert_eq!(metrics.top_5_accuracy(), Some(2.0 / 3.0));
    // Of equal scores the first classes come first, as in the prediction.
    let mut metrics = Classification::new(11, 2);
    [4, 5].into_iter().for_each(|target| metrics.add(&[0.0; 11], target));
    assert_eq!(metrics.top_5_accuracy(), Some(0.5));
    assert_eq!(classified(10, &[(0, 0)]).top_5_accuracy(), None);
}

fn auc(scores: &[(f32, bool)]) -> Option<f64> {
    let mut held = Scores::default();
    scores.iter().for_each(|&(score, is_positive)| held.add(score, is_positive));
    held.auc()
}

#[test]
fn ties_count_half_in_an_auc() {
    // Of four pairs three are in order, and one ties.
    assert_eq!(auc(&[(0.8, true), (0.4, true), (0.4, false), (0.1, false)]), Some(0.875));
    assert_eq!(auc(&[(1.0, true), (0.0, false)]), Some(1.0));
    assert_eq!(auc(&[(0.0, true), (1.0, false)]), Some(0.0));
    assert_eq!(auc(&[(-0.0, true), (0.0, false)]), Some(0.5));
    assert_eq!(auc(&[(1.0, true), (0.0, true)]), None);
    assert_eq!(Scores::for_at_most(MAX_SCORES + 1), None);
    // Two classes: the score is that of the second class over the first.
    let mut metrics = Classification::new(2, 3);
    metrics.add(&[5.0, 4.0], 0);
    metrics.add(&[1.0, 0.5], 1);
    metrics.add(&[-3.0, 3.0], 0);
    assert_eq!(metrics.into_parts().1, Some(0.5));
}

#[test]
fn values_have_errors_and_what_they_explain_of_the_targets() {
    // Errors 1, 0, -1 and 4. The first output explains 1 - 2/8, the second 1 - 16/0.5.
    let mut metrics = Regression::new(2);
    metrics.add(&[1.0, 2.0, 3.0, 5.0], &[0.0, 2.0, 4.0, 1.0]);
    let figures = metrics.figures().unwrap();
    close(figures.mae, 1.5);
    close(figures.rmse, 4.5_f64.sqrt());
    close(figures.r2.unwrap(), (0.75 - 31.0) / 2.0);
}

#[test]
fn targets_that_do_not_vary_have_no_r2() {
    let mut metrics = Regression::new(1);
    metrics.add(&[0.1, 0.2, 0.4], &[0.1, 0.1, 0.1]);
    metrics.add(&[0.1], &[0.1]);
    assert_eq!(metrics.figures().unwrap().r2, None);
    // A second output that does vary is alone in the mean.
    let mut metrics = Regression::new(2);
    metrics.add(&[0.0, 1.0, 0.0, 2.0], &[0.1, 1.0, 0.1, 2.0]);
    assert_eq!(metrics.figures().unwrap().r2, Some(1.0));
    assert_eq!(Regression::new(1).figures(), None);
}

#[test]
fn far_from_zero_the_spread_of_targets_is_as_exact() {
    let far = f32::powi(2.0, 20);
    let mut metrics = Regression::new(1);
    metrics.add(&[far, far], &[far, far + 1.0]);
    metrics.add(&[far + 2.0], &[far + 2.0]);
    // Squared errors: 1; spread: 2.
    assert_eq!(metrics.figures().unwrap().r2, Some(0.5));
}

#[test]
fn labels_have_figures_of_their_own_and_means() {
    // Label 0: one yes found, one missed, one no. Label 1: nothing is a yes. Label 2: only
    // found by mistake.
    let mut labels = Labels::new(3, 3);
    labels.add(&[1.0, -1.0, 2.0], &[1.0, 0.0, 0.0]);
    labels.add(&[-1.0, -1.0, -1.0], &[1.0, 0.0, 0.0]);
    labels.add(&[0.0, -1.0, -2.0], &[0.0, 0.0, 1.0]);
    let figures = labels.figures().unwrap();
    let of = |accuracy, f1, auc| LabelFigures { accuracy, f1, auc };
    let third = 1.0 / 3.0;
    let expected =
        [of(2.0 * third, 2.0 / 3.0, Some(0.5)), of(1.0, 0.0, None), of(third, 0.0, Some(0.0))];
    assert_eq!(figures, expected);
    let means = LabelMeans::of(&figures).unwrap();
    close(means.accuracy, 2.0 / 3.0);
    close(means.macro_f1, 2.0 / 9.0);
    close(means.auc.unwrap(), 0.25);
    assert_eq!(Labels::new(2, 0).figures(), None);
    assert_eq!(Labels::new(1, MAX_SCORES + 1).figures(), None);
}

fn scored() -> impl Strategy<Value = Vec<(f32, bool)>> {
    // Few different scores, so that there are ties.
    prop::collection::vec(((-8_i8..8).prop_map(|step| f32::from(step) / 4.0), any::<bool>()), 0..60)
}

proptest! {
    #[test]
    fn an_auc_is_the_share_of_pairs_in_order(scores in scored()) {
        let of = |wanted| scores.iter().filter(move |(_, is)| *is == wanted).map(|(score, _)| *score);
        let pairs: Vec<f64> = of(true)
            .flat_map(|yes| of(false).map(move |no| match yes.total_cmp(&(no + 0.0)) {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Less => 0.0,
            }))
            .collect();
        let expected = (!pairs.is_empty()).then(|| pairs.iter().sum::<f64>() / pairs.len() as f64);
        let own = auc(&scores);
        prop_assert_eq!(own.is_some(), expected.is_some());
        if let (Some(own), Some(expected)) = (own, expected) {
            prop_assert!((own - expected).abs() < 1e-12, "{} {}", own, expected);
        }
    }

    #[test]
    fn an_auc_asks_only_for_the_order_of_the_scores(scores in scored(), order in any::<u64>()) {
        let mapped: Vec<_> = scores.iter().map(|&(score, is)| (score.powi(3) + 5.0, is)).collect();
        prop_assert_eq!(auc(&mapped), auc(&scores));
        let turned: Vec<_> = scores.iter().map(|&(score, is)| (-score, is)).collect();
        prop_assert_eq!(auc(&turned).map(|auc| ((1.0 - auc) * 1e9).round()),
            auc(&scores).map(|auc| (auc * 1e9).round()));
        let mut shuffled = scores.clone();
        let at = if scores.is_empty() { 0 } else { order as usize % scores.len() };
        shuffled.rotate_left(at);
        prop_assert_eq!(auc(&shuffled), auc(&scores));
    }

    #[test]
    fn parts_of_a_data_set_are_measured_as_the_whole(
        pairs in prop::collection::vec((0_usize..12, 0_usize..12), 1..60), at in any::<usize>(),
    ) {
        let (first, second) = pairs.split_at(at % pairs.len());
        let mut merged = classified(12, first);
        merged.merge(classified(12, second));
        prop_assert_eq!(merged, classified(12, &pairs));
    }

    #[test]
    fn the_spread_over_batches_is_that_of_all_targets(
        targets in prop::collection::vec(-100.0_f32..100.0, 2..60), size in 1_usize..20,
    ) {
        let outputs = vec![0.5; targets.len()];
        let mut batches = Regression::new(1);
        outputs.chunks(size).zip(targets.chunks(size)).for_each(|(o, t)| batches.add(o, t));
        let mut whole = Regression::new(1);
        whole.add(&outputs, &targets);
        let (batches, whole) = (batches.figures().unwrap(), whole.figures().unwrap());
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * (1.0 + b.abs());
        prop_assert!(near(batches.mae, whole.mae) && near(batches.rmse, whole.rmse));
        prop_assert_eq!(batches.r2.is_some(), whole.r2.is_some());
        if let (Some(batches), Some(whole)) = (batches.r2, whole.r2) {
            prop_assert!(near(batches, whole), "{} {}", batches, whole);
        }
    }
}

fn linear(inputs: u32, outputs: u32, loss: Loss) -> ModelSpec {
    ModelSpec::new(&[inputs], vec![Layer::Linear(Linear { outputs })], loss).unwrap()
}

fn evaluated(spec: &ModelSpec, parameters: &[f32], data: &Dataset) -> EvaluationResult {
    let alone = evaluate(spec, parameters, data, 1).unwrap();
    for threads in [2, 3, 7] {
        assert_eq!(evaluate(spec, parameters, data, threads).unwrap(), alone, "{threads}");
    }
    alone
}

#[test]
fn two_classes_have_an_auc_over_several_batches() {
    // Scores 0 to 1699; the positives are the multiples of three.
    let spec = linear(1, 2, Loss::SoftmaxCrossEntropy);
    let features: Vec<f32> = (0..1_700).map(|i| i as f32 / 1_700.0).collect();
    let classes: Vec<u32> = (0..1_700).map(|i| u32::from(i % 3 == 0)).collect();
    let data = Dataset::new(features, spec.input(), Targets::Classes(classes)).unwrap();
    let result = evaluated(&spec, &[0.0, 1.0, 0.0, 0.0], &data);
    // 567 positives; the one at 3k is above 2k negatives, of 1133.
    let above: u64 = (0..567).map(|k| 2 * k).sum();
    assert_eq!(result.quality.auc, Some(above as f64 / (567.0 * 1_133.0)));
    let matrix = result.confusion.unwrap();
    assert_eq!((0..2).map(|class| matrix.examples(class)).collect::<Vec<_>>(), [1_133, 567]);
}

#[test]
fn each_kind_of_task_has_its_metrics_and_no_others() {
    let spec = linear(2, 120, Loss::SoftmaxCrossEntropy);
    let targets = Targets::Classes(vec![7, 119]);
    let data = Dataset::new(vec![0.5; 4], spec.input(), targets).unwrap();
    let result = evaluated(&spec, &init_parameters(&spec, 1), &data);
    assert!(result.quality.top_5_accuracy.is_some() && result.quality.macro_f1.is_some());
    assert_eq!((result.confusion, result.quality.auc), (None, None), "120 classes");
    assert!(!ConfusionMatrix::is_for(&spec));

    // Outputs 0 to targets 1, 2 and 6: errors 3 on average, squares 41/3, spread 14.
    let spec = linear(1, 1, Loss::MeanSquaredError);
    let targets = Targets::Values { values: vec![1.0, 2.0, 6.0], width: 1 };
    let data = Dataset::new(vec![0.5; 3], spec.input(), targets).unwrap();
    let Quality { loss, mae, rmse, r2, accuracy, .. } =
        evaluated(&spec, &[0.0, 0.0], &data).quality;
    close(loss, 41.0 / 3.0);
    assert_eq!((mae, rmse, accuracy), (Some(3.0), Some((41.0_f64 / 3.0).sqrt()), None));
    close(r2.unwrap(), 1.0 - 41.0 / 14.0);

    // Equal outputs: each of four tokens has 2 bits, whichever is right.
    let layers =
        vec![Layer::Embedding(Embedding { width: 1 }), Layer::Linear(Linear { outputs: 4 })];
    let spec = ModelSpec::of_tokens(2, 4, layers, Loss::SoftmaxCrossEntropy).unwrap();
    let targets = Targets::PositionClasses { classes: vec![0, 1, 2, 3], positions: 2 };
    let data = Dataset::new(vec![0_u32, 1, 2, 3], spec.input(), targets).unwrap();
    let quality = evaluated(&spec, &vec![0.0; spec.parameters()], &data).quality;
    close(quality.bits_per_token.unwrap(), 2.0);
    close(quality.perplexity.unwrap(), 4.0);
    assert_eq!((quality.accuracy, quality.macro_f1, quality.rmse), (Some(0.25), None, None));
}
