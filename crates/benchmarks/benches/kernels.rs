//! Kernels of training at the layers of the built-in models, a batch of ten each.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fedra_kernels::{Activation, Convolution, ConvolutionBlock, Kernels, Linear, MaxPool, Sgd};

const BATCH: usize = 10;

fn values(len: usize) -> Vec<f32> {
    (0..len).map(|index| (index * 7919 % 1000) as f32 / 1000.0 - 0.5).collect()
}

fn linear(criterion: &mut Criterion) {
    let kernels = Kernels::best();
    for (inputs, outputs) in [(784, 200), (3136, 512)] {
        let layer = Linear { batch: BATCH, inputs, outputs, activation: Activation::Relu };
        let (x, weight) = (values(BATCH * inputs), values(inputs * outputs));
        let (bias, gradient) = (values(outputs), values(BATCH * outputs));
        let mut group = criterion.benchmark_group(format!("linear {inputs} x {outputs}"));
        group.throughput(Throughput::Elements((2 * BATCH * inputs * outputs) as u64));
        group.bench_function("forward", |bench| {
            bench.iter(|| kernels.linear(layer, black_box(&x), &weight, &bias));
        });
        let y = kernels.linear(layer, &x, &weight, &bias);
        group.bench_function("gradient of the input", |bench| {
            bench.iter(|| kernels.linear_gradient(layer, &weight, black_box(&y), &gradient, true));
        });
        let sums = kernels.linear_gradient(layer, &weight, &y, &gradient, false).sums;
        let sums = sums.unwrap_or(gradient);
        group.bench_function("gradient of the weights", |bench| {
            bench.iter(|| kernels.weight_gradient(layer, black_box(&x), &sums));
        });
        let (step, mut moved) = (
            Sgd { rate: 0.1, momentum: 0.0, looks_ahead: false, weight_decay: 0.0 },
            weight.clone(),
        );
        group.bench_function("step of the weights", |bench| {
            bench.iter(|| {
                kernels.weight_step(layer, step, black_box(&x), &sums, &mut moved, None);
            });
        });
        group.finish();
    }
}

fn convolution(criterion: &mut Criterion) {
    let kernels = Kernels::best();
    for (inputs, outputs, side) in [(1, 32, 28), (32, 64, 14)] {
        let convolution = Convolution {
            inputs,
            outputs,
            size: [side; 2],
            kernel: [5; 2],
            stride: [1; 2],
            padding: [2; 2],
        };
        let pool = Some(MaxPool { kernel: [2; 2], stride: [2; 2] });
        let block = ConvolutionBlock { convolution, pool, activation: Activation::Relu };
        let (x, weight) = (values(BATCH * side * side * inputs), values(outputs * inputs * 25));
        let bias = values(outputs);
        let mut group = criterion.benchmark_group(format!("convolution {inputs} to {outputs}"));
        let products = BATCH * side * side * 25 * inputs * outputs;
        group.throughput(Throughput::Elements(2 * products as u64));
        group.bench_function("forward", |bench| {
            bench.iter(|| kernels.convolution(block, black_box(&x), &weight, &bias));
        });
        let output = kernels.convolution(block, &x, &weight, &bias);
        let gradient = values(output.values.len());
        for (name, of_input) in [("gradient", true), ("gradient of the weights", false)] {
            group.bench_function(name, |bench| {
                bench.iter(|| {
                    let (values, chosen) = (&output.values, &output.chosen);
                    let x = black_box(&x);
                    kernels.convolution_gradient(
                        block, x, &weight, values, chosen, &gradient, of_input,
                    )
                });
            });
        }
        group.finish();
    }
}

fn update(criterion: &mut Criterion) {
    let kernels = Kernels::best();
    let (mut weights, gradient) = (values(784 * 200), vec![0.0; 784 * 200]);
    let step = Sgd { rate: 0.01, momentum: 0.0, looks_ahead: false, weight_decay: 0.0 };
    let mut group = criterion.benchmark_group("sgd 784 x 200");
    group.throughput(Throughput::Bytes(4 * weights.len() as u64));
    group.bench_function("step", |bench| {
        bench.iter(|| kernels.sgd(step, &mut weights, black_box(&gradient), None));
    });
    group.finish();
}

criterion_group!(benches, linear, convolution, update);
criterion_main!(benches);
