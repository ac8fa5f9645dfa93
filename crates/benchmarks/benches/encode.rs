//! A client's encoding of one update of the 2NN under distributed noise, the
//! server's decoding of a sum, and the rotation and the noise alone.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use differential_privacy::{
    ClippingNorm, DistributedGaussian, DistributedGaussianSettings, NoiseMultiplier,
    random_rotation, sampler::DiscreteGaussian,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

const PARAMETERS: usize = 199_210;
const CLIENTS: u32 = 100;

fn encode(criterion: &mut Criterion) {
    let mechanism = DistributedGaussian::derive(&DistributedGaussianSettings {
        parameters: PARAMETERS,
        clients: CLIENTS,
        survivors: CLIENTS,
        noise_multiplier: NoiseMultiplier::new(1.0).expect("in range"),
        clip_indicator: true,
    })
    .expect("there is a mechanism");
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let update: Vec<f32> = (0..PARAMETERS).map(|i| (i % 1000) as f32 / 1000.0 - 0.5).collect();
    let (clip, rotation) = (ClippingNorm::new(1.0).expect("in range"), [7; 32]);

    let mut group = criterion.benchmark_group("update of the 2NN");
    group.throughput(Throughput::Elements(mechanism.len() as u64)).sample_size(20);
    group.bench_function("encode", |bench| {
        bench.iter(|| mechanism.encode(black_box(&update), clip, &rotation, &mut rng));
    });
    let sum = mechanism.encode(&update, clip, &rotation, &mut rng).expect("of its length");
    group.bench_function("decode", |bench| {
        bench.iter(|| mechanism.decode(black_box(&sum), CLIENTS, clip, &rotation));
    });
    let mut rotated = update;
    rotated.resize(mechanism.dimension(), 0.0);
    group.bench_function("rotation alone", |bench| {
        bench.iter(|| random_rotation(black_box(&mut rotated), &rotation));
    });
    let noise = DiscreteGaussian::new(mechanism.scale());
    let mut draws = vec![0_i64; mechanism.len()];
    group.bench_function("noise alone", |bench| {
        bench.iter(|| noise.fold_into(&mut draws, &mut rng, |value, noise| *value = noise));
    });
    group.finish();
}

criterion_group!(benches, encode);
criterion_main!(benches);
