//! The loop around a [`LocalTrainer`]: yields, reports progress, stops when told.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fedra_learning::{Backend, LearningError, LocalTrainer};
use futures_util::future::{self, Either};

use crate::platform;

/// Longest stretch of training without letting other work on this thread run.
const STRETCH: Duration = Duration::from_millis(30);
/// Time between two reports.
const REPORT_EVERY: Duration = Duration::from_millis(250);
/// Steps that may be queued on a GPU before its result is waited for.
const GPU_QUEUE: u64 = 8;
/// Time for a GPU to work off its queue. Training goes on with the CPU after it.
const GPU_LIMIT: Duration = Duration::from_secs(30);

/// Progress of local training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Progress {
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
    Failed(LearningError),
}

impl From<LearningError> for Stopped {
    fn from(error: LearningError) -> Self {
        Self::Failed(error)
    }
}

/// Runs the whole plan and returns the trained parameters. `pause` lets other work of
/// this thread run.
pub(crate) async fn run(
    trainer: &mut LocalTrainer,
    backend: Backend,
    cancelled: &AtomicBool,
    mut report: impl FnMut(Progress),
    mut pause: impl AsyncFnMut(),
) -> Result<Vec<f32>, Stopped> {
    let start = platform::now();
    let (mut yielded, mut reported) = (start, start);
    let mut samples = 0;
    // The loss has no noise: where single examples are promised something, nothing
    // that others see may hang on it. Parameters are still checked at the end.
    let promised = trainer.has_example_privacy();
    while let Some(batch) = trainer.step() {
        samples += batch;
        if cancelled.load(Ordering::Relaxed) {
            return Err(Stopped::Cancelled);
        }
        let full = backend == Backend::WebGpu && trainer.step_count().is_multiple_of(GPU_QUEUE);
        let now = platform::now();
        let last = trainer.step_count() == trainer.steps();
        if full || last || now - reported >= REPORT_EVERY {
            let loss = answered(backend, GPU_LIMIT, trainer.loss()).await?;
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
            pause().await;
            yielded = platform::now();
        }
    }
    Ok(answered(backend, GPU_LIMIT, trainer.parameters()).await?)
}

/// Answer of a device. A GPU that does not within `limit` has failed; the CPU does not
/// wait for anything.
async fn answered<T>(
    backend: Backend,
    limit: Duration,
    answer: impl Future<Output = Result<T, LearningError>>,
) -> Result<T, LearningError> {
    if backend == Backend::Cpu {
        return answer.await;
    }
    match future::select(pin!(answer), pin!(platform::sleep(limit))).await {
        Either::Left((answer, _)) => answer,
        Either::Right(_) => {
            let message = format!("it did not answer within {} s", limit.as_secs());
            Err(LearningError::Device { backend, message })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_gpu_that_never_answers_has_failed() {
        let silent = future::pending::<Result<(), LearningError>>();
        let error = answered(Backend::WebGpu, Duration::ZERO, silent).await.expect_err("silent");
        assert!(matches!(error, LearningError::Device { backend: Backend::WebGpu, .. }), "{error}");
        let answer = answered(Backend::WebGpu, GPU_LIMIT, future::ready(Ok(1))).await;
        assert_eq!(answer, Ok(1));
    }
}
