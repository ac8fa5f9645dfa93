//! Errors of a store, with text that tells an operator what to do.

use std::path::PathBuf;

use fedra_protocol::TaskId;
use thiserror::Error;

/// Error of a store.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another process has the store.
    #[error(
        "the store {0} is in use by another process: a store has one server at a time. Stop the \
         other one first; a Deployment needs one replica and the strategy Recreate"
    )]
    InUse(PathBuf),
    /// The database cannot be opened as it is.
    #[error(
        "the store's database {path} is damaged or not Fedra's: {problem}. {kept} Put a backup of \
         the whole store in its place"
    )]
    Unreadable {
        /// The database file.
        path: PathBuf,
        /// In the database's words.
        problem: String,
        /// Sentence about the files that are left beside it.
        kept: String,
    },
    /// A later version has made the store.
    #[error(
        "the store's database {path} has format {format}, and this version knows {known} only; use \
         the version that made it"
    )]
    Format {
        /// The database file.
        path: PathBuf,
        /// The format it has.
        format: u64,
        /// The format this version knows.
        known: u64,
    },
    /// The database has failed, or has an entry that makes no sense.
    #[error("the store's database {path} has failed: {problem}")]
    Database {
        /// The database file.
        path: PathBuf,
        /// In the database's words.
        problem: String,
    },
    /// A file cannot be read or written.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// Action that was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A model's file is gone or not what was written.
    #[error("task {task}: the model of round {round} is damaged: {problem}")]
    Model {
        /// The task.
        task: TaskId,
        /// The model's round.
        round: u64,
        /// Problem with the file, and its place.
        problem: String,
    },
    /// The same of the newest model, without which the task cannot go on.
    #[error(
        "task {task}: the newest model, that of round {round}, is damaged: {problem}. {}",
        way_out(intact)
    )]
    NewestModel {
        /// The task.
        task: TaskId,
        /// The model's round.
        round: u64,
        /// Problem with the file, and its place.
        problem: String,
        /// Rounds whose model is as it was written, oldest first.
        intact: Vec<u64>,
    },
    /// The frozen tensors, without which no model of the task can be used.
    #[error(
        "task {task}: the frozen part of its model is damaged: {problem}. Put a backup of that \
         file in its place"
    )]
    Frozen {
        /// The task.
        task: TaskId,
        /// Problem with the file, and its place.
        problem: String,
    },
    /// The model of a round that was asked for is not kept.
    #[error(
        "task {task}: the model of round {round} is not kept; kept are those of {}",
        rounds(kept)
    )]
    NotKept {
        /// The task.
        task: TaskId,
        /// The round.
        round: u64,
        /// Rounds whose model is kept, oldest first.
        kept: Vec<u64>,
    },
    /// The task was made with another model.
    #[error(
        "task {0}: the store has this task with another model; \
         give the task another id, or the server another store"
    )]
    ModelChanged(TaskId),
    /// The task was made with another privacy policy.
    #[error(
        "task {0}: the store has this task with another privacy policy, and a promise that was \
         made is kept; give the task another id, or the server another store"
    )]
    PrivacyChanged(TaskId),
    /// The task is not in the store.
    #[error("task {0} is not in the store")]
    UnknownTask(TaskId),
    /// A task of this name is in the store.
    #[error("task {0}: the store has a task of this name; choose another")]
    TaskExists(TaskId),
    /// Another server leads the task.
    #[error(
        "task {task}: another server leads it, with number {leader}; this one, with number \
         {epoch}, writes nothing any more. A task has one server at a time: stop one of them"
    )]
    Fenced {
        /// The task.
        task: TaskId,
        /// Number of the leader that was to write.
        epoch: u64,
        /// Number of the leader.
        leader: u64,
    },
    /// Records of a task are missing.
    #[error("task {task} lacks {lacks} in the store; put back a backup of the whole store")]
    Incomplete {
        /// The task.
        task: TaskId,
        /// Missing records.
        lacks: &'static str,
    },
    /// A round that does not follow the last one.
    #[error("task {task}: round {round} does not follow round {last}")]
    OutOfOrder {
        /// The task.
        task: TaskId,
        /// The round that was to be added.
        round: u64,
        /// The last round in the store.
        last: u64,
    },
    /// A backup would overwrite something.
    #[error("{0} is not empty; a backup needs a folder of its own")]
    NotEmpty(PathBuf),
}

/// Remedies for a damaged newest model, for an operator.
fn way_out(intact: &[u64]) -> String {
    match intact.last() {
        None => "No other model of the task is intact. Put the file back from a backup, or give \
                 the task another id"
            .to_owned(),
        Some(newest) => format!(
            "Intact are the models of {}. Put the file back from a backup, or go on from round \
             {newest} with `fedra-aggregator store repair`, which takes the server's --config",
            rounds(intact)
        ),
    }
}

/// Maximum number of listed runs of rounds.
const LISTED: usize = 6;

/// List of rounds for people: `[3]` is "round 3", `[1, 2, 3, 7]` is "rounds 1 to 3, 7". Of many, the newest
/// are listed.
#[must_use]
pub fn rounds(rounds: &[u64]) -> String {
    if rounds.is_empty() {
        return "no round".to_owned();
    }
    let run = |run: &[u64]| match run {
        [one] => one.to_string(),
        [first, second] => format!("{first}, {second}"),
        [first, .., last] => format!("{first} to {last}"),
        [] => String::new(),
    };
    let runs: Vec<&[u64]> = rounds.chunk_by(|a, b| a + 1 == *b).collect();
    let (earlier, listed) = runs.split_at(runs.len().saturating_sub(LISTED));
    let listed: Vec<String> = listed.iter().copied().map(run).collect();
    let plural = if rounds.len() == 1 { "" } else { "s" };
    let earlier = match earlier.iter().copied().map(<[u64]>::len).sum::<usize>() {
        0 => String::new(),
        count => format!(" and {count} earlier"),
    };
    format!("round{plural} {}{earlier}", listed.join(", "))
}

#[cfg(test)]
mod tests {
    use super::rounds;

    #[test]
    fn rounds_are_listed_in_runs() {
        assert_eq!(rounds(&[]), "no round");
        assert_eq!(rounds(&[4]), "round 4");
        assert_eq!(rounds(&[0, 1, 5, 6, 7, 9]), "rounds 0, 1, 5 to 7, 9");
        let many: Vec<u64> = (0..100).step_by(10).chain(100..120).collect();
        assert_eq!(rounds(&many), "rounds 50, 60, 70, 80, 90, 100 to 119 and 5 earlier");
    }
}
