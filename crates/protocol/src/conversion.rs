//! Conversion between wire messages and their checked types.

mod data;
mod decode;
mod encode;
mod evaluation;
