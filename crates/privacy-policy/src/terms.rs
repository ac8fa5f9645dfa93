//! A policy with everything that follows from it.

use differential_privacy::accounting::{Correlation, Participation};
use differential_privacy::central::CentralParameterError;
use differential_privacy::distributed::ParameterError;
use differential_privacy::{
    CentralGaussian, CentralGaussianSettings, ClippingNorm, Delta, DistributedGaussian,
    DistributedGaussianSettings, NoiseMultiplier, QuantityError, Rho,
};
use fedra_protocol::limits::{MAX_BAND, MAX_BANDED_ROUNDS};
use fedra_protocol::{
    BandedNoise, CentralNoise, Mechanism, ModelSpec, PrivacyPolicy, PrivacyPolicyError, RoundId,
    RoundPrivacy, Scores, TaskId,
};
use fedra_secure_aggregation::{Context, Terms, TermsError};
use thiserror::Error;

/// Reason that a policy cannot be followed for a model.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum PrivacyError {
    /// A number outside its range.
    #[error(transparent)]
    Policy(#[from] PrivacyPolicyError),
    /// A number outside its range, as the mathematics sees it.
    #[error(transparent)]
    Quantity(#[from] QuantityError),
    /// No encoding has these parameters.
    #[error(transparent)]
    Parameters(#[from] ParameterError),
    /// No noise of the server has these parameters.
    #[error(transparent)]
    Central(#[from] CentralParameterError),
    /// Secure aggregation cannot have these parameters.
    #[error(transparent)]
    Terms(#[from] TermsError),
    /// Fewer honest survivors than a sum must hide.
    #[error(
        "secure aggregation needs at least two honest survivors: raise minimum_survivors \
         ({survivors}) or lower colluders ({colluders})"
    )]
    NobodyHidden {
        /// The fewest survivors.
        survivors: u32,
        /// The assumed colluders among them.
        colluders: u32,
    },
    /// The participations that the policy grants cost more than its budget.
    #[error(
        "{participations} participations cost epsilon {cost:.3}, the budget is {budget}: \
         raise noise_multiplier or epsilon, or lower max_participations"
    )]
    OverBudget {
        /// Participations that the policy grants.
        participations: u32,
        /// Epsilon that they cost.
        cost: f64,
        /// Epsilon that the policy allows.
        budget: f64,
    },
    /// Noise that goes on from round to round ends with the last one.
    #[error(
        "the noise is for {rounds} rounds: a subject cannot take part in {participations} of \
         them, each {separation} or more after the one before"
    )]
    TooFewRounds {
        /// Rounds that the noise is for.
        rounds: u32,
        /// Fewest rounds from one participation to the next.
        separation: u32,
        /// Participations that the policy grants.
        participations: u32,
    },
    /// Noise that goes on from round to round has no place for a round of evaluation.
    #[error(
        "clients cannot evaluate models where noise goes on from one round of training to the \
         next; use independent noise, or leave client_evaluation out"
    )]
    RoundsAndEvaluation,
    /// No noise makes a round of evaluation as cheap as one of training.
    #[error("a round of evaluation costs more than one of training, however much noise it has")]
    EvaluationTooDear,
}

/// Times that the noise of a round of evaluation is raised.
const MOST_RAISES: usize = 16;

/// Noise multipliers that are looked at.
const LEAST_NOISE: f64 = 1e-3;
const MOST_NOISE: f64 = 1e6;

/// A subject's participation in rounds whose noise goes on from one to the next; `None` if
/// each round has noise of its own.
fn participation(policy: &PrivacyPolicy) -> Option<Participation> {
    let participations = policy.max_participations;
    match policy.mechanism {
        Mechanism::Central(CentralNoise::Tree { rounds: steps }) => {
            Some(Participation { steps, participations, separation: 1 })
        }
        Mechanism::Central(CentralNoise::Banded(BandedNoise {
            rounds: steps, separation, ..
        })) => Some(Participation { steps, participations, separation }),
        Mechanism::Central(CentralNoise::Independent)
        | Mechanism::Distributed
        | Mechanism::Local => None,
    }
}

/// Banded noise with the exponent that leaves least of it in the models of a task, for
/// subjects that take part `participations` times. A policy refuses numbers outside their
/// ranges, whatever the exponent.
#[must_use]
pub fn banded_noise(rounds: u32, participations: u32, separation: u32, band: u32) -> BandedNoise {
    let steps = rounds.min(MAX_BANDED_ROUNDS);
    let limits = Participation { steps, participations, separation };
    let exponent = Correlation::best_exponent(band.min(MAX_BAND), limits);
    BandedNoise { rounds, separation, band, exponent }
}

/// Standard deviation of the noise in the sum of all rounds, which has most of it, over that
/// of fresh noise in one round.
#[must_use]
pub fn noise_of_all_rounds(noise: BandedNoise) -> f64 {
    let correlation = Correlation::fractional(noise.band, noise.exponent);
    correlation.prefix_variances(noise.rounds).last().unwrap_or(0.0).sqrt()
}

