//! Embedded categories: their vectors, their gradients, and what is no category.

use fedra_data::{Dataset, DatasetError, Features, Targets};
use fedra_protocol::layers::{CategoryEmbedding, EmbeddedFeature, Linear, Tanh};
use fedra_protocol::{Layer, Loss, ModelSpec, Shape};

use super::predict::outputs;
use super::{changed, check_gradient, close, train};
use crate::{Inference, LearningError, evaluate, init_parameters, pytorch, safetensors};

fn embedding(features: &[[u32; 3]]) -> Layer {
    let feature =
        |&[place, categories, width]: &[u32; 3]| EmbeddedFeature { place, categories, width };
    CategoryEmbedding { features: features.iter().map(feature).collect() }.into()
}

fn linear(outputs: u32) -> Layer {
    Linear { outputs }.into()
}

/// Three outputs for six features, of which the second, the third and the last are categories.
pub(super) fn model(loss: Loss) -> ModelSpec {
    let layers =
        vec![embedding(&[[1, 4, 3], [2, 3, 1], [5, 2, 2]]), linear(5), Tanh.into(), linear(3)];
    ModelSpec::new(&[6], layers, loss).unwrap()
}

#[test]
fn gradients_match_finite_differences() {
    check_gradient(&model(Loss::SoftmaxCrossEntropy));
    check_gradient(&model(Loss::MeanSquaredError));
    for all in [&[[0, 3, 2]][..], &[[0, 4, 1], [1, 2, 2]]] {
        let layers = vec![embedding(all), linear(2), Tanh.into(), linear(2)];
        let input = [all.len() as u32];
        check_gradient(&ModelSpec::new(&input, layers, Loss::SoftmaxCrossEntropy).unwrap());
    }
}

#[test]
fn each_category_has_a_vector_in_the_place_of_its_number() {
    let layers = vec![embedding(&[[1, 2, 2], [2, 3, 1]]), linear(5)];
    let spec = ModelSpec::new(&[4], layers, Loss::MeanSquaredError).unwrap();
    let tables = [[0.1, 0.2, 0.3, 0.4].as_slice(), &[5.0, 6.0, 7.0]].concat();
    let identity = (0..25).map(|i| if i % 6 == 0 { 1.0 } else { 0.0 });
    let parameters: Vec<f32> = tables.into_iter().chain(identity).chain([0.0; 5]).collect();
    let x = vec![-1.0, 1.0, 2.0, 9.0, -2.0, 0.0, 0.0, 8.0];
    let rows = [-1.0, 0.3, 0.4, 7.0, 9.0, -2.0, 0.1, 0.2, 5.0, 8.0];
    close(&outputs(&spec, &parameters, x), &rows);
}

#[test]
fn what_is_no_category_is_refused_in_training_and_prediction() {
    let spec = model(Loss::SoftmaxCrossEntropy);
    let parameters = init_parameters(&spec, 1);
    let model = Inference::new(&spec, &parameters).unwrap();
    let row = |at: usize, value: f32| {
        let mut row = vec![0.0f32; 12];
        row[6 + at] = value;
        row
    };
    for (place, value, categories) in
        [(1, 4.0, 4), (1, -1.0, 4), (2, 0.5, 3), (5, 2.0, 2), (5, f32::MAX, 2)]
    {
        let expected = DatasetError::Category { index: 1, place, value, categories };
        let x = row(place as usize, value);
        let refused = model.outputs(x.clone()).unwrap_err();
        assert_eq!(refused, LearningError::Dataset(expected.clone()));
        let data = Dataset::new(x, Shape::Features(6), Targets::Classes(vec![0, 1])).unwrap();
        assert_eq!(data.check_for(&spec), Err(expected.clone()));
        assert_eq!(evaluate(&spec, &parameters, &data, 1), Err(LearningError::Dataset(expected)));
    }
    // Not a number, which no data set has.
    let refused = model.outputs(row(2, f32::NAN)).unwrap_err();
    assert!(matches!(refused, LearningError::Dataset(DatasetError::Category { index: 1, .. })));
    let words = model.outputs(row(5, 2.0)).unwrap_err().to_string();
    assert!(words.contains("categories 0 to 1 at place 5") && words.contains("has 2 there"));
    // Any value goes where nothing is embedded.
    assert!(model.outputs(row(3, 7.5)).is_ok());
    assert!(matches!(model.outputs(Features::Tokens(vec![0; 6])), Err(LearningError::Dataset(_))));
}

#[test]
fn vectors_tell_categories_apart_that_their_numbers_do_not() {
    // The answer is the parity of the category: nothing that grows or falls with its number.
    let features: Vec<f32> =
        (0..120u16).flat_map(|i| [f32::from(i % 6), f32::from(i % 5)]).collect();
    let classes = (0..120).map(|i| i % 6 % 2).collect();
    let data = Dataset::new(features, Shape::Features(2), Targets::Classes(classes)).unwrap();
    let loss = Loss::SoftmaxCrossEntropy;
    let accuracy = |layers: Vec<Layer>| {
        let spec = ModelSpec::new(&[2], layers, loss).unwrap();
        let start = init_parameters(&spec, 1);
        let trained = train(&spec, &start, &data, &changed(40, 10, 0.5, |_| {}));
        evaluate(&spec, &trained, &data, 1).unwrap().quality.accuracy.unwrap()
    };
    let embedded = accuracy(vec![embedding(&[[0, 6, 2]]), linear(2)]);
    assert!(embedded > 0.99 && accuracy(vec![linear(2)]) < 0.8, "{embedded}");
}

#[test]
fn files_have_a_tensor_for_each_table() {
    let spec = model(Loss::SoftmaxCrossEntropy);
    let parameters = init_parameters(&spec, 2);
    let file = safetensors::write(&spec, &parameters).unwrap();
    assert_eq!(super::read_model(&file).unwrap(), (spec.clone(), parameters.clone()));
    let file = pytorch::write(&spec, &parameters).unwrap();
    let read = ::safetensors::SafeTensors::deserialize(&file).unwrap();
    for (name, shape) in [("0.0.weight", [4, 3]), ("0.1.weight", [3, 1]), ("0.2.weight", [2, 2])] {
        assert_eq!(read.tensor(name).unwrap().shape(), shape, "{name}");
    }
}
