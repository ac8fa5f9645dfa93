//! Data sets that are accepted or refused, alone and for a model and a task.

use fedra_protocol::layers::{CategoryEmbedding, EmbeddedFeature, Embedding, Flatten, Linear};
use fedra_protocol::{
    Layer, Loss, ModelSpec, Shape, TaskDescription, TaskId, UpdateRange, limits::MAX_ACTIVATIONS,
};

use super::features::examples;
use super::{Dataset, DatasetError, Features, Layout, Targets};

fn classes(classes: &[u32]) -> Targets {
    Targets::Classes(classes.to_vec())
}

/// A model of `input` with one linear layer.
fn model(input: &[u32], outputs: u32, loss: Loss) -> ModelSpec {
    ModelSpec::new(input, vec![Layer::Flatten(Flatten), Layer::Linear(Linear { outputs })], loss)
        .unwrap()
}

fn classifier(input: &[u32]) -> ModelSpec {
    model(input, 3, Loss::SoftmaxCrossEntropy)
}

fn regression(outputs: u32, update_range: u32) -> TaskDescription {
    TaskDescription {
        id: TaskId::new("values").unwrap(),
        title: String::new(),
        model: model(&[2], outputs, Loss::MeanSquaredError),
        update_range: UpdateRange::new(update_range).unwrap(),
        data: None,
        client_evaluation: None,
        frozen: None,
        privacy: None,
    }
}

/// Two examples, counted up from 0.
fn arrays(example: &[u32], layout: Layout) -> Result<Dataset, DatasetError> {
    let shape = [&[2], example].concat();
    let values: u32 = shape.iter().product();
    let values: Vec<f32> = (0..values).map(|i| i as f32).collect();
    Dataset::from_arrays(values, vec![0.0, 2.0], &shape, layout)
}

/// Two examples of two zeros for a regression.
fn labelled(labels: &[f32]) -> Dataset {
    let labels = labels.to_vec();
    Dataset::from_arrays(vec![0.0; 4], labels, &[2, 2], Layout::ChannelsFirst).unwrap()
}

#[test]
fn what_is_no_data_set_is_refused_with_the_reason() {
    let flat = Shape::Features(2);
    assert_eq!(Dataset::new(Vec::<f32>::new(), flat, classes(&[])), Err(DatasetError::Empty));
    assert_eq!(
        Dataset::new(vec![1.0; 3], flat, classes(&[0])),
        Err(DatasetError::Features { features: 3, shape: vec![2] })
    );
    for targets in [classes(&[0]), classes(&[0, 1, 2])] {
        let refused = Dataset::new(vec![1.0; 4], flat, targets);
        assert!(matches!(refused, Err(DatasetError::Targets { examples: 2, .. })), "{refused:?}");
    }
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert_eq!(
            Dataset::new(vec![1.0, bad], flat, classes(&[0])),
            Err(DatasetError::NotFinite { what: "feature", index: 1 })
        );
        assert_eq!(
            Dataset::from_arrays(vec![1.0; 4], vec![1.0, bad], &[2, 2], Layout::ChannelsFirst),
            Err(DatasetError::NotFinite { what: "target", index: 1 })
        );
    }
    let ragged = Targets::Values { values: vec![1.0; 3], width: 2 };
    assert!(Dataset::new(vec![1.0; 4], flat, ragged).is_err());
}

#[test]
#[cfg(target_pointer_width = "64")]
fn examples_are_counted_in_32_bits() {
    let most = u32::MAX as usize;
    assert_eq!(examples(2 * most, Shape::Features(2)), Ok(u32::MAX));
    let examples = examples(2 * most + 2, Shape::Features(2));
    assert_eq!(examples, Err(DatasetError::TooMany { examples: most + 1 }));
}

