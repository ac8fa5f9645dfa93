//! Recurrent layers: what the hidden state makes of the inputs, one step after the other.
//!
//! The inputs come projected, all steps at once: that is a [`Linear`] layer. The equations
//! and the order of the gates are those of PyTorch's `GRU` and `LSTM`.

use crate::functions::{sigmoid, tanh};
use crate::instruction_set::Kernels;
use crate::linear::Linear;
use crate::simd::{Job, Simd};
use crate::{Activation, add_rows};

/// Kind of a recurrent layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Gated recurrent unit (Cho et al. 2014): gates r, z, n.
    Gru,
    /// Long short-term memory (Hochreiter and Schmidhuber 1997): gates i, f, g, o.
    Lstm,
}

impl Cell {
    /// Gates of a unit.
    pub fn gates(self) -> usize {
        match self {
            Self::Gru => 3,
            Self::Lstm => 4,
        }
    }
}

/// Recurrent layer on a batch of sequences. Its state before the first step is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recurrent {
    /// Kind of its units.
    pub cell: Cell,
    /// Sequences.
    pub batch: usize,
    /// Steps of each.
    pub steps: usize,
    /// Values of the hidden state.
    pub units: usize,
}

/// States of a recurrent layer, and what its gradient needs.
#[derive(Clone, Debug, PartialEq)]
pub struct States {
    /// Hidden state after each step, `[steps][batch][units]`.
    pub hidden: Vec<f32>,
    /// Gates after their functions, `[steps][batch][4][units]`: of a GRU r, z, n and what the
    /// hidden state adds to n.
    gates: Vec<f32>,
    /// Cell state of an LSTM after each step, `[steps][batch][units]`.
    cells: Vec<f32>,
}

/// Gradients of a recurrent layer.
#[derive(Clone, Debug, PartialEq)]
pub struct RecurrentGradient {
    /// Of the projected inputs, `[steps][batch][gates][units]`.
    pub projected: Vec<f32>,
    /// Of the weights, `[units][gates][units]`.
    pub weight: Vec<f32>,
    /// Of the bias, `[gates][units]`.
    pub bias: Vec<f32>,
}

impl Recurrent {
    /// Layer from the hidden states of a batch to its gates at one step.
    fn hidden(&self) -> Linear {
        let Self { cell, batch, units, .. } = *self;
        let activation = Activation::Identity;
        Linear { batch, inputs: units, outputs: cell.gates() * units, activation }
    }

    /// Values of the state of a batch.
    fn state(&self) -> usize {
        self.batch * self.units
    }
}

impl Kernels {
    /// The layer's states from `projected: [steps][batch][gates][units]`, which are the inputs
    /// times their weights with their bias, `weight: [units][gates][units]` and
    /// `bias: [gates][units]`.
    pub fn recurrent(
        self,
        layer: Recurrent,
        projected: &[f32],
        weight: &[f32],
        bias: &[f32],
    ) -> States {
        let Recurrent { cell, steps, units, .. } = layer;
        let (linear, state) = (layer.hidden(), layer.state());
        let sums_len = cell.gates() * state;
        assert_eq!(projected.len(), steps * sums_len, "the projected inputs' length");
        let mut hidden = vec![0.0; steps * state];
        let mut gates = vec![0.0; 4 * steps * state];
        let mut cells = vec![0.0; if cell == Cell::Lstm { steps * state } else { 0 }];
        let zeros = vec![0.0; state];
        for step in 0..steps {
            let (done, rest) = hidden.split_at_mut(step * state);
            let before = done.chunks_exact(state).next_back().unwrap_or(&zeros);
            let sums = self.linear(linear, before, weight, bias);
            let middle = cells.len().min(step * state);
            let (done, next) = cells.split_at_mut(middle);
            self.run(Step {
                cell,
                units,
                projected: &projected[step * sums_len..][..sums_len],
                sums: &sums,
                before,
                cell_before: done.chunks_exact(state).next_back().unwrap_or(&zeros),
                gates: &mut gates[4 * step * state..][..4 * state],
                hidden: &mut rest[..state],
                cells: next,
            });
        }
        States { hidden, gates, cells }
    }

