//! The encodings that the browser is compared with are those of native code.
//! After a change that is meant, copy what the failing test prints.
#![cfg(not(target_arch = "wasm32"))]

use fedra_wasm_tests::privacy::{ENCODINGS, encodings};

#[test]
fn the_known_encodings_are_those_of_native_code() {
    assert_eq!(encodings(), ENCODINGS);
}
