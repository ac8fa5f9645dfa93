//! The layers with memory as plain loops in double precision, from their specification.

use fedra_protocol::{Layer, ModelSpec};

/// A vector for each position.
type Rows = Vec<Vec<f64>>;

/// Tensors in the order of the layout.
struct Tensors<'a> {
    values: &'a [f32],
}

impl Tensors<'_> {
    fn next(&mut self, len: usize) -> Vec<f64> {
        let (values, rest) = self.values.split_at(len);
        self.values = rest;
        values.iter().map(|&x| f64::from(x)).collect()
    }

    /// `x W + b` with the next two tensors.
    fn linear(&mut self, inputs: usize, outputs: usize) -> impl Fn(&[f64]) -> Vec<f64> + use<> {
        let (weight, bias) = (self.next(inputs * outputs), self.next(outputs));
        move |x| {
            let sum = |column: usize| {
                let terms = x.iter().enumerate().map(|(row, x)| x * weight[row * outputs + column]);
                bias[column] + terms.sum::<f64>()
            };
            (0..outputs).map(sum).collect()
        }
    }

    /// Mean 0 and variance 1, then scaled and shifted by the next two tensors.
    fn norm(&mut self, width: usize) -> impl Fn(&Vec<f64>) -> Vec<f64> + use<> {
        let (gamma, beta) = (self.next(width), self.next(width));
        move |x| {
            let mean = x.iter().sum::<f64>() / width as f64;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
            let normed = x.iter().map(|x| (x - mean) / (variance + 1e-5).sqrt());
            normed.zip(&gamma).zip(&beta).map(|((x, gamma), beta)| x * gamma + beta).collect()
        }
    }
}

/// Outputs of a model for one example. Its first layer is an embedding.
pub fn outputs(spec: &ModelSpec, parameters: &[f32], ids: &[u32]) -> Vec<f32> {
    let mut tensors = Tensors { values: parameters };
    let table = tensors.next(spec.layout()[0].len());
    let width = spec.layout()[0].shape[1];
    let row = |&id: &u32| table[id as usize * width..][..width].to_vec();
    let mut rows: Rows = ids.iter().map(row).collect();
    for layer in &spec.layers()[1..] {
        rows = match layer {
            Layer::CausalSelfAttention(layer) => {
                attention(&rows, layer.heads as usize, &mut tensors)
            }
            Layer::TransformerBlock(layer) => {
                let hidden = layer.hidden.map_or(4 * width, |hidden| hidden as usize);
                block(&rows, layer.heads as usize, hidden, &mut tensors)
            }
            Layer::Gru(layer) => gru(&rows, layer.units as usize, &mut tensors),
            Layer::Lstm(layer) => lstm(&rows, layer.units as usize, &mut tensors),
            other => panic!("no loop for {other:?}"),
        };
    }
    assert!(tensors.values.is_empty());
    rows.concat().iter().map(|&x| x as f32).collect()
}

fn attention(rows: &Rows, heads: usize, tensors: &mut Tensors<'_>) -> Rows {
    let width = rows[0].len();
    let (qkv, projection) = (tensors.linear(width, 3 * width), tensors.linear(width, width));
    let qkv: Rows = rows.iter().map(|row| qkv(row)).collect();
    let size = width / heads;
    let at = |position: usize| {
        let mut mixed = vec![0.0; width];
        for head in 0..heads {
            let columns = head * size..(head + 1) * size;
            let score = |other: usize| {
                let product = |column| qkv[position][column] * qkv[other][width + column];
                (columns.clone().map(product).sum::<f64>() / (size as f64).sqrt()).exp()
            };
            let sum: f64 = (0..=position).map(score).sum();
            for (other, row) in qkv.iter().enumerate().take(position + 1) {
                let share = score(other) / sum;
                for column in columns.clone() {
                    mixed[column] += share * row[2 * width + column];
                }
            }
        }
        projection(&mixed)
    };
    (0..rows.len()).map(at).collect()
}

fn block(rows: &Rows, heads: usize, hidden: usize, tensors: &mut Tensors<'_>) -> Rows {
    let width = rows[0].len();
    let norm = tensors.norm(width);
    let attended = attention(&rows.iter().map(norm).collect(), heads, tensors);
    let rows: Rows = rows.iter().zip(attended).map(|(x, y)| plus(x, &y)).collect();
    let norm = tensors.norm(width);
    let (first, second) = (tensors.linear(width, hidden), tensors.linear(hidden, width));
    let mlp = |x: &Vec<f64>| {
        let hidden: Vec<f64> = first(&norm(x)).into_iter().map(gelu).collect();
        plus(x, &second(&hidden))
    };
    rows.iter().map(mlp).collect()
}

fn plus(x: &[f64], y: &[f64]) -> Vec<f64> {
    x.iter().zip(y).map(|(x, y)| x + y).collect()
}

fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + libm::erf(x / 2f64.sqrt()))
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn gru(rows: &Rows, units: usize, tensors: &mut Tensors<'_>) -> Rows {
    let input = tensors.linear(rows[0].len(), 3 * units);
    let hidden = tensors.linear(units, 3 * units);
    let mut state = vec![0.0; units];
    let step = |row: &Vec<f64>| {
        let (x, h) = (input(row), hidden(&state));
        let gate = |gate: usize, unit: usize| x[gate * units + unit] + h[gate * units + unit];
        let next = |unit: usize| {
            let (r, z) = (sigmoid(gate(0, unit)), sigmoid(gate(1, unit)));
            let n = (x[2 * units + unit] + r * h[2 * units + unit]).tanh();
            (1.0 - z) * n + z * state[unit]
        };
        state = (0..units).map(next).collect();
        state.clone()
    };
    rows.iter().map(step).collect()
}

fn lstm(rows: &Rows, units: usize, tensors: &mut Tensors<'_>) -> Rows {
    let input = tensors.linear(rows[0].len(), 4 * units);
    let hidden = tensors.linear(units, 4 * units);
    let (mut state, mut cells) = (vec![0.0; units], vec![0.0; units]);
    let step = |row: &Vec<f64>| {
        let gates = plus(&input(row), &hidden(&state));
        let gate = |gate: usize, unit: usize| gates[gate * units + unit];
        for unit in 0..units {
            let (i, f) = (sigmoid(gate(0, unit)), sigmoid(gate(1, unit)));
            cells[unit] = f * cells[unit] + i * gate(2, unit).tanh();
            state[unit] = sigmoid(gate(3, unit)) * cells[unit].tanh();
        }
        state.clone()
    };
    rows.iter().map(step).collect()
}
