//! The aggregator's work on one update of the 2NN: the check of its bytes, and the
//! fold into sums of 64 and of 128 bits.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fedra_aggregation::{CheckedUpdate, Codec, FixedPointSum, UpdateShape};
use fedra_protocol::{CodecName, Loss, UpdateRange};

const PARAMETERS: usize = 199_210;

fn fold(criterion: &mut Criterion) {
    let values: Vec<f32> = (0..PARAMETERS).map(|i| (i % 1000) as f32 / 1000.0 - 0.5).collect();
    let mut group = criterion.benchmark_group("update of the 2NN");
    group.throughput(Throughput::Elements(PARAMETERS as u64));
    let narrow = UpdateRange::default_for(Loss::SoftmaxCrossEntropy);
    let wide = UpdateRange::default_for(Loss::MeanSquaredError);
    let sent = |name, range| {
        let shape = UpdateShape::Values { len: PARAMETERS, range };
        let codec = Codec::new(Some(name), shape).expect("for values");
        let update = Bytes::from(codec.values().expect("values").encode(&values, &[7; 32]));
        (codec, update)
    };
    let clear = CodecName::ALL.into_iter().filter(|name| *name != CodecName::Packed);
    for name in clear.clone() {
        let (codec, update) = sent(name, narrow);
        group.bench_function(format!("check, {}", name.name()), |bench| {
            bench.iter(|| CheckedUpdate::parse(black_box(update.clone()), &codec).expect("valid"));
        });
    }
    let others = clear.filter(|name| *name != CodecName::F32);
    let others = others.map(|name| (format!("fold, 64 bits, {}", name.name()), name, narrow));
    let exact = [
        ("fold, 64 bits".to_owned(), CodecName::F32, narrow),
        ("fold, 128 bits".to_owned(), CodecName::F32, wide),
    ];
    for (name, codec, range) in exact.into_iter().chain(others) {
        let (codec, update) = sent(codec, range);
        let checked = CheckedUpdate::parse(update, &codec).expect("valid");
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
