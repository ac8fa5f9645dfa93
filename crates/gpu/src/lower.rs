//! A model as a row of nodes: an operation with what is done to each of its values.
//!
//! Element-wise layers join the node before them, 2x2 pooling joins a convolution, and
//! `flatten` is no operation: the layouts of [`Grid`] make it a way to read.

use fedra_protocol::{ClientAlgorithm, Layer, LocalTraining, Loss, ModelSpec};

use crate::chain::{Chain, Unit};
use crate::grid::Grid;
use crate::{PlanError, Unsupported};

/// Operation of a node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Op {
    /// `x W + b`.
    Linear,
    /// Cross-correlation with a square kernel.
    Conv { kernel: u32, stride: u32 },
    /// Maximum over windows.
    MaxPool { kernel: u32, stride: u32 },
    /// Mean over windows.
    AvgPool { kernel: u32, stride: u32 },
    /// Layer normalisation over the features.
    Norm { epsilon: f32 },
    /// Nothing but the chain.
    Identity,
}

impl Op {
    /// True if the operation has parameters.
    pub fn trains(self) -> bool {
        matches!(self, Self::Linear | Self::Conv { .. } | Self::Norm { .. })
    }
}

/// Operation, the element-wise layers behind it, and layouts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub op: Op,
    pub chain: Chain,
    /// True if 2x2 pooling follows in the same kernel.
    pub pooled: bool,
    /// Layout of what the operation reads.
    pub input: Grid,
    /// Layout of what the operation makes, before pooling.
    pub made: Grid,
    /// Layout of the node's values.
    pub output: Grid,
    /// Layout of the gradient at `made`.
    pub gradient: Grid,
    /// True if the gradient at this node is needed.
    pub needs_gradient: bool,
    /// True if the gradient at the node's input is needed.
    pub passes_back: bool,
}

impl Node {
    /// Rows of parameters, the bias included, and quads of a row.
    pub fn parameter_shape(&self) -> (u32, u32) {
        match self.op {
            Op::Linear => (self.input.features() + 1, self.made.quads()),
            Op::Conv { kernel, .. } => (kernel * kernel * self.input.lanes + 1, self.made.quads()),
            Op::Norm { .. } => (2, self.input.features() / 4),
            Op::MaxPool { .. } | Op::AvgPool { .. } | Op::Identity => (0, 0),
        }
    }

    /// True if the values before the chain are kept.
    pub fn keeps_made(&self) -> bool {
        self.needs_gradient && self.chain.needs_made()
    }
}

/// Loss with a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LossKernel {
    SoftmaxCrossEntropy,
    MeanSquaredError,
}

impl LossKernel {
    /// The kernel of a model's objective.
    pub fn of(spec: &ModelSpec) -> Result<Self, Unsupported> {
        if let Some(setting) = spec.objective().settings().first() {
            return Err(Unsupported::new(format!("{setting} of the loss")));
        }
        match spec.loss() {
            Loss::SoftmaxCrossEntropy => Ok(Self::SoftmaxCrossEntropy),
            Loss::MeanSquaredError => Ok(Self::MeanSquaredError),
            loss @ (Loss::BinaryCrossEntropy | Loss::Huber) => {
                Err(Unsupported::new(format!("the loss {}", loss.name())))
            }
        }
    }
}

/// Checks that no layer is frozen, and that every layer behind the leading fixed ones, the loss
/// and the steps of the plan have kernels. How many steps are taken is the caller's.
///
/// The leading fixed layers are the caller's: what they make of an example never changes.
///
/// # Errors
///
/// [`Unsupported`] names the first part without a kernel.
pub fn supports(spec: &ModelSpec, training: &LocalTraining) -> Result<(), Unsupported> {
    match training.algorithm() {
        ClientAlgorithm::Sgd | ClientAlgorithm::Nesterov => {}
        algorithm @ (ClientAlgorithm::Adam { .. } | ClientAlgorithm::Scaffold) => {
            return Err(Unsupported::new(format!("the algorithm {}", algorithm.name())));
        }
    }
    if training.proximal() > 0.0 {
        return Err(Unsupported::new("proximal of the training"));
    }
    if training.clip_gradient_norm().is_some() {
        return Err(Unsupported::new("clip_gradient_norm of the training"));
    }
    if !spec.frozen_layers().is_empty() {
        return Err(Unsupported::new("a model with frozen layers"));
    }
    LossKernel::of(spec)?;
    nodes(spec, spec.fixed_layers()).map(drop)
}

/// The nodes of the layers from `first` on.
pub(crate) fn lower(spec: &ModelSpec, first: usize) -> Result<Vec<Node>, PlanError> {
    let most = spec.fixed_layers();
    if first > most {
        return Err(PlanError::FirstLayer { first, most });
    }
    Ok(nodes(spec, first)?)
}

fn nodes(spec: &ModelSpec, first: usize) -> Result<Vec<Node>, Unsupported> {
    let mut nodes = Row(Vec::new());
    for (index, layer) in spec.layers().iter().enumerate().skip(first) {
        let grid = nodes.0.last().map(|node| node.output);
        let input = match grid.or_else(|| Grid::of(spec.inputs()[index])) {
            Some(grid) => grid,
            None => return Err(Unsupported::new(format!("layer {index} ({})", layer.type_name()))),
        };
        nodes.add(index, layer, input, spec)?;
    }
    if nodes.0.is_empty() {
        return Err(Unsupported::new("a model of fixed layers alone"));
    }
    nodes.settle();
    Ok(nodes.0)
}

