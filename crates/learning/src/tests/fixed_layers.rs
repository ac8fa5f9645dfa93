//! Layers that are not trained: known answers, and that preparing examples once
//! changes nothing.

use std::f64::consts::PI;

use fedra_data::{Dataset, Targets};
use fedra_protocol::layers::{Abs, Flatten, GaussianDerivative, Linear, Standardize};
use fedra_protocol::{Layer, Loss, ModelSpec, Shape};

use super::predict::outputs;
use super::{changed, close, train};
use crate::init_parameters;

/// The built-in model written out as loops over one 28x28 image, in double
/// precision: a second opinion, from the words of the specification.
fn outputs_by_hand(image: &[f32], parameters: &[f32]) -> Vec<f32> {
    let pixel = |x: i32, y: i32| {
        let inside = (0..28).contains(&x) && (0..28).contains(&y);
        if inside { f64::from(image[(y * 28 + x) as usize]) } else { 0.0 }
    };
    let window = || (-2..=2).flat_map(|y| (-2..=2).map(move |x| (x, y)));
    let mut cells = vec![[0.0; 4]; 49];
    for (direction, angle) in (0..4).map(|k| (k, PI * f64::from(k) / 4.0)) {
        let weight = |(x, y): (i32, i32)| {
            let (x, y) = (f64::from(x), f64::from(y));
            (x * angle.cos() + y * angle.sin()) * (-(x * x + y * y) / 2.0).exp()
        };
        let norm = window().map(|at| weight(at).powi(2)).sum::<f64>().sqrt();
        for (y, x) in (0..28).flat_map(|y| (0..28).map(move |x| (y, x))) {
            let slope: f64 =
                window().map(|(i, j)| weight((i, j)) / norm * pixel(x + i, y + j)).sum();
            cells[(y / 4 * 7 + x / 4) as usize][direction as usize] += slope.abs() / 16.0;
        }
    }
    let standardize = |values: &mut [f64], epsilon: f64| {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let square = |value: &f64| (value - mean).powi(2);
        let variance = values.iter().map(square).sum::<f64>() / values.len() as f64;
        values.iter_mut().for_each(|v| *v = (*v - mean) / (variance + epsilon).sqrt());
    };
    cells.iter_mut().for_each(|cell| standardize(cell, 0.02));
    // Channels first: all cells of one direction, then the next direction.
    let mut features: Vec<f64> =
        (0..4).flat_map(|k| cells.iter().map(move |cell| cell[k])).collect();
    standardize(&mut features, 1e-5);
    let (weights, biases) = parameters.split_at(1960);
    let output = |class: usize| {
        let weights = weights.iter().skip(class).step_by(10);
        let sum: f64 = weights.zip(&features).map(|(w, x)| f64::from(*w) * x).sum();
        (sum + f64::from(biases[class])) as f32
    };
    (0..10).map(output).collect()
}

/// Two images without symmetry, and a blank one.
fn images() -> Vec<f32> {
    let noise = init_parameters(&ModelSpec::mnist_2nn(), 6);
    let mut images: Vec<f32> = noise[..1568].iter().map(|x| (x * 28.0).max(0.0)).collect();
    images.resize(3 * 784, 0.0);
    images
}

#[test]
fn oriented_gradients_are_what_the_specification_says() {
    let builtin = ModelSpec::mnist_oriented_gradients();
    // The same layers with a loss that leaves the outputs as they are.
    let spec =
        ModelSpec::new(&[1, 28, 28], builtin.layers().to_vec(), Loss::MeanSquaredError).unwrap();
    let parameters = init_parameters(&spec, 2);
    let outputs = outputs(&spec, &parameters, images());
    let expected: Vec<f32> =
        images().chunks(784).flat_map(|image| outputs_by_hand(image, &parameters)).collect();
    close(&outputs, &expected);
    let biases = &parameters[1960..];
    close(&outputs[20..], biases);
}

#[test]
fn each_channel_is_filtered_by_itself() {
    // Channel 0 rises to the right, channel 1 downwards: in the middle, the first
    // has slope in direction 0 only, the second in direction 1 (downwards) only.
    let layers = vec![
        Layer::GaussianDerivative(GaussianDerivative { orientations: 2, kernel: 3, sigma: 1.0 }),
        Layer::Flatten(Flatten),
        Layer::Linear(Linear { outputs: 36 }),
    ];
    let spec = ModelSpec::new(&[2, 3, 3], layers, Loss::MeanSquaredError).unwrap();
    let mut identity = vec![0.0; 36 * 36 + 36];
    (0..36).for_each(|i| identity[i * 37] = 1.0);
    let features: Vec<f32> =
        (0..9).map(|i| (i % 3) as f32).chain((0..9).map(|i| (i / 3) as f32)).collect();
    let outputs = outputs(&spec, &identity, features);
    let middles: Vec<f32> = outputs.chunks(9).map(|channel| channel[4]).collect();
    assert!(middles[0] > 1.0 && middles[0] == middles[3], "{middles:?}");
    assert!(middles[1].abs() < 1e-6 && middles[2].abs() < 1e-6, "{middles:?}");
}

#[test]
fn training_on_prepared_examples_is_training_on_examples() {
    // More examples than are prepared at a time.
    let (width, count) = (6, 1100);
    let noise = init_parameters(&ModelSpec::mnist_2nn(), 8);
    let features: Vec<f32> = noise[..width * count].iter().map(|x| x * 28.0 + 0.3).collect();
    let targets: Vec<f32> = features.chunks(width).map(|x| x[0] - x[5]).collect();
    let data = |features: Vec<f32>| {
        let targets = Targets::Values { values: targets.clone(), width: 1 };
        Dataset::new(features, Shape::Features(width as u32), targets).unwrap()
    };
    let epsilon = 0.125;
    let standardized = features.chunks(width).flat_map(|row| {
        let mean = row.iter().sum::<f32>() / width as f32;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / width as f32;
        row.iter().map(move |x| ((x - mean) / (variance + epsilon).sqrt()).abs())
    });
    let linear = || Layer::Linear(Linear { outputs: 1 });
    let plain = ModelSpec::new(&[6], vec![linear()], Loss::MeanSquaredError).unwrap();
    let layers = vec![Layer::Standardize(Standardize { epsilon }), Layer::Abs(Abs), linear()];
    let fixed = ModelSpec::new(&[6], layers, Loss::MeanSquaredError).unwrap();
    let start = init_parameters(&plain, 1);
    for max_examples in [0, 700] {
        let plan = changed(2, 32, 0.05, |raw| raw.max_examples = max_examples);
        let expected = train(&plain, &start, &data(standardized.clone().collect()), &plan);
        assert_ne!(expected, start);
        close(&train(&fixed, &start, &data(features.clone()), &plan), &expected);
    }
}