/// To four significant digits.
fn round_up(value: f64) -> f64 {
    let digits = 10_f64.powf(value.log10().floor() - 3.0);
    let up = (value / digits).ceil() * digits;
    // Through text, for a number that reads as it was meant.
    format!("{up:.3e}").parse().unwrap_or(up)
}

/// A policy with everything derived from it for a model of d parameters.
#[derive(Debug, Clone)]
pub struct DerivedPolicy {
    policy: PrivacyPolicy,
    mechanism: DerivedMechanism,
    delta: Delta,
}

/// C is 2^30 in the integers of a central policy.
const FRACTION_BITS: u32 = 30;

#[derive(Debug, Clone)]
enum DerivedMechanism {
    Encoded(DistributedGaussian),
    Central(CentralGaussian),
}

impl DerivedPolicy {
    /// Derives the parameters for a model of `parameters` parameters, and checks
    /// that the participations which the policy grants fit into its budget.
    ///
    /// # Errors
    ///
    /// [`PrivacyError`] says which number to change.
    pub fn new(policy: PrivacyPolicy, parameters: usize) -> Result<Self, PrivacyError> {
        let privacy = Self::derive(policy, parameters)?;
        let policy = &privacy.policy;
        let participations = policy.max_participations;
        if let Some(Participation { steps: rounds, separation, .. }) = participation(policy)
            && participations > rounds.div_ceil(separation)
        {
            return Err(PrivacyError::TooFewRounds { rounds, separation, participations });
        }
        let (cost, budget) = (privacy.epsilon_after(participations), policy.epsilon);
        if cost > budget {
            return Err(PrivacyError::OverBudget { participations, cost, budget });
        }
        Ok(privacy)
    }

