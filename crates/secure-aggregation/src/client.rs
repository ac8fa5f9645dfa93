//! The client: [`AdvertisedKeys`] -> [`SharedKeys`] -> [`Masked`] -> done.
//!
//! Each step consumes the state, on success and on error, so that nothing can
//! be asked of a client twice:
//!
//! ```compile_fail,E0382
//! # use fedra_secure_aggregation::client::Masked;
//! fn greedy(client: Masked) {
//!     let _ = client.unmask(&[0, 1, 2]);
//!     let _ = client.unmask(&[0, 1]);
//! }
//! ```
//!
//! A client does not wait, retry or reconnect. A caller that may have to send a
//! message again keeps the message.

mod advertised;
mod error;
mod masked;
mod shared;

pub use advertised::AdvertisedKeys;
pub use error::ClientError;
pub use masked::Masked;
pub use shared::SharedKeys;
