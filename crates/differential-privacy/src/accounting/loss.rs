//! The privacy loss distribution of the Poisson-sampled Gaussian: the tightest
//! account here, and the slowest.
//!
//! It must never come out below the truth. Losses live on a grid; wherever
//! something has to move, it moves so that the pair of laws becomes easier to
//! tell apart, and every rounding error is paid for upwards. Compositions are
//! plain sums of positive products: a fast Fourier transform would lose the small
//! tail masses that δ is made of.

use alloc::{vec, vec::Vec};

use libm::{exp, expm1, floor, log, log1p, sqrt};

use super::gaussian::{log_normal_cdf, normal_interval};
use crate::{Delta, Epsilon, NoiseMultiplier, SamplingRate};

/// Grid steps to one standard deviation of the loss: the grid's own spread adds
/// a ten-thousandth to the variance at each doubling.
const RESOLUTION: f64 = 24.0;

/// Most points of a single mechanism's grid.
const MOST_POINTS: f64 = 32_768.0;

/// Standard deviations of the noise beyond which all mass counts as lost.
const REACH: f64 = 9.5;

/// Most that all trimming of tails together may add to δ.
const TRIMMED: f64 = 1e-13;

/// Relative error of a cell's probability as computed, generously.
const CELL_ERROR: f64 = 1e-10;

/// Distance between the laws of a mechanism's output with and without one record,
/// both ways round.
///
/// ```
/// use differential_privacy::{Delta, NoiseMultiplier, SamplingRate, accounting::LossDistribution};
///
/// let step =
///     LossDistribution::poisson_gaussian(SamplingRate::new(0.01)?, NoiseMultiplier::new(4.0)?);
/// let epsilon = step.times(10_000).epsilon(Delta::new(1e-5)?).value();
/// assert!((0.946..0.952).contains(&epsilon));
/// # Ok::<(), differential_privacy::QuantityError>(())
/// ```
#[derive(Debug, Clone)]
pub struct LossDistribution {
    removal: Losses,
    addition: Losses,
}

impl LossDistribution {
    /// One step of the Gaussian mechanism on a Poisson sample; adjacency: one
    /// record more or less.
    #[must_use]
    pub fn poisson_gaussian(rate: SamplingRate, noise: NoiseMultiplier) -> Self {
        let pair = Pair { rate: rate.value(), noise: noise.value() };
        Self {
            removal: Losses::of(pair, Direction::Removal),
            addition: Losses::of(pair, Direction::Addition),
        }
    }

    /// The mechanism `count` times over.
    #[must_use]
    pub fn times(&self, count: u32) -> Self {
        Self { removal: self.removal.times(count), addition: self.addition.times(count) }
    }

    /// An upper bound on the least δ at `epsilon`.
    #[must_use]
    pub fn delta(&self, epsilon: Epsilon) -> f64 {
        let epsilon = epsilon.value();
        self.removal.delta(epsilon).max(self.addition.delta(epsilon)).min(1.0)
    }

    /// An upper bound on the least ε at `delta`.
    #[must_use]
    pub fn epsilon(&self, delta: Delta) -> Epsilon {
        let worst = self.removal.epsilon(delta.value()).max(self.addition.epsilon(delta.value()));
        Epsilon::from_raw(worst)
    }
}

/// The mixture (1 - q) N(0, 1) + q N(1/σ, 1), and N(0, 1).
#[derive(Clone, Copy)]
struct Pair {
    rate: f64,
    noise: f64,
}

/// Law that the output follows, of the two.
#[derive(Clone, Copy)]
enum Direction {
    /// The mixture's; the loss is ln(mixture / normal).
    Removal,
    /// The normal law's; the loss is the negative.
    Addition,
}

impl Pair {
    /// ln(mixture / normal) at x: ln(1 - q + q exp(x/σ - 1/(2σ²))).
    fn log_ratio(self, x: f64) -> f64 {
        let y = x / self.noise - 0.5 / (self.noise * self.noise);
        if y > 30.0 {
            y + log(self.rate) + log1p((1.0 - self.rate) / self.rate * exp(-y))
        } else {
            log1p(self.rate * expm1(y))
        }
    }

