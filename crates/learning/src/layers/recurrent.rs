//! Recurrent layers on a batch of sequences.

use fedra_kernels::{Activation as Function, Cell, Recurrent};

use super::Mode;
use super::activation::Activation;
use super::linear::{Linear, connected};
use crate::kernels;

/// The hidden states at all positions. `input` and `hidden` project what comes in and the
/// hidden state to the gates.
pub(super) fn unrolled(
    cell: Cell,
    input: &Linear,
    hidden: &Linear,
    sequence: Activation,
    mode: &mut Mode<'_>,
) -> Activation {
    // The kernel takes one step of the whole batch after the other.
    let x = sequence.sequence().swap_dims(0, 1);
    let [steps, batch, _] = x.dims();
    let [units, _] = hidden.weight.dims();
    let projected = connected(input, Activation::Sequence(x), Function::Identity, mode).rows();
    let layer = Recurrent { cell, batch, steps, units };
    let states = kernels::recurrent(layer, projected, hidden.weight.val(), hidden.bias.val());
    Activation::Sequence(states.reshape([steps, batch, units]).swap_dims(0, 1))
}
