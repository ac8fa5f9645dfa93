//! Every kernel on every instruction set of this machine, beside plain loops in double
//! precision and beside known answers.

mod plain;

use fedra_kernels::{
    Activation, Adam, Attention, Cell, Convolution, ConvolutionBlock, InstructionSet, Kernels,
    Linear, MaxPool, Recurrent, Sgd,
};
use plain::{assert_close, noise};
use proptest::prelude::*;

fn each_set() -> impl Iterator<Item = Kernels> {
    InstructionSet::available().map(|set| Kernels::with(set).expect("it is available"))
}

fn activations() -> impl Strategy<Value = Activation> {
    prop_oneof![Just(Activation::Identity), Just(Activation::Relu)]
}

fn check_linear(layer: Linear, seed: u64) {
    let Linear { batch, inputs, outputs, .. } = layer;
    let (x, weight) = (noise(batch * inputs, seed), noise(inputs * outputs, seed + 1));
    let (bias, gradient) = (noise(outputs, seed + 2), noise(batch * outputs, seed + 3));
    let expected = plain::linear(layer, &x, &weight, &bias);
    for kernels in each_set() {
        let name = format!("{layer:?} {:?}", kernels.instruction_set());
        let y = kernels.linear(layer, &x, &weight, &bias);
        assert_close(&format!("output, {name}"), &y, &expected);
        let sums = plain::linear_gradient(layer, &x, &weight, &y, &gradient);
        let found = kernels.linear_gradient(layer, &weight, &y, &gradient, true);
        let before = found.sums.as_deref().unwrap_or(&gradient);
        let product = kernels.weight_gradient(layer, &x, before);
        assert_close(
            &format!("input, {name}"),
            found.input.as_deref().expect("it was asked for"),
            &sums.input,
        );
        assert_close(&format!("weight, {name}"), &product, &sums.weight);
        assert_close(&format!("bias, {name}"), &found.bias, &sums.bias);
        let without = kernels.linear_gradient(layer, &weight, &y, &gradient, false);
        assert_eq!(without.input, None);
        assert_eq!((&without.sums, &without.bias), (&found.sums, &found.bias));
        check_steps(kernels, layer, &x, before, &weight, &product);
    }
}

/// Steps along the product are those along the gradient, to the bit.
fn check_steps(
    kernels: Kernels,
    layer: Linear,
    x: &[f32],
    sums: &[f32],
    weight: &[f32],
    gradient: &[f32],
) {
    for (momentum, looks_ahead, weight_decay) in
        [(0.0, false, 0.0), (0.0, false, 0.01), (0.9, false, 0.01), (0.9, true, 0.01)]
    {
        let step = Sgd { rate: 0.1, momentum, looks_ahead, weight_decay };
        let (mut own, mut reference) = (weight.to_vec(), weight.to_vec());
        let (mut speed, mut reference_speed) = (noise(weight.len(), 8), noise(weight.len(), 8));
        let velocity = (momentum > 0.0).then_some(&mut speed[..]);
        kernels.weight_step(layer, step, x, sums, &mut own, velocity);
        let velocity = (momentum > 0.0).then_some(&mut reference_speed[..]);
        kernels.sgd(step, &mut reference, gradient, velocity);
        assert!(own == reference, "weights, {layer:?} {step:?} {:?}", kernels.instruction_set());
        assert!(speed == reference_speed, "velocity, {layer:?} {step:?}");
    }
}

fn check_block(block: ConvolutionBlock, batch: usize, seed: u64) {
    let c = block.convolution;
    let x = noise(batch * c.size[0] * c.size[1] * c.inputs, seed);
    let weight = noise(c.outputs * c.inputs * c.kernel[0] * c.kernel[1], seed + 1);
    let bias = noise(c.outputs, seed + 2);
    let expected = plain::block(&block, &x, &weight, &bias);
    let gradient = noise(expected.len(), seed + 3);
    for kernels in each_set() {
        let name = format!("{block:?} {:?}", kernels.instruction_set());
        let output = kernels.convolution(block, &x, &weight, &bias);
        assert_close(&format!("output, {name}"), &output.values, &expected);
        let (values, chosen) = (&output.values, &output.chosen);
        let sums = plain::block_gradient(&block, &x, &weight, values, chosen, &gradient);
        let found =
            kernels.convolution_gradient(block, &x, &weight, values, chosen, &gradient, true);
        assert_close(
            &format!("input, {name}"),
            found.input.as_deref().expect("it was asked for"),
            &sums.input,
        );
        assert_close(&format!("weight, {name}"), &found.weight, &sums.weight);
        assert_close(&format!("bias, {name}"), &found.bias, &sums.bias);
        let without =
            kernels.convolution_gradient(block, &x, &weight, values, chosen, &gradient, false);
        assert_eq!(without.input, None);
        assert_eq!((without.weight, without.bias), (found.weight, found.bias));
    }
}

