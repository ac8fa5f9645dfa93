//! Plans without a device: every shader is valid, dispatches are few, limits are kept.

use fedra_gpu::{Limits, Plan, PlanError, Preset, supports};
use fedra_protocol::layers::{
    Abs, AvgPool2d, CategoryEmbedding, Conv1d, Conv2d, Dropout, Elu, EmbeddedFeature, Embedding,
    Flatten, Gelu, GlobalAvgPool, GlobalMaxPool, GroupNorm, LayerNorm, LeakyRelu, Linear,
    MaxPool2d, Relu, Residual, Sigmoid, Silu, Softplus, Standardize, Tanh,
};
use fedra_protocol::{
    ClientAlgorithm, ElementKind, Layer, LocalTraining, Loss, ModelSpec, Objective,
    RawLocalTraining,
};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use proptest::prelude::*;

/// The built-in models whose layers all have kernels.
const WITH_KERNELS: [&str; 6] = [
    "softmax-regression",
    "mnist-oriented-gradients",
    "mnist-scattering",
    "mnist-2nn",
    "mnist-cnn",
    "lenet",
];

fn training(batch_size: u32, momentum: f32) -> LocalTraining {
    let raw = RawLocalTraining { batch_size, momentum, ..Default::default() };
    LocalTraining::new(raw).expect("a plan within its ranges")
}

fn plan(spec: &ModelSpec, batch: u32, preset: Preset) -> Plan {
    Plan::new(spec, 0, &training(batch, 0.9), preset, &Limits::MINIMUM).expect("a plan")
}

fn validate(plan: &Plan) {
    for kernel in plan.kernels() {
        let module = naga::front::wgsl::parse_str(&kernel.code).unwrap_or_else(|error| {
            panic!("{}: {}\n{}", kernel.name, error.emit_to_string(&kernel.code), kernel.code)
        });
        let mut validator = Validator::new(ValidationFlags::all(), Capabilities::empty());
        if let Err(error) = validator.validate(&module) {
            panic!("{}: {error:?}\n{}", kernel.name, kernel.code);
        }
        assert_eq!(
            module.global_variables.iter().filter(|(_, v)| v.binding.is_some()).count(),
            kernel.bindings.len()
        );
    }
}

#[test]
fn a_step_is_few_dispatches() {
    for preset in Preset::ALL {
        for batch in [1, 10, 32] {
            assert_eq!(plan(&ModelSpec::softmax_regression(), batch, preset).kernels().len(), 3);
            assert_eq!(plan(&ModelSpec::mnist_2nn(), batch, preset).kernels().len(), 8);
            assert_eq!(plan(&ModelSpec::mnist_cnn(), batch, preset).kernels().len(), 13);
        }
    }
}

#[test]
fn presets_share_buffers_and_dispatches_and_plans_are_the_same_every_time() {
    for spec in [ModelSpec::mnist_2nn(), ModelSpec::mnist_cnn()] {
        let [registers, split] = Preset::ALL.map(|preset| plan(&spec, 10, preset));
        assert_eq!(registers.buffers(), split.buffers());
        let names = |plan: &Plan| -> Vec<_> {
            plan.kernels()
                .iter()
                .map(|kernel| (kernel.name.clone(), kernel.bindings.clone()))
                .collect()
        };
        assert_eq!(names(&registers), names(&split));
        assert_eq!(plan(&spec, 10, Preset::SplitK).kernels(), split.kernels());
    }
}

#[test]
fn what_has_no_kernel_is_named() {
    let plan = training(10, 0.0);
    for name in ModelSpec::BUILTIN {
        let spec = ModelSpec::builtin(name).expect("a model");
        if spec.input().elements() == ElementKind::TokenIds {
            let error = supports(&spec, &plan).expect_err("tokens have no kernel");
            assert_eq!(error.what, "layer 0 (embedding)", "{name}");
        }
    }
    for name in WITH_KERNELS {
        let spec = ModelSpec::builtin(name).expect("a model");
        assert_eq!(supports(&spec, &plan), Ok(()), "{name}");
    }
    let error = supports(&ModelSpec::cifar_resnet14(), &plan).expect_err("a ResNet has no kernels");
    assert_eq!(error.what, "layer 1 (group_norm)");
    let layers = vec![Embedding { width: 3 }.into(), Linear { outputs: 5 }.into()];
    let spec = ModelSpec::of_tokens(4, 7, layers, Loss::SoftmaxCrossEntropy).expect("a model");
    let error = supports(&spec, &plan).expect_err("tokens have no kernel");
    assert_eq!(error.to_string(), "layer 0 (embedding) has no WebGPU kernel");
    let layers: Vec<Layer> = vec![
        Linear { outputs: 5 }.into(),
        Standardize { epsilon: 1e-5 }.into(),
        Linear { outputs: 5 }.into(),
    ];
    let spec = ModelSpec::new(&[4], layers, Loss::SoftmaxCrossEntropy).expect("a model");
    let error = supports(&spec, &plan).expect_err("no kernel behind the leading layers");
    assert_eq!(error.what, "layer 1 (standardize)");
}

