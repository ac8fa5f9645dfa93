//! Tree aggregation: noise on the nodes of a binary tree over the steps, so that
//! every prefix of a long sum is released with little noise and no sampling need
//! be claimed (Kairouz et al. 2021, "Practical and Private (Deep) Learning
//! without Sampling or Shuffling").

use super::Participation;
use crate::{NoiseMultiplier, Rho};

impl Participation {
    /// The sum of the squared sensitivities of all nodes, in units of C².
    ///
    /// There are as many levels as T has binary digits; a node of level l sums
    /// w = 2^l steps, and only complete ones are released. Over one level a
    /// person's participations m of the single nodes add up to at most k, and none
    /// exceeds min(k, ⌈w / separation⌉), so Σ m² is at most k times that. With
    /// k = 1 that is the number of levels, as published.
    #[must_use]
    pub fn tree_squared_sensitivity(self) -> u64 {
        let participations = u64::from(self.participations.min(self.steps));
        let levels = 32 - self.steps.leading_zeros();
        (0..levels)
            .map(|level| {
                let width = 1_u64 << level;
                let in_one_node = width.div_ceil(u64::from(self.separation.max(1)));
                participations * in_one_node.min(participations)
            })
            .sum()
    }

    /// ρ of all the tree's nodes, each with noise of `noise` times C:
    /// squared sensitivity / (2 z²).
    #[must_use]
    pub fn tree_cost(self, noise: NoiseMultiplier) -> Rho {
        let z = noise.value();
        Rho::from_raw(self.tree_squared_sensitivity() as f64 / (2.0 * z * z))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounting::participation::patterns;

    /// Every set of participations of a small tree, by brute force.
    #[test]
    fn bounds_every_pattern() {
        for steps in 1..=12_u32 {
            for separation in 1..=4 {
                for participations in 1..=steps {
                    let bound = Participation { steps, participations, separation };
                    let worst = patterns(bound).map(|set| pattern(steps, set)).max();
                    assert!(
                        worst <= Some(bound.tree_squared_sensitivity()),
                        "{bound:?}: {worst:?}"
                    );
                }
            }
        }
    }

    /// Σ over complete nodes of (participations in it)².
    fn pattern(steps: u32, set: u32) -> u64 {
        let mut sum = 0;
        let mut width = 1;
        while width <= steps {
            for node in 0..steps / width {
                let mask = (u64::from(u32::MAX) >> (32 - width)) << (node * width);
                sum += u64::from((u64::from(set) & mask).count_ones()).pow(2);
            }
            width *= 2;
        }
        sum
    }

    #[test]
    fn the_bound_is_met_where_it_should_be() {
        assert_eq!(Participation::once(1000).tree_squared_sensitivity(), 10);
        assert_eq!(Participation::once(1023).tree_squared_sensitivity(), 10);
        assert_eq!(Participation::once(1024).tree_squared_sensitivity(), 11);
        // All steps of a full tree: w nodes of w² each.
        let all = Participation { steps: 8, participations: 8, separation: 1 };
        assert_eq!(all.tree_squared_sensitivity(), 8 + 4 * 4 + 2 * 16 + 64);
        let none = Participation { steps: 8, participations: 0, separation: 1 };
        assert_eq!(none.tree_squared_sensitivity(), 0);
    }
}
