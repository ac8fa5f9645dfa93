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

/// The generator of the system, or of the browser, gives nothing.
#[derive(Debug, thiserror::Error)]
#[error("there is no randomness: {0}")]
pub(crate) struct NoRandomness(#[from] getrandom::Error);

/// A seed from the system's, or the browser's, generator: for secrets.
///
/// # Errors
///
/// [`NoRandomness`] if it gives none.
pub(crate) fn random_seed() -> Result<[u8; 32], NoRandomness> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    Ok(seed)
}
