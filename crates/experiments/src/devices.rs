//! Speed, links and availability of simulated devices.

pub(crate) mod trace;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use rand_distr::{Distribution, Exp, LogNormal, Pareto};
use serde::Deserialize;

use crate::config::duration;
pub use trace::TraceError;
use trace::{Availability, Traced};

/// Longest work of a device.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// `[devices]`: the same rules for every device. Without the table devices train 1,000 examples
/// a second, have instant links and are always there.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Devices {
    /// Examples a second in training.
    pub speed: Option<Speed>,
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
    /// CSV file of measured devices: speed and links. Relative to the experiment's file.
    pub trace: Option<PathBuf>,
    /// CSV file of the times at which devices are there.
    pub availability: Option<PathBuf>,
    /// Time after which the availability repeats; never without it.
    #[serde(deserialize_with = "duration")]
    pub period: Option<Duration>,
    /// Rule by which clients have traced devices.
    pub traced: Assignment,
    /// The devices of the two files.
    #[serde(skip)]
    read: Vec<Traced>,
}

/// Rule by which clients have traced devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Assignment {
    /// By the seed, each device as often as the others.
    #[default]
    Drawn,
    /// By the column `client`: the client's number from 0, or the name of a natural client.
    Named,
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
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Examples a second.
    pub speed: f64,
    /// Megabits a second from the server; no limit without it.
    pub download_mbit: Option<f64>,
    /// Megabits a second to the server; no limit without it.
    pub upload_mbit: Option<f64>,
    /// Traced times at which it is there.
    availability: Option<Arc<Availability>>,
}

impl Device {
    /// Time at which it comes first; `None` if it never does.
    pub(crate) fn first(&self) -> Option<Duration> {
        match &self.availability {
            Some(times) => times.change(Duration::ZERO, false),
            None => Some(Duration::ZERO),
        }
    }
}

impl Devices {
    /// Problem with a number, and what to do.
    pub(crate) fn problem(&self) -> Option<String> {
        let positive = |value: f64| value > 0.0 && value.is_finite();
        let speeds = match self.speed.unwrap_or_default() {
            Speed::Constant { examples_per_second } => vec![examples_per_second],
            Speed::LogNormal { median, sigma } => vec![median, sigma + f64::MIN_POSITIVE],
            Speed::Pareto { fastest, exponent } => vec![fastest, exponent],
        };
        let links = self.download_mbit.iter().chain(&self.upload_mbit);
        let problem = if !speeds.into_iter().all(positive) {
            "the numbers of devices.speed must be above 0"
        } else if !links.copied().all(positive) {
            "devices.download_mbit and upload_mbit must be above 0"
        } else if !(0.0..=1.0).contains(&self.dropout) {
            return Some(format!("devices.dropout must be 0 to 1; it is {}", self.dropout));
        } else if self.online.is_some() != self.offline.is_some() {
            "devices.online and offline go together: set both, or none"
        } else if self.online.is_some() && self.availability.is_some() {
            "devices.availability says when devices are there; leave online and offline out"
        } else if self.trace.is_some() && self.speed.is_some() {
            "devices.trace says how fast devices are; leave speed out"
        } else if self.period.is_some() && self.availability.is_none() {
            "devices.period is that of devices.availability; set both"
        } else if self.period == Some(Duration::ZERO) {
            "devices.period must be above 0"
        } else if self.traced == Assignment::Named
            && self.trace.is_none()
            && self.availability.is_none()
        {
            "devices.traced is for devices.trace and availability; set one of them"
        } else {
            return None;
        };
        Some(problem.to_owned())
    }

    /// Reads the traces, which are relative to `folder`.
    ///
    /// # Errors
    ///
    /// [`TraceError`] with the file and the line.
    pub(crate) fn read(&mut self, folder: &Path) -> Result<(), TraceError> {
        let trace = self.trace.as_ref().map(|path| folder.join(path));
        let availability = self.availability.as_ref().map(|path| folder.join(path));
        self.read = trace::read(trace.as_deref(), availability.as_deref(), self)?;
        Ok(())
    }

    /// The device of each client, of these names.
    ///
    /// # Errors
    ///
    /// [`TraceError::NoDevice`] for a client that a trace by names does not have.
    pub(crate) fn draw<'a>(
        &self,
        names: impl ExactSizeIterator<Item = &'a str>,
        rng: &mut impl Rng,
    ) -> Result<Vec<Device>, TraceError> {
        let mut order: Vec<usize> = (0..self.read.len()).collect();
        if self.traced == Assignment::Drawn {
            order.shuffle(rng);
        }
        let by_name = trace::by_name(&self.read);
        let traced = |(number, name): (usize, &str)| match (self.traced, order.len()) {
            (_, 0) => Ok(None),
            (Assignment::Drawn, devices) => Ok(self.read.get(order[number % devices])),
            (Assignment::Named, _) => match by_name.get(name) {
                Some(&traced) => Ok(Some(traced)),
                None => Err(TraceError::NoDevice { client: name.to_owned() }),
            },
        };
        let devices = names.enumerate().map(|client| {
            let traced = traced(client)?;
            let measured = |of: fn(&Traced) -> Option<f64>| traced.and_then(of);
            Ok(Device {
                speed: measured(|of| of.speed).unwrap_or_else(|| self.draw_speed(rng)),
                download_mbit: measured(|of| of.download_mbit).or(self.download_mbit),
                upload_mbit: measured(|of| of.upload_mbit).or(self.upload_mbit),
                availability: traced.and_then(|of| of.availability.clone()),
            })
        });
        devices.collect()
    }

    fn draw_speed(&self, rng: &mut impl Rng) -> f64 {
        match self.speed.unwrap_or_default() {
            Speed::Constant { examples_per_second } => examples_per_second,
            Speed::LogNormal { median, sigma } => {
                LogNormal::new(median.ln(), sigma).map_or(median, |law| law.sample(rng))
            }
            Speed::Pareto { fastest, exponent } => {
                Pareto::new(1.0, exponent).map_or(fastest, |law| fastest / law.sample(rng))
            }
        }
    }

    /// Time of a round's work: the model comes, `examples` are trained on, the update goes.
    pub(crate) fn work(&self, device: &Device, down: u64, examples: u64, up: u64) -> Duration {
        let link =
            |bytes: u64, mbit: Option<f64>| mbit.map_or(0.0, |mbit| bytes as f64 * 8e-6 / mbit);
        let links = link(down, device.download_mbit) + link(up, device.upload_mbit);
        let seconds = examples as f64 / device.speed + links;
        let alone = Duration::try_from_secs_f64(seconds).map_or(LONGEST, |time| time.min(LONGEST));
        alone + 2 * self.latency.unwrap_or_default()
    }

    /// Time at which a device that is there at `now` goes away, or one that is away comes back;
    /// `None` if it never does.
    pub(crate) fn change(
        &self,
        device: &Device,
        now: Duration,
        is_there: bool,
        rng: &mut impl Rng,
    ) -> Option<Duration> {
        if let Some(times) = &device.availability {
            return times.change(now, is_there);
        }
        let mean = if is_there { self.online? } else { self.offline? };
        let rate = 1.0 / mean.as_secs_f64().max(1e-9);
        let after = Exp::new(rate).ok()?.sample(rng);
        Some(now + Duration::try_from_secs_f64(after).ok()?)
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