prop_compose! {
    fn axes()(
        kernel in 1usize..6, extra in 0usize..7, stride in 1usize..4, padding in 0usize..5,
    ) -> [usize; 4] {
        let padding = padding.min(kernel - 1);
        // The kernel fits into the padded image, and the image has a pixel.
        [kernel.saturating_sub(2 * padding).max(1) + extra, kernel, stride, padding]
    }
}

prop_compose! {
    fn convolutions()(
        inputs in 1usize..36, outputs in 1usize..70, [rows, columns] in [axes(), axes()],
    ) -> Convolution {
        let axis = |index: usize| [rows[index], columns[index]];
        Convolution {
            inputs, outputs, size: axis(0), kernel: axis(1), stride: axis(2), padding: axis(3),
        }
    }
}

prop_compose! {
    fn blocks()(
        convolution in convolutions(), activation in activations(), pools in any::<bool>(),
        kernel in [1usize..4, 1usize..4], stride in [1usize..4, 1usize..4],
    ) -> ConvolutionBlock {
        let size = convolution.output();
        let kernel = [kernel[0].min(size[0]), kernel[1].min(size[1])];
        ConvolutionBlock { convolution, pool: pools.then_some(MaxPool { kernel, stride }), activation }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn linear_layers_are_plain_loops(
        batch in 1usize..34, inputs in 1usize..150, outputs in 1usize..150,
        activation in activations(), seed in 0u64..1000,
    ) {
        check_linear(Linear { batch, inputs, outputs, activation }, seed);
    }

    #[test]
    fn convolutions_are_plain_loops(block in blocks(), batch in 1usize..4, seed in 0u64..1000) {
        check_block(block, batch, seed);
    }

    #[test]
    fn cross_entropies_are_plain_loops(
        rows in 1usize..20, width in 1usize..40, scale in 0.1f32..30.0, seed in 0u64..1000,
    ) {
        let logits: Vec<f32> =
            noise(rows * width, seed).into_iter().map(|x| x * scale).collect();
        let targets: Vec<f32> =
            noise(rows * width, seed + 1).into_iter().map(f32::abs).collect();
        let (loss, gradient) = plain::cross_entropy(width, &logits, &targets);
        for kernels in each_set() {
            let found = kernels.cross_entropy(width, &logits, &targets);
            assert_close("loss", &[found.loss], &[loss]);
            assert_close("gradient", &found.gradient, &gradient);
        }
    }
}

/// The layers of the 2NN and the CNN of McMahan et al., at batches of one, ten and a part.
#[test]
fn layers_of_the_built_in_models_are_plain_loops() {
    for (inputs, outputs) in [(784, 200), (200, 200), (200, 10), (784, 10), (1000, 512)] {
        for batch in [1, 7, 10] {
            check_linear(Linear { batch, inputs, outputs, activation: Activation::Relu }, 9);
        }
    }
    for (side, inputs, outputs) in [(28, 1, 32), (14, 32, 64)] {
        let convolution = Convolution {
            inputs,
            outputs,
            size: [side; 2],
            kernel: [5; 2],
            stride: [1; 2],
            padding: [2; 2],
        };
        let pool = Some(MaxPool { kernel: [2; 2], stride: [2; 2] });
        check_block(ConvolutionBlock { convolution, pool, activation: Activation::Relu }, 2, 5);
    }
}

/// Each position of a sequence is a row: more than a part of a sum, and more than few.
#[test]
fn layers_on_many_rows_are_plain_loops() {
    for (batch, inputs, outputs) in [(128, 9, 21), (300, 33, 17), (517, 5, 150)] {
        check_linear(Linear { batch, inputs, outputs, activation: Activation::Identity }, 3);
        check_linear(Linear { batch, inputs, outputs, activation: Activation::Relu }, 4);
    }
}

/// A signal is an image of height 1.
#[test]
fn a_convolution_in_one_dimension_has_a_known_answer() {
    let convolution = Convolution {
        inputs: 1,
        outputs: 1,
        size: [1, 4],
        kernel: [1, 3],
        stride: [1, 2],
        padding: [0, 1],
    };
    let block = ConvolutionBlock { convolution, pool: None, activation: Activation::Identity };
    for kernels in each_set() {
        let weight = [1.0, 10.0, 100.0];
        let output = kernels.convolution(block, &[1.0, 2.0, 3.0, 4.0], &weight, &[0.5]);
        assert_eq!(output.values, [210.5, 432.5]);
        // Output 0 sees (0, x0, x1), output 1 sees (x1, x2, x3).
        let found = kernels.convolution_gradient(
            block,
            &[1.0, 2.0, 3.0, 4.0],
            &weight,
            &output.values,
            &[],
            &[1.0, 2.0],
            true,
        );
        assert_eq!(found.input.unwrap(), [10.0, 102.0, 20.0, 200.0]);
        assert_eq!(found.weight, [4.0, 7.0, 10.0]);
        assert_eq!(found.bias, [3.0]);
    }
}

/// One channel passed through, so that the block is the pooling alone.
fn pooling(pool: MaxPool, size: [usize; 2], activation: Activation) -> ConvolutionBlock {
    let convolution = Convolution {
        inputs: 1,
        outputs: 1,
        size,
        kernel: [1; 2],
        stride: [1; 2],
        padding: [0; 2],
    };
    ConvolutionBlock { convolution, pool: Some(pool), activation }
}

#[test]
fn of_equal_maxima_the_first_takes_the_gradient_and_of_nan_the_last() {
    let nan = f32::NAN;
    for kernel in [[2, 2], [1, 4], [4, 1]] {
        let size = if kernel == [2, 2] { [2, 2] } else { kernel };
        let block = pooling(MaxPool { kernel, stride: [1, 1] }, size, Activation::Identity);
        let cases = [
            ([3.0, 3.0, 3.0, 3.0], 0),
            ([1.0, 3.0, 3.0, 2.0], 1),
            ([-5.0, -5.0, -6.0, -4.0], 3),
            ([nan, 9.0, nan, 9.0], 2),
        ];
        for (x, place) in cases {
            for kernels in each_set() {
                let output = kernels.convolution(block, &x, &[1.0], &[0.0]);
                assert_eq!(output.chosen, [place], "{x:?}");
                let (values, chosen) = (&output.values, &output.chosen);
                let found =
                    kernels.convolution_gradient(block, &x, &[1.0], values, chosen, &[7.0], true);
                let mut expected = [0.0; 4];
                expected[place as usize] = 7.0;
                assert_eq!(found.input.unwrap(), expected, "{x:?}");
            }
        }
    }
}

#[test]
fn a_pixel_in_two_windows_has_the_gradients_of_both() {
    let pool = MaxPool { kernel: [1, 2], stride: [1, 1] };
    let block = pooling(pool, [1, 3], Activation::Relu);
    for kernels in each_set() {
        let x = [1.0, 2.0, 1.0];
        let output = kernels.convolution(block, &x, &[1.0], &[0.0]);
        let (values, chosen) = (&output.values, &output.chosen);
        let found =
            kernels.convolution_gradient(block, &x, &[1.0], values, chosen, &[3.0, 4.0], true);
        assert_eq!(found.input.unwrap(), [0.0, 7.0, 0.0]);
    }
}

/// Values that are not finite come out wherever they come out of plain loops.
#[test]
fn nan_and_infinity_are_not_hidden() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let layer = Linear { batch: 5, inputs: 9, outputs: 21, activation: Activation::Identity };
        let mut x = noise(5 * 9, 1);
        let (mut weight, bias) = (noise(9 * 21, 2), noise(21, 3));
        let mut gradient = noise(5 * 21, 4);
        (x[12], weight[40], gradient[33]) = (bad, bad, bad);
        let relu = Linear { activation: Activation::Relu, ..layer };
        for kernels in each_set() {
            for layer in [layer, relu] {
                let expected = plain::linear(layer, &x, &weight, &bias);
                let y = kernels.linear(layer, &x, &weight, &bias);
                assert_close("output", &y, &expected);
                let sums = plain::linear_gradient(layer, &x, &weight, &y, &gradient);
                let found = kernels.linear_gradient(layer, &weight, &y, &gradient, true);
                assert_close("input", &found.input.unwrap(), &sums.input);
                let before = found.sums.as_deref().unwrap_or(&gradient);
                let product = kernels.weight_gradient(layer, &x, before);
                assert_close("weight", &product, &sums.weight);
                assert_close("bias", &found.bias, &sums.bias);
            }
            let logits = [0.5, bad, -0.5];
            let found = kernels.cross_entropy(3, &logits, &[1.0, 0.0, 0.0]);
            let (loss, gradient) = plain::cross_entropy(3, &logits, &[1.0, 0.0, 0.0]);
            assert_close("loss", &[found.loss], &[loss]);
            assert_close("gradient", &found.gradient, &gradient);
            let mut weights = [1.0, 2.0];
            kernels.sgd(
                Sgd { rate: 0.1, momentum: 0.0, looks_ahead: false, weight_decay: 0.0 },
                &mut weights,
                &[bad, 1.0],
                None,
            );
            assert!(!weights[0].is_finite() && weights[1] == 1.9);
        }
    }
}

