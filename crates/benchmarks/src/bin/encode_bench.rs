//! Times what a client and a server do to one update, as one line of JSON:
//! `cargo run --release -p fedra-benchmarks --bin encode_bench -- [parameters] [clients]`.
//!
//! It measures only; nothing here is part of the mechanism.

use std::{env, error::Error, hint::black_box, time::Instant};

use differential_privacy::{
    ClippingNorm, DistributedGaussian, DistributedGaussianSettings, NoiseMultiplier,
    random_rotation, sampler::DiscreteGaussian,
};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// The least of this many timings: what the machine can do.
const REPEATS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let parameters = arguments.next().map_or(Ok(1_663_370), |text| text.parse())?;
    let clients = arguments.next().map_or(Ok(100), |text| text.parse())?;

    let settings = DistributedGaussianSettings {
        parameters,
        clients,
        survivors: clients,
        noise_multiplier: NoiseMultiplier::new(1.0)?,
        clip_indicator: true,
    };
    let (derive, mechanism) = timed(|| DistributedGaussian::derive(&settings));
    let mechanism = mechanism?;
    // A fixed seed: this is a measurement, and nothing of it is sent.
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let update: Vec<f32> = (0..parameters).map(|_| rng.next_u32() as f32 * 1e-9 - 2.0).collect();
    let (clip, rotation) = (ClippingNorm::new(1.0)?, [7; 32]);

    let (encode, encoded) = timed(|| mechanism.encode(&update, clip, &rotation, &mut rng));
    let sum = encoded?;
    let (decode, decoded) = timed(|| mechanism.decode(&sum, clients, clip, &rotation));
    black_box(decoded?);

    let mut draws = vec![0_i64; mechanism.len()];
    let noise = DiscreteGaussian::new(mechanism.scale());
    let (noise_seconds, ()) =
        timed(|| noise.fold_into(&mut draws, &mut rng, |value, noise| *value = noise));
    black_box(&draws);

    let mut rotated = update;
    rotated.resize(mechanism.dimension(), 0.0);
    let (rotate, ()) = timed(|| random_rotation(&mut rotated, &rotation));
    black_box(&rotated);

    println!(
        "{{\"parameters\":{parameters},\"clients\":{clients},\"values\":{},\"bits\":{},\"scale\":{:.3},\
         \"derive_s\":{derive:.6},\"encode_s\":{encode:.6},\"decode_s\":{decode:.6},\
         \"rotation_s\":{rotate:.6},\"noise_s\":{noise_seconds:.6},\"noise_draws_per_s\":{:.0}}}",
        mechanism.len(),
        mechanism.bits(),
        mechanism.scale().to_f64(),
        mechanism.len() as f64 / noise_seconds,
    );
    Ok(())
}

/// Result of the last run, and the seconds of the fastest.
fn timed<T>(mut work: impl FnMut() -> T) -> (f64, T) {
    let mut run = || {
        let start = Instant::now();
        let result = work();
        (start.elapsed().as_secs_f64(), result)
    };
    (1..REPEATS).fold(run(), |(best, _), _| {
        let (seconds, result) = run();
        (seconds.min(best), result)
    })
}
