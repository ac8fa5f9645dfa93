//! Least noise for a promise.

use libm::sqrt;

use crate::{Epsilon, NoiseMultiplier};

/// The least noise multiplier, to a millionth, whose ε, as `epsilon` reports it,
/// is at most `target`; `None` if not even the largest noise multiplier is
/// enough. `epsilon` has to fall as the noise grows, as every account here does.
///
/// The promise holds for a function of any shape, because the returned multiplier
/// was itself asked for its ε.
///
/// ```
/// use differential_privacy::{Delta, Epsilon, Rho, accounting::smallest_noise_multiplier};
///
/// let (target, delta) = (Epsilon::new(8.0)?, Delta::new(1e-5)?);
/// let rounds = 20;
/// let z = smallest_noise_multiplier(target, |z| Rho::of_gaussian(z).times(rounds).epsilon(delta));
/// assert!((z.expect("20 rounds are few").value() - 2.684).abs() < 0.001);
/// # Ok::<(), differential_privacy::QuantityError>(())
/// ```
pub fn smallest_noise_multiplier(
    target: Epsilon,
    epsilon: impl Fn(NoiseMultiplier) -> Epsilon,
) -> Option<NoiseMultiplier> {
    let multiplier = |value: f64| {
        let value = value.clamp(NoiseMultiplier::SMALLEST, NoiseMultiplier::LARGEST);
        NoiseMultiplier::new(value).expect("the value was clamped to the range")
    };
    let is_enough = |value: f64| epsilon(multiplier(value)) <= target;
    let mut high = 1.0;
    while !is_enough(high) {
        if high >= NoiseMultiplier::LARGEST {
            return None;
        }
        high = (high * 2.0).min(NoiseMultiplier::LARGEST);
    }
    let mut low = high / 2.0;
    while is_enough(low) {
        high = low;
        if low <= NoiseMultiplier::SMALLEST {
            break;
        }
        low = (low / 2.0).max(NoiseMultiplier::SMALLEST);
    }
    while high > low * (1.0 + 1e-6) {
        let middle = sqrt(low * high);
        if is_enough(middle) { high = middle } else { low = middle }
    }
    Some(multiplier(high))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Delta, Rho};

    #[test]
    fn is_the_boundary() {
        let delta = Delta::new(1e-6).expect("a delta");
        let epsilon = |z: NoiseMultiplier| Rho::of_gaussian(z).times(5).epsilon(delta);
        for target in [1e-3, 0.1, 1.0, 8.0, 300.0] {
            let target = Epsilon::new(target).expect("an epsilon");
            let z = smallest_noise_multiplier(target, epsilon).expect("reachable");
            assert!(epsilon(z) <= target);
            let less = NoiseMultiplier::new(z.value() * (1.0 - 1e-5)).expect("positive");
            assert!(epsilon(less) > target);
        }
    }

    #[test]
    fn says_when_no_noise_is_enough() {
        let never = |_| Epsilon::new(9.0).expect("an epsilon");
        assert_eq!(smallest_noise_multiplier(Epsilon::new(8.0).expect("an epsilon"), never), None);
        let always = |_| Epsilon::new(0.0).expect("an epsilon");
        let least = smallest_noise_multiplier(Epsilon::new(8.0).expect("an epsilon"), always);
        assert_eq!(least.map(NoiseMultiplier::value), Some(NoiseMultiplier::SMALLEST));
    }
}
