//! Options of the client in a browser, as the page gives them. The page's types are
//! generated from them.

use differential_privacy::{ClippingNorm, Delta, NoiseMultiplier, QuantityError};
use fedra_learning::ExamplePrivacy;
use fedra_privacy_policy::PrivacyFloors;
use fedra_protocol::{IdError, SubjectId, TaskId};
use serde::Deserialize;

use crate::backend::BackendPreference;
use crate::client::ClientConfig;
use crate::origin::ServerUrlError;
use crate::privacy::{Consent, ParticipationLog, PrivacyConfig};
use crate::residual::ResidualStore;
use crate::token::TokenSource;

/// First argument of the module's client.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientOptions {
    /// The aggregator's socket.
    pub url: String,
    /// The task's id.
    pub task: String,
    /// The device to train on.
    pub backend: BackendPreference,
    /// Demands of the owner.
    pub privacy: PrivacyOptions,
}

/// Demands of the owner, and what the module cannot know of earlier visits.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PrivacyOptions {
    /// The least that a task must promise.
    #[serde(default)]
    pub floors: PrivacyFloors,
    /// Permission to take part in a private task without asking.
    pub consent: Consent,
    /// Rounds of the task that the subject has taken part in before.
    #[serde(default)]
    pub participations: u32,
    /// Stands for the person in the task's ledger: 32 hexadecimal digits.
    pub subject: SubjectId,
    /// A promise about single examples.
    pub examples: Option<ExampleOptions>,
}

/// Example-level privacy (DP-SGD), for a site that holds the records of many people: a
/// promise about each single example, not about this client, and beside the task's. The
/// task's server neither sets it nor learns of it. Its cost is `examplePrivacy` of the
/// `privacy` event.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ExampleOptions {
    /// Largest L2 norm of one example's gradient; above 0.
    clipping_norm: f64,
    /// Noise on the sum of a step's clipped gradients, in units of `clippingNorm`;
    /// above 0.
    noise_multiplier: f64,
    /// The delta at which the cost is told; between 0 and 1.
    delta: f64,
}

/// Reason why options are not valid.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OptionsError {
    /// The address is none.
    #[error(transparent)]
    Url(#[from] ServerUrlError),
    /// The id is none.
    #[error(transparent)]
    Task(#[from] IdError),
    /// A number of the example-level privacy is out of its range.
    #[error(transparent)]
    Examples(#[from] QuantityError),
}

impl ClientOptions {
    /// The client's configuration.
    ///
    /// # Errors
    ///
    /// [`OptionsError`] for the first value that is not valid.
    pub fn config(
        self,
        token: TokenSource,
        log: ParticipationLog,
        residual: ResidualStore,
    ) -> Result<ClientConfig, OptionsError> {
        let privacy = self.privacy;
        Ok(ClientConfig {
            url: self.url.parse()?,
            trust: Default::default(),
            task: TaskId::new(self.task)?,
            token,
            backend: self.backend,
            privacy: PrivacyConfig {
                floors: privacy.floors,
                consent: privacy.consent,
                subject: privacy.subject,
                participations: privacy.participations,
            },
            example_privacy: privacy.examples.map(ExampleOptions::privacy).transpose()?,
            log,
            residual,
            dropouts: None,
        })
    }
}

impl ExampleOptions {
    fn privacy(self) -> Result<ExamplePrivacy, QuantityError> {
        Ok(ExamplePrivacy {
            clipping_norm: ClippingNorm::new(self.clipping_norm)?,
            noise_multiplier: NoiseMultiplier::new(self.noise_multiplier)?,
            delta: Delta::new(self.delta)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn given(privacy: &Value) -> Value {
        json!({ "url": "wss://example.org", "task": "digits", "backend": "auto", "privacy": privacy })
    }

    fn privacy() -> Value {
        json!({ "consent": "ask", "subject": "07".repeat(16) })
    }

    fn config(options: Value) -> Result<ClientConfig, String> {
        let options: ClientOptions =
            serde_json::from_value(options).map_err(|error| error.to_string())?;
        let config = options.config(
            TokenSource::none(),
            ParticipationLog::nowhere(),
            ResidualStore::nowhere(),
        );
        config.map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let config = config(given(&privacy())).expect("valid");
        assert_eq!(config.privacy.consent, Consent::Ask);
        assert_eq!(config.privacy.floors, PrivacyFloors::default());
        assert_eq!(config.privacy.participations, 0);
        assert_eq!(config.example_privacy, None);
    }

    #[test]
    fn a_floor_with_a_typing_error_is_refused() {
        let mut privacy = privacy();
        privacy["floors"] = json!({ "minCohorts": 3 });
        let error = config(given(&privacy)).expect_err("no such floor");
        assert!(error.contains("minCohorts"), "{error}");
    }

    #[test]
    fn a_number_out_of_its_range_is_refused() {
        let mut privacy = privacy();
        privacy["examples"] = json!({ "clippingNorm": 0, "noiseMultiplier": 1, "delta": 1e-5 });
        config(given(&privacy)).expect_err("no clipping norm");
    }
}
