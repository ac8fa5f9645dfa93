//! From the check-in on: status and invitations go out, the client's update
//! comes in.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use fedra_aggregation::{CheckedUpdate, UpdateError};
use fedra_protocol::{
    Availability, ClientMessage, LocalTraining, RefusalCode, RoundAssignment, RoundId,
    ServerMessage, UpdateBegin, UpdateChunk, UpdateFault, UpdateOutcome, UpdateVerdict,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, sleep_until};

use super::End;
use super::handshake::{Session, malformed, unexpected};
use super::socket::{Incoming, Socket, SocketError};
use super::upload::{Received, Upload};
use crate::coordinator::{Command, Invitation, Report, misplaced};
use crate::folding::ReceivedUpdate;
use crate::server::Server;

/// What the client does in the round that it was last invited to.
enum Part {
    /// Trains; nothing has come yet.
    Working,
    /// Has announced an update and waits for room in the budget.
    Queued(UpdateBegin, Pin<Box<dyn Future<Output = OwnedSemaphorePermit> + Send>>),
    /// Sends its update.
    Sending(UpdateBegin, Upload, OwnedSemaphorePermit),
    /// Its update has had its verdict.
    Judged,
    /// It paused or declined.
    Left,
    /// The round went on without it.
    Dismissed,
}

struct Participation<'a, S> {
    socket: &'a mut Socket<S>,
    session: Session,
    server: &'a Server,
    /// The last invitation and what became of it.
    part: Option<(RoundId, Part)>,
    /// Chunks for this round are leftovers of an update that had its outcome.
    settled: Option<RoundId>,
    available: Availability,
}

/// What a session wakes up for.
enum Happening {
    Incoming(Result<Incoming, SocketError>),
    NewView,
    NewInvitation,
    Room(OwnedSemaphorePermit),
    Quiet,
}

/// Serves a checked-in client until there is a reason to stop.
pub(super) async fn run<S>(
    socket: &mut Socket<S>,
    session: Session,
    server: &Arc<Server>,
) -> Result<Infallible, End>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut participation = Participation {
        socket,
        session,
        server,
        part: None,
        settled: None,
        available: Availability::Available,
    };
    participation.run().await
}

