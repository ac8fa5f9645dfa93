//! Convolutions over channels-last images with zeros around.
//!
//! Weights are `[kernel row, kernel column, input lane, output channel]`, with the bias as
//! one more row. A thread computes a block of pixels for a quad of output channels, from
//! rows of the input that it keeps in registers. The gradient at the input is the same
//! computation: over the gradient with zeros between and around its pixels, with the
//! weights turned around.

use super::Context;
use crate::grid::{Grid, Place};
use crate::lower::{Node, Op};
use crate::shader::{Access, Element, Kernel, Shader};
use crate::text::{each, lane, wgsl};
use crate::{PlanError, Preset};

/// Largest kernel whose taps are written out.
const MOST_TAPS: u32 = 7;
/// Most pixels of a row that a thread keeps in registers.
const MOST_KEPT: u32 = 22;
/// Threads of a workgroup.
const THREADS: u32 = 64;

/// A correlation: what is read, and the pixels that come out.
struct Correlation {
    /// Expression of the first element of example `m`.
    base: String,
    name: &'static str,
    weights: &'static str,
    input: Grid,
    kernel: u32,
    stride: u32,
    /// Quads of output channels.
    quads: u32,
    height: u32,
    width: u32,
    block: Block,
}

/// Pixels of a thread.
#[derive(Clone, Copy)]
struct Block {
    height: u32,
    width: u32,
}

/// The width of a block, at most `most`, that covers `size` with the least waste.
fn cover(size: u32, most: u32) -> u32 {
    let waste = |&width: &u32| (size.div_ceil(width) * width, most - width);
    (1..=most.max(1)).min_by_key(waste).unwrap_or(1)
}

impl Correlation {
    /// True if the input comes in quads.
    fn in_quads(&self) -> bool {
        self.input.lanes.is_multiple_of(4)
    }

    /// Elements of a pixel of the input.
    fn elements(&self) -> u32 {
        if self.in_quads() { self.input.lanes / 4 } else { self.input.lanes }
    }

    /// Threads of an example.
    fn threads(&self) -> u32 {
        let Block { height, width } = self.block;
        self.height.div_ceil(height) * self.width.div_ceil(width) * self.quads
    }

    /// Statements that leave the sums in `a{row}_{column}`. Before: `m`, `q`, and the first
    /// row and column of the block, `y0` and `x0`.
    fn sums(&self) -> String {
        let Self { kernel, stride, .. } = *self;
        let Block { height, width } = self.block;
        let written_out = kernel <= MOST_TAPS;
        let pixel = |y: u32, x: String| {
            wgsl!(
                "$X[at+($Yu*$Cu+$COL)*$Eu]",
                X = self.name,
                Y = y * stride,
                C = self.input.columns,
                COL = x,
                E = self.elements()
            )
        };
        let pixels =
            |part: &dyn Fn(u32, u32) -> String| each(height, |y| each(width, |x| part(y, x)));
        let products = |y: u32, x: u32, value: &str| {
            if self.in_quads() {
                wgsl!("a$YX+=$V.x*w0+$V.y*w1+$V.z*w2+$V.w*w3;", YX = format!("{y}_{x}"), V = value)
            } else {
                wgsl!("a$YX+=$V*w0;", YX = format!("{y}_{x}"), V = value)
            }
        };
        let load = each(if self.in_quads() { 4 } else { 1 }, |r| {
            wgsl!("let w$R=$W[wo+$Ou];", R = r, W = self.weights, O = r * self.quads)
        });
        let weights = |column: &str| {
            wgsl!(
                "let wo=((ty*$Ku+$T)*$Lu+i*$Pu)*$Qu+q;$LOAD",
                K = kernel,
                T = column,
                L = self.input.lanes,
                P = if self.in_quads() { 4 } else { 1 },
                Q = self.quads,
                LOAD = load
            )
        };
        let inner = if written_out {
            let kept = (width - 1) * stride + kernel;
            let rows = each(height, |y| {
                each(kept, |x| {
                    wgsl!("let v$Y=$V;", Y = format!("{y}_{x}"), V = pixel(y, format!("{x}u")))
                })
            });
            let taps = each(kernel, |t| {
                let part = |y, x| products(y, x, &format!("v{y}_{}", x * stride + t));
                wgsl!("{$W$P}\n", W = weights(&format!("{t}u")), P = pixels(&part))
            });
            rows + &taps
        } else {
            let part = |y, x: u32| {
                let value = pixel(y, format!("({}u+tx)", x * stride));
                wgsl!("{let v=$V;$P}", V = value, P = products(y, x, "v"))
            };
            wgsl!(
                "for(var tx=0u;tx<$Ku;tx++){$W$P}",
                K = kernel,
                W = weights("tx"),
                P = pixels(&part)
            )
        };
        wgsl!(
            "$ZERO let base=$BASE;
for(var ty=0u;ty<$Ku;ty++){let line=base+((y0*$Su+ty)*$Cu+x0*$Su)*$Eu;
 for(var i=0u;i<$Eu;i++){let at=line+i;
$INNER}}",
            ZERO = pixels(&|y, x| format!("var a{y}_{x}=vec4<f32>();")),
            BASE = self.base,
            K = kernel,
            S = stride,
            C = self.input.columns,
            E = self.elements(),
            INNER = inner
        )
    }

