//! The masked sum is the plain sum, for any dropouts at any steps, or there is no
//! sum.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod common;

use common::{ALL, Outcome, Stays, generator, round, terms};
use fedra_secure_aggregation::server::{Abandoned, Step};
use fedra_secure_aggregation::{Assumptions, Terms};
use rand::Rng;

/// Fate of a round on a complete graph by the rules, from the numbers of clients
/// that made each step: `None` if the sum is opened.
fn fate(plan: &[Stays], minimum: usize) -> Option<Fate> {
    let made = |step: Stays| plan.iter().filter(|stays| **stays >= step).count();
    let [cohort, shared, masked, answered] =
        [Stays::Advertises, Stays::Shares, Stays::Masks, Stays::Unmasks].map(made);
    if cohort < minimum {
        return Some(Fate::TooFew(Step::AdvertiseKeys));
    }
    let threshold = (cohort - 1).div_ceil(2).max(2);
    if shared < minimum || shared - 1 < threshold {
        return Some(Fate::TooFew(Step::ShareKeys));
    }
    if masked < minimum {
        return Some(Fate::TooFew(Step::MaskedInput));
    }
    // One's own share is not among the shares of one's secret.
    (masked - 1 < threshold || answered < threshold + 1).then_some(Fate::TooFewShares)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    TooFew(Step),
    TooFewShares,
}

fn check(outcome: &Outcome, expected: Option<Fate>, plan: &[Stays]) {
    match &outcome.result {
        Ok(opened) => {
            assert_eq!(expected, None, "{plan:?}");
            assert_eq!(opened.sum, outcome.expected, "{plan:?}");
            assert_eq!(opened.survivors, outcome.survivors, "{plan:?}");
            assert!(opened.wrong_shares.is_empty());
        }
        Err(Abandoned::TooFewClients { step, .. }) => {
            assert_eq!(expected, Some(Fate::TooFew(*step)), "{plan:?}");
        }
        Err(Abandoned::TooFewShares { .. }) => {
            assert_eq!(expected, Some(Fate::TooFewShares), "{plan:?}");
        }
        Err(error) => panic!("{plan:?}: {error}"),
    }
}

/// All 5^5 ways in which five clients can leave.
#[test]
fn every_dropout_pattern_of_five_clients() {
    let terms = terms(3, 7, 16);
    let (mut opened, mut abandoned) = (0, 0);
    for pattern in 0..5_usize.pow(5) {
        let plan: Vec<Stays> =
            (0..5).map(|client| ALL[pattern / 5_usize.pow(client) % 5]).collect();
        let mut rng = generator(pattern as u64);
        let outcome = round(&terms, Assumptions::default(), &plan, &mut rng);
        if outcome.result.is_ok() {
            opened += 1;
        } else {
            abandoned += 1;
        }
        check(&outcome, fate(&plan, 3), &plan);
    }
    // The threshold is 2 in every cohort of three to five, so those in which at
    // least three answer: 10 * 4^2 + 5 * 4 + 1.
    assert_eq!((opened, abandoned), (181, 3125 - 181));
}

/// Each client leaves at each step with this chance.
fn random_plan(clients: u32, percent: u32, rng: &mut impl Rng) -> Vec<Stays> {
    let mut leaves = || rng.next_u32() % 100 < percent;
    (0..clients)
        .map(|_| {
            let step = (0..4).find(|_| leaves()).unwrap_or(4);
            ALL[step]
        })
        .collect()
}

fn random_rounds(clients: u32, words: usize, bits: u32, seeds: std::ops::Range<u64>) {
    let terms = terms(clients / 2, words, bits);
    for seed in seeds {
        let mut rng = generator(seed);
        let plan = random_plan(clients, 3, &mut rng);
        let Outcome { result, expected, survivors } =
            round(&terms, Assumptions::default(), &plan, &mut rng);
        let opened = result.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!((opened.sum, opened.survivors), (expected, survivors), "seed {seed}");
    }
}

#[test]
fn random_dropouts_of_fifty() {
    random_rounds(50, 40, 13, 0..4);
}

#[test]
fn random_dropouts_of_two_hundred() {
    random_rounds(200, 33, 32, 0..2);
}

/// A graph for more dropouts: a tenth leaves at each step.
#[test]
fn a_denser_graph_bears_more_dropouts() {
    let assumptions = Assumptions { dropout_percent: 35, ..Assumptions::default() };
    let terms = terms(40, 16, 8);
    for seed in 0..2 {
        let mut rng = generator(seed);
        let plan = random_plan(100, 10, &mut rng);
        let outcome = round(&terms, assumptions, &plan, &mut rng);
        assert_eq!(outcome.result.unwrap().sum, outcome.expected);
    }
}

/// With far too many dropouts there is mostly no sum; there is never a wrong one.
#[test]
fn hopeless_rounds_are_abandoned() {
    let terms = terms(2, 5, 11);
    let mut abandoned = 0;
    for seed in 0..8 {
        let mut rng = generator(seed);
        let plan = random_plan(52, 22, &mut rng);
        let outcome = round(&terms, Assumptions::default(), &plan, &mut rng);
        match outcome.result {
            Ok(opened) => assert_eq!(opened.sum, outcome.expected),
            Err(_) => abandoned += 1,
        }
    }
    assert!(abandoned > 4, "{abandoned}");
}

/// Every width of a word, and sums that wrap.
#[test]
fn every_number_of_bits() {
    for bits in 1..=32 {
        let terms: Terms = terms(3, 50, bits);
        let plan = [Stays::Unmasks, Stays::Shares, Stays::Unmasks, Stays::Unmasks, Stays::Unmasks];
        let outcome = round(&terms, Assumptions::default(), &plan, &mut generator(bits.into()));
        assert_eq!(outcome.result.unwrap().sum, outcome.expected, "{bits} bits");
    }
}
