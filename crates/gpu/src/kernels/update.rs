//! Step of a parameter by the algorithm of the training; no other kernel depends on it.

use fedra_protocol::{ClientAlgorithm, LocalTraining};

use super::{Context, LOSS_RING, NodeBuffers};
use crate::PlanError;
use crate::shader::{Access, Element, Kernel, Shader};
use crate::text::wgsl;

/// Algorithm of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Update {
    /// SGD with weight decay added to the gradient.
    Sgd(Momentum),
}

/// Momentum of SGD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Momentum {
    None,
    Classical,
    Nesterov,
}

impl Update {
    /// The algorithm of a plan that is [supported](crate::supports).
    pub fn of(training: &LocalTraining) -> Self {
        Self::Sgd(match training.algorithm() {
            _ if training.momentum() == 0.0 => Momentum::None,
            ClientAlgorithm::Nesterov => Momentum::Nesterov,
            ClientAlgorithm::Sgd | ClientAlgorithm::Adam { .. } | ClientAlgorithm::Scaffold => {
                Momentum::Classical
            }
        })
    }

    /// True if a velocity is kept for each parameter.
    pub fn keeps_velocity(self) -> bool {
        match self {
            Self::Sgd(momentum) => momentum != Momentum::None,
        }
    }

    /// Declares `updated(quad, gradient)`, which steps a quad of the parameters and returns
    /// their new values. `rates` are the learning rate, momentum and weight decay.
    pub fn declare(self, shader: &mut Shader, rates: usize, buffers: &NodeBuffers) {
        let parameters = buffers.parameters.unwrap_or_default();
        shader.bind("P", parameters, Access::Write, Element::Quad);
        shader.bind("rates", rates, Access::Uniform, Element::Quad);
        let Self::Sgd(momentum) = self;
        if let Some(velocity) = buffers.velocity {
            shader.bind("V", velocity, Access::Write, Element::Quad);
        }
        let direction = match momentum {
            Momentum::None => "",
            Momentum::Classical => "d=rates.y*V[i]+d;V[i]=d;",
            Momentum::Nesterov => "let v=rates.y*V[i]+d;V[i]=v;d=rates.y*v+d;",
        };
        shader.function(&wgsl!(
            "fn updated(i:u32,gradient:vec4<f32>)->vec4<f32>{
 let old=P[i];var d=gradient+rates.z*old;$DIRECTION let new_value=old-rates.x*d;P[i]=new_value;\
             return new_value;}\n",
            DIRECTION = direction
        ));
    }
}

/// Kernel at the end of a step: the mean loss into the ring, and the counters.
pub(crate) fn advance(c: &Context<'_>) -> Result<Kernel, PlanError> {
    let mut shader = Shader::new();
    shader.bind("ord", c.shared.order, Access::Write, Element::U32);
    shader.bind("losses", c.shared.losses, Access::Read, Element::F32);
    shader.bind("ring", c.shared.ring, Access::Write, Element::F32);
    let body = wgsl!(
        "$ROWS
var s=0.0;for(var m=0u;m<rows;m++){s+=losses[m];}
ring[ord[1]%$RINGu]=s/f32(rows);ord[0]+=1u;ord[1]+=1u;",
        ROWS = c.rows_of_batch(),
        RING = LOSS_RING
    );
    shader.finish("end of the step".into(), [1, 1], [1, 1, 1], &body, c.limits)
}
