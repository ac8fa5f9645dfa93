//! A whole task on virtual time, with everything that may go wrong: messages
//! that are lost, late, doubled or out of order, connections that break, clients
//! that die, freeze and come back, operators who change their minds, and a
//! server that crashes at any of its writes.
//!
//! What runs is the production code: the coordinator's core, the rounds, the
//! folding worker, the server's conversations, the clients' sessions and both ends
//! of secure aggregation. Only
//! the network, the clock, the disk and the training are made up. One seed is
//! one history: it can be replayed.
//!
//! `cargo xtask simulate-faults --seed S` replays one.
//!
//! Fuzzing has the simulated server alone, with [`strangers`] for clients.

#![cfg_attr(not(test), allow(dead_code, unused_imports, reason = "fuzzing needs a part only"))]

#[cfg(test)]
mod checks;
#[cfg(test)]
mod client;
#[cfg(test)]
mod figures;
mod network;
mod scenario;
mod server;
#[cfg(test)]
mod store;
pub(crate) mod strangers;
#[cfg(test)]
mod world;

use std::time::{Duration, Instant};

#[cfg(test)]
use client::Manner;
#[cfg(test)]
use figures::Figures;
use scenario::{Bug, Scenario};
#[cfg(test)]
use world::World;

/// Seeds that the test suite runs, unless it is told otherwise.
const SEEDS: u64 = 3_000;

/// A history that broke a promise.
struct Broken {
    seed: u64,
    problem: String,
    trace: String,
}

#[cfg(test)]
fn run(seed: u64, bug: Option<Bug>) -> Result<Figures, Broken> {
    let scenario = Scenario::of(seed, bug);
    let mut world = World::new(scenario);
    world.run().map_err(|problem| Broken { seed, problem, trace: world.trace() })
}

fn explain(broken: &Broken) -> String {
    format!(
        "seed {}: {}\nreplay it: cargo xtask simulate-faults --seed {}\n{}",
        broken.seed, broken.problem, broken.seed, broken.trace
    )
}

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
            match run(seed, None) {
                Ok(figures) => sum.add(&figures),
                Err(broken) => panic!("{}", explain(&broken)),
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
            let mut world = World::new(Scenario::of(seed, None));
            let outcome = world.run();
            (outcome.is_ok(), world.trace())
        };
        assert_eq!(history(), history(), "seed {seed}");
    }
}

/// The first seed under which a bug is noticed, and what is said of it.
#[cfg(test)]
fn first_noticed(bug: Bug) -> Option<Broken> {
    (0..500).find_map(|seed| run(seed, Some(bug)).err())
}

#[test]
fn a_double_counted_retry_is_noticed() {
    let broken = first_noticed(Bug::DoubleCount).expect("noticed");
    assert!(broken.problem.contains("counted"), "{}", explain(&broken));
    run(broken.seed, None).map_err(|b| explain(&b)).expect("the seed is fine without the bug");
}

#[test]
fn an_announcement_before_durability_is_noticed() {
    let broken = first_noticed(Bug::EarlyAnnouncement).expect("noticed");
    assert!(broken.problem.contains("durable"), "{}", explain(&broken));
    run(broken.seed, None).map_err(|b| explain(&b)).expect("the seed is fine without the bug");
}

/// Rounds in the second minute and the third, with clients of these manners beside
/// sound ones.
#[cfg(test)]
fn rounds_beside(seed: u64, manners: Vec<Manner>) -> u64 {
    let mut world = World::new(Scenario::patient(seed, manners));
    let rounds = world.rounds_within(Duration::from_secs(60), Duration::from_secs(180));
    rounds.unwrap_or_else(|problem| panic!("seed {seed}: {problem}\n{}", world.trace()))
}

#[test]
fn clients_that_never_report_do_not_slow_the_others_down() {
    for seed in 0..5 {
        let alone = rounds_beside(seed, Vec::new());
        assert!(alone > 20, "seed {seed}: {alone} rounds");
        for manner in [Manner::Frozen, Manner::Declines, Manner::Invalid] {
            for count in [1, 3] {
                let beside = rounds_beside(seed, vec![manner; count]);
                let ratio = alone as f64 / beside as f64;
                assert!(ratio <= 1.2, "seed {seed}, {count} {manner:?}: {beside} of {alone}");
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
    let mut world = World::new(Scenario::of(seed, bug));
    let outcome = world.run();
    println!("{}", world.trace());
    match outcome {
        Ok(figures) => println!("seed {seed}: no promise was broken; {figures}"),
        Err(problem) => panic!("seed {seed}: {problem}"),
    }
}

/// Virtual time is cheap, but not without end.
const LONGEST: Duration = Duration::from_secs(600);
