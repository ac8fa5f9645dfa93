//! Fuzz targets: messages of untrusted peers, and contents of files.
//!
//! A target is a function that takes bytes and panics when something does not
//! hold: no panic in the code under it, and what is said at each `assert`. It does
//! no I/O, reads no clock and draws no random number that is not in the bytes, so
//! that the same bytes always do the same.
//!
//! `cargo xtask fuzz` runs the targets under libFuzzer; `tests/corpus.rs` runs them
//! over `corpus/` and `crashers/`. A new target needs a line in [`TARGETS`] and a
//! folder in `corpus/`.

// The aggregator shows its insides to a fuzzer only, and replays this corpus itself.
#[cfg(all(feature = "full", fuzzing))]
use fedra_aggregator::fuzzing as aggregator;

#[cfg(feature = "full")]
use fedra_simulation::strangers;

mod codec;
#[cfg(feature = "full")]
mod config;
mod data;
#[cfg(feature = "full")]
mod learning;
mod messages;
mod model;
mod packing;
mod privacy;
mod secure;
#[cfg(feature = "full")]
mod session;
mod update;

/// Something to be fuzzed.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its folders in `corpus/` and `crashers/`.
    pub name: &'static str,
    /// Panics if something does not hold for these bytes.
    pub run: fn(&[u8]),
}

macro_rules! targets {
    ($($(#[$condition:meta])? $module:ident::$name:ident,)*) => {
        /// Every target there is with these features.
        pub const TARGETS: &[Target] =
            &[$($(#[$condition])? Target { name: stringify!($name), run: $module::$name }),*];
    };
}

targets! {
    codec::codec,
    data::data,
    messages::client_message,
    messages::server_message,
    model::model_spec,
    packing::packing,
    privacy::privacy_policy,
    privacy::encoded_update,
    secure::secure_client,
    secure::secure_server,
    update::update,
    #[cfg(feature = "full")] config::config,
    #[cfg(feature = "full")] learning::safetensors,
    #[cfg(feature = "full")] session::client_session,
    #[cfg(all(feature = "full", fuzzing))] aggregator::forwarded,
    #[cfg(all(feature = "full", fuzzing))] aggregator::join_token,
    #[cfg(feature = "full")] strangers::strangers,
}

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().copied().find(|target| target.name == name)
}
