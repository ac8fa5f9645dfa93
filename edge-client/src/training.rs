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

/// Runs the plan, to its end or until its time is up, and returns the trained parameters.
/// `pause` lets other work of this thread run.
///
/// The time begins with this call. At least one step is taken, so that a device that is slow
/// to begin does not send an update of zeros.
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
        let step = trainer.step_count();
        let time_is_up =
            step > 0 && trainer.time_limit().is_some_and(|most| platform::now() - start >= most);
        let last = time_is_up || step == trainer.steps();
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
        if time_is_up {
            break;
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
    use std::sync::Arc;

    use fedra_learning::init_parameters;
    use fedra_protocol::limits::{MAX_LOCAL_STEPS, MAX_TIME_LIMIT};
    use fedra_protocol::{LocalTraining, ModelSpec, RawLocalTraining};

    use super::*;
    use crate::bench::synthetic;
    use crate::devices::Compute;

    /// Trained parameters and the last report of so many steps, within so much time.
    async fn trained(start: &[f32], steps: u32, time_limit: Duration) -> (Vec<f32>, Progress) {
        let spec = ModelSpec::softmax_regression();
        let time_limit = Some(time_limit);
        let raw = RawLocalTraining { epochs: 0, steps, time_limit, ..RawLocalTraining::default() };
        let plan = LocalTraining::new(raw).expect("a plan");
        let data = Arc::new(synthetic(&spec, 20).expect("examples"));
        let trainer = Trainer::new(&spec, start.into(), data, &plan, &Compute::Cpu);
        let mut last = None;
        let report = |progress| last = Some(progress);
        let never = AtomicBool::new(false);
        let parameters = run(trainer.expect("a trainer"), &never, report, async || {}).await;
        (parameters.expect("it learns"), last.expect("a last report"))
    }

    #[tokio::test]
    async fn when_time_is_up_there_is_what_was_learned_by_then() {
        let start = init_parameters(&ModelSpec::softmax_regression(), 1);
        let (parameters, last) = trained(&start, MAX_LOCAL_STEPS, Duration::from_millis(1)).await;
        assert!((1..last.steps).contains(&last.step), "{last:?}");
        assert!(parameters != start);
        let (_, last) = trained(&start, 5, MAX_TIME_LIMIT).await;
        assert_eq!((last.step, last.steps, last.epoch, last.epochs), (5, 5, 3, 3));
    }

    #[tokio::test]
    async fn a_gpu_that_never_answers_has_failed() {
        let silent = future::pending::<Result<(), TrainingError>>();
        let error = answered(Some(Duration::ZERO), silent).await.expect_err("silent");
        assert!(matches!(error, TrainingError::Device(_)), "{error}");
        let answer = answered(Some(GPU_LIMIT), future::ready(Ok(1))).await;
        assert_eq!(answer, Ok(1));
    }
}
