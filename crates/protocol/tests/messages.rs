//! Golden bytes, round trips and rejections of every message.

mod common;

use bytes::Bytes;
use common::{client_messages, every_metric, server_messages, status};
use fedra_protocol::*;
use proptest::prelude::*;
use prost::Message;

/// One line a message: its bytes in hexadecimal, written down once. A change of
/// these lines is a change of the protocol.
const GOLDEN_CLIENT: &str = include_str!("golden/client.txt");
const GOLDEN_SERVER: &str = include_str!("golden/server.txt");

fn check_golden<'a>(golden: &str, encoded: impl Iterator<Item = (String, Bytes)> + 'a) {
    let lines: Vec<&str> = golden.lines().filter(|line| !line.starts_with('#')).collect();
    let encoded: Vec<String> =
        encoded.map(|(name, bytes)| format!("{name} {}", hex::encode(bytes))).collect();
    assert_eq!(encoded.join("\n"), lines.join("\n"));
}

#[test]
fn the_wire_form_is_what_it_was() {
    let name = |debug: String| debug.split([' ', '(']).next().unwrap_or_default().to_string();
    check_golden(
        GOLDEN_CLIENT,
        client_messages().into_iter().map(|m| (name(format!("{m:?}")), m.encode())),
    );
    check_golden(
        GOLDEN_SERVER,
        server_messages().into_iter().map(|m| (name(format!("{m:?}")), m.encode())),
    );
}

#[test]
fn every_message_survives_a_round_trip() {
    for message in client_messages() {
        assert_eq!(ClientMessage::decode(message.encode()), Ok(message));
    }
    for message in server_messages() {
        assert_eq!(ServerMessage::decode(message.encode()), Ok(message));
    }
}

#[test]
fn a_message_cut_short_is_never_mistaken_for_another_of_its_kind() {
    for message in client_messages() {
        let bytes = message.encode();
        for end in 0..bytes.len() {
            assert_ne!(
                ClientMessage::decode(bytes.slice(..end)),
                Ok(message.clone()),
                "cut at {end}"
            );
        }
    }
}

#[test]
fn every_refusal_code_and_fault_has_a_wire_value() {
    let codes = [
        RefusalCode::UnsupportedVersion,
        RefusalCode::MalformedMessage,
        RefusalCode::UnexpectedMessage,
        RefusalCode::MessageTooLarge,
        RefusalCode::UnknownTask,
        RefusalCode::Overloaded,
        RefusalCode::Timeout,
        RefusalCode::ShuttingDown,
    ];
    // 6 is reserved.
    for (number, code) in [1, 2, 3, 4, 5, 7, 8, 9].into_iter().zip(codes) {
        let refusal = Refusal { code, message: String::new(), retry_after: None };
        let message = ServerMessage::Refusal(refusal);
        assert_eq!(ServerMessage::decode(message.encode()), Ok(message));
        assert_eq!(code.close_code(), 4000 + number);
    }
    for (code, close) in [
        (RefusalCode::Replaced, 4050),
        (RefusalCode::NotSelected, 4051),
        (RefusalCode::Unauthorized, 4052),
        (RefusalCode::UnsupportedClient, 4053),
    ] {
        assert_eq!(code.close_code(), close);
    }
}

fn client(body: wire::client_message::Body) -> Result<ClientMessage, DecodeError> {
    ClientMessage::decode(wire::ClientMessage { body: Some(body) }.encode_to_vec().into())
}

fn server(body: wire::server_message::Body) -> Result<ServerMessage, DecodeError> {
    ServerMessage::decode(wire::ServerMessage { body: Some(body) }.encode_to_vec().into())
}

