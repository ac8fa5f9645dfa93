//! The session's histories, told input by input.

mod handshake;
mod mail;
mod member;
mod secure;
mod uploads;

use bytes::Bytes;
use fedra_protocol::{
    DeclineCause, Mechanism, ModelRef, RoundPhase, StandbyCause, UpdateBegin, UpdateChunk,
    UpdateFault, UpdateVerdict,
};

use super::*;
use crate::fixtures::{
    BUFFERED, PLAN, R1, R2, announcement, checked, policy, private_settings, round, settings,
    subject, update_bytes, view,
};
use crate::messages::{Departure, Invitation, Mail, Order};
use crate::round::{RoundPlan, Stage};
use crate::settings::Counting;
use crate::status::NoMetrics;

/// Output in a form that can be compared.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "a test has a few of them")]
enum Act {
    Send(ServerMessage),
    /// An `UpdateOutcome`, without its sentence.
    Outcome(RoundId, UpdateVerdict),
    Admit(Option<SubjectId>, Availability),
    Join(Option<SubjectId>, Availability),
    Availability(Availability),
    Decline(RoundId, Option<DeclineCause>),
    Refuse(RoundId, UpdateFault),
    /// A report and its weight.
    Report(RoundId, Stage, u64),
    Check(Bytes),
    End(RefusalCode),
}

fn act(output: Output) -> Act {
    match output {
        Output::Send(ServerMessage::UpdateOutcome(outcome)) => {
            let good = outcome.verdict == UpdateVerdict::Accepted;
            assert_eq!(outcome.message.is_empty(), good, "a sentence says what is wrong");
            Act::Outcome(outcome.round, outcome.verdict)
        }
        Output::Send(message) => Act::Send(message),
        Output::Admit(CheckIn { subject, availability, .. }) => Act::Admit(subject, availability),
        Output::Tell(Command::Join(Join { connection, subject, availability })) => {
            assert_eq!(connection, CONNECTION);
            Act::Join(subject, availability)
        }
        Output::Tell(Command::Availability(CLIENT, availability)) => {
            Act::Availability(availability)
        }
        Output::Tell(Command::Decline(CLIENT, round, cause)) => Act::Decline(round, cause),
        Output::Tell(Command::Refuse(CLIENT, round, fault)) => Act::Refuse(round, fault),
        Output::Tell(Command::Report(report)) => {
            assert_eq!(report.client, CLIENT);
            Act::Report(report.round, report.stage, report.weight)
        }
        Output::Tell(command) => panic!("not a command of a session: {command:?}"),
        Output::Check(bytes, _) => Act::Check(bytes),
        Output::End(refusal) => {
            assert!(!refusal.message.is_empty());
            Act::End(refusal.code)
        }
    }
}

const CONNECTION: ConnectionId = ConnectionId(3);
const CLIENT: ClientId = ClientId(7);

const ACCEPTED: UpdateVerdict = UpdateVerdict::Accepted;
const LATE: UpdateVerdict = UpdateVerdict::Discarded(UpdateFault::RoundOver);
const TWICE: UpdateVerdict = UpdateVerdict::Rejected(UpdateFault::Duplicate);

const HEARTBEAT: Duration = Duration::from_secs(20);
const MAX_CHUNK_BYTES: u32 = 8;

/// A session with a clock that only the test moves.
struct Script {
    session: Session,
    settings: Arc<TaskSettings>,
    now: Time,
}

impl Script {
    /// A new connection to a task with this plan.
    fn greeting(plan: RoundPlan) -> Self {
        Self::to(Arc::new(settings(plan)))
    }

    fn to(settings: Arc<TaskSettings>) -> Self {
        // 2 bytes a second after 10 seconds.
        let pace = Pace::new(Duration::from_secs(10), 2);
        let shared =
            SessionSettings { heartbeat: HEARTBEAT, max_chunk_bytes: MAX_CHUNK_BYTES, pace };
        let session = Session::new("a".to_owned(), shared);
        Self { session, settings, now: Time(Duration::from_secs(100)) }
    }

    /// A client that waits to be admitted.
    fn admitting(settings: TaskSettings, subject: Option<SubjectId>, is: Availability) -> Self {
        let mut script = Self::to(Arc::new(settings));
        script.say(hello(&[PROTOCOL_VERSION]));
        let acts = script.say(check_in(subject, is));
        assert_eq!(acts, [Act::Admit(subject, is)]);
        script
    }

    /// A client that has joined a task without a policy.
    fn member() -> Self {
        Self::member_of(settings(PLAN))
    }

    fn member_of(settings: TaskSettings) -> Self {
        let (script, acts) = Self::resumed(settings, Participation::default());
        assert_eq!(acts, []);
        script
    }

    /// A member that has been invited into the first round.
    fn invited() -> Self {
        let mut script = Self::member();
        script.invite(R1);
        script
    }

    /// An invited member that has room for its update.
    fn sending(begin: &UpdateBegin) -> Self {
        let mut script = Self::invited();
        script.announce(begin);
        script.give_room();
        script
    }

    /// The client's next connection. `judged` is the verdict that was given meanwhile.
    fn reconnect(self, judged: Option<(RoundId, Stage, UpdateVerdict)>) -> (Self, Vec<Act>) {
        let Self { session, settings, now } = self;
        let (_, participation) = session.leave().expect("a member");
        let settings = Arc::unwrap_or_clone(settings);
        let (mut script, acts) = Self::resumed(settings, participation.detached(judged));
        script.now = now;
        (script, acts)
    }