/// A bad pixel of an image spoils every window that it is in, through pooling and ReLU.
#[test]
fn nan_of_an_image_reaches_the_output_and_the_gradients() {
    let convolution = Convolution {
        inputs: 3,
        outputs: 18,
        size: [6, 6],
        kernel: [3; 2],
        stride: [1; 2],
        padding: [1; 2],
    };
    let pool = Some(MaxPool { kernel: [2; 2], stride: [2; 2] });
    let block = ConvolutionBlock { convolution, pool, activation: Activation::Relu };
    let (mut x, weight) = (noise(6 * 6 * 3, 1), noise(18 * 3 * 9, 2));
    x[(2 * 6 + 3) * 3] = f32::NAN;
    let bias = noise(18, 3);
    let expected = plain::block(&block, &x, &weight, &bias);
    assert!(expected.iter().any(|value| value.is_nan()));
    for kernels in each_set() {
        let output = kernels.convolution(block, &x, &weight, &bias);
        assert_close("output", &output.values, &expected);
        let (values, chosen) = (&output.values, &output.chosen);
        let gradient = noise(values.len(), 4);
        let sums = plain::block_gradient(&block, &x, &weight, values, chosen, &gradient);
        let found =
            kernels.convolution_gradient(block, &x, &weight, values, chosen, &gradient, true);
        assert_close("weight", &found.weight, &sums.weight);
        assert_close("input", &found.input.unwrap(), &sums.input);
    }
}

