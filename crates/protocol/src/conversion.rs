//! Conversion between wire messages and their checked types.

mod decode;
mod encode;
mod evaluation;
