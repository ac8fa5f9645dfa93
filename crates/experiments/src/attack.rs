//! Clients that do not do what they should: what they send instead of an honest update.

use fedra_aggregation::accumulator::Estimator;
use fedra_coordinator::settings::TaskSettings;
use fedra_data::{Dataset, Targets};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};
use serde::Deserialize;

/// Some clients, chosen by the experiment's seed, and what they do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attack {
    /// Attackers.
    pub clients: u32,
    /// Their way.
    pub kind: Kind,
}

/// `[[attack]]`, unchecked.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum AttackTable {
    SignFlip {
        clients: u32,
        #[serde(default = "one")]
        scale: f64,
    },
    LabelFlip {
        clients: u32,
    },
    Noise {
        clients: u32,
        #[serde(default = "one")]
        scale: f64,
    },
    Collude {
        clients: u32,
        norm: Option<f64>,
    },
}

/// Way of an attack.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// The honest update times `-scale`.
    SignFlip {
        /// Factor, above 0.
        scale: f64,
    },
    /// Training on the class `classes - 1 - class` for each class.
    LabelFlip,
    /// Gaussian noise with `scale` times the norm of the honest update.
    Noise {
        /// Factor, above 0.
        scale: f64,
    },
    /// The same random direction for all attackers, at this norm.
    Collude {
        /// L2 norm, above 0.
        norm: f64,
    },
}

fn one() -> f64 {
    1.0
}

impl Attack {
    /// Checks the numbers, and takes a norm that is not given from the task.
    ///
    /// # Errors
    ///
    /// The problem, and what to do.
    pub(crate) fn new(table: &AttackTable, task: &TaskSettings) -> Result<Self, String> {
        let above_0 = |key: &str, value: f64| match value > 0.0 && value.is_finite() {
            true => Ok(value),
            false => Err(format!("attack.{key} must be above 0; it is {value}")),
        };
        let (clients, kind) = match *table {
            AttackTable::SignFlip { clients, scale } => {
                (clients, Kind::SignFlip { scale: above_0("scale", scale)? })
            }
            AttackTable::LabelFlip { clients } => (clients, Kind::LabelFlip),
            AttackTable::Noise { clients, scale } => {
                (clients, Kind::Noise { scale: above_0("scale", scale)? })
            }
            AttackTable::Collude { clients, norm } => {
                let norm = norm.or_else(|| bound(task)).ok_or(
                    "attack.norm is missing, and the task bounds no norm of updates; set norm",
                )?;
                (clients, Kind::Collude { norm: above_0("norm", norm)? })
            }
        };
        Ok(Self { clients, kind })
    }
}

/// Norm to which the server, or the policy, cuts an update.
fn bound(task: &TaskSettings) -> Option<f64> {
    match task.estimator {
        Estimator::NormBound { norm } | Estimator::CentredClipping { norm, .. } => Some(norm),
        _ => task.privacy.as_ref().map(|privacy| privacy.derived.policy().clipping_norm),
    }
}

impl Kind {
    /// The examples that an attacker trains on, for a model with so many outputs.
    pub(crate) fn examples(self, data: Dataset, outputs: u32) -> Dataset {
        let (Self::LabelFlip, Targets::Classes(classes)) = (self, data.targets()) else {
            return data;
        };
        let flip = |class: &u32| outputs.saturating_sub(1).saturating_sub(*class);
        let flipped = classes.iter().map(flip).collect();
        let features = data.features().clone();
        Dataset::new(features, data.shape(), Targets::Classes(flipped)).unwrap_or(data)
    }

    /// The update that is sent in place of an honest one. `own` is this attacker's generator,
    /// `shared` that of all attackers of the round.
    pub(crate) fn update(
        self,
        honest: Vec<f32>,
        own: &mut impl Rng,
        shared: &mut impl Rng,
    ) -> Vec<f32> {
        match self {
            Self::LabelFlip => honest,
            Self::SignFlip { scale } => {
                honest.into_iter().map(|value| -(scale as f32) * value).collect()
            }
            Self::Noise { scale } => direction(honest.len(), scale * norm(&honest), own),
            Self::Collude { norm } => direction(honest.len(), norm, shared),
        }
    }
}

fn norm(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt()
}

/// A random vector of this norm.
fn direction(len: usize, length: f64, rng: &mut impl Rng) -> Vec<f32> {
    let drawn: Vec<f32> = (0..len).map(|_| StandardNormal.sample(rng)).collect();
    let factor = length / norm(&drawn).max(f64::MIN_POSITIVE);
    drawn.into_iter().map(|value| (f64::from(value) * factor) as f32).collect()
}