    /// A member that goes on from this participation.
    fn resumed(settings: TaskSettings, participation: Participation) -> (Self, Vec<Act>) {
        let mut script = Self::admitting(settings, Some(subject(1)), Availability::Available);
        script.admit(Some(subject(1)));
        let acts = script.join(participation.attached(Availability::Available));
        (script, acts)
    }

    fn handle(&mut self, input: Input) -> Vec<Act> {
        self.session.handle(input, self.now).into_iter().map(act).collect()
    }

    fn say(&mut self, message: ClientMessage) -> Vec<Act> {
        self.handle(Input::Message(message))
    }

    fn admit(&mut self, subject: Option<SubjectId>) -> Vec<Act> {
        self.handle(Input::Admitted(Box::new(self.admitted(subject))))
    }

    fn admitted(&self, subject: Option<SubjectId>) -> Admitted {
        Admitted {
            connection: CONNECTION,
            subject,
            settings: Arc::clone(&self.settings),
            metrics: Arc::new(NoMetrics),
            view: Arc::new(view(&self.settings, R1, RoundPhase::Collecting)),
            now: self.now,
        }
    }

    fn join(&mut self, participation: Participation) -> Vec<Act> {
        self.handle(Input::Notice(Notice::Joined(CLIENT, Box::new(participation))))
    }

    fn order(&mut self, order: Order) -> Vec<Act> {
        self.handle(Input::Notice(Notice::Order(order)))
    }

    fn invite(&mut self, round: RoundId) -> Vec<Act> {
        let deadline = self.now + Duration::from_secs(60);
        let order = Order::Invited(Box::new(invitation(&self.settings, round, deadline)));
        self.order(order)
    }

    fn announce(&mut self, begin: &UpdateBegin) -> Vec<Act> {
        self.say(ClientMessage::UpdateBegin(begin.clone()))
    }

    fn give_room(&mut self) -> Vec<Act> {
        self.handle(Input::Room(Room::unlimited()))
    }

    /// Sends `data`, the part of the update at `offset`.
    fn chunk(&mut self, round: RoundId, offset: u64, data: &[u8]) -> Vec<Act> {
        let chunk = UpdateChunk::new(round, offset, Bytes::copy_from_slice(data));
        self.say(ClientMessage::UpdateChunk(chunk))
    }

    /// The update has been checked, and is sound or not.
    fn checked(&mut self, bytes: Bytes) -> Vec<Act> {
        let result = CheckedUpdate::parse(bytes, &self.settings.codec);
        self.handle(Input::Checked(result))
    }

    /// The verdict of the task's core on a report.
    fn verdict(&mut self, round: RoundId, verdict: UpdateVerdict) -> Vec<Act> {
        self.handle(Input::Notice(Notice::Verdict(round, verdict)))
    }

    fn decline(&mut self, round: RoundId, cause: Option<DeclineCause>) -> Vec<Act> {
        self.say(ClientMessage::Decline { round, reason: "no".to_owned(), cause })
    }

    fn set_availability(&mut self, availability: Availability) -> Vec<Act> {
        self.say(ClientMessage::SetAvailability(availability))
    }

    /// The task's view changes to this phase of this round.
    fn refresh(&mut self, round: RoundId, phase: RoundPhase) {
        let view = Arc::new(view(&self.settings, round, phase));
        self.session.refresh(&view);
    }
}

fn hello(versions: &[u32]) -> ClientMessage {
    ClientMessage::Hello(Hello { versions: versions.to_vec(), software: "test".to_owned() })
}

fn check_in(subject: Option<SubjectId>, availability: Availability) -> ClientMessage {
    let task = TaskId::new("small").expect("a valid id");
    ClientMessage::CheckIn {
        task,
        availability,
        subject,
        token: None,
        capabilities: Capabilities::all(),
    }
}

fn model_ref(settings: &TaskSettings) -> ModelRef {
    view(settings, R1, RoundPhase::Collecting).model
}

fn invitation(settings: &TaskSettings, round: RoundId, deadline: Time) -> Invitation {
    let (model, max_staleness) = (model_ref(settings), settings.plan.mode.max_staleness());
    Invitation {
        round,
        model,
        steps: Vec::new(),
        drawn: None,
        control: None,
        deadline,
        max_staleness,
        privacy: None,
    }
}

/// An update of the small task, and its announcement with weight 10.
fn update() -> (Bytes, UpdateBegin) {
    let bytes = update_bytes(&[0.5, -0.25, 1.0, 2.0]);
    let begin = announcement(R1, &bytes, 10);
    (bytes, begin)
}

fn ready(round: RoundId, offset: u64) -> Act {
    Act::Send(ServerMessage::UploadReady { round, offset })
}

fn rejected(fault: UpdateFault) -> UpdateVerdict {
    UpdateVerdict::Rejected(fault)
}

/// The only refusal among some outputs.
fn ended(outputs: Vec<Output>) -> Refusal {
    match <[Output; 1]>::try_from(outputs) {
        Ok([Output::End(refusal)]) => refusal,
        other => panic!("{other:?}"),
    }
}