    /// The place of a thread, the sums, and `end`.
    fn body(&self, end: &str) -> String {
        let Block { height, width } = self.block;
        wgsl!(
            "let t=wg.x*$Tu+l.x;if(t>=$ALLu){return;}let m=wg.y;let q=t%$Qu;let block=t/$Qu;
let y0=(block/$BLOCKSu)*$Hu;let x0=(block%$BLOCKSu)*$Wu;
$SUMS\n$END",
            T = THREADS,
            ALL = self.threads(),
            Q = self.quads,
            BLOCKS = self.width.div_ceil(width),
            H = height,
            W = width,
            SUMS = self.sums(),
            END = end
        )
    }

    /// `store` for each pixel of the block that lies in the image, with its row, column and
    /// sum.
    fn each_pixel(&self, mut store: impl FnMut(&str, &str, &str) -> String) -> String {
        let Block { height, width } = self.block;
        each(height, |y| {
            each(width, |x| {
                let (row, column) = (format!("(y0+{y}u)"), format!("(x0+{x}u)"));
                let store = store(&row, &column, &format!("a{y}_{x}"));
                wgsl!(
                    "if($R<$Hu&&$C<$Wu){$S}\n",
                    R = row,
                    C = column,
                    H = self.height,
                    W = self.width,
                    S = store
                )
            })
        })
    }
}

fn sizes(node: &Node) -> (u32, u32) {
    match node.op {
        Op::Conv { kernel, stride } => (kernel, stride),
        _ => (1, 1),
    }
}

/// Most pixels side by side, so that the rows that they need stay in registers.
fn most_pixels(kernel: u32, stride: u32, wanted: u32) -> u32 {
    let room = MOST_KEPT.saturating_sub(kernel) / stride + 1;
    wanted.min(room)
}

