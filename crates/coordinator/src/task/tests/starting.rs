//! Start of a task: what does not fit is refused before anything is stored.

use differential_privacy::DistributedGaussian;
use fedra_aggregation::accumulator::Estimator;
use fedra_aggregation::{Codec, UpdateShape};
use fedra_protocol::{CentralNoise, Mechanism};

use super::*;
use crate::fixtures::{BUFFERED, PARAMETERS, PLAN, policy, private_settings, settings};
use crate::settings::Counting;
use crate::storage::Storage;
use crate::task::StartError;
use crate::writer::{SumError, round_bounds};

/// The error with which a new task does not start.
fn refused(settings: TaskSettings) -> StartError {
    let (settings, store) = (Arc::new(settings), Storage::in_memory());
    let started = start(&settings, &store, Arc::new(NoMetrics), Arc::default(), [7; 32], None);
    assert!(store.tasks.tasks().expect("a store in memory").is_empty(), "nothing is stored of it");
    started.map(drop).expect_err("it is refused")
}

fn private(mechanism: Mechanism) -> TaskSettings {
    private_settings(PLAN, policy(mechanism), Counting::Rounds)
}

#[test]
fn a_task_whose_round_takes_more_memory_than_it_may_does_not_start() {
    let central = Mechanism::Central(CentralNoise::Independent);
    let all = [
        settings(PLAN),
        settings(BUFFERED),
        TaskSettings { estimator: Estimator::GeometricMedian { iterations: 1 }, ..settings(PLAN) },
        private(central),
        private(Mechanism::Local),
        private(Mechanism::Distributed),
    ];
    for settings in all {
        let needed = round_bounds(&settings).expect("sound settings").memory;
        let short = TaskSettings { round_memory: needed - 1, ..settings.clone() };
        match refused(short) {
            error @ StartError::RoundTooLarge { .. } => {
                assert!(error.to_string().contains("server.round_memory"), "{error}");
            }
            error => panic!("{error}"),
        }
        Bench::new(TaskSettings { round_memory: needed, ..settings });
    }
}

#[test]
fn a_codec_of_other_updates_does_not_start() {
    let other = UpdateShape::new(PARAMETERS + 1, settings(PLAN).update_range, None);
    let encoding = private(Mechanism::Local);
    let encoding: Option<&DistributedGaussian> =
        encoding.privacy.as_ref().and_then(|privacy| privacy.derived.encoding());
    let words = UpdateShape::new(PARAMETERS, settings(PLAN).update_range, encoding);
    for shape in [other, words] {
        let codec = Codec::standard(shape);
        let error = refused(TaskSettings { codec, ..settings(PLAN) });
        let StartError::Round { source: SumError::Shape { .. }, .. } = error else {
            panic!("{error}")
        };
    }
    let codec = settings(PLAN).codec;
    let error = refused(TaskSettings { codec, ..private(Mechanism::Distributed) });
    assert!(matches!(error, StartError::Round { .. }), "{error}");
}
