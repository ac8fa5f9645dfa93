//! Masking groups of buffered rounds, through the core.

use fedra_aggregation::accumulator::Answer;
use fedra_protocol::{AdvertisedKeys, MaskingGroup, Mechanism, PrivacyPolicy};
use fedra_secure_aggregation::client;

use super::*;
use crate::fixtures::{BUFFERED, R1, policy, private_settings};
use crate::round::RoundPlan;
use crate::settings::Counting;
use crate::writer::Contribution;

/// Groups of three, of four clients at a time.
fn bench() -> Bench {
    let policy =
        PrivacyPolicy { cohort: 3, max_participations: 100, ..policy(Mechanism::Distributed) };
    let plan = RoundPlan { minimum_reports: 3, minimum_cohort: 3, ..BUFFERED };
    Bench::new(private_settings(plan, policy, Counting::Subjects))
}

/// A client has trained, and shows its keys.
fn advertise(bench: &mut Bench, client: u64, round: RoundId) -> Vec<Action> {
    let (_, keys) = client::AdvertisedKeys::generate(&mut bench.rng);
    let keys = AdvertisedKeys { encryption: keys.encryption, masking: keys.masking };
    let contribution = Contribution::Answer(Answer::Keys(keys));
    let (client, stage) = (ClientId(client), Stage::Keys);
    bench.handle(Command::Report(Report { client, round, stage, weight: 1, contribution }))
}

/// Round and group of the request that a connection is sent, if there is one.
fn asked(actions: &[Action], connection: u64) -> Option<(RoundId, Option<MaskingGroup>)> {
    notices(actions, connection).into_iter().find_map(|notice| match notice {
        Notice::Order(Order::Asked { round, group, .. }) => Some((*round, *group)),
        _ => None,
    })
}

#[test]
fn the_clients_of_a_group_are_told_of_it() {
    let mut bench = bench();
    bench.join_all(4);
    for client in 1..=2 {
        advertise(&mut bench, client, R1);
    }
    assert!(bench.jobs.is_empty(), "there is no sum before there is a group");
    advertise(&mut bench, 3, R1);
    let asked_now = bench.write();
    let (round, group) = asked(&asked_now, 1).expect("it is in the group");
    let group = group.expect("it is told which");
    assert_eq!((round, group.round, group.weight), (R1, R1, 1.0));
    assert_eq!(group.privacy.clipping_norm, 2.0);
    for client in 2..=3 {
        assert_eq!(asked(&asked_now, client), Some((R1, Some(group))));
    }
    assert_eq!(asked(&asked_now, 4), None);
}

#[test]
fn keys_of_a_client_that_has_left_are_in_no_sum() {
    let mut bench = bench();
    bench.join_all(4);
    advertise(&mut bench, 1, R1);
    bench.leave(1, Departure::Closed);
    // The same subject on another client.
    let back = bench.join(9, Some(subject(1)));
    assert_eq!(invitation(&back, 9), Some(R1));
    let newcomer = notices(&back, 9).into_iter().find_map(|notice| match notice {
        Notice::Joined(client, _) => Some(client.0),
        _ => None,
    });
    advertise(&mut bench, newcomer.expect("it has joined"), R1);
    advertise(&mut bench, 2, R1);
    assert!(bench.jobs.is_empty());
    advertise(&mut bench, 3, R1);
    let folded = |job: &WriterJob| match job {
        WriterJob::Fold { subject, .. } => *subject,
        _ => None,
    };
    let mut folded: Vec<SubjectId> = bench.jobs.iter().filter_map(folded).collect();
    folded.sort_unstable();
    assert_eq!(folded, [1, 2, 3].map(subject));
    let asked_now = bench.write();
    assert!(asked(&asked_now, 9).is_some());
}
