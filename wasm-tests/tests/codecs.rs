//! The updates and steps that the browser is compared with are those of native code.
//! After a change that is meant, copy what the failing test prints.
#![cfg(not(target_arch = "wasm32"))]

use fedra_wasm_tests::codecs::{HASHES, hashes};

#[test]
fn the_known_updates_and_steps_are_those_of_native_code() {
    for (found, known) in hashes().iter().zip(HASHES) {
        assert_eq!((found.0, &*found.1), known);
    }
}
