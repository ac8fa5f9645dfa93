//! Training in the browser gives the numbers that it gives natively, on the
//! CPU and on WebGPU, and a WebGPU that computes wrong is found out.

use fedra_edge_client::devices::Compute;
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
        let numbers = Fixture::new(model).numbers(&Compute::Cpu).await.unwrap();
        let gradient = numbers.gradient.error(&golden.gradient);
        let delta = numbers.delta.error(&golden.delta);
        console_log!("{model}: gradient off by {gradient:.1e}, delta by {delta:.1e}");
        assert!(gradient <= CPU_TOLERANCE, "{model} gradient: off by {gradient:.1e}");
        assert!(delta <= DELTA_TOLERANCE, "{model} delta: off by {delta:.1e}");
    }
}

mod webgpu {
    //! Training on the software adapter of the test browser.

    use fedra_edge_client::BackendName;
    use fedra_edge_client::backend::{
        BackendPreference, GRADIENT_TOLERANCE, Measurement, decide, relative_error, webgpu,
    };
    use fedra_edge_client::devices::Compute;
    use fedra_wasm_tests::golden::{Fixture, file};
    use js_sys::Function;
    use wasm_bindgen_test::{console_log, wasm_bindgen_test};

    /// Models that have kernels.
    const MODELS: [&str; 2] = ["mnist-2nn", "mnist-cnn"];

    #[wasm_bindgen_test]
    async fn gradients_and_steps_are_those_of_native_code() {
        let webgpu = webgpu().await.unwrap();
        assert!(webgpu.adapter().is_some(), "the adapter has a name");
        assert!(webgpu.is_software());
        for model in MODELS {
            let golden = &file()[model];
            let numbers = Fixture::new(model).numbers(&webgpu).await.unwrap();
            let gradient = numbers.gradient.error(&golden.gradient);
            let delta = numbers.delta.error(&golden.delta);
            console_log!("{model}: gradient off by {gradient:.1e}, delta by {delta:.1e}");
            assert!(gradient <= super::CPU_TOLERANCE, "{model} gradient: off by {gradient:.1e}");
            assert!(delta <= super::DELTA_TOLERANCE, "{model} delta: off by {delta:.1e}");
        }
    }

    #[wasm_bindgen_test]
    async fn a_wrong_kernel_makes_the_check_choose_the_cpu() {
        let fixture = Fixture::new("mnist-2nn");
        let webgpu = webgpu().await.unwrap();
        let on_cpu = fixture.gradient(&Compute::Cpu).await.unwrap();
        let right = fixture.gradient(&webgpu).await.unwrap();
        assert!(relative_error(&on_cpu, &right) <= GRADIENT_TOLERANCE);
        // Every kernel is recorded, none runs: as silent as a broken driver.
        run("const pass = GPUComputePassEncoder.prototype;
             globalThis.dispatch = pass.dispatchWorkgroups;
             pass.dispatchWorkgroups = () => {};");
        let wrong = fixture.gradient(&webgpu).await.unwrap();
        run("GPUComputePassEncoder.prototype.dispatchWorkgroups = globalThis.dispatch;");
        let measured = |gradient| Measurement { gradient, samples_per_second: None };
        let (cpu, webgpu) = (measured(on_cpu), Ok(measured(wrong)));
        for preference in [BackendPreference::Auto, BackendPreference::WebGpu] {
            let choice = decide(preference, &cpu, &webgpu);
            assert_eq!(choice.backend, BackendName::Cpu);
            assert!(choice.reason.contains("wrong gradient"), "{}", choice.reason);
        }
    }

    fn run(script: &str) {
        Function::new_no_args(script).call0(&wasm_bindgen::JsValue::NULL).unwrap();
    }
}