#[test]
fn shapes_are_multiplied_without_overflow() {
    let from = |features: usize, shape: &[u32]| {
        Dataset::from_arrays(vec![0.0; features], vec![0.0; 2], shape, Layout::ChannelsFirst)
    };
    // In 32 bits each of these products is 0.
    for shape in [&[1 << 31, 2][..], &[1 << 31, 2, 2], &[1 << 30, 4, 1, 1]] {
        let expected = shape.iter().map(|&side| u64::from(side)).product();
        let (actual, shape) = (0, shape.to_vec());
        assert_eq!(from(0, &shape), Err(DatasetError::FeatureCount { shape, expected, actual }));
    }
    let largest = MAX_ACTIVATIONS as u32;
    let all = u32::MAX;
    let no_shapes: [&[u32]; 9] = [
        &[],
        &[2],
        &[2, 0],
        &[2, 4, 0],
        &[2, largest + 1],
        &[2, 1 << 13, (1 << 13) + 1],
        &[2, all, all],
        &[2, all, all, all],
        &[2, 1, 1, 2, 2],
    ];
    for shape in no_shapes {
        assert_eq!(from(8, shape), Err(DatasetError::Dimensions(shape.to_vec())));
    }
    assert_eq!(from(0, &[0, 4]), Err(DatasetError::Empty));
    assert_eq!(from(0, &[0, largest]), Err(DatasetError::Empty));
    let (shape, expected, actual) = (vec![2, 4], 8, 7);
    assert_eq!(from(7, &[2, 4]), Err(DatasetError::FeatureCount { shape, expected, actual }));
}

#[test]
fn labels_that_no_class_can_have_are_values() {
    for labels in [[40.0, 6.5], [40.0, -1.0], [40.0, 5e9]] {
        let targets = Targets::from_labels(labels.to_vec(), 2);
        assert_eq!(targets, Ok(Targets::Values { values: labels.to_vec(), width: 1 }));
    }
    let pairs = vec![1.0, 0.0, 2.0, 3.0];
    let targets = Targets::from_labels(pairs.clone(), 2);
    assert_eq!(targets, Ok(Targets::Values { values: pairs, width: 2 }));
    for (labels, examples) in [(3, 2), (0, 2), (2, 0)] {
        let targets = Targets::from_labels(vec![1.0; labels], examples);
        assert_eq!(targets, Err(DatasetError::Targets { targets: labels, examples }));
    }
}

#[test]
fn examples_have_the_models_shape_or_are_flat() {
    use Layout::{ChannelsFirst, ChannelsLast};
    let fits: [(&[u32], &[u32], Layout); 12] = [
        (&[3, 32, 32], &[3, 32, 32], ChannelsFirst),
        (&[3, 32, 32], &[3 * 32 * 32], ChannelsFirst),
        (&[3, 32, 32], &[32, 32, 3], ChannelsLast),
        // Square in every direction: the dimensions are the model's.
        (&[3, 3, 3], &[3, 3, 3], ChannelsFirst),
        (&[1, 28, 28], &[28, 28], ChannelsFirst),
        (&[1, 28, 28], &[28, 28], ChannelsLast),
        (&[1, 28, 28], &[28, 28, 1], ChannelsLast),
        (&[1, 28, 28], &[784], ChannelsFirst),
        (&[28, 28], &[1, 28, 28], ChannelsFirst),
        (&[784], &[784], ChannelsFirst),
        (&[784], &[28, 28], ChannelsFirst),
        (&[784], &[1, 28, 28], ChannelsFirst),
    ];
    for (input, example, layout) in fits {
        let data = arrays(example, layout).unwrap();
        assert_eq!(data.check_for(&classifier(input)), Ok(()), "{example:?} for {input:?}");
    }
    let misfits: [(&[u32], &[u32]); 11] = [
        (&[784], &[100]),
        (&[784], &[28, 27]),
        (&[1, 28, 28], &[783]),
        (&[1, 28, 28], &[28, 1, 28]),
        (&[1, 28, 28], &[14, 56]),
        (&[3, 32, 32], &[32, 3, 32]),
        (&[3, 32, 32], &[32, 96]),
        (&[3, 16, 32], &[3, 32, 16]),
        // Nothing says in which order the model's features are.
        (&[3072], &[3, 32, 32]),
        (&[3072], &[32, 32, 3]),
        (&[1, 28, 28], &[3, 28, 28]),
    ];
    for (input, example) in misfits {
        let data = arrays(example, ChannelsFirst).unwrap();
        let shape = |dims| Shape::from_dims(dims).unwrap().dims();
        let (model, named) = (shape(input), shape(example));
        let error = data.check_for(&classifier(input));
        assert_eq!(error, Err(DatasetError::Shape { model, data: named }));
    }
}

#[test]
fn images_with_their_channels_last_are_refused_with_a_hint() {
    let cases: [(&[u32], [u32; 3]); 3] =
        [(&[3, 32, 32], [32, 32, 3]), (&[3, 16, 32], [16, 32, 3]), (&[1, 28, 28], [28, 28, 1])];
    for (input, example) in cases {
        let data = arrays(&example, Layout::ChannelsFirst).unwrap();
        let error = data.check_for(&classifier(input)).unwrap_err();
        let (model, example) = (input.to_vec(), example.to_vec());
        let message = error.to_string();
        assert_eq!(error, DatasetError::ChannelsLast { model, data: example.clone() });
        for named in ["\"channels-last\"", &format!("{input:?}"), &format!("{example:?}")] {
            assert!(message.contains(named), "{message}");
        }
    }
}

