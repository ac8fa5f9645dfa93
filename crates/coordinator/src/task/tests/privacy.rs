//! The privacy ledger of a task, and what it does to rounds.

use fedra_protocol::{BandedNoise, CentralNoise, Mechanism, PrivacyPolicy, RoundPhase};

use super::*;
use crate::fixtures::{PLAN, R1, Write, policy, private_settings};
use crate::round::RoundPlan;
use crate::settings::Counting;
use crate::storage::Definition;

const CENTRAL: Mechanism = Mechanism::Central(CentralNoise::Independent);
const TWO: RoundPlan = RoundPlan { invited: 2, report_goal: 2, ..PLAN };

fn central(max_participations: u32, counting: Counting) -> TaskSettings {
    let policy =
        PrivacyPolicy { cohort: 2, minimum_survivors: 2, max_participations, ..policy(CENTRAL) };
    private_settings(TWO, policy, counting)
}

fn report_both(bench: &mut Bench, round: RoundId, clients: [u64; 2]) {
    for client in clients {
        let contribution = contribution(&bench.settings, &[0.5; 4], 1);
        let (client, stage) = (ClientId(client), Stage::Update);
        let report = Report { client, round, stage, weight: 1, contribution };
        bench.handle(Command::Report(report));
    }
}

#[test]
fn a_round_is_debited_before_its_model_is_announced() {
    let mut bench = Bench::new(central(5, Counting::Subjects));
    bench.join_all(2);
    report_both(&mut bench, R1, [1, 2]);
    bench.write();
    let debits = bench.store.storage.tasks.debits(&bench.settings.id).expect("reads");
    assert_eq!(debits.len(), 1);
    assert_eq!((debits[0].round, debits[0].subjects.len()), (1, 2));
    let spent = bench.core.view().privacy.expect("a budget");
    assert_eq!((spent.participations, spent.debits, spent.subjects), (1, 1, 2));
    assert!(spent.epsilon > 0.0);
}

#[test]
fn without_a_debit_there_is_no_model() {
    let mut bench = Bench::new(central(5, Counting::Subjects));
    bench.join_all(2);
    report_both(&mut bench, R1, [1, 2]);
    bench.store.refuse(Write::Debit);
    bench.write();
    assert_eq!(bench.core.view().model.round, 0);
    assert_eq!(bench.core.view().privacy.map(|spent| spent.debits), Some(0));
}

#[test]
fn a_debit_stands_though_its_model_could_not_be_stored() {
    let mut bench = Bench::new(central(5, Counting::Subjects));
    bench.join_all(2);
    report_both(&mut bench, R1, [1, 2]);
    bench.store.refuse(Write::Commit);
    bench.write();
    assert_eq!(bench.core.view().model.round, 0);
    assert_eq!(bench.core.view().privacy.map(|spent| spent.debits), Some(1));
    // The next attempt has another number, after a restart too.
    let bench = Bench::on(central(5, Counting::Subjects), bench.store.clone());
    assert_eq!(bench.core.progress().round, RoundId { round: 1, attempt: 1 });
}

#[test]
fn a_subject_takes_part_as_often_as_the_policy_grants() {
    let mut bench = Bench::new(central(1, Counting::Subjects));
    bench.join_all(2);
    report_both(&mut bench, R1, [1, 2]);
    bench.write();
    bench.wait(Duration::from_secs(60));
    assert_eq!(bench.core.progress().cohort, 0, "both have had their participation");
    bench.join(3, Some(subject(3)));
    let opened = bench.join(4, Some(subject(4)));
    assert!(invitation(&opened, 4).is_some());
    assert!(invitation(&opened, 1).is_none());
    // One that comes back is not new.
    bench.leave(1, Departure::Closed);
    let back = bench.join(9, Some(subject(1)));
    assert!(invitation(&back, 9).is_none());
}

/// The client that completes the cohort is one of a subject that has had its participation.
#[test]
fn a_spent_subject_that_joins_does_not_make_up_the_cohort() {
    let mut bench = Bench::new(central(1, Counting::Subjects));
    bench.join_all(2);
    report_both(&mut bench, R1, [1, 2]);
    bench.write();
    bench.leave(1, Departure::Closed);
    bench.join(3, Some(subject(3)));
    let back = bench.join(9, Some(subject(1)));
    assert!(invitation(&back, 9).is_none());
    assert_eq!(bench.core.progress().phase, RoundPhase::Selecting);
}

/// Two clients a round, and so many rounds between two participations of a subject.
fn resting(separation: u32) -> TaskSettings {
    let noise = BandedNoise { rounds: 9, separation, band: 2, exponent: 90 };
    let mechanism = Mechanism::Central(CentralNoise::Banded(noise));
    let policy = PrivacyPolicy {
        cohort: 2,
        minimum_survivors: 2,
        max_participations: 3,
        ..policy(mechanism)
    };
    private_settings(TWO, policy, Counting::Subjects)
}

