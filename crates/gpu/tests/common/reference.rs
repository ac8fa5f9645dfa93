//! Plain loops in double precision: the loss of a batch and its gradient.

use fedra_protocol::{Layer, Loss, ModelSpec, Shape};

/// Targets of a batch.
pub enum Targets<'a> {
    Classes(&'a [u32]),
    Values(&'a [f64]),
}

/// A value of each layer's input, kept for the way back.
struct Step {
    input: Vec<f64>,
    /// Place of each maximum, or mean and deviation of a normalisation.
    places: Vec<usize>,
    moments: [f64; 2],
}

fn image(shape: Shape) -> [usize; 3] {
    match shape {
        Shape::Image { channels, height, width } => [channels, height, width].map(|n| n as usize),
        other => [other.len(), 1, 1],
    }
}

/// `erf` by its series, or its continued fraction where that converges faster.
fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a > 3.0 {
        let mut fraction = 0.0;
        for k in (1..=60).rev() {
            fraction = f64::from(k) / 2.0 / (a + fraction);
        }
        let tail = (-a * a).exp() / std::f64::consts::PI.sqrt() / (a + fraction);
        return x.signum() * (1.0 - tail);
    }
    let (mut term, mut sum) = (x, x);
    for k in 1..100 {
        term *= -x * x / f64::from(k);
        sum += term / f64::from(2 * k + 1);
    }
    2.0 / std::f64::consts::PI.sqrt() * sum
}

fn normal_below(x: f64) -> f64 {
    0.5 * (1.0 + erf(x / std::f64::consts::SQRT_2))
}

/// Value and slope of an element-wise layer.
fn element_wise(layer: &Layer, x: f64) -> Option<(f64, f64)> {
    Some(match layer {
        Layer::Relu(_) => (x.max(0.0), f64::from(u8::from(x > 0.0))),
        Layer::Tanh(_) => (x.tanh(), 1.0 - x.tanh().powi(2)),
        Layer::Sigmoid(_) => {
            let y = 1.0 / (1.0 + (-x).exp());
            (y, y * (1.0 - y))
        }
        Layer::Gelu(_) => {
            let density = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
            (x * normal_below(x), normal_below(x) + x * density)
        }
        Layer::Elu(elu) => {
            let alpha = f64::from(elu.alpha);
            if x > 0.0 { (x, 1.0) } else { (alpha * (x.exp() - 1.0), alpha * x.exp()) }
        }
        Layer::Abs(_) => (x.abs(), if x == 0.0 { 0.0 } else { x.signum() }),
        // The gradient of a batch is without dropout.
        Layer::Dropout(_) | Layer::Flatten(_) => (x, 1.0),
        _ => return None,
    })
}

