//! Activations, pools, norms and convolutions of the blocks of deeper models.

use fedra_data::{Dataset, Targets};
use fedra_protocol::layers::{
    Conv1d, Conv2d, Embedding, Flatten, GlobalAvgPool, GlobalMaxPool, GroupNorm, LeakyRelu, Linear,
    Relu, Silu, Softplus,
};
use fedra_protocol::{Layer, Loss, ModelSpec};

use super::predict::outputs;
use super::{changed, check_gradient, close, train, values};
use crate::{evaluate, gradient, init_parameters, safetensors};

fn linear(outputs: u32) -> Layer {
    Linear { outputs }.into()
}

fn conv(channels: u32) -> Layer {
    Conv2d { channels, kernel: 3, stride: 1, padding: 1 }.into()
}

/// The layers on images of two channels of 5 x 6 pixels.
fn of_images(layers: Vec<Layer>) -> ModelSpec {
    ModelSpec::new(&[2, 5, 6], layers, Loss::SoftmaxCrossEntropy).unwrap()
}

/// The layers on sequences of 5 positions with 6 values each.
fn of_sequences(layers: Vec<Layer>) -> ModelSpec {
    let layers = [vec![Embedding { width: 6 }.into()], layers].concat();
    ModelSpec::of_tokens(5, 4, layers, Loss::SoftmaxCrossEntropy).unwrap()
}

/// A sequence of 5 positions, each of 6 values, as the model behind the embedding sees it.
fn sequence(spec: &ModelSpec, parameters: &[f32], ids: &[u32]) -> Vec<f32> {
    let table = &parameters[..spec.layout()[0].len()];
    ids.iter().flat_map(|&id| table[id as usize * 6..][..6].to_vec()).collect()
}

#[test]
fn gradients_match_finite_differences() {
    let activations: [Layer; 3] = [LeakyRelu { slope: 0.2 }.into(), Silu.into(), Softplus.into()];
    for activation in activations {
        let act = || activation.clone();
        check_gradient(&of_images(vec![
            conv(3),
            act(),
            Flatten.into(),
            linear(4),
            act(),
            linear(4),
        ]));
        check_gradient(&of_sequences(vec![linear(3), act(), linear(4)]));
    }
    let norm = |groups| Layer::GroupNorm(GroupNorm { groups, epsilon: 1e-3 });
    check_gradient(&of_images(vec![conv(6), norm(3), Silu.into(), Flatten.into(), linear(4)]));
    check_gradient(&of_sequences(vec![norm(2), linear(4), Silu.into(), norm(1), linear(4)]));
    for dilation in [1, 2, 3] {
        let conv1d = |kernel, stride, padding| {
            Layer::Conv1d(Conv1d { channels: 4, kernel, stride, padding, dilation })
        };
        check_gradient(&of_sequences(vec![conv1d(3, 2, 2), Silu.into(), conv1d(2, 1, 1)]));
        let series = vec![conv1d(3, 2, 2), Silu.into(), GlobalAvgPool.into(), linear(4)];
        check_gradient(&ModelSpec::new(&[7, 3], series, Loss::SoftmaxCrossEntropy).unwrap());
    }
    let pools: [Layer; 2] = [GlobalAvgPool.into(), GlobalMaxPool.into()];
    for pool in pools {
        check_gradient(&of_images(vec![conv(3), Silu.into(), pool.clone(), linear(4)]));
        check_gradient(&of_sequences(vec![linear(3), Silu.into(), pool, linear(4)]));
    }
}

#[test]
fn activations_are_their_formulas_and_large_values_keep_a_finite_gradient() {
    let xs = [-200.0f32, -30.0, -2.0, -0.5, 0.0, 0.5, 3.0, 20.0, 30.0, 200.0];
    let of = |layer: Layer| {
        ModelSpec::new(&[1], vec![linear(1), layer], Loss::MeanSquaredError).unwrap()
    };
    type Function = fn(f64) -> f64;
    let functions: [(Layer, Function, Function); 3] = [
        (
            LeakyRelu { slope: 0.25 }.into(),
            |x| if x > 0.0 { x } else { 0.25 * x },
            |x| if x > 0.0 { 1.0 } else { 0.25 },
        ),
        (
            Silu.into(),
            |x| x / (1.0 + (-x).exp()),
            |x| {
                let p = 1.0 / (1.0 + (-x).exp());
                p + x * p * (1.0 - p)
            },
        ),
        (Softplus.into(), |x| x.exp().ln_1p(), |x| 1.0 / (1.0 + (-x).exp())),
    ];
    for (layer, function, slope) in functions {
        let spec = of(layer);
        // One weight of 1 and no bias.
        let expected: Vec<f32> = xs.iter().map(|&x| function(x.into()) as f32).collect();
        close(&outputs(&spec, &[1.0, 0.0], xs.to_vec()), &expected);
        for x in xs {
            // d (y - 0)^2 / db = 2 y y'.
            let flat = gradient(&spec, &[1.0, 0.0], &values(&[x], 1, &[0.0]), &[0]).unwrap();
            let expected = 2.0 * function(x.into()) * slope(x.into());
            close(&flat[1..], &[expected as f32]);
        }
    }
}

