//! The sum of per-example gradients, each clipped, from one backward pass.
//!
//! burn has no batched differentiation over examples. But a zero added to the
//! output of a layer, a probe, receives as its gradient what the loss of each
//! example says about that output, row by row. Together with the layer's input
//! that is all there is to know about the gradient of its weights (Goodfellow
//! 2015; Rochette, Manoel and Tramel 2019 for convolutions).
//!
//! Everything stays on the device. Noise is none of this file's business.

use burn::module::{Module, ParamId};
use burn::nn::PaddingConfig2d;
use burn::nn::conv::Conv2d;
use burn::optim::GradientsParams;
use burn::tensor::{Bool, Device, Gradients, Tensor, s};

use super::layer::{Activation, NetworkLayer};
use super::{BatchTensor, Mode, Network};

/// A sum over examples of one trained tensor's gradients.
pub(crate) struct ParameterSum {
    id: ParamId,
    dims: Vec<usize>,
    /// Row-major, without autodiff.
    pub values: Tensor<1>,
}

impl ParameterSum {
    /// Hands the sum to an optimiser.
    pub fn register(self, gradients: &mut GradientsParams) {
        match *self.dims.as_slice() {
            [a] => gradients.register(self.id, self.values.reshape([a])),
            [a, b] => gradients.register(self.id, self.values.reshape([a, b])),
            [a, b, c, d] => gradients.register(self.id, self.values.reshape([a, b, c, d])),
            _ => unreachable!("trained tensors have rank 1, 2 or 4"),
        }
    }

    fn of<const D: usize>(id: ParamId, dims: [usize; D], sum: Tensor<D>) -> Self {
        Self { id, dims: dims.to_vec(), values: sum.flatten(0, D - 1) }
    }
}

/// The sum over a batch of the examples' gradients, each scaled down to an L2
/// norm of at most `clip`, in the order of the layout. `loss` is the sum, not
/// the mean, of the examples' losses, given the outputs before the softmax.
///
/// An example whose gradient is not finite counts as zero: leaving it to spoil
/// the sum would tell that it is there. Panics on a layer norm.
pub(crate) fn clipped_gradient_sum(
    network: &Network,
    first: usize,
    input: BatchTensor,
    clip: f32,
    mode: Mode<'_>,
    loss: impl FnOnce(Tensor<2>) -> Tensor<1>,
) -> Vec<ParameterSum> {
    let (outputs, taps) = network.forward_probed(first, input, mode);
    let gradients = loss(outputs).backward();
    let layers: Vec<LayerGradient> = taps.iter().map(|tap| tap.gradient(&gradients)).collect();
    let squares = layers.iter().map(LayerGradient::squared_norms);
    let squares = squares.reduce(|a, b| a + b).expect("a model has a trained layer");
    let spoiled = squares.clone().is_finite().bool_not();
    let scale = squares.sqrt().clamp_min(clip).recip().mul_scalar(clip);
    let scale = scale.mask_fill(spoiled.clone(), 0.0);
    layers.into_iter().zip(&taps).flat_map(|(l, tap)| l.sum(tap, &scale, &spoiled)).collect()
}

impl Network {
    /// The trained tensors with zeros for values, in the order of the layout.
    pub fn zero_sums(&self, device: &Device) -> Vec<ParameterSum> {
        fn zero<const D: usize>(id: ParamId, dims: [usize; D], device: &Device) -> ParameterSum {
            ParameterSum::of(id, dims, Tensor::<D>::zeros(dims, device))
        }
        let trained = self.layers.iter().filter_map(|layer| match layer {
            NetworkLayer::Linear(linear) => {
                let weight = zero(linear.weight.id, linear.weight.dims(), device);
                Some((weight, linear.bias.as_ref()))
            }
            NetworkLayer::Conv2d(conv) => {
                let weight = zero(conv.weight.id, conv.weight.dims(), device);
                Some((weight, conv.bias.as_ref()))
            }
            _ => None,
        });
        trained
            .flat_map(|(weight, bias)| {
                let bias = bias.map(|bias| zero(bias.id, bias.dims(), device));
                std::iter::once(weight).chain(bias)
            })
            .collect()
    }

    fn forward_probed(
        &self,
        first: usize,
        input: BatchTensor,
        mut mode: Mode<'_>,
    ) -> (Tensor<2>, Vec<Tap>) {
        // Only the probes need gradients.
        let network = self.clone().no_grad();
        let mut taps = Vec::new();
        let output =
            network.layers[first..].iter().fold(input.0, |activation, layer| match layer {
                NetworkLayer::Linear(linear) => {
                    let input = activation.flatten();
                    let (output, probe) = probed(linear.forward(input.clone()));
                    let (weight, bias) = (linear.weight.id, linear.bias.as_ref().map(|b| b.id));
                    taps.push(Tap {
                        weight,
                        bias,
                        kind: TapKind::Linear { input: input.inner(), probe },
                    });
                    Activation::Features(output)
                }
                NetworkLayer::Conv2d(conv) => {
                    let input = activation.image();
                    let (output, probe) = probed(conv.forward(input.clone()));
                    let patches = patches(input.inner(), conv, output.dims());
                    let (weight, bias) = (conv.weight.id, conv.bias.as_ref().map(|b| b.id));
                    let dims = conv.weight.dims();
                    taps.push(Tap { weight, bias, kind: TapKind::Conv2d { patches, dims, probe } });
                    Activation::Image(output)
                }
                NetworkLayer::LayerNorm(_) => unreachable!("refused before training"),
                layer => layer.forward(activation, &mut mode),
            });
        (output.flatten(), taps)
    }
}

