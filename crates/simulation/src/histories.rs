//! Histories of many seeds: none breaks a promise, and bugs put in on purpose are noticed.

use std::time::Instant;

use crate::{Broken, Bug, Figures, Manner, rounds_beside, run};

/// Seeds that the test suite runs, unless it is told otherwise.
const SEEDS: u64 = 3_000;

fn from_environment<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_history_breaks_a_promise() {
    let seeds = from_environment("FEDRA_SIMULATION_SEEDS").unwrap_or(SEEDS);
    let first = from_environment("FEDRA_SIMULATION_FIRST").unwrap_or(0);
    let start = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let work = |thread: u64| {
        let mut sum = Figures::default();
        for seed in (first + thread..first + seeds).step_by(threads as usize) {
            match run(seed, None).outcome {
                Ok(figures) => sum.add(&figures),
                Err(broken) => panic!("{broken}"),
            }
        }
        sum
    };
    let mut sum = Figures::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|t| scope.spawn(move || work(t))).collect();
        for thread in threads {
            match thread.join() {
                Ok(figures) => sum.add(&figures),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    println!("{seeds} seeds in {:.1} s: {sum}", start.elapsed().as_secs_f64());
    // What never happened was not tested.
    assert!(sum.covers_everything() || seeds < SEEDS, "not everything happened: {sum}");
}

#[test]
fn one_seed_is_one_history() {
    for seed in 0..20 {
        let history = || {
            let history = run(seed, None);
            (history.outcome.is_ok(), history.trace)
        };
        assert_eq!(history(), history(), "seed {seed}");
    }
}

/// The first seed under which a bug is noticed, and what is said of it.
fn first_noticed(bug: Bug) -> Option<Broken> {
    (0..500).find_map(|seed| run(seed, Some(bug)).outcome.err())
}

#[test]
fn a_double_counted_retry_is_noticed() {
    let broken = first_noticed(Bug::DoubleCount).expect("noticed");
    assert!(broken.problem.contains("counted"), "{broken}");
    run(broken.seed, None).outcome.expect("the seed is fine without the bug");
}

#[test]
fn an_announcement_before_durability_is_noticed() {
    let broken = first_noticed(Bug::EarlyAnnouncement).expect("noticed");
    assert!(broken.problem.contains("durable"), "{broken}");
    run(broken.seed, None).outcome.expect("the seed is fine without the bug");
}

#[test]
fn clients_that_never_report_do_not_slow_the_others_down() {
    for seed in 0..5 {
        let beside = |manners| rounds_beside(seed, manners).unwrap_or_else(|b| panic!("{b}"));
        let alone = beside(Vec::new());
        assert!(alone > 20, "seed {seed}: {alone} rounds");
        for manner in [Manner::Frozen, Manner::Declines, Manner::Invalid] {
            for count in [1, 3] {
                let rounds = beside(vec![manner; count]);
                let ratio = alone as f64 / rounds as f64;
                assert!(ratio <= 1.2, "seed {seed}, {count} {manner:?}: {rounds} of {alone}");
            }
        }
    }
}

/// For `cargo xtask simulate-faults`: one seed, told step by step.
#[test]
#[ignore = "replays the seed of FEDRA_SIMULATION_SEED"]
fn replay() {
    let Some(seed) = from_environment("FEDRA_SIMULATION_SEED") else {
        panic!("set FEDRA_SIMULATION_SEED");
    };
    let bug = from_environment("FEDRA_SIMULATION_BUG");
    let history = run(seed, bug);
    println!("{}", history.trace);
    match history.outcome {
        Ok(figures) => println!("seed {seed}: no promise was broken; {figures}"),
        Err(Broken { problem, .. }) => panic!("seed {seed}: {problem}"),
    }
}
