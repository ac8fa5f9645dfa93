//! A model of the device's own: what it is trained on, what it is better at, what stays.

use super::*;
use crate::local_work::GlobalModel;

/// Two layers; examples whose class is the brightest of ten pixels, with the classes moved on
/// by one on this device.
fn bench() -> Bench {
    let layers = vec![Linear { outputs: 16 }.into(), Linear { outputs: 10 }.into()];
    let spec = ModelSpec::new(&[10], layers, Loss::SoftmaxCrossEntropy).unwrap();
    let pixels = (0..100).flat_map(|i| (0..10).map(move |p| f32::from(u8::from(p == i % 10))));
    let noise = (0..1000).map(|i| ((i * 37) % 101) as f32 / 1000.0);
    let features: Vec<f32> = pixels.zip(noise).map(|(pixel, noise)| pixel + noise).collect();
    let classes = Targets::Classes((0..100).map(|i| (i + 1) % 10).collect());
    let data = Dataset::new(features, spec.input(), classes).unwrap();
    Bench::with(spec, data, BackendPreference::Cpu, None)
}

fn global(bench: &Bench) -> GlobalModel {
    GlobalModel { spec: bench.spec.clone(), frozen: None, trained: bench.model.clone() }
}

fn plan() -> LocalTraining {
    let raw = RawLocalTraining { epochs: 20, learning_rate: 0.5, ..RawLocalTraining::default() };
    LocalTraining::new(raw).unwrap()
}

#[tokio::test]
async fn a_personal_model_is_better_here_and_differs_in_its_last_layer_alone() {
    let bench = bench();
    let done = bench.local_work.personalize(&global(&bench), &plan()).await.unwrap();
    assert_eq!((done.examples, done.held_out), (80, 20));
    assert!(done.personal.loss < done.global.loss / 2.0, "{done:?}");
    assert!(done.personal.accuracy > Some(0.9), "{done:?}");
    let own = bench.local_work.personal.borrow().clone().expect("it is kept");
    let start = bench.local_work.weights(&global(&bench), &|_| {}).await.unwrap();
    let (first, last) = start.trained.split_at(16 * 10 + 16);
    assert_eq!(*own.weights.frozen, first, "the first layer is that of the global model");
    assert_eq!(own.weights.trained.len(), last.len());
    assert_ne!(*own.weights.trained, last);
    // The next round starts from the global model all the same.
    let again = bench.local_work.weights(&global(&bench), &|_| {}).await.unwrap();
    assert_eq!(again, start);
}

#[tokio::test]
async fn each_model_answers_by_its_name() {
    let bench = bench();
    let features = [1.0_f32, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    let mut own = Vec::new();
    let none = bench.local_work.predict_personal(&features[..], &mut own).await.unwrap_err();
    assert_eq!(none.code.as_str(), "no-model");
    assert!(none.message.contains("personalize"), "{}", none.message);
    bench.local_work.personalize(&global(&bench), &plan()).await.unwrap();
    bench.local_work.predict_personal(&features[..], &mut own).await.unwrap();
    let best = |outputs: &[f32]| (0..10).max_by(|&a, &b| outputs[a].total_cmp(&outputs[b]));
    assert_eq!(best(&own), Some(1), "{own:?}");
    let mut of_all = Vec::new();
    bench.local_work.predict(&global(&bench), &features[..], &mut of_all).await.unwrap();
    assert_ne!(of_all, own);
}

#[tokio::test]
async fn without_data_there_is_none() {
    let bench = bench();
    *bench.local_work.data.borrow_mut() = None;
    let error = bench.local_work.personalize(&global(&bench), &plan()).await.unwrap_err();
    assert_eq!(error.code.as_str(), "bad-dataset");
}
