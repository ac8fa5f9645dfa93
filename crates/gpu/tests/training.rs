//! Training on a device: steps, dropout, data in windows, and what happens when it fails.

mod common;

use std::sync::Arc;

use common::{
    Random, examples, expected, gpu, gpu_with, nearest_jump, now, parameters, relative_error,
    setup, training, wide,
};
use fedra_gpu::{
    Examples, Gpu, GpuError, Limits, LimitsWanted, Plan, PlanError, Preset, Setup, Targets, Trainer,
};
use fedra_protocol::layers::{Conv2d, Dropout, Flatten, LayerNorm, Linear, MaxPool2d, Relu};
use fedra_protocol::{ClientAlgorithm, LocalTraining, Loss, ModelSpec, RawLocalTraining};
use pollster::block_on;

/// A small model with every kind of trained tensor.
///
/// The normalisation has a large epsilon. With one of 1e-5, an example whose values before it
/// are almost all cut off at 0 is divided by a deviation of 1/300. That amplifies the rounding
/// of the values, in a plain loop in `f32` as well: 0.1 to 0.2 % of random trainings differ
/// from double precision by 1e-5 to 1.4e-4 of the change. With this epsilon the worst of
/// 10,000 differs by 1.6e-6, but for gradients that jump (see [`trained`]).
fn small() -> ModelSpec {
    let layers = vec![
        Conv2d { channels: 6, kernel: 3, stride: 1, padding: 1 }.into(),
        Relu.into(),
        MaxPool2d { kernel: 2, stride: 2 }.into(),
        Conv2d { channels: 5, kernel: 3, stride: 2, padding: 1 }.into(),
        Relu.into(),
        Flatten.into(),
        LayerNorm { epsilon: 0.1 }.into(),
        Linear { outputs: 9 }.into(),
        Relu.into(),
        Linear { outputs: 4 }.into(),
    ];
    ModelSpec::new(&[2, 8, 8], layers, Loss::SoftmaxCrossEntropy).expect("a valid model")
}

/// SGD as burn has it: decay is added to the gradient, the velocity starts as the first
/// gradient, no dampening. Nesterov's momentum looks ahead along the new velocity.
///
/// The examples must not come so near to a jump of the gradient, the kink of ReLU or equal
/// values under a maximum, that `f32` and double precision take different sides of it: one
/// value within 1e-8 of a jump is a change that differs by 1e-3.
fn trained(
    spec: &ModelSpec,
    start: &[f32],
    data: &Examples,
    order: &[u32],
    plan: &LocalTraining,
) -> (Vec<f64>, Vec<f64>) {
    let mut parameters = wide(start);
    let mut velocity = vec![0.0; parameters.len()];
    let mut losses = Vec::new();
    for batch in order.chunks(plan.batch_size() as usize) {
        let jump = nearest_jump(spec, &parameters, data, batch);
        assert!(jump > 1e-6, "{jump:.1e} from a jump of the gradient: take another seed");
        let (loss, gradient) = expected(spec, &parameters, data, batch);
        losses.push(loss);
        for ((p, v), g) in parameters.iter_mut().zip(&mut velocity).zip(gradient) {
            let g = g + f64::from(plan.weight_decay()) * *p;
            let momentum = f64::from(plan.momentum());
            *v = momentum * *v + g;
            let along = match plan.algorithm() {
                ClientAlgorithm::Nesterov => momentum * *v + g,
                _ => *v,
            };
            *p -= f64::from(plan.learning_rate()) * along;
        }
    }
    (parameters, losses)
}

fn run_all(trainer: &mut Trainer) -> Result<u32, GpuError> {
    let mut steps = 0;
    while trainer.remaining() > 0 {
        steps += block_on(trainer.run(u32::MAX))?;
    }
    Ok(steps)
}

