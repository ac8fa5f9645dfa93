//! A model file answers in the worker, and a long call takes no more of the module's
//! memory than a short one.

use core::arch::wasm32::memory_size;

use fedra_edge_client::predict::Predictor;
use fedra_learning::{init_parameters, safetensors};
use fedra_protocol::ModelSpec;
use wasm_bindgen_test::{console_log, wasm_bindgen_test};

/// Bytes of a page of WebAssembly memory.
const PAGE: usize = 64 << 10;
/// 48 MiB for a piece and 16 for what the allocator leaves between pieces. In one piece
/// the activations alone of 1,000 images would be 190 MiB.
const MOST_GROWTH: usize = 64 << 20;

#[wasm_bindgen_test]
async fn a_long_prediction_takes_the_memory_of_a_piece() {
    let spec = ModelSpec::mnist_cnn();
    let file = safetensors::write(&spec, &init_parameters(&spec, 1)).unwrap();
    let predictor = Predictor::new(&file, None).unwrap();
    let images = vec![0.5; 1_000 * 784];
    let before = memory_size(0);
    let outputs = predictor.predict(&images).await.unwrap();
    assert_eq!(outputs.len(), 10_000);
    let growth = (memory_size(0) - before) * PAGE;
    console_log!("1,000 images: the memory grew by {} MiB", growth >> 20);
    assert!(growth <= MOST_GROWTH, "{growth} bytes");
}