#[test]
fn channels_that_come_last_are_put_first() {
    // Two images of 2 x 3 pixels and two channels.
    let data = arrays(&[2, 3, 2], Layout::ChannelsLast).unwrap();
    assert_eq!(data.shape().dims(), [2, 2, 3]);
    let first = [0., 2., 4., 6., 8., 10., 1., 3., 5., 7., 9., 11.];
    let second = first.map(|value| value + 12.0);
    assert_eq!(data.features_of(&[0, 1]), Features::Values([first, second].concat()));
    let same = arrays(&[2, 2, 3], Layout::ChannelsFirst).unwrap();
    let values: Vec<f32> = (0..12).map(|i| i as f32).collect();
    assert_eq!(same.features_of(&[0]), Features::Values(values));
    let flat = arrays(&[12], Layout::ChannelsLast);
    assert_eq!(flat, Err(DatasetError::FlatLayout(vec![2, 12])));
    // A position is the caller's.
    let mut features = vec![0.0; 12];
    features[1] = f32::NAN;
    let data = Dataset::from_arrays(features, vec![0.0], &[1, 2, 3, 2], Layout::ChannelsLast);
    assert_eq!(data, Err(DatasetError::NotFinite { what: "feature", index: 1 }));
}

#[test]
fn layouts_have_names() {
    assert_eq!("channels-first".parse(), Ok(Layout::ChannelsFirst));
    assert_eq!("channels-last".parse(), Ok(Layout::ChannelsLast));
    for name in ["", "NHWC", "Channels-Last"] {
        assert_eq!(name.parse::<Layout>(), Err(DatasetError::Layout(name.into())));
    }
}

#[test]
fn a_classifier_takes_the_numbers_of_its_classes() {
    let spec = classifier(&[2]);
    assert_eq!(labelled(&[0.0, 2.0]).check_for(&spec), Ok(()));
    assert_eq!(labelled(&[1.0, 1.0]).check_for(&spec), Ok(()), "a device may know one class only");
    let beyond = DatasetError::Class { classes: 3, index: 1, class: 3 };
    assert_eq!(labelled(&[0.0, 3.0]).check_for(&spec), Err(beyond));
    for bad in [0.5, -1.0, 5e9] {
        let error = DatasetError::NotAClass { classes: 3, index: 1, label: bad };
        assert_eq!(labelled(&[1.0, bad]).check_for(&spec), Err(error));
    }
    let one_hot = labelled(&[1.0, 0.0, 0.0, 0.0, 0.0, 1.0]).check_for(&spec);
    let message = one_hot.unwrap_err().to_string();
    assert!(message.contains("one class number an example"), "{message}");
    assert!(message.contains("has 3 values an example"), "{message}");
}

#[test]
fn a_regression_takes_as_many_values_as_it_has_outputs() {
    let one = regression(1, 64);
    // Whole numbers may be values, and targets may all be alike.
    for labels in [[40.0, 6.5], [40.0, 6.0], [0.5, 0.5], [-64.0, 64.0]] {
        assert_eq!(labelled(&labels).check_for_task(&one), Ok(()), "{labels:?}");
    }
    let two = regression(2, 64);
    assert_eq!(labelled(&[1.0, 2.0, 3.0, 4.5]).check_for_task(&two), Ok(()));
    let needed = "2 values an example";
    for (labels, given) in [
        (&[40.0, 6.0][..], "one whole number an example"),
        (&[40.0, 6.5], "1 values an example"),
        (&[0.5; 6], "3 values an example"),
    ] {
        let error = DatasetError::TargetKind { needed: needed.into(), given: given.into() };
        assert_eq!(labelled(labels).check_for_task(&two), Err(error));
    }
}