fn doubles(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| f64::from(x)).collect()
}

/// The gradients beside central differences of the loops in double precision.
#[test]
fn recurrent_layers_have_the_states_and_gradients_of_plain_loops() {
    for (cell, batch, steps, units) in [
        (Cell::Gru, 1, 1, 1),
        (Cell::Lstm, 1, 1, 1),
        (Cell::Gru, 3, 5, 7),
        (Cell::Lstm, 3, 5, 7),
        (Cell::Gru, 2, 3, 18),
        (Cell::Lstm, 2, 3, 18),
    ] {
        let layer = Recurrent { cell, batch, steps, units };
        let width = cell.gates() * units;
        let projected = noise(steps * batch * width, 1);
        let (weight, bias) = (noise(units * width, 2), noise(width, 3));
        let gradient = noise(steps * batch * units, 4);
        let all = [&projected[..], &weight, &bias].concat();
        let parts = [projected.len(), weight.len(), bias.len()];
        let run = |all: &[f64]| {
            let (projected, rest) = all.split_at(parts[0]);
            let (weight, bias) = rest.split_at(parts[1]);
            plain::recurrent(layer, projected, weight, bias)
        };
        let slopes = plain::slopes(&all, &gradient, run);
        let expected = run(&doubles(&all));
        for kernels in each_set() {
            let name = format!("{layer:?} {:?}", kernels.instruction_set());
            let states = kernels.recurrent(layer, &projected, &weight, &bias);
            assert_close(&format!("hidden, {name}"), &states.hidden, &expected);
            let found = kernels.recurrent_gradient(layer, &weight, &states, &gradient);
            let found = [found.projected, found.weight, found.bias];
            assert_eq!(found.each_ref().map(Vec::len), parts);
            assert_close(&format!("gradients, {name}"), &found.concat(), &slopes);
        }
    }
}

