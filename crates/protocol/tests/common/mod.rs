//! One of every message, with every field set.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::time::Duration;

use bytes::Bytes;
use fedra_protocol::layers::{
    AvgPool2d, Conv2d, Dropout, Flatten, Gelu, LayerNorm, Linear, MaxPool2d, Relu, Sigmoid, Tanh,
};
use fedra_protocol::*;

pub const ROUND: RoundId = RoundId { round: 3, attempt: 1 };

pub fn model_ref() -> ModelRef {
    ModelRef {
        round: 2,
        sha256: Sha256Hash::from_bytes([0xab; 32]),
        url: "models/ab".into(),
        bytes: 800,
    }
}

pub fn every_layer() -> ModelSpec {
    let layers = vec![
        Layer::Conv2d(Conv2d { channels: 2, kernel: 3, stride: 1, padding: 1 }),
        Layer::Relu(Relu),
        Layer::MaxPool2d(MaxPool2d { kernel: 2, stride: 2 }),
        Layer::AvgPool2d(AvgPool2d { kernel: 2, stride: 2 }),
        Layer::Flatten(Flatten),
        Layer::LayerNorm(LayerNorm { epsilon: 1e-5 }),
        Layer::Tanh(Tanh),
        Layer::Gelu(Gelu),
        Layer::Sigmoid(Sigmoid),
        Layer::Dropout(Dropout { probability: 0.5 }),
        Layer::Linear(Linear { outputs: 3 }),
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
        client_evaluation: None,
        evaluation: Some(Evaluation {
            round: 2,
            quality: Quality { accuracy: Some(0.5), ..Quality::of_loss(1.5) },
        }),
        rounds_total: Some(10),
        privacy_spent_epsilon: None,
    }
}

pub fn every_metric() -> Evaluation {
    let quality = Quality {
        loss: 1.5,
        accuracy: Some(0.5),
        top_5_accuracy: Some(0.75),
        macro_f1: Some(0.25),
        auc: Some(0.625),
        perplexity: Some(4.5),
        bits_per_token: Some(2.25),
        mae: Some(3.5),
        rmse: Some(5.5),
        r2: Some(-1.0),
    };
    Evaluation { round: 2, quality }
}

pub fn training() -> LocalTraining {
    let raw = RawLocalTraining {
        algorithm: ClientAlgorithm::Sgd,
        epochs: 1,
        batch_size: 10,
        learning_rate: 0.5,
        momentum: 0.25,
        weight_decay: 0.125,
        seed: 7,
        max_examples: 100,
        ..RawLocalTraining::default()
    };
    LocalTraining::new(raw).unwrap()
}

pub fn client_messages() -> Vec<ClientMessage> {
    vec![
        ClientMessage::Hello(Hello { versions: vec![1, 2], software: "x/1".into() }),
        ClientMessage::CheckIn {
            task: TaskId::new("mnist").unwrap(),
            availability: Availability::Available,
            subject: None,
            token: None,
            capabilities: Capabilities::version_1(),
        },
        ClientMessage::SetAvailability(Availability::Available),
        ClientMessage::SetAvailability(Availability::Paused),
        ClientMessage::UpdateBegin(UpdateBegin { round: ROUND, bytes: 8, examples: 5, crc32: 9 }),
        ClientMessage::UpdateChunk(UpdateChunk::new(ROUND, 4, Bytes::from_static(&[1, 2, 3, 4]))),
        ClientMessage::Decline { round: ROUND, reason: "busy".into(), cause: None },
        ClientMessage::Ping { nonce: 300 },
        ClientMessage::CheckIn {
            task: TaskId::new("mnist").unwrap(),
            availability: Availability::Available,
            subject: Some(SubjectId::from_bytes([0x5a; 16])),
            token: None,
            capabilities: Capabilities::version_1(),
        },
        ClientMessage::AdvertiseKeys { round: ROUND, keys: keys(1) },
        ClientMessage::ShareKeys { round: ROUND, shares: encrypted_shares() },
        ClientMessage::UnmaskingShares {
            round: ROUND,
            self_masks: vec![RevealedShare { peer: 2, share: [3; 32] }],
            pairwise: vec![RevealedShare { peer: 4, share: [5; 32] }],
        },
        ClientMessage::CheckIn {
            task: TaskId::new("mnist").unwrap(),
            availability: Availability::Paused,
            subject: None,
            token: Some(Token::new("e30.e30.c2ln").unwrap()),
            capabilities: Capabilities::version_1(),
        },
        ClientMessage::Decline {
            round: ROUND,
            reason: "diverged".into(),
            cause: Some(DeclineCause::TrainingDiverged),
        },
        ClientMessage::CheckIn {
            task: TaskId::new("mnist").unwrap(),
            availability: Availability::Available,
            subject: None,
            token: None,
            capabilities: Capabilities {
                layers: ["linear", "relu"].map(String::from).into(),
                algorithms: ["sgd"].map(String::from).into(),
                ..Capabilities::version_1()
            },
        },
        ClientMessage::CheckIn {
            task: TaskId::new("mnist").unwrap(),
            availability: Availability::Available,
            subject: None,
            token: None,
            capabilities: Capabilities {
                layers: ["linear"].map(String::from).into(),
                algorithms: ["sgd"].map(String::from).into(),
                codecs: ["f16", "f32"].map(String::from).into(),
                ..Capabilities::version_1()
            },
        },
        ClientMessage::CheckIn {
            task: TaskId::new("mnist").unwrap(),
            availability: Availability::Available,
            subject: None,
            token: None,
            capabilities: Capabilities {
                layers: ["linear"].map(String::from).into(),
                algorithms: ["sgd"].map(String::from).into(),
                losses: ["huber", "softmax_cross_entropy"].map(String::from).into(),
                ..Capabilities::version_1()
            },
        },
    ]
}

