//! ChaCha20 keystreams at the speed of each target's vectors, and random numbers from
//! them.
//!
//! The bytes are the same on every target. Natively they come from the crate `chacha20`,
//! which has vectors for x86 and ARM; in WASM, where it has none, four blocks at a time
//! are computed on SIMD128.
//!
//! They are those of RFC 8439 with a nonce of zero, and end after 256 GiB, where the
//! standard's counter ends. A key gives one keystream and must not be used for another.
//!
//! It must not encrypt, and knows nothing of masks or noise.
#![cfg_attr(not(test), no_std)]

#[cfg(any(test, not(all(target_arch = "wasm32", target_feature = "simd128"))))]
mod native;
mod random;
#[cfg(any(test, all(target_arch = "wasm32", target_feature = "simd128")))]
mod vectors;

#[cfg(test)]
mod tests;

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
pub use native::Keystream;
pub use random::KeystreamRng;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub use vectors::Keystream;
