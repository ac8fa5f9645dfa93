//! Options about privacy, and for tests of an aggregator.

use clap::Args;
use differential_privacy::{ClippingNorm, Delta, NoiseMultiplier};
use fedra_edge_client::{Dropouts, PrivacyFloors};
use fedra_learning::ExamplePrivacy;

/// Minimum that a task must promise. A task below is refused.
#[derive(Args)]
#[command(next_help_heading = "Privacy")]
pub struct Floors {
    /// Refuse a task with less noise in a sum, in units of what one client can
    /// change in it
    #[arg(long, value_name = "Z", value_parser = positive)]
    min_noise_multiplier: Option<f64>,
    /// Refuse a task that may release a sum over fewer clients
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    min_cohort: Option<u32>,
    /// Take part in at most so many rounds of a private task
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_participations: Option<u32>,
    /// Refuse a task that may cost a client more than this epsilon
    #[arg(long, value_name = "EPSILON", value_parser = positive)]
    max_epsilon: Option<f64>,
    /// Refuse a task whose server could read a single update
    #[arg(long)]
    require_secure_aggregation: bool,
}

impl Floors {
    /// Floors in the client's form.
    pub fn floors(&self) -> PrivacyFloors {
        PrivacyFloors {
            min_noise_multiplier: self.min_noise_multiplier,
            min_cohort: self.min_cohort,
            max_participations: self.max_participations,
            max_epsilon: self.max_epsilon,
            require_secure_aggregation: self.require_secure_aggregation,
        }
    }
}

/// A promise about single examples, of the client's own choice.
#[derive(Args)]
#[command(next_help_heading = "Example-level privacy (DP-SGD)")]
pub struct Examples {
    /// Train with this much noise on every step's sum of clipped gradients, in
    /// units of the clipping norm: protects single examples, not the client
    #[arg(
        long, value_name = "Z", value_parser = positive,
        requires_all = ["example_clipping_norm", "example_delta"]
    )]
    example_noise_multiplier: Option<f64>,
    /// The largest L2 norm of one example's gradient
    #[arg(long, value_name = "C", value_parser = positive, requires = "example_noise_multiplier")]
    example_clipping_norm: Option<f64>,
    /// The delta at which the cost is told
    #[arg(long, value_name = "DELTA", value_parser = probability, requires = "example_noise_multiplier")]
    example_delta: Option<f64>,
}

impl Examples {
    /// Privacy of examples in the client's form.
    pub fn privacy(&self) -> anyhow::Result<Option<ExamplePrivacy>> {
        let given = (self.example_noise_multiplier, self.example_clipping_norm, self.example_delta);
        let (Some(noise), Some(clip), Some(delta)) = given else { return Ok(None) };
        Ok(Some(ExamplePrivacy {
            clipping_norm: ClippingNorm::new(clip)?,
            noise_multiplier: NoiseMultiplier::new(noise)?,
            delta: Delta::new(delta)?,
        }))
    }
}

/// For testing an aggregator.
#[derive(Args)]
#[command(next_help_heading = "Testing")]
pub struct Testing {
    /// Leave a round with this probability (0 to 1), at a random step of it: the
    /// client hangs up without a word, forgets the round and comes back later
    #[arg(long, value_name = "P", value_parser = probability)]
    drop_rate: Option<f64>,
}

impl Testing {
    /// The dropouts of one client.
    pub fn dropouts(&self, seed: u64, client: u64) -> Option<Dropouts> {
        self.drop_rate.map(|rate| Dropouts::new(rate, seed, client))
    }
}

/// A text that is not the number that an option needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be {0}")]
struct NotA(&'static str);

fn positive(text: &str) -> Result<f64, NotA> {
    number(text, "a number above 0", |value| value > 0.0 && value.is_finite())
}

fn probability(text: &str) -> Result<f64, NotA> {
    number(text, "a number from 0 to 1", |value| (0.0..=1.0).contains(&value))
}

fn number(text: &str, must: &'static str, holds: impl Fn(f64) -> bool) -> Result<f64, NotA> {
    text.parse().ok().filter(|value| holds(*value)).ok_or(NotA(must))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_outside_their_range_are_refused() {
        for bad in ["0", "-1", "NaN", "inf", "x", ""] {
            assert!(positive(bad).is_err(), "{bad}");
        }
        for bad in ["-0.1", "1.1", "NaN"] {
            assert!(probability(bad).is_err(), "{bad}");
        }
        assert_eq!((positive("0.5"), probability("1")), (Ok(0.5), Ok(1.0)));
    }
}