#[test]
fn nan_of_a_step_reaches_the_later_ones_and_the_gradients() {
    for cell in [Cell::Gru, Cell::Lstm] {
        let layer = Recurrent { cell, batch: 1, steps: 3, units: 2 };
        let width = 2 * cell.gates();
        let mut projected = noise(3 * width, 1);
        projected[width] = f32::NAN;
        let (weight, bias) = (noise(2 * width, 2), noise(width, 3));
        for kernels in each_set() {
            let states = kernels.recurrent(layer, &projected, &weight, &bias);
            assert!(states.hidden[..2].iter().all(|x| x.is_finite()), "{cell:?}");
            assert!(states.hidden[4..].iter().all(|x| x.is_nan()), "{cell:?}");
            let found = kernels.recurrent_gradient(layer, &weight, &states, &[1.0; 6]);
            assert!(found.weight.iter().all(|x| x.is_nan()), "{cell:?}");
        }
    }
}

/// Positions and sizes of less than a tile or a vector, of whole ones and of parts.
#[test]
fn attentions_have_the_outputs_and_gradients_of_plain_loops() {
    for (batch, positions, heads, size) in
        [(1, 1, 1, 1), (2, 5, 3, 2), (1, 16, 2, 16), (1, 7, 2, 4), (2, 19, 1, 21), (1, 33, 2, 5)]
    {
        let layer = Attention { batch, positions, heads, size };
        let width = batch * positions * heads * size;
        // Larger than noise, so that shares differ.
        let projected: Vec<f32> = noise(3 * width, 1).iter().map(|x| 2.0 * x).collect();
        let gradient = noise(width, 2);
        let run = |projected: &[f64]| plain::attention(layer, projected);
        let (expected, slopes) =
            (run(&doubles(&projected)), plain::slopes(&projected, &gradient, run));
        for kernels in each_set() {
            let name = format!("{layer:?} {:?}", kernels.instruction_set());
            let output = kernels.attention(layer, &projected);
            assert_close(&format!("output, {name}"), &output, &expected);
            let found = kernels.attention_gradient(layer, &projected, &gradient);
            assert_close(&format!("gradient, {name}"), &found, &slopes);
        }
    }
}

#[test]
fn an_attention_without_positions_heads_or_values_is_empty() {
    for (batch, positions, heads, size) in [(0, 3, 2, 4), (2, 0, 2, 4), (2, 3, 0, 4), (2, 3, 2, 0)]
    {
        let layer = Attention { batch, positions, heads, size };
        for kernels in each_set() {
            assert_eq!(kernels.attention(layer, &[]), []);
            assert_eq!(kernels.attention_gradient(layer, &[], &[]), []);
        }
    }
}

/// Products of queries and keys as large as a hundred, and a query that is NaN.
#[test]
fn an_attention_takes_large_products_and_shows_nan_from_its_position_on() {
    let layer = Attention { batch: 1, positions: 20, heads: 1, size: 2 };
    let mut projected: Vec<f32> = noise(20 * 6, 3).iter().map(|x| 10.0 * x).collect();
    let expected = plain::attention(layer, &doubles(&projected));
    for kernels in each_set() {
        assert_close("output", &kernels.attention(layer, &projected), &expected);
    }
    projected[18 * 6] = f32::NAN;
    for kernels in each_set() {
        let output = kernels.attention(layer, &projected);
        let is_nan = |position: usize| output[2 * position..][..2].iter().all(|x| x.is_nan());
        assert!((0..20).all(|position| is_nan(position) == (position == 18)), "{output:?}");
        let found = kernels.attention_gradient(layer, &projected, &[1.0; 40]);
        assert!(found.iter().any(|x| x.is_nan()));
    }
}

#[test]
fn layer_norms_have_the_outputs_and_gradients_of_plain_loops() {
    for (rows, width) in [(0, 4), (1, 1), (3, 2), (5, 16), (4, 23), (2, 70)] {
        let (x, gamma, beta) = (noise(rows * width, 1), noise(width, 2), noise(width, 3));
        let gradient = noise(rows * width, 4);
        let all = [&x[..], &gamma, &beta].concat();
        let run = |all: &[f64]| {
            let (x, rest) = all.split_at(rows * width);
            let (gamma, beta) = rest.split_at(width);
            plain::layer_norm(x, gamma, beta, f64::from(0.01f32))
        };
        let (expected, slopes) = (run(&doubles(&all)), plain::slopes(&all, &gradient, run));
        for kernels in each_set() {
            let name = format!("{rows} x {width} {:?}", kernels.instruction_set());
            let output = kernels.layer_norm(&x, &gamma, &beta, 0.01);
            assert_close(&format!("output, {name}"), &output, &expected);
            let found = kernels.layer_norm_gradient(&x, &gamma, &gradient, 0.01);
            let found = [found.input, found.gamma, found.beta].concat();
            assert_close(&format!("gradients, {name}"), &found, &slopes);
        }
    }
}