pub fn policy(mechanism: Mechanism) -> PrivacyPolicy {
    PrivacyPolicy {
        mechanism,
        noise_multiplier: 1.5,
        clipping_norm: 0.5,
        target_quantile: Some(0.75),
        epsilon: 8.0,
        delta: 0.25,
        cohort: 100,
        minimum_survivors: 80,
        colluders: 5,
        max_participations: 10,
    }
}

fn keys(first: u8) -> AdvertisedKeys {
    AdvertisedKeys { encryption: [first; 32], masking: [first + 1; 32] }
}

fn encrypted_shares() -> Vec<EncryptedShare> {
    vec![EncryptedShare { peer: 7, ciphertext: vec![1, 2, 3] }]
}

pub fn server_messages() -> Vec<ServerMessage> {
    let task = TaskDescription {
        id: TaskId::new("mnist").unwrap(),
        title: "Digits".into(),
        model: every_layer(),
        frozen: None,
        update_range: UpdateRange::new(64).unwrap(),
        data: None,
        client_evaluation: None,
        privacy: None,
    };
    let private = TaskDescription { privacy: Some(policy(Mechanism::Distributed)), ..task.clone() };
    let local = TaskDescription { privacy: Some(policy(Mechanism::Local)), ..task.clone() };
    let tree = Mechanism::Central(CentralNoise::Tree { rounds: 16 });
    let central = TaskDescription { privacy: Some(policy(tree)), ..task.clone() };
    let noise = BandedNoise { rounds: 300, separation: 20, band: 16, exponent: 64 };
    let banded = Mechanism::Central(CentralNoise::Banded(noise));
    let banded = TaskDescription { privacy: Some(policy(banded)), ..task.clone() };
    let evaluating = TaskDescription {
        client_evaluation: Some(ClientEvaluation::new(0.25, 4.0).unwrap()),
        ..task.clone()
    };
    let checked_in = |task| {
        let status =
            TaskStatus { phase: RoundPhase::Masking, privacy_spent_epsilon: Some(0.5), ..status() };
        ServerMessage::CheckedIn(Box::new(CheckedIn { task, status }))
    };
    let assignment = RoundAssignment {
        round: ROUND,
        model: model_ref(),
        training: training(),
        deadline: Duration::from_secs(60),
        max_staleness: 0,
        privacy: None,
        codec: None,
        evaluates: false,
        steps: Box::default(),
        drawn: None,
        control: None,
    };
    let sparse = RoundAssignment { codec: CodecName::named("topk"), ..assignment.clone() };
    let half = RoundAssignment { codec: Some(CodecName::F16), ..assignment.clone() };
    let step = |round, codec| ModelStep {
        base: Sha256Hash::from_bytes([round; 32]),
        file: ModelRef { round: u64::from(round) + 1, url: "steps/ab".into(), ..model_ref() },
        codec,
    };
    let steps = vec![step(0, CodecName::Int4), step(1, CodecName::named("stc").unwrap())];
    let stepwise = RoundAssignment { steps: steps.into(), ..assignment.clone() };
    let from_a_draw = RoundAssignment {
        drawn: Some(Box::new(DrawnModel {
            sha256: Sha256Hash::from_bytes([0; 32]),
            seed: 7,
            head: vec![1, 2].into(),
        })),
        ..stepwise.clone()
    };
    let buffered = RoundAssignment { max_staleness: 5, ..assignment.clone() };
    let trained_by = |raw| {
        let training = LocalTraining::new(raw).unwrap();
        ServerMessage::RoundAssignment(RoundAssignment { training, ..assignment.clone() })
    };
    let extended = [
        trained_by(RawLocalTraining {
            algorithm: ClientAlgorithm::Adam { beta1: 0.5, beta2: 0.75, epsilon: 0.125 },
            epochs: 0,
            steps: 300,
            time_limit: Some(Duration::from_secs(60)),
            momentum: 0.0,
            proximal: 0.25,
            clip_gradient_norm: Some(2.0),
            ..training().into()
        }),
        trained_by(RawLocalTraining { algorithm: ClientAlgorithm::Nesterov, ..training().into() }),
        trained_by(RawLocalTraining { proximal: 0.5, ..training().into() }),
    ];
    let scaffold = LocalTraining::new(RawLocalTraining {
        algorithm: ClientAlgorithm::Scaffold,
        epochs: 0,
        steps: 300,
        momentum: 0.0,
        ..training().into()
    });
    let corrected = RoundAssignment {
        training: scaffold.unwrap(),
        control: Some(Box::new(ModelRef { url: "models/cd".into(), ..model_ref() })),
        ..assignment.clone()
    };
    let deadline = Duration::from_secs(10);
    let round_privacy = RoundPrivacy { clipping_norm: 0.5, rotation: [9; 32] };
    let directory = KeyDirectory {
        round: ROUND,
        own: 1,
        cohort: 3,
        threshold: 2,
        neighbours: vec![
            Neighbour { index: 0, keys: keys(3) },
            Neighbour { index: 2, keys: keys(5) },
        ],
        deadline,
        group: None,
    };
    let outcome = |verdict, message: &str| {
        ServerMessage::UpdateOutcome(UpdateOutcome {
            round: ROUND,
            verdict,
            message: message.into(),
        })
    };
    let mut messages = vec![
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
        ServerMessage::TaskStatus(Box::new(status())),
        ServerMessage::RoundAssignment(assignment.clone()),
        ServerMessage::UploadReady { round: ROUND, offset: 4 },
        outcome(UpdateVerdict::Accepted, ""),
        outcome(UpdateVerdict::Rejected(UpdateFault::NotFinite), "a NaN at 3"),
        outcome(UpdateVerdict::Discarded(UpdateFault::RoundOver), "too late"),
        ServerMessage::Pong { nonce: 300 },
        checked_in(private),
        checked_in(local),
        checked_in(central),
        checked_in(evaluating),
        ServerMessage::RoundAssignment(RoundAssignment { evaluates: true, ..assignment.clone() }),
        ServerMessage::TaskStatus(Box::new(TaskStatus {
            client_evaluation: Some(Evaluation { round: 6, quality: Quality::of_loss(0.5) }),
            ..status()
        })),
        ServerMessage::RoundAssignment(RoundAssignment {
            privacy: Some(round_privacy),
            ..assignment
        }),
        ServerMessage::KeyDirectory(directory.clone()),
        ServerMessage::MaskedInputRequest(MaskedInputRequest {
            round: ROUND,
            shares: encrypted_shares(),
            deadline,
        }),
        ServerMessage::UnmaskingRequest(UnmaskingRequest {
            round: ROUND,
            survivors: vec![0, 2, 300],
            deadline,
        }),
        ServerMessage::Refusal(Refusal {
            code: RefusalCode::NotSelected,
            message: "enough".into(),
            retry_after: Some(Duration::from_secs(30)),
        }),
        ServerMessage::Refusal(Refusal {
            code: RefusalCode::Unauthorized,
            message: "expired".into(),
            retry_after: None,
        }),
        ServerMessage::TaskStatus(Box::new(TaskStatus { phase: RoundPhase::Paused, ..status() })),
        ServerMessage::RoundAssignment(buffered),
        outcome(UpdateVerdict::Discarded(UpdateFault::TooStale), "6 newer"),
        ServerMessage::Standby(Standby {
            cause: StandbyCause::MissedDeadline,
            retry_after: Duration::from_secs(30),
            message: "left out".into(),
        }),
        ServerMessage::Refusal(Refusal {
            code: RefusalCode::UnsupportedClient,
            message: "old".into(),
            retry_after: None,
        }),
        ServerMessage::RoundAssignment(half),
        ServerMessage::RoundAssignment(sparse),
        ServerMessage::TaskStatus(Box::new(TaskStatus {
            evaluation: Some(every_metric()),
            ..status()
        })),
    ];
    messages.extend(extended);
    messages.push(ServerMessage::RoundAssignment(stepwise));
    messages.push(ServerMessage::RoundAssignment(from_a_draw));
    messages.push(checked_in(banded));
    messages.push(ServerMessage::RoundAssignment(corrected));
    let round = RoundId { round: 4, attempt: 0 };
    let group = Some(MaskingGroup { round, privacy: round_privacy, weight: 0.5 });
    messages.push(ServerMessage::KeyDirectory(KeyDirectory { group, ..directory }));
    messages
}
