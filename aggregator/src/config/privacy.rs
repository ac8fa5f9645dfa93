//! `[task.privacy]`: the task's promise to those who take part.

use std::sync::Arc;
use std::time::Duration;

use fedra_coordinator::round::{Mode, Protection, RoundPlan};
use fedra_coordinator::settings::{Counting, PrivacySettings};
use fedra_privacy_policy::{DerivedPolicy, banded_noise};
use fedra_protocol::limits::MAX_PARTICIPATIONS;
use fedra_protocol::{CentralNoise, Mechanism, PrivacyPolicy};

use figment::value::Value;

use super::section::Section;
use super::value;

/// Rounds that the noise of a round reaches into, unless the config says otherwise.
const BAND: u32 = 16;

const NOT_BUFFERED: &str = "a client of buffered rounds works while others end, so none can be \
                            kept apart from its last; leave the key out, or set task.round.mode \
                            = \"synchronous\"";

/// True if the section has a policy other than "none".
pub(super) fn is_wanted(section: &Section<'_>) -> bool {
    section.peek("policy").and_then(Value::as_str) != Some("none")
}

/// Reads the section, and notes in the plan what the policy means for the order of
/// events in a round. `None` for the policy "none", and for a section that cannot be
/// read.
pub(super) fn read(
    section: Section<'_>,
    plan: &mut RoundPlan,
    parameters: usize,
) -> Option<PrivacySettings> {
    let read = read_keys(&section, plan, parameters);
    section.finish();
    let (settings, step_deadline) = read?;
    plan.protection = match settings.derived.policy().mechanism {
        Mechanism::Distributed => Protection::Secure { step_deadline },
        Mechanism::Local => Protection::DebitFirst,
        Mechanism::Central { .. } => Protection::DebitLast,
    };
    Some(settings)
}

/// The settings, and the time to answer each request of secure aggregation.
fn read_keys(
    section: &Section<'_>,
    plan: &RoundPlan,
    parameters: usize,
) -> Option<(PrivacySettings, Duration)> {
    let participations = section.optional("max_participations", value::whole::<u32>(1));
    let mechanism = mechanism(section, plan, participations);
    let number = |key, placeholder: f64, range, holds: fn(f64) -> bool| {
        let read = value::number(range, holds);
        match mechanism {
            Some(_) => section.required(key, placeholder, read),
            None => section.or(key, placeholder, read),
        }
    };
    let (is_share, share) = (|x: f64| x > 0.0 && x < 1.0, "between 0 and 1");
    let noise_multiplier =
        number("noise_multiplier", 1.0, "above 0 and at most 1e6", |x| x > 0.0 && x <= 1e6);
    let clipping_norm =
        number("clipping_norm", 1.0, "from 1e-6 to 1e6", |x| (1e-6..=1e6).contains(&x));
    let epsilon = number("epsilon", 8.0, "above 0 and at most 1e15", |x| x > 0.0 && x <= 1e15);
    let delta = number("delta", 1e-5, share, is_share);
    let target_quantile = section.optional("target_quantile", value::number(share, is_share));
    let colluders = section.or("colluders", 0, value::whole(0));
    let (least, most) = (Duration::from_millis(10), Duration::from_secs(24 * 3600));
    let ten = Duration::from_secs(10);
    let step_deadline = section.or("step_deadline", ten, value::duration(least, most));
    let mechanism = mechanism?;
    check_mode(section, mechanism, plan.mode);
    let policy = PrivacyPolicy {
        mechanism,
        noise_multiplier,
        clipping_norm,
        target_quantile,
        epsilon,
        delta,
        cohort: u32::try_from(cohort(plan)).unwrap_or(u32::MAX),
        minimum_survivors: u32::try_from(plan.minimum_reports).unwrap_or(u32::MAX),
        colluders,
        max_participations: participations.unwrap_or(MAX_PARTICIPATIONS),
    };
    let (privacy, counting) = match participations {
        Some(_) => (DerivedPolicy::new(policy, parameters), Counting::Subjects),
        None => (DerivedPolicy::within_budget(policy, parameters), Counting::Rounds),
    };
    match privacy {
        Ok(privacy) => {
            Some((PrivacySettings { derived: Arc::new(privacy), counting }, step_deadline))
        }
        Err(error) => {
            section.mistake("policy", error.to_string());
            None
        }
    }
}

