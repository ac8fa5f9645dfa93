//! The loop around a [`LocalTrainer`]: yields, reports progress, stops when told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fedra_learning::{Backend, LearningError, LocalTrainer};

use crate::platform;

/// Longest stretch of training without letting other work on this thread run.
const STRETCH: Duration = Duration::from_millis(30);
/// Time between two reports.
const REPORT_EVERY: Duration = Duration::from_millis(250);
/// Steps that may be queued on a GPU before its result is waited for.
const GPU_QUEUE: u64 = 8;

/// How far local training is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Progress {
    pub epoch: u32,
    pub epochs: u32,
    pub step: u64,
    pub steps: u64,
    pub loss: f32,
    pub samples_per_second: f64,
}

/// Why training ended early.
#[derive(Debug)]
pub(crate) enum Stopped {
    Cancelled,
    Failed(LearningError),
}

impl From<LearningError> for Stopped {
    fn from(error: LearningError) -> Self {
        Self::Failed(error)
    }
}

/// Runs the whole plan and returns the trained parameters.
pub(crate) async fn run(
    trainer: &mut LocalTrainer,
    backend: Backend,
    cancelled: &AtomicBool,
    mut report: impl FnMut(Progress),
) -> Result<Vec<f32>, Stopped> {
    let start = platform::now();
    let (mut yielded, mut reported) = (start, start);
    let mut samples = 0;
    // The loss has no noise: where single examples are promised something, nothing
    // that others see may hang on it. Parameters are still checked at the end.
    let promised = trainer.example_cost().is_some();
    while let Some(batch) = trainer.step() {
        samples += batch;
        if cancelled.load(Ordering::Relaxed) {
            return Err(Stopped::Cancelled);
        }
        let full = backend == Backend::WebGpu && trainer.step_count().is_multiple_of(GPU_QUEUE);
        let now = platform::now();
        let last = trainer.step_count() == trainer.steps();
        if full || last || now - reported >= REPORT_EVERY {
            let loss = trainer.loss().await?;
            if !promised && !loss.is_finite() {
                return Err(LearningError::Diverged.into());
            }
            if last || platform::now() - reported >= REPORT_EVERY {
                reported = platform::now();
                report(Progress {
                    epoch: trainer.epoch(),
                    epochs: trainer.epochs(),
                    step: trainer.step_count(),
                    steps: trainer.steps(),
                    loss,
                    samples_per_second: samples as f64 / (reported - start).as_secs_f64().max(1e-9),
                });
            }
        }
        if platform::now() - yielded >= STRETCH {
            platform::yield_now().await;
            yielded = platform::now();
        }
    }
    Ok(trainer.parameters().await?)
}
