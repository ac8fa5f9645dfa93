//! The browser encodes and masks as native code does, to the bit: a cohort may
//! have both, and the server takes off what they put on.

use fedra_secure_aggregation::{KNOWN_ANSWER, known_answer};
use fedra_wasm_tests::privacy::{ENCODINGS, encodings};
use wasm_bindgen_test::wasm_bindgen_test;

#[wasm_bindgen_test]
fn updates_are_encoded_as_in_native_code() {
    assert_eq!(encodings(), ENCODINGS);
}

#[wasm_bindgen_test]
fn a_round_of_secure_aggregation_has_the_bytes_of_native_code() {
    assert_eq!(known_answer(), KNOWN_ANSWER);
}
