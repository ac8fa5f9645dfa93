//! The kernels as plain loops in double precision.

use fedra_kernels::{
    Activation, Attention, Cell, Convolution, ConvolutionBlock, Linear, MaxPool, Recurrent,
};

/// Values from -1 to 1 that a seed decides.
pub fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// Holds values to their double-precision ones, by an error relative to the largest; where
/// the loops have NaN or infinity, the kernels must have what is not finite either.
pub fn assert_close(name: &str, actual: &[f32], expected: &[f64]) {
    assert_eq!(actual.len(), expected.len(), "{name}: length");
    let largest =
        expected.iter().filter(|x| x.is_finite()).fold(1e-3f64, |most, x| most.max(x.abs()));
    for (index, (&actual, &expected)) in actual.iter().zip(expected).enumerate() {
        if expected.is_finite() {
            let error = (f64::from(actual) - expected).abs() / largest;
            assert!(error < 3e-6, "{name}[{index}]: {actual} is not {expected} ({error:e})");
        } else {
            assert!(!actual.is_finite(), "{name}[{index}]: {actual} hides {expected}");
        }
    }
}

fn activated(activation: Activation, value: f64) -> f64 {
    if activation == Activation::Relu && value <= 0.0 { 0.0 } else { value }
}

/// Gradient of an input, of the weights and of the bias.
pub struct Gradients {
    pub input: Vec<f64>,
    pub weight: Vec<f64>,
    pub bias: Vec<f64>,
}

pub fn linear(layer: Linear, x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f64> {
    let Linear { batch, inputs, outputs, activation } = layer;
    let mut y = Vec::new();
    for row in 0..batch {
        for output in 0..outputs {
            let mut sum = f64::from(bias[output]);
            for input in 0..inputs {
                sum += f64::from(x[row * inputs + input])
                    * f64::from(weight[input * outputs + output]);
            }
            y.push(activated(activation, sum));
        }
    }
    y
}

pub fn linear_gradient(
    layer: Linear,
    x: &[f32],
    weight: &[f32],
    y: &[f32],
    gradient: &[f32],
) -> Gradients {
    let Linear { batch, inputs, outputs, activation } = layer;
    let mut sums = Gradients {
        input: vec![0.0; batch * inputs],
        weight: vec![0.0; inputs * outputs],
        bias: vec![0.0; outputs],
    };
    for row in 0..batch {
        for output in 0..outputs {
            let at = row * outputs + output;
            let shut = activation == Activation::Relu && y[at] <= 0.0;
            let dy = if shut { 0.0 } else { f64::from(gradient[at]) };
            sums.bias[output] += dy;
            for input in 0..inputs {
                let (x_at, w_at) = (row * inputs + input, input * outputs + output);
                sums.input[x_at] += dy * f64::from(weight[w_at]);
                sums.weight[w_at] += dy * f64::from(x[x_at]);
            }
        }
    }
    sums
}

/// Calls `each(output pixel, input pixel, tap)` for every product of a convolution.
fn taps(convolution: &Convolution, mut each: impl FnMut(usize, usize, usize)) {
    let Convolution { size, kernel, stride, padding, .. } = *convolution;
    let [rows, columns] = convolution.output();
    for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
        for tap in 0..kernel[0] * kernel[1] {
            let y = (row * stride[0] + tap / kernel[1]).wrapping_sub(padding[0]);
            let x = (column * stride[1] + tap % kernel[1]).wrapping_sub(padding[1]);
            if y < size[0] && x < size[1] {
                each(row * columns + column, y * size[1] + x, tap);
            }
        }
    }
}