/// Most updates of a round: all that are invited together, or those at which a buffered round
/// closes.
fn cohort(plan: &RoundPlan) -> usize {
    match plan.mode {
        Mode::Synchronous => plan.invited,
        Mode::Buffered { .. } => plan.report_goal,
    }
}

/// The policies that buffered rounds cannot have.
fn check_mode(section: &Section<'_>, mechanism: Mechanism, mode: Mode) {
    let problem = match (mechanism, mode) {
        (Mechanism::Local, Mode::Buffered { .. }) => {
            "a round is debited before its clients are invited, and in buffered rounds they are \
             invited one by one; set task.round.mode = \"synchronous\", or policy = \"central\" \
             or \"distributed\""
        }
        (Mechanism::Distributed, Mode::Buffered { max_staleness: 0, .. }) => {
            "clients wait for each other while models are made, so a model may be newer than the \
             one that an update began with; set task.round.max_staleness to 1 or more"
        }
        _ => return,
    };
    section.mistake("policy", problem);
}

/// `None` for "none", or what is no policy.
fn mechanism(
    section: &Section<'_>,
    plan: &RoundPlan,
    participations: Option<u32>,
) -> Option<Mechanism> {
    let policy = section.required("policy", "none".to_owned(), value::text);
    let noise = section.optional("noise", value::text);
    if noise.is_some() && policy != "central" {
        section.mistake("noise", "only the policy \"central\" has a choice of noise");
    }
    let [band, separation] =
        ["band", "minimum_separation"].map(|key| section.optional(key, value::whole::<u32>(1)));
    if noise.as_deref() != Some("banded") {
        for (key, given) in [("band", band), ("minimum_separation", separation)] {
            if given.is_some() {
                section.mistake(key, "only noise = \"banded\" of the policy \"central\" has it");
            }
        }
    }
    match policy.as_str() {
        "distributed" => Some(Mechanism::Distributed),
        "local" => Some(Mechanism::Local),
        "central" => Some(Mechanism::Central(match noise.as_deref() {
            Some("independent") => CentralNoise::Independent,
            Some("tree") | None => {
                let (rounds, _) = over_rounds(section, plan, participations)?;
                CentralNoise::Tree { rounds }
            }
            Some("banded") => {
                let (rounds, participations) = over_rounds(section, plan, participations)?;
                let separation = separation.unwrap_or(1);
                if separation > 1 && plan.mode != Mode::Synchronous {
                    section.mistake("minimum_separation", NOT_BUFFERED);
                }
                let band = band.unwrap_or(BAND);
                CentralNoise::Banded(banded_noise(rounds, participations, separation, band))
            }
            Some(other) => {
                let known = "\"tree\", \"banded\" and \"independent\"";
                section.mistake("noise", format!("{other:?} is not known; there are {known}"));
                return None;
            }
        })),
        "none" => None,
        other => {
            let known = "\"distributed\", \"local\", \"central\" and \"none\"";
            section.mistake("policy", format!("{other:?} is not known; the policies are {known}"));
            None
        }
    }
}

/// Rounds of the task and of a subject, which noise that goes on from round to round needs.
fn over_rounds(
    section: &Section<'_>,
    plan: &RoundPlan,
    participations: Option<u32>,
) -> Option<(u32, u32)> {
    let rounds = plan.rounds.and_then(|rounds| u32::try_from(rounds).ok());
    if rounds.is_none() {
        let problem = "noise that goes on from round to round needs to know how many rounds there \
                       will be: set the task's rounds, or use noise = \"independent\"";
        section.mistake("noise", problem);
    }
    if participations.is_none() {
        let problem = "missing; noise that goes on from round to round pays off only if each \
                       subject takes part in few rounds. Say in how many, or use noise = \
                       \"independent\"";
        section.mistake("max_participations", problem);
    }
    Some((rounds?, participations?))
}
