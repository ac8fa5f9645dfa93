//! Examples of a training, and their rows in the layout of the kernels.

use std::sync::Arc;

use crate::lower::LossKernel;
use crate::plan::Plan;
use crate::{GpuError, PlanError};

/// Targets of examples, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// A class for each example, from 0.
    Classes(Vec<u32>),
    /// Values for each example, one for each of the model's outputs.
    Values(Vec<f32>),
}

/// Values in the memory of their owner.
pub trait Features: Send + Sync {
    /// The values of all examples, row by row.
    fn values(&self) -> &[f32];
}

impl Features for Vec<f32> {
    fn values(&self) -> &[f32] {
        self
    }
}

/// Features and targets of examples.
///
/// The features are those of the first layer of the training, after the leading fixed
/// layers: row-major, images channels first.
#[derive(Clone)]
pub struct Examples {
    /// Values of all examples, which stay where they are.
    pub features: Arc<dyn Features>,
    /// Their targets.
    pub targets: Targets,
}

/// Bytes that are converted at once.
const PIECE: usize = 4 << 20;
/// Bytes of a window on examples that do not fit into one binding.
const WINDOW: u64 = 32 << 20;

impl Examples {
    /// Number of examples, checked against the plan's model.
    pub(crate) fn rows(&self, plan: &Plan) -> Result<usize, GpuError> {
        let values = plan.data.values() as usize;
        let fail = |text: String| Err(GpuError::Examples(text));
        let given = self.features.values().len();
        if given == 0 || !given.is_multiple_of(values) {
            return fail(format!("{given} values, {values} an example"));
        }
        let rows = given / values;
        match (&self.targets, plan.loss) {
            (Targets::Classes(classes), LossKernel::SoftmaxCrossEntropy) => {
                if classes.len() != rows {
                    return fail(format!("{rows} examples, {} classes", classes.len()));
                }
                match classes.iter().find(|&&class| class as usize >= plan.outputs) {
                    Some(class) => fail(format!("class {class} of {}", plan.outputs)),
                    None => Ok(rows),
                }
            }
            (Targets::Values(targets), LossKernel::MeanSquaredError) => {
                if targets.len() != rows * plan.outputs {
                    return fail(format!("{rows} examples, {} target values", targets.len()));
                }
                Ok(rows)
            }
            _ => fail("targets of another loss".into()),
        }
    }

    /// Rows of the data buffer: all of them, or a window of whole batches where one binding
    /// is too small.
    pub(crate) fn resident(&self, plan: &Plan, largest: u64) -> Result<usize, GpuError> {
        let rows = self.rows(plan)?;
        let bytes = (plan.row_floats().max(plan.target_words())) * 4;
        if bytes.saturating_mul(rows as u64) <= largest {
            return Ok(rows);
        }
        let batch = u64::from(plan.batch);
        let available = WINDOW.min(largest).max(bytes.saturating_mul(batch).min(largest));
        let batches = available / bytes.saturating_mul(batch).max(1);
        if batches == 0 {
            let needed = bytes.saturating_mul(batch);
            let what = "bytes for the examples of a batch";
            return Err(PlanError::Limit { what, needed, available: largest }.into());
        }
        Ok((batches * batch) as usize)
    }

    /// Writes examples `rows` in the layout of the data buffer, piece by piece: `write` takes
    /// the first float of a piece and its values.
    pub(crate) fn convert(
        &self,
        plan: &Plan,
        rows: impl Iterator<Item = u32>,
        mut write: impl FnMut(u64, &[f32]),
    ) {
        let features = self.features.values();
        let (values, floats) = (plan.data.values() as usize, plan.row_floats() as usize);
        let places: Vec<usize> =
            (0..values as u32).map(|value| plan.data.position(value)).collect();
        let mut piece = Vec::new();
        let (mut first, mut count) = (0, 0);
        for row in rows {
            let start = piece.len();
            piece.resize(start + floats, 0.0);
            let from = &features[row as usize * values..][..values];
            for (&place, &value) in places.iter().zip(from) {
                piece[start + place] = value;
            }
            count += 1;
            if piece.len() * 4 >= PIECE {
                write(first * floats as u64, &piece);
                piece.clear();
                (first, count) = (first + count, 0);
            }
        }
        if !piece.is_empty() {
            write(first * floats as u64, &piece);
        }
    }

    /// Bytes of the targets of examples `rows`.
    pub(crate) fn target_bytes(&self, plan: &Plan, rows: impl Iterator<Item = u32>) -> Vec<u8> {
        match &self.targets {
            Targets::Classes(classes) => {
                let classes: Vec<u32> = rows.map(|row| classes[row as usize]).collect();
                bytemuck::cast_slice(&classes).to_vec()
            }
            Targets::Values(values) => {
                let width = plan.outputs;
                let rows = rows.flat_map(|row| &values[row as usize * width..][..width]);
                bytemuck::cast_slice(&rows.copied().collect::<Vec<f32>>()).to_vec()
            }
        }
    }
}