#[test]
fn targets_that_an_update_cannot_reach_are_refused_with_advice() {
    let beyond = |labels: &[f32], outputs, update_range| {
        let task = regression(outputs, update_range);
        labelled(labels).check_for_task(&task)
    };
    let refused = |index, target, range| {
        let range = UpdateRange::new(range).unwrap();
        Err(DatasetError::TargetRange { index, target, range })
    };
    assert_eq!(beyond(&[1.0, 300_000.0], 1, 64), refused(1, 300_000.0, 64));
    assert_eq!(beyond(&[0.5, -64.5], 1, 64), refused(1, -64.5, 64));
    assert_eq!(beyond(&[0.5, 1.5, 2.5, 64.5], 2, 64), refused(1, 64.5, 64));
    assert_eq!(beyond(&[1.0, 300_000.0], 1, 1 << 20), Ok(()));
    assert_eq!(beyond(&[1.0, -1e6], 1, 1 << 19), refused(1, -1e6, 1 << 19));
    let message = beyond(&[1.0, 300_000.0], 1, 64).unwrap_err().to_string();
    for advice in ["300000", "±64", "scale the targets", "update_range"] {
        assert!(message.contains(advice), "{message}");
    }
    // A class is no value.
    let spec = model(&[2], 100, Loss::SoftmaxCrossEntropy);
    let task = TaskDescription { model: spec, ..regression(1, 1) };
    assert_eq!(labelled(&[0.0, 99.0]).check_for_task(&task), Ok(()));
}

/// A model of 3 positions, 5 tokens and 4 classes at each position.
fn tagger() -> ModelSpec {
    let layers = vec![Embedding { width: 2 }.into(), Linear { outputs: 4 }.into()];
    ModelSpec::of_tokens(3, 5, layers, Loss::SoftmaxCrossEntropy).unwrap()
}

/// Two examples of three tokens.
fn tokens(tokens: [u32; 6], labels: Vec<f32>) -> Dataset {
    Dataset::from_arrays(tokens.to_vec(), labels, &[2, 3], Layout::ChannelsFirst).unwrap()
}

#[test]
fn token_ids_are_held_against_the_vocabulary() {
    let labels = || vec![0.0, 1.0, 2.0, 3.0, 0.0, 1.0];
    let data = tokens([0, 4, 1, 2, 3, 4], labels());
    assert_eq!(data.shape(), Shape::Tokens { positions: 3, vocabulary: 5 });
    assert_eq!(data.check_for(&tagger()), Ok(()));
    // A device need not have every token.
    assert_eq!(tokens([0, 1, 1, 0, 1, 0], labels()).check_for(&tagger()), Ok(()));
    let beyond = tokens([0, 1, 2, 3, 5, 0], labels()).check_for(&tagger()).unwrap_err();
    let expected = DatasetError::Token { index: 1, position: 1, token: 5, vocabulary: 5 };
    assert_eq!(beyond, expected);
    for named in ["token ids 0 to 4", "example 1 has 5 at position 1"] {
        assert!(beyond.to_string().contains(named), "{beyond}");
    }
    let shape = Shape::Tokens { positions: 3, vocabulary: 5 };
    let refused = Dataset::new(vec![0, 1, 5], shape, classes(&[0]));
    assert_eq!(
        refused,
        Err(DatasetError::Token { index: 0, position: 2, token: 5, vocabulary: 5 })
    );
    let from = |tokens: Vec<u32>, shape: &[u32], layout| {
        Dataset::from_arrays(tokens, vec![0.0, 2.0], shape, layout)
    };
    let large = from(vec![0, 1 << 24], &[2, 1], Layout::ChannelsFirst);
    assert_eq!(large, Err(DatasetError::TokenLimit { token: 1 << 24 }));
    let image = from(vec![0; 8], &[2, 2, 2], Layout::ChannelsFirst);
    assert_eq!(image, Err(DatasetError::TokenDimensions(vec![2, 2, 2])));
    let four = from(vec![0; 8], &[2, 4], Layout::ChannelsFirst).unwrap();
    let misfit = DatasetError::Shape { model: vec![3], data: vec![4] };
    assert_eq!(four.check_for(&tagger()), Err(misfit));
}

#[test]
fn elements_of_another_kind_are_refused_with_a_hint() {
    let values = arrays(&[3], Layout::ChannelsFirst).unwrap();
    let refused = values.check_for(&tagger()).unwrap_err();
    let hint = "the model takes token ids, the data set has values; give whole numbers from 0";
    assert!(refused.to_string().contains(hint), "{refused}");
    let given = tokens([0; 6], vec![0.0, 1.0]);
    let refused = given.check_for(&classifier(&[3])).unwrap_err();
    let hint = "the model takes values, the data set has token ids; give numbers as float32";
    assert!(refused.to_string().contains(hint), "{refused}");
    assert!(Dataset::new(vec![1u32; 3], Shape::Features(3), classes(&[0])).is_err());
    assert!(Dataset::new(vec![1.0f32; 3], tagger().input(), classes(&[0])).is_err());
}

