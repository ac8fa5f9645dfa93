//! The golden numbers are what native code computes today. To write them
//! anew after a change that is meant: `FEDRA_BLESS=1 cargo test -p
//! fedra-wasm-tests`.
#![cfg(not(target_arch = "wasm32"))]

use std::env;
use std::fs;

use fedra_edge_client::devices::Compute;
use fedra_wasm_tests::golden::{File, Fixture, MODELS, file};

/// Processors differ in how they add up: what one machine may differ from
/// another.
const TOLERANCE: f64 = 1e-5;

#[test]
fn the_golden_numbers_are_those_of_native_code() {
    let numbers: File = MODELS
        .into_iter()
        .map(|model| {
            let numbers = pollster::block_on(Fixture::new(model).numbers(&Compute::Cpu)).unwrap();
            (model.to_owned(), numbers)
        })
        .collect();
    if env::var_os("FEDRA_BLESS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/golden.json");
        fs::write(path, serde_json::to_string(&numbers).unwrap() + "\n").unwrap();
        return;
    }
    let golden = file();
    assert_eq!(golden.len(), MODELS.len());
    for (model, numbers) in numbers {
        for (name, here, there) in [
            ("gradient", &numbers.gradient, &golden[&model].gradient),
            ("delta", &numbers.delta, &golden[&model].delta),
        ] {
            let error = here.error(there);
            assert!(error <= TOLERANCE, "{model} {name}: off by {error:.1e}");
        }
    }
}
