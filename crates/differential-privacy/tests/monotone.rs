//! More noise, fewer steps, less sampling and a larger delta never cost more:
//! 200 settings drawn at random, every argument moved by itself.

use differential_privacy::{
    Delta, DistributedGaussian, DistributedGaussianSettings, NoiseMultiplier, Rho, SamplingRate,
    accounting::{LossDistribution, Participation, RdpCurve, smallest_noise_multiplier},
};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

const SETTINGS: usize = 200;

/// A rounding error is no violation.
const SLACK: f64 = 1.0 + 1e-9;

#[derive(Debug, Clone, Copy)]
struct Setting {
    rate: f64,
    noise: f64,
    steps: u32,
    delta: f64,
}

fn settings() -> impl Iterator<Item = (Setting, ChaCha20Rng)> {
    (0..SETTINGS as u64).map(|i| {
        let mut rng = ChaCha20Rng::seed_from_u64(i);
        let setting = Setting {
            rate: between(&mut rng, 1e-4, 1.0),
            noise: between(&mut rng, 0.4, 20.0),
            steps: between(&mut rng, 1.0, 5000.0) as u32,
            delta: between(&mut rng, 1e-9, 1e-2),
        };
        (setting, rng)
    })
}

/// Evenly spread over the logarithm.
fn between(rng: &mut ChaCha20Rng, low: f64, high: f64) -> f64 {
    low * (high / low).powf(f64::from(rng.next_u32()) / 4_294_967_296.0)
}

impl Setting {
    /// The four ways to make it cost more.
    fn dearer(self, rng: &mut ChaCha20Rng) -> [Self; 4] {
        let factor = between(rng, 1.01, 3.0);
        [
            Self { rate: (self.rate * factor).min(1.0), ..self },
            Self { noise: self.noise / factor, ..self },
            Self { steps: self.steps + 1 + self.steps / 3, ..self },
            Self { delta: self.delta / factor, ..self },
        ]
    }

    fn rate(self) -> SamplingRate {
        SamplingRate::new(self.rate).expect("a rate")
    }

    fn noise(self) -> NoiseMultiplier {
        NoiseMultiplier::new(self.noise).expect("positive")
    }

    fn delta(self) -> Delta {
        Delta::new(self.delta).expect("a delta")
    }
}

/// ε of a setting.
type Account = fn(Setting) -> f64;

/// Every account of sampling and composition, by name.
const ACCOUNTS: [(&str, Account); 5] = [
    ("Poisson", |s| {
        RdpCurve::poisson_gaussian(s.rate(), s.noise()).times(s.steps).epsilon(s.delta()).value()
    }),
    ("Poisson, any mechanism", |s| {
        let rho = Rho::of_gaussian(s.noise());
        RdpCurve::poisson(s.rate(), rho).times(s.steps).epsilon(s.delta()).value()
    }),
    ("without replacement", |s| {
        let step = RdpCurve::gaussian_without_replacement(s.rate(), s.noise());
        step.times(s.steps).epsilon_between_orders(s.delta()).value()
    }),
    ("Gaussian", |s| Rho::of_gaussian(s.noise()).times(s.steps).epsilon(s.delta()).value()),
    ("tree", |s| {
        let participations = s.steps.min(5);
        let tree = Participation { steps: s.steps, participations, separation: 2 };
        tree.tree_cost(s.noise()).epsilon(s.delta()).value()
    }),
];

#[test]
fn accounts_are_monotone_in_every_argument() {
    for (setting, mut rng) in settings() {
        for (name, epsilon) in ACCOUNTS {
            let here = epsilon(setting);
            for dearer in setting.dearer(&mut rng) {
                let there = epsilon(dearer);
                assert!(
                    here <= there * SLACK + 1e-12,
                    "{name}: {here} at {setting:?}, {there} at {dearer:?}"
                );
            }
        }
    }
}

/// The loss distribution's grid moves with its arguments: monotone up to the grid's
/// own error, and never above the Rényi account by more than that.
#[test]
fn loss_distributions_are_monotone() {
    let epsilon = |s: Setting| {
        LossDistribution::poisson_gaussian(s.rate(), s.noise())
            .times(s.steps)
            .epsilon(s.delta())
            .value()
    };
    for (setting, mut rng) in settings().step_by(40) {
        let here = epsilon(setting);
        for dearer in setting.dearer(&mut rng) {
            let there = epsilon(dearer);
            assert!(here <= there * 1.005 + 1e-6, "{here} at {setting:?}, {there} at {dearer:?}");
        }
        let rdp = ACCOUNTS[0].1(setting);
        assert!(here <= rdp * 1.005 + 1e-6, "{here} above {rdp} at {setting:?}");
    }
}

#[test]
fn distributed_parameters_are_monotone() {
    for i in 0..SETTINGS as u64 {
        let mut rng = ChaCha20Rng::seed_from_u64(1000 + i);
        let clients = between(&mut rng, 2.0, 10_000.0) as u32;
        let survivors = between(&mut rng, 1.0, f64::from(clients)) as u32;
        let settings = DistributedGaussianSettings {
            parameters: between(&mut rng, 1.0, 3e6) as usize,
            clients,
            survivors,
            noise_multiplier: NoiseMultiplier::new(between(&mut rng, 0.3, 8.0)).expect("positive"),
            clip_indicator: i % 2 == 0,
        };
        let here = DistributedGaussian::derive(&settings).expect("good settings");
        assert!(here.scale().to_f64() >= 4.0);

        // More noise costs less, and no fewer bits.
        let louder =
            NoiseMultiplier::new(settings.noise_multiplier.value() * 1.1).expect("positive");
        let quieter = DistributedGaussianSettings { noise_multiplier: louder, ..settings };
        let there = DistributedGaussian::derive(&quieter).expect("good settings");
        assert!(there.cost() < here.cost(), "{settings:?}");

        // A survivor more means a smaller share for each, at the same cost.
        let more = DistributedGaussianSettings {
            clients: clients + clients / 2,
            survivors: survivors + survivors.div_ceil(2),
            ..settings
        };
        let there = DistributedGaussian::derive(&more).expect("good settings");
        // Up to the part of the variance that an account of discrete noise leaves out.
        let scale = here.scale().to_f64();
        let off = 5e-3 + 4.0 / (f64::from(survivors) * scale * scale);
        assert!((there.cost().value() / here.cost().value() - 1.0).abs() < off, "{settings:?}");

        // Room for more clients takes no fewer bits.
        let roomier = DistributedGaussianSettings { clients: clients * 2, ..settings };
        let there = DistributedGaussian::derive(&roomier).expect("good settings");
        assert!(there.bits() >= here.bits(), "{settings:?}");
    }
}

#[test]
fn noise_for_a_target_is_monotone() {
    for (setting, mut rng) in settings() {
        let wanted = |s: Setting, target: f64| {
            let target = differential_privacy::Epsilon::new(target).expect("an epsilon");
            smallest_noise_multiplier(target, |z| {
                Rho::of_gaussian(z).times(s.steps).epsilon(s.delta())
            })
            .expect("within range")
            .value()
        };
        let target = between(&mut rng, 0.1, 20.0);
        let here = wanted(setting, target);
        assert!(wanted(setting, target / 2.0) >= here);
        for dearer in [setting.dearer(&mut rng)[2], setting.dearer(&mut rng)[3]] {
            assert!(wanted(dearer, target) >= here * (1.0 - 2e-6), "{setting:?} {dearer:?}");
        }
    }
}
