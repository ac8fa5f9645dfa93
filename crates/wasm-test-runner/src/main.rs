//! Runner with which cargo runs a compiled browser test: wasm-bindgen's own, used as
//! a library so that its version is the one in `Cargo.lock`.
//!
//! Started by `cargo xtask test`, which says by environment variables where
//! the browser is; it holds no logic of ours.

use wasm_bindgen_cli::wasm_bindgen_test_runner::run_cli_with_args;

fn main() -> anyhow::Result<()> {
    run_cli_with_args(std::env::args_os())
}