/// Output of the convolution alone.
pub fn convolution(c: &Convolution, x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f64> {
    let (image, taps_count) = (c.size[0] * c.size[1] * c.inputs, c.kernel[0] * c.kernel[1]);
    let pixels: usize = c.output().iter().product();
    let mut all = Vec::new();
    for x in x.chunks_exact(image) {
        let mut y = vec![0.0; pixels * c.outputs];
        for (index, y) in y.iter_mut().enumerate() {
            *y = f64::from(bias[index % c.outputs]);
        }
        taps(c, |to, from, tap| {
            for output in 0..c.outputs {
                for input in 0..c.inputs {
                    y[to * c.outputs + output] += f64::from(x[from * c.inputs + input])
                        * f64::from(weight[(output * c.inputs + input) * taps_count + tap]);
                }
            }
        });
        all.extend(y);
    }
    all
}

/// Pooled images, and for each value the pixel that it comes from.
pub fn pooled(
    pool: &MaxPool,
    size: [usize; 2],
    channels: usize,
    images: &[f64],
) -> (Vec<f64>, Vec<usize>) {
    let [rows, columns] = pool.output(size);
    let (mut values, mut places) = (Vec::new(), Vec::new());
    for image in 0..images.len() / (size[0] * size[1] * channels) {
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |x| (row, x))) {
            for channel in 0..channels {
                let mut best: Option<(f64, usize)> = None;
                for tap in 0..pool.kernel[0] * pool.kernel[1] {
                    let y = row * pool.stride[0] + tap / pool.kernel[1];
                    let x = column * pool.stride[1] + tap % pool.kernel[1];
                    let at = ((image * size[0] + y) * size[1] + x) * channels + channel;
                    let value = images[at];
                    if best.is_none_or(|(most, _)| value > most || value.is_nan()) {
                        best = Some((value, at));
                    }
                }
                let (value, place) = best.expect("a window has a pixel");
                values.push(value);
                places.push(place);
            }
        }
    }
    (values, places)
}

