//! Schedule of a learning rate, a table below the one that has the rate.

use fedra_coordinator::settings::{Decay, Schedule};

use super::section::Section;
use super::value;

/// Smallest learning rate of a round. Below it a step is lost in rounding, and a float32
/// comes near the end of its range.
const LEAST_RATE: f64 = 1e-30;

/// The course of a rate that is `learning_rate` in full. `rounds` are those of the task.
pub(super) fn read(section: Section<'_>, rounds: Option<u64>, learning_rate: f64) -> Schedule {
    let schedule = keys(&section, rounds).unwrap_or_default();
    let (round, least) = schedule.least();
    if learning_rate * least < LEAST_RATE {
        let rate = learning_rate * least;
        let problem = format!(
            "the learning rate of round {round} would be {rate:e}, and {LEAST_RATE:e} is the least; \
             let it fall over fewer rounds or by less"
        );
        section.mistake("kind", problem);
    }
    section.finish();
    schedule
}

/// Schedule in the table; `None` if a key that it needs is not there or cannot be read.
fn keys(section: &Section<'_>, task_rounds: Option<u64>) -> Option<Schedule> {
    let kind = section.or("kind", "constant".to_owned(), value::text);
    let warmup_rounds = section.or("warmup_rounds", 0, value::whole(0));
    let own_rounds = section.optional("rounds", value::whole(1));
    let every = section.optional("every", value::whole(1));
    let share = value::number("above 0 and at most 1", |x| x > 0.0 && x <= 1.0);
    let factor = section.optional("factor", share);
    let used: &[&str] = match kind.as_str() {
        "constant" => &[],
        "cosine" => &["rounds"],
        // One mistake is enough where the kind is not known.
        _ => &["rounds", "every", "factor"],
    };
    let given = [
        ("rounds", own_rounds.is_some()),
        ("every", every.is_some()),
        ("factor", factor.is_some()),
    ];
    for (key, is_given) in given {
        if is_given && !used.contains(&key) {
            let problem = format!("the schedule {kind:?} has no use for it; leave the key out");
            section.mistake(key, problem);
        }
    }
    let last = || last(section, own_rounds.or(task_rounds), warmup_rounds);
    let decay = match kind.as_str() {
        "constant" => Decay::Constant,
        "step" => {
            if section.peek("every").is_none() {
                let problem = "missing; a rate that falls in steps needs the rounds of each step";
                section.mistake("every", problem);
            }
            let (rounds, factor) = (last(), factor.unwrap_or(0.1));
            Decay::Step { every: every?, factor, rounds: rounds? }
        }
        "cosine" => Decay::Cosine { rounds: last()? },
        other => {
            let known = "\"constant\", \"step\" and \"cosine\"";
            let problem = format!("{other:?} is not known; the schedules are {known}");
            section.mistake("kind", problem);
            return None;
        }
    };
    Some(Schedule { warmup_rounds, decay })
}

/// The last round in which the rate falls, which must be later than the warm-up.
fn last(section: &Section<'_>, last: Option<u64>, warmup_rounds: u64) -> Option<u64> {
    match last {
        None if section.peek("rounds").is_none() => {
            let problem = "missing; the task has no last round: say up to which the rate falls, \
                           or set task.rounds";
            section.mistake("rounds", problem);
        }
        Some(last) if last <= warmup_rounds => {
            let problem = format!("must be below the {last} rounds over which the rate falls");
            section.mistake("warmup_rounds", problem);
            return None;
        }
        _ => {}
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::tests::{SMALL, mistakes};

    /// The small task with these keys in both schedules.
    fn both(task: &str, keys: &str) -> String {
        format!(
            "{SMALL}{task}\n[task.server_optimizer.schedule]\n{keys}\n\
             [task.training.schedule]\n{keys}"
        )
    }

    fn schedules(task: &str, keys: &str) -> Schedule {
        let config = Config::from_toml(&both(task, keys)).expect("valid");
        let settings = &config.tasks[0].settings;
        assert_eq!(settings.server_schedule, settings.training_schedule);
        settings.server_schedule
    }

    #[test]
    fn both_learning_rates_have_the_same_schedules() {
        assert_eq!(schedules("", ""), Schedule::default());
        let warm = Schedule { warmup_rounds: 7, decay: Decay::Constant };
        assert_eq!(schedules("", "warmup_rounds = 7"), warm);
        let decay = Decay::Cosine { rounds: 40 };
        let cosine = Schedule { warmup_rounds: 2, decay };
        assert_eq!(schedules("rounds = 40", "kind = \"cosine\"\nwarmup_rounds = 2"), cosine);
        let keys = "kind = \"cosine\"\nrounds = 40\nwarmup_rounds = 2";
        assert_eq!(schedules("rounds = 99", keys), cosine);
        assert_eq!(schedules("", keys), cosine);
        let step = |factor| Decay::Step { every: 10, factor, rounds: 40 };
        let decay = step(0.1);
        let keys = "kind = \"step\"\nevery = 10";
        assert_eq!(schedules("rounds = 40", keys), Schedule { warmup_rounds: 0, decay });
        let keys = "kind = \"step\"\nevery = 10\nfactor = 0.5";
        let decay = step(0.5);
        assert_eq!(schedules("rounds = 40", keys), Schedule { warmup_rounds: 0, decay });
    }

    #[test]
    fn mistakes_about_a_schedule_say_what_to_do() {
        for (task, keys, expected) in [
            ("", "kind = \"linear\"\nrounds = 3", "kind: \"linear\" is not known; the schedules"),
            ("", "rounds = 3", "rounds: the schedule \"constant\" has no use for it; leave the"),
            ("", "kind = \"cosine\"", "rounds: missing; the task has no last round: say up to"),
            ("", "kind = \"cosine\"\nrounds = 0", "rounds: must be a whole number of at least 1"),
            ("rounds = 5", "kind = \"step\"", "every: missing; a rate that falls in steps needs"),
            (
                "rounds = 5",
                "kind = \"cosine\"\nevery = 2",
                "every: the schedule \"cosine\" has no use for it",
            ),
            (
                "rounds = 5",
                "kind = \"cosine\"\nwarmup_rounds = 5",
                "warmup_rounds: must be below the 5 rounds over which the rate falls",
            ),
            (
                "rounds = 5",
                "kind = \"step\"\nevery = 1\nfactor = 1.5",
                "factor: must be above 0 and at most 1; it is 1.5",
            ),
            (
                "rounds = 500",
                "kind = \"step\"\nevery = 1\nfactor = 0.5",
                "kind: the learning rate of round 500 would be ",
            ),
        ] {
            let found = mistakes(&both(task, keys));
            assert_eq!(found.len(), 2, "{found:?}");
            for (found, table) in found.iter().zip(["server_optimizer", "training"]) {
                let expected = format!("task[tiny].{table}.schedule.{expected}");
                assert!(found.starts_with(&expected), "{found} for {expected}");
            }
        }
    }
}
