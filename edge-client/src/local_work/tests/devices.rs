//! Rounds on a GPU, which can be lost at any moment: on Mesa's lavapipe, or what the system
//! has.

use fedra_protocol::layers::{Flatten, Linear, Relu, Standardize};
use fedra_protocol::{ClientAlgorithm, Loss};

use super::*;
use crate::backend::relative_error;
use crate::devices::{BackendName, lives};

/// Epochs of a round: two steps each.
const EPOCHS: u32 = 12;

fn hidden_layer() -> ModelSpec {
    let layers = vec![Linear { outputs: 8 }.into(), Relu.into(), Linear { outputs: 10 }.into()];
    ModelSpec::new(&[784], layers, Loss::SoftmaxCrossEntropy).unwrap()
}

fn plan() -> RawLocalTraining {
    RawLocalTraining { epochs: EPOCHS, learning_rate: 0.1, ..RawLocalTraining::default() }
}

/// The update of a round, and what the owner is told of devices.
struct Round {
    update: Vec<f32>,
    devices: Vec<(BackendName, String)>,
    notices: Vec<(EventCode, String)>,
}

/// The first round of a client with this preference.
async fn round(preference: BackendPreference, spec: ModelSpec) -> Round {
    let bench = Bench::with(spec, data(784), preference, None);
    bench.measured(bench.round()).await
}

impl Bench {
    /// Result of `rounds`, with the devices measured beside them.
    async fn measured<T>(&self, rounds: impl Future<Output = T>) -> T {
        let measuring = pin!(self.local_work.measure_devices());
        match future::select(measuring, pin!(rounds)).await {
            Either::Right((done, _)) => done,
            Either::Left(_) => unreachable!("measuring never ends"),
        }
    }

    async fn round(&self) -> Round {
        self.round_by(plan()).await
    }

    async fn round_by(&self, plan: RawLocalTraining) -> Round {
        let mut job = self.job(None, 0.1);
        job.assignment.training = LocalTraining::new(plan).unwrap();
        let codec = job.codec().unwrap();
        let (news, told) = std::sync::mpsc::channel();
        let tell = move |item| news.send(item).expect("the test listens");
        let (update, examples) = trained(self.local_work.clone().work(job, tell).await);
        assert_eq!(examples, 20);
        let update = CheckedUpdate::parse(update, &codec).unwrap().to_vec().unwrap();
        let (mut devices, mut notices) = (Vec::new(), Vec::new());
        for item in told.try_iter() {
            match item {
                News::Tell(ClientEvent::Backend { backend, reason, .. }) => {
                    devices.push((backend, reason));
                }
                News::Tell(ClientEvent::Error { code, message, .. }) => {
                    notices.push((code, message));
                }
                _ => {}
            }
        }
        Round { update, devices, notices }
    }
}

#[tokio::test]
async fn a_gpu_that_is_lost_at_any_moment_costs_no_round_and_spoils_none() {
    let on_cpu = round(BackendPreference::Cpu, hidden_layer()).await;
    // In an order that is as good as random.
    for life in [7, 0, 3, 9, 1, 5, 8, 2, 6, 4] {
        lives::set(&[life]);
        let Round { update, devices, notices } =
            round(BackendPreference::WebGpu, hidden_layer()).await;
        let error = relative_error(&on_cpu.update, &update);
        assert!(error < 1e-4, "lost at {life}: off by {error:.1e}");
        let names: Vec<_> = devices.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, [BackendName::WebGpu; 2], "lost at {life}: {devices:?}");
        assert_eq!(devices[1].1, "a new device in the place of a lost one");
        let [(code, message)] = &notices[..] else { panic!("lost at {life}: {notices:?}") };
        assert_eq!(*code, EventCode::from(Notice::DeviceLost));
        assert!(message.ends_with("; training starts again"), "{message}");
    }
}

#[tokio::test]
async fn after_a_second_loss_in_a_round_the_cpu_goes_on() {
    let on_cpu = round(BackendPreference::Cpu, hidden_layer()).await;
    lives::set(&[3, 5]);
    let bench = Bench::with(hidden_layer(), data(784), BackendPreference::WebGpu, None);
    let first = bench.measured(bench.round()).await;
    assert!(first.update == on_cpu.update, "the bits of the CPU");
    let (name, reason) = first.devices.last().expect("told of the CPU");
    assert_eq!(
        (*name, &reason[..]),
        (BackendName::Cpu, "the WebGPU device was lost twice in a round")
    );
    assert_eq!(first.notices.len(), 2, "{:?}", first.notices);
    let second = bench.round().await;
    assert_eq!((second.devices, second.notices), (vec![], vec![]), "for good, and told once");
    assert!(second.update == on_cpu.update, "the bits of the CPU");
}

