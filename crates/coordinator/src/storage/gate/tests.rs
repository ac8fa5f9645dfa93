//! Known cases of the rule: models that pass, models that do not, and where a task goes back to.

use bytes::Bytes;
use fedra_protocol::Quality;

use super::*;
use crate::storage::CheckpointFiles;

const SERVER: Gate =
    Gate { source: LossSource::Server, loss_increase: 0.5, loss_limit: None, rollbacks: 3 };
const CLIENTS: Gate = Gate { source: LossSource::Clients, ..SERVER };

/// Records of rounds 0, 1, ... made by these.
fn history(make: &[fn(RoundRecord) -> RoundRecord]) -> Vec<RoundRecord> {
    let initial =
        RoundRecord::initial(&CheckpointFiles::of_model(Bytes::from_static(b"model")), None);
    (0..).zip(make).map(|(round, make)| make(RoundRecord { round, ..initial.clone() })).collect()
}

fn evaluated(mut record: RoundRecord, loss: f64) -> RoundRecord {
    record.quality = Some(Quality::of_loss(loss));
    record
}

fn by_clients(mut record: RoundRecord, loss: f64) -> RoundRecord {
    record.client_quality = Some(Quality::of_loss(loss));
    record
}

/// A roll-back to a round; with a number, the gate's, so often in a row.
fn back(mut record: RoundRecord, to: u64, in_a_row: Option<u32>) -> RoundRecord {
    let round = record.round - 1;
    record.restored = Some(to);
    record.refusal =
        in_a_row.map(|in_a_row| GateRefusal { round, loss: None, limit: None, in_a_row });
    record
}

/// Refusal of the last record after those before it.
fn judge(gate: Gate, history: &[RoundRecord]) -> Option<GateRefusal> {
    let (record, before) = history.split_last().expect("a record");
    gate.refusal(record, before.iter())
}

fn limit(gate: Gate, history: &[RoundRecord]) -> Option<f64> {
    judge(gate, history).expect("it is refused").limit
}

#[test]
fn a_loss_may_rise_by_its_share_and_no_more() {
    let at = |loss| {
        let mut all = history(&[|of| evaluated(of, 2.0), |of| evaluated(of, 1.0), |of| of]);
        all[2].quality = Some(Quality::of_loss(loss));
        judge(SERVER, &all)
    };
    assert_eq!(at(0.5), None);
    assert_eq!(at(1.5), None, "the limit itself passes");
    let refusal = at(1.6).expect("a jump");
    assert_eq!(refusal, GateRefusal { round: 2, loss: Some(1.6), limit: Some(1.5), in_a_row: 1 });
    assert_eq!(refusal.to_string(), "the held-out loss of round 2 is 1.6000, more than 1.5000");
}

#[test]
fn a_gate_as_a_phrase() {
    let phrase = "refuses a model whose held-out loss, by the clients' evaluation, is more than \
                  1.5 times that of the last kept one";
    assert_eq!(CLIENTS.to_string(), phrase);
    let limited = Gate { loss_increase: 0.1, loss_limit: Some(4.0), ..SERVER };
    let text = limited.to_string();
    assert!(text.contains("the server's evaluation, is more than 1.1 times"), "{text}");
    assert!(text.ends_with(", or above 4"), "{text}");
}

#[test]
fn a_loss_that_is_not_finite_or_not_known_is_a_jump_in_any_case() {
    let lost: [fn(RoundRecord) -> RoundRecord; 3] =
        [|of| evaluated(of, f64::NAN), |of| evaluated(of, f64::INFINITY), |of| of];
    for lost in lost {
        let refusal = judge(SERVER, &history(&[|of| of, lost])).expect("a jump");
        assert_eq!(refusal, GateRefusal { round: 1, loss: None, limit: None, in_a_row: 1 });
        let text = refusal.to_string();
        assert_eq!(text, "the model of round 1 has no finite held-out loss");
    }
}

#[test]
fn without_a_reference_only_the_limit_counts() {
    let first = history(&[|of| of, |of| evaluated(of, 1e6)]);
    assert_eq!(judge(SERVER, &first), None);
    let limited = Gate { loss_limit: Some(10.0), ..SERVER };
    assert_eq!(limit(limited, &first), Some(10.0));
    // The smaller of the two counts.
    let second = history(&[|of| evaluated(of, 2.0), |of| evaluated(of, 1e6)]);
    assert_eq!(limit(limited, &second), Some(3.0));
    assert_eq!(limit(Gate { loss_limit: Some(2.5), ..SERVER }, &second), Some(2.5));
}