#[test]
fn global_pools_are_the_mean_and_the_maximum_of_each_channel() {
    let values: Vec<f32> = (0..2 * 60).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
    let mean = |plane: &[f32]| plane.iter().sum::<f32>() / plane.len() as f32;
    let max = |plane: &[f32]| plane.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // A linear layer that passes its two inputs on.
    let parameters = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0];
    let spec = |pool: Layer| {
        ModelSpec::new(&[2, 5, 6], vec![pool, linear(2)], Loss::MeanSquaredError).unwrap()
    };
    let planes = || values.chunks(30);
    let expected: Vec<f32> = planes().map(mean).collect();
    close(&outputs(&spec(GlobalAvgPool.into()), &parameters, values.clone()), &expected);
    let expected: Vec<f32> = planes().map(max).collect();
    close(&outputs(&spec(GlobalMaxPool.into()), &parameters, values.clone()), &expected);
    // Of a sequence, over its positions.
    let ids = [3u32, 0, 1, 1, 2];
    for pool in [Layer::from(GlobalAvgPool), GlobalMaxPool.into()] {
        let spec = ModelSpec::of_tokens(
            5,
            4,
            vec![Embedding { width: 6 }.into(), pool.clone(), linear(1)],
            Loss::MeanSquaredError,
        )
        .unwrap();
        let parameters = init_parameters(&spec, 3);
        let sequence = sequence(&spec, &parameters, &ids);
        let pooled = (0..6).map(|place| {
            let column: Vec<f32> = sequence.iter().skip(place).step_by(6).copied().collect();
            if pool == GlobalAvgPool.into() { mean(&column) } else { max(&column) }
        });
        let (weights, bias) = (&parameters[24..30], parameters[30]);
        let expected = pooled.zip(weights).map(|(x, w)| x * w).sum::<f32>() + bias;
        close(&outputs(&spec, &parameters, ids.to_vec()), &[expected]);
    }
}

/// The formula of the layer in double precision: `x` of one example, channel by channel.
fn group_norm(x: &[f32], groups: usize, epsilon: f64, gamma: &[f32], beta: &[f32]) -> Vec<f32> {
    let pixels = x.len() / gamma.len();
    let mut output = Vec::new();
    for group in x.chunks(x.len() / groups) {
        let count = group.len() as f64;
        let mean = group.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
        let variance = group.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count;
        output.extend(group.iter().map(|&x| (f64::from(x) - mean) / (variance + epsilon).sqrt()));
    }
    let channel = |(index, x): (usize, f64)| {
        (x * f64::from(gamma[index / pixels]) + f64::from(beta[index / pixels])) as f32
    };
    output.into_iter().enumerate().map(channel).collect()
}

#[test]
fn group_norm_is_its_formula_of_each_example_by_itself() {
    let layers = |norm: GroupNorm| vec![norm.into(), Flatten.into(), linear(1)];
    let norm = GroupNorm { groups: 2, epsilon: 0.01 };
    let (gamma, beta) = ([1.5, -0.5, 2.0, 1.0], [0.25, 0.0, -1.0, 3.0]);
    let spec = ModelSpec::new(&[4, 2, 3], layers(norm), Loss::MeanSquaredError).unwrap();
    // Large values of another example change nothing.
    let x: Vec<f32> =
        (0..48).map(|i| ((i * 37) % 17) as f32 * if i < 24 { 0.1 } else { 90.0 }).collect();
    for place in [0, 7, 23] {
        // A linear layer that passes one of the values on.
        let mut weights = vec![0.0; 25];
        weights[place] = 1.0;
        let parameters = [&gamma[..], &beta, &weights].concat();
        let expected: Vec<f32> =
            x.chunks(24).map(|x| group_norm(x, 2, 0.01, &gamma, &beta)[place]).collect();
        close(&outputs(&spec, &parameters, x.clone()), &expected);
    }
    // Of a sequence: the width as channels, the positions as pixels.
    let spec = of_sequences(vec![GroupNorm { groups: 3, epsilon: 0.01 }.into()]);
    let mut parameters = init_parameters(&spec, 5);
    let affine = [2.0, 1.0, -1.0, 0.5, 3.0, 1.0, 0.0, 1.0, 0.0, -1.0, 0.5, 0.0];
    parameters[24..].copy_from_slice(&affine);
    let ids = [2u32, 1, 0, 0, 3];
    let rows = sequence(&spec, &parameters, &ids);
    let columns: Vec<f32> = (0..6)
        .flat_map(|place| rows.iter().skip(place).step_by(6).copied().collect::<Vec<_>>())
        .collect();
    let normalised = group_norm(&columns, 3, 0.01, &affine[..6], &affine[6..]);
    // After the softmax: differences of logits are those of logarithms.
    let actual = outputs(&spec, &parameters, ids.to_vec());
    for position in 0..5 {
        let expected = |place: usize| normalised[place * 5 + position] - normalised[position];
        let actual = &actual[position * 6..][..6];
        let actual: Vec<f32> = actual.iter().map(|p| (p / actual[0]).ln()).collect();
        close(&actual, &(0..6).map(expected).collect::<Vec<_>>());
    }
}

