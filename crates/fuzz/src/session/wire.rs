//! Messages that a server could send: of the right form, about a few rounds, at
//! any time.

use std::time::Duration;

use arbitrary::{Result, Unstructured};
use fedra_protocol::layers::Linear;
use fedra_protocol::{
    AdvertisedKeys, CentralNoise, CheckedIn, ClientEvaluation, EncryptedShare, KeyDirectory, Layer,
    LocalTraining, Loss, MaskedInputRequest, Mechanism, ModelRef, ModelSpec, Neighbour,
    PrivacyPolicy, Refusal, RefusalCode, RoundAssignment, RoundId, RoundPhase, RoundPrivacy,
    ServerMessage, Sha256Hash, Standby, StandbyCause, TaskDescription, TaskId, TaskStatus,
    UnmaskingRequest, UpdateFault, UpdateOutcome, UpdateRange, UpdateVerdict, Welcome,
};

use super::device::Device;

/// The largest chunk that these servers ask for.
pub const CHUNK: u32 = 5;

/// The task of a device's server.
pub fn task(input: &mut Unstructured<'_>) -> Result<TaskDescription> {
    let mechanism = match input.int_in_range(0..=4)? {
        0 => None,
        1 => Some(Mechanism::Local),
        2 => Some(Mechanism::Central(CentralNoise::Independent)),
        _ => Some(Mechanism::Distributed),
    };
    let model =
        ModelSpec::new(&[2], vec![Layer::Linear(Linear { outputs: 2 })], Loss::SoftmaxCrossEntropy)
            .expect("a small model");
    Ok(TaskDescription {
        id: TaskId::new("digits").expect("a valid id"),
        title: "Digits".into(),
        update_range: UpdateRange::default_for(model.loss()),
        data: None,
        client_evaluation: match input.arbitrary()? {
            true => ClientEvaluation::new(0.2, 2.0).ok(),
            false => None,
        },
        frozen: None,
        model,
        privacy: mechanism.map(policy),
    })
}

fn policy(mechanism: Mechanism) -> PrivacyPolicy {
    PrivacyPolicy {
        mechanism,
        noise_multiplier: 1.0,
        clipping_norm: 0.5,
        target_quantile: None,
        epsilon: 50.0,
        delta: 1e-5,
        cohort: 10,
        minimum_survivors: 8,
        colluders: 1,
        max_participations: 3,
    }
}

/// One of a few rounds.
pub fn round(input: &mut Unstructured<'_>) -> Result<RoundId> {
    Ok(RoundId { round: input.int_in_range(1..=3)?, attempt: input.int_in_range(0..=1)? })
}

/// Mostly the round that the device is in.
fn likely_round(input: &mut Unstructured<'_>, device: &Device) -> Result<RoundId> {
    let other = input.int_in_range(0..=3)? == 0;
    Ok(match device.round {
        Some(round) if !other => round,
        _ => round(input)?,
    })
}

/// Message that fits the device's state, or any message.
pub fn message(input: &mut Unstructured<'_>, device: &Device) -> Result<ServerMessage> {
    let round = likely_round(input, device)?;
    let deadline = Duration::from_millis(input.arbitrary::<u16>()?.into());
    Ok(match input.int_in_range(0..=16)? {
        0 => welcome(input)?,
        1 => checked_in(input, device)?,
        2 => ServerMessage::TaskStatus(Box::new(status(input)?)),
        3..=5 => ServerMessage::RoundAssignment(assignment(input, device, round, deadline)?),
        6..=7 => ServerMessage::UploadReady { round, offset: offset(input)? },
        8..=9 => outcome(input, round)?,
        10 => ServerMessage::KeyDirectory(directory(input, round, deadline)?),
        11 => {
            let shares = vec![EncryptedShare { peer: 1, ciphertext: vec![input.arbitrary()?] }];
            ServerMessage::MaskedInputRequest(MaskedInputRequest { round, shares, deadline })
        }
        12 => {
            let survivors = (0..input.int_in_range(0..=4)?).collect();
            ServerMessage::UnmaskingRequest(UnmaskingRequest { round, survivors, deadline })
        }
        13 => ServerMessage::Pong { nonce: input.arbitrary()? },
        14 => refusal(input)?,
        15 => ServerMessage::Standby(Standby {
            cause: StandbyCause::Declined,
            retry_after: deadline,
            message: "left out".into(),
        }),
        _ => ServerMessage::TaskStatus(Box::new(TaskStatus { round, ..status(input)? })),
    })
}

