//! Demands of a client's owner before it takes part in a private task, and the terms
//! that the owner is told.
//!
//! Plain data: the session decides with it, `fedra-privacy-policy` does the sums.

use std::fmt;
use std::future::{self, Future};
use std::rc::Rc;

use fedra_privacy_policy::{DerivedPolicy, PrivacyFloors};
use fedra_protocol::{Mechanism, SubjectId};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};

use crate::callback::CallbackError;

/// Demands of the owner, and facts of earlier visits that a client cannot know.
#[derive(Clone, Debug, PartialEq)]
pub struct PrivacyConfig {
    /// The least that a task must promise; a task below is refused for good.
    pub floors: PrivacyFloors,
    /// Consent that the person has given already, or not.
    pub consent: Consent,
    /// Stands for the person in the task's privacy ledger.
    pub subject: SubjectId,
    /// Rounds of this task that the subject has taken part in before.
    pub participations: u32,
}

/// Permission for a client to take part in a private task without asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Consent {
    /// Yes, if the task is not below the floors.
    Granted,
    /// No: it waits until the person agrees.
    Ask,
}

type Kept = Result<(), CallbackError>;

/// Log of the number of participations, which outlives the client.
///
/// It is asked before an update of a private round leaves the device. The round waits
/// for the answer. If there is none, it is left and no update is sent.
#[derive(Clone)]
pub struct ParticipationLog(Rc<dyn Fn(u32) -> LocalBoxFuture<'static, Kept>>);

impl ParticipationLog {
    /// `keep` makes the new number durable. Its future is ready once it is.
    pub fn new<F>(keep: impl Fn(u32) -> F + 'static) -> Self
    where
        F: Future<Output = Kept> + 'static,
    {
        Self(Rc::new(move |participations| keep(participations).boxed_local()))
    }

    /// For owners without storage.
    pub fn nowhere() -> Self {
        Self::new(|_| future::ready(Ok(())))
    }

    /// Makes the number durable.
    ///
    /// # Errors
    ///
    /// Reason why it is not.
    pub fn keep(&self, participations: u32) -> LocalBoxFuture<'static, Kept> {
        (self.0)(participations)
    }
}

impl fmt::Debug for ParticipationLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ParticipationLog")
    }
}

/// A task's terms and what they have cost so far, in the form that JavaScript
/// gets. Every epsilon is for one subject's whole part in the task, at `delta`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PrivacyTerms {
    /// Party that adds the noise.
    pub policy: PolicyName,
    /// True if the server sees sums only.
    pub secure_aggregation: bool,
    /// Standard deviation of the noise in a sum, over the clipping norm.
    pub noise_multiplier: Option<f64>,
    /// L2 norm to which updates are clipped, of the newest round known here.
    pub clipping_norm: Option<f64>,
    /// Fewest clients that a sum may have; a round with fewer is thrown away.
    pub minimum_survivors: Option<u32>,
    /// Clients of a round that may work together with the server.
    pub colluders: Option<u32>,
    /// The probability that is left out of the promise, 0 to 1.
    pub delta: Option<f64>,
    /// The task's budget: it ends before it costs a subject more.
    pub budget_epsilon: Option<f64>,
    /// Cost of one round, taken alone.
    pub round_epsilon: Option<f64>,
    /// Cost of this subject's rounds so far, together.
    pub spent_epsilon: f64,
    /// The same after one more; absent if there will be no more.
    pub next_epsilon: Option<f64>,
    /// Rounds that this subject took part in.
    pub participations: u32,
    /// Rounds that it may take part in.
    pub max_participations: Option<u32>,
    /// The task's ledger: the cost for the subject that took part most.
    pub task_spent_epsilon: Option<f64>,
    /// Terms for single examples in addition.
    pub example_privacy: Option<ExampleTerms>,
}

/// A promise about each example of a client's data, not about its owner.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ExampleTerms {
    /// Its epsilon since the client was started.
    pub epsilon: f64,
    /// At this delta.
    pub delta: f64,
}

/// Party that adds the noise, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyName {
    /// Every client a share, under secure aggregation.
    Distributed,
    /// Every client all of it.
    Local,
    /// The server, which sees each update.
    Central,
    /// No party.
    None,
}

impl PolicyName {
    pub(crate) fn of(privacy: Option<&DerivedPolicy>) -> Self {
        match privacy.map(|privacy| privacy.policy().mechanism) {
            Some(Mechanism::Distributed) => Self::Distributed,
            Some(Mechanism::Local) => Self::Local,
            Some(Mechanism::Central { .. }) => Self::Central,
            None => Self::None,
        }
    }
}