    /// The layer's gradients, from the forward pass's `weight` and `states`, and `gradient`,
    /// which is the hidden states': `[steps][batch][units]`.
    pub fn recurrent_gradient(
        self,
        layer: Recurrent,
        weight: &[f32],
        states: &States,
        gradient: &[f32],
    ) -> RecurrentGradient {
        let Recurrent { cell, batch, steps, units } = layer;
        let (linear, state) = (layer.hidden(), layer.state());
        let sums_len = cell.gates() * state;
        assert_eq!(gradient.len(), steps * state, "the gradient's length");
        assert_eq!(states.hidden.len(), steps * state, "the states' length");
        let mut sums = vec![0.0; steps * sums_len];
        let mut projected = vec![0.0; if cell == Cell::Gru { steps * sums_len } else { 0 }];
        let (zeros, mut cells) = (vec![0.0; state], vec![0.0; state]);
        let mut carried = vec![0.0; state];
        for step in (0..steps).rev() {
            let before = step.checked_sub(1);
            let part = step * sums_len..(step + 1) * sums_len;
            let of_projected = if projected.is_empty() { 0..0 } else { part.clone() };
            self.run(StepBack {
                cell,
                units,
                gates: &states.gates[4 * step * state..][..4 * state],
                before: state_of(&states.hidden, before, &zeros),
                cell_before: state_of(&states.cells, before, &zeros),
                cell_after: state_of(&states.cells, Some(step), &zeros),
                gradient: &gradient[step * state..][..state],
                carried: &mut carried,
                cells: &mut cells,
                sums: &mut sums[part.clone()],
                projected: &mut projected[of_projected],
            });
            if step > 0 {
                let sums = &sums[part];
                let found = self.linear_gradient(linear, weight, sums, sums, true);
                add_rows(&mut carried, &found.input.unwrap_or_default());
            }
        }
        let mut bias = vec![0.0; linear.outputs];
        add_rows(&mut bias, &sums);
        // The state before the first step is zero.
        let weight = match steps {
            0 | 1 => vec![0.0; weight.len()],
            _ => {
                let rows = Linear { batch: (steps - 1) * batch, ..linear };
                let before = &states.hidden[..(steps - 1) * state];
                self.weight_gradient(rows, before, &sums[sums_len..])
            }
        };
        let projected = if cell == Cell::Lstm { sums } else { projected };
        RecurrentGradient { projected, weight, bias }
    }
}

/// The state after a step: zeros before the first one, and where there are none.
fn state_of<'a>(states: &'a [f32], step: Option<usize>, zeros: &'a [f32]) -> &'a [f32] {
    let len = zeros.len();
    step.and_then(|step| states.get(step * len..(step + 1) * len)).unwrap_or(zeros)
}

/// Rows of `units` values, one for each gate.
#[inline(always)]
fn gates<const N: usize>(row: &[f32], units: usize) -> [&[f32]; N] {
    std::array::from_fn(|gate| &row[gate * units..][..units])
}

/// The same to write to.
#[inline(always)]
fn gates_mut<const N: usize>(row: &mut [f32], units: usize) -> [&mut [f32]; N] {
    let mut rows = row.chunks_exact_mut(units);
    std::array::from_fn(|_| rows.next().expect("a row has every gate"))
}

/// Replaces each value by a function of itself and of the inputs' values in its place.
///
/// One row is written at a time, so that the loop is compiled to vectors.
#[inline(always)]
fn each<const N: usize>(
    values: &mut [f32],
    inputs: [&[f32]; N],
    function: impl Fn(f32, [f32; N]) -> f32,
) {
    let inputs = inputs.map(|input| &input[..values.len()]);
    for (at, value) in values.iter_mut().enumerate() {
        *value = function(*value, inputs.map(|input| input[at]));
    }
}

/// Slope of the logistic function, from its value.
#[inline(always)]
fn of_sigmoid(value: f32) -> f32 {
    value * (1.0 - value)
}

/// Slope of the hyperbolic tangent, from its value.
#[inline(always)]
fn of_tanh(value: f32) -> f32 {
    1.0 - value * value
}

/// One step of a batch.
struct Step<'a> {
    cell: Cell,
    units: usize,
    projected: &'a [f32],
    sums: &'a [f32],
    before: &'a [f32],
    cell_before: &'a [f32],
    gates: &'a mut [f32],
    hidden: &'a mut [f32],
    /// Empty of a GRU.
    cells: &'a mut [f32],
}

