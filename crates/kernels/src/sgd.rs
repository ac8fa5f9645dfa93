//! Stochastic gradient descent in place.

use crate::instruction_set::Kernels;
use crate::simd::{Job, Simd};

/// Step of SGD: `g += weight_decay w`, then, with momentum, `v = momentum v + g` in place of
/// g, or `momentum v + g` with that v if it looks ahead, then `w -= rate g`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Learning rate.
    pub rate: f32,
    /// Factor of the velocity; without dampening.
    pub momentum: f32,
    /// True for Nesterov's momentum (Sutskever et al. 2013).
    pub looks_ahead: bool,
    /// Factor of the weights in the gradient.
    pub weight_decay: f32,
}

impl Kernels {
    /// Moves the weights, and the velocity if there is one. All are of one length.
    pub fn sgd(
        self,
        step: Sgd,
        weights: &mut [f32],
        gradient: &[f32],
        velocity: Option<&mut [f32]>,
    ) {
        assert_eq!(weights.len(), gradient.len(), "a gradient for every weight");
        if let Some(velocity) = &velocity {
            assert_eq!(weights.len(), velocity.len(), "a velocity for every weight");
        }
        self.run(Update { step, weights, gradient, velocity });
    }
}

struct Update<'a> {
    step: Sgd,
    weights: &'a mut [f32],
    gradient: &'a [f32],
    velocity: Option<&'a mut [f32]>,
}

impl Job for Update<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        self.step.apply(self.weights, self.gradient, self.velocity);
    }
}

impl Sgd {
    /// Takes the step with the instructions of the function that this is inlined into.
    #[inline(always)]
    pub(crate) fn apply(self, weights: &mut [f32], gradient: &[f32], velocity: Option<&mut [f32]>) {
        let Self { rate, momentum, looks_ahead, weight_decay } = self;
        let decayed = |gradient: f32, weight: f32| match weight_decay {
            0.0 => gradient,
            decay => weight * decay + gradient,
        };
        let pairs = weights.iter_mut().zip(gradient);
        match velocity {
            None => pairs.for_each(|(weight, &gradient)| {
                *weight -= decayed(gradient, *weight) * rate;
            }),
            Some(velocity) if looks_ahead => {
                pairs.zip(velocity).for_each(|((weight, &gradient), velocity)| {
                    let gradient = decayed(gradient, *weight);
                    *velocity = *velocity * momentum + gradient;
                    *weight -= (*velocity * momentum + gradient) * rate;
                });
            }
            Some(velocity) => pairs.zip(velocity).for_each(|((weight, &gradient), velocity)| {
                *velocity = *velocity * momentum + decayed(gradient, *weight);
                *weight -= *velocity * rate;
            }),
        }
    }
}
