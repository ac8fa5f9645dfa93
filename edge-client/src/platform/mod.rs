//! Differences between a browser's worker and a native process: sockets, HTTP, clock,
//! dice, and where training and masking run. Both modules offer the same items.

#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(target_arch = "wasm32")]
mod web;

use bytes::Bytes;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use native::{Receiver, Sender, Turn, connect, fetch, jitter, now, sleep, yield_now};
#[cfg(not(target_arch = "wasm32"))]
pub use native::{TrainingSlots, Trust};
#[cfg(target_arch = "wasm32")]
pub(crate) use web::{Receiver, Sender, Turn, connect, fetch, jitter, now, sleep, yield_now};
#[cfg(target_arch = "wasm32")]
pub use web::{TrainingSlots, Trust};

/// Input from a socket.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// One binary message.
    Message(Bytes),
    /// The other side closed, or the connection broke; the reason as text.
    Closed(String),
}

/// A seed from the system's, or the browser's, generator: for secrets.
pub(crate) fn random_seed() -> Result<[u8; 32], String> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| format!("there is no randomness: {error}"))?;
    Ok(seed)
}
