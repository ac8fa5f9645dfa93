//! The privacy ledger of a task, and what it does to rounds.

use fedra_protocol::{BandedNoise, CentralNoise, Mechanism, PrivacyPolicy, RoundPhase};

use super::*;
use crate::fixtures::{BUFFERED, PLAN, R1, R2, Write, policy, private_settings, round};
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

/// Buffered rounds of two updates, for which three clients are at work at a time.
fn buffered(mut policy: PrivacyPolicy, counting: Counting) -> TaskSettings {
    (policy.cohort, policy.minimum_survivors) = (2, 2);
    let plan = RoundPlan { invited: 3, report_goal: 2, minimum_cohort: 3, ..BUFFERED };
    private_settings(plan, policy, counting)
}

fn report(bench: &mut Bench, client: u64, round: RoundId) -> Vec<Action> {
    let contribution = contribution(&bench.settings, &[0.1; 4], 1);
    let (client, stage) = (ClientId(client), Stage::Update);
    bench.handle(Command::Report(Report { client, round, stage, weight: 1, contribution }))
}

/// Subjects of each debit, by their numbers.
fn debited(bench: &Bench) -> Vec<(RoundId, Vec<u8>)> {
    let debits = bench.store.storage.tasks.debits(&bench.settings.id).expect("reads");
    let number = |subject: &SubjectId| subject.as_bytes()[0];
    let of = |debit: &crate::storage::Debit| {
        let attempt = RoundId { round: debit.round, attempt: debit.attempt };
        (attempt, debit.subjects.iter().map(number).collect())
    };
    debits.iter().map(of).collect()
}

/// Clients 1 to 3 are at work, 1 and 2 have reported in the first round and 3 in the second,
/// and the first is durable.
fn one_round_and_a_half(settings: TaskSettings) -> (Bench, Vec<Action>) {
    let mut bench = Bench::new(settings);
    bench.join_all(3);
    for client in [1, 2, 3] {
        let told = report(&mut bench, client, R1);
        assert_eq!(verdict(&told, client), Some(UpdateVerdict::Accepted), "{client}");
    }
    let told = bench.write();
    assert_eq!(bench.core.view().model.round, 1);
    (bench, told)
}

#[test]
fn a_buffered_round_debits_those_in_its_sum_whenever_they_were_invited() {
    let policy = PrivacyPolicy { max_participations: 5, ..policy(CENTRAL) };
    let settings = buffered(policy, Counting::Subjects);
    let (mut bench, told) = one_round_and_a_half(settings.clone());
    let next = [1, 2, 3].map(|connection| invitation(&told, connection));
    assert_eq!(next, [Some(R2), Some(R2), None], "3 is in the second round already");
    report(&mut bench, 1, R2);
    bench.write();
    assert_eq!(debited(&bench), [(R1, vec![1, 2]), (R2, vec![1, 3])]);
    let spent = bench.core.view().privacy.expect("a budget");
    assert_eq!((spent.participations, spent.debits, spent.subjects), (2, 2, 3));
    // What the third round had is lost with the server, and has cost nothing.
    report(&mut bench, 2, R2);
    let bench = Bench::on(settings, bench.store);
    assert_eq!((bench.core.progress().round, debited(&bench).len()), (round(3, 0), 2));
}

#[test]
fn a_subject_that_comes_back_as_another_client_is_in_no_buffer_twice() {
    let policy = PrivacyPolicy { max_participations: 5, ..policy(CENTRAL) };
    let (mut bench, _) = one_round_and_a_half(buffered(policy, Counting::Subjects));
    // Nothing is kept of this client, as of one that was away for too long.
    bench.leave(3, Departure::Lost);
    let back = bench.join(9, Some(subject(3)));
    assert_eq!(invitation(&back, 9), Some(R2), "the rounds do not know it");
    let told = report(&mut bench, 4, R2);
    assert_eq!(verdict(&told, 9), Some(UpdateVerdict::Accepted), "and take its update");
    bench.write();
    assert_eq!(debited(&bench), [(R1, vec![1, 2])], "the sum has one update, not two");
    assert_eq!(bench.core.view().model.round, 1);
    assert_eq!(bench.core.progress().round, round(2, 1));
}

#[test]
fn a_full_buffer_beyond_the_budget_is_neither_debited_nor_released() {
    let policy = PrivacyPolicy { max_participations: 1, ..policy(CENTRAL) };
    let mut settings = buffered(policy, Counting::Rounds);
    (settings.plan.invited, settings.plan.minimum_cohort) = (4, 4);
    let mut bench = Bench::new(settings);
    bench.join_all(4);
    for client in [1, 2, 3, 4] {
        report(&mut bench, client, R1);
    }
    assert_eq!((bench.core.progress().round, bench.core.progress().reported), (R2, 2));
    bench.write();
    assert_eq!(debited(&bench), [(R1, vec![1, 2])]);
    assert_eq!(bench.core.view().progress.phase, RoundPhase::Finished);
    assert_eq!(bench.core.view().model.round, 1);
}

#[test]
fn a_subject_that_has_had_its_participations_does_no_more_work() {
    let policy = PrivacyPolicy { max_participations: 1, ..policy(CENTRAL) };
    let mut settings = buffered(policy, Counting::Subjects);
    settings.plan.minimum_cohort = 2;
    let (mut bench, told) = one_round_and_a_half(settings);
    assert!([1, 2, 3].iter().all(|connection| invitation(&told, *connection).is_none()));
    let invited = bench.join(4, Some(subject(4)));
    assert_eq!(invitation(&invited, 4), Some(R2));
    report(&mut bench, 4, R2);
    bench.write();
    assert_eq!(debited(&bench), [(R1, vec![1, 2]), (R2, vec![3, 4])]);
}

/// The sum of the second round was opened before the norm after the first was known.
#[test]
fn an_adaptive_clipping_norm_goes_on_from_the_newest_one() {
    let adaptive = PrivacyPolicy { target_quantile: Some(0.5), ..policy(CENTRAL) };
    let (mut bench, _) = one_round_and_a_half(buffered(adaptive, Counting::Rounds));
    report(&mut bench, 1, R2);
    bench.write();
    let history = &bench.core.view().history;
    let norms: Vec<f64> = history.iter().filter_map(|record| record.clipping_norm).collect();
    assert_eq!(norms.len(), 3);
    assert!(norms[0] > norms[1] && norms[1] > norms[2], "all were within it: {norms:?}");
}