#[test]
fn what_a_client_may_not_say_is_refused_by_name() {
    use wire::client_message::Body;
    assert_eq!(
        ClientMessage::decode(Bytes::new()),
        Err(DecodeError::Unsupported { what: "the message" })
    );
    let huge = Bytes::from(vec![0; limits::MAX_MESSAGE_BYTES + 1]);
    assert!(matches!(ClientMessage::decode(huge), Err(DecodeError::TooLarge(_))));
    assert!(matches!(
        ClientMessage::decode(Bytes::from_static(&[0xff; 7])),
        Err(DecodeError::Protobuf(_))
    ));
    let hello = wire::Hello { versions: vec![1; 17], software: String::new() };
    assert!(matches!(
        client(Body::Hello(hello)),
        Err(DecodeError::OverLimit { field: "hello.versions", actual: 17, max: 16 })
    ));
    let software = "x".repeat(limits::MAX_TEXT_BYTES + 1);
    assert!(client(Body::Hello(wire::Hello { versions: vec![], software })).is_err());
    for task_id in ["", "Upper", "a b", "-a", "../x", &"a".repeat(65)] {
        let check_in = wire::CheckIn { task_id: task_id.to_string(), ..Default::default() };
        assert!(client(Body::CheckIn(check_in)).is_err(), "{task_id:?}");
    }
    let begin = wire::UpdateBegin { round: None, ..Default::default() };
    assert_eq!(client(Body::UpdateBegin(begin)), Err(DecodeError::Missing("round")));
    let round = Some(wire::RoundId { round: 1, attempt: 0 });
    let begin = wire::UpdateBegin { round, bytes: u64::MAX, ..Default::default() };
    assert!(client(Body::UpdateBegin(begin)).is_err());
    let data = vec![0; limits::MAX_CHUNK_BYTES + 1].into();
    let chunk = wire::UpdateChunk { round, offset: 0, data, crc32: 0 };
    assert!(client(Body::UpdateChunk(chunk)).is_err());
}

#[test]
fn what_a_server_may_not_say_is_refused_by_name() {
    use wire::server_message::Body;
    let mut good: wire::TaskStatus = status().into();
    good.evaluation = Some(every_metric().into());
    type Spoil = Box<dyn Fn(&mut wire::TaskStatus)>;
    let bad: Vec<(&str, Spoil)> = vec![
        ("phase", Box::new(|s| s.phase = 99)),
        ("no phase", Box::new(|s| s.phase = 0)),
        ("no model", Box::new(|s| s.model = None)),
        ("hash", Box::new(|s| s.model.as_mut().unwrap().sha256 = vec![1; 31].into())),
        ("foreign url", Box::new(|s| s.model.as_mut().unwrap().url = "http://x/".into())),
        ("other host", Box::new(|s| s.model.as_mut().unwrap().url = "//x/y".into())),
        ("from the root", Box::new(|s| s.model.as_mut().unwrap().url = "/models/x".into())),
        ("upwards", Box::new(|s| s.model.as_mut().unwrap().url = "models/../x".into())),
        ("accuracy", Box::new(|s| s.evaluation.as_mut().unwrap().accuracy = Some(1.5))),
        ("loss", Box::new(|s| s.evaluation.as_mut().unwrap().loss = f64::NAN)),
        ("top 5", Box::new(|s| s.evaluation.as_mut().unwrap().top_5_accuracy = Some(-0.1))),
        ("macro F1", Box::new(|s| s.evaluation.as_mut().unwrap().macro_f1 = Some(f64::NAN))),
        ("AUC", Box::new(|s| s.evaluation.as_mut().unwrap().auc = Some(1.01))),
        ("perplexity", Box::new(|s| s.evaluation.as_mut().unwrap().perplexity = Some(f64::NAN))),
        ("bits", Box::new(|s| s.evaluation.as_mut().unwrap().bits_per_token = Some(-1.0))),
        ("MAE", Box::new(|s| s.evaluation.as_mut().unwrap().mae = Some(f64::INFINITY))),
        ("RMSE", Box::new(|s| s.evaluation.as_mut().unwrap().rmse = Some(-1.0))),
        ("R2", Box::new(|s| s.evaluation.as_mut().unwrap().r2 = Some(1.5))),
    ];
    for (name, spoil) in bad {
        let mut status = good.clone();
        spoil(&mut status);
        assert!(server(Body::TaskStatus(status)).is_err(), "{name}");
    }
    let training: wire::LocalTraining = common::training().into();
    let spoiled = [
        wire::LocalTraining { epochs: 0, ..training },
        wire::LocalTraining { batch_size: 0, ..training },
        wire::LocalTraining { learning_rate: f32::NAN, ..training },
        wire::LocalTraining { learning_rate: -0.1, ..training },
        wire::LocalTraining { momentum: 1.0, ..training },
        wire::LocalTraining { weight_decay: -1.0, ..training },
    ];
    for training in spoiled {
        let assignment = wire::RoundAssignment {
            round: Some(common::ROUND.into()),
            model: Some(common::model_ref().into()),
            training: Some(training),
            deadline_ms: 1,
            max_staleness: 0,
            privacy: None,
            codec: None,
            evaluates: false,
            steps: Vec::new(),
            drawn: None,
            control: None,
        };
        assert!(matches!(server(Body::RoundAssignment(assignment)), Err(DecodeError::Training(_))));
    }
}

