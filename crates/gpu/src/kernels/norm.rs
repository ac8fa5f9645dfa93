//! Layer normalisation: `(x - mean) / sqrt(variance + epsilon) * gamma + beta`.
//!
//! A workgroup takes an example. Gamma is the first row of the parameters, beta the second;
//! both are 0 in lanes without a feature.

use super::{Context, real};
use crate::PlanError;
use crate::lower::Node;
use crate::shader::{Access, Element, Kernel, Shader};
use crate::text::{float, wgsl};

/// Threads that share an example.
const THREADS: u32 = 64;

/// A loop over the quads of an example.
fn each_quad(node: &Node, body: &str) -> String {
    let quads = node.input.features() / 4;
    wgsl!("for(var f=l.x;f<$Fu;f+=$Tu){$B}", F = quads, T = THREADS, B = body)
}

/// `value` of every thread, added up in `name`; slot of the shared memory.
fn total(value: &str, name: &str) -> String {
    wgsl!(
        "workgroupBarrier();red[l.x]=$V;workgroupBarrier();
var $N=0.0;for(var p=0u;p<$Tu;p++){$N+=red[p];}",
        V = value,
        N = name,
        T = THREADS
    )
}

/// Expression of the quad of the pixel that quad `f` is.
fn quad_of_pixel(node: &Node) -> String {
    format!("f%{}u", node.input.quads())
}

pub fn forward(c: &Context<'_>, index: usize, epsilon: f32) -> Result<Kernel, PlanError> {
    let (node, buffers) = (&c.nodes[index], &c.buffers[index]);
    let mut shader = Shader::new();
    let input = c.input(&mut shader, index, Element::Quad);
    shader.bind("W", buffers.parameters.unwrap_or_default(), Access::Read, Element::Quad);
    shader.bind("moments", buffers.moments.unwrap_or_default(), Access::Write, Element::F32);
    shader.share("red", Element::F32, THREADS);
    let quads = node.input.features() / 4;
    let x = format!("{}[xb+f]", input.name);
    let centred = real(&node.input, &quad_of_pixel(node), &format!("{x}-mean"));
    let at = node.output.place("m", "f");
    let value = wgsl!("($X-mean)*scale*W[f]+W[f+$Fu]", X = x, F = quads);
    let body = [
        wgsl!("let m=wg.x;let xb=$B;var a=0.0;", B = input.base("m", u64::from(quads))),
        each_quad(node, &format!("a+=dot({x},vec4<f32>(1.0));")),
        total("a", "sum"),
        wgsl!("let mean=sum/$N.0;var b=0.0;", N = node.input.values()),
        each_quad(node, &format!("let d={centred};b+=dot(d,d);")),
        total("b", "squares"),
        wgsl!(
            "let scale=1.0/sqrt(squares/$N.0+$E);
if(l.x==0u){moments[m*2u]=mean;moments[m*2u+1u]=scale;}",
            N = node.input.values(),
            E = float(epsilon)
        ),
        each_quad(node, &c.store_output(&mut shader, index, &at, &value)),
    ]
    .join("\n");
    let groups = [u64::from(c.batch), 1, 1];
    shader.finish(c.name(index, "normalisation forward"), [THREADS, 1], groups, &body, c.limits)
}

pub fn backward(c: &Context<'_>, index: usize) -> Result<Kernel, PlanError> {
    let (node, buffers) = (&c.nodes[index], &c.buffers[index]);
    let mut shader = Shader::new();
    let input = c.input(&mut shader, index, Element::Quad);
    shader.bind("G", buffers.gradient.unwrap_or_default(), Access::Read, Element::Quad);
    shader.bind("W", buffers.parameters.unwrap_or_default(), Access::Read, Element::Quad);
    shader.bind("moments", buffers.moments.unwrap_or_default(), Access::Read, Element::F32);
    shader.share("red", Element::F32, THREADS);
    let quads = node.input.features() / 4;
    // The gradient at the normalised value; lanes without a feature have a gamma of 0.
    let terms =
        wgsl!("let g=G[m*$Fu+f]*W[f];let n=($X[xb+f]-mean)*scale;", F = quads, X = input.name);
    let n = node.input.values();
    let value = wgsl!("scale*(g-sum/$N.0-n*(slope_sum/$N.0))", N = n);
    let value = real(&node.input, &quad_of_pixel(node), &value);
    let at = node.input.place("m", "f");
    let store = c.store_gradient(&mut shader, index - 1, &at, "value");
    let body = [
        wgsl!("let m=wg.x;let xb=$B;", B = input.base("m", u64::from(quads))),
        "let mean=moments[m*2u];let scale=moments[m*2u+1u];var a=0.0;var b=0.0;".to_owned(),
        each_quad(node, &format!("{terms}a+=dot(g,vec4<f32>(1.0));b+=dot(g,n);")),
        total("a", "sum"),
        total("b", "slope_sum"),
        each_quad(node, &format!("{terms}let value={value};{store}")),
    ]
    .join("\n");
    let groups = [u64::from(c.batch), 1, 1];
    shader.finish(c.name(index, "normalisation backward"), [THREADS, 1], groups, &body, c.limits)
}

pub fn update(c: &Context<'_>, index: usize) -> Result<Kernel, PlanError> {
    let (node, buffers) = (&c.nodes[index], &c.buffers[index]);
    let mut shader = Shader::new();
    let input = c.input(&mut shader, index, Element::Quad);
    shader.bind("G", buffers.gradient.unwrap_or_default(), Access::Read, Element::Quad);
    shader.bind("moments", buffers.moments.unwrap_or_default(), Access::Read, Element::F32);
    c.update.declare(&mut shader, c.shared.rates, buffers);
    let quads = node.input.features() / 4;
    let body = wgsl!(
        "let f=wg.x*$THREADSu+l.x;if(f>=$Fu){return;}var a=vec4<f32>();var b=vec4<f32>();
for(var m=0u;m<$Mu;m++){let g=G[m*$Fu+f];b+=g;\
         a+=g*($X[$BASE+f]-moments[m*2u])*moments[m*2u+1u];}
updated(f,a);updated(f+$Fu,b);",
        THREADS = THREADS,
        F = quads,
        M = c.batch,
        X = input.name,
        BASE = input.base("m", u64::from(quads))
    );
    let groups = [u64::from(quads.div_ceil(THREADS)), 1, 1];
    shader.finish(c.name(index, "normalisation update"), [THREADS, 1], groups, &body, c.limits)
}
