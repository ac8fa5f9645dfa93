use fedra_protocol::{DeclineCause, RefusalCode};

use super::{Course, Failure};

const ALL: [Failure; 26] = [
    Failure::BadDataset,
    Failure::TrainingDiverged,
    Failure::OutOfRange,
    Failure::TrainingFailed,
    Failure::ModelUnavailable,
    Failure::ModelUnreadable,
    Failure::UpdateRejected,
    Failure::ParticipationNotKept,
    Failure::NoRandomness,
    Failure::PrivacyFailed,
    Failure::SecureAggregationFailed,
    Failure::NoServer,
    Failure::TokenFailed,
    Failure::UnsupportedTask,
    Failure::PrivacyRefused,
    Failure::Refused(RefusalCode::Unauthorized),
    Failure::Refused(RefusalCode::Replaced),
    Failure::Refused(RefusalCode::Overloaded),
    Failure::Refused(RefusalCode::Timeout),
    Failure::Refused(RefusalCode::ShuttingDown),
    Failure::Refused(RefusalCode::UnknownTask),
    Failure::Refused(RefusalCode::UnsupportedVersion),
    Failure::Refused(RefusalCode::UnsupportedClient),
    Failure::Refused(RefusalCode::MalformedMessage),
    Failure::Refused(RefusalCode::UnexpectedMessage),
    Failure::Refused(RefusalCode::MessageTooLarge),
];

/// Number of rows of a failure in [`ALL`]. Exhaustive, so that a new failure is not
/// forgotten there.
fn rows(failure: Failure) -> usize {
    match failure {
        Failure::BadDataset
        | Failure::TrainingDiverged
        | Failure::OutOfRange
        | Failure::TrainingFailed
        | Failure::ModelUnavailable
        | Failure::ModelUnreadable
        | Failure::UpdateRejected
        | Failure::ParticipationNotKept
        | Failure::NoRandomness
        | Failure::PrivacyFailed
        | Failure::SecureAggregationFailed
        | Failure::NoServer
        | Failure::TokenFailed
        | Failure::UnsupportedTask
        | Failure::PrivacyRefused => 1,
        Failure::Refused(code) => match code {
            RefusalCode::Unauthorized
            | RefusalCode::Replaced
            | RefusalCode::Overloaded
            | RefusalCode::Timeout
            | RefusalCode::ShuttingDown
            | RefusalCode::UnknownTask
            | RefusalCode::UnsupportedVersion
            | RefusalCode::UnsupportedClient
            | RefusalCode::MalformedMessage
            | RefusalCode::UnexpectedMessage
            | RefusalCode::MessageTooLarge => 1,
            // The client waits for its next turn: no failure.
            RefusalCode::NotSelected => 0,
        },
    }
}

fn course(failure: Failure) -> &'static str {
    match failure.course() {
        Course::UntilNewData => "until new data",
        Course::UntilNewModel => "until new data or a new model",
        Course::BackOff => "back-off",
        Course::BackOffIfTold => "back-off if the server names a time, else the end",
        Course::FreshToken => "back-off with a fresh token, three times, then the end",
        Course::End => "the end",
    }
}

fn cause(failure: Failure) -> &'static str {
    match failure.cause() {
        None => "",
        Some(DeclineCause::NotNow) => "not-now",
        Some(DeclineCause::BadDataset) => "bad-dataset",
        Some(DeclineCause::TrainingDiverged) => "training-diverged",
        Some(DeclineCause::TrainingFailed) => "training-failed",
        Some(DeclineCause::OutOfRange) => "out-of-range",
        Some(DeclineCause::ModelUnavailable) => "model-unavailable",
    }
}

#[test]
fn the_list_has_each_failure_once() {
    for failure in ALL {
        let listed = ALL.iter().filter(|other| **other == failure).count();
        assert_eq!(listed, rows(failure), "{failure:?}");
    }
}

#[test]
fn the_protocol_page_has_the_same_table() {
    let page = include_str!("../../../docs/PROTOCOL.md");
    let (_, section) = page.split_once("\n## A client's failures\n").expect("the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let row = |line: &str| {
        let cells = line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`'));
        let cells: Vec<_> = cells.map(str::to_owned).collect();
        [cells[0].clone(), cells[2].clone(), cells[3].clone()]
    };
    let written: Vec<_> = section.lines().filter(|line| line.starts_with("| `")).map(row).collect();
    let coded: Vec<_> = ALL
        .map(|failure| [failure.code(), course(failure), cause(failure)].map(str::to_owned))
        .to_vec();
    assert_eq!(written, coded);
}
