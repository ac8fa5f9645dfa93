//! Speed at which updates are checked and folded, beside a plain loop over the same
//! memory. Prints a JSON array; `cargo xtask bench` shows it as a table.
//!
//! The plain loop adds each `i32` of one array to an `i64` of another, which
//! is the least work that touches what a fold touches, on the same vectors. All are
//! stated in bytes of updates a second; each of these moves five bytes of memory (4
//! read, 8 read and 8 written a parameter), and nine where the range of the
//! task needs sums of 128 bits ("wide"). The kinds of run take turns, and the
//! best of each counts: the machine may have other things to do.

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use fedra_aggregation::{CheckedUpdate, Codec, FixedPointSum, UpdateShape};
use fedra_protocol::{Loss, UpdateRange};

/// The 2NN, the CNN, and a model beyond any cache.
const PARAMETERS: [usize; 3] = [199_210, 1_663_370, 32_000_000];
/// Bytes of updates in one measurement.
const VOLUME: usize = 400_000_000;
const REPEATS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let mut rows = Vec::new();
    for parameters in PARAMETERS {
        rows.push(measure(parameters)?);
    }
    println!("[{}]", rows.join(","));
    Ok(())
}

fn add(totals: &mut [i64], values: &[i32]) {
    pulp::Arch::new().dispatch(|| {
        for (total, &value) in totals.iter_mut().zip(values) {
            *total = total.wrapping_add(i64::from(value));
        }
    });
}

fn measure(parameters: usize) -> Result<String, Box<dyn Error>> {
    let update: Bytes =
        (0..parameters).flat_map(|i| ((i % 1000) as f32 / 1000.0 - 0.5).to_le_bytes()).collect();
    let integers: Vec<i32> = (0..parameters).map(|i| (i % 1000) as i32 - 500).collect();
    let narrow = UpdateRange::default_for(Loss::SoftmaxCrossEntropy);
    let wide = UpdateRange::default_for(Loss::MeanSquaredError);
    let codec = |range| Codec::standard(UpdateShape::Values { len: parameters, range });
    let mut plain = vec![0_i64; parameters];
    let times = (VOLUME / update.len()).max(1);
    let bytes = (times * update.len()) as f64;

    let [mut folding, mut folding_wide, mut checking, mut adding] = [f64::MAX; 4];
    for _ in 0..REPEATS {
        for (range, best) in [(narrow, &mut folding), (wide, &mut folding_wide)] {
            let mut sum = FixedPointSum::new(parameters, range);
            let checked = CheckedUpdate::parse(update.clone(), &codec(range))?;
            // The first one touches the memory.
            sum.fold(&checked, 600)?;
            let started = Instant::now();
            for _ in 0..times {
                sum.fold(black_box(&checked), 600)?;
            }
            *best = best.min(started.elapsed().as_secs_f64());
        }

        let started = Instant::now();
        for _ in 0..times {
            black_box(CheckedUpdate::parse(black_box(update.clone()), &codec(narrow))?);
        }
        checking = checking.min(started.elapsed().as_secs_f64());

        let started = Instant::now();
        for _ in 0..times {
            add(&mut plain, black_box(&integers));
            black_box(&mut plain);
        }
        adding = adding.min(started.elapsed().as_secs_f64());
    }
    let rate = |seconds: f64| bytes / seconds / 1e9;
    Ok(format!(
        "{{\"parameters\":{parameters},\"check\":{:.3},\"fold\":{:.3},\"wide\":{:.3},\"plain\":{:.3}}}",
        rate(checking),
        rate(folding),
        rate(folding_wide),
        rate(adding)
    ))
}
