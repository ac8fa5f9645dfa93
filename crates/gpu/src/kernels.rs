//! WGSL of the operations, one file each: forward, gradient of the input, gradient of the
//! parameters.
//!
//! Every size is a constant in the text. The texts know nothing of devices.

mod conv;
mod elementwise;
mod head;
mod linear;
mod norm;
mod pool;
mod update;

use crate::grid::{Grid, Place};
use crate::limits::Limits;
use crate::lower::{LossKernel, Node, Op};
use crate::shader::{Access, Element, Kernel, Shader};
use crate::text::{joined, wgsl};
use crate::{PlanError, Preset};

pub(crate) use conv::parts;
pub(crate) use head::fits as head_fits;
pub(crate) use update::{Update, advance};

/// Words before the steps in the buffer of the order: the step in the buffer, all steps, the
/// seed of dropout, and 1 where dropout is on. A step is its number of rows and then as many
/// rows as the batch has: a short batch repeats its last one.
pub(crate) const ORDER_HEAD: u32 = 4;

/// Words of a step in the buffer of the order.
pub(crate) fn step_words(batch: u32) -> u32 {
    batch + 1
}

/// Steps whose losses are kept.
pub(crate) const LOSS_RING: u32 = 64;

/// Buffers of one node, by number.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeBuffers {
    pub output: usize,
    /// Values before the chain.
    pub made: Option<usize>,
    /// Places of the maxima.
    pub places: Option<usize>,
    /// Mean and inverse standard deviation of each example.
    pub moments: Option<usize>,
    pub gradient: Option<usize>,
    pub parameters: Option<usize>,
    pub velocity: Option<usize>,
    /// The weights turned around, for the gradient at the input.
    pub turned: Option<usize>,
    /// Sums over parts of the batch.
    pub parts: Option<usize>,
}

/// Buffers that are not of one node, by number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SharedBuffers {
    pub data: usize,
    pub targets: usize,
    pub order: usize,
    pub rates: usize,
    pub losses: usize,
    pub ring: usize,
}

/// All that a kernel's text depends on.
pub(crate) struct Context<'a> {
    pub nodes: &'a [Node],
    pub buffers: &'a [NodeBuffers],
    pub shared: SharedBuffers,
    pub batch: u32,
    pub preset: Preset,
    pub loss: LossKernel,
    pub update: Update,
    pub limits: &'a Limits,
}

/// Reads of a node's input.
struct Input {
    name: &'static str,
    gathered: bool,
}

impl Input {
    /// Expression of the first element of example `m`; `len` are elements of an example.
    fn base(&self, m: &str, len: u64) -> String {
        let row = if self.gathered { "row" } else { "" };
        wgsl!("$ROW($M)*$Lu", ROW = row, M = m, L = len.to_string())
    }
}

