//! Plan of a training: buffers, kernels, and the dispatches of a step.
//!
//! A plan is numbers and text. The same model and batch always make the same plan, and the
//! two presets differ in the texts and workgroups alone.

use fedra_protocol::{LocalTraining, ModelSpec};

use crate::grid::Grid;
use crate::kernels::{
    Context, LOSS_RING, NodeBuffers, ORDER_HEAD, SharedBuffers, Update, advance, head_fits, parts,
};
use crate::limits::{Limits, within};
use crate::lower::{LossKernel, Node, Op, lower};
use crate::shader::Kernel;
use crate::tensors::{Tensor, tensors};
use crate::{PlanError, Preset};

/// Content of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Features of all examples, or of a window of them; its size depends on them.
    Data,
    /// Targets of the same examples.
    Targets,
    /// Counters, and the examples in the order of training.
    Order,
    /// Learning rate, momentum, weight decay: a uniform.
    Rates,
    /// Loss of each example of the batch.
    Losses,
    /// Mean losses of the last steps.
    Ring,
    /// Trained tensors of a layer.
    Parameters,
    /// A copy of weights in another layout.
    Turned,
    /// Velocity of momentum.
    Velocity,
    /// Anything that a step computes.
    Work,
}

/// A buffer of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Content.
    pub role: Role,
    /// Size; 0 where it depends on the number of examples.
    pub bytes: u64,
}

/// Buffers, and kernels in the order of their dispatches.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) buffers: Vec<Buffer>,
    pub(crate) kernels: Vec<Kernel>,
    pub(crate) tensors: Vec<Tensor>,
    pub(crate) data: Grid,
    pub(crate) shared: SharedBuffers,
    pub(crate) loss: LossKernel,
    pub(crate) outputs: usize,
    pub(crate) batch: u32,
    pub(crate) parameters: usize,
}

impl Plan {
    /// Plans the training of the layers from `first` on, with the batch of `training`.
    ///
    /// # Errors
    ///
    /// [`PlanError`] for a layer without a kernel, a `first` behind the leading fixed
    /// layers, or a model that needs more than `limits`.
    pub fn new(
        spec: &ModelSpec,
        first: usize,
        training: &LocalTraining,
        preset: Preset,
        limits: &Limits,
    ) -> Result<Self, PlanError> {
        crate::supports(spec, training)?;
        let loss = LossKernel::of(spec)?;
        let update = Update::of(training);
        let batch = training.batch_size();
        let nodes = lower(spec, first)?;
        let (buffers, shared, all) = buffers(&nodes, batch, update, limits)?;
        let context = Context {
            nodes: &nodes,
            buffers: &buffers,
            shared,
            batch,
            preset,
            loss,
            update,
            limits,
        };
        Ok(Self {
            kernels: kernels(&context)?,
            tensors: tensors(spec, &nodes, &buffers),
            data: nodes[0].input,
            shared,
            buffers: all,
            loss,
            outputs: spec.output_len(),
            batch,
            parameters: spec.parameters(),
        })
    }

    /// Kernels in the order of their dispatches: one step.
    pub fn kernels(&self) -> &[Kernel] {
        &self.kernels
    }

    /// Buffers that the kernels bind by number.
    pub fn buffers(&self) -> &[Buffer] {
        &self.buffers
    }

    /// Floats of an example's features in the data buffer.
    pub(crate) fn row_floats(&self) -> u64 {
        self.data.len()
    }

    /// Words of an example's targets.
    pub(crate) fn target_words(&self) -> u64 {
        match self.loss {
            LossKernel::SoftmaxCrossEntropy => 1,
            LossKernel::MeanSquaredError => self.outputs as u64,
        }
    }

    /// Replaces the text of kernel `index`, for tests that detect a wrong one.
    #[doc(hidden)]
    pub fn alter(&mut self, index: usize, change: impl FnOnce(&str) -> String) {
        if let Some(kernel) = self.kernels.get_mut(index) {
            kernel.code = change(&kernel.code);
        }
    }
}