#[test]
fn layers_of_the_cpu_alone_are_named() {
    let plan = training(10, 0.0);
    for layer in [
        Layer::LeakyRelu(LeakyRelu { slope: 0.1 }),
        Silu.into(),
        Softplus.into(),
        GroupNorm { groups: 2, epsilon: 1e-5 }.into(),
        GlobalAvgPool.into(),
        GlobalMaxPool.into(),
    ] {
        let conv = Conv2d { channels: 4, kernel: 3, stride: 1, padding: 1 }.into();
        let name = layer.type_name();
        let layers = vec![conv, layer, Flatten.into(), Linear { outputs: 2 }.into()];
        let spec = ModelSpec::new(&[1, 6, 6], layers, Loss::SoftmaxCrossEntropy).expect("a model");
        let error = supports(&spec, &plan).expect_err("no kernel");
        assert_eq!(error.what, format!("layer 1 ({name})"));
    }
    let block = Residual { layers: vec![Relu.into()], shortcut: vec![] }.into();
    let spec = ModelSpec::new(
        &[3],
        vec![Linear { outputs: 4 }.into(), block, Linear { outputs: 2 }.into()],
        Loss::SoftmaxCrossEntropy,
    );
    let error = supports(&spec.expect("a model"), &plan).expect_err("no kernel");
    assert_eq!(error.what, "layer 1 (residual)");
    let conv = Conv1d { channels: 4, kernel: 3, stride: 1, padding: 1, dilation: 1 }.into();
    let layers = vec![conv, Flatten.into(), Linear { outputs: 2 }.into()];
    let spec = ModelSpec::new(&[6, 2], layers, Loss::SoftmaxCrossEntropy).expect("a model");
    assert_eq!(supports(&spec, &plan).expect_err("no kernel").what, "layer 0 (conv1d)");
    let features = vec![EmbeddedFeature { place: 1, categories: 3, width: 2 }];
    let layers = vec![CategoryEmbedding { features }.into(), Linear { outputs: 2 }.into()];
    let spec = ModelSpec::new(&[4], layers, Loss::SoftmaxCrossEntropy).expect("a model");
    assert_eq!(supports(&spec, &plan).expect_err("no kernel").what, "layer 0 (category_embedding)");
}

#[test]
fn a_loss_without_a_kernel_is_named() {
    let smoothed =
        Objective::SoftmaxCrossEntropy { class_weights: Vec::new(), label_smoothing: 0.1 };
    let weighted =
        Objective::SoftmaxCrossEntropy { class_weights: vec![1.0, 2.0], label_smoothing: 0.0 };
    for (objective, what) in [
        (Loss::BinaryCrossEntropy.into(), "the loss binary_cross_entropy"),
        (Loss::Huber.into(), "the loss huber"),
        (smoothed, "label_smoothing of the loss"),
        (weighted, "class_weights of the loss"),
    ] {
        let spec =
            ModelSpec::new(&[4], vec![Linear { outputs: 2 }.into()], objective).expect("a model");
        let error = supports(&spec, &training(10, 0.0)).expect_err("no kernel of the loss");
        assert_eq!(error.what, what);
        let plan = Plan::new(&spec, 0, &training(10, 0.0), Preset::SplitK, &Limits::MINIMUM);
        assert_eq!(plan.expect_err("no kernel of the loss"), error.into());
    }
}

#[test]
fn a_plan_without_a_kernel_is_named() {
    let layers = vec![Linear { outputs: 2 }.into()];
    let spec = ModelSpec::new(&[4], layers, Loss::SoftmaxCrossEntropy).expect("a model");
    let plan = |change: fn(&mut RawLocalTraining)| {
        let mut raw = RawLocalTraining { momentum: 0.5, ..Default::default() };
        change(&mut raw);
        supports(&spec, &LocalTraining::new(raw).expect("a plan within its ranges"))
    };
    let adam = plan(|raw| {
        raw.algorithm = ClientAlgorithm::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
        raw.momentum = 0.0;
    });
    for (refused, what) in [
        (adam, "the algorithm adam"),
        (plan(|raw| raw.proximal = 0.5), "proximal of the training"),
        (plan(|raw| raw.clip_gradient_norm = Some(1.0)), "clip_gradient_norm of the training"),
    ] {
        assert_eq!(refused.expect_err("no kernel").what, what);
    }
    assert_eq!(plan(|raw| raw.algorithm = ClientAlgorithm::Nesterov), Ok(()));
    assert_eq!(plan(|raw| (raw.epochs, raw.steps) = (0, 5)), Ok(()));
}