#[test]
fn sgd_with_momentum_and_decay_follows_the_formula() {
    let gpu = gpu();
    let (sgd, nesterov) = (ClientAlgorithm::Sgd, ClientAlgorithm::Nesterov);
    for (algorithm, momentum, decay) in
        [(sgd, 0.0, 0.0), (sgd, 0.9, 0.0), (sgd, 0.0, 0.1), (sgd, 0.9, 0.1), (nesterov, 0.9, 0.1)]
    {
        for preset in Preset::ALL {
            let (spec, mut random) = (small(), Random::new(6));
            let start = parameters(&spec, &mut random);
            let data = Arc::new(examples(&spec, 17, &mut random));
            let raw = RawLocalTraining { algorithm, ..training(5, momentum, decay).into() };
            let plan = LocalTraining::new(raw).expect("a plan within its ranges");
            let setup = setup(&spec, plan.clone(), preset);
            let mut trainer = common::trainer(&gpu, &setup, &start, &data);
            assert!(block_on(trainer.loss()).expect("no loss yet").is_nan());
            // 3 batches of 5 and one of 2.
            let order: Vec<u32> = (0..17).map(|i| i * 7 % 17).collect();
            let (expected, losses) = trained(&spec, &start, &data, &order, &plan);
            trainer.set_order(&order).expect("an order");
            assert_eq!(run_all(&mut trainer), Ok(4));
            let actual = block_on(trainer.parameters()).expect("parameters");
            let change: Vec<f64> =
                expected.iter().zip(&start).map(|(e, &s)| e - f64::from(s)).collect();
            let moved: Vec<f32> = actual.iter().zip(&start).map(|(a, s)| a - s).collect();
            let error = relative_error(&change, &moved);
            assert!(
                error < 1e-5,
                "{algorithm:?} {momentum}, decay {decay}, {preset:?}: {error:.1e}"
            );
            let ring = block_on(trainer.losses()).expect("losses");
            assert_eq!(ring.len(), 4);
            for (loss, &actual) in losses.iter().zip(&ring) {
                assert!((loss - f64::from(actual)).abs() < 1e-5, "{losses:?} {ring:?}");
            }
        }
    }
}

/// Epochs whose last batch is short, one after the other in one order, and an order that is
/// longer than what the device holds of it, train as epoch by epoch.
#[test]
fn an_order_holds_any_number_of_epochs() {
    let gpu = gpu();
    let layers = vec![Linear { outputs: 3 }.into()];
    let spec = ModelSpec::new(&[5], layers, Loss::SoftmaxCrossEntropy).expect("a valid model");
    let mut random = Random::new(15);
    let start = parameters(&spec, &mut random);
    let data = Arc::new(examples(&spec, 7, &mut random));
    let setup = setup(&spec, training(3, 0.9, 0.01), Preset::Registers);
    let mut trainer = common::trainer(&gpu, &setup, &start, &data);
    let epoch = |index: u32| (0..7).map(|i| (i * 3 + index) % 7).collect::<Vec<u32>>();
    let epochs = 1500;
    for index in 0..epochs {
        trainer.set_order(&epoch(index)).expect("an epoch");
        assert_eq!(run_all(&mut trainer), Ok(3));
    }
    let apart = block_on(trainer.parameters()).expect("parameters");
    trainer.set_parameters(&start).expect("parameters");
    trainer.set_order(&epoch(0)).expect("an epoch");
    for index in 1..epochs {
        trainer.extend_order(&epoch(index)).expect("an epoch");
    }
    assert_eq!(run_all(&mut trainer), Ok(3 * epochs));
    assert_eq!(block_on(trainer.parameters()), Ok(apart));
}

#[test]
fn a_second_training_begins_anew() {
    let gpu = gpu();
    let (spec, mut random) = (small(), Random::new(6));
    let start = parameters(&spec, &mut random);
    let data = Arc::new(examples(&spec, 20, &mut random));
    let setup = setup(&spec, training(6, 0.9, 0.01), Preset::Registers);
    let mut trainer = common::trainer(&gpu, &setup, &start, &data);
    let order: Vec<u32> = (0..20).collect();
    let mut train = || {
        trainer.set_parameters(&start).expect("parameters");
        trainer.set_order(&order).expect("an order");
        run_all(&mut trainer).expect("steps");
        trainer.set_order(&order[3..]).expect("a second epoch");
        run_all(&mut trainer).expect("steps");
        assert_eq!(trainer.steps(), 4 + 3);
        block_on(trainer.parameters()).expect("parameters")
    };
    let first = train();
    assert_ne!(first, start);
    assert_eq!(train(), first);
}

