//! `[task.aggregation]`: the estimator of a round's mean update.

use fedra_aggregation::accumulator::{Estimator, Plain};
use fedra_coordinator::round::{Mode, RoundPlan};
use fedra_coordinator::settings::PrivacySettings;
use fedra_protocol::{Mechanism, UpdateRange};

use super::section::Section;
use super::value;

/// Names of the estimators.
const KNOWN: &str = "\"mean\", \"median\", \"trimmed_mean\", \"multi_krum\", \
                     \"geometric_median\", \"norm_bound\" and \"centred_clipping\"";

/// Parts of a task that an estimator has to fit.
pub(super) struct Fit<'a> {
    pub plan: &'a RoundPlan,
    pub parameters: usize,
    pub range: UpdateRange,
    pub round_memory: u64,
    pub privacy: Option<&'a PrivacySettings>,
}

/// The estimator; the mean if what is there cannot be used.
pub(super) fn read(section: Section<'_>, fit: &Fit<'_>) -> Estimator {
    let estimator = keys(&section);
    if let Some((key, problem)) = estimator.and_then(|estimator| misfit(estimator, fit)) {
        section.mistake(key, problem);
    }
    section.finish();
    estimator.unwrap_or_default()
}

/// Estimator in the table; `None` if a key that it needs is not there or cannot be read.
fn keys(section: &Section<'_>) -> Option<Estimator> {
    let name = section.or("estimator", "mean".to_owned(), value::text);
    let trim = section.optional("trim", value::whole(1));
    let byzantine = section.optional("byzantine", value::whole(1));
    let length = value::number("from 1e-6 to 1e6", |x| (1e-6..=1e6).contains(&x));
    let norm = section.optional("norm", length);
    let iterations = section.optional("iterations", value::whole(1));
    let used: &[&str] = match name.as_str() {
        "mean" | "median" => &[],
        "trimmed_mean" => &["trim"],
        "multi_krum" => &["byzantine"],
        "geometric_median" => &["iterations"],
        "norm_bound" => &["norm"],
        "centred_clipping" => &["norm", "iterations"],
        other => {
            let problem = format!("{other:?} is not known; the estimators are {KNOWN}");
            section.mistake("estimator", problem);
            return None;
        }
    };
    for key in ["trim", "byzantine", "norm", "iterations"] {
        let (is_given, is_used) = (section.peek(key).is_some(), used.contains(&key));
        if is_given && !is_used {
            let problem = format!("the estimator {name:?} has no use for it; leave the key out");
            section.mistake(key, problem);
        } else if is_used && !is_given && key != "iterations" {
            section.mistake(key, format!("missing; the estimator {name:?} needs it"));
        }
    }
    Some(match name.as_str() {
        "median" => Estimator::Median,
        "trimmed_mean" => Estimator::TrimmedMean { trim: trim? },
        "multi_krum" => Estimator::MultiKrum { byzantine: byzantine? },
        "geometric_median" => Estimator::GeometricMedian { iterations: iterations.unwrap_or(8) },
        "norm_bound" => Estimator::NormBound { norm: norm? },
        "centred_clipping" => {
            Estimator::CentredClipping { norm: norm?, iterations: iterations.unwrap_or(5) }
        }
        _ => Estimator::Mean,
    })
}

/// The first key at fault and the reason, if the estimator does not fit the task.
fn misfit(estimator: Estimator, fit: &Fit<'_>) -> Option<(&'static str, String)> {
    let refused = |problem: &str| Some(("estimator", problem.to_owned()));
    let mechanism = fit.privacy.map(|privacy| privacy.derived.policy().mechanism);
    match (mechanism, estimator) {
        (_, Estimator::Mean) => return None,
        (Some(Mechanism::Distributed), _) => {
            return refused(
                "under the policy \"distributed\" the server sees the sum alone, and no single \
                 update that it could judge; leave the key out, or the policy",
            );
        }
        (Some(Mechanism::Local), _) => {
            return refused(
                "under the policy \"local\" the server sees no update without its noise, which \
                 drowns what it could judge; leave the key out, or the policy",
            );
        }
        (Some(Mechanism::Central { .. }), Estimator::NormBound { .. }) => {
            return refused(
                "the policy \"central\" clips each update to its clipping_norm already; leave the \
                 key out",
            );
        }
        (Some(Mechanism::Central { .. }), _) => {
            return refused(
                "the noise of the policy \"central\" is made for a mean, which one update moves by \
                 its share of the clipping_norm; this estimator may move by more, and nothing \
                 would be promised. Leave the key out, or the policy",
            );
        }
        (None, _) => {}
    }
    if fit.plan.mode != Mode::Synchronous && estimator.holds_updates() {
        return refused(
            "this estimator compares the updates of a cohort that starts from one model; in \
             buffered rounds updates start from several, count less when they are stale, and a \
             fast client may be in a round twice. Use \"mean\" or \"norm_bound\", or \
             round.mode = \"synchronous\"",
        );
    }
    too_few(estimator, fit.plan).or_else(|| too_many(estimator, fit))
}