/// The server's first word.
pub fn welcome(input: &mut Unstructured<'_>) -> Result<ServerMessage> {
    Ok(ServerMessage::Welcome(Welcome {
        version: 1,
        session_id: "s".into(),
        heartbeat: Duration::from_millis(input.int_in_range(1..=30_000)?),
        max_chunk_bytes: input.int_in_range(1..=CHUNK)?,
    }))
}

/// The answer to a check-in; now and then the policy is another one.
pub fn checked_in(input: &mut Unstructured<'_>, device: &Device) -> Result<ServerMessage> {
    let task = match input.int_in_range(0..=15)? {
        15 => task(input)?,
        _ => device.task.clone(),
    };
    Ok(ServerMessage::CheckedIn(Box::new(CheckedIn { task, status: status(input)? })))
}

fn status(input: &mut Unstructured<'_>) -> Result<TaskStatus> {
    let phases = [
        RoundPhase::Selecting,
        RoundPhase::Collecting,
        RoundPhase::Sharing,
        RoundPhase::Masking,
        RoundPhase::Unmasking,
        RoundPhase::Finalizing,
        RoundPhase::Paused,
        RoundPhase::Finished,
    ];
    let round = round(input)?;
    Ok(TaskStatus {
        round,
        phase: *input.choose(&phases)?,
        clients_connected: 1,
        cohort: 1,
        reported: 0,
        left: 0,
        report_goal: 1,
        deadline: None,
        model: model(round),
        evaluation: None,
        client_evaluation: None,
        rounds_total: None,
        privacy_spent_epsilon: None,
    })
}

fn model(round: RoundId) -> ModelRef {
    ModelRef {
        round: round.round - 1,
        sha256: Sha256Hash::from_bytes([round.round as u8; 32]),
        url: "models/x".into(),
        bytes: 8,
    }
}

fn assignment(
    input: &mut Unstructured<'_>,
    device: &Device,
    round: RoundId,
    deadline: Duration,
) -> Result<RoundAssignment> {
    let fits = input.int_in_range(0..=15)? > 0;
    let private = device.task.privacy.is_some() == fits;
    Ok(RoundAssignment {
        round,
        model: model(round),
        training: LocalTraining::default(),
        deadline,
        max_staleness: input.int_in_range(0..=2)?,
        privacy: private.then_some(RoundPrivacy { clipping_norm: 0.25, rotation: [3; 32] }),
        codec: None,
        evaluates: input.ratio(1, 4)?,
        steps: Box::default(),
        drawn: None,
        control: None,
    })
}

fn offset(input: &mut Unstructured<'_>) -> Result<u64> {
    Ok(match input.arbitrary::<u8>()? {
        255 => input.arbitrary()?,
        0..=99 => 0,
        some => u64::from(some) % 16,
    })
}

fn outcome(input: &mut Unstructured<'_>, round: RoundId) -> Result<ServerMessage> {
    let faults = [
        UpdateFault::RoundOver,
        UpdateFault::NotInCohort,
        UpdateFault::Duplicate,
        UpdateFault::WrongOffset,
    ];
    let fault = *input.choose(&faults)?;
    let verdict = match input.int_in_range(0..=3)? {
        0 => UpdateVerdict::Rejected(fault),
        1 => UpdateVerdict::Discarded(fault),
        _ => UpdateVerdict::Accepted,
    };
    let message = String::new();
    Ok(ServerMessage::UpdateOutcome(UpdateOutcome { round, verdict, message }))
}

fn directory(
    input: &mut Unstructured<'_>,
    round: RoundId,
    deadline: Duration,
) -> Result<KeyDirectory> {
    let key: u8 = input.arbitrary()?;
    let keys = AdvertisedKeys { encryption: [key; 32], masking: [key.wrapping_add(1); 32] };
    let neighbours = vec![Neighbour { index: 1, keys }];
    Ok(KeyDirectory { round, own: 0, cohort: 2, threshold: 1, neighbours, deadline, group: None })
}

fn refusal(input: &mut Unstructured<'_>) -> Result<ServerMessage> {
    // Those that a client comes back from are the longer story.
    let codes = [
        RefusalCode::Overloaded,
        RefusalCode::ShuttingDown,
        RefusalCode::Timeout,
        RefusalCode::NotSelected,
        RefusalCode::Unauthorized,
        RefusalCode::Replaced,
        RefusalCode::MalformedMessage,
    ];
    let code = *input.choose(&codes)?;
    let wait = input.arbitrary::<Option<u32>>()?.map(|ms| Duration::from_millis(ms.into()));
    Ok(ServerMessage::Refusal(Refusal { code, message: "no".into(), retry_after: wait }))
}