#[test]
fn a_model_beyond_the_limits_is_refused() {
    let layers = vec![Linear { outputs: 6000 }.into(), Linear { outputs: 10 }.into()];
    let spec = ModelSpec::new(&[6000], layers, Loss::SoftmaxCrossEntropy).expect("a model");
    let plan = |limits| Plan::new(&spec, 0, &training(10, 0.0), Preset::SplitK, limits);
    let error = plan(&Limits::MINIMUM).expect_err("144 MB in a binding of 128 MiB");
    let (needed, available) = (6001 * 6000 * 4, 128 << 20);
    assert_eq!(error, PlanError::Limit { what: "bytes in a buffer", needed, available });
    let larger = Limits { binding_bytes: 256 << 20, ..Limits::MINIMUM };
    plan(&larger).expect("a plan within larger limits");
    let weak = Limits { storage_buffers: 4, ..larger };
    assert!(matches!(plan(&weak), Err(PlanError::Limit { needed: 5.., available: 4, .. })));
    let error = Plan::new(&spec, 1, &training(10, 0.0), Preset::SplitK, &larger);
    assert_eq!(error.expect_err("layer 0 trains"), PlanError::FirstLayer { first: 1, most: 0 });
}

fn unit() -> impl Strategy<Value = Layer> {
    prop_oneof![
        Just(Relu.into()),
        Just(Tanh.into()),
        Just(Sigmoid.into()),
        Just(Gelu.into()),
        Just(Abs.into()),
        (0.1f32..3.0).prop_map(|alpha| Elu { alpha }.into()),
        (0.0f32..1.0).prop_map(|probability| Dropout { probability }.into()),
    ]
}

fn image_layer() -> impl Strategy<Value = Layer> {
    prop_oneof![
        3 => (1u32..40, 1u32..10, 1u32..4, 0u32..9).prop_map(|(channels, kernel, stride, padding)| {
            Conv2d { channels, kernel, stride, padding: padding.min(kernel - 1) }.into()
        }),
        1 => (1u32..4, 1u32..4).prop_map(|(kernel, stride)| MaxPool2d { kernel, stride }.into()),
        1 => (1u32..4, 1u32..4).prop_map(|(kernel, stride)| AvgPool2d { kernel, stride }.into()),
        2 => unit(),
    ]
}

fn feature_layer() -> impl Strategy<Value = Layer> {
    prop_oneof![
        2 => (2u32..300).prop_map(|outputs| Linear { outputs }.into()),
        1 => Just(LayerNorm { epsilon: 1e-5 }.into()),
        2 => unit(),
    ]
}

prop_compose! {
    fn model()(
        input in (1u32..9, 6u32..30, 6u32..30),
        images in prop::collection::vec(image_layer(), 0..5),
        features in prop::collection::vec(feature_layer(), 0..5),
        outputs in 2u32..60,
        squares: bool,
    ) -> Option<ModelSpec> {
        let mut layers = images;
        layers.push(Flatten.into());
        layers.extend(features);
        layers.push(Linear { outputs }.into());
        let loss = if squares { Loss::MeanSquaredError } else { Loss::SoftmaxCrossEntropy };
        ModelSpec::new(&[input.0, input.1, input.2], layers, loss).ok()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_shader_is_valid_within_the_minimum_limits(
        spec in model().prop_filter_map("layers that do not fit", |spec| spec),
        batch in 1u32..70,
        momentum in prop_oneof![Just(0.0f32), Just(0.9)],
    ) {
        for preset in Preset::ALL {
            match Plan::new(&spec, 0, &training(batch, momentum), preset, &Limits::MINIMUM) {
                Ok(plan) => validate(&plan),
                Err(error) => prop_assert!(matches!(error, PlanError::Limit { what: "bytes in a buffer", .. }), "{}", error),
            }
        }
    }
}

#[test]
fn the_shaders_of_the_built_in_models_are_valid() {
    for name in WITH_KERNELS {
        let spec = ModelSpec::builtin(name).expect("a model");
        for preset in Preset::ALL {
            for batch in [1, 7, 10, 32, 1000] {
                let first = spec.fixed_layers();
                let training = training(batch, 0.0);
                let plan = Plan::new(&spec, first, &training, preset, &Limits::MINIMUM);
                validate(&plan.unwrap_or_else(|error| panic!("{name}, batch {batch}: {error}")));
            }
        }
    }
}
