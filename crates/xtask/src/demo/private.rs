//! The demo's private task: many simulated people with few images each, under
//! secure aggregation and distributed noise, slow enough for a visitor to watch
//! a round and for the machine to have time for the plain task.

use std::path::Path;

use anyhow::Result;
use fedra_harness::aggregator::Aggregator;
use fedra_harness::config::{Policy, Privacy, Round, Task, Training};
use fedra_harness::process::Service;
use fedra_harness::status;

const TASK: &str = "mnist-private";
/// Simulated people, unless another number is asked for.
pub const PEOPLE: u32 = 200;
/// With fewer the noise hides what is learnt.
const FEWEST_PEOPLE: u32 = 50;
const MOST_PEOPLE: u32 = 1000;
/// Places in a round for visitors.
const VISITORS: u32 = 16;
/// Rounds that each person takes part in: more than half an hour of them.
const PARTICIPATIONS: u32 = 150;
const EPSILON: f64 = 8.0;
const DELTA: f64 = 1e-5;
/// `fedra-aggregator privacy plan --clients 216 --rounds 150 --epsilon 8
/// --delta 1e-5 --survivors 160 --model mnist-oriented-gradients
/// --adaptive-clipping` prints 7.352; a little more does for any number of people.
const NOISE_MULTIPLIER: f64 = 7.4;

/// Reads the number of people from the command line.
pub fn people(text: &str) -> Result<u32, String> {
    let is_possible = |people: &u32| matches!(people, 0 | FEWEST_PEOPLE..=MOST_PEOPLE);
    let people = text.parse().ok().filter(is_possible);
    people.ok_or_else(|| format!("must be 0, or from {FEWEST_PEOPLE} to {MOST_PEOPLE}"))
}

/// The task for `people` simulated people, and for visitors.
pub fn task(people: u32) -> Task<'static> {
    Task {
        id: TASK,
        title: "Handwritten digits, private",
        model: "mnist-oriented-gradients",
        rounds: None,
        server_learning_rate: 1.0,
        training: Training { epochs: 5, batch_size: 20, learning_rate: 0.1 },
        round: Round {
            // Never full, so that every round waits for the window.
            cohort_size: people + VISITORS,
            minimum_cohort: people - people / 10,
            minimum_reports: people - people / 5,
            selection_window: "12s",
            deadline: "120s",
        },
        privacy: Some(Privacy {
            policy: Policy::Distributed,
            noise_multiplier: NOISE_MULTIPLIER,
            clipping_norm: 0.5,
            epsilon: EPSILON,
            delta: DELTA,
            max_participations: Some(PARTICIPATIONS),
            step_deadline: "20s",
        }),
    }
}

/// Starts the people.
pub fn start(aggregator: &Aggregator, people: u32, folder: &Path) -> Result<Service> {
    status::step(&format!("Starting {people} simulated people for the private task"));
    let mut edge = aggregator.native_clients(TASK, people);
    // One at a time: there is no hurry.
    edge.args(["--concurrency", "1"]);
    Service::start("the simulated people", &mut edge, &folder.join("people.log"))
}

/// Explanation for a visitor.
pub fn explanation(people: u32) -> String {
    format!(
        "The page can switch to a private task, in which {people} simulated people and you are \
         summed\nunder masks and noise: epsilon {EPSILON} at delta {DELTA:e} over \
         {PARTICIPATIONS} rounds each, a round in about\na quarter of a minute. The table below \
         is that of the plain task."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_few_people_that_noise_drowns_them_are_refused() {
        assert_eq!(people("0"), Ok(0));
        assert_eq!(people("50"), Ok(50));
        assert_eq!(people("1000"), Ok(1000));
        for bad in ["49", "1001", "-1", "x"] {
            assert!(people(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_round_goes_on_without_some_people_and_has_room_for_visitors() {
        for people in [FEWEST_PEOPLE, PEOPLE, MOST_PEOPLE] {
            let Round { cohort_size, minimum_cohort, minimum_reports, .. } = task(people).round;
            assert!(cohort_size > people);
            assert!(minimum_reports < minimum_cohort && minimum_cohort < people);
        }
    }
}
