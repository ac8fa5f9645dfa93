//! Accounts of Gaussian noise: the functions of `fedra.privacy`.

use differential_privacy::accounting::{LossDistribution, smallest_noise_multiplier};
use differential_privacy::{Delta, Epsilon, NoiseMultiplier, QuantityError, Rho, SamplingRate};
use pyo3::{PyErr, PyResult, Python, pyfunction};

use crate::error::ConfigError;

/// Rounds of a mechanism that is to be accounted for.
struct Account {
    rounds: u32,
    delta: Delta,
    rate: SamplingRate,
}

impl Account {
    fn new(rounds: u32, delta: f64, rate: f64) -> PyResult<Self> {
        let (delta, rate) = (Delta::new(delta), SamplingRate::new(rate));
        Ok(Self { rounds, delta: delta.map_err(wrong)?, rate: rate.map_err(wrong)? })
    }

    fn epsilon(&self, noise: NoiseMultiplier) -> Epsilon {
        let Self { rounds, delta, rate } = *self;
        if rate.value() == 1.0 {
            return Rho::of_gaussian(noise).times(rounds).epsilon(delta);
        }
        LossDistribution::poisson_gaussian(rate, noise).times(rounds).epsilon(delta)
    }
}

/// Least epsilon at `delta` of rounds with Gaussian noise.
#[pyfunction]
pub(crate) fn epsilon(
    py: Python<'_>,
    noise_multiplier: f64,
    rounds: u32,
    delta: f64,
    sampling_rate: f64,
) -> PyResult<f64> {
    let account = Account::new(rounds, delta, sampling_rate)?;
    let noise = NoiseMultiplier::new(noise_multiplier).map_err(wrong)?;
    Ok(py.detach(|| account.epsilon(noise)).value())
}

/// Smallest noise multiplier with which the rounds cost at most `epsilon`.
#[pyfunction]
pub(crate) fn noise(
    py: Python<'_>,
    epsilon: f64,
    rounds: u32,
    delta: f64,
    sampling_rate: f64,
) -> PyResult<f64> {
    let account = Account::new(rounds, delta, sampling_rate)?;
    let target = Epsilon::new(epsilon).map_err(wrong)?;
    let found = py.detach(|| smallest_noise_multiplier(target, |noise| account.epsilon(noise)));
    let none = || ConfigError::new_err("no noise is enough for this epsilon: raise it, or delta");
    found.map(NoiseMultiplier::value).ok_or_else(none)
}

fn wrong(error: QuantityError) -> PyErr {
    ConfigError::new_err(error.to_string())
}