#[test]
fn what_only_a_later_version_knows_is_told_apart_from_what_is_wrong() {
    use wire::server_message::Body;
    let unsupported = |body, what| {
        assert_eq!(server(body), Err(DecodeError::Unsupported { what }));
    };
    assert_eq!(
        ServerMessage::decode(Bytes::new()),
        Err(DecodeError::Unsupported { what: "the message" })
    );
    let assignment = |spoil: fn(&mut wire::RoundAssignment)| {
        let mut assignment = wire::RoundAssignment {
            round: Some(common::ROUND.into()),
            model: Some(common::model_ref().into()),
            training: Some(common::training().into()),
            deadline_ms: 1,
            max_staleness: 0,
            privacy: None,
            codec: None,
            evaluates: false,
            steps: Vec::new(),
            drawn: None,
            control: None,
        };
        spoil(&mut assignment);
        Body::RoundAssignment(assignment)
    };
    assert!(server(assignment(|_| {})).is_ok());
    let no_algorithm = assignment(|a| a.training.as_mut().unwrap().algorithm = None);
    unsupported(no_algorithm, "the training algorithm");
    let no_codec = assignment(|a| a.codec = Some(wire::Codec { kind: None }));
    unsupported(no_codec, "the codec of the update");
    for parts_per_million in [0, limits::MAX_SENT_SHARE + 1] {
        let share = wire::SentShare { parts_per_million };
        let codec = Some(wire::Codec { kind: Some(wire::codec::Kind::Topk(share)) });
        let mut spoilt = assignment(|_| {});
        if let Body::RoundAssignment(assignment) = &mut spoilt {
            assignment.codec = codec;
        }
        let error = server(spoilt).unwrap_err();
        let expected = format!("1 to 500000 parts per million; it is {parts_per_million}");
        assert!(error.to_string().ends_with(&expected), "{error}");
    }
    let checked_in = |spoil: fn(&mut wire::TaskDescription)| {
        let mut task = wire::TaskDescription {
            id: "mnist".into(),
            title: String::new(),
            model: Some(common::every_layer().into()),
            update_range: 64,
            data: None,
            client_evaluation: None,
            frozen: None,
            privacy: Some(common::policy(Mechanism::Local).into()),
        };
        spoil(&mut task);
        Body::CheckedIn(wire::CheckedIn { task: Some(task), status: Some(status().into()) })
    };
    assert!(server(checked_in(|_| {})).is_ok());
    let layer = checked_in(|task| task.model.as_mut().unwrap().layers[1].kind = None);
    unsupported(layer, "a layer of the model");
    let loss = checked_in(|task| task.model.as_mut().unwrap().loss = 99);
    unsupported(loss, "the model's loss");
    let mechanism = checked_in(|task| task.privacy.as_mut().unwrap().mechanism = None);
    unsupported(mechanism, "the privacy mechanism");
    let refusal = wire::Refusal { code: 99, ..Default::default() };
    unsupported(Body::Refusal(refusal), "the code of a refusal");
}

#[test]
fn steps_in_a_codec_of_a_later_version_are_left_out_and_damaged_ones_are_not_taken() {
    let step = |codec| wire::ModelStep {
        base_sha256: vec![1; 32].into(),
        file: Some(common::model_ref().into()),
        codec,
    };
    let decoded = |steps| {
        let assignment = wire::RoundAssignment {
            round: Some(common::ROUND.into()),
            model: Some(common::model_ref().into()),
            training: Some(common::training().into()),
            steps,
            ..Default::default()
        };
        match server(wire::server_message::Body::RoundAssignment(assignment)) {
            Ok(ServerMessage::RoundAssignment(assignment)) => Ok(assignment.steps.len()),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        }
    };
    let known = || step(Some(CodecName::Eden1.into()));
    assert_eq!(decoded(vec![known(); limits::MAX_MODEL_STEPS]), Ok(limits::MAX_MODEL_STEPS));
    assert_eq!(decoded(vec![known(), step(Some(wire::Codec { kind: None }))]), Ok(0));
    assert!(decoded(vec![known(); limits::MAX_MODEL_STEPS + 1]).is_err());
    assert!(decoded(vec![step(None)]).is_err());
    assert!(decoded(vec![wire::ModelStep { file: None, ..known() }]).is_err());
    let short = wire::ModelStep { base_sha256: vec![1; 31].into(), ..known() };
    assert!(decoded(vec![short]).is_err());
}

