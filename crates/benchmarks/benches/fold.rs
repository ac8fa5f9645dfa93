//! The aggregator's work on one update of the 2NN: the check of its bytes, and the
//! fold into sums of 64 and of 128 bits.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fedra_aggregation::{CheckedUpdate, FixedPointSum};
use fedra_protocol::{Loss, UpdateRange};

const PARAMETERS: usize = 199_210;

fn fold(criterion: &mut Criterion) {
    let update: Vec<u8> =
        (0..PARAMETERS).flat_map(|i| ((i % 1000) as f32 / 1000.0 - 0.5).to_le_bytes()).collect();
    let mut group = criterion.benchmark_group("update of the 2NN");
    group.throughput(Throughput::Bytes(update.len() as u64));
    let narrow = UpdateRange::default_for(Loss::SoftmaxCrossEntropy);
    group.bench_function("check", |bench| {
        bench.iter(|| CheckedUpdate::parse(black_box(&update), PARAMETERS, narrow).expect("valid"));
    });
    let wide = UpdateRange::default_for(Loss::MeanSquaredError);
    for (name, range) in [("fold, 64 bits", narrow), ("fold, 128 bits", wide)] {
        let checked = CheckedUpdate::parse(&update, PARAMETERS, range).expect("valid");
        group.bench_function(name, |bench| {
            // A sum takes a bounded weight, so each run begins with an empty one.
            let empty = || FixedPointSum::new(PARAMETERS, range);
            bench.iter_with_large_drop(|| {
                let mut sum = empty();
                sum.fold(black_box(&checked), 600).expect("there is room");
                sum
            });
        });
    }
    group.finish();
}

criterion_group!(benches, fold);
criterion_main!(benches);