/// The kernels of one step: values, loss and gradients, sums, updates, counters.
fn kernels(context: &Context<'_>) -> Result<Vec<Kernel>, PlanError> {
    let nodes = context.nodes;
    let last = nodes.len() - 1;
    let mut kernels = Vec::new();
    let fused = head_fits(&nodes[last]);
    for index in 0..nodes.len() - usize::from(fused) {
        kernels.push(context.forward(index)?);
    }
    kernels.push(if fused { context.head(last)? } else { context.loss(last)? });
    for index in (0..nodes.len() - usize::from(fused)).rev() {
        if nodes[index].passes_back {
            kernels.push(context.backward(index)?);
        }
    }
    let trained = || (0..nodes.len()).filter(|&index| nodes[index].op.trains());
    for index in trained() {
        if let Some(kernel) = context.partial(index) {
            kernels.push(kernel?);
        }
    }
    for index in trained() {
        kernels.push(context.update(index)?);
    }
    kernels.push(advance(context)?);
    Ok(kernels)
}

/// Collects buffers, and checks each against the limits.
struct Buffers<'a> {
    all: Vec<Buffer>,
    limits: &'a Limits,
}

impl Buffers<'_> {
    fn add(&mut self, role: Role, floats: u64) -> Result<usize, PlanError> {
        let bytes = within(
            "bytes in a buffer",
            floats.saturating_mul(4).next_multiple_of(16),
            self.limits.largest_buffer(),
        )?;
        self.all.push(Buffer { role, bytes });
        Ok(self.all.len() - 1)
    }

    fn add_if(
        &mut self,
        wanted: bool,
        role: Role,
        floats: u64,
    ) -> Result<Option<usize>, PlanError> {
        if wanted { self.add(role, floats).map(Some) } else { Ok(None) }
    }
}

fn buffers(
    nodes: &[Node],
    batch: u32,
    update: Update,
    limits: &Limits,
) -> Result<(Vec<NodeBuffers>, SharedBuffers, Vec<Buffer>), PlanError> {
    let mut buffers = Buffers { all: Vec::new(), limits };
    let rows = u64::from(batch);
    let shared = SharedBuffers {
        data: buffers.add(Role::Data, 0)?,
        targets: buffers.add(Role::Targets, 0)?,
        order: buffers.add(Role::Order, 0)?,
        rates: buffers.add(Role::Rates, 4)?,
        losses: buffers.add(Role::Losses, rows)?,
        ring: buffers.add(Role::Ring, u64::from(LOSS_RING))?,
    };
    let last = nodes.len() - 1;
    let mut all = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        let trains = node.op.trains();
        let (lines, quads) = node.parameter_shape();
        let floats = u64::from(lines) * u64::from(quads) * 4;
        let in_head = index == last && head_fits(node);
        let places = node.pooled || (matches!(node.op, Op::MaxPool { .. }) && node.passes_back);
        let conv = matches!(node.op, Op::Conv { .. });
        let most_parts = Preset::ALL.map(|preset| parts(node, batch, preset)).into_iter().max();
        all.push(NodeBuffers {
            output: match in_head {
                true => usize::MAX,
                false => buffers.add(Role::Work, rows * node.output.len())?,
            },
            made: buffers.add_if(node.keeps_made(), Role::Work, rows * node.output.len())?,
            places: buffers.add_if(places, Role::Work, rows * u64::from(node.output.features()))?,
            moments: buffers.add_if(matches!(node.op, Op::Norm { .. }), Role::Work, rows * 2)?,
            gradient: buffers.add_if(
                node.needs_gradient,
                Role::Work,
                rows * node.gradient.len(),
            )?,
            parameters: buffers.add_if(trains, Role::Parameters, floats)?,
            velocity: buffers.add_if(trains && update.keeps_velocity(), Role::Velocity, floats)?,
            turned: buffers.add_if(conv && node.passes_back, Role::Turned, floats)?,
            parts: buffers.add_if(conv, Role::Work, floats * u64::from(most_parts.unwrap_or(1)))?,
        });
    }
    let order = &mut buffers.all[shared.order];
    order.bytes = u64::from(ORDER_HEAD) * 4;
    Ok((all, shared, buffers.all))
}