pub fn block(block: &ConvolutionBlock, x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f64> {
    let c = &block.convolution;
    let mut y = convolution(c, x, weight, bias);
    if let Some(pool) = &block.pool {
        y = pooled(pool, c.output(), c.outputs, &y).0;
    }
    y.into_iter().map(|value| activated(block.activation, value)).collect()
}

/// Gradients of a block. Which pixel a maximum comes from is the kernel's to say, because
/// rounding may decide between two.
pub fn block_gradient(
    block: &ConvolutionBlock,
    x: &[f32],
    weight: &[f32],
    values: &[f32],
    chosen: &[u32],
    gradient: &[f32],
) -> Gradients {
    let c = &block.convolution;
    let [rows, columns] = c.output();
    let (image, taps_count) = (c.size[0] * c.size[1] * c.inputs, c.kernel[0] * c.kernel[1]);
    let batch = x.len() / image;
    let mut dy = vec![0.0; batch * rows * columns * c.outputs];
    let [out_rows, out_columns] = block.output();
    for (index, (&value, &gradient)) in values.iter().zip(gradient).enumerate() {
        let channel = index % c.outputs;
        let pixel = index / c.outputs;
        let (picture, pixel) = (pixel / (out_rows * out_columns), pixel % (out_rows * out_columns));
        let (mut row, mut column) = (pixel / out_columns, pixel % out_columns);
        if let Some(pool) = &block.pool {
            let tap = chosen[index] as usize;
            row = row * pool.stride[0] + tap / pool.kernel[1];
            column = column * pool.stride[1] + tap % pool.kernel[1];
        }
        let shut = block.activation == Activation::Relu && value <= 0.0;
        let at = ((picture * rows + row) * columns + column) * c.outputs + channel;
        dy[at] += if shut { 0.0 } else { f64::from(gradient) };
    }
    let mut sums = Gradients {
        input: vec![0.0; x.len()],
        weight: vec![0.0; weight.len()],
        bias: vec![0.0; c.outputs],
    };
    for (index, dy) in dy.iter().enumerate() {
        sums.bias[index % c.outputs] += dy;
    }
    for picture in 0..batch {
        let dy = &dy[picture * rows * columns * c.outputs..];
        taps(c, |to, from, tap| {
            for output in 0..c.outputs {
                let dy = dy[to * c.outputs + output];
                for input in 0..c.inputs {
                    let x_at = picture * image + from * c.inputs + input;
                    let w_at = (output * c.inputs + input) * taps_count + tap;
                    sums.input[x_at] += dy * f64::from(weight[w_at]);
                    sums.weight[w_at] += dy * f64::from(x[x_at]);
                }
            }
        });
    }
    sums
}

pub fn cross_entropy(width: usize, logits: &[f32], targets: &[f32]) -> (f64, Vec<f64>) {
    let (mut loss, mut gradient) = (0.0, Vec::new());
    for (logits, targets) in logits.chunks_exact(width).zip(targets.chunks_exact(width)) {
        let logits: Vec<f64> = logits.iter().map(|&x| f64::from(x)).collect();
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logits.iter().map(|x| (x - largest).exp()).sum();
        let total: f64 = targets.iter().map(|&t| f64::from(t)).sum();
        for (logit, &target) in logits.iter().zip(targets) {
            let log = logit - largest - sum.ln();
            loss -= f64::from(target) * log;
            gradient.push(total * log.exp() - f64::from(target));
        }
    }
    (loss, gradient)
}

/// The hidden states of a recurrent layer, by PyTorch's equations.
pub fn recurrent(layer: Recurrent, projected: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let Recurrent { cell, batch, steps, units } = layer;
    let width = cell.gates() * units;
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let mut all = vec![0.0; steps * batch * units];
    for row in 0..batch {
        let (mut hidden, mut cells) = (vec![0.0; units], vec![0.0; units]);
        for step in 0..steps {
            let input = &projected[(step * batch + row) * width..][..width];
            let sum = |gate: usize, j: usize| {
                let column = gate * units + j;
                let terms = (0..units).map(|k| hidden[k] * weight[k * width + column]);
                bias[column] + terms.sum::<f64>()
            };
            let gate = |gate: usize, j: usize| input[gate * units + j] + sum(gate, j);
            let next = (0..units).map(|j| match cell {
                Cell::Gru => {
                    let (r, z) = (sigmoid(gate(0, j)), sigmoid(gate(1, j)));
                    let n = (input[2 * units + j] + r * sum(2, j)).tanh();
                    (0.0, (1.0 - z) * n + z * hidden[j])
                }
                Cell::Lstm => {
                    let (i, f) = (sigmoid(gate(0, j)), sigmoid(gate(1, j)));
                    let (g, o) = (gate(2, j).tanh(), sigmoid(gate(3, j)));
                    let cell = f * cells[j] + i * g;
                    (cell, o * cell.tanh())
                }
            });
            (cells, hidden) = next.unzip();
            all[(step * batch + row) * units..][..units].copy_from_slice(&hidden);
        }
    }
    all
}

/// Output of the heads of a causal self-attention.
pub fn attention(layer: Attention, projected: &[f64]) -> Vec<f64> {
    let Attention { batch, positions, heads, size } = layer;
    let value = |sequence: usize, position: usize, part: usize, head: usize, at: usize| {
        projected[(((sequence * positions + position) * 3 + part) * heads + head) * size + at]
    };
    let mut all = Vec::new();
    for (sequence, position) in (0..batch).flat_map(|s| (0..positions).map(move |p| (s, p))) {
        for head in 0..heads {
            let score = |other: usize| {
                let terms = (0..size).map(|at| {
                    value(sequence, position, 0, head, at) * value(sequence, other, 1, head, at)
                });
                terms.sum::<f64>() / (size as f64).sqrt()
            };
            let scores: Vec<f64> = (0..=position).map(score).collect();
            let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let shares: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
            let sum: f64 = shares.iter().sum();
            let mean = |at: usize| {
                let terms = shares.iter().enumerate();
                let terms = terms.map(|(other, share)| share * value(sequence, other, 2, head, at));
                terms.sum::<f64>() / sum
            };
            all.extend((0..size).map(mean));
        }
    }
    all
}

pub fn layer_norm(x: &[f64], gamma: &[f64], beta: &[f64], epsilon: f64) -> Vec<f64> {
    let width = gamma.len();
    let row = |row: &[f64]| {
        let mean = row.iter().sum::<f64>() / width as f64;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
        let normed = row.iter().map(|x| (x - mean) / (variance + epsilon).sqrt());
        normed.zip(gamma).zip(beta).map(|((x, gamma), beta)| x * gamma + beta).collect::<Vec<_>>()
    };
    x.chunks(width).flat_map(row).collect()
}

/// The gradient of `output` of `inputs` against `gradient`, by central differences.
pub fn slopes(inputs: &[f32], gradient: &[f32], output: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    let count = inputs.len();
    let mut inputs: Vec<f64> = inputs.iter().map(|&x| f64::from(x)).collect();
    let loss = |inputs: &[f64]| {
        let terms = output(inputs).into_iter().zip(gradient).map(|(y, &g)| y * f64::from(g));
        terms.sum::<f64>()
    };
    let central = |index: usize| {
        let value = inputs[index];
        let [above, below] = [1e-5, -1e-5].map(|shift| {
            inputs[index] = value + shift;
            loss(&inputs)
        });
        inputs[index] = value;
        (above - below) / 2e-5
    };
    (0..count).map(central).collect()
}
