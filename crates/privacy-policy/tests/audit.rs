//! An attack on the distributed mechanism, from the policy to the decoded sum: can
//! an attacker that sees sums, and knows every other client's update, tell whether
//! one client, the canary, took part?
//!
//! In half of the runs the canary's update is one vector, far too long, so that
//! clipping is attacked as well; in the other half it is zero, which is what the
//! guarantee compares with. The attacker projects the decoded sum on the canary
//! and says "it was there" above a threshold. Under (ε, δ) every such test has
//! P(right) <= e^ε P(wrong) + δ, so measured frequencies bound ε from below.
//!
//! The threshold is the best one on a first half of the runs; the bound is taken
//! on the second half, by Clopper-Pearson limits that hold together with 99.9 %
//! confidence. It proves nothing about larger ε than the runs can show, and it
//! must not be read as an estimate of ε.
//!
//! # Why it can tell right from wrong
//!
//! The claim for z = 1 and δ = 0.01 is ε = 2.33. The best test on a Gaussian sum
//! with this noise has ε = 2.32, and no threshold passes the claim; this many
//! runs prove about 1.7. With half of the noise it has 6.00, and they prove about
//! 3.3. At a δ as small as a task's, the same gap would take millions of runs.

use differential_privacy::{ClippingNorm, DistributedGaussian};
use fedra_privacy_policy::DerivedPolicy;
use fedra_protocol::{Mechanism, PrivacyPolicy};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const CLIENTS: u32 = 4;
const PARAMETERS: usize = 12;
const CLIP: f64 = 0.5;
const DELTA: f64 = 0.01;
/// Runs with the canary, and as many without, in each of the two halves.
const RUNS: usize = 10_000;
/// Error probability of each of the two limits; together 0.1 %.
const MISS: f64 = 0.0005;

/// One participation with this noise, of which every client is needed: no noise
/// to spare.
fn policy(noise_multiplier: f64) -> DerivedPolicy {
    let policy = PrivacyPolicy {
        mechanism: Mechanism::Distributed,
        noise_multiplier,
        clipping_norm: CLIP,
        target_quantile: None,
        epsilon: 100.0,
        delta: DELTA,
        cohort: CLIENTS,
        minimum_survivors: CLIENTS,
        colluders: 0,
        max_participations: 1,
    };
    DerivedPolicy::new(policy, PARAMETERS).expect("a sound policy")
}

#[test]
fn an_attacker_proves_less_than_is_claimed() {
    let sound = policy(1.0);
    let (claim, proven) = (sound.epsilon_after(1), audit(&sound, 1));
    assert!(proven < claim, "proven {proven}, claimed {claim}");
    // It is an attack, too: a test that sees nothing would prove nothing.
    assert!(proven > 0.5 * claim, "proven {proven}, claimed {claim}");
}

#[test]
fn an_attacker_finds_that_half_of_the_noise_is_missing() {
    let (claim, proven) = (policy(1.0).epsilon_after(1), audit(&policy(0.5), 2));
    assert!(proven > claim, "proven {proven}, claimed {claim}");
}

/// The largest epsilon that the runs prove to be exceeded, at the policy's delta.
fn audit(privacy: &DerivedPolicy, seed: u64) -> f64 {
    let mut world = World::new(privacy, seed);
    let mut half = || {
        let with = sorted((0..RUNS).map(|_| world.run(true)).collect());
        let without = sorted((0..RUNS).map(|_| world.run(false)).collect());
        (with, without)
    };
    let (first, second) = (half(), half());
    // Every two hundredth score without the canary is a threshold to try.
    let best = first
        .1
        .iter()
        .step_by(RUNS / 200)
        .map(|&threshold| (bound(&first, threshold), threshold))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .expect("there are runs");
    bound(&second, best.1)
}

/// ln((right - δ) / wrong), with `right` as low and `wrong` as high as they may be.
fn bound((with, without): &(Vec<f64>, Vec<f64>), threshold: f64) -> f64 {
    let above = |scores: &[f64]| scores.len() - scores.partition_point(|&x| x <= threshold);
    let right = lower_limit(above(with), with.len(), MISS);
    let wrong = upper_limit(above(without), without.len(), MISS);
    if right > DELTA { ((right - DELTA) / wrong).ln() } else { 0.0 }
}