/// Calls `each(output, input, weight)` for each product of a convolution, as positions in
/// channels-first tensors.
fn products(
    layer: &Layer,
    from: [usize; 3],
    to: [usize; 3],
    mut each: impl FnMut(usize, usize, usize),
) {
    let Layer::Conv2d(conv) = layer else { return };
    let [kernel, stride, padding] =
        [conv.kernel, conv.stride, conv.padding].map(|number| number as usize);
    let ([inputs, height, width], [outputs, rows, columns]) = (from, to);
    for o in 0..outputs {
        for i in 0..inputs {
            for ky in 0..kernel {
                for kx in 0..kernel {
                    let weight = ((o * inputs + i) * kernel + ky) * kernel + kx;
                    for y in 0..rows {
                        let sy = (y * stride + ky).wrapping_sub(padding);
                        if sy >= height {
                            continue;
                        }
                        for x in 0..columns {
                            let sx = (x * stride + kx).wrapping_sub(padding);
                            if sx < width {
                                let output = (o * rows + y) * columns + x;
                                each(output, (i * height + sy) * width + sx, weight);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Calls `each(output, place in the window, input)` for each value under a window.
fn windows(
    (kernel, stride): (u32, u32),
    from: [usize; 3],
    to: [usize; 3],
    mut each: impl FnMut(usize, usize),
) {
    let (kernel, stride) = (kernel as usize, stride as usize);
    for c in 0..to[0] {
        for y in 0..to[1] {
            for x in 0..to[2] {
                for ky in 0..kernel {
                    for kx in 0..kernel {
                        let input = (c * from[1] + y * stride + ky) * from[2] + x * stride + kx;
                        each((c * to[1] + y) * to[2] + x, input);
                    }
                }
            }
        }
    }
}

/// Mean loss and flat gradient of a batch; `inputs` are the examples one after the other.
pub fn gradient(
    spec: &ModelSpec,
    parameters: &[f64],
    inputs: &[f64],
    targets: &Targets<'_>,
) -> (f64, Vec<f64>) {
    let batch = inputs.len() / spec.input().len();
    let mut total = (0.0, vec![0.0; parameters.len()]);
    for (index, input) in inputs.chunks(spec.input().len()).enumerate() {
        let (output, steps) = forward(spec, parameters, input);
        let (loss, slope) = loss(spec, &output, targets, index);
        total.0 += loss / batch as f64;
        let slope = slope.iter().map(|g| g / batch as f64).collect();
        backward(spec, parameters, &steps, slope, &mut total.1);
    }
    total
}

/// Least distance of a batch from a jump of the gradient: of a value from the kink of ReLU,
/// and of a maximum from the next smaller value of its window.
pub fn nearest_jump(spec: &ModelSpec, parameters: &[f64], inputs: &[f64]) -> f64 {
    let mut nearest = f64::INFINITY;
    for input in inputs.chunks(spec.input().len()) {
        let (_, steps) = forward(spec, parameters, input);
        for (index, (layer, step)) in spec.layers().iter().zip(&steps).enumerate() {
            let (from, to) = around(spec, index);
            match layer {
                Layer::Relu(_) => {
                    nearest = step.input.iter().fold(nearest, |least, x| least.min(x.abs()));
                }
                Layer::MaxPool2d(pool) => {
                    windows((pool.kernel, pool.stride), from, to, |output, input| {
                        let gap = step.input[step.places[output]] - step.input[input];
                        // Equal values are cut off at 0 in any precision: no jump.
                        if gap > 0.0 {
                            nearest = nearest.min(gap);
                        }
                    });
                }
                _ => {}
            }
        }
    }
    nearest
}

fn loss(spec: &ModelSpec, output: &[f64], targets: &Targets<'_>, index: usize) -> (f64, Vec<f64>) {
    match (spec.loss(), targets) {
        (Loss::SoftmaxCrossEntropy, Targets::Classes(classes)) => {
            let class = classes[index] as usize;
            let top = output.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = output.iter().map(|z| (z - top).exp()).sum();
            let mut slope: Vec<f64> = output.iter().map(|z| (z - top).exp() / sum).collect();
            slope[class] -= 1.0;
            (sum.ln() + top - output[class], slope)
        }
        (Loss::MeanSquaredError, Targets::Values(values)) => {
            let width = output.len();
            let differences: Vec<f64> =
                output.iter().zip(&values[index * width..]).map(|(y, t)| y - t).collect();
            let loss = differences.iter().map(|d| d * d).sum::<f64>() / width as f64;
            (loss, differences.iter().map(|d| 2.0 * d / width as f64).collect())
        }
        _ => panic!("targets of another loss"),
    }
}

/// The shapes around a layer.
fn around(spec: &ModelSpec, index: usize) -> ([usize; 3], [usize; 3]) {
    let after = spec.inputs().get(index + 1).copied().unwrap_or(spec.output());
    (image(spec.inputs()[index]), image(after))
}

fn forward(spec: &ModelSpec, parameters: &[f64], input: &[f64]) -> (Vec<f64>, Vec<Step>) {
    let (mut values, mut steps, mut rest) = (input.to_vec(), Vec::new(), parameters);
    let mut take = |len: usize| {
        let (taken, left) = rest.split_at(len);
        rest = left;
        taken
    };
    for (index, layer) in spec.layers().iter().enumerate() {
        let (from, to) = around(spec, index);
        let mut step = Step { input: values.clone(), places: Vec::new(), moments: [0.0; 2] };
        values = match layer {
            Layer::Linear(linear) => {
                let n = linear.outputs as usize;
                let weights = take(values.len() * n);
                let mut output = take(n).to_vec();
                for (x, row) in values.iter().zip(weights.chunks(n)) {
                    output.iter_mut().zip(row).for_each(|(y, w)| *y += x * w);
                }
                output
            }
            Layer::Conv2d(conv) => {
                let weights = take(to[0] * from[0] * (conv.kernel * conv.kernel) as usize);
                let bias = take(to[0]);
                let pixels = to[1] * to[2];
                let mut output: Vec<f64> = (0..to[0] * pixels).map(|i| bias[i / pixels]).collect();
                products(layer, from, to, |o, i, w| output[o] += values[i] * weights[w]);
                output
            }
            Layer::MaxPool2d(pool) => {
                step.places = vec![usize::MAX; to.iter().product()];
                windows((pool.kernel, pool.stride), from, to, |output, input| {
                    let place = &mut step.places[output];
                    if *place == usize::MAX || values[input] > values[*place] {
                        *place = input;
                    }
                });
                step.places.iter().map(|&place| values[place]).collect()
            }
            Layer::AvgPool2d(pool) => {
                let mut output = vec![0.0; to.iter().product()];
                let count = f64::from(pool.kernel).powi(2);
                let window = (pool.kernel, pool.stride);
                windows(window, from, to, |output_at, input| {
                    output[output_at] += values[input] / count;
                });
                output
            }
            Layer::LayerNorm(norm) => {
                let n = values.len();
                let (gamma, beta) = (take(n), take(n));
                let mean = values.iter().sum::<f64>() / n as f64;
                let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
                let scale = 1.0 / (variance + f64::from(norm.epsilon)).sqrt();
                step.moments = [mean, scale];
                (0..n).map(|i| (values[i] - mean) * scale * gamma[i] + beta[i]).collect()
            }
            other => values
                .iter()
                .map(|&x| element_wise(other, x).expect("an element-wise layer").0)
                .collect(),
        };
        steps.push(step);
    }
    (values, steps)
}

fn backward(
    spec: &ModelSpec,
    parameters: &[f64],
    steps: &[Step],
    mut slope: Vec<f64>,
    gradient: &mut [f64],
) {
    let mut end = parameters.len();
    for (index, layer) in spec.layers().iter().enumerate().rev() {
        let (from, to) = around(spec, index);
        let Step { input, places, moments: [mean, scale] } = &steps[index];
        let mut back = vec![0.0; input.len()];
        match layer {
            Layer::Linear(linear) => {
                let n = linear.outputs as usize;
                end -= (input.len() + 1) * n;
                for (k, x) in input.iter().enumerate() {
                    let row = end + k * n;
                    for (j, g) in slope.iter().enumerate() {
                        gradient[row + j] += x * g;
                        back[k] += parameters[row + j] * g;
                    }
                }
                let bias = end + input.len() * n;
                slope.iter().enumerate().for_each(|(j, g)| gradient[bias + j] += g);
            }
            Layer::Conv2d(conv) => {
                let weights = to[0] * from[0] * (conv.kernel * conv.kernel) as usize;
                end -= weights + to[0];
                products(layer, from, to, |o, i, w| {
                    gradient[end + w] += input[i] * slope[o];
                    back[i] += parameters[end + w] * slope[o];
                });
                let pixels = to[1] * to[2];
                for (i, g) in slope.iter().enumerate() {
                    gradient[end + weights + i / pixels] += g;
                }
            }
            Layer::MaxPool2d(_) => {
                for (&place, g) in places.iter().zip(&slope) {
                    back[place] += g;
                }
            }
            Layer::AvgPool2d(pool) => {
                let count = f64::from(pool.kernel).powi(2);
                let window = (pool.kernel, pool.stride);
                windows(window, from, to, |output, input| back[input] += slope[output] / count);
            }
            Layer::LayerNorm(_) => {
                let n = input.len();
                end -= 2 * n;
                let (mut sum, mut product) = (0.0, 0.0);
                for i in 0..n {
                    let normal = (input[i] - mean) * scale;
                    gradient[end + i] += slope[i] * normal;
                    gradient[end + n + i] += slope[i];
                    sum += slope[i] * parameters[end + i];
                    product += slope[i] * parameters[end + i] * normal;
                }
                for i in 0..n {
                    let normal = (input[i] - mean) * scale;
                    let own = slope[i] * parameters[end + i];
                    back[i] = scale * (own - sum / n as f64 - normal * product / n as f64);
                }
            }
            other => {
                for (i, &x) in input.iter().enumerate() {
                    back[i] = slope[i] * element_wise(other, x).expect("an element-wise layer").1;
                }
            }
        }
        slope = back;
    }
}