    /// The x at which the log ratio is `value`; minus infinity if it is
    /// larger everywhere.
    fn position(self, value: f64) -> f64 {
        let excess = if value > 30.0 {
            value - log(self.rate) + log1p(-(1.0 - self.rate) * exp(-value))
        } else {
            let odds = expm1(value) + self.rate;
            if odds <= 0.0 {
                return f64::NEG_INFINITY;
            }
            log(odds / self.rate)
        };
        self.noise * excess + 0.5 / self.noise
    }

    /// The (mixture's, normal law's) mass between two positions.
    fn masses(self, from: f64, to: f64) -> (f64, f64) {
        let normal = normal_interval(from, to);
        let shift = 1.0 / self.noise;
        let shifted = normal_interval(from - shift, to - shift);
        ((1.0 - self.rate) * normal + self.rate * shifted, normal)
    }

    /// The masses (of the law followed, of the other) of losses between two.
    fn cell(self, direction: Direction, from: f64, to: f64) -> (f64, f64) {
        match direction {
            Direction::Removal => self.masses(self.position(from), self.position(to)),
            Direction::Addition => {
                let (mixture, normal) = self.masses(self.position(-to), self.position(-from));
                (normal, mixture)
            }
        }
    }
}

/// Masses of losses on a grid, and the mass that counts as infinite loss.
#[derive(Debug, Clone)]
struct Losses {
    /// The grid's step.
    step: f64,
    /// The loss of `masses[0]`, in steps.
    first: i64,
    masses: Vec<f64>,
    infinite: f64,
}

impl Losses {
    fn of(pair: Pair, direction: Direction) -> Self {
        let (low, high) = (-REACH, REACH + 1.0 / pair.noise);
        let (least, most) = match direction {
            Direction::Removal => (pair.log_ratio(low), pair.log_ratio(high)),
            Direction::Addition => (-pair.log_ratio(high), -pair.log_ratio(low)),
        };
        let step = (deviation(pair, direction) / RESOLUTION).max((most - least) / MOST_POINTS);
        let first = floor(least / step) as i64;
        let cells = (floor(most / step) as i64 + 1 - first).max(1) as usize;
        let mut masses = vec![0.0; cells + 1];
        for cell in 0..cells {
            let loss = |i: usize| (first + i as i64) as f64 * step;
            let (mass, other) = pair.cell(direction, loss(cell), loss(cell + 1));
            let lower = share_below(mass, other, loss(cell), step);
            masses[cell] += mass * lower;
            masses[cell + 1] += mass * (1.0 - lower);
        }
        for mass in &mut masses {
            *mass *= 1.0 + CELL_ERROR;
        }
        // Below the grid: raised to its first point. Above it: lost.
        let tail = 2.0 * exp(log_normal_cdf(-REACH));
        masses[0] += tail;
        Self { step, first, masses, infinite: tail }
    }

    /// Composition with itself by repeated doubling.
    fn times(&self, count: u32) -> Self {
        let mut result: Option<Self> = None;
        let mut power = self.clone();
        let (mut left, mut copies) = (count, 1.0);
        while left > 0 {
            // What is lost here is lost in every copy that follows.
            let trimmed = TRIMMED * copies / f64::from(count) / 64.0;
            if left & 1 == 1 {
                result = Some(match result {
                    Some(result) => result.and(&power, trimmed),
                    None => power.clone(),
                });
            }
            left >>= 1;
            if left > 0 {
                power = power.and(&power, trimmed);
                copies *= 2.0;
            }
        }
        result.unwrap_or(Self { step: self.step, first: 0, masses: vec![1.0], infinite: 0.0 })
    }

    /// Both mechanisms; up to `trimmed` of mass may be cut from either tail.
    fn and(&self, other: &Self, trimmed: f64) -> Self {
        // Steps differ by powers of two.
        let step = self.step.max(other.step) * 1.5;
        let (mut left, mut right) = (self.clone(), other.clone());
        while left.step * 2.0 < step {
            left = left.coarser();
        }
        while right.step * 2.0 < step {
            right = right.coarser();
        }
        let mut masses = vec![0.0; left.masses.len() + right.masses.len() - 1];
        for (i, &mass) in left.masses.iter().enumerate().filter(|(_, mass)| **mass > 0.0) {
            for (sum, other) in masses[i..].iter_mut().zip(&right.masses) {
                *sum += mass * other;
            }
        }
        // A sum of n positive products is off by a share of at most n + 1 ulp.
        let error = 1.0 + (left.masses.len() + 8) as f64 * f64::EPSILON;
        for mass in &mut masses {
            *mass *= error;
        }
        let mut both = Self {
            step: left.step,
            first: left.first + right.first,
            masses,
            infinite: (left.infinite + right.infinite) * (1.0 + 4.0 * f64::EPSILON),
        };
        both.trim(trimmed);
        while both.masses.len() > 64 && both.deviation() > 2.0 * RESOLUTION * both.step {
            both = both.coarser();
        }
        both
    }