fn sorted(mut scores: Vec<f64>) -> Vec<f64> {
    scores.sort_by(f64::total_cmp);
    scores
}

/// The round that is attacked again and again.
struct World<'a> {
    encoding: &'a DistributedGaussian,
    clip: ClippingNorm,
    canary: Vec<f32>,
    others: Vec<Vec<f32>>,
    rng: ChaCha20Rng,
}

impl<'a> World<'a> {
    fn new(privacy: &'a DerivedPolicy, seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut update =
            || (0..PARAMETERS).map(|_| rng.next_u32() as f32 * 2e-9 - 4.0).collect::<Vec<f32>>();
        let canary = update();
        let others = (1..CLIENTS).map(|_| update()).collect();
        let clip = ClippingNorm::new(privacy.policy().clipping_norm).expect("a sound norm");
        Self { encoding: privacy.encoding().expect("clients encode"), clip, canary, others, rng }
    }

    /// Apparent amount of the canary in the sum.
    fn run(&mut self, is_there: bool) -> f64 {
        let mut rotation = [0; 32];
        self.rng.fill_bytes(&mut rotation);
        let zero = vec![0.0; PARAMETERS];
        let own = if is_there { &self.canary } else { &zero };
        let largest = u32::MAX >> (32 - self.encoding.bits());
        let mut sum = vec![0_u32; self.encoding.len()];
        for update in self.others.iter().chain([own]) {
            let encoded = self
                .encoding
                .encode(update, self.clip, &rotation, &mut self.rng)
                .expect("as long as the model");
            for (sum, value) in sum.iter_mut().zip(encoded) {
                *sum = sum.wrapping_add(value) & largest;
            }
        }
        let decoded = self.encoding.decode(&sum, CLIENTS, self.clip, &rotation).expect("a sum");
        decoded.mean.iter().zip(&self.canary).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    }
}

/// The least probability that `hits` of `trials`, or more, are likelier than
/// `miss` with (Clopper and Pearson 1934).
fn lower_limit(hits: usize, trials: usize, miss: f64) -> f64 {
    // The same as seen from those that did not hit.
    1.0 - upper_limit(trials - hits, trials, miss)
}

/// The greatest probability that `hits` of `trials`, or fewer, are likelier than
/// `miss` with.
fn upper_limit(hits: usize, trials: usize, miss: f64) -> f64 {
    if hits == trials {
        return 1.0;
    }
    let (mut low, mut high) = (hits as f64 / trials as f64, 1.0);
    while high - low > 1e-9 {
        let middle = 0.5 * (low + high);
        if at_most(hits, trials, middle) > miss { low = middle } else { high = middle }
    }
    high
}

/// P(X <= hits) of a binomial X, where `hits` lie below its mean.
fn at_most(hits: usize, trials: usize, p: f64) -> f64 {
    let (n, odds) = (trials as f64, p.ln() - (-p).ln_1p());
    // ln of P(X = hits), then downwards from there by ratios of neighbours.
    let choose: f64 = (0..hits).map(|i| ((n - i as f64) / (i as f64 + 1.0)).ln()).sum();
    let mut term = (choose + hits as f64 * odds + n * (-p).ln_1p()).exp();
    let mut sum = 0.0;
    for count in (0..=hits).rev() {
        sum += term;
        if term <= sum * 1e-17 {
            break;
        }
        term *= count as f64 / ((n - count as f64 + 1.0) * odds.exp());
    }
    sum
}

#[test]
fn limits_are_those_of_clopper_and_pearson() {
    let close = |actual: f64, expected: f64| {
        assert!((actual - expected).abs() < 1e-5, "{actual} instead of {expected}");
    };
    // None of n: 1 - miss^(1/n). 5 of 10 at 95 %: a table's value.
    close(upper_limit(0, 100, 0.05), 1.0 - 0.05_f64.powf(0.01));
    close(lower_limit(100, 100, 0.05), 0.05_f64.powf(0.01));
    close(lower_limit(5, 10, 0.025), 0.187_09);
    close(upper_limit(5, 10, 0.025), 0.812_91);
    close(upper_limit(10, 10, 0.025), 1.0);
    close(lower_limit(0, 10, 0.025), 0.0);
}
