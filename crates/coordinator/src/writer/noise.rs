//! The server's own noise under a central policy: along a tree over the rounds,
//! or fresh in every round. Drawn again from the task's secret when it is
//! needed, so that a restart changes nothing.

use differential_privacy::central::StepError;
use differential_privacy::{CentralGaussian, NoiseSecret, TreeAggregation};
use fedra_protocol::{Mechanism, RoundId};

use crate::settings::{PrivacySettings, TaskSettings};
use crate::storage::{Lease, StoreError};

/// Adds the noise of a round to its sum.
pub(super) enum CentralNoise {
    Independent(CentralGaussian, NoiseSecret),
    Tree(TreeAggregation),
}

impl CentralNoise {
    /// Noise of a task under a central policy; `None` under any other. Its secret is in
    /// the store, `fresh` at the first call: the noise of a tree's nodes must be the
    /// same after a restart.
    pub(super) fn of(
        settings: &TaskSettings,
        lease: &Lease,
        fresh: [u8; 32],
    ) -> Result<Option<Self>, StoreError> {
        let Some(PrivacySettings { derived, .. }) = &settings.privacy else { return Ok(None) };
        let (Some(central), Mechanism::Central { tree_rounds }) =
            (derived.central(), derived.policy().mechanism)
        else {
            return Ok(None);
        };
        let secret = lease.secret(fresh)?;
        Ok(Some(Self::new(central.clone(), secret, tree_rounds)))
    }

    /// `tree_rounds` is 0 for noise that is fresh in every round.
    fn new(central: CentralGaussian, secret: [u8; 32], tree_rounds: u32) -> Self {
        let secret = NoiseSecret::new(secret);
        match tree_rounds {
            0 => Self::Independent(central, secret),
            rounds => Self::Tree(TreeAggregation::new(central, secret, rounds)),
        }
    }

    /// Adds noise that is independent for each attempt. Tree noise is the exception,
    /// because only one of the attempts at one of its steps is ever released.
    pub(super) fn add(&self, round: RoundId, sum: &mut [i64]) -> Result<(), StepError> {
        let number = u32::try_from(round.round).unwrap_or(u32::MAX);
        match self {
            Self::Independent(central, secret) => {
                let attempt = u16::try_from(round.attempt).unwrap_or(u16::MAX);
                central.add_noise(secret, number, attempt, sum);
                Ok(())
            }
            Self::Tree(tree) => tree.add_increment(number, sum),
        }
    }
}
