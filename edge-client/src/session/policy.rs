//! Privacy knowledge of the session: the owner's floors, the task's policy, the
//! person's consent, and the number of times that the person has taken part.
//!
//! It decides whether the client may take part; it sends nothing itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use fedra_privacy_policy::{DerivedPolicy, FloorError, PrivacyError};
use fedra_protocol::{
    Mechanism, PrivacyPolicy, RoundAssignment, RoundId, SubjectId, TaskDescription, TaskStatus,
};

use crate::codes::Notice;
use crate::events::ClientEvent;
use crate::privacy::{Consent, ExampleTerms, PolicyName, PrivacyConfig, PrivacyTerms};

/// Reason why a client must not take part in a task.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotAdmitted {
    /// The person agreed to something else, and it was counted.
    #[error(
        "the task's privacy policy has changed since this client joined; connect again to take \
         part under the new one"
    )]
    OtherPolicy,
    /// A client that went on, or stayed away, would tell by it whether its data fit.
    #[error(
        "the task's model, or the description of its data, has changed since this client joined; \
         connect again to take part in the new one"
    )]
    OtherModel,
    /// The policy has no meaning for the model.
    #[error("the task's privacy policy does not work for its model: {0}")]
    Policy(#[source] PrivacyError),
    /// The task promises less than the owner asks for.
    #[error(transparent)]
    BelowFloor(#[from] FloorError),
}

/// One client's side of a task's privacy policy, across reconnects.
#[derive(Debug)]
pub(super) struct PolicyState {
    config: PrivacyConfig,
    agreed: bool,
    /// The task of the first check-in, once there was one.
    promised: Option<TaskDescription>,
    privacy: Option<Arc<DerivedPolicy>>,
    /// Policy of the rounds in which clients evaluate, if the task has such rounds.
    evaluation: Option<Arc<DerivedPolicy>>,
    clipping_norm: Option<f64>,
    /// Rounds that an update was made for under a policy: never a second one.
    sent: BTreeSet<RoundId>,
    told: Option<PrivacyTerms>,
    exhaustion_told: bool,
    /// Terms for single examples, if training promises them something.
    examples: Option<ExampleTerms>,
}

impl PolicyState {
    pub fn new(config: PrivacyConfig) -> Self {
        let agreed = config.consent == Consent::Granted;
        Self {
            config,
            agreed,
            promised: None,
            privacy: None,
            evaluation: None,
            clipping_norm: None,
            sent: BTreeSet::new(),
            told: None,
            exhaustion_told: false,
            examples: None,
        }
    }

    /// Training has cost the examples this much so far.
    pub fn examples_spent(&mut self, terms: ExampleTerms) {
        self.examples = Some(terms);
    }

    pub fn subject(&self) -> SubjectId {
        self.config.subject
    }

    /// The task's policy, if it has one.
    pub fn privacy(&self) -> Option<&Arc<DerivedPolicy>> {
        self.privacy.as_ref()
    }

    /// Policy of a round: of training, or of evaluation.
    pub fn privacy_of(&self, assignment: &RoundAssignment) -> Option<&Arc<DerivedPolicy>> {
        if assignment.evaluates { self.evaluation.as_ref() } else { self.privacy.as_ref() }
    }

    /// Party that adds the noise, if any.
    pub fn mechanism(&self) -> Option<Mechanism> {
        Some(self.privacy.as_ref()?.policy().mechanism)
    }

    /// Takes a task in.
    ///
    /// # Errors
    ///
    /// [`NotAdmitted`] if this client must not take part in it.
    pub fn admit(&mut self, task: &TaskDescription) -> Result<(), NotAdmitted> {
        if let Some(promised) = &self.promised {
            if promised.privacy != task.privacy {
                return Err(NotAdmitted::OtherPolicy);
            }
            if demands_other_data(promised, task) {
                return Err(NotAdmitted::OtherModel);
            }
        }
        let derive = |policy: &PrivacyPolicy| {
            DerivedPolicy::new(policy.clone(), task.model.parameters()).map_err(NotAdmitted::Policy)
        };
        let privacy = task.privacy.as_ref().map(derive).transpose()?;
        self.config.floors.check(privacy.as_ref())?;
        let evaluation = privacy.as_ref().filter(|_| task.client_evaluation.is_some());
        let evaluation = evaluation.map(|privacy| privacy.for_evaluation(&task.model));
        self.evaluation = evaluation.transpose().map_err(NotAdmitted::Policy)?.map(Arc::new);
        self.promised = Some(task.clone());
        self.clipping_norm = task.privacy.as_ref().map(|policy| policy.clipping_norm);
        self.privacy = privacy.map(Arc::new);
        self.told = None;
        Ok(())
    }

    /// The person agreed.
    pub fn agree(&mut self) {
        self.agreed = true;
    }

    pub fn waits_for_consent(&self) -> bool {
        self.privacy.is_some() && !self.agreed
    }

    /// True if one more round would be more than the task or the owner allows.
    pub fn is_exhausted(&self) -> bool {
        // Never past a budget: the policy's participations fit into the task's,
        // and the floors were checked with these.
        self.most_participations().is_some_and(|most| self.config.participations >= most)
    }

    fn most_participations(&self) -> Option<u32> {
        Some(self.config.floors.participations(self.privacy.as_ref()?))
    }

    /// Message to the owner, once, when no participation is left.
    pub fn exhaustion(&mut self) -> Option<ClientEvent> {
        if !self.is_exhausted() || std::mem::replace(&mut self.exhaustion_told, true) {
            return None;
        }
        let rounds = self.config.participations;
        Some(ClientEvent::notice(
            Notice::PrivacyExhausted,
            format!(
                "this client has taken part in {rounds} rounds, and one more would be too many for \
                 its privacy; it stays to use the model"
            ),
        ))
    }

    /// Number of participations after the next one.
    pub fn next_participations(&self) -> u32 {
        self.config.participations.saturating_add(1)
    }

    /// Counts a participation that is written down.
    pub fn count(&mut self, round: RoundId) {
        self.config.participations = self.next_participations();
        self.sent.insert(round);
    }

    /// True if an update was made for this round already.
    pub fn has_sent(&self, round: RoundId) -> bool {
        self.sent.contains(&round)
    }

    /// The norm to which a round clips.
    pub fn set_clipping_norm(&mut self, norm: f64) {
        self.clipping_norm = Some(norm);
    }

    /// The terms as they are now, if the owner has not heard of them.
    pub fn news(&mut self, status: Option<&TaskStatus>) -> Option<ClientEvent> {
        let terms = self.terms(status.and_then(|status| status.privacy_spent_epsilon));
        if self.told.as_ref() == Some(&terms) {
            return None;
        }
        self.told = Some(terms.clone());
        Some(ClientEvent::Privacy(Box::new(terms)))
    }

    fn terms(&self, task_spent_epsilon: Option<f64>) -> PrivacyTerms {
        let privacy = self.privacy.as_deref();
        let policy = privacy.map(DerivedPolicy::policy);
        let participations = self.config.participations;
        let after = |rounds| privacy.map(|privacy| privacy.epsilon_after(rounds));
        let next = (!self.is_exhausted()).then(|| self.next_participations());
        PrivacyTerms {
            policy: PolicyName::of(privacy),
            secure_aggregation: self.mechanism() == Some(Mechanism::Distributed),
            noise_multiplier: policy.map(|policy| policy.noise_multiplier),
            clipping_norm: self.clipping_norm,
            minimum_survivors: policy.map(|policy| policy.minimum_survivors),
            colluders: policy.map(|policy| policy.colluders),
            delta: policy.map(|policy| policy.delta),
            budget_epsilon: policy.map(|policy| policy.epsilon),
            round_epsilon: after(1),
            spent_epsilon: after(participations).unwrap_or(0.0),
            next_epsilon: next.and_then(after),
            participations,
            max_participations: self.most_participations(),
            task_spent_epsilon,
            example_privacy: self.examples,
        }
    }
}

/// True if a private task takes other data now.
fn demands_other_data(before: &TaskDescription, now: &TaskDescription) -> bool {
    let same = before.model == now.model
        && before.update_range == now.update_range
        && before.data == now.data;
    now.privacy.is_some() && !same
}
