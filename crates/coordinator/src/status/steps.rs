//! Choice of the steps that clients are told of: a pure function.

use std::collections::VecDeque;

use fedra_protocol::limits::MAX_MODEL_STEPS;
use fedra_protocol::{ModelRef, ModelStep};

use crate::settings::TaskSettings;
use crate::storage::{RoundRecord, StepRecord};

/// Steps that lead to the newest model, oldest first: those that are sure to be kept, and
/// that together are smaller than the model. None leads to the model of a roll-back.
#[must_use]
pub fn steps_to_newest(settings: &TaskSettings, history: &VecDeque<RoundRecord>) -> Vec<ModelStep> {
    let Some(newest) = history.back() else { return Vec::new() };
    let kept = match settings.checkpoints.everything() {
        true => MAX_MODEL_STEPS,
        false => settings.checkpoints.last.min(MAX_MODEL_STEPS),
    };
    let (mut target, mut room) = (newest.sha256, newest.model_bytes);
    let mut steps = VecDeque::new();
    for record in history.iter().rev().take(kept) {
        if record.sha256 != target {
            break;
        }
        // A round of evaluation, or a roll-back: its model is that of an earlier round.
        let Some(step) = record.step else { continue };
        if step.range != settings.update_range || step.bytes >= room {
            break;
        }
        room -= step.bytes;
        target = step.base;
        steps.push_front(model_step(record.round, step));
    }
    steps.into()
}

fn model_step(round: u64, step: StepRecord) -> ModelStep {
    let StepRecord { sha256, bytes, base, codec, .. } = step;
    ModelStep {
        base,
        file: ModelRef { round, sha256, url: format!("steps/{sha256}"), bytes },
        codec,
    }
}

#[cfg(test)]
mod tests {
    use fedra_protocol::{CodecName, Sha256Hash, UpdateRange};

    use super::*;
    use crate::fixtures::{PARAMETERS, PLAN, model, settings};
    use crate::storage::Retention;

    fn hash(model: u64) -> Sha256Hash {
        Sha256Hash::of(&model.to_le_bytes())
    }

    /// Records of rounds with these models of 100 bytes, each with the bytes of its step.
    fn history(settings: &TaskSettings, rounds: &[(u64, Option<u64>)]) -> VecDeque<RoundRecord> {
        let mut before = hash(0);
        let record = |(round, (content, step)): (u64, &(u64, Option<u64>))| {
            let step = step.map(|bytes| StepRecord {
                sha256: hash(1000 + round),
                bytes,
                base: before,
                codec: CodecName::Int8,
                range: settings.update_range,
            });
            before = hash(*content);
            let (record, _) = model(settings, round, &[0.0; PARAMETERS]);
            RoundRecord { sha256: before, model_bytes: 100, step, ..record }
        };
        (1..).zip(rounds).map(record).collect()
    }

    fn rounds(settings: &TaskSettings, history: &VecDeque<RoundRecord>) -> Vec<u64> {
        let steps = steps_to_newest(settings, history);
        for pair in steps.windows(2) {
            let made = history.iter().find(|record| record.round == pair[0].file.round);
            assert_eq!(made.map(|record| record.sha256), Some(pair[1].base));
        }
        steps.into_iter().map(|step| step.file.round).collect()
    }

    #[test]
    fn the_newest_steps_that_are_kept_and_smaller_than_the_model() {
        let settings = settings(PLAN);
        let of = |rounds: &[(u64, Option<u64>)]| history(&settings, rounds);
        let small: Vec<_> = (1..=20).map(|round| (round, Some(10))).collect();
        assert_eq!(rounds(&settings, &of(&small)), Vec::from_iter(12..=20));
        let large = of(&[(1, Some(30)), (2, Some(30)), (3, Some(30)), (4, Some(30))]);
        assert_eq!(rounds(&settings, &large), [2, 3, 4]);
        assert!(rounds(&settings, &of(&[(1, Some(100))])).is_empty(), "as long as the model");
        let few = |last, every| {
            let checkpoints = Retention { last, every, best: true };
            rounds(&TaskSettings { checkpoints, ..settings.clone() }, &of(&small))
        };
        assert_eq!(few(2, 0), [19, 20]);
        assert_eq!((few(0, 0).len(), few(1, 1).len(), few(50, 0).len()), (9, 9, 9));
        let tiny: Vec<_> = (1..=80).map(|round| (round, Some(1))).collect();
        let checkpoints = Retention { last: 100, every: 0, best: true };
        let all = TaskSettings { checkpoints, ..settings.clone() };
        assert_eq!(rounds(&all, &history(&all, &tiny)), Vec::from_iter(17..=80));
        let update_range = UpdateRange::new(2).expect("a power of two");
        let other = TaskSettings { update_range, ..settings.clone() };
        assert!(rounds(&other, &of(&small)).is_empty(), "of another range");
        assert!(steps_to_newest(&settings, &VecDeque::new()).is_empty());
    }

    #[test]
    fn an_evaluation_changes_nothing_and_no_step_leads_to_a_roll_back() {
        let settings = settings(PLAN);
        let of = |models: &[(u64, Option<u64>)]| rounds(&settings, &history(&settings, models));
        assert_eq!(
            of(&[(1, Some(9)), (2, Some(9)), (2, None), (3, Some(9)), (3, None)]),
            [1, 2, 4]
        );
        assert!(of(&[(1, Some(9)), (2, Some(9)), (1, None)]).is_empty());
        assert_eq!(of(&[(1, Some(9)), (2, Some(9)), (1, None), (4, Some(9))]), [4]);
    }
}
