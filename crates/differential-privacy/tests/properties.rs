//! Properties that hold for any settings: nothing panics, and what is derived keeps
//! its promises.

use differential_privacy::{
    ClippingNorm, DistributedGaussian, DistributedGaussianSettings, NoiseMultiplier,
    sampler::{DiscreteGaussian, Ratio},
};
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_scale_can_be_drawn(
        numerator in 1_u64..1 << 53,
        denominator in 1_u64..1 << 53,
        shifts in (0_u32..53, 0_u32..53),
        seed: u64,
    ) {
        let scale = Ratio::new((numerator >> shifts.0).max(1), (denominator >> shifts.1).max(1));
        let scale = scale.expect("at most 53 bits each");
        let noise = DiscreteGaussian::new(scale);
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        for _ in 0..20 {
            // Ten deviations, or one where the law is all zeros but for them.
            let most = 10.0 * scale.to_f64() + 1.0;
            prop_assert!((noise.sample(&mut rng).unsigned_abs() as f64) < most);
        }
    }

    #[test]
    fn derived_parameters_keep_their_promises(
        parameters in 0_usize..1 << 23,
        clients in 0_u32..2_000_000,
        share in 0.0_f64..1.1,
        log_noise in -13.0_f64..13.0,
        clip_indicator: bool,
    ) {
        let noise_multiplier = NoiseMultiplier::new(log_noise.exp()).expect("within the range");
        let survivors = (f64::from(clients) * share) as u32;
        let settings =
            DistributedGaussianSettings { parameters, clients, survivors, noise_multiplier, clip_indicator };
        if let Ok(mechanism) = DistributedGaussian::derive(&settings) {
            let scale = mechanism.scale().to_f64();
            prop_assert!(mechanism.bits() <= 32);
            prop_assert!(mechanism.headroom() >= 6.0);
            prop_assert!(scale >= 4.0);
            prop_assert!(mechanism.gamma() <= 0.2 / (mechanism.dimension() as f64).sqrt());
            let sensitivity = (mechanism.squared_norm_bound() as f64).sqrt();
            let reached = scale * f64::from(survivors).sqrt() / sensitivity;
            prop_assert!(reached >= noise_multiplier.value() * (1.0 - 1e-12));
            // That of a Gaussian with 3.4 steps squared less of variance, at the most.
            let kept = 1.0 - 3.4 / (f64::from(survivors) * scale * scale);
            let most = 0.5 / (reached * reached * kept) * (1.0 + 1e-9);
            prop_assert!(mechanism.cost().value() <= most);
            // The indicator's largest sum fits beside six deviations of its noise.
            if let Some(half) = mechanism.indicator_half_step() {
                let n = f64::from(clients);
                let most = n * f64::from(half) + 6.0 * n.sqrt() * scale;
                prop_assert!(most <= f64::from(mechanism.bits() - 1).exp2());
            }
        } else {
            // Refused only for a reason.
            let fine = parameters >= 1
                && (1..=clients).contains(&survivors)
                && (-1.0..1.0).contains(&log_noise)
                && clients <= 1000
                && survivors >= clients / 2;
            prop_assert!(!fine, "{settings:?}");
        }
    }

    #[test]
    fn sums_come_back(
        parameters in 1_usize..70,
        clients in 1_u32..9,
        log_clip in -20.0_f64..20.0,
        rotation: [u8; 32],
        seed: u64,
    ) {
        let mechanism = DistributedGaussian::derive(&DistributedGaussianSettings {
            parameters,
            clients,
            survivors: clients,
            noise_multiplier: NoiseMultiplier::new(0.05).expect("positive"),
            clip_indicator: false,
        })
        .expect("few clients and parameters");
        let clip = ClippingNorm::new(log_clip.exp()).expect("positive");
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        // Within the clip: each value at most clip / √d.
        let unit = clip.value() / (parameters as f64).sqrt();
        let update: Vec<f32> =
            (0..parameters).map(|i| ((i % 5) as f64 / 4.0 * unit - unit / 2.0) as f32).collect();
        let modulus = 1_u64 << mechanism.bits();
        let mut sum = vec![0_u64; mechanism.len()];
        for _ in 0..clients {
            let values = mechanism.encode(&update, clip, &rotation, &mut rng).expect("its length");
            for (sum, value) in sum.iter_mut().zip(values) {
                *sum = (*sum + u64::from(value)) % modulus;
            }
        }
        let sum: Vec<u32> = sum.into_iter().map(|value| value as u32).collect();
        let decoded = mechanism.decode(&sum, clients, clip, &rotation).expect("a good sum");
        let noise = mechanism.mean_noise(clients, clip).value();
        for (found, expected) in decoded.mean.iter().zip(&update) {
            prop_assert!(f64::from(found - expected).abs() < 8.0 * noise, "{found} {expected}");
        }
    }
}
