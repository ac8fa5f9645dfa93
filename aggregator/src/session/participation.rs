//! From the check-in on: status and invitations go out, the client's update
//! comes in.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use fedra_aggregation::{CheckedUpdate, UpdateError};
use fedra_protocol::{
    Availability, ClientMessage, KeyDirectory, LocalTraining, MaskedInputRequest, RefusalCode,
    RoundAssignment, RoundId, ServerMessage, UnmaskingRequest, UpdateBegin, UpdateChunk,
    UpdateFault, UpdateOutcome, UpdateVerdict,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, sleep_until};

use super::End;
use super::handshake::{Session, malformed, unexpected};
use super::socket::{Incoming, Socket, SocketError};
use super::upload::{Received as Chunked, Upload};
use crate::coordinator::{Command, Invitation, Order, Report, misplaced};
use crate::folding::{Contribution, Received, Request};
use crate::round::Stage;
use crate::server::Server;

/// What the client does in the round that it was last invited to.
enum Part {
    /// Is to send this; nothing has come yet.
    Working(Stage),
    /// Has announced an update and waits for room in the budget.
    Queued(UpdateBegin, Pin<Box<dyn Future<Output = OwnedSemaphorePermit> + Send>>),
    /// Sends its update.
    Sending(UpdateBegin, Upload, OwnedSemaphorePermit),
    /// What it sent has had its verdict. Under secure aggregation there may be
    /// more to ask for.
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
    NewOrder,
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
                changed = self.session.orders.changed() => match changed {
                    Ok(()) => Happening::NewOrder,
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
                Happening::NewOrder => self.ordered().await?,
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
            ClientMessage::AdvertiseKeys { round, keys } => {
                self.answer(round, Stage::Keys, Contribution::Keys(keys)).await
            }
            ClientMessage::ShareKeys { round, shares } => {
                self.answer(round, Stage::Shares, Contribution::Shares(shares)).await
            }
            ClientMessage::UnmaskingShares { round, self_masks, pairwise } => {
                let contribution = Contribution::UnmaskingShares { self_masks, pairwise };
                self.answer(round, Stage::UnmaskingShares, contribution).await
            }
            ClientMessage::UpdateBegin(begin) => self.begin(begin).await,
            ClientMessage::UpdateChunk(chunk) => self.chunk(&chunk).await,
        }
    }

    /// The coordinator has something for the client to do, or nothing more.
    async fn ordered(&mut self) -> Result<(), End> {
        let order = self.session.orders.borrow_and_update().clone();
        match order {
            Order::Rest => self.dismiss(None).await,
            Order::Invited(invitation) => {
                self.dismiss(Some(invitation.round)).await?;
                self.invited(invitation).await
            }
            Order::Asked { round, request, deadline } => {
                self.dismiss(Some(round)).await?;
                self.asked(round, &request, deadline).await
            }
            Order::Struck(round, fault) => {
                if self.part.as_ref().is_none_or(|(known, _)| *known != round) {
                    return Ok(());
                }
                self.part = Some((round, Part::Left));
                self.outcome(round, UpdateVerdict::Rejected(fault), "").await
            }
            Order::Replaced => {
                let message = "another connection of this device has taken part in this one's \
                               place; close the other one, or this one";
                Err(End::refuse(RefusalCode::Replaced, message))
            }
        }
    }

    /// Ends the client's part in a round that is not `current`.
    async fn dismiss(&mut self, current: Option<RoundId>) -> Result<(), End> {
        let Some((round, part)) = &mut self.part else { return Ok(()) };
        let round = *round;
        if current == Some(round) {
            return Ok(());
        }
        match std::mem::replace(part, Part::Dismissed) {
            Part::Queued(..) | Part::Sending(..) => {
                let verdict = UpdateVerdict::Discarded(UpdateFault::RoundOver);
                self.outcome(round, verdict, "").await
            }
            Part::Working(_) => Ok(()),
            judged => {
                self.part = Some((round, judged));
                Ok(())
            }
        }
    }

    async fn invited(&mut self, invitation: Invitation) -> Result<(), End> {
        let Invitation { round, model, deadline, privacy } = invitation;
        if self.part.as_ref().is_some_and(|(known, _)| *known == round) {
            return Ok(());
        }
        let first = self.session.task.config.plan.first_stage();
        self.part = Some((round, Part::Working(first)));
        let assignment = RoundAssignment {
            round,
            model,
            training: self.training(round),
            deadline: deadline.saturating_duration_since(Instant::now()),
            max_staleness: 0,
            privacy,
        };
        Ok(self.socket.send(&ServerMessage::RoundAssignment(assignment)).await?)
    }

    /// Secure aggregation goes on: the client is asked for the next thing.
    async fn asked(
        &mut self,
        round: RoundId,
        request: &Request,
        deadline: Instant,
    ) -> Result<(), End> {
        match &self.part {
            Some((known, Part::Judged)) if *known == round => {}
            // It has left after its last answer: nobody need wait for the next.
            Some((known, Part::Left)) if *known == round => {
                return self.tell(Command::Decline(self.session.client, round)).await;
            }
            _ => return Ok(()),
        }
        let deadline = deadline.saturating_duration_since(Instant::now());
        let (stage, message) = match request {
            Request::Shares(directory) => {
                let directory = KeyDirectory { deadline, ..directory.clone() };
                (Stage::Shares, ServerMessage::KeyDirectory(directory))
            }
            Request::MaskedInput(request) => {
                let request = MaskedInputRequest { deadline, ..request.clone() };
                (Stage::MaskedInput, ServerMessage::MaskedInputRequest(request))
            }
            Request::Unmasking(request) => {
                let request = UnmaskingRequest { deadline, ..request.clone() };
                (Stage::UnmaskingShares, ServerMessage::UnmaskingRequest(request))
            }
        };
        self.part = Some((round, Part::Working(stage)));
        self.settled = None;
        Ok(self.socket.send(&message).await?)
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
        let secure = self.session.task.config.plan.first_stage() == Stage::Keys;
        match &mut self.part {
            // What it has reported counts, unless secure aggregation needs it on.
            Some((_, Part::Judged)) if !secure => false,
            Some((round, part)) if !matches!(part, Part::Left | Part::Dismissed) => {
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
            Part::Working(Stage::Update | Stage::MaskedInput) => {
                let fault = self.fault_of(&begin);
                return match fault {
                    Some((fault, message)) => self.refuse(round, fault, &message).await,
                    None => self.queue(begin),
                };
            }
            Part::Working(_) => UpdateVerdict::Rejected(UpdateFault::WrongStep),
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
                    Ok(Chunked::Partly) => Ok(()),
                    Ok(Chunked::Whole(bytes)) => self.report(bytes).await,
                    Err(fault) => self.refuse(round, fault, "").await,
                }
            }
            Some((known, Part::Working(_) | Part::Queued(..))) if *known == round => {
                let message = "a chunk before UpdateBegin was answered by UploadReady";
                self.refuse(round, UpdateFault::WrongOffset, message).await
            }
            _ => self.misplaced(round).await,
        }
    }

    /// The update is complete: checks it and has the coordinator judge it.
    async fn report(&mut self, bytes: Bytes) -> Result<(), End> {
        let Some((round, part)) = self.part.take() else { return Ok(()) };
        let Part::Sending(begin, _, permit) = part else { return Ok(()) };
        let config = &self.session.task.config;
        let encoded = config.privacy.as_ref().is_some_and(|p| p.privacy.encoding().is_some());
        if encoded {
            let stage = if config.plan.first_stage() == Stage::Update {
                Stage::Update
            } else {
                Stage::MaskedInput
            };
            let contribution = Contribution::Encoded(Received { update: bytes, _permit: permit });
            return self.judge(round, stage, begin.examples, contribution).await;
        }
        let parameters = config.model.parameters();
        let checked =
            tokio::task::spawn_blocking(move || CheckedUpdate::parse(bytes, parameters)).await;
        let update = match checked {
            Ok(Ok(update)) => update,
            Ok(Err(error)) => {
                self.part = Some((round, Part::Working(Stage::Update)));
                return self.refuse(round, fault_of(error), &error.to_string()).await;
            }
            // Only when the server's runtime is shutting down.
            Err(_) => return Err(End::GoingAway),
        };
        let received = Received { update, _permit: permit };
        let contribution = Contribution::Update(received, begin.examples);
        self.judge(round, Stage::Update, begin.examples, contribution).await
    }

    /// An answer of secure aggregation that is not an upload.
    async fn answer(
        &mut self,
        round: RoundId,
        stage: Stage,
        contribution: Contribution,
    ) -> Result<(), End> {
        match &self.part {
            Some((known, Part::Working(expected))) if *known == round => {
                if *expected != stage {
                    return self.refuse(round, UpdateFault::WrongStep, "").await;
                }
                self.judge(round, stage, 1, contribution).await
            }
            // It has declined or paused, and this crossed with it.
            Some((known, Part::Left | Part::Dismissed)) if *known == round => Ok(()),
            Some((known, _)) if *known == round => {
                let verdict = UpdateVerdict::Rejected(UpdateFault::Duplicate);
                self.outcome(round, verdict, "").await
            }
            _ => self.misplaced(round).await,
        }
    }

    /// Has the coordinator judge what the client sent. An accepted answer that
    /// is not an update needs no word.
    async fn judge(
        &mut self,
        round: RoundId,
        stage: Stage,
        weight: u64,
        contribution: Contribution,
    ) -> Result<(), End> {
        self.part = Some((round, Part::Judged));
        let (sender, verdict) = oneshot::channel();
        let client = self.session.client;
        let report = Report { client, round, stage, weight, contribution, verdict: sender };
        self.tell(Command::Report(report)).await?;
        let verdict = verdict.await.map_err(|_| End::GoingAway)?;
        let is_update = matches!(stage, Stage::Update | Stage::MaskedInput);
        if verdict == UpdateVerdict::Accepted && !is_update {
            return Ok(());
        }
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
        UpdateFault::TooStale => "there are more newer models than the assignment allowed for",
        UpdateFault::InvalidKeys => "the keys are not ones that an honest client makes",
        UpdateFault::InvalidShares => "the shares are not the ones that were asked for",
        UpdateFault::WrongStep => "the round does not wait for this now",
    }
}
