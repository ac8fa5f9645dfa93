//! Pace steering: who is sent away when a round opens, and for how long.

use std::collections::BTreeSet;

use super::*;

/// Two are invited, one may wait.
const NARROW: RoundPlan = RoundPlan { invited: 2, report_goal: 2, waiting_room: Some(1), ..PLAN };

fn sent_away(effects: &[Effect]) -> Vec<(ClientId, Duration)> {
    let sent = |effect: &Effect| match effect {
        Effect::SendAway(client, after) => Some((*client, *after)),
        _ => None,
    };
    effects.iter().filter_map(sent).collect()
}

/// A task whose first round has closed while clients 1 to `count` were there:
/// the effects with which the second opens.
fn second_round(plan: RoundPlan, count: u64, seed: u64) -> (Script, Vec<Effect>) {
    let mut script = Script::new(plan);
    script.rng = StdRng::seed_from_u64(seed);
    script.join(2);
    (3..=count).for_each(|id| drop(script.step(joined(id))));
    let first = script.rounds.members();
    first.iter().for_each(|client| drop(script.report(client.0, R1)));
    let effects = script.step(Event::Stored(R1));
    (script, effects)
}

#[test]
fn those_beyond_the_waiting_room_are_sent_away_and_forgotten() {
    let (mut script, effects) = second_round(NARROW, 10, 7);
    let (invited, sent) = (invited(&effects), sent_away(&effects));
    assert_eq!((invited.len(), sent.len()), (2, 7));
    for (client, after) in &sent {
        assert!(!invited.contains(&client.0));
        assert!((NARROW.retry_after..=NARROW.retry_after * 2).contains(after), "{after:?}");
    }
    let different: BTreeSet<Duration> = sent.iter().map(|(_, after)| *after).collect();
    assert!(different.len() > 1, "they would all come back at once");
    assert_eq!(script.rounds.progress().clients, 3);
    // The coordinator closes them: nothing more happens. One that comes back waits.
    assert_eq!(script.step(Event::Left(sent[0].0)), []);
    assert_eq!(script.step(joined(sent[0].0.0)), []);
    assert_eq!(script.rounds.progress().clients, 4);
}

#[test]
fn who_may_stay_is_drawn_at_random() {
    let stays = |seed| {
        let (_, effects) = second_round(NARROW, 10, seed);
        sent_away(&effects).into_iter().map(|(client, _)| client).collect::<BTreeSet<_>>()
    };
    assert_eq!(stays(1), stays(1));
    let different: BTreeSet<_> = (0..20).map(stays).collect();
    assert!(different.len() > 10);
}

#[test]
fn without_a_waiting_room_everybody_stays_and_with_none_nobody_does() {
    let (_, effects) = second_round(RoundPlan { waiting_room: None, ..NARROW }, 10, 7);
    assert_eq!(sent_away(&effects), []);
    let (_, effects) = second_round(RoundPlan { waiting_room: Some(0), ..NARROW }, 10, 7);
    assert_eq!(sent_away(&effects).len(), 8);
    let (_, effects) = second_round(RoundPlan { waiting_room: Some(8), ..NARROW }, 10, 7);
    assert_eq!(sent_away(&effects), []);
}

#[test]
fn a_paused_or_lost_client_is_not_sent_away() {
    let plan = RoundPlan { waiting_room: Some(0), ..NARROW };
    let mut script = Script::new(plan);
    script.join(4);
    let idle: Vec<ClientId> =
        (1..=4).map(ClientId).filter(|c| !script.rounds.members().contains(c)).collect();
    let [paused, lost] = idle[..] else { panic!("two wait") };
    script.step(Event::AvailabilityChanged(paused, Availability::Paused));
    script.step(Event::Lost(lost));
    script.rounds.members().iter().for_each(|client| drop(script.report(client.0, R1)));
    let effects = script.step(Event::Stored(R1));
    assert_eq!(invited(&effects).len(), 2);
    assert_eq!(sent_away(&effects), []);
}

#[test]
fn buffered_rounds_send_away_once_a_round() {
    let mode = BUFFERED.mode;
    let (mut script, effects) = second_round(RoundPlan { mode, ..NARROW }, 10, 7);
    assert_eq!(effects[0], Effect::Complete(R1));
    // One is still at work, from the model before.
    assert_eq!((invited(&effects).len(), sent_away(&effects).len()), (1, 7));
    // Who comes now waits until the next round opens.
    (11..=13).for_each(|id| assert_eq!(script.step(joined(id)), []));
}
