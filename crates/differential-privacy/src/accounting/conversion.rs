//! Conversion of Rényi divergences to (ε, δ).

use libm::{expm1, log, log1p};

use crate::{Delta, Epsilon, Rho};

/// ε at `delta` of a mechanism whose Rényi divergence of order `order` > 1 is at
/// most `divergence` (Canonne, Kamath and Steinke 2020, Proposition 12):
/// ε = divergence + ln(1 - 1/α) - ln(δ α) / (α - 1).
pub(super) fn epsilon_at(order: f64, divergence: f64, delta: Delta) -> f64 {
    let delta = delta.value();
    // δ <= √(1 - exp(-KL)), and the KL divergence is at most that of any order.
    if delta * delta + expm1(-divergence) > 0.0 {
        return 0.0;
    }
    let epsilon = divergence + log1p(-1.0 / order) - log(delta * order) / (order - 1.0);
    if epsilon.is_nan() { f64::INFINITY } else { epsilon.max(0.0) }
}

impl Rho {
    /// ε of (ε, δ)-differential privacy that follows from ρ:
    /// min over α > 1 of αρ + ln(1 - 1/α) - ln(δα) / (α - 1)
    /// (Canonne, Kamath and Steinke 2020, Corollary 13).
    #[must_use]
    pub fn epsilon(self, delta: Delta) -> Epsilon {
        let rho = self.value();
        if rho == 0.0 || rho.is_infinite() {
            return Epsilon::from_raw(rho);
        }
        // Each α gives a bound, so the search need not be exact to be sound. In
        // u = ln(α - 1) the function falls, then rises.
        let at = |u: f64| {
            let order = 1.0 + libm::exp(u);
            epsilon_at(order, order * rho, delta)
        };
        let centre = 0.5 * (log(-log(delta.value())) - log(rho));
        let (mut low, mut high) = (centre - 6.0, centre + 6.0);
        for _ in 0..100 {
            let (left, right) = (low + (high - low) * 0.382, high - (high - low) * 0.382);
            if at(left) <= at(right) {
                high = right;
            } else {
                low = left;
            }
        }
        Epsilon::from_raw(at(0.5 * (low + high)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(value: f64) -> Delta {
        Delta::new(value).expect("a delta")
    }

    #[test]
    fn finds_the_best_order() {
        for rho in [1e-8, 1e-4, 0.01, 0.5, 3.0, 50.0, 1e4] {
            for d in [1e-12, 1e-6, 1e-3] {
                let found = Rho::new(rho).expect("a cost").epsilon(delta(d)).value();
                let scanned = (1..200_000)
                    .map(|i| 1.0 + libm::exp(f64::from(i - 100_000) * 2e-4))
                    .map(|order| epsilon_at(order, order * rho, delta(d)))
                    .fold(f64::INFINITY, f64::min);
                assert!(found <= scanned * (1.0 + 1e-6) + 1e-12, "{rho} {d}: {found} {scanned}");
                assert!(found >= scanned * (1.0 - 1e-6) - 1e-12, "{rho} {d}: {found} {scanned}");
            }
        }
    }

    #[test]
    fn ends_are_kept() {
        assert_eq!(Rho::ZERO.epsilon(delta(1e-5)).value(), 0.0);
        let everything = Rho::new(f64::INFINITY).expect("a cost");
        assert_eq!(everything.epsilon(delta(1e-5)).value(), f64::INFINITY);
    }
}
