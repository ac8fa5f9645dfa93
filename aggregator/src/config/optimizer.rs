//! `[task.server_optimizer]`: the server's step along the mean of a round's updates.

use fedra_aggregation::ServerOptimizer;
use fedra_coordinator::settings::Schedule;

use super::section::Section;
use super::{schedule, value};

/// The optimizer at its full learning rate, and the course of the rate.
pub(super) fn read(section: Section<'_>, rounds: Option<u64>) -> (ServerOptimizer, Schedule) {
    let optimizer = optimizer(&section);
    let table = section.table("schedule", "task.server_optimizer.schedule");
    let schedule = schedule::read(table, rounds, optimizer.learning_rate());
    section.finish();
    (optimizer, schedule)
}

fn optimizer(section: &Section<'_>) -> ServerOptimizer {
    let name = section.or("name", "averaging".to_owned(), value::text);
    // Its full learning rate and momentum by default, and the keys that it has a use for.
    // An adaptive step is about as long as the rate, for every parameter.
    let (rate, kept, used): (f64, f64, &[&str]) = match name.as_str() {
        "momentum" => (1.0, 0.9, &["momentum"]),
        "adagrad" => (0.01, 0.0, &["momentum", "tau"]),
        "averaging" => (1.0, 0.0, &[]),
        // One mistake is enough where the name is not known.
        _ => (0.01, 0.9, &["momentum", "beta2", "tau"]),
    };
    let whole = value::number("from 0.000001 to 1000", |x| (1e-6..=1e3).contains(&x));
    let share = || value::number("at least 0 and at most 0.999", |x| (0.0..=0.999).contains(&x));
    let small = value::number("from 0.000000001 to 1", |x| (1e-9..=1.0).contains(&x));
    let learning_rate = section.or("learning_rate", rate, whole);
    let momentum = section.optional("momentum", share());
    let beta2 = section.optional("beta2", share());
    let tau = section.optional("tau", small);
    for (key, given) in [("momentum", momentum), ("beta2", beta2), ("tau", tau)] {
        if given.is_some() && !used.contains(&key) {
            let problem = format!("the optimizer {name:?} has no use for it; leave the key out");
            section.mistake(key, problem);
        }
    }
    let momentum = momentum.unwrap_or(kept);
    let (beta2, tau) = (beta2.unwrap_or(0.99), tau.unwrap_or(1e-3));
    match name.as_str() {
        "averaging" => ServerOptimizer::Averaging { learning_rate },
        "momentum" => ServerOptimizer::Momentum { learning_rate, momentum },
        "adagrad" => ServerOptimizer::Adagrad { learning_rate, momentum, tau },
        "adam" => ServerOptimizer::Adam { learning_rate, momentum, beta2, tau },
        "yogi" => ServerOptimizer::Yogi { learning_rate, momentum, beta2, tau },
        other => {
            let known = "\"averaging\", \"momentum\", \"adagrad\", \"adam\" and \"yogi\"";
            let problem = format!("{other:?} is not known; the optimizers are {known}");
            section.mistake("name", problem);
            ServerOptimizer::Averaging { learning_rate }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::tests::{SMALL, mistakes};

    fn optimizer(keys: &str) -> ServerOptimizer {
        let toml = format!("{SMALL}[task.server_optimizer]\n{keys}");
        Config::from_toml(&toml).expect("valid").tasks[0].settings.optimizer.clone()
    }

    #[test]
    fn each_optimizer_has_its_defaults() {
        let averaging = ServerOptimizer::Averaging { learning_rate: 1.0 };
        assert_eq!(optimizer(""), averaging);
        assert_eq!(Config::from_toml(SMALL).expect("valid").tasks[0].settings.optimizer, averaging);
        let momentum = ServerOptimizer::Momentum { learning_rate: 1.0, momentum: 0.9 };
        assert_eq!(optimizer("name = \"momentum\""), momentum);
        let (learning_rate, momentum, beta2, tau) = (0.01, 0.9, 0.99, 1e-3);
        let adagrad = ServerOptimizer::Adagrad { learning_rate, momentum: 0.0, tau };
        assert_eq!(optimizer("name = \"adagrad\""), adagrad);
        let adam = ServerOptimizer::Adam { learning_rate, momentum, beta2, tau };
        assert_eq!(optimizer("name = \"adam\""), adam);
        let yogi = ServerOptimizer::Yogi { learning_rate, momentum, beta2, tau };
        assert_eq!(optimizer("name = \"yogi\""), yogi);
        let keys = "name = \"yogi\"\nlearning_rate = 2\nmomentum = 0.5\nbeta2 = 0.9\ntau = 1e-8";
        let yogi =
            ServerOptimizer::Yogi { learning_rate: 2.0, momentum: 0.5, beta2: 0.9, tau: 1e-8 };
        assert_eq!(optimizer(keys), yogi);
    }

    #[test]
    fn a_key_that_an_optimizer_has_no_use_for_is_refused() {
        for (name, unused) in [
            ("averaging", &["momentum", "beta2", "tau"][..]),
            ("momentum", &["beta2", "tau"]),
            ("adagrad", &["beta2"]),
            ("adam", &[]),
            ("yogi", &[]),
        ] {
            let keys = "momentum = 0.5\nbeta2 = 0.5\ntau = 0.5";
            let toml = format!("{SMALL}[task.server_optimizer]\nname = {name:?}\n{keys}");
            let found = match unused {
                [] => Vec::new(),
                _ => mistakes(&toml),
            };
            let expected = unused.iter().map(|key| {
                format!(
                    "task[tiny].server_optimizer.{key}: the optimizer {name:?} has no use for it; \
                     leave the key out"
                )
            });
            assert_eq!(found, expected.collect::<Vec<_>>());
        }
    }

    #[test]
    fn mistakes_about_an_optimizer_say_what_to_do() {
        let with = |keys: &str| mistakes(&format!("{SMALL}[task.server_optimizer]\n{keys}"));
        let found = with("name = \"adamw\"");
        assert!(
            found[0].contains("\"adamw\" is not known; the optimizers are \"aver"),
            "{found:?}"
        );
        let found = with("name = \"adam\"\nbeta2 = 1.0\ntau = 0\nlearning_rate = 0");
        let expected = [
            "task[tiny].server_optimizer.learning_rate: must be from 0.000001 to 1000; it is 0",
            "task[tiny].server_optimizer.beta2: must be at least 0 and at most 0.999; it is 1",
            "task[tiny].server_optimizer.tau: must be from 0.000000001 to 1; it is 0",
        ];
        assert_eq!(found, expected);
        // The key of an earlier version.
        let found = mistakes(&format!("{SMALL}server_learning_rate = 1.0"));
        assert!(found[0].starts_with("task[tiny].server_learning_rate: unknown key"), "{found:?}");
    }
}
