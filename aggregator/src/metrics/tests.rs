//! The manual's table and the dashboard name what there is, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use super::described::{DESCRIBED, Kind};
use super::*;
use fedra_protocol::Quality;

const MANUAL: &str = include_str!("../../../docs/OPERATIONS.md");
const DASHBOARD: &str = include_str!("../../../deploy/grafana/fedra.json");

/// Every metric and its type.
fn described() -> BTreeMap<&'static str, Kind> {
    let own = DESCRIBED.iter().map(|&(kind, name, _)| (name, kind));
    let process = process::DESCRIBED.iter().map(|&(name, kind, _)| {
        (name, if kind == "counter" { Kind::Counter } else { Kind::Gauge })
    });
    own.chain(process).collect()
}

fn is_metric(name: &str) -> bool {
    ["fedra_", "process_"].iter().any(|prefix| name.starts_with(prefix))
}

#[test]
fn the_manual_lists_every_metric_with_its_type_and_no_other() {
    let rows = MANUAL.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let listed: BTreeMap<String, String> = rows
        .filter(|(name, _)| is_metric(name))
        .map(|(name, rest)| (name.to_owned(), rest.split(" |").next().unwrap_or("").to_owned()))
        .collect();
    let expected: BTreeMap<String, String> = described()
        .into_iter()
        .map(|(name, kind)| (name.to_owned(), format!("{kind:?}").to_lowercase()))
        .collect();
    assert_eq!(listed, expected);
}

#[test]
fn names_follow_the_conventions() {
    for (name, kind) in described() {
        assert_eq!(name.ends_with("_total"), kind == Kind::Counter, "{name}");
        assert!(
            name.bytes().all(|byte| matches!(byte, b'_' | b'a'..=b'z' | b'0'..=b'9')),
            "{name}"
        );
        for unit in ["milliseconds", "minutes", "kilobytes", "megabytes", "percent"] {
            assert!(!name.contains(unit), "{name}");
        }
        let help = DESCRIBED.iter().find(|described| described.1 == name).map(|d| d.2);
        assert!(help.is_none_or(|help| !help.is_empty()), "{name}");
    }
}

/// The metrics in a query.
fn metrics_of(query: &str) -> impl Iterator<Item = &str> {
    query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| is_metric(word))
}

#[test]
fn the_dashboard_asks_only_for_what_there_is() {
    fn queries<'a>(value: &'a serde_json::Value, found: &mut Vec<&'a str>) {
        match value {
            serde_json::Value::Array(values) => values.iter().for_each(|v| queries(v, found)),
            serde_json::Value::Object(fields) => {
                for (key, value) in fields {
                    match value.as_str() {
                        Some(query) if key == "expr" || key == "query" => found.push(query),
                        _ => queries(value, found),
                    }
                }
            }
            _ => {}
        }
    }
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let mut found = Vec::new();
    queries(&dashboard, &mut found);
    assert!(found.len() > 20, "{found:?}");
    let described = described();
    for query in &found {
        for metric in metrics_of(query) {
            let parts = ["_bucket", "_sum", "_count"];
            let part = parts.iter().find_map(|part| metric.strip_suffix(part));
            let is_there = described.contains_key(metric)
                || part.is_some_and(|name| described.get(name) == Some(&Kind::Histogram));
            assert!(is_there, "{metric} in {query}");
        }
    }
    let asked: BTreeSet<&str> = found.iter().flat_map(|query| metrics_of(query)).collect();
    for metric in ["fedra_rounds_total", "fedra_updates_total", "process_resident_memory_bytes"] {
        assert!(asked.contains(metric), "{metric}");
    }
}

#[test]
fn the_alerts_ask_only_for_what_there_is() {
    let (_, alerts) = MANUAL.split_once("Worth an alert:").expect("the manual has alerts");
    let described = described();
    let queries = alerts.split('`').skip(1).step_by(2);
    let asked: BTreeSet<&str> = queries.flat_map(metrics_of).collect();
    assert!(asked.contains("fedra_failing_attempts") && asked.len() > 5, "{asked:?}");
    for metric in asked {
        assert!(described.contains_key(metric), "{metric}");
    }
}

fn progress(clients: usize, cohort: usize, reported: usize, left: usize) -> Progress {
    let round = fedra_protocol::RoundId { round: 3, attempt: 0 };
    let phase = RoundPhase::Collecting;
    Progress {
        round,
        phase,
        clients,
        cohort,
        reported,
        left,
        available: clients,
        left_out: 0,
        weight: 0,
        deadline: None,
    }
}