/// Biases of 1 under dropout, and nothing else; all targets are 0. The step of a bias is the
/// mask of the way forward times the mask of the way back.
fn masks(probability: f32, seed: u64) -> (Trainer, usize) {
    let width = 2000u32;
    let layers = vec![Linear { outputs: width }.into(), Dropout { probability }.into()];
    let spec = ModelSpec::new(&[4], layers, Loss::MeanSquaredError).expect("a valid model");
    let width = width as usize;
    let mut start = vec![0.0; 4 * width];
    start.resize(5 * width, 1.0);
    let targets = Targets::Values(vec![0.0; 4 * width]);
    let data = Arc::new(Examples { features: Arc::new(vec![0.0; 4 * 4]), targets });
    let raw = RawLocalTraining { batch_size: 1, seed, learning_rate: 1.0, ..Default::default() };
    let plan = LocalTraining::new(raw).expect("a plan");
    let setup = setup(&spec, plan, Preset::Registers);
    (common::trainer(&gpu(), &setup, &start, &data), width)
}

/// Mask of one step, as the product of both ways: 0, or the square of the scale.
fn mask(trainer: &mut Trainer, width: usize) -> Vec<f32> {
    let bias = |trainer: &Trainer| {
        block_on(trainer.parameters()).expect("parameters")[4 * width..].to_vec()
    };
    let before = bias(trainer);
    assert_eq!(block_on(trainer.run(1)), Ok(1));
    let after = bias(trainer);
    // The slope of the squared error is 2 / width.
    let step = |(before, after): (f32, f32)| (before - after) / before * width as f32 / 2.0;
    before.into_iter().zip(after).map(step).collect()
}

#[test]
fn dropout_has_its_rate_and_one_mask_for_both_ways() {
    let probability = 0.3f32;
    let (mut trainer, width) = masks(probability, 1);
    trainer.set_order(&[0, 1, 2]).expect("an order");
    let masks: Vec<Vec<f32>> = (0..3).map(|_| mask(&mut trainer, width)).collect();
    let kept = 1.0 / (1.0 - probability).powi(2);
    for mask in &masks {
        let dropped = mask.iter().filter(|&&m| m == 0.0).count();
        assert!(mask.iter().all(|&m| m == 0.0 || (m - kept).abs() < 0.02), "neither 0 nor {kept}");
        // Two masks that differ would drop half: 1 - 0.7^2. Six standard deviations are 123.
        assert!(dropped.abs_diff(600) < 123, "{dropped} of {width} dropped");
    }
    let zeros = |mask: &[f32]| mask.iter().map(|&m| m == 0.0).collect::<Vec<_>>();
    assert_ne!(zeros(&masks[0]), zeros(&masks[1]));
    assert_ne!(zeros(&masks[1]), zeros(&masks[2]));
    // The same seed makes the same masks, another one makes others.
    let first = |seed| {
        let (mut trainer, width) = self::masks(probability, seed);
        trainer.set_order(&[3]).expect("an order");
        zeros(&mask(&mut trainer, width))
    };
    assert_eq!(first(1), zeros(&masks[0]));
    assert_ne!(first(2), zeros(&masks[0]));
}

