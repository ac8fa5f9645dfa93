//! Plans of local training: their ranges, their wire form, and what a client has to know.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::time::Duration;

use fedra_protocol::limits::{MAX_EPOCHS, MAX_LOCAL_STEPS};
use fedra_protocol::*;
use prost::Message;
use wire::extended_training::Algorithm;
use wire::local_training::Algorithm::Extended;

fn plan(raw: RawLocalTraining) -> LocalTraining {
    LocalTraining::new(raw).unwrap()
}

fn sgd() -> RawLocalTraining {
    RawLocalTraining::default()
}

/// Adam for a number of steps, with every setting.
fn adam() -> RawLocalTraining {
    RawLocalTraining {
        algorithm: of(0.9, 0.99, 1e-8),
        epochs: 0,
        steps: 300,
        time_limit: Some(Duration::from_secs(60)),
        proximal: 0.25,
        clip_gradient_norm: Some(2.0),
        ..sgd()
    }
}

/// SCAFFOLD for a number of steps.
fn scaffold() -> RawLocalTraining {
    RawLocalTraining { algorithm: ClientAlgorithm::Scaffold, epochs: 0, steps: 20, ..sgd() }
}

/// A plan as a client decodes it, `change`d on the way.
fn received(
    raw: RawLocalTraining,
    change: impl FnOnce(&mut wire::LocalTraining),
) -> Result<LocalTraining, DecodeError> {
    let mut training: wire::LocalTraining = plan(raw).into();
    change(&mut training);
    let bytes = training.encode_to_vec();
    wire::LocalTraining::decode(&bytes[..]).unwrap().try_into()
}

#[test]
fn a_plan_outside_its_ranges_names_the_field() {
    let spoiled: [(RawLocalTraining, &str); 20] = [
        (RawLocalTraining { epochs: 0, ..sgd() }, "epochs"),
        (RawLocalTraining { epochs: MAX_EPOCHS + 1, ..sgd() }, "epochs"),
        (RawLocalTraining { steps: 1, ..sgd() }, "steps"),
        (RawLocalTraining { steps: MAX_LOCAL_STEPS + 1, epochs: 0, ..sgd() }, "steps"),
        (RawLocalTraining { time_limit: Some(Duration::ZERO), ..sgd() }, "time_limit"),
        (RawLocalTraining { time_limit: Some(Duration::MAX), ..sgd() }, "time_limit"),
        (RawLocalTraining { algorithm: ClientAlgorithm::Nesterov, ..sgd() }, "momentum"),
        (RawLocalTraining { momentum: 0.5, ..adam() }, "momentum"),
        (RawLocalTraining { algorithm: of(1.0, 0.5, 0.5), ..adam() }, "beta1"),
        (RawLocalTraining { algorithm: of(0.5, f32::NAN, 0.5), ..adam() }, "beta2"),
        (RawLocalTraining { algorithm: of(0.5, 0.5, 0.0), ..adam() }, "epsilon"),
        (RawLocalTraining { steps: 0, epochs: 1, ..scaffold() }, "steps"),
        (RawLocalTraining { time_limit: Some(Duration::from_secs(1)), ..scaffold() }, "time_limit"),
        (RawLocalTraining { momentum: 0.5, ..scaffold() }, "momentum"),
        (RawLocalTraining { proximal: 0.5, ..scaffold() }, "proximal"),
        (RawLocalTraining { proximal: -0.1, ..sgd() }, "proximal"),
        (RawLocalTraining { proximal: f32::INFINITY, ..sgd() }, "proximal"),
        (RawLocalTraining { clip_gradient_norm: Some(0.0), ..sgd() }, "clip_gradient_norm"),
        (RawLocalTraining { clip_gradient_norm: Some(f32::NAN), ..sgd() }, "clip_gradient_norm"),
        (
            RawLocalTraining { clip_gradient_norm: Some(f32::INFINITY), ..sgd() },
            "clip_gradient_norm",
        ),
    ];
    for (raw, field) in spoiled {
        let error = LocalTraining::new(raw.clone()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{field} ")), "{raw:?}: {error}");
    }
}

fn of(beta1: f32, beta2: f32, epsilon: f32) -> ClientAlgorithm {
    ClientAlgorithm::Adam { beta1, beta2, epsilon }
}

#[test]
fn a_plan_that_says_too_much_or_too_little_is_not_followed() {
    assert_eq!(received(adam(), |_| {}), Ok(plan(adam())));
    let extended = |change: fn(&mut wire::ExtendedTraining)| {
        received(adam(), |training| match &mut training.algorithm {
            Some(Extended(terms)) => change(terms),
            other => panic!("{other:?}"),
        })
    };
    let wrong = [
        extended(|terms| terms.steps = 0),
        extended(|terms| terms.time_limit_ms = u32::MAX),
        extended(|terms| terms.proximal = -1.0),
        extended(|terms| terms.clip_gradient_norm = f32::NAN),
        extended(|terms| terms.algorithm = Some(Algorithm::Nesterov(wire::Unit {}))),
        extended(|terms| terms.algorithm = Some(Algorithm::Adam(wire::Adam::default()))),
        received(adam(), |training| training.epochs = 1),
        received(adam(), |training| training.momentum = 0.5),
    ];
    for plan in wrong {
        assert!(matches!(plan, Err(DecodeError::Training(_))), "{plan:?}");
    }
    let later = extended(|terms| terms.algorithm = None);
    assert_eq!(later, Err(DecodeError::Unsupported { what: "the training algorithm" }));
}

/// A client of version 1 finds no algorithm that it knows in a plan with more than that.
#[test]
fn no_setting_is_a_mere_field_beside_plain_sgd() {
    let plain = |raw| {
        let training: wire::LocalTraining = plan(raw).into();
        matches!(training.algorithm, Some(wire::local_training::Algorithm::Sgd(_)))
    };
    assert!(plain(sgd()));
    assert!(plain(RawLocalTraining { momentum: 0.5, weight_decay: 0.5, ..sgd() }));
    assert!(!plain(adam()));
    assert!(!plain(scaffold()));
    assert!(!plain(RawLocalTraining { proximal: 0.5, ..sgd() }));
    assert!(!plain(RawLocalTraining { clip_gradient_norm: Some(0.5), ..sgd() }));
    assert!(!plain(RawLocalTraining { epochs: 0, steps: 5, ..sgd() }));
    assert!(!plain(RawLocalTraining { time_limit: Some(Duration::from_secs(1)), ..sgd() }));
}

#[test]
fn a_client_has_to_know_the_algorithm_and_the_settings() {
    let model = ModelSpec::softmax_regression();
    let missing = |raw| {
        let needed = Capabilities::needed(&model, &plan(raw), CodecName::F32, None);
        assert_eq!(Capabilities::all().missing(&needed), None);
        Capabilities::version_1().missing(&needed)
    };
    assert_eq!(missing(sgd()), None);
    let nesterov =
        RawLocalTraining { algorithm: ClientAlgorithm::Nesterov, momentum: 0.5, ..sgd() };
    assert_eq!(missing(nesterov).unwrap(), "the training algorithm nesterov");
    assert_eq!(
        missing(scaffold()).unwrap(),
        "the training algorithm scaffold, the setting of training steps"
    );
    assert_eq!(
        missing(adam()).unwrap(),
        "the training algorithm adam, the setting of training clip_gradient_norm, the setting of \
         training proximal, the setting of training steps, the setting of training time_limit"
    );
}
