//! Training in the browser gives the numbers that it gives natively, on the
//! CPU and on WebGPU, and a WebGPU that computes wrong is found out.

use fedra_learning::Compute;
use fedra_wasm_tests::golden::{Fixture, MODELS, file};
use wasm_bindgen_test::{console_log, wasm_bindgen_test};

/// Native against WASM, both on the CPU: the order of additions differs.
const CPU_TOLERANCE: f64 = 1e-4;
/// A delta is a small difference of parameters that were rounded at each step.
const DELTA_TOLERANCE: f64 = 1e-3;

#[wasm_bindgen_test]
async fn the_cpu_computes_what_native_code_does() {
    for model in MODELS {
        let golden = &file()[model];
        let numbers = Fixture::new(model).numbers(&Compute::cpu()).await.unwrap();
        let gradient = numbers.gradient.error(&golden.gradient);
        let delta = numbers.delta.error(&golden.delta);
        console_log!("{model}: gradient off by {gradient:.1e}, delta by {delta:.1e}");
        assert!(gradient <= CPU_TOLERANCE, "{model} gradient: off by {gradient:.1e}");
        assert!(delta <= DELTA_TOLERANCE, "{model} delta: off by {delta:.1e}");
    }
}

#[cfg(feature = "webgpu")]
mod webgpu {
    use fedra_edge_client::backend::{
        BackendPreference, GRADIENT_TOLERANCE, Measurement, decide, relative_error,
    };
    use fedra_learning::{Backend, Compute};
    use fedra_wasm_tests::golden::{Fixture, MODELS};
    use js_sys::Function;
    use wasm_bindgen_test::{console_log, wasm_bindgen_test};

    async fn gradients(model: &str) -> (Vec<f32>, Vec<f32>) {
        let fixture = Fixture::new(model);
        let webgpu = Compute::webgpu().await.unwrap();
        let on_cpu = fixture.gradient(&Compute::cpu()).await.unwrap();
        (on_cpu, fixture.gradient(&webgpu).await.unwrap())
    }

    #[wasm_bindgen_test]
    async fn gradients_agree_with_the_cpu() {
        for model in MODELS {
            let (cpu, webgpu) = gradients(model).await;
            let error = relative_error(&cpu, &webgpu);
            console_log!("{model}: off by {error:.1e}");
            assert!(error <= GRADIENT_TOLERANCE, "{model}: off by {error:.1e}");
        }
    }

    #[wasm_bindgen_test]
    async fn a_wrong_kernel_makes_the_check_choose_the_cpu() {
        // Every kernel is recorded, none runs: as silent as a broken driver.
        run("const pass = GPUComputePassEncoder.prototype;
             globalThis.dispatch = pass.dispatchWorkgroups;
             globalThis.dispatchIndirect = pass.dispatchWorkgroupsIndirect;
             pass.dispatchWorkgroups = pass.dispatchWorkgroupsIndirect = () => {};");
        let (cpu, webgpu) = gradients("mnist-2nn").await;
        run("const pass = GPUComputePassEncoder.prototype;
             pass.dispatchWorkgroups = globalThis.dispatch;
             pass.dispatchWorkgroupsIndirect = globalThis.dispatchIndirect;");
        let measured = |gradient| Measurement { gradient, samples_per_second: None };
        let cpu = measured(cpu);
        let webgpu = Ok(measured(webgpu));
        for preference in [BackendPreference::Auto, BackendPreference::WebGpu] {
            let choice = decide(preference, &cpu, &webgpu);
            assert_eq!(choice.backend, Backend::Cpu);
            assert!(choice.reason.contains("wrong gradient"), "{}", choice.reason);
        }
    }

    fn run(script: &str) {
        Function::new_no_args(script).call0(&wasm_bindgen::JsValue::NULL).unwrap();
    }
}