#[test]
fn a_subject_rests_between_two_participations() {
    let settings = resting(3);
    let mut bench = Bench::new(settings.clone());
    let round = |number| RoundId { round: number, attempt: 0 };
    bench.join_all(2);
    report_both(&mut bench, round(1), [1, 2]);
    bench.write();
    bench.wait(Duration::from_secs(60));
    assert_eq!(bench.core.progress().cohort, 0, "both rest");
    bench.join(3, Some(subject(3)));
    bench.join(4, Some(subject(4)));
    report_both(&mut bench, round(2), [3, 4]);
    bench.write();
    // A server that starts anew knows who rests.
    let mut bench = Bench::on(settings, bench.store.clone());
    bench.join_all(4);
    bench.wait(Duration::from_secs(60));
    assert_eq!(bench.core.progress().cohort, 0, "all rest in round 3");
    bench.join(5, Some(subject(5)));
    bench.join(6, Some(subject(6)));
    report_both(&mut bench, round(3), [5, 6]);
    let opened = bench.write();
    for client in 1..=2 {
        assert_eq!(invitation(&opened, client), Some(round(4)), "it has rested");
    }
}

/// Else a task with no more subjects than it needs would wait for ever.
#[test]
fn subjects_of_an_attempt_that_failed_may_take_part_in_the_next() {
    let settings = resting(3);
    let mut bench = Bench::new(settings.clone());
    bench.join_all(2);
    report_both(&mut bench, R1, [1, 2]);
    bench.store.refuse(Write::Commit);
    bench.write();
    let opened = bench.wait(Duration::from_secs(2));
    assert_eq!(invitation(&opened, 1), Some(RoundId { round: 1, attempt: 1 }));
    // After a restart, too.
    bench.store.refuse(None);
    let mut bench = Bench::on(settings, bench.store.clone());
    bench.join_all(2);
    let opened = bench.wait(Duration::from_secs(2));
    let round = RoundId { round: 1, attempt: 1 };
    assert_eq!(invitation(&opened, 1), Some(round));
    report_both(&mut bench, round, [1, 2]);
    bench.write();
    bench.wait(Duration::from_secs(120));
    assert_eq!(bench.core.view().model.round, 1);
    assert_eq!(bench.core.progress().cohort, 0, "now they rest");
}

#[test]
fn a_task_whose_budget_counts_rounds_ends_with_it() {
    let policy = PrivacyPolicy { cohort: 2, minimum_survivors: 2, epsilon: 1e5, ..policy(CENTRAL) };
    let settings = private_settings(TWO, policy, Counting::Rounds);
    let granted = settings.policy().expect("a policy").max_participations;
    let mut bench = Bench::new(settings);
    bench.join_all(2);
    for number in 1..=u64::from(granted) {
        let round = RoundId { round: number, attempt: 0 };
        assert_eq!(bench.core.progress().round, round);
        report_both(&mut bench, round, [1, 2]);
        bench.write();
    }
    assert_eq!(bench.core.view().progress.phase, RoundPhase::Finished);
    assert_eq!(bench.core.view().privacy.map(|spent| spent.debits), Some(granted));
}

/// A version with another account may find that the budget pays for more: a task that is
/// under way keeps what its clients were told.
#[test]
fn a_task_that_counts_rounds_keeps_the_number_that_it_was_made_with() {
    let settings = |most, epsilon| {
        let policy = PrivacyPolicy {
            cohort: 2,
            minimum_survivors: 2,
            epsilon,
            max_participations: most,
            ..policy(CENTRAL)
        };
        private_settings(TWO, policy, Counting::Rounds)
    };
    let (two, more) = (settings(2, 1e5), settings(9, 1e5));
    let store = Bench::new(two.clone()).store;
    let mut bench = Bench::on(more.clone(), store);
    bench.join_all(2);
    for number in 1..=2 {
        report_both(&mut bench, RoundId { round: number, attempt: 0 }, [1, 2]);
        bench.write();
    }
    assert_eq!(bench.core.view().progress.phase, RoundPhase::Finished);

    let stored = two.definition();
    let kept = more.granting_as(&stored).expect("only the number differs");
    assert_eq!(kept.policy(), two.policy());
    assert_eq!(kept.description().privacy.as_ref(), two.policy());
    // Nothing else is made to fit: not another budget, not a grant that it does not pay
    // for, and not a limit for each subject.
    assert!(settings(9, 9e4).granting_as(&stored).is_none());
    let dear =
        PrivacyPolicy { max_participations: 10_000, ..two.policy().expect("a policy").clone() };
    let dear = Definition { privacy: Some(dear), ..stored.clone() };
    assert!(more.granting_as(&dear).is_none());
    assert!(
        central(9, Counting::Subjects)
            .granting_as(&central(5, Counting::Subjects).definition())
            .is_none()
    );
}
