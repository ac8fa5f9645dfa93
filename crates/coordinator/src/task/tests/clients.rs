//! Clients, and the connections that stand for them.

use super::*;
use crate::fixtures::{PLAN, R1, announcement, settings, update_bytes};
use crate::participation::{Pace, Part, Upload};
use crate::round::RoundPlan;
use crate::writer::Room;

const PACE: Duration = Duration::from_secs(10);

/// The participation that a connection is given.
fn joined(actions: Vec<Action>, connection: u64) -> Option<(ClientId, Participation)> {
    actions.into_iter().find_map(|action| match action {
        Action::Notify(to, Notice::Joined(client, part)) if to == ConnectionId(connection) => {
            Some((client, *part))
        }
        _ => None,
    })
}

/// The participation of a client that has been asked for an update.
fn working() -> Participation {
    let part = Some((R1, Part::Working(Stage::Update)));
    Participation { part, asked: Some((R1, Stage::Update)), ..Participation::default() }
}

/// A task with two clients in the first round.
fn invited() -> Bench {
    // So long that no attempt ends for want of a client that is away.
    let plan = RoundPlan { reconnect_grace: PLAN.deadline, ..PLAN };
    let mut bench = Bench::new(settings(plan));
    bench.join_all(2);
    let opened = bench.wait(PLAN.selection_window);
    assert_eq!(invitation(&opened, 1), Some(R1));
    bench
}

#[test]
fn a_client_without_a_subject_is_new_each_time() {
    let mut bench = Bench::new(settings(PLAN));
    let (first, _) = joined(bench.join(1, None), 1).expect("joins");
    bench.leave(1, Departure::Lost);
    let (second, _) = joined(bench.join(2, None), 2).expect("joins");
    assert_ne!(first, second);
    assert_eq!(bench.core.progress().clients, 1);
}

#[test]
fn a_connection_that_breaks_leaves_its_participation_to_the_next() {
    let mut bench = invited();
    bench.leave_with(1, Departure::Lost, working());
    assert_eq!(bench.core.progress().clients, 1);
    let back = bench.join(9, Some(subject(1)));
    assert_eq!(invitation(&back, 9), Some(R1), "the order is repeated");
    let (client, part) = joined(back, 9).expect("joins");
    assert_eq!(client, ClientId(1));
    assert!(matches!(part.part, Some((R1, Part::Working(Stage::Update)))), "{part:?}");
}

#[test]
fn the_later_connection_of_a_subject_waits_until_the_earlier_has_left() {
    let mut bench = invited();
    let replacing = bench.join(9, Some(subject(1)));
    assert!(matches!(notices(&replacing, 1)[..], [Notice::Replaced]));
    assert!(notices(&replacing, 9).is_empty());
    // A third takes the place of the second, which has not joined yet.
    let third = bench.join(10, Some(subject(1)));
    assert!(matches!(notices(&third, 9)[..], [Notice::Replaced]));
    bench.leave(9, Departure::Lost);
    let left = bench.leave_with(1, Departure::Lost, working());
    assert!(notices(&left, 9).is_empty());
    let (client, part) = joined(left, 10).expect("joins");
    assert_eq!(client, ClientId(1));
    assert!(part.is_worth_keeping());
    assert_eq!(bench.core.progress().clients, 2);
}

#[test]
fn a_verdict_that_a_session_did_not_hear_goes_to_the_next_connection() {
    let mut bench = invited();
    let update = update_bytes(&[1.0; 4]);
    let judging = |begin| Participation {
        part: Some((R1, Part::Judging(Some(begin), Stage::Update))),
        ..working()
    };
    let begin = announcement(R1, &update, 10);
    bench.report(1, R1, &[1.0; 4]);
    bench.leave_with(1, Departure::Lost, judging(begin.clone()));
    let (_, part) = joined(bench.join(9, Some(subject(1))), 9).expect("joins");
    assert_eq!(part.unheard, Some(UpdateVerdict::Accepted));

    // A report that never came to the core has to be made again.
    bench.leave_with(2, Departure::Lost, judging(begin));
    let (_, part) = joined(bench.join(10, Some(subject(2))), 10).expect("joins");
    assert_eq!(part.unheard, None);
    assert!(matches!(part.part, Some((R1, Part::Working(Stage::Update)))), "{part:?}");
}

#[test]
fn a_client_that_says_goodbye_leaves_its_round_but_does_not_count_twice() {
    let mut bench = invited();
    bench.report(1, R1, &[1.0; 4]);
    let judged = Participation { part: Some((R1, Part::Judged)), ..working() };
    bench.leave_with(1, Departure::Closed, judged);
    bench.leave_with(2, Departure::Closed, working());
    assert_eq!(bench.core.progress().clients, 0);
    let (client, part) = joined(bench.join(9, Some(subject(1))), 9).expect("joins");
    assert_eq!(client, ClientId(1), "it is remembered");
    assert!(matches!(part.part, Some((R1, Part::Judged))));
    let again = bench.report(1, R1, &[1.0; 4]);
    assert_ne!(verdict(&again, 9), Some(UpdateVerdict::Accepted));
}

#[test]
fn an_upload_of_a_client_that_is_away_gives_its_room_back_in_time() {
    let mut bench = invited();
    let update = update_bytes(&[1.0; 4]);
    let held = Arc::new(());
    let upload = Upload::new(announcement(R1, &update, 10), Pace::new(PACE, 1), bench.now);
    let room = Room::held_by(Arc::clone(&held));
    let sending = Participation { part: Some((R1, Part::Sending(upload, room))), ..working() };
    bench.leave_with(1, Departure::Lost, sending);
    bench.wait(PACE - Duration::from_millis(1));
    assert_eq!(Arc::strong_count(&held), 2);
    bench.wait(Duration::from_millis(1));
    assert_eq!(Arc::strong_count(&held), 1, "the room is free");
}

#[test]
fn the_end_of_a_round_frees_the_room_of_a_client_that_is_away() {
    let mut bench = invited();
    let update = update_bytes(&[1.0; 4]);
    let held = Arc::new(());
    let upload = Upload::new(announcement(R1, &update, 10), Pace::new(PACE, 0), bench.now);
    let room = Room::held_by(Arc::clone(&held));
    let sending = Participation { part: Some((R1, Part::Sending(upload, room))), ..working() };
    bench.leave_with(1, Departure::Lost, sending);
    bench.wait(PLAN.deadline);
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn connections_that_replace_each_other_too_often_are_turned_away() {
    let mut bench = Bench::new(settings(PLAN));
    bench.join(1, Some(subject(1)));
    let mut contested = 0;
    for connection in 2..20 {
        let actions = bench.join(connection, Some(subject(1)));
        let is_contested = |n: &&Notice| matches!(n, Notice::Contested(_));
        if notices(&actions, connection).iter().any(is_contested) {
            contested += 1;
        } else {
            bench.leave(connection - 1, Departure::Lost);
        }
    }
    assert!(contested > 5, "{contested}");
    assert_eq!(bench.counters.contested(), contested);
}

#[test]
fn a_client_that_pauses_is_not_waited_for() {
    let mut bench = invited();
    bench.handle(Command::Availability(ClientId(1), Availability::Paused));
    let progress = bench.core.progress();
    assert_eq!((progress.clients, progress.available), (2, 1));
    bench.handle(Command::Availability(ClientId(1), Availability::Available));
    assert_eq!(bench.core.progress().available, 2);
}