pub fn forward(c: &Context<'_>, index: usize) -> Result<Kernel, PlanError> {
    let (node, buffers) = (&c.nodes[index], &c.buffers[index]);
    let (kernel, stride) = sizes(node);
    let mut shader = Shader::new();
    let in_quads = node.input.lanes.is_multiple_of(4);
    let element = if in_quads { Element::Quad } else { Element::F32 };
    let input = c.input(&mut shader, index, element);
    shader.bind("W", buffers.parameters.unwrap_or_default(), Access::Read, Element::Quad);
    // Pooled pixels come in pairs.
    let Grid { height, width, .. } = node.made;
    let (step, height, width) =
        if node.pooled { (2, height / 2 * 2, width / 2 * 2) } else { (1, height, width) };
    let block = match c.preset {
        Preset::Registers => {
            let most = most_pixels(kernel, stride, 14).max(step);
            let columns = cover(width / step, most / step) * step;
            Block { height: if node.pooled { 2 } else { cover(height, 2) }, width: columns }
        }
        Preset::SplitK => Block { height: 2, width: 2 },
    };
    let len = node.input.len() / if in_quads { 4 } else { 1 };
    let correlation = Correlation {
        base: input.base("m", len),
        name: input.name,
        weights: "W",
        input: node.input,
        kernel,
        stride,
        quads: node.made.quads(),
        height,
        width,
        block,
    };
    let bias = wgsl!("W[$Bu+q]", B = kernel * kernel * node.input.lanes * node.made.quads());
    let end = if node.pooled {
        pooled(c, &mut shader, index, block, &bias)
    } else {
        correlation.each_pixel(|y, x, sum| {
            let at = Place::new("m", y, x, "q");
            c.store_output(&mut shader, index, &at, &format!("{sum}+{bias}"))
        })
    };
    let body = correlation.body(&end);
    let groups = [u64::from(correlation.threads().div_ceil(THREADS)), u64::from(c.batch), 1];
    shader.finish(c.name(index, "convolution forward"), [THREADS, 1], groups, &body, c.limits)
}

/// The maxima of 2x2 pixels and their places, the first of equals.
fn pooled(c: &Context<'_>, shader: &mut Shader, index: usize, block: Block, bias: &str) -> String {
    let (node, buffers) = (&c.nodes[index], &c.buffers[index]);
    let places = buffers.places.unwrap_or_default();
    shader.bind("A", places, Access::Write, Element::QuadU32);
    each(block.width / 2, |cell| {
        let at = Place::new("m", "(y0/2u)", &wgsl!("(x0/2u+$Cu)", C = cell), "q");
        let larger = each(3, |place| {
            let place = place + 1;
            wgsl!(
                "{let v=a$V;let c=v>top;top=select(top,v,c);\
                 place=select(place,vec4<u32>($Pu),c);}",
                V = format!("{}_{}", place / 2, cell * 2 + place % 2),
                P = place
            )
        });
        wgsl!(
            "if($X<$Wu){var top=a0_$F;var place=vec4<u32>();$LARGER A[$N]=place;$S}\n",
            X = at.x,
            W = node.output.width,
            F = cell * 2,
            LARGER = larger,
            N = node.output.number(&at),
            S = c.store_output(shader, index, &at, &format!("top+{bias}"))
        )
    })
}

pub fn backward(c: &Context<'_>, index: usize) -> Result<Kernel, PlanError> {
    let (node, buffers) = (&c.nodes[index], &c.buffers[index]);
    let (kernel, _) = sizes(node);
    let mut shader = Shader::new();
    shader.bind("G", buffers.gradient.unwrap_or_default(), Access::Read, Element::Quad);
    shader.bind("T", buffers.turned.unwrap_or_default(), Access::Read, Element::Quad);
    let Grid { height, width, .. } = node.input;
    let block = match c.preset {
        Preset::Registers => {
            Block { height: cover(height, 2), width: cover(width, most_pixels(kernel, 1, 7)) }
        }
        Preset::SplitK => Block { height: 2, width: 2 },
    };
    let correlation = Correlation {
        base: format!("m*{}u", node.gradient.len() / 4),
        name: "G",
        weights: "T",
        input: node.gradient,
        kernel,
        stride: 1,
        quads: node.input.quads(),
        height,
        width,
        block,
    };
    let end = correlation.each_pixel(|y, x, sum| {
        c.store_gradient(&mut shader, index - 1, &Place::new("m", y, x, "q"), sum)
    });
    let body = correlation.body(&end);
    let groups = [u64::from(correlation.threads().div_ceil(THREADS)), u64::from(c.batch), 1];
    shader.finish(c.name(index, "convolution backward"), [THREADS, 1], groups, &body, c.limits)
}

