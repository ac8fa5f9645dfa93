//! Element-wise layers that are part of no other kernel.

use super::Context;
use crate::PlanError;
use crate::shader::{Access, Element, Kernel, Shader};
use crate::text::wgsl;

const THREADS: u32 = 64;

pub fn forward(c: &Context<'_>, index: usize) -> Result<Kernel, PlanError> {
    let node = &c.nodes[index];
    let mut shader = Shader::new();
    let input = c.input(&mut shader, index, Element::Quad);
    let value = wgsl!("$X[$B+t]", X = input.name, B = input.base("m", node.input.len() / 4));
    let at = node.made.place("m", "t");
    let store = c.store_output(&mut shader, index, &at, &value);
    finish(c, index, shader, "element-wise forward", &store)
}

pub fn backward(c: &Context<'_>, index: usize) -> Result<Kernel, PlanError> {
    let (node, buffers) = (&c.nodes[index], &c.buffers[index]);
    let mut shader = Shader::new();
    shader.bind("G", buffers.gradient.unwrap_or_default(), Access::Read, Element::Quad);
    let value = wgsl!("G[m*$Fu+t]", F = node.made.features() / 4);
    let at = node.input.place("m", "t");
    let store = c.store_gradient(&mut shader, index - 1, &at, &value);
    finish(c, index, shader, "element-wise backward", &store)
}

fn finish(
    c: &Context<'_>,
    index: usize,
    shader: Shader,
    name: &str,
    store: &str,
) -> Result<Kernel, PlanError> {
    let quads = c.nodes[index].made.features() / 4;
    let body = wgsl!(
        "let t=wg.x*$THREADSu+l.x;if(t>=$ALLu){return;}let m=wg.y;$STORE",
        THREADS = THREADS,
        ALL = quads,
        STORE = store
    );
    let groups = [u64::from(quads.div_ceil(THREADS)), u64::from(c.batch), 1];
    shader.finish(c.name(index, name), [THREADS, 1], groups, &body, c.limits)
}
