//! The loss and its gradient: alone, or together with a last linear layer of few outputs.
//!
//! A row behind the end of a short batch has weight 0: its gradient and its loss are 0.

use super::{Context, real};
use crate::lower::{LossKernel, Node, Op};
use crate::shader::{Access, Element, Kernel, Shader};
use crate::text::{each, joined, lane, wgsl};
use crate::{PlanError, Preset};

/// Most outputs of a last layer that one workgroup computes for an example.
const MOST_OUTPUTS: u32 = 32;

/// True if the last node can be computed together with the loss.
pub(crate) fn fits(node: &Node) -> bool {
    node.op == Op::Linear && node.chain.is_empty() && node.made.channels <= MOST_OUTPUTS
}

/// Binds targets, and writes the weight of example `m`.
fn begin(c: &Context<'_>, shader: &mut Shader) -> String {
    c.declare_row(shader);
    let element = match c.loss {
        LossKernel::SoftmaxCrossEntropy => Element::U32,
        LossKernel::MeanSquaredError => Element::F32,
    };
    shader.bind("targets", c.shared.targets, Access::Read, element);
    shader.bind("losses", c.shared.losses, Access::Write, Element::F32);
    let rows = c.rows_of_batch();
    wgsl!("let m=wg.x;$ROWS\nlet share=select(0.0,1.0/f32(rows),m<rows);", ROWS = rows)
}

pub fn head(c: &Context<'_>, index: usize) -> Result<Kernel, PlanError> {
    let node = &c.nodes[index];
    let (k, nq) = (node.input.features(), node.made.quads());
    let threads = match c.preset {
        Preset::Registers => 32,
        Preset::SplitK => 64,
    };
    let mut shader = Shader::new();
    let input = c.input(&mut shader, index, Element::Quad);
    let begin = begin(c, &mut shader);
    let buffers = &c.buffers[index];
    shader.bind("W", buffers.parameters.unwrap_or_default(), Access::Read, Element::Quad);
    shader.bind("G", buffers.gradient.unwrap_or_default(), Access::Write, Element::Quad);
    shader.share("red", Element::Quad, threads * nq);
    shader.share("out", Element::Quad, nq);
    let products = each(4, |r| {
        let sum =
            |j: u32| wgsl!("a$J+=x.$L*W[(k*4u+$Ru)*$Qu+$Ju];", J = j, L = lane(r), R = r, Q = nq);
        each(nq, sum)
    });
    let forward = wgsl!(
        "let xb=$BASE;$ZERO
for(var k=l.x;k<$KQu;k+=$Tu){let x=$X[xb+k];$PRODUCTS}
$RED workgroupBarrier();
for(var t=l.x;t<$NQu;t+=$Tu){var s=W[$BIASu+t];for(var p=0u;p<$Tu;p++){s+=red[t*$Tu+p];}out[t]=s;}
workgroupBarrier();",
        BASE = input.base("m", u64::from(k / 4)),
        ZERO = each(nq, |j| format!("var a{j}=vec4<f32>();")),
        KQ = k / 4,
        T = threads,
        X = input.name,
        PRODUCTS = products,
        RED = each(nq, |j| wgsl!("red[$Ju*$Tu+l.x]=a$J;", J = j, T = threads)),
        NQ = nq,
        BIAS = k * nq
    );
    let gradient = match c.loss {
        LossKernel::SoftmaxCrossEntropy => softmax(node),
        LossKernel::MeanSquaredError => squares(node),
    };
    let write = wgsl!(
        "if(l.x==0u){losses[m]=select(0.0,loss,m<rows);$G}",
        G = each(nq, |j| wgsl!("G[m*$Qu+$Ju]=g$J;", J = j, Q = nq))
    );
    let back = if node.passes_back {
        let sum = |r: u32| {
            joined(nq, "+", |j| wgsl!("dot(g$J,W[(k*4u+$Ru)*$Qu+$Ju])", J = j, R = r, Q = nq))
        };
        let value = format!("vec4<f32>({},{},{},{})", sum(0), sum(1), sum(2), sum(3));
        let at = node.input.place("m", "k");
        let store = c.store_gradient(&mut shader, index - 1, &at, &value);
        wgsl!("for(var k=l.x;k<$Ku;k+=$Tu){$S}", K = k / 4, T = threads, S = store)
    } else {
        String::new()
    };
    let body = [begin, forward, gradient, write, back].join("\n");
    let groups = [u64::from(c.batch), 1, 1];
    shader.finish(c.name(index, "head"), [threads, 1], groups, &body, c.limits)
}

/// Real outputs of quad `j`.
fn lanes(node: &Node, j: u32) -> u32 {
    (node.made.channels - j * 4).min(4)
}

/// Output `index` of the head.
fn output(index: u32) -> String {
    format!("out[{}].{}", index / 4, lane(index))
}

/// A quad of expressions for the real outputs of quad `j`, and zeros.
fn quad(node: &Node, j: u32, part: impl Fn(u32) -> String) -> String {
    let real = lanes(node, j);
    let lanes = joined(4, ",", |r| if r < real { part(j * 4 + r) } else { "0.0".into() });
    wgsl!("vec4<f32>($L)", L = lanes)
}