#[test]
fn examples_beyond_one_binding_go_up_in_windows() {
    // 35 examples of 4 MiB are more than the 128 MiB of a binding.
    let gpu = gpu_with(LimitsWanted::Minimum);
    let layers = vec![Linear { outputs: 2 }.into()];
    let features = 1 << 20;
    let spec = ModelSpec::new(&[features], layers, Loss::SoftmaxCrossEntropy).expect("a model");
    let mut random = Random::new(8);
    let start = parameters(&spec, &mut random);
    let mut data = examples(&spec, 35, &mut random);
    let values = data.features.values().iter();
    data.features = Arc::new(values.map(|value| value * 1e-3).collect::<Vec<f32>>());
    let data = Arc::new(data);
    let plan = training(3, 0.0, 0.0);
    let setup = setup(&spec, plan.clone(), Preset::Registers);
    let mut trainer = common::trainer(&gpu, &setup, &start, &data);
    assert!(!trainer.is_resident());
    let order: Vec<u32> = (0..35).map(|i| i * 11 % 35).collect();
    trainer.set_order(&order).expect("an order");
    assert_eq!(run_all(&mut trainer), Ok(12));
    let (expected, _) = trained(&spec, &start, &data, &order, &plan);
    let actual = block_on(trainer.parameters()).expect("parameters");
    let change: Vec<f64> = expected.iter().zip(&start).map(|(e, &s)| e - f64::from(s)).collect();
    let moved: Vec<f32> = actual.iter().zip(&start).map(|(a, s)| a - s).collect();
    let error = relative_error(&change, &moved);
    assert!(error < 1e-4, "{error:.1e}");
}

#[test]
fn minimum_limits_are_enough() {
    let gpu = gpu_with(LimitsWanted::Minimum);
    assert_eq!(*gpu.limits(), Limits::MINIMUM);
    assert!(gpu.is_software());
    assert!(!gpu.adapter().is_empty());
    let (spec, mut random) = (ModelSpec::mnist_cnn(), Random::new(9));
    let start = parameters(&spec, &mut random);
    let data = Arc::new(examples(&spec, 4, &mut random));
    let (_, gradient) = expected(&spec, &wide(&start), &data, &[0, 1, 2, 3]);
    for preset in Preset::ALL {
        let setup = setup(&spec, training(4, 0.9, 0.0), preset);
        let mut trainer = common::trainer(&gpu, &setup, &start, &data);
        let actual = block_on(trainer.gradient(&[0, 1, 2, 3])).expect("a gradient");
        assert!(relative_error(&gradient, &actual) < 1e-5, "{preset:?}");
    }
    let layers = vec![Linear { outputs: 2 }.into()];
    let spec = ModelSpec::new(&[20 << 20], layers, Loss::SoftmaxCrossEntropy).expect("a model");
    let setup = setup(&spec, training(1, 0.0, 0.0), Preset::Registers);
    let error = setup.plan(&gpu).expect_err("more parameters than a binding holds");
    assert!(matches!(error, GpuError::Plan(PlanError::Limit { .. })), "{error}");
}

/// Text of kernels, and another one that computes something else.
const MISTAKES: [(&str, &str); 6] = [
    ("*w0", "*w0*2.0"),
    ("dot(g,w0)", "dot(g,w1)"),
    ("-mean", "+mean"),
    ("/sum", "/(sum+sum)"),
    ("*g;", "*g*2.0;"),
    ("rates.x*d", "rates.x*d*2.0"),
];

