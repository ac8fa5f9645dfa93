//! The device side of Fedra: takes part in a task with local data.
//!
//! [`session`] is a machine without I/O that decides what happens next;
//! [`client`] drives it with a real socket, a real clock and a trainer;
//! [`predict`] asks a model, with a session or without one. The
//! platform (browser or native) is known to `platform` alone; `wasm` is the
//! thin binding that JavaScript sees.

pub mod backend;
pub mod bench;
mod callback;
pub mod client;
mod codes;
pub mod devices;
mod dropouts;
pub mod encoding;
mod events;
mod failure;
mod local_data;
mod local_work;
#[cfg(any(target_arch = "wasm32", test))]
mod options;
mod origin;
pub mod outgoing;
mod platform;
pub mod predict;
mod privacy;
mod residual;
pub mod secure_round;
pub mod session;
mod token;
mod training;
mod transport;
#[cfg(target_arch = "wasm32")]
mod wasm;

pub use callback::CallbackError;
pub use codes::{CallCode, CallFault, EventCode, Notice, StatusReason};
pub use devices::BackendName;
pub use dropouts::Dropouts;
pub use events::{ClientEvent, RoundProgress, SessionState, UpdateFate};
pub use failure::{Course, Failure};
pub use fedra_privacy_policy::PrivacyFloors;
pub use local_data::{HOLD_OUT_SEED, LocalData};
pub use local_work::{Carried, Correction, ModelScores, Personalization};
pub use origin::{ServerUrl, ServerUrlError};
#[cfg(not(target_arch = "wasm32"))]
pub use platform::{TrainingSlots, Trust};
pub use privacy::{
    Consent, ExampleTerms, ParticipationLog, PolicyName, PrivacyConfig, PrivacyTerms,
};
pub use residual::{ResidualError, ResidualStore};
pub use token::TokenSource;
pub use transport::{TlsError, TransportError, TrustError};

/// Name and version of this client, as it introduces itself.
pub const SOFTWARE: &str = concat!("fedra-edge-client/", env!("CARGO_PKG_VERSION"));
