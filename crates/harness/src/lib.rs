//! Programs and tools on this machine, as `cargo xtask` and the system tests use
//! them: child processes, the repository's paths, npm packages and a browser, an
//! aggregator that is started from a configuration and followed over HTTP.
//!
//! Knows Fedra's crates only as programs, and by the types of the HTTP API. It does not
//! depend on burn, because a fresh clone compiles it before anything else.

pub mod aggregator;
pub mod browser;
pub mod config;
pub mod debian;
pub mod http;
pub mod npm;
pub mod process;
pub mod project;
pub mod status;
pub mod table;
