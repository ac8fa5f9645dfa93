//! The loop around a [`Trainer`]: yields, reports progress, stops when told.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fedra_learning::LearningError;
use futures_util::future::{self, Either};

use crate::devices::{Trainer, TrainingError};
use crate::platform;

/// Longest stretch of training without letting other work on this thread run.
const STRETCH: Duration = Duration::from_millis(30);
/// Time between two reports.
const REPORT_EVERY: Duration = Duration::from_millis(250);
/// Time for a GPU to answer. It counts as lost after it.
const GPU_LIMIT: Duration = Duration::from_secs(30);

/// Progress of local training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    pub epoch: u32,
    pub epochs: u32,
    pub step: u64,
    pub steps: u64,
    pub loss: f32,
    pub samples_per_second: f64,
}

/// Reason why training ended early.
#[derive(Debug)]
pub(crate) enum Stopped {
    Cancelled,
    Failed(TrainingError),
}

impl From<TrainingError> for Stopped {
    fn from(error: TrainingError) -> Self {
        Self::Failed(error)
    }
}

/// Runs the whole plan and returns the trained parameters. `pause` lets other work of
/// this thread run.
pub(crate) async fn run(
    mut trainer: Trainer,
    cancelled: &AtomicBool,
    mut report: impl FnMut(Progress),
    mut pause: impl AsyncFnMut(),
) -> Result<Vec<f32>, Stopped> {
    let start = platform::now();
    let (mut yielded, mut reported) = (start, start);
    let mut samples = 0;
    let limit = match trainer {
        Trainer::Cpu(_) => None,
        Trainer::WebGpu(_) => Some(GPU_LIMIT),
    };
    // The loss has no noise: where single examples are promised something, nothing
    // that others see may hang on it. Parameters are still checked at the end.
    let promised = trainer.has_example_privacy();
    while let Some(batch) = answered(limit, trainer.advance()).await? {
        samples += batch;
        if cancelled.load(Ordering::Relaxed) {
            return Err(Stopped::Cancelled);
        }
        let (step, last) = (trainer.step_count(), trainer.step_count() == trainer.steps());
        // Before the first step there is no loss.
        if last || step > 0 && platform::now() - reported >= REPORT_EVERY {
            let loss = answered(limit, trainer.loss()).await?;
            if !promised && !loss.is_finite() {
                return Err(TrainingError::from(LearningError::Diverged).into());
            }
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
        if platform::now() - yielded >= STRETCH {
            pause().await;
            yielded = platform::now();
        }
    }
    Ok(answered(limit, trainer.finish()).await?)
}

/// Answer of a device. A GPU that does not within its `limit` has failed; the CPU has none.
async fn answered<T>(
    limit: Option<Duration>,
    answer: impl Future<Output = Result<T, TrainingError>>,
) -> Result<T, TrainingError> {
    let Some(limit) = limit else { return answer.await };
    match future::select(pin!(answer), pin!(platform::sleep(limit))).await {
        Either::Left((answer, _)) => answer,
        Either::Right(_) => {
            let message = format!("it did not answer within {} s", limit.as_secs());
            Err(TrainingError::Device(message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_gpu_that_never_answers_has_failed() {
        let silent = future::pending::<Result<(), TrainingError>>();
        let error = answered(Some(Duration::ZERO), silent).await.expect_err("silent");
        assert!(matches!(error, TrainingError::Device(_)), "{error}");
        let answer = answered(Some(GPU_LIMIT), future::ready(Ok(1))).await;
        assert_eq!(answer, Ok(1));
    }
}