/// Fault of an estimator that needs more updates than the smallest round has.
fn too_few(estimator: Estimator, plan: &RoundPlan) -> Option<(&'static str, String)> {
    let (least, reports) = (estimator.least_updates(), plan.minimum_reports);
    if least <= reports as u64 {
        return None;
    }
    let (key, bound) = match estimator {
        Estimator::TrimmedMean { trim } => ("trim", format!("2 * {trim} + 1 = {least}")),
        Estimator::MultiKrum { byzantine } => {
            ("byzantine", format!("2 * {byzantine} + 3 = {least}"))
        }
        _ => ("estimator", least.to_string()),
    };
    let problem = format!(
        "a round needs at least {bound} updates, and round.minimum_reports is {reports}; lower the \
         key, or raise minimum_reports"
    );
    Some((key, problem))
}

/// Fault of an estimator that cannot hold the updates of the largest round.
fn too_many(estimator: Estimator, fit: &Fit<'_>) -> Option<(&'static str, String)> {
    let Fit { plan, parameters, range, round_memory, .. } = *fit;
    if !estimator.holds_updates() {
        return None;
    }
    let memory = |most| estimator.accumulator(Plain::new(parameters, range), most).bounds().memory;
    let most = plan.most_reports();
    let needed = memory(most);
    if needed <= round_memory {
        return None;
    }
    let room = (1..most).rev().find(|fewer| memory(*fewer) <= round_memory).unwrap_or(0);
    let key = if most == plan.report_goal { "report_goal" } else { "cohort_size" };
    let problem = format!(
        "it holds all updates of a round, and {most} of {parameters} parameters take {needed} \
         bytes, more than server.round_memory ({round_memory} bytes), which has room for {room}; \
         raise that, or lower round.{key}"
    );
    Some(("estimator", problem))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::tests::{PRIVATE, SMALL, mistakes};

    const ROUND: &str = "[task.round]\nminimum_reports = 8\n";

    fn task(keys: &str) -> String {
        format!("{SMALL}{ROUND}[task.aggregation]\n{keys}\n")
    }

    fn named(name: &str, keys: &str) -> String {
        task(&format!("estimator = {name:?}\n{keys}"))
    }

    fn estimator(toml: &str) -> Estimator {
        Config::from_toml(toml).expect("valid").tasks[0].settings.estimator
    }

    /// The names, each with the keys that it needs.
    const ROBUST: [(&str, &str); 6] = [
        ("median", ""),
        ("trimmed_mean", "trim = 2"),
        ("multi_krum", "byzantine = 2"),
        ("geometric_median", ""),
        ("norm_bound", "norm = 3"),
        ("centred_clipping", "norm = 3"),
    ];

    #[test]
    fn each_estimator_has_its_keys() {
        assert_eq!(estimator(SMALL), Estimator::Mean);
        assert_eq!(estimator(&task("")), Estimator::Mean);
        let expected = [
            Estimator::Median,
            Estimator::TrimmedMean { trim: 2 },
            Estimator::MultiKrum { byzantine: 2 },
            Estimator::GeometricMedian { iterations: 8 },
            Estimator::NormBound { norm: 3.0 },
            Estimator::CentredClipping { norm: 3.0, iterations: 5 },
        ];
        for ((name, keys), expected) in ROBUST.into_iter().zip(expected) {
            assert_eq!(estimator(&named(name, keys)), expected);
        }
        let keys = "norm = 0.5\niterations = 1";
        let centred = Estimator::CentredClipping { norm: 0.5, iterations: 1 };
        assert_eq!(estimator(&named("centred_clipping", keys)), centred);
    }

    #[test]
    fn mistakes_about_an_estimator_say_what_to_do() {
        let trim = "a round needs at least 2 * 4 + 1 = 9 updates, and round.minimum_reports is 8";
        let krum = "a round needs at least 2 * 3 + 3 = 9 updates, and round.minimum_reports is 8";
        let unused = |name: &str| format!("the estimator {name:?} has no use for it");
        for (name, keys, key, expected) in [
            ("mode", "", "estimator", format!("\"mode\" is not known; the estimators are {KNOWN}")),
            ("trimmed_mean", "", "trim", "missing; the estimator \"trimmed_mean\"".to_owned()),
            ("multi_krum", "", "byzantine", "missing; the estimator".to_owned()),
            ("centred_clipping", "", "norm", "missing; the estimator".to_owned()),
            ("trimmed_mean", "trim = 4", "trim", trim.to_owned()),
            ("multi_krum", "byzantine = 3", "byzantine", krum.to_owned()),
            ("mean", "trim = 1", "trim", unused("mean")),
            ("norm_bound", "norm = 1\niterations = 3", "iterations", unused("norm_bound")),
            ("norm_bound", "norm = 0", "norm", "must be from 1e-6 to 1e6; it is 0".to_owned()),
            ("trimmed_mean", "trim = 0", "trim", "must be a whole number of at least 1".to_owned()),
        ] {
            let found = mistakes(&named(name, keys));
            let expected = format!("task[tiny].aggregation.{key}: {expected}");
            assert!(found.len() == 1 && found[0].starts_with(&expected), "{found:?} {expected}");
        }
    }

    #[test]
    fn a_policy_leaves_the_mean_alone() {
        for (policy, reason) in [
            ("distributed", "under the policy \"distributed\" the server sees the sum alone"),
            ("local", "under the policy \"local\" the server sees no update without its noise"),
            ("central", "the noise of the policy \"central\" is made for a mean"),
        ] {
            let mut privacy = PRIVATE.replace("distributed", policy).replace("1.0", "20.0");
            if policy == "central" {
                privacy += "noise = \"independent\"\n";
            }
            assert_eq!(estimator(&format!("{}{privacy}", task(""))), Estimator::Mean);
            for (name, keys) in ROBUST {
                let found = mistakes(&format!("{}{privacy}", named(name, keys)));
                let reason = match (policy, name) {
                    ("central", "norm_bound") => "the policy \"central\" clips each update to its",
                    _ => reason,
                };
                let expected = format!("task[tiny].aggregation.estimator: {reason}");
                assert!(found.len() == 1 && found[0].starts_with(&expected), "{found:?}");
            }
        }
    }

    #[test]
    fn buffered_rounds_have_estimators_that_add_up() {
        for (name, keys) in ROBUST {
            let toml = named(name, keys).replace(ROUND, &format!("{ROUND}mode = \"buffered\"\n"));
            match name {
                "norm_bound" => assert_eq!(estimator(&toml), Estimator::NormBound { norm: 3.0 }),
                _ => {
                    let found = mistakes(&toml);
                    let expected = "task[tiny].aggregation.estimator: this estimator compares the";
                    assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?}");
                }
            }
        }
    }

    #[test]
    fn updates_that_are_held_fit_into_the_memory_of_a_round() {
        let server = |memory: &str| format!("[server]\nround_memory = {memory:?}\n");
        // 64 updates of 7850 values.
        let toml = named("median", "");
        let bytes = 64 * 7850 * 4;
        assert_eq!(
            estimator(&format!("{}{toml}", server(&format!("{bytes}B")))),
            Estimator::Median
        );
        let found = mistakes(&format!("{}{toml}", server(&format!("{}B", bytes - 1))));
        let expected = "task[tiny].aggregation.estimator: it holds all updates of a round, and 64 of \
                        7850 parameters take 2009600 bytes";
        assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?}");
        assert!(found[0].contains("room for 63") && found[0].ends_with("round.report_goal"));
    }
}
