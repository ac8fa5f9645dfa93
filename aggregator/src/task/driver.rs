//! Driver of a task's core: gives it commands and the time, and carries out its
//! actions.
//!
//! It waits for no client, disk or computation: writing, evaluating and serving happen
//! on threads of their own, and report back as commands.

use std::collections::HashMap;
use std::sync::{Arc, mpsc as thread_channel};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use fedra_coordinator::messages::{Action, Command, ConnectionId, Notice, Reply, RequestId};
use fedra_coordinator::status::TaskView;
use fedra_coordinator::task::TaskCore;
use fedra_coordinator::writer::{Writer, WriterEvent, WriterJob};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::{Mailbox, Message, Task};
use crate::evaluation::Evaluator;
use crate::metrics::TaskMeters;
use crate::models::Models;

/// Task's core with what carries out its actions.
pub(crate) struct TaskDriver {
    pub core: TaskCore,
    pub task: Arc<Task>,
    pub view: watch::Sender<Arc<TaskView>>,
    pub writer: WriterThread,
    pub evaluator: Arc<Evaluator>,
    pub models: Arc<Models>,
}

/// Recipients of what a core has to say.
#[derive(Default)]
struct Recipients {
    mailboxes: HashMap<ConnectionId, Arc<Mailbox>>,
    replies: HashMap<RequestId, oneshot::Sender<Reply>>,
    requests: u64,
}

impl Recipients {
    /// The command of a message, with its recipient noted.
    fn enter(&mut self, message: Message) -> Command {
        match message {
            Message::Command(command) => match *command {
                Command::Leave(mut leave) => {
                    let mailbox = self.mailboxes.remove(&leave.connection);
                    // A participation that its session has not handled goes back with it.
                    if let Some(given) = mailbox.and_then(|mailbox| mailbox.take_participation()) {
                        leave.participation = given;
                    }
                    Command::Leave(leave)
                }
                command => command,
            },
            Message::Join(join, mailbox) => {
                self.mailboxes.insert(join.connection, mailbox);
                Command::Join(join)
            }
            Message::Request(request, answer) => {
                self.requests += 1;
                let id = RequestId(self.requests);
                self.replies.insert(id, answer);
                request.command(id)
            }
        }
    }

    fn notify(&self, connection: ConnectionId, notice: Notice) {
        // A session that has ended needs no notice: its departure is on the way.
        if let Some(mailbox) = self.mailboxes.get(&connection) {
            mailbox.put(notice);
        }
    }

    fn reply(&mut self, request: RequestId, reply: Reply) {
        if let Some(answer) = self.replies.remove(&request) {
            // The operator may have hung up.
            let _ = answer.send(reply);
        }
    }
}

impl Drop for Recipients {
    fn drop(&mut self) {
        self.mailboxes.values().for_each(|mailbox| mailbox.close());
    }
}

impl TaskDriver {
    /// Runs until `shutdown`, or until all senders of messages are gone.
    pub(crate) async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Message>,
        shutdown: CancellationToken,
    ) {
        let mut rng = StdRng::seed_from_u64(rand::random());
        let mut recipients = Recipients::default();
        loop {
            let wake = self.core.wake_at().map(|time| self.task.instant(time));
            let timer = async {
                match wake {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let message = tokio::select! {
                () = shutdown.cancelled() => return,
                message = inbox.recv() => match message {
                    Some(message) => Some(message),
                    None => return,
                },
                () = timer => None,
            };
            let command = message.map(|message| recipients.enter(message));
            for action in self.core.handle(command, self.task.now(), &mut rng) {
                self.carry_out(action, &mut recipients);
            }
        }
    }

    fn carry_out(&self, action: Action, recipients: &mut Recipients) {
        let id = &self.task.settings.id;
        match action {
            Action::Write(job) => self.writer.send(*job),
            Action::Notify(connection, notice) => recipients.notify(connection, notice),
            Action::Publish(view) => {
                self.view.send_replace(view);
            }
            Action::Serve(sha256, file) => self.models.publish(id, sha256, file),
            Action::ServeStep(sha256, file) => self.models.publish_step(id, sha256, file),
            Action::ServeControl(sha256, file) => self.models.publish_control(id, sha256, file),
            Action::Evaluate(round, parameters) => {
                self.task.evaluate(&self.evaluator, round, parameters);
            }
            Action::Reply(request, reply) => recipients.reply(request, reply),
        }
    }
}

/// Thread of a task's writer. It ends when this is dropped.
pub(crate) struct WriterThread {
    jobs: thread_channel::Sender<WriterJob>,
}

impl WriterThread {
    /// Starts the thread; `tell` hears what came of the jobs.
    pub(crate) fn start(
        mut writer: Writer,
        name: String,
        metrics: Arc<TaskMeters>,
        tell: impl Fn(WriterEvent) + Send + 'static,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (jobs, inbox) = thread_channel::channel::<WriterJob>();
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            for job in inbox {
                let (bytes, start) = (job.folded_bytes(), Instant::now());
                let events = writer.work(job, unix_seconds(), &mut rand::rng());
                if bytes > 0 && events.is_empty() {
                    metrics.folded(bytes, start.elapsed());
                }
                events.into_iter().for_each(&tell);
            }
        })?;
        Ok((Self { jobs }, thread))
    }

    fn send(&self, job: WriterJob) {
        if self.jobs.send(job).is_err() {
            tracing::error!("the writer's thread is gone");
        }
    }
}

/// Seconds since 1970.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