    /// On a grid of twice the step: what lies between two of its points is split
    /// over them.
    fn coarser(&self) -> Self {
        let first = self.first.div_euclid(2);
        let last = (self.first + self.masses.len() as i64 - 1).div_euclid(2) + 1;
        let mut masses = vec![0.0; (last - first + 1) as usize];
        // For a loss in the middle the split does not depend on where it lies.
        let lower = 1.0 / (1.0 + exp(self.step)) * (1.0 - CELL_ERROR);
        for (i, &mass) in (self.first..).zip(&self.masses) {
            let at = (i.div_euclid(2) - first) as usize;
            if i.rem_euclid(2) == 0 {
                masses[at] += mass;
            } else {
                masses[at] += mass * lower;
                masses[at + 1] += mass * (1.0 - lower);
            }
        }
        for mass in &mut masses {
            *mass *= 1.0 + 8.0 * f64::EPSILON;
        }
        Self { step: 2.0 * self.step, first, masses, infinite: self.infinite }
    }

    /// Cuts up to `mass` from either end: from above it becomes infinite loss, from
    /// below it is raised to the least loss that stays.
    fn trim(&mut self, mass: f64) {
        let mut above = 0.0;
        while let Some(&last) = self.masses.last() {
            if above + last > mass || self.masses.len() == 1 {
                break;
            }
            above += last;
            self.masses.pop();
        }
        self.infinite += above;
        let (mut below, mut cut) = (0.0, 0);
        while cut + 1 < self.masses.len() && below + self.masses[cut] <= mass {
            below += self.masses[cut];
            cut += 1;
        }
        self.masses.drain(..cut);
        self.masses[0] += below;
        self.first += cut as i64;
    }

    fn deviation(&self) -> f64 {
        let losses = || (self.first..).map(|i| i as f64 * self.step).zip(&self.masses);
        let total: f64 = self.masses.iter().sum();
        let mean = losses().map(|(loss, mass)| loss * mass).sum::<f64>() / total;
        let square = losses().map(|(loss, mass)| (loss - mean) * (loss - mean) * mass);
        sqrt(square.sum::<f64>() / total)
    }

    /// Σ over losses above ε of mass (1 - exp(ε - loss)), and what is lost.
    fn delta(&self, epsilon: f64) -> f64 {
        let above = (self.first..)
            .map(|i| i as f64 * self.step)
            .zip(&self.masses)
            .filter(|(loss, _)| *loss > epsilon)
            .map(|(loss, mass)| -mass * expm1(epsilon - loss))
            .sum::<f64>();
        above * (1.0 + 1e-9) + self.infinite
    }

    fn epsilon(&self, delta: f64) -> f64 {
        if self.delta(0.0) <= delta {
            return 0.0;
        }
        if self.infinite > delta {
            return f64::INFINITY;
        }
        let last = (self.first + self.masses.len() as i64) as f64 * self.step;
        let (mut low, mut high) = (0.0, last.max(0.0));
        while high - low > 1e-9 * high {
            let middle = 0.5 * (low + high);
            if self.delta(middle) <= delta { high = middle } else { low = middle }
        }
        high
    }
}

/// The share of a cell's mass that goes to its lower end, the rest going to the
/// upper one, so that both laws keep their masses: `mass` is that of the law
/// followed, `other` the other's, `loss` the lower end. Spreading a mass like this
/// can only make the laws easier to tell apart (by convexity of the hockey-stick
/// divergence in the likelihood ratio; Doroshenko et al. 2022, "Connect the
/// dots").
fn share_below(mass: f64, other: f64, loss: f64, step: f64) -> f64 {
    if mass <= 0.0 || other <= 0.0 {
        return 0.0;
    }
    // other / mass is a mixture of exp(-loss) and exp(-loss - step).
    let excess = log(other) - log(mass) + loss;
    let share = (exp(excess) - exp(-step)) / -expm1(-step);
    // Rounding of the two masses, magnified by the division; leave more above.
    (share - 4.0 * CELL_ERROR / step.min(1.0)).clamp(0.0, 1.0)
}