#[test]
fn a_client_takes_the_steps_from_its_model_if_they_are_shorter_than_the_model() {
    let assignment = server_messages().into_iter().rev().find_map(|message| match message {
        ServerMessage::RoundAssignment(assignment) if !assignment.steps.is_empty() => {
            Some(assignment)
        }
        _ => None,
    });
    let mut assignment = assignment.unwrap();
    let model = |number| Sha256Hash::from_bytes([number; 32]);
    let from = |assignment: &RoundAssignment, base| {
        let steps = assignment.steps_from(&model(base));
        steps.map(|(steps, bytes)| (steps.len(), bytes))
    };
    assignment.steps.iter_mut().for_each(|step| step.file.bytes = 300);
    assert_eq!(from(&assignment, 0), Some((2, 600)));
    assert_eq!(from(&assignment, 1), Some((1, 300)));
    assert_eq!(from(&assignment, 2), None, "another model");
    assignment.model.bytes = 600;
    assert_eq!((from(&assignment, 0), from(&assignment, 1)), (None, Some((1, 300))));
    assignment.steps[1].file.bytes = u64::MAX;
    assert_eq!((from(&assignment, 0), from(&assignment, 1)), (None, None));
}

#[test]
fn a_check_in_that_names_no_capabilities_has_those_of_the_first_version() {
    use wire::client_message::Body;
    let check_in = |capabilities| wire::CheckIn {
        task_id: "mnist".into(),
        capabilities,
        ..Default::default()
    };
    let decoded = |wire| match client(Body::CheckIn(check_in(wire))) {
        Ok(ClientMessage::CheckIn { capabilities, .. }) => Ok(capabilities),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error),
    };
    let needed =
        Capabilities::needed(&common::every_layer(), &common::training(), CodecName::F16, None);
    assert_eq!(decoded(None), Ok(Capabilities::version_1()));
    let newer = Some("the codec f16".to_owned());
    assert_eq!(Capabilities::version_1().missing(&needed), newer);
    assert_eq!(Capabilities::all().missing(&needed), None);
    assert_eq!(Capabilities::all().missing(&Capabilities::version_1()), None);
    // Empty lists are not the same as none.
    let nothing = decoded(Some(wire::Capabilities::default())).unwrap();
    let missing = nothing.missing(&needed).unwrap();
    assert!(missing.contains("the layer linear, the layer max_pool2d"), "{missing}");
    assert!(missing.ends_with("the training algorithm sgd, the codec f16"), "{missing}");
    assert_eq!(nothing.codecs, Capabilities::version_1().codecs, "the list is younger");
    let names = |count: usize, length: usize| wire::Capabilities {
        layers: vec!["x".repeat(length); count],
        ..Default::default()
    };
    assert!(decoded(Some(names(limits::MAX_CAPABILITIES, limits::MAX_CAPABILITY_BYTES))).is_ok());
    assert!(decoded(Some(names(limits::MAX_CAPABILITIES + 1, 1))).is_err());
    assert!(decoded(Some(names(1, limits::MAX_CAPABILITY_BYTES + 1))).is_err());
}

