//! Words of secure aggregation: packing, unpacking, the bare keystream that masks are
//! made of, and the random numbers that noise is made of.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fedra_keystream::KeystreamRng;
use fedra_secure_aggregation::{bare_keystream, pack, unpack};
use rand_core::{Rng, SeedableRng};

const WORDS: usize = 1 << 18;
const BITS: u32 = 18;

fn mask(criterion: &mut Criterion) {
    let words: Vec<u32> = (0..WORDS as u32).collect();
    let packed = pack(&words, BITS);
    let mut group = criterion.benchmark_group("2^18 words");
    group.throughput(Throughput::Bytes(4 * WORDS as u64));
    group.bench_function("pack", |bench| bench.iter(|| pack(black_box(&words), BITS)));
    group.bench_function("unpack", |bench| {
        bench.iter(|| unpack(black_box(&packed), WORDS, BITS).expect("as it was packed"));
    });
    group.bench_function("keystream", |bench| bench.iter(|| bare_keystream(4 * WORDS)));
    let (mut rng, mut bytes) = (KeystreamRng::from_seed([1; 32]), [0; 2048]);
    group.bench_function("random bytes", |bench| {
        bench.iter(|| {
            for _ in 0..4 * WORDS / bytes.len() {
                rng.fill_bytes(black_box(&mut bytes));
            }
        });
    });
    group.finish();
}

criterion_group!(benches, mask);
criterion_main!(benches);