#[test]
fn a_wrong_kernel_makes_another_gradient_and_an_invalid_one_is_named() {
    let gpu = gpu();
    let (spec, mut random) = (small(), Random::new(10));
    let start = parameters(&spec, &mut random);
    let data = Arc::new(examples(&spec, 6, &mut random));
    let rows = [0, 1, 2, 3, 4, 5];
    let (_, gradient) = expected(&spec, &wide(&start), &data, &rows);
    let setup = setup(&spec, training(6, 0.0, 0.0), Preset::Registers);
    let altered = |index: usize, change: &dyn Fn(&str) -> String| {
        let mut plan: Plan = setup.plan(&gpu).expect("a plan");
        plan.alter(index, change);
        block_on(Trainer::with_plan(&gpu, &setup, plan, &start, data.clone()))
    };
    let kernels = setup.plan(&gpu).expect("a plan").kernels().to_vec();
    // The last kernel only counts.
    for (index, kernel) in kernels.iter().enumerate().take(kernels.len() - 1) {
        let wrong = |code: &str| {
            let changed = MISTAKES
                .iter()
                .fold(code.to_owned(), |code, (right, wrong)| code.replace(right, wrong));
            assert_ne!(code, changed, "{}: no mistake fits", kernel.name);
            changed
        };
        let mut trainer = altered(index, &wrong).expect("a valid kernel");
        let actual = block_on(trainer.gradient(&rows)).expect("a gradient");
        let error = relative_error(&gradient, &actual);
        assert!(error.is_nan() || error > 1e-3, "{}: {error:.1e}", kernel.name);
    }
    let invalid = altered(0, &|code| code.replace("fn main", "fn other")).err();
    let Some(GpuError::Kernel { kernel, .. }) = invalid else { panic!("{invalid:?}") };
    assert_eq!(kernel, kernels[0].name);
    gpu.check().expect("the device is as well as before");
}

#[test]
fn values_that_do_not_fit_are_refused() {
    let gpu = gpu();
    let (spec, mut random) = (small(), Random::new(11));
    let start = parameters(&spec, &mut random);
    let data = examples(&spec, 6, &mut random);
    let setup = setup(&spec, training(6, 0.0, 0.0), Preset::Registers);
    let new = |parameters: &[f32], data: Examples| {
        block_on(Trainer::new(&gpu, &setup, parameters, Arc::new(data))).err()
    };
    let (expected, actual) = (start.len(), start.len() - 1);
    let error = new(&start[1..], data.clone());
    assert_eq!(error, Some(GpuError::ParameterCount { expected, actual }));
    for targets in
        [Targets::Classes(vec![0; 5]), Targets::Classes(vec![4; 6]), Targets::Values(vec![0.0; 24])]
    {
        let error = new(&start, Examples { targets, ..data.clone() });
        assert!(matches!(error, Some(GpuError::Examples(_))), "{error:?}");
    }
    let odd = Examples { features: Arc::new(data.features.values()[1..].to_vec()), ..data.clone() };
    assert!(matches!(new(&start, odd), Some(GpuError::Examples(_))));
    let mut trainer = common::trainer(&gpu, &setup, &start, &Arc::new(data));
    assert_eq!(trainer.set_order(&[0, 6]), Err(GpuError::Order { row: 6, rows: 6 }));
    assert!(trainer.set_order(&[]).is_err());
    assert!(trainer.extend_order(&[6]).is_err());
    assert_eq!(block_on(trainer.run(5)), Ok(0), "there is no order to follow");
}

#[test]
fn the_faster_preset_is_found_by_trying_both() {
    let gpu = gpu();
    let (spec, mut random) = (small(), Random::new(12));
    let start = parameters(&spec, &mut random);
    let data = Arc::new(examples(&spec, 20, &mut random));
    let setup = setup(&spec, training(5, 0.9, 0.0), Preset::SplitK);
    let mut trainer = common::trainer(&gpu, &setup, &start, &data);
    let faster = block_on(trainer.faster_preset()).expect("a preset");
    assert_eq!(trainer.preset(), faster);
    assert_eq!(trainer.remaining(), 0);
    assert_eq!(block_on(trainer.parameters()), Ok(start));
}