impl Job for Step<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { cell, units, projected, sums, before, cell_before, gates: kept, .. } = self;
        let width = cell.gates() * units;
        let rows = projected.chunks_exact(width).zip(sums.chunks_exact(width));
        let kept = kept.chunks_exact_mut(4 * units);
        for (row, ((projected, sums), kept)) in rows.zip(kept).enumerate() {
            let part = row * units..(row + 1) * units;
            let hidden = &mut self.hidden[part.clone()];
            // The first two gates side by side, in both kinds.
            each(&mut kept[..2 * units], [projected, sums], |_, [p, s]| sigmoid(p + s));
            match cell {
                Cell::Gru => {
                    let ([_, _, p], [_, _, s]) = (gates(projected, units), gates(sums, units));
                    let [r, z, n, m] = gates_mut(kept, units);
                    m.copy_from_slice(s);
                    each(n, [p, s, r], |_, [p, s, r]| tanh(p + r * s));
                    each(hidden, [n, z, &before[part]], |_, [n, z, before]| n + z * (before - n));
                }
                Cell::Lstm => {
                    let [_, _, pg, po] = gates(projected, units);
                    let [_, _, sg, so] = gates(sums, units);
                    let [i, f, g, o] = gates_mut(kept, units);
                    let after = &mut self.cells[part.clone()];
                    each(g, [pg, sg], |_, [p, s]| tanh(p + s));
                    each(o, [po, so], |_, [p, s]| sigmoid(p + s));
                    let inputs = [f, &cell_before[part], i, g];
                    each(after, inputs, |_, [f, before, i, g]| f * before + i * g);
                    each(hidden, [o, after], |_, [o, after]| o * tanh(after));
                }
            }
        }
    }
}

/// The gradient of one step of a batch.
struct StepBack<'a> {
    cell: Cell,
    units: usize,
    gates: &'a [f32],
    before: &'a [f32],
    cell_before: &'a [f32],
    cell_after: &'a [f32],
    gradient: &'a [f32],
    /// Gradient of the hidden state by later steps; then the part of its gradient before this
    /// step that does not come by the weights.
    carried: &'a mut [f32],
    /// The same of the cell state, in full.
    cells: &'a mut [f32],
    sums: &'a mut [f32],
    /// Empty of an LSTM, whose projected inputs and sums have the same gradient.
    projected: &'a mut [f32],
}

impl Job for StepBack<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { cell, units, gates: kept, before, cell_before, cell_after, gradient, .. } = self;
        let width = cell.gates() * units;
        let sums = self.sums.chunks_exact_mut(width);
        for (row, (kept, sums)) in kept.chunks_exact(4 * units).zip(sums).enumerate() {
            let part = row * units..(row + 1) * units;
            let h = &mut self.carried[part.clone()];
            each(h, [&gradient[part.clone()]], |h, [gradient]| h + gradient);
            match cell {
                Cell::Gru => {
                    let [r, z, n, m] = gates(kept, units);
                    let projected = &mut self.projected[row * width..][..width];
                    {
                        let [sr, sz, sn] = gates_mut(sums, units);
                        let pn = &mut projected[2 * units..];
                        each(pn, [h, z, n], |_, [h, z, n]| h * (1.0 - z) * of_tanh(n));
                        each(sn, [pn, r], |_, [pn, r]| pn * r);
                        each(sr, [pn, m, r], |_, [pn, m, r]| pn * m * of_sigmoid(r));
                        let inputs = [h, &before[part], n, z];
                        each(sz, inputs, |_, [h, before, n, z]| h * (before - n) * of_sigmoid(z));
                    }
                    projected[..2 * units].copy_from_slice(&sums[..2 * units]);
                    each(h, [z], |h, [z]| h * z);
                }
                Cell::Lstm => {
                    let [i, f, g, o] = gates(kept, units);
                    let [si, sf, sg, so] = gates_mut(sums, units);
                    let (before, after) = (&cell_before[part.clone()], &cell_after[part.clone()]);
                    let c = &mut self.cells[part];
                    each(so, [h, after, o], |_, [h, after, o]| h * tanh(after) * of_sigmoid(o));
                    each(c, [h, after, o], |c, [h, after, o]| c + h * o * of_tanh(tanh(after)));
                    each(si, [c, g, i], |_, [c, g, i]| c * g * of_sigmoid(i));
                    each(sf, [c, before, f], |_, [c, before, f]| c * before * of_sigmoid(f));
                    each(sg, [c, i, g], |_, [c, i, g]| c * i * of_tanh(g));
                    each(c, [f], |c, [f]| c * f);
                    h.fill(0.0);
                }
            }
        }
    }
}
