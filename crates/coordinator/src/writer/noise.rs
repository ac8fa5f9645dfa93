//! The server's own noise under a central policy, from the task's secret.

use std::sync::Arc;

use fedra_aggregation::accumulator::ServerNoise;
use fedra_protocol::Mechanism;

use crate::settings::{PrivacySettings, TaskSettings};

/// Noise of a task under a central policy; `None` under any other, where no secret is
/// asked for. The noise of a tree's nodes must be the same after a restart, and so must
/// the secret.
pub(super) fn central<E>(
    settings: &TaskSettings,
    secret: impl FnOnce() -> Result<[u8; 32], E>,
) -> Result<Option<Arc<ServerNoise>>, E> {
    let Some(PrivacySettings { derived, .. }) = &settings.privacy else { return Ok(None) };
    let (Some(central), Mechanism::Central { tree_rounds }) =
        (derived.central(), derived.policy().mechanism)
    else {
        return Ok(None);
    };
    Ok(Some(Arc::new(ServerNoise::new(central.clone(), secret()?, tree_rounds))))
}
