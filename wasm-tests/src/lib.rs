//! Tests that only a real browser can run. The Rust tests lie in `tests/browser/`, the
//! end-to-end runs in `e2e/`.
//!
//! This library holds what the native and the browser side of a comparison
//! share. Nothing here ships.

pub mod codecs;
pub mod golden;
pub mod privacy;
