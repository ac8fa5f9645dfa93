//! A task's privacy policy, and the messages of secure aggregation.
//!
//! Plain numbers within their ranges: what a policy costs and what it protects
//! is worked out elsewhere.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use prost::Message;
use serde::{Deserialize, Serialize};

use crate::id::{IdError, RoundId};
use crate::limits::{MAX_BAND, MAX_BANDED_ROUNDS, MAX_COHORT, MAX_PARTICIPATIONS};
use crate::wire;

/// Protection of those who take part in a task. The unit is a subject: everything
/// that one participant ever contributes to the task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrivacyPolicy {
    /// The source of the noise.
    pub mechanism: Mechanism,
    /// Standard deviation of the noise on the sum over the clipping norm.
    pub noise_multiplier: f64,
    /// Clipping norm of the first round, L2.
    pub clipping_norm: f64,
    /// Adaptive clipping towards this share of updates within the norm, in (0, 1);
    /// `None` if the norm is fixed.
    pub target_quantile: Option<f64>,
    /// The budget of one subject over the whole task.
    pub epsilon: f64,
    /// The probability with which `epsilon` may be passed.
    pub delta: f64,
    /// Most clients in a round; in a buffered round the reports at which it closes.
    pub cohort: u32,
    /// A round with fewer survivors is abandoned.
    pub minimum_survivors: u32,
    /// Survivors that are assumed to help the server against the others.
    pub colluders: u32,
    /// Rounds that one subject may take part in.
    pub max_participations: u32,
}

/// Source of the noise, and so the party that must be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mechanism {
    /// Every client a share, under secure aggregation.
    Distributed,
    /// Every client all of it.
    Local,
    /// The server, which sees raw updates.
    Central(CentralNoise),
}

/// Noise of the server over the rounds of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredNoise", into = "StoredNoise")]
pub enum CentralNoise {
    /// Fresh in every round.
    Independent,
    /// On the nodes of a binary tree over the rounds.
    Tree {
        /// Rounds of the tree.
        rounds: u32,
    },
    /// Correlated: each round takes back a part of the noise of the rounds before.
    Banded(BandedNoise),
}

/// Noise that is correlated over the rounds. That of round t - i is added once more with
/// coefficient i of the power series (1 - x)^exponent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BandedNoise {
    /// Rounds that the noise is for.
    pub rounds: u32,
    /// Fewest rounds from one participation of a subject to the next; 1 if any two may
    /// follow each other.
    pub separation: u32,
    /// Coefficients of the power series. The first is 1.
    pub band: u32,
    /// The exponent in hundredths, at most 100.
    pub exponent: u32,
}

/// [`CentralNoise`] as JSON, which task definitions in stores have.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredNoise {
    /// Rounds of the tree; 0 without one.
    #[serde(default)]
    tree_rounds: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    banded: Option<BandedNoise>,
}

impl From<StoredNoise> for CentralNoise {
    fn from(stored: StoredNoise) -> Self {
        match stored {
            StoredNoise { banded: Some(banded), .. } => Self::Banded(banded),
            StoredNoise { tree_rounds: 0, .. } => Self::Independent,
            StoredNoise { tree_rounds: rounds, .. } => Self::Tree { rounds },
        }
    }
}

impl From<CentralNoise> for StoredNoise {
    fn from(noise: CentralNoise) -> Self {
        match noise {
            CentralNoise::Independent => Self { tree_rounds: 0, banded: None },
            CentralNoise::Tree { rounds } => Self { tree_rounds: rounds, banded: None },
            CentralNoise::Banded(banded) => Self { tree_rounds: 0, banded: Some(banded) },
        }
    }
}

impl fmt::Display for Mechanism {
    /// Its name in a config.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Distributed => "distributed",
            Self::Local => "local",
            Self::Central { .. } => "central",
        })
    }
}

/// Privacy policy outside its ranges.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PrivacyPolicyError {
    /// A number outside its range.
    #[error("{field} must be {range}; it is {value}")]
    Number {
        /// The field.
        field: &'static str,
        /// Its range.
        range: &'static str,
        /// Its value.
        value: f64,
    },
    /// More survivors than a cohort has, or none that are honest.
    #[error(
        "minimum_survivors must be above colluders ({colluders}) and at most the cohort \
         ({cohort}); it is {survivors}"
    )]
    Survivors {
        /// The fewest survivors.
        survivors: u32,
        /// The assumed colluders.
        colluders: u32,
        /// The largest cohort.
        cohort: u32,
    },
}