impl Context<'_> {
    /// Kernel of the values of node `index`.
    pub fn forward(&self, index: usize) -> Result<Kernel, PlanError> {
        match self.nodes[index].op {
            Op::Linear => linear::forward(self, index),
            Op::Conv { .. } => conv::forward(self, index),
            Op::MaxPool { .. } | Op::AvgPool { .. } => pool::forward(self, index),
            Op::Norm { epsilon } => norm::forward(self, index, epsilon),
            Op::Identity => elementwise::forward(self, index),
        }
    }

    /// Kernel of the gradient at the input of node `index`, which is not the first.
    pub fn backward(&self, index: usize) -> Result<Kernel, PlanError> {
        match self.nodes[index].op {
            Op::Linear => linear::backward(self, index),
            Op::Conv { .. } => conv::backward(self, index),
            Op::MaxPool { .. } | Op::AvgPool { .. } => pool::backward(self, index),
            Op::Norm { .. } => norm::backward(self, index),
            Op::Identity => elementwise::backward(self, index),
        }
    }

    /// Kernel of sums over parts of the batch, where an operation has one.
    pub fn partial(&self, index: usize) -> Option<Result<Kernel, PlanError>> {
        matches!(self.nodes[index].op, Op::Conv { .. }).then(|| conv::partial(self, index))
    }

    /// Kernel of the update of the parameters of node `index`.
    pub fn update(&self, index: usize) -> Result<Kernel, PlanError> {
        match self.nodes[index].op {
            Op::Conv { .. } => conv::update(self, index),
            Op::Norm { .. } => norm::update(self, index),
            _ => linear::update(self, index),
        }
    }

    /// Kernel of the loss, and of the gradient at the last node.
    pub fn loss(&self, index: usize) -> Result<Kernel, PlanError> {
        head::loss(self, index)
    }

    /// Kernel of the last linear layer, the loss and both gradients.
    pub fn head(&self, index: usize) -> Result<Kernel, PlanError> {
        head::head(self, index)
    }

    /// Examples that one thread takes: at most `most`, evenly.
    fn rows(&self, most: u32) -> u32 {
        self.batch.div_ceil(self.batch.div_ceil(most))
    }

    fn name(&self, index: usize, part: &str) -> String {
        wgsl!("$P of node $I", P = part, I = index as u32)
    }

    /// Declares the row of the data set that is example `m` of the batch.
    fn declare_row(&self, shader: &mut Shader) {
        shader.bind("ord", self.shared.order, Access::Read, Element::U32);
        shader.function(&wgsl!(
            "fn row(m:u32)->u32{return ord[$Hu+ord[0]*$Su+m];}\n",
            H = ORDER_HEAD + 1,
            S = step_words(self.batch)
        ));
    }

    /// Statement that declares `rows`, the number of examples of the batch.
    fn rows_of_batch(&self) -> String {
        wgsl!("let rows=ord[$Hu+ord[0]*$Su];", H = ORDER_HEAD, S = step_words(self.batch))
    }

    /// Binds the input of node `index`.
    fn input(&self, shader: &mut Shader, index: usize, element: Element) -> Input {
        let gathered = index == 0;
        if gathered {
            self.declare_row(shader);
        }
        let buffer = if gathered { self.shared.data } else { self.buffers[index - 1].output };
        Input { name: shader.alias("X", buffer, Access::Read, element), gathered }
    }

    /// Statement that writes the values of node `index` at a place; declares what it needs.
    fn store_output(&self, shader: &mut Shader, index: usize, at: &Place, value: &str) -> String {
        let (node, buffers) = (&self.nodes[index], &self.buffers[index]);
        shader.bind("Y", buffers.output, Access::Write, Element::Quad);
        let place = node.output.quad(at);
        if node.chain.is_empty() {
            return wgsl!("Y[$P]=$V;", P = place, V = value);
        }
        node.chain.declare_act(shader, self.shared.order);
        let mut text = wgsl!("{let z=$V;", V = value);
        if let Some(made) = buffers.made {
            shader.bind("Z", made, Access::Write, Element::Quad);
            text += &wgsl!("Z[$P]=z;", P = place);
        }
        let act = wgsl!("act(z,$E)", E = node.output.number(at));
        let act = if node.chain.moves_zero() { real(&node.output, &at.q, &act) } else { act };
        text + &wgsl!("Y[$P]=$A;}", P = place, A = act)
    }

    /// Statement that takes the gradient at the values of node `index` through its chain and
    /// its pooling, and writes it.
    fn store_gradient(&self, shader: &mut Shader, index: usize, at: &Place, value: &str) -> String {
        let (node, buffers) = (&self.nodes[index], &self.buffers[index]);
        let Some(gradient) = buffers.gradient else { return String::new() };
        let d = shader.alias("D", gradient, Access::Write, Element::Quad);
        let mut text = wgsl!("{var g=$V;", V = value);
        let place = node.output.quad(at);
        if let Some(made) = buffers.made {
            let z = shader.alias("Hz", made, Access::Read, Element::Quad);
            node.chain.declare_slope(shader, self.shared.order);
            text += &wgsl!("g*=slope($Z[$P],$E);", Z = z, P = place, E = node.output.number(at));
        } else if node.chain.is_relu() {
            let h = shader.alias("H", buffers.output, Access::Read, Element::Quad);
            text += &wgsl!("g=select(vec4<f32>(),g,$H[$P]>vec4<f32>());", H = h, P = place);
        }
        match (node.pooled, buffers.places) {
            (true, Some(places)) => {
                let a = shader.alias("Ha", places, Access::Read, Element::QuadU32);
                text += &wgsl!("let a=$A[$E];", A = a, E = node.output.number(at));
                for place in 0..4 {
                    let (y, x) = (place / 2, place % 2);
                    let row = wgsl!("($Y*2u+$Ru)", Y = at.y, R = y);
                    let column = wgsl!("($X*2u+$Cu)", X = at.x, C = x);
                    let target = Place::new(&at.m, &row, &column, &at.q);
                    text += &wgsl!(
                        "$D[$T]=select(vec4<f32>(),g,a==vec4<u32>($Pu));",
                        D = d,
                        T = node.gradient.quad(&target),
                        P = place
                    );
                }
                text + "}"
            }
            _ => text + &wgsl!("$D[$T]=g;}", D = d, T = node.gradient.quad(at)),
        }
    }
}

/// `value` with zeros in the lanes of quad `q` that carry no channel.
fn real(grid: &Grid, q: &str, value: &str) -> String {
    if !grid.has_gaps() {
        return value.to_owned();
    }
    let real = |lane| if lane < grid.channels % 4 { "true" } else { "false" }.to_owned();
    wgsl!(
        "select(vec4<f32>(),$V,vec4<bool>($Q!=$Lu)|vec4<bool>($M))",
        V = value,
        Q = q,
        L = grid.quads() - 1,
        M = joined(4, ",", real)
    )
}
