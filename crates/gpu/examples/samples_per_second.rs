//! Prints how many examples a second the engine trains on: the 2NN and the CNN in batches of
//! 10, with both presets.
//!
//! `cargo run -p fedra-gpu --example samples_per_second [-- software]`

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use fedra_gpu::{
    Examples, Gpu, GpuError, LimitsWanted, Preference, Preset, Setup, Targets, Trainer,
};
use fedra_protocol::{LocalTraining, ModelSpec};

const EXAMPLES: usize = 600;
const TIME: Duration = Duration::from_secs(3);

fn now() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// Processor time of this process in seconds, on Linux: on a busy machine a better measure of
/// a software adapter than the clock.
fn processor_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<f64>().ok()? + fields.next()?.parse::<f64>().ok()?;
    Some(ticks / 100.0)
}

fn main() -> Result<(), GpuError> {
    pollster::block_on(measure())
}

async fn measure() -> Result<(), GpuError> {
    let software = std::env::args().any(|argument| argument == "software");
    let preference = if software { Preference::Software } else { Preference::Fastest };
    let gpu = Gpu::request(preference, LimitsWanted::Adapter).await?;
    println!("adapter {}, software {}", gpu.adapter(), gpu.is_software());
    let models = [("2NN", ModelSpec::mnist_2nn()), ("CNN", ModelSpec::mnist_cnn())];
    for (name, spec) in models {
        let parameters: Vec<f32> = (0..spec.parameters())
            .map(|i| ((i * 7919 % 2001) as f32 / 1000.0 - 1.0) * 0.05)
            .collect();
        let features: Vec<f32> =
            (0..EXAMPLES * 784).map(|i| (i * 31 % 256) as f32 / 255.0).collect();
        let targets = Targets::Classes((0..EXAMPLES as u32).map(|i| i % 10).collect());
        let examples = Arc::new(Examples { features: Arc::new(features), targets });
        let order: Vec<u32> = (0..EXAMPLES as u32).collect();
        for preset in Preset::ALL {
            let training = LocalTraining::default();
            let setup = Setup { spec: spec.clone(), first: 0, training, preset, now };
            let begin = now();
            let mut trainer = Trainer::new(&gpu, &setup, &parameters, examples.clone()).await?;
            trainer.set_order(&order)?;
            trainer.run(1).await?;
            let first = now() - begin;
            while trainer.run(u32::MAX).await? > 0 {}
            let (start, before, processor) = (now(), trainer.steps(), processor_seconds());
            while now() - start < TIME {
                trainer.set_order(&order)?;
                while trainer.run(u32::MAX).await? > 0 {}
            }
            let samples = f64::from(trainer.steps() - before) * 10.0;
            let spent = processor_seconds().zip(processor).map(|(end, start)| end - start);
            println!(
                "{name} {preset:?}: {:.0} samples/s, {:.2} ms of processor a sample, first step after {:.2} s, loss {:.3}",
                samples / (now() - start).as_secs_f64(),
                spent.unwrap_or(f64::NAN) / samples * 1e3,
                first.as_secs_f64(),
                trainer.loss().await?
            );
        }
    }
    Ok(())
}
