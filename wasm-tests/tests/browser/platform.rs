//! Features that the browser has to offer for any other test here to mean something.

use js_sys::{Function, Promise, Reflect};
use wasm_bindgen::JsCast;
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::wasm_bindgen_test;

fn property(object: &JsValue, name: &str) -> JsValue {
    Reflect::get(object, &name.into()).unwrap()
}

#[wasm_bindgen_test]
fn tests_run_in_a_dedicated_worker() {
    let scope = property(&property(&js_sys::global(), "constructor"), "name");
    assert_eq!(scope, "DedicatedWorkerGlobalScope");
}

#[wasm_bindgen_test]
async fn a_worker_gets_a_webgpu_adapter() {
    let gpu = property(&property(&js_sys::global(), "navigator"), "gpu");
    assert!(gpu.is_object(), "this browser has no WebGPU: {gpu:?}");
    let request: Function = property(&gpu, "requestAdapter").unchecked_into();
    let adapter: Promise = request.call0(&gpu).unwrap().unchecked_into();
    let adapter = JsFuture::from(adapter).await.unwrap();
    assert!(adapter.is_object(), "no adapter: {adapter:?}");
}
