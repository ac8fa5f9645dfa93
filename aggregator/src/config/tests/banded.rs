//! Noise of the server of which each round takes back a part of the rounds before.

use fedra_protocol::{CentralNoise, Mechanism};

use super::{Config, PRIVATE, SMALL, mistakes};

#[test]
fn banded_noise_has_keys_of_its_own() {
    let banded = PRIVATE.replace("distributed", "central").replace("1.0", "9.0");
    let banded = format!("{banded}noise = \"banded\"\nmax_participations = 3\n");
    let task = |rounds: u32, keys: &str| format!("{SMALL}rounds = {rounds}\n{banded}{keys}");
    let noise = |config: &str| {
        let config = Config::from_toml(config).expect("valid");
        let policy = config.tasks[0].settings.policy().expect("a policy").clone();
        match policy.mechanism {
            Mechanism::Central(CentralNoise::Banded(noise)) => noise,
            other => panic!("{other:?}"),
        }
    };
    let found = noise(&task(90, ""));
    assert_eq!((found.rounds, found.separation, found.band), (90, 1, 16));
    let apart = noise(&task(90, "minimum_separation = 30\nband = 4\n"));
    assert_eq!((apart.rounds, apart.separation, apart.band), (90, 30, 4));
    assert!(apart.exponent > found.exponent, "a shorter band forgets more slowly");
    let config = Config::from_toml(&task(90, "band = 4\n")).expect("valid");
    let summary = config.tasks[0].summary();
    assert!(summary.contains("banded noise over 90 rounds (band 4, exponent 0."), "{summary}");

    for (keys, expected) in [
        ("band = 65\n", "privacy.policy: band must be 1 to 64; it is 65"),
        ("minimum_separation = 91\n", "privacy.policy: minimum_separation must be 1 to the task"),
        ("minimum_separation = 46\n", "privacy.policy: the noise is for 90 rounds"),
    ] {
        let found = mistakes(&task(90, keys));
        assert!(found[0].contains(expected), "{found:?}");
    }
    for key in ["band = 4\n", "minimum_separation = 4\n"] {
        let found = mistakes(&task(90, key).replace("banded", "tree"));
        assert!(found[0].contains("only noise = \"banded\""), "{found:?}");
    }
    let buffered = format!("{SMALL}rounds = 90\nround = {{ mode = \"buffered\" }}\n{banded}");
    let found = mistakes(&format!("{buffered}minimum_separation = 4\n"));
    let expected = "task[tiny].privacy.minimum_separation: a client of buffered rounds";
    assert!(found.iter().any(|mistake| mistake.starts_with(expected)), "{found:?}");
}
