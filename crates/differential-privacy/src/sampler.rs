//! Exact random numbers from integers alone: the discrete Gaussian and the
//! coin that shows heads with probability exp(-x).
//!
//! It must not touch a floating-point number: rounding there is what broke the
//! textbook mechanisms (Mironov 2012).
//!
//! The laws are those of Canonne, Kamath and Steinke, "The Discrete Gaussian for
//! Differential Privacy" (2020). [`bernoulli_exp`] is their Algorithm 1. Their
//! Algorithm 3 (propose from a discrete Laplace law, accept or refuse) is kept
//! in the tests as the measure; [`DiscreteGaussian`] draws from the same law
//! with fewer random bits. How, and why nothing is lost, is in
//! [`DiscreteGaussian`]'s documentation.

mod coin;
mod enclosure;
mod histogram;
mod ratio;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

pub use coin::bernoulli_exp;
pub use histogram::DiscreteGaussian;
pub use ratio::{Ratio, RatioError};