#[test]
fn the_reference_is_the_model_that_the_task_went_back_to() {
    // Its own refusal, with the loss that the roll-back has taken over.
    let after_own = history(&[
        |of| evaluated(of, 1.0),
        |of| evaluated(of, 9.0),
        |of| evaluated(back(of, 0, Some(1)), 1.0),
        |of| evaluated(of, 2.0),
    ]);
    assert_eq!(limit(SERVER, &after_own), Some(1.5));
    // An operator's: also to a model that is worse than the last.
    let after_an_operator = history(&[
        |of| evaluated(of, 4.0),
        |of| evaluated(of, 1.0),
        |of| evaluated(back(of, 0, None), 4.0),
        |of| evaluated(of, 6.0),
    ]);
    assert_eq!(judge(SERVER, &after_an_operator), None);
    // A roll-back whose loss is not known leads to the rounds up to where it went.
    let unknown = history(&[
        |of| evaluated(of, 4.0),
        |of| of,
        |of| evaluated(of, 1.0),
        |of| back(of, 1, None),
        |of| evaluated(of, 7.0),
    ]);
    assert_eq!(limit(SERVER, &unknown), Some(6.0));
}

#[test]
fn roll_backs_in_a_row_are_counted_until_a_model_is_kept() {
    let mut all = history(&[
        |of| evaluated(of, 1.0),
        |of| evaluated(of, 9.0),
        |of| evaluated(back(of, 0, Some(1)), 1.0),
        |of| evaluated(of, 9.0),
    ]);
    assert_eq!(judge(SERVER, &all).map(|refusal| refusal.in_a_row), Some(2));
    // A round of evaluation between them is no model of its own.
    all.insert(3, by_clients(all[2].clone(), 1.0));
    all[3] =
        RoundRecord { round: 3, restored: None, refusal: None, quality: None, ..all[3].clone() };
    all[4].round = 4;
    assert_eq!(judge(SERVER, &all).map(|refusal| refusal.in_a_row), Some(2));
    all[3] = evaluated(RoundRecord { client_quality: None, ..all[3].clone() }, 1.0);
    assert_eq!(judge(SERVER, &all).map(|refusal| refusal.in_a_row), Some(1));
    let pauses =
        |in_a_row| SERVER.pauses(&GateRefusal { round: 1, loss: None, limit: None, in_a_row });
    // After the operator has resumed, the count begins anew.
    assert_eq!((1..=6).filter(|count| pauses(*count)).collect::<Vec<_>>(), [3, 6]);
}

#[test]
fn the_clients_judge_all_rounds_since_their_last_evaluation() {
    let mut all = history(&[
        |of| of,
        |of| of,
        |of| by_clients(of, 1.0),
        |of| of,
        |of| of,
        |of| by_clients(of, 5.0),
    ]);
    let judged: Vec<u64> =
        all.iter().filter(|record| CLIENTS.judges(record)).map(|record| record.round).collect();
    assert_eq!(judged, [2, 5]);
    assert_eq!(limit(CLIENTS, &all), Some(1.5));
    assert_eq!(CLIENTS.last_kept(all[..5].iter()).map(|record| record.round), Some(2));
    assert!(refused_rounds(&all).is_empty());
    let last = all.last().cloned().expect("a record");
    all.push(back(RoundRecord { round: 6, client_quality: None, ..last }, 2, Some(1)));
    assert_eq!(refused_rounds(&all), BTreeSet::from([3, 4, 5]));
    // The loss of the roll-back is that of the round that it went back to.
    all.push(by_clients(RoundRecord { round: 7, ..all[4].clone() }, 2.0));
    let refusal = judge(CLIENTS, &all).expect("a jump");
    assert_eq!((refusal.limit, refusal.in_a_row), (Some(1.5), 2));
    assert_eq!(CLIENTS.last_kept(all[..7].iter()).map(|record| record.round), Some(6));
    // Nothing before the first evaluation passes but the initial model.
    assert_eq!(CLIENTS.last_kept(all[..2].iter()).map(|record| record.round), Some(0));
}

#[test]
fn the_server_judges_every_round_that_trains() {
    let all = history(&[
        |of| of,
        |of| evaluated(of, 1.0),
        |of| by_clients(of, 9.0),
        |of| back(of, 1, None),
        |of| of,
    ]);
    let judged = all.iter().filter(|record| SERVER.judges(record)).map(|record| record.round);
    assert_eq!(judged.collect::<Vec<_>>(), [1, 4]);
    assert_eq!(SERVER.last_kept(all[..3].iter()).map(|record| record.round), Some(1));
    assert_eq!(SERVER.last_kept(all.iter()).map(|record| record.round), Some(3));
}
