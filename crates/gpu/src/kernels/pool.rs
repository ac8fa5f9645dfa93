//! Pooling in a kernel of its own: any window, any stride.
//!
//! The gradient is gathered: a thread for each quad of the input adds the gradients of the
//! windows over it.

use super::Context;
use crate::PlanError;
use crate::grid::Place;
use crate::lower::{Node, Op};
use crate::shader::{Access, Element, Kernel, Shader};
use crate::text::{float, wgsl};

const THREADS: u32 = 64;

/// Kernel, stride, and true for the maximum.
fn window(node: &Node) -> (u32, u32, bool) {
    match node.op {
        Op::MaxPool { kernel, stride } => (kernel, stride, true),
        Op::AvgPool { kernel, stride } => (kernel, stride, false),
        _ => (1, 1, false),
    }
}

pub fn forward(c: &Context<'_>, index: usize) -> Result<Kernel, PlanError> {
    let (node, buffers) = (&c.nodes[index], &c.buffers[index]);
    let (kernel, stride, maximum) = window(node);
    let mut shader = Shader::new();
    let input = c.input(&mut shader, index, Element::Quad);
    let at = node.made.place("m", "t");
    let pixel = Place::new("0u", "(y+wy)", "(x+wx)", &at.q);
    let (begin, step, end) = if maximum {
        let keep = buffers.places.map_or(String::new(), |places| {
            shader.bind("A", places, Access::Write, Element::QuadU32);
            wgsl!("A[$N]=place;", N = node.made.number(&at))
        });
        let step = wgsl!(
            "let c=(v>top)|vec4<bool>(wy+wx==0u);top=select(top,v,c);\
             place=select(place,vec4<u32>(wy*$Ku+wx),c);",
            K = kernel
        );
        ("var top=vec4<f32>();var place=vec4<u32>();".to_owned(), step, keep)
    } else {
        let end = wgsl!("top*=$S;", S = float(1.0 / (kernel as f32 * kernel as f32)));
        ("var top=vec4<f32>();".to_owned(), "top+=v;".to_owned(), end)
    };
    let store = c.store_output(&mut shader, index, &at, "top");
    let quads = node.made.features() / 4;
    let body = wgsl!(
        "let t=wg.x*$THREADSu+l.x;if(t>=$ALLu){return;}let m=wg.y;let base=$BASE;
let y=$Y*$Su;let x=$X*$Su;$BEGIN
for(var wy=0u;wy<$Ku;wy++){for(var wx=0u;wx<$Ku;wx++){let v=$IN[base+$P];$STEP}}
$END$STORE",
        THREADS = THREADS,
        ALL = quads,
        BASE = input.base("m", node.input.len() / 4),
        Y = at.y,
        X = at.x,
        S = stride,
        BEGIN = begin,
        K = kernel,
        IN = input.name,
        P = node.input.quad(&pixel),
        STEP = step,
        END = end,
        STORE = store
    );
    let groups = [u64::from(quads.div_ceil(THREADS)), u64::from(c.batch), 1];
    shader.finish(c.name(index, "pooling forward"), [THREADS, 1], groups, &body, c.limits)
}

pub fn backward(c: &Context<'_>, index: usize) -> Result<Kernel, PlanError> {
    let (node, buffers) = (&c.nodes[index], &c.buffers[index]);
    let (kernel, stride, maximum) = window(node);
    let mut shader = Shader::new();
    shader.bind("G", buffers.gradient.unwrap_or_default(), Access::Read, Element::Quad);
    let at = node.input.place("m", "t");
    let cell = Place::new("m", "wy", "wx", &at.q);
    let term = if maximum {
        shader.bind("A", buffers.places.unwrap_or_default(), Access::Read, Element::QuadU32);
        wgsl!(
            "let place=(y-wy*$Su)*$Ku+x-wx*$Su;\
             d+=select(vec4<f32>(),G[at],A[at]==vec4<u32>(place));",
            S = stride,
            K = kernel
        )
    } else {
        wgsl!("d+=G[at]*$S;", S = float(1.0 / (kernel as f32 * kernel as f32)))
    };
    let first = |pixel: &str| {
        wgsl!("select(0u,($P-min($P,$Ku))/$Su+1u,$P>=$Ku)", P = pixel, K = kernel, S = stride)
    };
    let last =
        |pixel: &str, size: u32| wgsl!("min($P/$Su,$Lu)", P = pixel, S = stride, L = size - 1);
    let store = c.store_gradient(&mut shader, index - 1, &at, "d");
    let quads = node.input.features() / 4;
    let body = wgsl!(
        "let t=wg.x*$THREADSu+l.x;if(t>=$ALLu){return;}let m=wg.y;let y=$Y;let x=$X;
var d=vec4<f32>();
for(var wy=$FY;wy<=$LY;wy++){for(var wx=$FX;wx<=$LX;wx++){let at=$AT;$TERM}}
$STORE",
        THREADS = THREADS,
        ALL = quads,
        Y = at.y,
        X = at.x,
        FY = first("y"),
        LY = last("y", node.made.height),
        FX = first("x"),
        LX = last("x", node.made.width),
        AT = node.made.quad(&cell),
        TERM = term,
        STORE = store
    );
    let groups = [u64::from(quads.div_ceil(THREADS)), u64::from(c.batch), 1];
    shader.finish(c.name(index, "pooling backward"), [THREADS, 1], groups, &body, c.limits)
}