/// Everything that can be counted, once.
fn filled() -> (Metrics, TaskMeters) {
    let metrics = Metrics::new();
    let task = metrics.task(&TaskId::new("tiny").expect("valid"));
    metrics.connections.up();
    metrics.connections.up();
    metrics.connections.down();
    metrics.sessions.up();
    metrics.refused(RefusalCode::Timeout);
    metrics.session_ended(SessionEnd::GoingAway);
    metrics.denied("expired");
    metrics.admin_action(OperatorAction::Pause);
    metrics.set_aside(&TaskId::new("damaged").expect("valid"), true);
    task.abandoned(AbandonReason::TooFewReports);
    task.judged(UpdateVerdict::Accepted);
    task.judged(UpdateVerdict::Discarded(UpdateFault::RoundOver));
    task.invitation_failed(InvitationFailure::Declined(Some(
        fedra_protocol::DeclineCause::TrainingDiverged,
    )));
    task.invitation_failed(InvitationFailure::MissedDeadline);
    task.completed(3, Duration::from_millis(700));
    task.phase(RoundPhase::Collecting, Duration::from_millis(600));
    task.progress(&progress(9, 4, 2, 1), 2);
    task.standing(Standing::Paused);
    task.folded(1000, Duration::from_micros(700));
    let quality = Quality {
        loss: 0.5,
        accuracy: Some(0.75),
        top_5_accuracy: Some(0.875),
        macro_f1: Some(0.625),
        auc: Some(0.9375),
        perplexity: Some(4.0),
        bits_per_token: Some(2.0),
        mae: Some(0.25),
        rmse: Some(1.5),
        r2: Some(-0.5),
    };
    task.evaluated(&Evaluation { round: 3, quality });
    task.evaluated_by_clients(&Evaluation { round: 4, quality });
    (metrics, task)
}

#[test]
fn what_is_counted_is_shown() {
    let (metrics, _task) = filled();
    let text = metrics.render();
    for line in [
        "fedra_connections 1",
        "fedra_sessions 1",
        "fedra_refusals_total{code=\"timeout\"} 1",
        "fedra_session_ends_total{reason=\"going-away\"} 1",
        "fedra_denied_total{reason=\"expired\"} 1",
        "fedra_admin_actions_total{action=\"pause\"} 1",
        "fedra_rounds_total{task=\"tiny\",outcome=\"completed\",reason=\"\"} 1",
        "fedra_rounds_total{task=\"tiny\",outcome=\"abandoned\",reason=\"too_few_reports\"} 1",
        "fedra_updates_total{task=\"tiny\",verdict=\"discarded\",fault=\"round-over\"} 1",
        "fedra_invitations_failed_total{task=\"tiny\",kind=\"declined\",cause=\"training-diverged\"} 1",
        "fedra_invitations_failed_total{task=\"tiny\",kind=\"declined\",cause=\"bad-dataset\"} 0",
        "fedra_invitations_failed_total{task=\"tiny\",kind=\"missed-deadline\",cause=\"\"} 1",
        "fedra_failing_attempts{task=\"tiny\"} 2",
        "fedra_round{task=\"tiny\"} 3",
        "fedra_round_duration_seconds_bucket{task=\"tiny\",le=\"0.5\"} 0",
        "fedra_round_duration_seconds_bucket{task=\"tiny\",le=\"1\"} 1",
        "fedra_round_phase_duration_seconds_count{task=\"tiny\",phase=\"collecting\"} 1",
        "fedra_fold_duration_seconds_bucket{task=\"tiny\",le=\"0.001\"} 1",
        "fedra_folded_bytes_total{task=\"tiny\"} 1000",
        "fedra_clients{task=\"tiny\"} 9",
        "fedra_round_cohort{task=\"tiny\"} 4",
        "fedra_round_reported{task=\"tiny\"} 2",
        "fedra_round_left{task=\"tiny\"} 1",
        "fedra_task_standing{task=\"tiny\",standing=\"paused\"} 1",
        "fedra_task_standing{task=\"tiny\",standing=\"running\"} 0",
        "fedra_model_accuracy{task=\"tiny\"} 0.75",
        "fedra_model_top_5_accuracy{task=\"tiny\"} 0.875",
        "fedra_model_macro_f1{task=\"tiny\"} 0.625",
        "fedra_model_auc{task=\"tiny\"} 0.9375",
        "fedra_model_perplexity{task=\"tiny\"} 4",
        "fedra_model_bits_per_token{task=\"tiny\"} 2",
        "fedra_model_mae{task=\"tiny\"} 0.25",
        "fedra_model_rmse{task=\"tiny\"} 1.5",
        "fedra_model_r2{task=\"tiny\"} -0.5",
        "fedra_model_client_accuracy{task=\"tiny\"} 0.75",
        "fedra_model_client_bits_per_token{task=\"tiny\"} 2",
        "fedra_task_set_aside{task=\"damaged\"} 1",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
    }
    assert_eq!(metrics.connections.count(), 1);
}

#[test]
fn everything_shown_is_described_with_its_type_and_the_other_way_round() {
    let (metrics, _task) = filled();
    let text = metrics.render();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let shown: BTreeMap<&str, &str> = types.collect();
    for (name, kind) in &shown {
        let described = described().get(name).map(|kind| format!("{kind:?}").to_lowercase());
        assert_eq!(described.as_deref(), Some(*kind), "{name}");
    }
    for &(_, name, _) in DESCRIBED {
        assert!(shown.contains_key(name), "{name} is never counted");
    }
}

#[test]
fn an_unknown_accuracy_is_absent_and_not_zero() {
    let metrics = Metrics::new();
    let task = metrics.task(&TaskId::new("tiny").expect("valid"));
    task.evaluated(&Evaluation { round: 1, quality: Quality::of_loss(0.5) });
    let text = metrics.render();
    let loss = "fedra_model_loss{task=\"tiny\"} 0.5";
    assert!(text.lines().any(|shown| shown == loss), "{text}");
    assert!(!text.contains("fedra_model_accuracy{"), "{text}");
}