/// The loss's standard deviation, roughly.
fn deviation(pair: Pair, direction: Direction) -> f64 {
    const POINTS: i32 = 2000;
    let width = (2.0 * REACH + 1.0 / pair.noise) / f64::from(POINTS);
    let points = (0..POINTS).map(|i| {
        let from = -REACH + f64::from(i) * width;
        let (mixture, normal) = pair.masses(from, from + width);
        let ratio = pair.log_ratio(from + 0.5 * width);
        match direction {
            Direction::Removal => (ratio, mixture),
            Direction::Addition => (-ratio, normal),
        }
    });
    let mean: f64 = points.clone().map(|(loss, mass)| loss * mass).sum();
    sqrt(points.map(|(loss, mass)| (loss - mean) * (loss - mean) * mass).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rho;

    fn noise(value: f64) -> NoiseMultiplier {
        NoiseMultiplier::new(value).expect("positive")
    }

    fn losses(q: f64, z: f64) -> LossDistribution {
        LossDistribution::poisson_gaussian(SamplingRate::new(q).expect("a rate"), noise(z))
    }

    /// Without sampling the truth is known: never below it, and close to it.
    #[test]
    fn unsampled_is_just_above_the_exact_gaussian() {
        for (z, count) in [(1.0, 1), (5.0, 20), (10.0, 100), (0.5, 3), (30.0, 1000)] {
            let composed = losses(1.0, z).times(count);
            for d in [1e-10, 1e-6, 1e-3] {
                let delta = Delta::new(d).expect("a delta");
                let exact = Rho::of_gaussian(noise(z)).times(count).epsilon(delta).value();
                let found = composed.epsilon(delta).value();
                assert!(found >= exact * (1.0 - 2e-9), "{z} {count} {d}: {found} {exact}");
                assert!(found <= exact * 1.01, "{z} {count} {d}: {found} {exact}");
            }
            for e in [0.0, 0.1, 1.0, 3.0] {
                let epsilon = Epsilon::new(e).expect("an epsilon");
                let exact = Rho::of_gaussian(noise(z)).times(count).delta(epsilon);
                assert!(composed.delta(epsilon) >= exact * (1.0 - 1e-9), "{z} {count} {e}");
            }
        }
    }

    /// One sampled step, by integrating the densities themselves.
    #[test]
    fn one_step_is_just_above_the_integral() {
        for (q, z) in [(0.01, 1.0), (0.2, 0.7), (0.5, 3.0)] {
            let pair = Pair { rate: q, noise: z };
            let found = losses(q, z);
            for epsilon in [0.0, 0.05, 0.5, 1.5] {
                let step = 1e-4;
                let (mut removal, mut addition) = (0.0, 0.0);
                for k in -100_000..200_000 {
                    let x = (f64::from(k) + 0.5) * step;
                    let density = exp(-0.5 * x * x) * 0.398_942_280_401_432_7 * step;
                    let ratio = exp(pair.log_ratio(x));
                    removal += density * (ratio - exp(epsilon)).max(0.0);
                    addition += density * (1.0 - exp(epsilon) * ratio).max(0.0);
                }
                let exact = f64::max(removal, addition);
                let delta = found.delta(Epsilon::new(epsilon).expect("an epsilon"));
                assert!(delta >= exact * (1.0 - 1e-6), "{q} {z} {epsilon}: {delta} {exact}");
                assert!(delta <= exact * 1.01 + 1e-12, "{q} {z} {epsilon}: {delta} {exact}");
            }
        }
    }

    #[test]
    fn composition_agrees_with_itself() {
        let one = losses(0.1, 1.0);
        let delta = Delta::new(1e-5).expect("a delta");
        let (six, same) = (one.times(6), one.times(2).times(3));
        let ratio = six.epsilon(delta).value() / same.epsilon(delta).value();
        assert!((ratio - 1.0).abs() < 0.01, "{ratio}");
        assert_eq!(one.times(0).epsilon(delta).value(), 0.0);
    }

    #[test]
    fn little_noise_is_no_trouble() {
        let delta = Delta::new(1e-5).expect("a delta");
        let found = losses(0.3, 0.01).times(3).epsilon(delta).value();
        assert!(found.is_finite() && found > 5000.0, "{found}");
    }
}
