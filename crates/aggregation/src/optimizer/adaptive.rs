//! Adaptive steps (Reddi et al. 2021, algorithm 2): along the first moment of the rounds'
//! means, each parameter with a rate of its own, which its second moment gives. The three
//! optimizers differ in the second moment alone.
//!
//! With the mean D of a round, m = beta_1 m + (1 - beta_1) D, and the model moves by
//! rate * m / (sqrt(v) + tau). Before the first round m = 0 and v = tau^2. There is no
//! correction of the first rounds' bias.

use super::state::Moments;

/// Numbers of an adaptive step.
pub(super) struct Adaptive {
    pub learning_rate: f64,
    /// beta_1.
    pub momentum: f64,
    pub tau: f64,
}

impl Adaptive {
    /// The model after a round's mean, and the moments after it. `second_moment` makes the
    /// next second moment of the one before and the squared mean. The moments are rounded
    /// to what is stored before they are used, so that a restart goes on with the same
    /// numbers.
    pub(super) fn step(
        &self,
        before: Option<&Moments>,
        model: &[f32],
        mean: &[f64],
        second_moment: impl Fn(f64, f64) -> f64,
    ) -> (Vec<f32>, Moments) {
        let start = self.tau * self.tau;
        let first: Vec<f32> = match before {
            None => mean.iter().map(|mean| self.first_moment(0.0, *mean)).collect(),
            Some(before) => {
                let pairs = before.first.iter().zip(mean);
                pairs.map(|(&before, mean)| self.first_moment(before.into(), *mean)).collect()
            }
        };
        let second = |before: f64, mean: f64| second_moment(before, mean * mean) as f32;
        let second: Vec<f32> = match before {
            None => mean.iter().map(|mean| second(start, *mean)).collect(),
            Some(before) => {
                let pairs = before.second.iter().zip(mean);
                pairs.map(|(&before, mean)| second(before.into(), *mean)).collect()
            }
        };
        let moments = first.iter().zip(&second);
        let next = model.iter().zip(moments).map(|(&old, (&first, &second))| {
            let scale = f64::from(second).sqrt() + self.tau;
            (f64::from(old) + self.learning_rate * f64::from(first) / scale) as f32
        });
        (next.collect(), Moments { first, second })
    }

    fn first_moment(&self, before: f64, mean: f64) -> f32 {
        (self.momentum * before + (1.0 - self.momentum) * mean) as f32
    }
}
