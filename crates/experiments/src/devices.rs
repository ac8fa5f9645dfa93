//! Speed, links and availability of simulated devices.

use std::time::Duration;

use rand::{Rng, RngExt};
use rand_distr::{Distribution, Exp, LogNormal, Pareto};
use serde::Deserialize;

use crate::config::duration;

/// Longest work of a device.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// `[devices]`: the same rules for every device. Without the table devices train 1,000 examples
/// a second, have instant links and are always there.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Devices {
    /// Examples a second in training.
    pub speed: Speed,
    /// Megabits a second from the server; no limit without it.
    pub download_mbit: Option<f64>,
    /// Megabits a second to the server; no limit without it.
    pub upload_mbit: Option<f64>,
    /// Time of a message on its way.
    #[serde(deserialize_with = "duration")]
    pub latency: Option<Duration>,
    /// Mean time that a device is there, exponentially distributed; for ever without it.
    #[serde(deserialize_with = "duration")]
    pub online: Option<Duration>,
    /// Mean time that it is away then.
    #[serde(deserialize_with = "duration")]
    pub offline: Option<Duration>,
    /// Share of the invitations in which a device goes away in the middle of its work, 0 to 1.
    pub dropout: f64,
}

/// Distribution of the devices' speed.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Speed {
    /// The same for all.
    Constant {
        /// Examples a second, above 0.
        examples_per_second: f64,
    },
    /// Log-normal.
    LogNormal {
        /// Median, examples a second, above 0.
        median: f64,
        /// Standard deviation of the logarithm, at least 0.
        sigma: f64,
    },
    /// Slowness after a Pareto distribution, which has a heavy tail: the time of an example is
    /// at least `1 / fastest`.
    Pareto {
        /// Speed of the fastest device, examples a second, above 0.
        fastest: f64,
        /// Exponent of the tail, above 0: the smaller, the heavier.
        exponent: f64,
    },
}

impl Default for Speed {
    fn default() -> Self {
        Self::Constant { examples_per_second: 1_000.0 }
    }
}

/// One device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Device {
    /// Examples a second.
    pub speed: f64,
}

impl Devices {
    /// Problem with a number, and what to do.
    pub(crate) fn problem(&self) -> Option<String> {
        let positive = |value: f64| value > 0.0 && value.is_finite();
        let speeds = match self.speed {
            Speed::Constant { examples_per_second } => vec![examples_per_second],
            Speed::LogNormal { median, sigma } => vec![median, sigma + f64::MIN_POSITIVE],
            Speed::Pareto { fastest, exponent } => vec![fastest, exponent],
        };
        if !speeds.into_iter().all(positive) {
            return Some("the numbers of devices.speed must be above 0".to_owned());
        }
        let links = self.download_mbit.iter().chain(&self.upload_mbit);
        if !links.copied().all(positive) {
            let problem = "devices.download_mbit and upload_mbit must be above 0";
            return Some(problem.to_owned());
        }
        if !(0.0..=1.0).contains(&self.dropout) {
            return Some(format!("devices.dropout must be 0 to 1; it is {}", self.dropout));
        }
        (self.online.is_some() != self.offline.is_some())
            .then(|| "devices.online and offline go together: set both, or none".to_owned())
    }

    /// A device of the distribution.
    pub(crate) fn draw(&self, rng: &mut impl Rng) -> Device {
        let speed = match self.speed {
            Speed::Constant { examples_per_second } => examples_per_second,
            Speed::LogNormal { median, sigma } => {
                LogNormal::new(median.ln(), sigma).map_or(median, |law| law.sample(rng))
            }
            Speed::Pareto { fastest, exponent } => {
                Pareto::new(1.0, exponent).map_or(fastest, |law| fastest / law.sample(rng))
            }
        };
        Device { speed }
    }

    /// Time of a round's work: the model comes, `examples` are trained on, the update goes.
    pub(crate) fn work(&self, device: Device, down: u64, examples: u64, up: u64) -> Duration {
        let link =
            |bytes: u64, mbit: Option<f64>| mbit.map_or(0.0, |mbit| bytes as f64 * 8e-6 / mbit);
        let links = link(down, self.download_mbit) + link(up, self.upload_mbit);
        let seconds = examples as f64 / device.speed + links;
        let alone = Duration::try_from_secs_f64(seconds).map_or(LONGEST, |time| time.min(LONGEST));
        alone + 2 * self.latency.unwrap_or_default()
    }

    /// Time until a device that is there goes away, or one that is away comes back; `None` if
    /// it never does.
    pub(crate) fn stays(&self, is_there: bool, rng: &mut impl Rng) -> Option<Duration> {
        let mean = if is_there { self.online? } else { self.offline? };
        let rate = 1.0 / mean.as_secs_f64().max(1e-9);
        Exp::new(rate).ok().and_then(|law| Duration::try_from_secs_f64(law.sample(rng)).ok())
    }

    /// True if a device goes away in the middle of this work.
    pub(crate) fn drops_out(&self, rng: &mut impl Rng) -> bool {
        self.dropout > 0.0 && rng.random_bool(self.dropout)
    }
}

/// Bytes of a WebSocket message with its frame's header; a client's has a mask.
pub(crate) fn frame(payload: usize, is_masked: bool) -> usize {
    let length = match payload {
        0..126 => 2,
        126..65_536 => 4,
        _ => 10,
    };
    payload + length + if is_masked { 4 } else { 0 }
}