#[tokio::test]
async fn rounds_on_a_gpu_follow_each_other_on_what_it_keeps() {
    let cpu = Bench::with(hidden_layer(), data(784), BackendPreference::Cpu, None);
    let gpu = Bench::with(hidden_layer(), data(784), BackendPreference::WebGpu, None);
    for _ in 0..3 {
        let (on_cpu, on_gpu) = (cpu.round().await, gpu.measured(gpu.round()).await);
        let error = relative_error(&on_cpu.update, &on_gpu.update);
        assert!(error < 1e-4, "off by {error:.1e}");
        // Other data of the same shape.
        for bench in [&cpu, &gpu] {
            let order: Vec<u32> = (0..20).rev().collect();
            let next = bench.local_work.data().unwrap().examples().select(&order);
            bench.local_work.set_data(next.into(), &task(&bench.spec, None));
        }
    }
}

#[tokio::test]
async fn a_model_without_kernels_trains_on_the_cpu_and_says_so_once() {
    let layers = vec![
        Flatten.into(),
        Linear { outputs: 8 }.into(),
        Standardize { epsilon: 1e-5 }.into(),
        Linear { outputs: 10 }.into(),
    ];
    let spec = ModelSpec::new(&[784], layers, Loss::SoftmaxCrossEntropy).unwrap();
    let bench = Bench::with(spec.clone(), data(784), BackendPreference::WebGpu, None);
    let Round { devices, notices, .. } = bench.measured(bench.round()).await;
    let reason = "layer 2 (standardize) has no WebGPU kernel";
    assert_eq!(devices, [(BackendName::Cpu, format!("WebGPU cannot be used: {reason}"))]);
    assert_eq!(
        notices,
        [(EventCode::from(Notice::NoWebgpu), format!("{reason}; training on the CPU"))]
    );
    let bench = Bench::with(spec, data(784), BackendPreference::Auto, None);
    let rounds = bench.measured(async {
        let first = bench.round().await;
        // Lets the measuring go on.
        platform::yield_now().await;
        [first.devices, bench.round().await.devices, bench.round().await.devices]
    });
    let [first, second, third] = rounds.await;
    assert_eq!(first, [(BackendName::Cpu, "measuring WebGPU beside it".into())]);
    assert_eq!(second, [(BackendName::Cpu, format!("WebGPU cannot be used: {reason}"))]);
    assert_eq!(third, []);
}

#[tokio::test]
async fn a_promise_to_single_examples_is_kept_on_the_cpu_and_the_owner_is_told() {
    let promise = ExamplePrivacy {
        clipping_norm: ClippingNorm::new(1.0).unwrap(),
        noise_multiplier: NoiseMultiplier::new(2.0).unwrap(),
        delta: Delta::new(1e-5).unwrap(),
    };
    let asked = BackendPreference::WebGpu;
    let bench = Bench::with(hidden_layer(), data(784), asked, Some(promise));
    let Round { devices, notices, .. } = bench.measured(bench.round()).await;
    assert_eq!(devices, [(BackendName::Cpu, EXAMPLES_ON_CPU.into())]);
    let told = format!("{EXAMPLES_ON_CPU}; training on the CPU");
    assert_eq!(notices, [(EventCode::from(Notice::NoWebgpu), told)]);
}

#[tokio::test]
async fn a_number_of_steps_with_nesterov_momentum_is_the_same_on_both_devices() {
    // Two steps an epoch.
    let plan = RawLocalTraining {
        algorithm: ClientAlgorithm::Nesterov,
        momentum: 0.5,
        epochs: 0,
        steps: 7,
        ..plan()
    };
    let cpu = Bench::with(hidden_layer(), data(784), BackendPreference::Cpu, None);
    let gpu = Bench::with(hidden_layer(), data(784), BackendPreference::WebGpu, None);
    let on_cpu = cpu.round_by(plan.clone()).await;
    let on_gpu = gpu.measured(gpu.round_by(plan)).await;
    assert_eq!(on_gpu.devices[0].0, BackendName::WebGpu, "{:?}", on_gpu.devices);
    let error = relative_error(&on_cpu.update, &on_gpu.update);
    assert!(error < 1e-4, "off by {error:.1e}");
}

#[tokio::test]
async fn a_plan_without_kernels_trains_on_the_cpu_and_says_so_whenever_it_comes() {
    let algorithm = ClientAlgorithm::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
    let adam = RawLocalTraining { algorithm, learning_rate: 0.01, ..plan() };
    let cpu = Bench::with(hidden_layer(), data(784), BackendPreference::Cpu, None);
    let on_cpu = cpu.round_by(adam.clone()).await;
    let reason = "WebGPU cannot be used: the algorithm adam has no WebGPU kernel";
    let told = [(BackendName::Cpu, reason.to_owned())];
    let bench = || Bench::with(hidden_layer(), data(784), BackendPreference::WebGpu, None);
    let gpu = bench();
    let first = gpu.measured(gpu.round_by(adam.clone())).await;
    assert_eq!(first.devices, told);
    assert!(first.update == on_cpu.update, "the bits of the CPU");
    let gpu = bench();
    let first = gpu.measured(gpu.round()).await;
    assert_eq!(first.devices[0].0, BackendName::WebGpu, "{:?}", first.devices);
    let second = gpu.round_by(adam).await;
    assert_eq!(second.devices, told);
    assert!(second.update == on_cpu.update, "the bits of the CPU");
}