#[test]
fn gelu_has_the_values_and_slopes_of_the_formula() {
    // Phi(1) and phi(1) of the standard normal distribution.
    let (below, density) = (0.841_344_8f32, 0.241_970_7f32);
    let x = [0.0, 1.0, -1.0, 20.0, -20.0, f32::INFINITY, f32::NAN];
    let expected = [0.0, below, below - 1.0, 20.0, 0.0, f32::INFINITY, f32::NAN];
    let slopes = [0.5, below + density, 1.0 - below - density, 1.0, 0.0, f32::NAN, f32::NAN];
    for kernels in each_set() {
        assert_close("output", &kernels.gelu(&x), &doubles(&expected));
        let found = kernels.gelu_gradient(&x, &[2.0; 7]);
        assert_close("gradient", &found, &doubles(&slopes.map(|slope| 2.0 * slope)));
        assert_eq!(kernels.gelu(&[]), []);
    }
}

#[test]
fn sgd_with_momentum_and_decay_has_a_known_answer() {
    for kernels in each_set() {
        let step = Sgd { rate: 0.5, momentum: 0.25, looks_ahead: false, weight_decay: 0.125 };
        let (mut weights, mut velocity) = (vec![8.0f32; 37], vec![0.0; 37]);
        // g = 3 + 8 / 8 = 4, v = 4, w = 6; then g = 3 + 6 / 8, v = 1 + 3.75, w = 6 - 2.375.
        kernels.sgd(step, &mut weights, &[3.0; 37], Some(&mut velocity));
        assert_eq!((weights[36], velocity[0]), (6.0, 4.0));
        kernels.sgd(step, &mut weights, &[3.0; 37], Some(&mut velocity));
        assert_eq!((weights[0], velocity[36]), (3.625, 4.75));
        kernels.sgd(Sgd { momentum: 0.0, ..step }, &mut weights, &[0.0; 37], None);
        assert_eq!(weights[18], 3.625 - 0.5 * 3.625 * 0.125);
        // g = 4 and v = 4 again, but the step is along 4 / 4 + 4.
        (weights, velocity) = (vec![8.0; 37], vec![0.0; 37]);
        let step = Sgd { looks_ahead: true, ..step };
        kernels.sgd(step, &mut weights, &[3.0; 37], Some(&mut velocity));
        assert_eq!((weights[36], velocity[0]), (5.5, 4.0));
    }
}

#[test]
fn adam_has_a_known_answer() {
    for kernels in each_set() {
        let step = Adam { rate: 0.5, beta1: 0.5, beta2: 0.75, epsilon: 1.0, decay: 0.125 };
        let mut weights = vec![8.0f32; 37];
        let (mut mean, mut square) = (vec![2.0f32; 37], vec![0.0f32; 37]);
        // m = 1 + 2, v = 4, w = 8 - 1 - 0.5 * 3 / (2 + 1).
        kernels.adam(step, &mut weights, &[4.0; 37], [&mut mean, &mut square]);
        assert_eq!((weights[36], mean[0], square[18]), (6.5, 3.0, 4.0));
        assert!(weights.iter().all(|&weight| weight == 6.5));
    }
}

#[test]
#[should_panic(expected = "the weights' length")]
fn a_slice_of_another_length_is_refused() {
    let layer = Linear { batch: 1, inputs: 2, outputs: 3, activation: Activation::Identity };
    Kernels::best().linear(layer, &[1.0, 2.0], &[0.0; 5], &[0.0; 3]);
}

/// The portable kernels are there on every machine, and the best is one of the available.
#[test]
fn the_best_instruction_set_is_the_last_available() {
    let sets: Vec<_> = InstructionSet::available().collect();
    assert_eq!(sets[0], InstructionSet::Portable);
    assert_eq!(Kernels::best().instruction_set(), sets[sets.len() - 1]);
    assert_eq!(Kernels::with(InstructionSet::Simd128).is_some(), cfg!(target_arch = "wasm32"));
}