#[test]
fn a_class_at_each_position_is_needed_where_a_sequence_comes_out() {
    let shape = Shape::Tokens { positions: 3, vocabulary: 5 };
    let with = |targets| Dataset::new(vec![0u32; 6], shape, targets).unwrap();
    let at_each = |numbers: &[u32]| {
        with(Targets::PositionClasses { classes: numbers.to_vec(), positions: 3 })
    };
    assert_eq!(at_each(&[0, 1, 2, 3, 0, 1]).check_for(&tagger()), Ok(()));
    let beyond = DatasetError::Class { classes: 4, index: 1, class: 4 };
    assert_eq!(at_each(&[0, 1, 2, 3, 4, 1]).check_for(&tagger()), Err(beyond));
    // An array of numbers does not say what they are.
    let numbers = |labels: [f32; 6]| tokens([0; 6], labels.to_vec()).check_for(&tagger());
    assert_eq!(numbers([0.0, 1.0, 2.0, 3.0, 0.0, 1.0]), Ok(()));
    let beyond = DatasetError::Class { classes: 4, index: 0, class: 9 };
    assert_eq!(numbers([0.0, 9.0, 2.0, 3.0, 0.0, 1.0]), Err(beyond));
    let label = DatasetError::NotAClass { classes: 4, index: 1, label: 0.5 };
    assert_eq!(numbers([0.0, 1.0, 2.0, 0.5, 0.0, 1.0]), Err(label));
    let one = with(classes(&[0, 1])).check_for(&tagger()).unwrap_err().to_string();
    assert!(one.contains("a class number at each of 3 positions"), "{one}");
    // The other way round.
    let values = Dataset::new(
        vec![0.0; 6],
        Shape::Features(3),
        Targets::PositionClasses { classes: vec![0; 6], positions: 3 },
    );
    let refused = values.unwrap().check_for(&classifier(&[3])).unwrap_err().to_string();
    assert!(refused.contains("needs one class number an example"), "{refused}");
    let ragged = Targets::PositionClasses { classes: vec![0; 5], positions: 3 };
    assert!(Dataset::new(vec![0u32; 6], shape, ragged).is_err());
}

#[test]
fn embedded_features_are_numbers_of_categories() {
    let feature = |place, categories| EmbeddedFeature { place, categories, width: 2 };
    let features = vec![feature(0, 3), feature(2, 2)];
    let layers = vec![CategoryEmbedding { features }.into(), Linear { outputs: 3 }.into()];
    let spec = ModelSpec::new(&[3], layers, Loss::SoftmaxCrossEntropy).unwrap();
    let check = |values: [f32; 6]| {
        Dataset::new(values.to_vec(), Shape::Features(3), classes(&[0, 1]))
            .unwrap()
            .check_for(&spec)
    };
    assert_eq!(check([2.0, -7.5, 1.0, 0.0, 9.0, 0.0]), Ok(()));
    let refused = |index, place, value, categories| DatasetError::Category {
        index,
        place,
        value,
        categories,
    };
    assert_eq!(check([2.0, 0.0, 1.0, 3.0, 0.0, 0.0]), Err(refused(1, 0, 3.0, 3)));
    assert_eq!(check([2.0, 0.0, 0.5, 1.0, 0.0, 0.0]), Err(refused(0, 2, 0.5, 2)));
    assert_eq!(check([-1.0, 0.0, 0.0, 1.0, 0.0, 0.0]), Err(refused(0, 0, -1.0, 3)));
    let words = refused(1, 0, 3.0, 3).to_string();
    for part in ["categories 0 to 2 at place 0", "example 1 has 3 there", "encoding = \"index\""] {
        assert!(words.contains(part), "{words}");
    }
}

#[test]
fn a_sample_has_as_many_examples_as_were_asked_for_and_each_at_most_once() {
    let values: Vec<f32> = (0..20).map(|i| i as f32).collect();
    let data = Dataset::from_arrays(values, vec![0.0; 20], &[20, 1], Layout::ChannelsFirst);
    let data = data.unwrap();
    let sample = |seed| match data.sample(5, seed).features() {
        Features::Values(values) => values.clone(),
        Features::Tokens(_) => panic!("values were given"),
    };
    let mut drawn = sample(1);
    assert_eq!(drawn, sample(1), "the seed decides");
    assert_ne!(drawn, sample(2));
    drawn.sort_by(f32::total_cmp);
    drawn.dedup();
    assert_eq!(drawn.len(), 5);
}

