//! The server's own noise under a central policy, from the task's secret.

use std::sync::Arc;

use fedra_aggregation::accumulator::ServerNoise;
use fedra_privacy_policy::DerivedPolicy;
use fedra_protocol::Mechanism;

use crate::settings::TaskSettings;

/// Noise of a task under a central policy; none under any other.
#[derive(Debug, Default)]
pub(super) struct Noise {
    /// On sums of updates.
    pub updates: Option<Arc<ServerNoise>>,
    /// On sums of scores, if clients evaluate. The two draw from one secret: each for the
    /// rounds that are its own.
    pub scores: Option<Arc<ServerNoise>>,
}

impl Noise {
    /// Noise that the task's policy asks for. The secret is asked for under a central
    /// policy only. Noise that goes on from round to round must be the same after a restart,
    /// and so must the secret.
    pub fn of<E>(
        settings: &TaskSettings,
        secret: impl FnOnce() -> Result<[u8; 32], E>,
    ) -> Result<Self, E> {
        let mechanism = settings.policy().map(|policy| policy.mechanism);
        let Some(Mechanism::Central(over_rounds)) = mechanism else {
            return Ok(Self::default());
        };
        let secret = secret()?;
        let noise = |derived: &DerivedPolicy| {
            let central = derived.central()?.clone();
            Some(Arc::new(ServerNoise::new(central, secret, over_rounds)))
        };
        let scores = settings.client_evaluation.as_ref().and_then(|rounds| rounds.derived());
        let updates = settings.privacy.as_ref().map(|privacy| &*privacy.derived);
        Ok(Self { updates: updates.and_then(noise), scores: scores.and_then(noise) })
    }
}