/// Threads of one part of the sums of the weights' gradient: a kernel's row each, or a
/// single tap of a large kernel.
fn partial_threads(node: &Node) -> u32 {
    let (kernel, _) = sizes(node);
    let elements =
        if node.input.lanes.is_multiple_of(4) { node.input.lanes / 4 } else { node.input.lanes };
    let taps = if kernel <= MOST_TAPS { kernel } else { kernel * kernel };
    taps.saturating_mul(elements).saturating_mul(node.made.quads())
}

/// Parts of a batch over which the weights' gradient is summed apart.
pub(crate) fn parts(node: &Node, batch: u32, preset: Preset) -> u32 {
    let wanted = match preset {
        Preset::Registers => 1 << 10,
        Preset::SplitK => 1 << 14,
    };
    u32::div_ceil(wanted, partial_threads(node)).clamp(1, batch.min(64))
}

pub fn partial(c: &Context<'_>, index: usize) -> Result<Kernel, PlanError> {
    let (node, buffers) = (&c.nodes[index], &c.buffers[index]);
    let (kernel, stride) = sizes(node);
    let mut shader = Shader::new();
    let in_quads = node.input.lanes.is_multiple_of(4);
    let (element, lanes) = if in_quads { (Element::Quad, 4) } else { (Element::F32, 1) };
    let elements = node.input.lanes / lanes;
    let input = c.input(&mut shader, index, element);
    shader.bind("G", buffers.gradient.unwrap_or_default(), Access::Read, Element::Quad);
    shader.bind("S", buffers.parts.unwrap_or_default(), Access::Write, Element::Quad);
    let (row_taps, taps) = if kernel <= MOST_TAPS { (1, kernel) } else { (kernel, 1) };
    let quads = node.made.quads();
    let part_of = |tap: u32, r: u32| format!("a{tap}_{r}");
    let products = each(taps, |tap| {
        each(lanes, |r| {
            let value = if in_quads { format!("v{tap}.{}", lane(r)) } else { format!("v{tap}") };
            format!("{}+={value}*g;", part_of(tap, r))
        })
    });
    let load = |tap: u32, column: &str| {
        wgsl!("v$T=$X[xr+($C)*$Eu];", T = tap, X = input.name, C = column, E = elements)
    };
    // With a stride of 1, all but one pixel of a row are those of the column before.
    let (begin, next, end) = if stride == 1 {
        (
            each(taps, |t| {
                let first = if t + 1 < taps { load(t, &format!("{t}u")) } else { String::new() };
                format!("var v{t}={}; {first}", if in_quads { "vec4<f32>()" } else { "0.0" })
            }),
            load(taps - 1, &format!("x+{}u", taps - 1)),
            each(taps - 1, |t| format!("v{t}=v{};", t + 1)),
        )
    } else {
        let loads = each(taps, |t| format!("let {}", load(t, &format!("x*{stride}u+{t}u"))));
        (String::new(), loads, String::new())
    };
    let (rows, _) = node.parameter_shape();
    let row = Place::new("m", "y", "0u", "o");
    let samples = c.batch.div_ceil(parts(node, c.batch, c.preset));
    let body = wgsl!(
        "let t=wg.x*$THREADSu+l.x;if(t>=$ALLu){return;}let o=t%$Qu;let i=(t/$Qu)%$Eu;
let tap=t/$QEu;let ty=tap/$RTu;let tx=tap%$RTu;
$ZERO var s=vec4<f32>();
for(var m=wg.y*$PERu;m<min(wg.y*$PERu+$PERu,$Mu);m++){let xb=$BASE;
 for(var y=0u;y<$Hu;y++){let xr=xb+((y*$STRIDEu+ty)*$Cu+tx)*$Eu+i;let gr=$GR;
  $BEGIN
  for(var x=0u;x<$Wu;x++){$NEXT let g=G[gr+x*$GSu];s+=g;$PRODUCTS$END}}}
let at=wg.y*$PARTu+o;
$WRITE
if(tap==0u&&i==0u){S[at+$BIASu]=s;}",
        THREADS = THREADS,
        ALL = partial_threads(node),
        Q = quads,
        E = elements,
        QE = quads * elements,
        RT = row_taps,
        ZERO = each(taps, |tap| each(lanes, |r| format!("var {}=vec4<f32>();", part_of(tap, r)))),
        PER = samples,
        M = c.batch,
        BASE = input.base("m", node.input.len() / u64::from(lanes)),
        H = node.made.height,
        W = node.made.width,
        STRIDE = stride,
        C = node.input.columns,
        GR = node.gradient.quad(&row),
        GS = node.gradient.dilation * quads,
        BEGIN = begin,
        NEXT = next,
        PRODUCTS = products,
        END = end,
        PART = rows * quads,
        WRITE = each(taps, |tap| each(lanes, |r| wgsl!(
            "S[at+((ty*$Ku+tx+$Tu)*$Lu+i*$Nu+$Ru)*$Qu]=$A;",
            K = kernel,
            T = tap,
            L = node.input.lanes,
            N = lanes,
            R = r,
            Q = quads,
            A = part_of(tap, r)
        ))),
        BIAS = (rows - 1) * quads
    );
    let parts = c.batch.div_ceil(samples);
    let groups = [u64::from(partial_threads(node).div_ceil(THREADS)), u64::from(parts), 1];
    shader.finish(c.name(index, "convolution sums"), [THREADS, 1], groups, &body, c.limits)
}