mod split {
    use super::*;

    const HALF: f64 = 0.5;

    fn numbers(values: impl IntoIterator<Item = u32>) -> Dataset {
        let values: Vec<u32> = values.into_iter().collect();
        let features: Vec<f32> = values.iter().map(|&value| value as f32).collect();
        Dataset::new(features, Shape::Features(1), classes(&values)).unwrap()
    }

    fn values(data: &Dataset) -> Vec<u32> {
        data.targets().bits().collect()
    }

    #[test]
    fn every_example_is_on_one_side_in_its_order() {
        for (examples, held_out, expected) in
            [(10, 0.2, 2), (11, 0.2, 3), (2, 0.01, 1), (2, HALF, 1), (1000, 0.1, 100)]
        {
            let (train, evaluate) = numbers(0..examples).split(held_out, 1);
            assert_eq!(evaluate.len(), expected, "{examples} examples");
            assert!(values(&train).is_sorted() && values(&evaluate).is_sorted());
            let mut all = [values(&train), values(&evaluate)].concat();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..examples));
        }
        let (train, evaluate) = numbers([7]).split(HALF, 1);
        assert_eq!((values(&train), values(&evaluate)), (vec![7], vec![7]));
    }

    #[test]
    fn the_side_depends_on_the_example_and_the_seed_not_on_the_order() {
        let held_out = |numbers: Dataset, seed| values(&numbers.split(0.25, seed).1);
        let forwards = held_out(numbers(0..200), 1);
        let mut backwards = held_out(numbers((0..200).rev()), 1);
        backwards.sort_unstable();
        assert_eq!(forwards, backwards);
        assert_ne!(forwards, held_out(numbers(0..200), 2));
        // Not a stretch: about a quarter of the first half, too.
        let of_the_first_half = forwards.iter().filter(|&&value| value < 100).count();
        assert!((10..=40).contains(&of_the_first_half), "{of_the_first_half}");
    }

    #[test]
    fn added_examples_move_few_of_the_others() {
        let (before, _) = numbers(0..1000).split(0.2, 1);
        let (after, _) = numbers(0..1100).split(0.2, 1);
        let after = values(&after);
        let moved = values(&before).iter().filter(|value| !after.contains(value)).count();
        assert!(moved < 40, "{moved} of 800 are held out now");
    }

    #[test]
    fn the_last_stretches_of_a_text_are_held_out() {
        let shape = Shape::from_tokens(2, 10).unwrap();
        let tokens: Vec<u32> = (0..10).collect();
        let data = Dataset::new(tokens, shape, classes(&[0, 1, 2, 3, 4])).unwrap();
        let (train, evaluate) = data.split(0.4, 1);
        assert_eq!((values(&train), values(&evaluate)), (vec![0, 1, 2], vec![3, 4]));
        assert_eq!(*evaluate.features(), Features::Tokens(vec![6, 7, 8, 9]));
    }
}

#[test]
fn data_sets_of_one_form_are_put_one_behind_the_other() {
    let shape = Shape::from_dims(&[1]).unwrap();
    let of = |features: Vec<f32>, targets| Dataset::new(features, shape, targets).unwrap();
    let mut all = of(vec![0.5, 1.5], classes(&[0, 1]));
    all.append(of(vec![2.5], classes(&[2]))).unwrap();
    assert_eq!(all, of(vec![0.5, 1.5, 2.5], classes(&[0, 1, 2])));
    // Labels of one file may all be whole numbers, and those of the next not.
    all.append(of(vec![3.5], Targets::Values { values: vec![0.5], width: 1 })).unwrap();
    let values = Targets::Values { values: vec![0.0, 1.0, 2.0, 0.5], width: 1 };
    assert_eq!(all.targets(), &values);
    all.append(of(vec![4.5], classes(&[7]))).unwrap();
    assert_eq!(all.len(), 5);
    let before = all.clone();
    let wide = Targets::Values { values: vec![0.5, 0.5], width: 2 };
    assert!(matches!(all.append(of(vec![1.0], wide)), Err(DatasetError::TargetKind { .. })));
    let other = Dataset::new(vec![1.0; 2], Shape::from_dims(&[2]).unwrap(), classes(&[0]));
    assert!(matches!(all.append(other.unwrap()), Err(DatasetError::Shape { .. })));
    assert_eq!(all, before);
}