#[test]
fn conv1d_is_a_sum_over_the_windows_of_each_example() {
    for (stride, padding, dilation, windows) in
        [(2, 1, 1, 3usize), (1, 2, 2, 6), (2, 3, 2, 4), (3, 0, 2, 1), (1, 4, 3, 8)]
    {
        let layer = Conv1d { channels: 3, kernel: 3, stride, padding, dilation };
        let layers = vec![layer.into(), Flatten.into(), linear(1)];
        let spec = ModelSpec::new(&[6, 2], layers, Loss::MeanSquaredError).unwrap();
        assert_eq!(spec.inputs()[1].len(), windows * 3, "{layer:?}");
        let x: Vec<f32> = (0..24).map(|i| ((i * 29) % 13) as f32 / 6.0 - 1.0).collect();
        let parameters = init_parameters(&spec, 8);
        let (weight, bias, last) = (&parameters[..18], &parameters[18..21], &parameters[21..]);
        let [stride, padding, dilation] = [stride, padding, dilation].map(|n| n as usize);
        let expected: Vec<f32> = x
            .chunks(12)
            .map(|x| {
                let mut y = f64::from(last[windows * 3]);
                for (window, channel) in (0..windows).flat_map(|w| (0..3).map(move |c| (w, c))) {
                    let mut sum = f64::from(bias[channel]);
                    for (input, tap) in (0..2).flat_map(|i| (0..3usize).map(move |k| (i, k))) {
                        let place = stride * window + dilation * tap;
                        let Some(position) = place.checked_sub(padding).filter(|p| *p < 6) else {
                            continue;
                        };
                        let w = weight[(channel * 2 + input) * 3 + tap];
                        sum += f64::from(w) * f64::from(x[position * 2 + input]);
                    }
                    y += sum * f64::from(last[window * 3 + channel]);
                }
                y as f32
            })
            .collect();
        close(&outputs(&spec, &parameters, x), &expected);
    }
}

#[test]
fn models_with_each_layer_come_back_from_their_files() {
    let norm = || Layer::GroupNorm(GroupNorm { groups: 2, epsilon: 1e-3 });
    let conv1d =
        || Layer::Conv1d(Conv1d { channels: 4, kernel: 2, stride: 2, padding: 1, dilation: 3 });
    for spec in [
        of_images(vec![
            conv(4),
            norm(),
            LeakyRelu { slope: 0.2 }.into(),
            GlobalAvgPool.into(),
            linear(3),
        ]),
        of_sequences(vec![
            conv1d(),
            Silu.into(),
            norm(),
            Softplus.into(),
            GlobalMaxPool.into(),
            linear(3),
        ]),
    ] {
        let parameters = init_parameters(&spec, 2);
        let file = safetensors::write(&spec, &parameters).unwrap();
        assert_eq!(super::read_model(&file).unwrap(), (spec, parameters));
    }
}

/// Series of 24 steps with a pulse somewhere: class 1 falls steeply after it, class 0 rises
/// steeply before it. The mean of both is the same.
fn pulses(count: usize) -> Dataset {
    const PULSES: [[f32; 4]; 2] = [[0.25, 0.5, 1.0, 0.0], [0.0, 1.0, 0.5, 0.25]];
    let mut features = Vec::new();
    for index in 0..count {
        let mut series = [0.0f32; 24];
        let start = index * 7 % 20;
        series[start..start + 4].copy_from_slice(&PULSES[index % 2]);
        features.extend(series);
    }
    let classes = (0..count as u32).map(|index| index % 2).collect();
    let shape = fedra_protocol::Shape::from_dims(&[24, 1]).unwrap();
    Dataset::new(features, shape, Targets::Classes(classes)).unwrap()
}

#[test]
fn a_conv1d_learns_the_direction_of_a_pulse_wherever_it_is() {
    let layers = vec![
        Conv1d { channels: 6, kernel: 4, stride: 1, padding: 2, dilation: 1 }.into(),
        Relu.into(),
        GlobalMaxPool.into(),
        linear(2),
    ];
    let spec = ModelSpec::new(&[24, 1], layers, Loss::SoftmaxCrossEntropy).unwrap();
    let data = pulses(80);
    let start = init_parameters(&spec, 1);
    let plan = changed(40, 10, 0.2, |raw| raw.momentum = 0.9);
    let trained = train(&spec, &start, &data, &plan);
    let result = evaluate(&spec, &trained, &data, 1).unwrap();
    assert!(result.quality.accuracy == Some(1.0) && result.quality.loss < 0.1, "{result:?}");
}