struct Row(Vec<Node>);

impl Row {
    fn add(
        &mut self,
        index: usize,
        layer: &Layer,
        input: Grid,
        spec: &ModelSpec,
    ) -> Result<(), Unsupported> {
        let after = spec.inputs().get(index + 1).copied().unwrap_or(spec.output());
        let made = Grid::of(after).unwrap_or(input);
        match layer {
            Layer::Linear(_) => self.push(Op::Linear, input, made),
            Layer::Conv2d(conv) => {
                let input = if self.0.is_empty() { input.narrow() } else { input };
                let op = Op::Conv { kernel: conv.kernel, stride: conv.stride };
                self.push(op, input.padded(conv.padding), made);
            }
            Layer::MaxPool2d(pool) => match self.0.last_mut() {
                Some(last) if (pool.kernel, pool.stride) == (2, 2) && poolable(last) => {
                    (last.pooled, last.output) = (true, made);
                }
                _ => {
                    let op = Op::MaxPool { kernel: pool.kernel, stride: pool.stride };
                    self.push(op, input, made);
                }
            },
            Layer::AvgPool2d(pool) => {
                let op = Op::AvgPool { kernel: pool.kernel, stride: pool.stride };
                self.push(op, input, made);
            }
            // The values of an image normalised as features keep their places.
            Layer::LayerNorm(norm) => self.push(Op::Norm { epsilon: norm.epsilon }, input, input),
            Layer::Relu(_) => self.unit(Unit::Relu, input),
            Layer::Tanh(_) => self.unit(Unit::Tanh, input),
            Layer::Gelu(_) => self.unit(Unit::Gelu, input),
            Layer::Sigmoid(_) => self.unit(Unit::Sigmoid, input),
            Layer::Abs(_) => self.unit(Unit::Abs, input),
            Layer::Elu(elu) => self.unit(Unit::Elu { alpha: elu.alpha }, input),
            Layer::Dropout(dropout) => {
                let (probability, layer) = (dropout.probability, index as u32);
                self.unit(Unit::Dropout { probability, layer }, input);
            }
            Layer::Flatten(_) => {}
            Layer::Standardize(_)
            | Layer::GaussianDerivative(_)
            | Layer::Embedding(_)
            | Layer::PositionEmbedding(_)
            | Layer::LastStep(_)
            | Layer::CausalSelfAttention(_)
            | Layer::TransformerBlock(_)
            | Layer::Gru(_)
            | Layer::Lstm(_)
            | Layer::LeakyRelu(_)
            | Layer::Silu(_)
            | Layer::Softplus(_)
            | Layer::GlobalAvgPool(_)
            | Layer::GlobalMaxPool(_)
            | Layer::GroupNorm(_)
            | Layer::Conv1d(_)
            | Layer::Residual(_)
            | Layer::CategoryEmbedding(_) => {
                return Err(Unsupported::new(format!("layer {index} ({})", layer.type_name())));
            }
        }
        Ok(())
    }

    fn push(&mut self, op: Op, input: Grid, made: Grid) {
        let chain = Chain::default();
        let (pooled, needs_gradient, passes_back) = (false, false, false);
        let (output, gradient) = (made, made);
        let node =
            Node { op, chain, pooled, input, made, output, gradient, needs_gradient, passes_back };
        self.0.push(node);
    }

    /// Adds an element-wise layer. ReLU and pooling change places freely: the maximum of
    /// what is cut off at 0 is the maximum cut off at 0.
    fn unit(&mut self, unit: Unit, input: Grid) {
        match self.0.last_mut() {
            Some(last) if !last.pooled => last.chain.push(unit),
            Some(last) if unit == Unit::Relu && last.chain.is_relu() => {}
            Some(last) if unit == Unit::Relu && last.chain.is_empty() => last.chain.push(unit),
            _ => {
                self.push(Op::Identity, input, input);
                self.unit(unit, input);
            }
        }
    }

    /// Settles the zeros around images and the gradients that are needed: both depend on the
    /// neighbours of a node.
    fn settle(&mut self) {
        let mut trained = false;
        for index in 0..self.0.len() {
            let next = self.0.get(index + 1).map(|next| (next.op, next.input));
            let node = &mut self.0[index];
            if let Some((Op::Conv { .. }, input)) = next {
                node.output = input;
            }
            node.passes_back = trained;
            trained |= node.op.trains();
            node.needs_gradient = trained;
            if let (Op::Conv { kernel, stride }, true) = (node.op, node.passes_back) {
                // The gradient at the input is a convolution of this layout.
                let (rows, columns) =
                    (node.input.height + kernel - 1, node.input.width + kernel - 1);
                let lead = kernel - 1 - node.input.lead;
                node.gradient = Grid { lead, dilation: stride, rows, columns, ..node.made };
            }
        }
    }
}

fn poolable(node: &Node) -> bool {
    let simple = node.chain.is_empty() || node.chain.is_relu();
    matches!(node.op, Op::Conv { .. }) && !node.pooled && simple
}