    /// Variant of [`DerivedPolicy::new`] with as many participations as the budget pays
    /// for, at most those of the policy.
    ///
    /// # Errors
    ///
    /// [`PrivacyError`], also if the budget does not pay for a single one.
    pub fn within_budget(
        mut policy: PrivacyPolicy,
        parameters: usize,
    ) -> Result<Self, PrivacyError> {
        policy.validate()?;
        if let Some(Participation { steps, separation, .. }) = participation(&policy) {
            policy.max_participations = policy.max_participations.min(steps.div_ceil(separation));
        }
        let privacy = Self::derive(policy.clone(), parameters)?;
        let fits = |count: &u32| privacy.epsilon_after(*count) <= policy.epsilon;
        // The cost grows with every participation: look for the last that fits.
        let (mut low, mut high) = (1, policy.max_participations);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if fits(&middle) { low = middle } else { high = middle - 1 }
        }
        policy.max_participations = low;
        Self::new(policy, parameters)
    }

    /// Variant of [`DerivedPolicy::new`] with the least noise (to four digits, rounded up)
    /// whose cost for `max_participations` fits the budget; the policy's own noise
    /// multiplier does not matter.
    ///
    /// # Errors
    ///
    /// [`PrivacyError`], also if no noise is enough.
    pub fn with_least_noise(
        mut policy: PrivacyPolicy,
        parameters: usize,
    ) -> Result<Self, PrivacyError> {
        let with = |noise_multiplier| {
            Self::new(PrivacyPolicy { noise_multiplier, ..policy.clone() }, parameters)
        };
        // From below: far more noise than is needed may not fit into an encoding.
        let mut high = LEAST_NOISE;
        while let Err(error) = with(high) {
            let is_too_little = matches!(
                error,
                PrivacyError::OverBudget { .. }
                    | PrivacyError::Parameters(ParameterError::GridTooFine)
            );
            if !is_too_little || high >= MOST_NOISE {
                return Err(error);
            }
            high *= 2.0;
        }
        let mut low = high / 2.0;
        while high / low > 1.0 + 1e-6 {
            let middle = (low * high).sqrt();
            if with(middle).is_ok() { high = middle } else { low = middle }
        }
        policy.noise_multiplier = round_up(high);
        Self::new(policy, parameters)
    }

    /// Policy of this task's rounds in which clients evaluate `model`: their [`Scores`] take
    /// the place of an update, under the same mechanism and a fixed clipping norm.
    ///
    /// A round of evaluation costs at most what one of training does, so that participations
    /// in either are counted alike: where the encoding of so few values costs more at the
    /// same noise, the noise is raised.
    ///
    /// # Errors
    ///
    /// [`PrivacyError`], also for noise that goes on from round to round.
    pub fn for_evaluation(&self, model: &ModelSpec) -> Result<Self, PrivacyError> {
        if participation(&self.policy).is_some() {
            return Err(PrivacyError::RoundsAndEvaluation);
        }
        let mut policy = PrivacyPolicy {
            clipping_norm: Scores::norm(model),
            target_quantile: None,
            ..self.policy.clone()
        };
        let most = self.cost(1);
        for _ in 0..MOST_RAISES {
            let derived = Self::derive(policy.clone(), Scores::len(model))?;
            let cost = derived.cost(1);
            if cost <= most {
                return Ok(derived);
            }
            policy.noise_multiplier *= (cost.value() / most.value()).sqrt() * (1.0 + 1e-6);
        }
        Err(PrivacyError::EvaluationTooDear)
    }

    fn derive(policy: PrivacyPolicy, parameters: usize) -> Result<Self, PrivacyError> {
        policy.validate()?;
        let noise_multiplier = NoiseMultiplier::new(policy.noise_multiplier)?;
        let honest = policy.minimum_survivors - policy.colluders;
        let clip_indicator = policy.target_quantile.is_some();
        let survivors = match policy.mechanism {
            Mechanism::Distributed if honest < 2 => {
                let PrivacyPolicy { minimum_survivors: survivors, colluders, .. } = policy;
                return Err(PrivacyError::NobodyHidden { survivors, colluders });
            }
            Mechanism::Distributed => Some(honest),
            Mechanism::Local => Some(1),
            Mechanism::Central { .. } => None,
        };
        let clients = policy.cohort;
        let mechanism = match survivors {
            Some(survivors) => {
                let settings = DistributedGaussianSettings {
                    parameters,
                    clients,
                    survivors,
                    noise_multiplier,
                    clip_indicator,
                };
                DerivedMechanism::Encoded(DistributedGaussian::derive(&settings)?)
            }
            None => {
                let settings = CentralGaussianSettings {
                    parameters,
                    clients,
                    fraction_bits: FRACTION_BITS,
                    noise_multiplier,
                    clip_indicator,
                };
                DerivedMechanism::Central(CentralGaussian::derive(&settings)?)
            }
        };
        let delta = Delta::new(policy.delta)?;
        ClippingNorm::new(policy.clipping_norm)?;
        Ok(Self { policy, mechanism, delta })
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &PrivacyPolicy {
        &self.policy
    }

    /// Encoding of clients' updates; `None` under a central policy, where clients
    /// send them as they are.
    #[must_use]
    pub fn encoding(&self) -> Option<&DistributedGaussian> {
        match &self.mechanism {
            DerivedMechanism::Encoded(encoding) => Some(encoding),
            DerivedMechanism::Central(_) => None,
        }
    }

    /// Clipping and noise of the server, under a central policy.
    #[must_use]
    pub fn central(&self) -> Option<&CentralGaussian> {
        match &self.mechanism {
            DerivedMechanism::Encoded(_) => None,
            DerivedMechanism::Central(central) => Some(central),
        }
    }

    /// True if the server sees only sums.
    #[must_use]
    pub fn is_secure_aggregation(&self) -> bool {
        self.policy.mechanism == Mechanism::Distributed
    }

    /// Fewest rounds from one participation of a subject to the next: 1 if any two may
    /// follow each other.
    #[must_use]
    pub fn separation(&self) -> u32 {
        participation(&self.policy).map_or(1, |limits| limits.separation)
    }

    /// Cost (ρ) of `participations` rounds for one subject.
    #[must_use]
    pub fn cost(&self, participations: u32) -> Rho {
        let central = match &self.mechanism {
            DerivedMechanism::Encoded(encoding) => return encoding.cost().times(participations),
            DerivedMechanism::Central(central) => central,
        };
        let participation =
            participation(&self.policy).map(|limits| Participation { participations, ..limits });
        match (self.policy.mechanism, participation) {
            (Mechanism::Central(CentralNoise::Banded(noise)), Some(participation)) => {
                let correlation = Correlation::fractional(noise.band, noise.exponent);
                central.correlated_cost(&correlation, participation)
            }
            (_, Some(participation)) => central.tree_cost(participation),
            (_, None) => central.cost().times(participations),
        }
    }

    /// Epsilon of `participations` rounds for one subject, at the policy's delta.
    #[must_use]
    pub fn epsilon_after(&self, participations: u32) -> f64 {
        if participations == 0 {
            return 0.0;
        }
        self.cost(participations).epsilon(self.delta).value()
    }

    /// Terms that a client insists on in secure aggregation.
    ///
    /// Binds task, round, policy, clipping norm and rotation: clients that were
    /// told different things share no key.
    ///
    /// # Errors
    ///
    /// [`PrivacyError::Terms`] if the policy has no secure aggregation to speak of.
    pub fn secure_terms(
        &self,
        task: &TaskId,
        round: RoundId,
        round_privacy: &RoundPrivacy,
    ) -> Result<Terms, PrivacyError> {
        let policy = self.policy.to_bytes();
        let context = Context::new(&[
            task.as_str().as_bytes(),
            &round.round.to_le_bytes(),
            &round.attempt.to_le_bytes(),
            &policy,
            &round_privacy.clipping_norm.to_le_bytes(),
            &round_privacy.rotation,
        ]);
        let encoding = self.encoding().filter(|_| self.is_secure_aggregation());
        let (words, bits) = encoding.map_or((0, 0), |encoding| (encoding.len(), encoding.bits()));
        Ok(Terms::new(context, self.policy.minimum_survivors, words, bits)?)
    }
}