/// A trained layer's input, and where the gradient of its output will appear.
struct Tap {
    weight: ParamId,
    bias: Option<ParamId>,
    kind: TapKind,
}

enum TapKind {
    /// `input: [batch, inputs]`.
    Linear { input: Tensor<2>, probe: Tensor<2> },
    /// `patches: [batch, in * kernel * kernel, positions]`, `dims` the weight's.
    Conv2d { patches: Tensor<3>, dims: [usize; 4], probe: Tensor<4> },
}

/// What one layer says about each example.
enum LayerGradient {
    /// The gradient of the weights is the outer product of `input` and `output`.
    Linear { input: Tensor<2>, output: Tensor<2> },
    /// `weight: [batch, channels, in * kernel * kernel]`, `bias: [batch, channels, 1]`.
    Conv2d { weight: Tensor<3>, bias: Tensor<3> },
}

fn probed<const D: usize>(output: Tensor<D>) -> (Tensor<D>, Tensor<D>) {
    let probe = Tensor::zeros(output.dims(), &output.device()).require_grad();
    (output + probe.clone(), probe)
}

impl Tap {
    fn gradient(&self, gradients: &Gradients) -> LayerGradient {
        const EVERY: &str = "every output of a layer leads to the loss";
        match &self.kind {
            TapKind::Linear { input, probe } => {
                let output = probe.grad(gradients).expect(EVERY);
                LayerGradient::Linear { input: input.clone(), output }
            }
            TapKind::Conv2d { patches, probe, .. } => {
                let output: Tensor<3> = probe.grad(gradients).expect(EVERY).flatten(2, 3);
                let weight = output.clone().matmul(patches.clone().swap_dims(1, 2));
                LayerGradient::Conv2d { weight, bias: output.sum_dim(2) }
            }
        }
    }
}

impl LayerGradient {
    /// `[batch, 1]`.
    fn squared_norms(&self) -> Tensor<2> {
        match self {
            // |x g^T|^2 = |x|^2 |g|^2, and the bias adds |g|^2.
            Self::Linear { input, output } => {
                let inputs = input.clone().square().sum_dim(1).add_scalar(1.0);
                inputs * output.clone().square().sum_dim(1)
            }
            Self::Conv2d { weight, bias } => {
                let weight: Tensor<2> = weight.clone().flatten(1, 2);
                let bias: Tensor<2> = bias.clone().flatten(1, 2);
                weight.square().sum_dim(1) + bias.square().sum_dim(1)
            }
        }
    }

    /// The sum of the gradients times `scale: [batch, 1]`, without the `spoiled` ones.
    fn sum(self, tap: &Tap, scale: &Tensor<2>, spoiled: &Tensor<2, Bool>) -> Vec<ParameterSum> {
        let mut sums = Vec::new();
        match (self, &tap.kind) {
            (Self::Linear { input, output }, _) => {
                let (inputs, outputs) = (input.dims()[1], output.dims()[1]);
                let output = without(output, spoiled.clone()) * scale.clone();
                let weight = without(input, spoiled.clone()).transpose().matmul(output.clone());
                sums.push(ParameterSum::of(tap.weight, [inputs, outputs], weight));
                let bias = output.sum_dim(0).reshape([outputs]);
                sums.extend(tap.bias.map(|id| ParameterSum::of(id, [outputs], bias)));
            }
            (Self::Conv2d { weight, bias }, TapKind::Conv2d { dims, .. }) => {
                let (scale, spoiled) =
                    (scale.clone().unsqueeze_dim(2), spoiled.clone().unsqueeze_dim(2));
                let weight = (without(weight, spoiled.clone()) * scale.clone()).sum_dim(0);
                sums.push(ParameterSum::of(tap.weight, *dims, weight.reshape(*dims)));
                let bias = (without(bias, spoiled) * scale).sum_dim(0).reshape([dims[0]]);
                sums.extend(tap.bias.map(|id| ParameterSum::of(id, [dims[0]], bias)));
            }
            (Self::Conv2d { .. }, TapKind::Linear { .. }) => {
                unreachable!("a layer's gradient comes from its own tap")
            }
        }
        sums
    }
}

/// Zeros in the rows that `spoiled`, of size 1 after the batch, marks.
fn without<const D: usize>(rows: Tensor<D>, spoiled: Tensor<D, Bool>) -> Tensor<D> {
    let spoiled = spoiled.expand(rows.dims());
    rows.mask_fill(spoiled, 0.0)
}

/// The windows that a convolution looks at, `[batch, in * kernel * kernel, positions]`,
/// in the order of its weights. burn's own unfolding is a convolution with
/// one-hot filters, which costs more than the layer itself.
fn patches(input: Tensor<4>, conv: &Conv2d, [_, _, rows, columns]: [usize; 4]) -> Tensor<3> {
    let PaddingConfig2d::Explicit(top, left, bottom, right) = conv.padding else {
        unreachable!("convolutions are built with explicit padding")
    };
    let [kernel, _] = conv.kernel_size;
    let [stride, _] = conv.stride;
    let input = input.pad((left, right, top, bottom), 0.0);
    let [batch, channels, ..] = input.dims();
    let span = |start: usize, windows: usize| start..start + stride * (windows - 1) + 1;
    let window = |index: usize| {
        let (row, column) = (span(index / kernel, rows), span(index % kernel, columns));
        let window = input.clone().slice(s![.., .., row;stride, column;stride]);
        window.reshape([batch, channels, 1, rows * columns])
    };
    Tensor::cat((0..kernel * kernel).map(window).collect(), 2).reshape([
        batch,
        channels * kernel * kernel,
        rows * columns,
    ])
}
