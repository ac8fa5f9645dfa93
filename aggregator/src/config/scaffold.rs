//! `algorithm = "scaffold"` of `[task.training]`: the number of clients, and what control
//! variates cannot go with.

use fedra_aggregation::Codec;
use fedra_aggregation::accumulator::Estimator;
use fedra_coordinator::round::{Mode, RoundPlan};
use fedra_coordinator::settings::PrivacySettings;
use fedra_protocol::{ClientAlgorithm, CodecName};

use super::section::Section;
use super::value;

/// Parts of a task that control variates have to go with.
pub(super) struct Fit<'a> {
    pub plan: &'a RoundPlan,
    pub codec: &'a Codec,
    pub estimator: Estimator,
    pub privacy: Option<&'a PrivacySettings>,
    pub population: Option<u32>,
}

/// True if the task's section asks for the algorithm.
pub(super) fn is_wanted(task: &Section<'_>) -> bool {
    let training = task.peek("training").and_then(|value| value.as_dict());
    let algorithm = training.and_then(|training| training.get("algorithm")?.as_str());
    algorithm == Some(ClientAlgorithm::Scaffold.name())
}

/// The value of `population`, which is for this algorithm only.
pub(super) fn population(training: &Section<'_>, algorithm: ClientAlgorithm) -> Option<u32> {
    let population = training.optional("population", value::whole(1));
    match (algorithm.has_variates(), population) {
        (true, None) if training.peek("population").is_none() => {
            let problem = "missing; the algorithm \"scaffold\" needs the number of all clients of \
                           the task, whether they are there or not";
            training.mistake("population", problem);
        }
        (false, Some(_)) => {
            let problem = "only for algorithm = \"scaffold\"; set that, or leave the key out";
            training.mistake("population", problem);
        }
        _ => {}
    }
    population.filter(|_| algorithm.has_variates())
}

/// Notes what does not go with control variates.
pub(super) fn check(task: &Section<'_>, fit: &Fit<'_>) {
    let Fit { plan, codec, estimator, privacy, population } = *fit;
    if privacy.is_some() {
        let problem = "the noise of a policy would go into the control variates of the algorithm \
                       \"scaffold\", and from there into every later step; leave the table out, or \
                       take another training.algorithm";
        task.mistake("privacy.policy", problem);
    } else if !matches!(codec.name(), CodecName::F32 | CodecName::F16) {
        let problem = format!(
            "the control variates of the algorithm \"scaffold\" are made of the updates, and what \
             {:?} rounds would go into every later step; take \"f32\" or \"f16\", or another \
             training.algorithm",
            codec.name().name()
        );
        task.mistake("codec", problem);
    }
    if estimator != Estimator::Mean {
        let problem = "the server's control variate of the algorithm \"scaffold\" follows from the \
                       mean of all updates of a round; leave the key out, or take another \
                       training.algorithm";
        task.mistake("aggregation.estimator", problem);
    }
    if plan.mode != Mode::Synchronous {
        let problem = "the algorithm \"scaffold\" needs a cohort that starts from one model and one \
                       control variate; leave the key out, or take another training.algorithm";
        task.mistake("round.mode", problem);
    }
    let most = plan.most_reports();
    if let Some(population) = population.filter(|&of| (of as usize) < most) {
        let problem = format!(
            "{population} is fewer than the {most} clients whose updates a round may take; it is \
             the number of all clients of the task"
        );
        task.mistake("training.population", problem);
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::config::tests::{PRIVATE, SMALL, mistakes};

    const TRAINING: &str = "algorithm = \"scaffold\", steps = 10, population = 100";

    /// A task with these keys of its training, keys of its own and tables.
    fn task(training: &str, keys: &str, tables: &str) -> String {
        format!("{SMALL}{keys}\ntraining = {{ {training} }}\n{tables}")
    }

    #[test]
    fn every_client_weighs_the_same_and_the_population_is_known() {
        let settings = |toml: &str| {
            let config = Config::from_toml(toml).expect("valid");
            config.tasks[0].settings.clone()
        };
        let of = settings(&task(TRAINING, "codec = \"f16\"", ""));
        assert_eq!((of.population, of.plan.max_weight, of.training.steps()), (Some(100), 1, 10));
        assert!(of.needs().algorithms.contains("scaffold"));
        assert_eq!(settings(SMALL).population, None);
    }

    #[test]
    fn a_task_that_variates_do_not_go_with_is_refused_with_the_reason() {
        let plain = |keys: &str, tables: &str| task(TRAINING, keys, tables);
        let private = PRIVATE.replace("distributed", "local").replace("1.0", "20.0");
        for (toml, expected) in [
            (plain("", &private), "privacy.policy: the noise of a policy would go into the"),
            (plain("codec = \"int8\"", ""), "codec: the control variates of the algorithm"),
            (plain("codec = \"topk\"", ""), "codec: the control variates of the algorithm"),
            (
                plain("", "[task.aggregation]\nestimator = \"norm_bound\"\nnorm = 1.0"),
                "aggregation.estimator: the server's control variate",
            ),
            (
                plain("", "[task.round]\nmode = \"buffered\""),
                "round.mode: the algorithm \"scaffold\" needs a cohort that starts from one model",
            ),
            (
                plain("", "[task.round]\nmax_weight = 5"),
                "round.max_weight: with the algorithm scaffold every client weighs the same",
            ),
            (
                task("algorithm = \"scaffold\", steps = 10", "", ""),
                "training.population: missing; the algorithm \"scaffold\" needs the number of all",
            ),
            (
                task("algorithm = \"scaffold\", steps = 10, population = 63", "", ""),
                "training.population: 63 is fewer than the 64 clients whose updates a round may",
            ),
            (
                task("population = 100", "", ""),
                "training.population: only for algorithm = \"scaffold\"",
            ),
            (
                task("algorithm = \"scaffold\", population = 100", "", ""),
                "training.steps: must be given in place of epochs with the algorithm scaffold",
            ),
            (
                task(&format!("{TRAINING}, time_limit = \"9s\""), "", ""),
                "training.time_limit: cannot be given with the algorithm scaffold",
            ),
            (
                task(&format!("{TRAINING}, momentum = 0.5"), "", ""),
                "training.momentum: must be 0 with the algorithm scaffold; it is 0.5",
            ),
            (
                task(&format!("{TRAINING}, proximal = 0.5"), "", ""),
                "training.proximal: must be 0 with the algorithm scaffold; it is 0.5",
            ),
        ] {
            let found = mistakes(&toml);
            let expected = format!("task[tiny].{expected}");
            assert!(found.len() == 1 && found[0].starts_with(&expected), "{found:?} {expected}");
        }
    }
}
