//! One of every message, with every field set.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;
use fedra_protocol::*;

pub const ROUND: RoundId = RoundId { round: 3, attempt: 1 };

pub fn model_ref() -> ModelRef {
    ModelRef {
        round: 2,
        sha256: Sha256Hash::from_bytes([0xab; 32]),
        url: "/v1/models/ab".into(),
        bytes: 800,
    }
}

pub fn every_layer() -> ModelSpec {
    let layers = vec![
        Layer::Conv2d { channels: 2, kernel: 3, stride: 1, padding: 1 },
        Layer::Relu,
        Layer::MaxPool2d { kernel: 2, stride: 2 },
        Layer::AvgPool2d { kernel: 2, stride: 2 },
        Layer::Flatten,
        Layer::LayerNorm { epsilon: 1e-5 },
        Layer::Tanh,
        Layer::Gelu,
        Layer::Sigmoid,
        Layer::Dropout { probability: 0.5 },
        Layer::Linear { outputs: 3 },
    ];
    ModelSpec::new(&[1, 8, 8], layers, Loss::MeanSquaredError).unwrap()
}

pub fn status() -> TaskStatus {
    TaskStatus {
        round: ROUND,
        phase: RoundPhase::Collecting,
        clients_connected: 12,
        cohort: 10,
        reported: 4,
        left: 1,
        report_goal: 8,
        deadline: Some(Duration::from_millis(2500)),
        model: model_ref(),
        evaluation: Some(Evaluation { round: 2, accuracy: Some(0.5), loss: 1.5 }),
        rounds_total: Some(10),
    }
}

pub fn training() -> LocalTraining {
    LocalTraining {
        epochs: 1,
        batch_size: 10,
        learning_rate: 0.5,
        momentum: 0.25,
        weight_decay: 0.125,
        seed: 7,
        max_examples: 100,
    }
}

pub fn client_messages() -> Vec<ClientMessage> {
    vec![
        ClientMessage::Hello(Hello { versions: vec![1, 2], software: "x/1".into() }),
        ClientMessage::CheckIn { task: TaskId::new("mnist").unwrap() },
        ClientMessage::SetAvailability(Availability::Available),
        ClientMessage::SetAvailability(Availability::Paused),
        ClientMessage::UpdateBegin(UpdateBegin { round: ROUND, bytes: 8, examples: 5, crc32: 9 }),
        ClientMessage::UpdateChunk(UpdateChunk::new(ROUND, 4, Bytes::from_static(&[1, 2, 3, 4]))),
        ClientMessage::Decline { round: ROUND, reason: "busy".into() },
        ClientMessage::Ping { nonce: 300 },
    ]
}

pub fn server_messages() -> Vec<ServerMessage> {
    let task = TaskDescription {
        id: TaskId::new("mnist").unwrap(),
        title: "Digits".into(),
        model: every_layer(),
    };
    let outcome = |verdict, message: &str| {
        ServerMessage::UpdateOutcome(UpdateOutcome {
            round: ROUND,
            verdict,
            message: message.into(),
        })
    };
    vec![
        ServerMessage::Welcome(Welcome {
            version: 1,
            session_id: "s1".into(),
            heartbeat: Duration::from_secs(20),
            max_chunk_bytes: 262_144,
        }),
        ServerMessage::Refusal(Refusal {
            code: RefusalCode::Overloaded,
            message: "full".into(),
            retry_after: Some(Duration::from_secs(1)),
        }),
        ServerMessage::CheckedIn(Box::new(CheckedIn { task, status: status() })),
        ServerMessage::TaskStatus(status()),
        ServerMessage::RoundAssignment(RoundAssignment {
            round: ROUND,
            model: model_ref(),
            training: training(),
            deadline: Duration::from_secs(60),
        }),
        ServerMessage::UploadReady { round: ROUND, offset: 4 },
        outcome(UpdateVerdict::Accepted, ""),
        outcome(UpdateVerdict::Rejected(UpdateFault::NotFinite), "a NaN at 3"),
        outcome(UpdateVerdict::Discarded(UpdateFault::RoundOver), "too late"),
        ServerMessage::Pong { nonce: 300 },
    ]
}
