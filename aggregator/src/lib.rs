//! Fedra's server side: it selects cohorts, hands out the global model, checks
//! and folds updates, evaluates and stores each new model, and serves it all
//! over HTTP and WebSocket.
//!
//! [`run`] is the whole server; `bin` only reads the command line. The logic of
//! rounds is in [`fedra_coordinator::round`] and does no I/O.

mod access;
pub mod config;
mod credentials;
mod descriptors;
pub mod evaluation;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod http;
pub mod initial;
mod metrics;
mod models;
mod platform;
mod server;
mod serving;
mod session;
mod set_aside;
mod signals;
pub mod storage;
mod task;
mod tls;

pub use config::{ClientAddressHeader, Origin};
pub use credentials::{FileError, TokenKeySource};
pub use server::ServeError;
pub use serving::{run, run_with_store};
pub use signals::Signals;