#[test]
fn every_codec_has_a_name_and_a_wire_form_of_its_own() {
    for codec in CodecName::ALL {
        assert_eq!(CodecName::named(codec.name()), Some(codec));
        let assignment = wire::RoundAssignment {
            round: Some(common::ROUND.into()),
            model: Some(common::model_ref().into()),
            training: Some(common::training().into()),
            codec: Some(codec.into()),
            ..Default::default()
        };
        match server(wire::server_message::Body::RoundAssignment(assignment)) {
            Ok(ServerMessage::RoundAssignment(read)) => assert_eq!(read.codec, Some(codec)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(CodecName::named("f8"), None);
}

#[test]
fn a_share_of_the_values_is_rounded_up() {
    let share = |parts| SentShare::new(parts).unwrap();
    for (parts, values, sent) in [
        (10_000, 0, 0),
        (10_000, 1, 1),
        (10_000, 100, 1),
        (10_000, 101, 2),
        (1, limits::MAX_PARAMETERS as usize, 68),
        (limits::MAX_SENT_SHARE, 1, 1),
        (limits::MAX_SENT_SHARE, 7, 4),
    ] {
        assert_eq!(share(parts).of(values), sent, "{parts} parts of {values}");
    }
    assert!(SentShare::new(0).is_err() && SentShare::new(limits::MAX_SENT_SHARE + 1).is_err());
    for codec in CodecName::ALL {
        let other = codec.with_share(share(7));
        assert_eq!(other.is_some(), codec.is_sparse());
        assert!(other.is_none_or(|other| other != codec && other.name() == codec.name()));
    }
}

#[test]
fn banded_noise_outside_its_ranges_is_refused_by_name() {
    let good = BandedNoise { rounds: 100, separation: 100, band: 64, exponent: 100 };
    let policy = |noise| common::policy(Mechanism::Central(CentralNoise::Banded(noise)));
    policy(good).validate().unwrap();
    for (name, bad) in [
        ("rounds", BandedNoise { rounds: 0, ..good }),
        ("rounds", BandedNoise { rounds: 1_000_001, ..good }),
        ("minimum_separation", BandedNoise { separation: 0, ..good }),
        ("minimum_separation", BandedNoise { separation: 101, ..good }),
        ("band", BandedNoise { band: 0, ..good }),
        ("band", BandedNoise { band: 65, ..good }),
        ("exponent", BandedNoise { exponent: 101, ..good }),
    ] {
        let problem = policy(bad).validate().unwrap_err().to_string();
        assert!(problem.starts_with(name), "{name}: {problem}");
    }
}

/// Stores of earlier versions hold the first two.
#[test]
fn noise_of_the_server_is_stored_in_one_form() {
    let banded = BandedNoise { rounds: 9, separation: 2, band: 3, exponent: 75 };
    for (noise, json) in [
        (CentralNoise::Independent, r#"{"central":{"tree_rounds":0}}"#),
        (CentralNoise::Tree { rounds: 7 }, r#"{"central":{"tree_rounds":7}}"#),
        (
            CentralNoise::Banded(banded),
            r#"{"central":{"tree_rounds":0,"banded":{"rounds":9,"separation":2,"band":3,"exponent":75}}}"#,
        ),
    ] {
        let mechanism = Mechanism::Central(noise);
        assert_eq!(serde_json::to_string(&mechanism).unwrap(), json);
        assert_eq!(serde_json::from_str::<Mechanism>(json).unwrap(), mechanism);
    }
}

#[test]
fn a_privacy_policy_outside_its_ranges_is_refused_by_name() {
    let good = common::policy(Mechanism::Distributed);
    good.validate().unwrap();
    type Spoil = fn(&mut PrivacyPolicy);
    let bad: [(&str, Spoil); 11] = [
        ("noise_multiplier", |p| p.noise_multiplier = 0.0),
        ("noise_multiplier", |p| p.noise_multiplier = f64::NAN),
        ("clipping_norm", |p| p.clipping_norm = -1.0),
        ("target_quantile", |p| p.target_quantile = Some(1.0)),
        ("epsilon", |p| p.epsilon = f64::INFINITY),
        ("delta", |p| p.delta = 0.0),
        ("delta", |p| p.delta = 1.0),
        ("cohort", |p| p.cohort = 0),
        ("minimum_survivors", |p| p.minimum_survivors = 101),
        ("colluders", |p| p.colluders = 80),
        ("max_participations", |p| p.max_participations = 0),
    ];
    for (name, spoil) in bad {
        let mut policy = good.clone();
        spoil(&mut policy);
        let problem = policy.validate().unwrap_err().to_string();
        assert!(problem.contains(name), "{name}: {problem}");
        let task = wire::TaskDescription {
            id: "mnist".into(),
            title: String::new(),
            model: Some(common::every_layer().into()),
            update_range: 64,
            data: None,
            client_evaluation: None,
            frozen: None,
            privacy: Some(policy.into()),
        };
        let checked_in = wire::CheckedIn { task: Some(task), status: Some(status().into()) };
        let decoded = server(wire::server_message::Body::CheckedIn(checked_in));
        assert!(matches!(decoded, Err(DecodeError::Privacy(_))), "{name}");
    }
}

#[test]
fn what_secure_aggregation_may_not_say_is_refused() {
    use wire::client_message::Body as C;
    use wire::server_message::Body as S;
    let round = || Some(common::ROUND.into());
    let key = |length| Bytes::from(vec![1; length]);
    let keys = wire::AdvertiseKeys { round: round(), encryption: key(32), masking: key(31) };
    assert!(client(C::AdvertiseKeys(keys)).is_err());
    let share = |length| wire::EncryptedShare { peer: 1, ciphertext: key(length) };
    let shares = vec![share(limits::MAX_CIPHERTEXT_BYTES + 1)];
    assert!(client(C::ShareKeys(wire::ShareKeys { round: round(), shares })).is_err());
    let shares = vec![share(1); limits::MAX_NEIGHBOURS + 1];
    assert!(client(C::ShareKeys(wire::ShareKeys { round: round(), shares })).is_err());
    let subject = Some(key(15));
    let check_in = wire::CheckIn { task_id: "mnist".into(), subject, ..Default::default() };
    assert!(client(C::CheckIn(check_in)).is_err());
    for survivors in [vec![2, 1], vec![1, 1]] {
        let request = wire::UnmaskingRequest { round: round(), survivors, deadline_ms: 1 };
        assert!(server(S::UnmaskingRequest(request)).is_err());
    }
}

#[test]
fn a_token_has_a_length_and_characters_that_can_be_seen() {
    let check_in = |token: &str| wire::CheckIn {
        task_id: "mnist".into(),
        token: Some(token.to_string()),
        ..Default::default()
    };
    let longest = "~".repeat(limits::MAX_TOKEN_BYTES);
    for good in ["!", "e30.e30.c2ln", &longest] {
        let message = client(wire::client_message::Body::CheckIn(check_in(good))).unwrap();
        let ClientMessage::CheckIn { token: Some(token), .. } = message else { panic!("{good}") };
        assert_eq!(token.as_str(), good);
    }
    for bad in ["", "a b", "a\n", "caf\u{e9}", "\u{7f}", &format!("{longest}~")] {
        let error = client(wire::client_message::Body::CheckIn(check_in(bad))).unwrap_err();
        let DecodeError::Invalid { field: "check_in.token", problem } = error else {
            panic!("{bad:?}: {error}")
        };
        assert!(bad.is_empty() || !problem.contains(bad), "{problem}");
    }
}

#[test]
fn nothing_prints_a_token() {
    let secret = "s3cr3t";
    let message = ClientMessage::CheckIn {
        task: TaskId::new("mnist").unwrap(),
        availability: Availability::Available,
        subject: None,
        token: Some(Token::new(secret).unwrap()),
        capabilities: Capabilities::version_1(),
    };
    let sent = wire::ClientMessage::from(message.clone());
    for shown in [format!("{message:?}"), format!("{message:#?}"), format!("{sent:?}")] {
        assert!(shown.contains("CheckIn") && shown.contains("mnist"), "{shown}");
        assert!(!shown.contains(secret), "{shown}");
    }
    let error = Token::new(format!("{secret} ")).unwrap_err();
    assert!(!format!("{error} {error:?}").contains(secret));
}

#[test]
fn a_chunk_has_the_checksum_of_its_bytes() {
    // The check value of CRC-32 (IEEE).
    let chunk = UpdateChunk::new(common::ROUND, 0, Bytes::from_static(b"123456789"));
    assert_eq!(chunk.crc32, 0xcbf4_3926);
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = ClientMessage::decode(bytes.clone().into());
        let _ = ServerMessage::decode(bytes.into());
    }

    #[test]
    fn no_flipped_bit_makes_a_decoder_panic(which in 0usize..client_messages().len() + server_messages().len(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let (clients, servers) = (client_messages(), server_messages());
        let mut bytes = if which < clients.len() {
            clients[which].encode().to_vec()
        } else {
            servers[which - clients.len()].encode().to_vec()
        };
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        // Whatever still decodes is valid, so it encodes and decodes again.
        if let Ok(message) = ClientMessage::decode(bytes.clone().into()) {
            prop_assert_eq!(ClientMessage::decode(message.encode()), Ok(message));
        }
        if let Ok(message) = ServerMessage::decode(bytes.into()) {
            prop_assert_eq!(ServerMessage::decode(message.encode()), Ok(message));
        }
    }

    #[test]
    fn updates_survive_with_any_numbers(round in any::<u64>(), attempt in any::<u32>(), bytes in 0..=limits::MAX_PARAMETERS * 4, examples in any::<u64>(), crc32 in any::<u32>()) {
        let round = RoundId { round, attempt };
        let message = ClientMessage::UpdateBegin(UpdateBegin { round, bytes, examples, crc32 });
        prop_assert_eq!(ClientMessage::decode(message.encode()), Ok(message));
    }
}