impl<S> Participation<'_, S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    async fn run(&mut self) -> Result<Infallible, End> {
        let idle = self.server.config.idle_timeout;
        let mut view = self.session.task.view.clone();
        // Whatever was published since the check-in's answer is news.
        view.mark_changed();
        let mut heard = Instant::now();
        let mut pinged = false;
        loop {
            let quiet_at = heard + if pinged { idle } else { idle / 2 };
            let happening = tokio::select! {
                () = self.server.shutdown.cancelled() => return Err(End::GoingAway),
                incoming = self.socket.receive() => Happening::Incoming(incoming),
                changed = self.session.invitation.changed() => match changed {
                    Ok(()) => Happening::NewInvitation,
                    Err(_) => return Err(End::GoingAway),
                },
                changed = view.changed() => match changed {
                    Ok(()) => Happening::NewView,
                    Err(_) => return Err(End::GoingAway),
                },
                permit = room(&mut self.part) => Happening::Room(permit),
                () = sleep_until(quiet_at) => Happening::Quiet,
            };
            match happening {
                Happening::Incoming(incoming) => {
                    (heard, pinged) = (Instant::now(), false);
                    self.receive(incoming?).await?;
                }
                Happening::NewInvitation => self.invited().await?,
                Happening::NewView => {
                    let status = view.borrow_and_update().clone();
                    let status = self.session.task.status(&status);
                    self.socket.send(&ServerMessage::TaskStatus(status)).await?;
                }
                Happening::Room(permit) => self.start_upload(permit).await?,
                Happening::Quiet if pinged => {
                    let message = format!("nothing heard for {} s", idle.as_secs_f64());
                    return Err(End::refuse(RefusalCode::Timeout, message));
                }
                Happening::Quiet => {
                    self.socket.ping().await?;
                    pinged = true;
                }
            }
        }
    }

    async fn receive(&mut self, incoming: Incoming) -> Result<(), End> {
        let bytes = match incoming {
            Incoming::Message(bytes) => bytes,
            Incoming::Text => return Err(malformed("messages are binary")),
            Incoming::Control => return Ok(()),
        };
        match ClientMessage::decode(bytes).map_err(|error| malformed(&error.to_string()))? {
            ClientMessage::Hello(_) | ClientMessage::CheckIn { .. } => {
                Err(unexpected("this session has checked in already"))
            }
            ClientMessage::Ping { nonce } => {
                Ok(self.socket.send(&ServerMessage::Pong { nonce }).await?)
            }
            ClientMessage::SetAvailability(availability) => {
                self.set_availability(availability).await
            }
            ClientMessage::Decline { round, reason } => self.decline(round, &reason).await,
            ClientMessage::UpdateBegin(begin) => self.begin(begin).await,
            ClientMessage::UpdateChunk(chunk) => self.chunk(&chunk).await,
        }
    }

    /// The coordinator has invited the client, or withdrawn its invitation.
    async fn invited(&mut self) -> Result<(), End> {
        let invitation = self.session.invitation.borrow_and_update().clone();
        if let Some((round, part)) = &mut self.part
            && invitation.as_ref().is_none_or(|invitation| invitation.round != *round)
        {
            let round = *round;
            let old = std::mem::replace(part, Part::Dismissed);
            match old {
                Part::Queued(..) | Part::Sending(..) => {
                    let verdict = UpdateVerdict::Discarded(UpdateFault::RoundOver);
                    self.outcome(round, verdict, "").await?;
                }
                Part::Working => {}
                judged => self.part = Some((round, judged)),
            }
        }
        let Some(Invitation { round, model, deadline }) = invitation else { return Ok(()) };
        if self.part.as_ref().is_some_and(|(known, _)| *known == round) {
            return Ok(());
        }
        self.part = Some((round, Part::Working));
        let assignment = RoundAssignment {
            round,
            model,
            training: self.training(round),
            deadline: deadline.saturating_duration_since(Instant::now()),
        };
        Ok(self.socket.send(&ServerMessage::RoundAssignment(assignment)).await?)
    }

    /// The task's plan with this round's seed, the same for the whole cohort.
    fn training(&self, round: RoundId) -> LocalTraining {
        let config = &self.session.task.config;
        let spread = 0x9e37_79b9_7f4a_7c15_u64;
        let seed = config.seed.wrapping_add(round.round.wrapping_mul(spread));
        LocalTraining { seed, ..config.training.clone() }
    }

    async fn set_availability(&mut self, availability: Availability) -> Result<(), End> {
        if availability == self.available {
            return Ok(());
        }
        self.available = availability;
        if availability == Availability::Paused {
            self.leave_round();
        }
        self.tell(Command::Availability(self.session.client, availability)).await
    }

    async fn decline(&mut self, round: RoundId, reason: &str) -> Result<(), End> {
        if self.part.as_ref().is_none_or(|(known, _)| *known != round) || !self.leave_round() {
            return Ok(());
        }
        tracing::debug!(client = self.session.client.0, %round, reason, "declined");
        self.tell(Command::Decline(self.session.client, round)).await
    }

    /// Ends the client's part in its round, if it has not ended yet.
    fn leave_round(&mut self) -> bool {
        match &mut self.part {
            Some((round, part @ (Part::Working | Part::Queued(..) | Part::Sending(..)))) => {
                *part = Part::Left;
                self.settled = Some(*round);
                true
            }
            _ => false,
        }
    }

    async fn begin(&mut self, begin: UpdateBegin) -> Result<(), End> {
        let round = begin.round;
        let Some((known, part)) = &mut self.part else { return self.misplaced(round).await };
        if *known != round {
            return self.misplaced(round).await;
        }
        let verdict = match part {
            Part::Working => {
                let fault = self.fault_of(&begin);
                return match fault {
                    Some((fault, message)) => self.refuse(round, fault, &message).await,
                    None => self.queue(begin),
                };
            }
            Part::Queued(..) | Part::Sending(..) | Part::Judged => {
                UpdateVerdict::Rejected(UpdateFault::Duplicate)
            }
            Part::Left => UpdateVerdict::Rejected(UpdateFault::NotInCohort),
            Part::Dismissed => UpdateVerdict::Discarded(UpdateFault::RoundOver),
        };
        self.outcome(round, verdict, "").await
    }

    /// What is wrong with an announcement, found before a byte is allocated.
    fn fault_of(&self, begin: &UpdateBegin) -> Option<(UpdateFault, String)> {
        let config = &self.session.task.config;
        let expected = config.update_bytes() as u64;
        if begin.bytes != expected {
            let message = format!("{} bytes announced, the model needs {expected}", begin.bytes);
            return Some((UpdateFault::WrongLength, message));
        }
        let most = config.plan.max_weight;
        if !(1..=most).contains(&begin.examples) {
            let message = format!("{} examples, the task takes 1 to {most}", begin.examples);
            return Some((UpdateFault::WeightOutOfRange, message));
        }
        None
    }

    fn queue(&mut self, begin: UpdateBegin) -> Result<(), End> {
        let budget = Arc::clone(&self.server.budget);
        let share = Server::budget_share(begin.bytes);
        let room = Box::pin(async move {
            let permit = budget.acquire_many_owned(share).await;
            permit.expect("the budget's semaphore is never closed")
        });
        self.part = Some((begin.round, Part::Queued(begin, room)));
        Ok(())
    }

    async fn start_upload(&mut self, permit: OwnedSemaphorePermit) -> Result<(), End> {
        let Some((round, Part::Queued(begin, _))) = &self.part else { return Ok(()) };
        let (round, begin) = (*round, begin.clone());
        let upload = Upload::new(begin.clone());
        self.part = Some((round, Part::Sending(begin, upload, permit)));
        Ok(self.socket.send(&ServerMessage::UploadReady { round, offset: 0 }).await?)
    }

    async fn chunk(&mut self, chunk: &UpdateChunk) -> Result<(), End> {
        let round = chunk.round;
        if self.settled == Some(round) {
            return Ok(());
        }
        match &mut self.part {
            Some((known, Part::Sending(_, upload, _))) if *known == round => {
                match upload.take(chunk) {
                    Ok(Received::Partly) => Ok(()),
                    Ok(Received::Whole(bytes)) => self.report(bytes).await,
                    Err(fault) => self.refuse(round, fault, "").await,
                }
            }
            Some((known, Part::Working | Part::Queued(..))) if *known == round => {
                let message = "a chunk before UpdateBegin was answered by UploadReady";
                self.refuse(round, UpdateFault::WrongOffset, message).await
            }
            _ => self.misplaced(round).await,
        }
    }

    /// The update is complete: checks its values and has the coordinator judge it.
    async fn report(&mut self, bytes: Bytes) -> Result<(), End> {
        let Some((round, part)) = self.part.take() else { return Ok(()) };
        let Part::Sending(begin, _, permit) = part else { return Ok(()) };
        let parameters = self.session.task.config.model.parameters();
        let checked =
            tokio::task::spawn_blocking(move || CheckedUpdate::parse(bytes, parameters)).await;
        let update = match checked {
            Ok(Ok(update)) => update,
            Ok(Err(error)) => {
                self.part = Some((round, Part::Working));
                return self.refuse(round, fault_of(error), &error.to_string()).await;
            }
            // Only when the server's runtime is shutting down.
            Err(_) => return Err(End::GoingAway),
        };
        self.part = Some((round, Part::Judged));
        let (sender, verdict) = oneshot::channel();
        let report = Report {
            client: self.session.client,
            round,
            weight: begin.examples,
            update: ReceivedUpdate { update, _permit: permit },
            verdict: sender,
        };
        self.tell(Command::Report(report)).await?;
        let verdict = verdict.await.map_err(|_| End::GoingAway)?;
        self.outcome(round, verdict, "").await
    }

    /// Turns the client's update down and ends its part in the round.
    async fn refuse(
        &mut self,
        round: RoundId,
        fault: UpdateFault,
        message: &str,
    ) -> Result<(), End> {
        self.part = Some((round, Part::Judged));
        self.tell(Command::Refuse(self.session.client, round)).await?;
        self.outcome(round, UpdateVerdict::Rejected(fault), message).await
    }

    /// An update for a round that the client is not invited to.
    async fn misplaced(&mut self, round: RoundId) -> Result<(), End> {
        let verdict = misplaced(&self.session.task.view.borrow().progress, round);
        self.outcome(round, verdict, "").await
    }

    /// Tells the client what became of its update. Without a message of its own
    /// an outcome that is not good gets the fault's.
    async fn outcome(
        &mut self,
        round: RoundId,
        verdict: UpdateVerdict,
        message: &str,
    ) -> Result<(), End> {
        self.settled = Some(round);
        self.server.metrics.update(&self.session.task.metrics, verdict);
        let message = match verdict {
            UpdateVerdict::Rejected(fault) | UpdateVerdict::Discarded(fault)
                if message.is_empty() =>
            {
                sentence(fault).to_owned()
            }
            _ => message.to_owned(),
        };
        let outcome = UpdateOutcome { round, verdict, message };
        Ok(self.socket.send(&ServerMessage::UpdateOutcome(outcome)).await?)
    }

    async fn tell(&mut self, command: Command) -> Result<(), End> {
        self.session.task.commands.send(command).await.map_err(|_| End::GoingAway)
    }
}

