//! `[task.gate]`: the rule by which a model is refused for its held-out loss.

use fedra_coordinator::settings::{EvaluationRounds, PrivacySettings};
use fedra_coordinator::storage::{Gate, LossSource};
use fedra_protocol::{CentralNoise, Mechanism};

use super::section::Section;
use super::value;

/// Evaluations and privacy of the task, which its gate has to go with.
pub(super) struct Fit<'a> {
    /// True if the server evaluates the models.
    pub is_evaluated: bool,
    pub client_evaluation: Option<&'a EvaluationRounds>,
    pub privacy: Option<&'a PrivacySettings>,
}

/// The rule, if there is one that can be followed. The server's examples decide if there are
/// any, otherwise the clients' do.
pub(super) fn read(section: Section<'_>, fit: &Fit<'_>) -> Option<Gate> {
    let positive = value::number("above 0 and at most 1e9", |x| x > 0.0 && x <= 1e9);
    let loss_increase = section.or("loss_increase", 0.5, &positive);
    let loss_limit = section.optional("loss_limit", &positive);
    let rollbacks = section.or("rollbacks", 3, value::whole(1));
    let mechanism = fit.privacy.map(|privacy| privacy.derived.policy().mechanism);
    if let Some(Mechanism::Central(CentralNoise::Tree { .. } | CentralNoise::Banded(_))) = mechanism
    {
        let problem = "noise along a tree or banded cancels between rounds that follow each other, and a \
                       roll-back would leave the noise of the refused ones in every later model; \
                       set task.privacy.noise = \"independent\", or leave the table out";
        section.mistake("loss_increase", problem);
    }
    let source = match (fit.is_evaluated, fit.client_evaluation) {
        (true, _) => Some(LossSource::Server),
        (false, Some(_)) => Some(LossSource::Clients),
        (false, None) => {
            let problem = "there is no held-out loss to go by: add [task.evaluation] or \
                           [task.client_evaluation], or leave the table out";
            section.mistake("loss_increase", problem);
            None
        }
    };
    section.finish();
    Some(Gate { source: source?, loss_increase, loss_limit, rollbacks })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::tests::{SMALL, mistakes};

    const BY_CLIENTS: &str = "[task.client_evaluation]\n";

    fn gate(tables: &str) -> Option<Gate> {
        let config = Config::from_toml(&format!("{SMALL}{tables}"));
        config.expect("valid").tasks[0].settings.gate
    }

    #[test]
    fn a_gate_has_defaults_and_goes_by_the_examples_that_there_are() {
        assert_eq!(gate(BY_CLIENTS), None);
        let expected = Gate {
            source: LossSource::Clients,
            loss_increase: 0.5,
            loss_limit: None,
            rollbacks: 3,
        };
        assert_eq!(gate(&format!("{BY_CLIENTS}[task.gate]\n")), Some(expected));
        let keys = "[task.gate]\nloss_increase = 2.0\nloss_limit = 4\nrollbacks = 1\n";
        let held_out = format!("[task.evaluation]\ndata = {:?}\n", env!("CARGO_MANIFEST_DIR"));
        let expected = Gate {
            source: LossSource::Server,
            loss_increase: 2.0,
            loss_limit: Some(4.0),
            rollbacks: 1,
        };
        assert_eq!(gate(&format!("{held_out}{BY_CLIENTS}{keys}")), Some(expected));
    }

    #[test]
    fn a_gate_that_cannot_be_followed_is_refused() {
        let found = mistakes(&format!("{SMALL}[task.gate]\n"));
        assert!(found[0].contains("gate.loss_increase: there is no held-out loss"), "{found:?}");
        let tree = "rounds = 100\n[task.privacy]\npolicy = \"central\"\nepsilon = 1e9\n\
                    delta = 1e-5\nclipping_norm = 1.0\nnoise_multiplier = 1.0\n\
                    max_participations = 1\n";
        let held_out = format!("[task.evaluation]\ndata = {:?}\n", env!("CARGO_MANIFEST_DIR"));
        for noise in ["", "noise = \"banded\"\n"] {
            let found = mistakes(&format!("{SMALL}{tree}{noise}{held_out}[task.gate]\n"));
            assert!(found[0].contains("gate.loss_increase: noise along a tree"), "{found:?}");
        }
        for (key, problem) in [
            ("loss_increase = 0", "must be above 0"),
            ("loss_limit = -1", "must be above 0"),
            ("rollbacks = 0", "must be a whole number of at least 1"),
            ("patience = 3", "unknown key"),
        ] {
            let found = mistakes(&format!("{SMALL}{BY_CLIENTS}[task.gate]\n{key}\n"));
            assert!(found[0].contains(problem), "{found:?}");
        }
    }
}
