//! The Rust tests that run in a dedicated worker of a real browser, as the
//! client does. One program, because each one is linked with all of burn.
#![cfg(target_arch = "wasm32")]
#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may panic, and clippy does not know these as tests"
)]

mod codec;
mod keystream;
mod platform;
mod predict;
mod privacy;
mod session;
mod training;

wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_dedicated_worker);