/// Resolves when a queued update has room in the budget.
async fn room(part: &mut Option<(RoundId, Part)>) -> OwnedSemaphorePermit {
    match part {
        Some((_, Part::Queued(_, room))) => room.await,
        _ => pending().await,
    }
}

fn fault_of(error: UpdateError) -> UpdateFault {
    match error {
        UpdateError::WrongLength { .. } => UpdateFault::WrongLength,
        UpdateError::NotFinite { .. } => UpdateFault::NotFinite,
        UpdateError::OutOfRange { .. } => UpdateFault::OutOfRange,
    }
}

fn sentence(fault: UpdateFault) -> &'static str {
    match fault {
        UpdateFault::RoundOver => "the round closed before the update was complete",
        UpdateFault::UnknownRound => "there is no such round",
        UpdateFault::NotInCohort => "the client is not in the cohort of this round",
        UpdateFault::Duplicate => "the client's update for this round has been dealt with",
        UpdateFault::WrongLength => "the update has another length than announced",
        UpdateFault::WrongOffset => "the chunk does not continue where the last one ended",
        UpdateFault::ChecksumMismatch => "the bytes do not match their checksum",
        UpdateFault::NotFinite => "the update has a value that is not finite",
        UpdateFault::OutOfRange => "the update has a value that is too large",
        UpdateFault::WeightOutOfRange => "the weight is outside what the task takes",
    }
}
