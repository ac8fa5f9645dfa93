//! Requests of operators: to pause, resume and stop a task, and to go back to an
//! earlier model. A request is refused at once or made durable first.

use fedra_protocol::Evaluation;

use super::Step;
use crate::messages::{OperateError, Reply, RequestId};
use crate::round::{Event, Operation, Standing};
use crate::writer::{GlobalModel, RollBackError, WriterJob};

impl Step<'_> {
    /// Has the operator's decision made durable, if it makes sense now.
    pub(super) fn operate(&mut self, operation: Operation, request: RequestId) {
        let standing = self.core.rounds.standing();
        let refusal = if self.core.is_draining {
            Some(OperateError::GoingAway)
        } else if self.core.operation.is_some() {
            Some(OperateError::Busy)
        } else if self.core.rounds.is_finished() && standing != Standing::Stopped {
            Some(OperateError::Finished)
        } else {
            let sensible = match (operation, standing) {
                (_, Standing::Stopped) => false,
                (Operation::Pause, standing) => standing == Standing::Running,
                (Operation::Resume, standing) => standing == Standing::Paused,
                (Operation::Stop, _) => true,
            };
            (!sensible).then_some(OperateError::WrongState(standing))
        };
        if let Some(refusal) = refusal {
            return self.reply(request, Reply::Operated(Err(refusal)));
        }
        self.core.operation = Some(request);
        self.write(WriterJob::Decide(operation));
    }

    pub(super) fn decided(&mut self, operation: Operation, done: Result<(), OperateError>) {
        if done.is_ok() {
            let task = &self.core.settings.id;
            tracing::info!(%task, ?operation, "the operator has decided");
            // In a server that stops, what is resumed begins after the next start.
            if !self.core.is_draining || operation != Operation::Resume {
                self.step(Event::Operated(operation));
            }
            self.core.metrics.standing(self.core.rounds.standing());
        }
        let standing = match operation {
            // The pause of a server that stops is not the operator's.
            Operation::Resume if done.is_ok() => Standing::Running,
            _ => self.core.rounds.standing(),
        };
        if let Some(request) = self.core.operation.take() {
            self.reply(request, Reply::Operated(done.map(|()| standing)));
        }
    }

    pub(super) fn roll_back(&mut self, to: u64, request: RequestId) {
        let standing = self.core.rounds.standing();
        let refusal = if standing == Standing::Stopped {
            Some(OperateError::WrongState(standing))
        } else if self.core.is_draining {
            Some(OperateError::GoingAway)
        } else {
            self.core.roll_back.is_some().then_some(OperateError::Busy)
        };
        if let Some(refusal) = refusal {
            return self.reply(request, Reply::RolledBack(Err(refusal)));
        }
        self.core.roll_back = Some(request);
        self.write(WriterJob::RollBack(to));
    }

    pub(super) fn rolled_back(&mut self, done: Result<GlobalModel, RollBackError>) {
        let done = done.map(|model| {
            let round = model.record.round;
            let (task, to) = (&self.core.settings.id, model.record.restored);
            tracing::info!(%task, round, to, "the operator has rolled the model back");
            self.go_back(model);
            round
        });
        if let Some(request) = self.core.roll_back.take() {
            self.reply(request, Reply::RolledBack(done.map_err(Into::into)));
        }
    }

    /// Goes on from an earlier model, which is durable as the newest.
    pub(super) fn go_back(&mut self, model: GlobalModel) {
        self.pass_over();
        let round = model.record.round;
        if let Some(quality) = model.record.quality {
            self.core.evaluation = Some(Evaluation { round, quality });
            self.core.confusion = None;
        }
        // For the matrix, which is not stored.
        self.evaluate(&model);
        self.announce(model);
        self.core.attempts.restart();
        self.step(Event::Restored(round));
    }
}
