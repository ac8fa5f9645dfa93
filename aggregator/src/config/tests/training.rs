//! `[task.training]`: plans of local training.

use std::time::Duration;

use fedra_protocol::{ClientAlgorithm, RawLocalTraining};

use super::{Config, SMALL, mistakes};

#[test]
fn local_training_by_other_algorithms_than_plain_sgd() {
    let training = |keys: &str| {
        let config = Config::from_toml(&format!("{SMALL}training = {{ {keys} }}"));
        RawLocalTraining::from(config.expect("valid").tasks[0].settings.training.clone())
    };
    let default = training("");
    assert_eq!(default, RawLocalTraining::default());
    let adam = ClientAlgorithm::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
    assert_eq!(
        training("algorithm = \"adam\", steps = 50, time_limit = \"20s\", proximal = 0.5"),
        RawLocalTraining {
            algorithm: adam,
            epochs: 0,
            steps: 50,
            time_limit: Some(Duration::from_secs(20)),
            proximal: 0.5,
            ..default.clone()
        }
    );
    let keys = "algorithm = \"nesterov\", momentum = 0.5, epochs = 3, clip_gradient_norm = 2.0";
    assert_eq!(
        training(keys),
        RawLocalTraining {
            algorithm: ClientAlgorithm::Nesterov,
            epochs: 3,
            momentum: 0.5,
            clip_gradient_norm: Some(2.0),
            ..default
        }
    );
}

#[test]
fn a_plan_of_training_that_contradicts_itself_is_explained() {
    let found = |keys: &str| mistakes(&format!("{SMALL}training = {{ {keys} }}"));
    for (keys, expected) in [
        ("epochs = 1, steps = 5", "steps: cannot be given beside epochs; leave one of them out"),
        ("steps = 0", "steps: must be a whole number of at least 1"),
        (
            "algorithm = \"lion\"",
            "algorithm: \"lion\" is not known; the algorithms are \"sgd\", \"nesterov\", \
             \"adam\" and \"scaffold\"",
        ),
        ("beta2 = 0.9", "beta2: only for algorithm = \"adam\"; set that, or leave the key out"),
        (
            "algorithm = \"adam\", momentum = 0.9",
            "momentum: must be 0 with the algorithm adam; it is 0.9",
        ),
        (
            "algorithm = \"nesterov\"",
            "momentum: must be above 0 with the algorithm nesterov; it is 0",
        ),
    ] {
        assert_eq!(found(keys), [format!("task[tiny].training.{expected}")], "{keys}");
    }
}