/// A device that goes away at any moment ends in an error, never in numbers.
#[test]
fn a_lost_device_is_an_error_at_every_moment() {
    let (spec, mut random) = (small(), Random::new(13));
    let start = parameters(&spec, &mut random);
    let data = Arc::new(examples(&spec, 20, &mut random));
    let order: Vec<u32> = (0..20).collect();
    type Moment<'a> = &'a dyn Fn(&Gpu, &Setup) -> Result<(), GpuError>;
    let moments: [Moment<'_>; 10] = [
        &|gpu, setup| {
            gpu.destroy();
            block_on(Trainer::new(gpu, setup, &start, data.clone())).map(drop)
        },
        &|gpu, setup| {
            let plan = setup.plan(gpu)?;
            gpu.destroy();
            block_on(Trainer::with_plan(gpu, setup, plan, &start, data.clone()))?;
            Ok(())
        },
        &|gpu, setup| {
            let mut trainer = block_on(Trainer::new(gpu, setup, &start, data.clone()))?;
            gpu.destroy();
            trainer.set_order(&order)?;
            block_on(trainer.run(1)).map(drop)
        },
        &|gpu, setup| {
            let trainer = block_on(Trainer::new(gpu, setup, &start, data.clone()))?;
            gpu.destroy();
            block_on(trainer.parameters()).map(drop)
        },
        &|gpu, setup| {
            let mut trainer = block_on(Trainer::new(gpu, setup, &start, data.clone()))?;
            trainer.set_order(&order)?;
            gpu.destroy();
            run_all(&mut trainer).map(drop)
        },
        &|gpu, setup| {
            let mut trainer = block_on(Trainer::new(gpu, setup, &start, data.clone()))?;
            trainer.set_order(&order)?;
            block_on(trainer.run(1))?;
            gpu.destroy();
            block_on(trainer.run(1)).map(drop)
        },
        &|gpu, setup| {
            let mut trainer = block_on(Trainer::new(gpu, setup, &start, data.clone()))?;
            trainer.set_order(&order)?;
            run_all(&mut trainer)?;
            gpu.destroy();
            block_on(trainer.parameters()).map(drop)
        },
        &|gpu, setup| {
            let mut trainer = block_on(Trainer::new(gpu, setup, &start, data.clone()))?;
            trainer.set_order(&order)?;
            block_on(trainer.run(1))?;
            gpu.destroy();
            block_on(trainer.loss()).map(drop)
        },
        &|gpu, setup| {
            let mut trainer = block_on(Trainer::new(gpu, setup, &start, data.clone()))?;
            gpu.destroy();
            block_on(trainer.gradient(&order[..5])).map(drop)
        },
        &|gpu, setup| {
            let mut trainer = block_on(Trainer::new(gpu, setup, &start, data.clone()))?;
            gpu.destroy();
            trainer.set_parameters(&start)?;
            block_on(trainer.faster_preset()).map(drop)
        },
    ];
    let plan = training(5, 0.9, 0.0);
    let setup = Setup { spec, first: 0, training: plan, preset: Preset::Registers, now };
    for (index, moment) in moments.iter().enumerate() {
        let gpu = gpu();
        let outcome = moment(&gpu, &setup);
        assert!(matches!(outcome, Err(GpuError::Lost(_))), "moment {index}: {outcome:?}");
        assert!(matches!(gpu.check(), Err(GpuError::Lost(_))), "moment {index}");
    }
}

/// The device goes away on another thread while steps run.
#[test]
fn a_device_lost_in_the_middle_of_steps_is_an_error() {
    let (spec, mut random) = (ModelSpec::mnist_2nn(), Random::new(14));
    let start = parameters(&spec, &mut random);
    let data = Arc::new(examples(&spec, 1000, &mut random));
    let setup = setup(&spec, training(10, 0.0, 0.0), Preset::Registers);
    let gpu = gpu();
    let mut trainer = common::trainer(&gpu, &setup, &start, &data);
    let order: Vec<u32> = (0..1000).collect();
    let other = gpu.clone();
    let (begun, begins) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        begins.recv().expect("the training begins");
        other.destroy();
    });
    let mut signal = Some(begun);
    let outcome = loop {
        trainer.set_order(&order).expect("an order");
        if let Err(error) = block_on(trainer.run(u32::MAX)) {
            break error;
        }
        if let Some(signal) = signal.take() {
            signal.send(()).expect("the other thread waits");
        }
    };
    thread.join().expect("the other thread ends");
    assert!(matches!(outcome, GpuError::Lost(_)), "{outcome}");
}
