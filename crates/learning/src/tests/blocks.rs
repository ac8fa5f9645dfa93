//! Activations, pools, norms and convolutions of the blocks of deeper models.

use fedra_protocol::layers::{
    Conv2d, Embedding, Flatten, GlobalAvgPool, GlobalMaxPool, LeakyRelu, Linear, Silu, Softplus,
};
use fedra_protocol::{Layer, Loss, ModelSpec};

use super::predict::outputs;
use super::{check_gradient, close, values};
use crate::{gradient, init_parameters};

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
