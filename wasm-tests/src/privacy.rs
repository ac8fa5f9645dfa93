//! Encodings with fixed seeds, hashed: a browser's client and a native server
//! must derive the same numbers from a policy, and the same integers from an
//! update, to the bit.

use differential_privacy::ClippingNorm;
use fedra_privacy_policy::DerivedPolicy;
use fedra_protocol::{Mechanism, PrivacyPolicy, Sha256Hash};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

/// Result of [`encodings`] on every platform.
pub const ENCODINGS: &str = "0456810628df00e2b16a8f8e184d1265b44663a0922824fe4979f3b3644714bf";

/// The hash of what follows from some policies, and of encoded updates.
///
/// # Panics
///
/// If a policy does not work on this platform.
pub fn encodings() -> String {
    let mut bytes = Vec::new();
    for (seed, target_quantile) in [(1, None), (2, Some(0.5))] {
        for (parameters, mechanism) in [(7850, Mechanism::Distributed), (100, Mechanism::Local)] {
            let policy = PrivacyPolicy {
                mechanism,
                noise_multiplier: 0.9,
                clipping_norm: 0.5,
                target_quantile,
                epsilon: 100.0,
                delta: 1e-5,
                cohort: 100,
                minimum_survivors: 80,
                colluders: 5,
                max_participations: 10,
            };
            encode(&policy, parameters, seed, &mut bytes);
        }
    }
    Sha256Hash::of(&bytes).to_string()
}

fn encode(policy: &PrivacyPolicy, parameters: usize, seed: u64, bytes: &mut Vec<u8>) {
    let privacy = DerivedPolicy::new(policy.clone(), parameters).expect("the policy works");
    let encoding = privacy.encoding().expect("the policy has an encoding");
    let clip = ClippingNorm::new(policy.clipping_norm).expect("the policy was checked");
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    bytes.extend(encoding.bits().to_le_bytes());
    bytes.extend(encoding.gamma().to_le_bytes());
    bytes.extend(encoding.scale().to_f64().to_le_bytes());
    bytes.extend(encoding.squared_norm_bound().to_le_bytes());
    for rounds in 1..=policy.max_participations {
        bytes.extend(privacy.epsilon_after(rounds).to_le_bytes());
    }
    // Longer than the clipping norm, and shorter.
    for size in [0.1, 1e-4] {
        let update: Vec<f32> = (0..parameters).map(|i| size * ((i % 17) as f32 - 8.0)).collect();
        let words = encoding.encode(&update, clip, &[seed as u8; 32], &mut rng);
        let words = words.expect("as many values as parameters");
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }
}