/// Adds the parts, steps the parameters, and writes the turned weights.
pub fn update(c: &Context<'_>, index: usize) -> Result<Kernel, PlanError> {
    let (node, buffers) = (&c.nodes[index], &c.buffers[index]);
    let (kernel, _) = sizes(node);
    let (rows, quads) = node.parameter_shape();
    let samples = c.batch.div_ceil(parts(node, c.batch, c.preset));
    let mut shader = Shader::new();
    shader.bind("S", buffers.parts.unwrap_or_default(), Access::Read, Element::Quad);
    c.update.declare(&mut shader, c.shared.rates, buffers);
    let turned = match buffers.turned {
        Some(turned) => {
            shader.bind("T", turned, Access::Write, Element::F32);
            wgsl!(
                "let r=t/$Qu;if(r<$ROWSu){let o=t%$Qu*4u;let i=r%$Lu;let tap=$LASTu-r/$Lu;$W}",
                Q = quads,
                ROWS = rows - 1,
                L = node.input.lanes,
                LAST = kernel * kernel - 1,
                W = each(4, |r| wgsl!(
                    "T[(tap*$Ou+o+$Ru)*$Lu+i]=p.$C;",
                    O = node.made.lanes,
                    R = r,
                    L = node.input.lanes,
                    C = lane(r)
                ))
            )
        }
        None => String::new(),
    };
    let body = wgsl!(
        "let t=wg.x*$THREADSu+l.x;if(t>=$ALLu){return;}
var s=S[t];for(var p=1u;p<$PARTSu;p++){s+=S[p*$ALLu+t];}let p=updated(t,s);$TURNED",
        THREADS = THREADS,
        ALL = rows * quads,
        PARTS = c.batch.div_ceil(samples),
        TURNED = turned
    );
    let groups = [u64::from((rows * quads).div_ceil(THREADS)), 1, 1];
    shader.finish(c.name(index, "convolution update"), [THREADS, 1], groups, &body, c.limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_with_the_least_waste() {
        assert_eq!(
            [cover(14, 7), cover(28, 14), cover(10, 7), cover(1, 7), cover(7, 2)],
            [7, 14, 5, 1, 1]
        );
    }
}