impl PrivacyPolicy {
    /// Checks every range.
    ///
    /// # Errors
    ///
    /// [`PrivacyPolicyError`] names the first field that is outside its range.
    pub fn validate(&self) -> Result<(), PrivacyPolicyError> {
        let positive = |field, value: f64| {
            let sound = value > 0.0 && value.is_finite();
            check(sound, field, "above 0 and finite", value)
        };
        positive("noise_multiplier", self.noise_multiplier)?;
        positive("clipping_norm", self.clipping_norm)?;
        positive("epsilon", self.epsilon)?;
        let share = |value: f64| value > 0.0 && value < 1.0;
        check(share(self.delta), "delta", "between 0 and 1", self.delta)?;
        if let Some(quantile) = self.target_quantile {
            check(share(quantile), "target_quantile", "between 0 and 1", quantile)?;
        }
        let (cohort, most) = (self.cohort, self.max_participations);
        check((1..=MAX_COHORT).contains(&cohort), "cohort", "1 to 65536", cohort.into())?;
        let sound = (1..=MAX_PARTICIPATIONS).contains(&most);
        check(sound, "max_participations", "1 to 1000000", most.into())?;
        if let Mechanism::Central(CentralNoise::Banded(noise)) = self.mechanism {
            noise.validate()?;
        }
        if !(self.colluders < self.minimum_survivors && self.minimum_survivors <= cohort) {
            return Err(PrivacyPolicyError::Survivors {
                survivors: self.minimum_survivors,
                colluders: self.colluders,
                cohort,
            });
        }
        Ok(())
    }
}

impl BandedNoise {
    fn validate(self) -> Result<(), PrivacyPolicyError> {
        let Self { rounds, separation, band, exponent } = self;
        let sound = (1..=MAX_BANDED_ROUNDS).contains(&rounds);
        check(sound, "rounds", "1 to 1000000 for banded noise", rounds.into())?;
        let sound = (1..=rounds).contains(&separation);
        check(sound, "minimum_separation", "1 to the task's rounds", separation.into())?;
        let sound = (1..=MAX_BAND).contains(&band);
        check(sound, "band", "1 to 64", band.into())?;
        check(exponent <= 100, "exponent", "at most 100 hundredths", exponent.into())
    }
}

impl PrivacyPolicy {
    /// The policy as it travels: both sides bind it to a round by these bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        wire::PrivacyPolicy::from(self.clone()).encode_to_vec()
    }
}

fn check(
    sound: bool,
    field: &'static str,
    range: &'static str,
    value: f64,
) -> Result<(), PrivacyPolicyError> {
    if sound { Ok(()) } else { Err(PrivacyPolicyError::Number { field, range, value }) }
}

/// Parameters of one round under a policy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoundPrivacy {
    /// Clipping norm of this round.
    pub clipping_norm: f64,
    /// Seed of the rotation's signs. Public.
    pub rotation: [u8; 32],
}

/// Stands for a participant in a task's privacy ledger: 16 random bytes that
/// the device keeps.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SubjectId([u8; 16]);

impl SubjectId {
    /// Takes 16 random bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for SubjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for SubjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubjectId({self})")
    }
}

impl FromStr for SubjectId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| IdError::Subject(text.chars().take(80).collect()))?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for SubjectId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<SubjectId> for String {
    fn from(id: SubjectId) -> Self {
        id.to_string()
    }
}

/// A client's keys for one round, X25519.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdvertisedKeys {
    /// Encrypts the shares.
    pub encryption: [u8; 32],
    /// Makes the pairwise masks.
    pub masking: [u8; 32],
}

/// Another client of the cohort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its place in the cohort.
    pub index: u32,
    /// Its keys.
    pub keys: AdvertisedKeys,
}

/// Masking group of a buffered round, as one of its clients is told: those whose updates
/// are one sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaskingGroup {
    /// Round that the sum is for. The client's invitation may be to an earlier one.
    pub round: RoundId,
    /// Numbers of the sum, in place of those of the invitation.
    pub privacy: RoundPrivacy,
    /// Factor on the client's clipped update, above 0 and at most 1: less for a stale one.
    pub weight: f64,
}

/// Neighbours that a client shares keys with.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyDirectory {
    /// The round of the client's invitation.
    pub round: RoundId,
    /// This client's place in the cohort, from 0.
    pub own: u32,
    /// Clients that advertised keys.
    pub cohort: u32,
    /// Shares that restore a secret.
    pub threshold: u32,
    /// The others it shares with.
    pub neighbours: Vec<Neighbour>,
    /// Time left to answer.
    pub deadline: Duration,
    /// The masking group, in a buffered task.
    pub group: Option<MaskingGroup>,
}

/// A share on its way from one client to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptedShare {
    /// The recipient (from a client) or the sender (from the server).
    pub peer: u32,
    /// Readable by the recipient only.
    pub ciphertext: Vec<u8>,
}

/// Asks for the masked input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaskedInputRequest {
    /// The round.
    pub round: RoundId,
    /// The neighbours' shares.
    pub shares: Vec<EncryptedShare>,
    /// Time left to answer.
    pub deadline: Duration,
}

/// Asks for help to take the masks off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnmaskingRequest {
    /// The round.
    pub round: RoundId,
    /// Places of the clients whose masked updates are in the sum, increasing.
    pub survivors: Vec<u32>,
    /// Time left to answer.
    pub deadline: Duration,
}

/// A share in the clear.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RevealedShare {
    /// Owner of the secret.
    pub peer: u32,
    /// The share.
    pub share: [u8; 32],
}

impl fmt::Debug for RevealedShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RevealedShare(of {})", self.peer)
    }
}