fn softmax(node: &Node) -> String {
    let (n, nq) = (node.made.channels, node.made.quads());
    let exponent = |o| format!("exp({}-top)", output(o));
    wgsl!(
        "let label=targets[row(m)];var top=out[0].x;$TOP var sum=0.0;$SUM
let loss=log(sum)+top-out[label/4u][label%4u];$G",
        TOP = each(n, |o| format!("top=max(top,{});", output(o))),
        SUM = each(n, |o| format!("sum+={};", exponent(o))),
        G = each(nq, |j| {
            let part = |o| wgsl!("$E/sum-select(0.0,1.0,label==$Ou)", E = exponent(o), O = o);
            wgsl!("let g$J=share*$V;", J = j, V = quad(node, j, part))
        })
    )
}

fn squares(node: &Node) -> String {
    let (n, nq) = (node.made.channels, node.made.quads());
    let difference = |o| wgsl!("$Y-targets[row(m)*$Nu+$Ou]", Y = output(o), N = n, O = o);
    wgsl!(
        "$D let loss=($SUM)/$N.0;$G",
        D = each(nq, |j| wgsl!("let d$J=$V;", J = j, V = quad(node, j, difference))),
        SUM = joined(nq, "+", |j| wgsl!("dot(d$J,d$J)", J = j)),
        N = n,
        G = each(nq, |j| wgsl!("let g$J=d$J*(2.0*share/$N.0);", J = j, N = n))
    )
}

/// Threads that share an example.
const THREADS: u32 = 64;

pub fn loss(c: &Context<'_>, index: usize) -> Result<Kernel, PlanError> {
    let node = &c.nodes[index];
    let mut shader = Shader::new();
    let begin = begin(c, &mut shader);
    let output = c.buffers[index].output;
    let y = shader.alias("H", output, Access::Read, Element::Quad);
    shader.share("red", Element::F32, THREADS);
    let quads = node.output.features() / 4;
    let pixels = node.output.height * node.output.width;
    // Number of the output in lane r of quad f: channels first.
    let number =
        |r: u32| wgsl!("((f%$Qu*4u+$Ru)*$Pu+f/$Qu)", Q = node.output.quads(), R = r, P = pixels);
    let each_quad =
        |body: &str| wgsl!("for(var f=l.x;f<$Fu;f+=$Tu){$B}", F = quads, T = THREADS, B = body);
    // Shares a value of every thread, and reduces it in the same order in each.
    let shared = |value: &str, name: &str, step: &str| {
        wgsl!(
            "workgroupBarrier();red[l.x]=$V;workgroupBarrier();
var $N=red[0];for(var p=1u;p<$Tu;p++){$S}",
            V = value,
            N = name,
            T = THREADS,
            S = step
        )
    };
    let lane_quad = |part: &dyn Fn(u32) -> String| {
        format!("vec4<f32>({},{},{},{})", part(0), part(1), part(2), part(3))
    };
    let q = format!("f%{}u", node.output.quads());
    let row = wgsl!("$Y[m*$Fu+f]", Y = y, F = quads);
    let at = node.output.place("m", "f");
    let body = match c.loss {
        LossKernel::SoftmaxCrossEntropy => {
            let tops = each(4, |r| {
                let top = wgsl!("mine=max(mine,v.$L);", L = lane(r));
                wgsl!(
                    "if($NUM<$Nu&&$REAL){$T}",
                    NUM = number(r),
                    N = node.output.values(),
                    T = top,
                    REAL = format!("({q})*4u+{r}u<{}u", node.output.channels)
                )
            });
            let exponent = real(&node.output, &q, &wgsl!("exp($R-top)", R = row));
            let hot = lane_quad(&|r| wgsl!("select(0.0,1.0,label==$N)", N = number(r)));
            let value = wgsl!("share*($E/sum-$H)", E = exponent, H = hot);
            let value = real(&node.output, &q, &value);
            [
                "let label=targets[row(m)];var mine=-3.4e38;".to_owned(),
                each_quad(&wgsl!("let v=$R;$T", R = row, T = tops)),
                shared("mine", "top", "top=max(top,red[p]);"),
                "var part=0.0;".to_owned(),
                each_quad(&wgsl!("part+=dot($E,vec4<f32>(1.0));", E = exponent)),
                shared("part", "sum", "sum+=red[p];"),
                wgsl!(
                    "if(l.x==0u){let c=label/$Pu;let f=label%$Pu*$Qu+c/4u;\
                     losses[m]=select(0.0,log(sum)+top-$R[c%4u],m<rows);}",
                    P = pixels,
                    Q = node.output.quads(),
                    R = row
                ),
                each_quad(&c.store_gradient(&mut shader, index, &at, &value)),
            ]
            .join("\n")
        }
        LossKernel::MeanSquaredError => {
            let n = node.output.values();
            let target = lane_quad(&|r| {
                wgsl!("targets[row(m)*$Nu+min($I,$Lu)]", N = n, I = number(r), L = n - 1)
            });
            let difference = real(&node.output, &q, &wgsl!("$R-$T", R = row, T = target));
            let value = wgsl!("(2.0*share/$N.0)*($D)", N = n, D = difference);
            [
                "var part=0.0;".to_owned(),
                each_quad(&wgsl!("let d=$D;part+=dot(d,d);", D = difference)),
                shared("part", "sum", "sum+=red[p];"),
                wgsl!("if(l.x==0u){losses[m]=select(0.0,sum/$N.0,m<rows);}", N = n),
                each_quad(&c.store_gradient(&mut shader, index, &at, &value)),
            ]
            .join("\n")
        }
    };
    let groups = [u64::from(c.batch), 1, 1];
    let body = [begin, body].join("\n");
    shader.finish(c.name(index, "loss"), [THREADS, 1], groups, &body, c.limits)
}
