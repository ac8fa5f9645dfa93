//! One task as the rest of the server sees it: its config, its newest view, and
//! the channel to its coordinator. It decides nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use fedra_protocol::{Evaluation, ModelRef, Sha256Hash, TaskDescription, TaskStatus};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::config::TaskConfig;
use crate::coordinator::{Command, Health, OperateError};
use crate::metrics::TaskMetrics;
use crate::round::{Operation, Progress, Standing, Time};
use crate::storage::RoundRecord;

/// Longer than any process lives.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Completed rounds that a task remembers in memory and shows over HTTP.
pub(crate) const HISTORY: usize = 1_000;

/// A task and the way to its coordinator.
pub(crate) struct Task {
    pub config: TaskConfig,
    pub commands: mpsc::Sender<Command>,
    pub view: watch::Receiver<Arc<TaskView>>,
    pub traffic: Traffic,
    pub metrics: TaskMetrics,
    /// Check-ins turned away because connections of their subject replace each
    /// other too often.
    pub contested: AtomicU64,
    /// From when on the task's time is counted.
    pub epoch: Instant,
    /// The epoch by the calendar.
    pub epoch_date: SystemTime,
}

impl Task {
    /// The time, as its coordinator and its sessions tell it.
    pub(crate) fn now(&self) -> Time {
        Time(self.epoch.elapsed())
    }

    /// The same moment by the calendar.
    pub(crate) fn date(&self, time: Time) -> SystemTime {
        self.epoch_date + time.0
    }

    /// The same moment by the system's clock.
    pub(crate) fn instant(&self, time: Time) -> Instant {
        // Saturates: a moment that far off never comes.
        self.epoch.checked_add(time.0).unwrap_or_else(|| self.epoch + FOREVER)
    }

    /// What the operator wants, durable when it returns.
    pub(crate) async fn operate(&self, operation: Operation) -> Result<Standing, OperateError> {
        self.ask(|answer| Command::Operate(operation, answer)).await?
    }

    /// Makes the model of an earlier round the newest, as a new round.
    pub(crate) async fn roll_back(&self, to: u64) -> Result<u64, OperateError> {
        self.ask(|answer| Command::RollBack(to, answer)).await?
    }

    /// Begins nothing new; returns when nothing is under way.
    pub(crate) async fn drain(&self) -> Result<(), OperateError> {
        self.ask(Command::Drain).await
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, OperateError> {
        let (answer, answered) = oneshot::channel();
        let sent = self.commands.send(command(answer)).await;
        sent.map_err(|_| OperateError::GoingAway)?;
        answered.await.map_err(|_| OperateError::GoingAway)
    }

    pub(crate) fn description(&self) -> TaskDescription {
        TaskDescription {
            id: self.config.id.clone(),
            title: self.config.title.clone(),
            model: self.config.model.clone(),
            update_range: self.config.update_range,
            privacy: self.config.policy().cloned(),
        }
    }

    /// Counts a message from a client.
    pub(crate) fn received(&self, bytes: usize) {
        self.traffic.up.fetch_add(bytes as u64, Ordering::Relaxed);
        self.metrics.received.increment(bytes as u64);
    }

    /// Counts a message or a model for a client.
    pub(crate) fn sent(&self, bytes: usize) {
        self.traffic.down.fetch_add(bytes as u64, Ordering::Relaxed);
        self.metrics.sent.increment(bytes as u64);
    }

    /// The task's status for a message that is sent now.
    pub(crate) fn status(&self, view: &TaskView, now: Time) -> TaskStatus {
        let Progress { round, phase, clients, cohort, reported, left, .. } = view.progress;
        TaskStatus {
            round,
            phase,
            clients_connected: narrow(clients),
            cohort: narrow(cohort),
            reported: narrow(reported),
            left: narrow(left),
            report_goal: narrow(self.config.plan.report_goal.min(cohort.max(1))),
            deadline: view.progress.deadline.map(|at| now.until(at)),
            model: view.model.clone(),
            evaluation: view.evaluation,
            rounds_total: self.config.plan.rounds,
            privacy_spent_epsilon: view.privacy.map(|spent| spent.epsilon),
        }
    }
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Where a task stands, as published by its coordinator.
#[derive(Debug, Clone)]
pub(crate) struct TaskView {
    pub progress: Progress,
    pub health: Health,
    /// The newest global model.
    pub model: ModelRef,
    /// The newest evaluation there is, of this model or an earlier one.
    pub evaluation: Option<Evaluation>,
    /// What the privacy budget has paid for, if there is one.
    pub privacy: Option<Spent>,
    /// The last completed rounds, oldest first; the initial model is round 0.
    pub history: Arc<VecDeque<RoundRecord>>,
}

/// The state of a task's privacy ledger.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spent {
    /// Epsilon of the subject that has spent most.
    pub epsilon: f64,
    /// Its participations.
    pub participations: u32,
    /// Entries of the ledger.
    pub debits: u32,
    /// Subjects in them.
    pub subjects: usize,
    /// Clipping norm of the next round.
    pub clipping_norm: f64,
}

/// Bytes since the last completed round.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    up: AtomicU64,
    down: AtomicU64,
}

impl Traffic {
    /// Bytes up and down since the last call.
    pub(crate) fn take(&self) -> (u64, u64) {
        (self.up.swap(0, Ordering::Relaxed), self.down.swap(0, Ordering::Relaxed))
    }

    /// Gives back what a round that did not complete had taken.
    pub(crate) fn give_back(&self, (up, down): (u64, u64)) {
        self.up.fetch_add(up, Ordering::Relaxed);
        self.down.fetch_add(down, Ordering::Relaxed);
    }
}

/// The model of a record as clients are told of it.
pub(crate) fn model_ref(record: &RoundRecord) -> ModelRef {
    ModelRef {
        round: record.round,
        sha256: record.sha256,
        url: model_url(&record.sha256),
        bytes: record.model_bytes,
    }
}

fn model_url(sha256: &Sha256Hash) -> String {
    format!("models/{sha256}")
}
