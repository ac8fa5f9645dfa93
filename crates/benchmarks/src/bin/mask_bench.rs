//! Speed at which a client masks and a server adds and unmasks, beside the bare
//! ChaCha20 keystream and a plain addition over the same memory. Prints one JSON
//! object.
//!
//! `mask_bench [WORDS] [CLIENTS] [BITS] [THREADS]`, by default 2^21 words of 16
//! bits, 100 clients of which a tenth drops out, 2 threads for unmasking.
//!
//! Every client of the cohort masks for real and the opened sum is checked; the
//! fastest client counts, since the machine may have other things to do. Rates
//! are in bytes of the vector's memory (4 a word) for additions, and in bytes of
//! keystream for masks.

use std::error::Error;
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::time::Instant;

use fedra_secure_aggregation::client::AdvertisedKeys;
use fedra_secure_aggregation::server::Advertising;
use fedra_secure_aggregation::{Assumptions, Context, Graph, Terms, bare_keystream, pack, unpack};
use rand::{CryptoRng, SeedableRng};
use rand_chacha::ChaCha20Rng;

const REPEATS: usize = 5;

struct Settings {
    words: usize,
    clients: u32,
    bits: u32,
    threads: NonZeroUsize,
}

/// Seconds.
struct Round {
    mask: f64,
    add: f64,
    add_packed: f64,
    reconstruct_and_unmask: f64,
    masks_taken_off: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    let settings = settings()?;
    let Settings { words, clients, bits, threads } = settings;
    let graph = Graph::for_cohort(clients, Assumptions::default())?;
    let round = round(&settings)?;
    let width = f64::from(if bits <= 8 {
        1
    } else if bits <= 16 {
        2
    } else {
        4
    });
    let gigabytes = words as f64 * 1e-9;
    let client_masks = f64::from(graph.degree() + 1);
    println!(
        concat!(
            "{{\"words\":{},\"clients\":{},\"bits\":{},\"threads\":{},\"degree\":{},",
            "\"client_mask_seconds\":{:.4},\"client_mask_gb_per_second\":{:.3},",
            "\"server_add_gb_per_second\":{:.2},\"server_add_packed_gb_per_second\":{:.2},",
            "\"server_unmask_seconds\":{:.4},\"server_masks\":{},",
            "\"server_unmask_gb_per_second\":{:.3},",
            "\"pack_gb_per_second\":{:.2},\"unpack_gb_per_second\":{:.2},",
            "\"chacha20_gb_per_second\":{:.3},\"plain_add_gb_per_second\":{:.2}}}"
        ),
        words,
        clients,
        bits,
        threads,
        graph.degree(),
        round.mask,
        client_masks * width * gigabytes / round.mask,
        4.0 * gigabytes / round.add,
        4.0 * gigabytes / round.add_packed,
        round.reconstruct_and_unmask,
        round.masks_taken_off,
        round.masks_taken_off as f64 * width * gigabytes / round.reconstruct_and_unmask,
        4.0 * gigabytes / packing(&settings),
        4.0 * gigabytes / unpacking(&settings)?,
        4.0 * gigabytes / best(|| bare_keystream(4 * words)),
        4.0 * gigabytes / plain_addition(words),
    );
    Ok(())
}

fn settings() -> Result<Settings, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u32| arguments.next().map_or(Ok(default), |text| text.parse());
    Ok(Settings {
        words: number(1 << 21)? as usize,
        clients: number(100)?,
        bits: number(16)?,
        threads: NonZeroUsize::new(number(2)? as usize).ok_or("at least one thread")?,
    })
}

/// A whole round in which every tenth client drops out after sharing. (Seats on
/// the ring are random, so this is a random tenth.)
fn round(settings: &Settings) -> Result<Round, Box<dyn Error>> {
    let Settings { words, clients, bits, threads } = *settings;
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let survivors = clients - clients / 10;
    let terms = Terms::new(Context::new(&[b"bench"]), survivors, words, bits)?;

    let (mut sharing, seated) = advertise(&terms, clients, &mut rng)?;
    let mut states = Vec::new();
    for (client, directory) in seated {
        let (client, shares) = client.share(&terms, &directory, &mut rng)?;
        sharing.add(directory.own, shares)?;
        states.push((directory.own, client));
    }
    states.sort_by_key(|(own, _)| *own);

    let (mut collecting, deliveries) = sharing.close()?;
    let input: Vec<u32> = (0..words as u32).map(|i| i & terms.largest_word()).collect();
    let (mut mask, mut add, mut add_packed) = (f64::MAX, f64::MAX, f64::MAX);
    let mut waiting = Vec::new();
    for ((own, client), (_, mail)) in states.into_iter().zip(deliveries) {
        if own % 10 == 9 {
            continue;
        }
        let copy = input.clone();
        let (seconds, masked) = timed(|| client.mask(&mail, copy));
        let (client, masked) = masked?;
        mask = mask.min(seconds);
        if own % 2 == 0 {
            let (seconds, added) = timed(|| collecting.add(own, &masked));
            added?;
            add = add.min(seconds);
        } else {
            let packed = pack(&masked, bits);
            let (seconds, added) = timed(|| collecting.add_packed(own, &packed));
            added?;
            add_packed = add_packed.min(seconds);
        }
        waiting.push((own, client));
    }

    let (mut unmasking, list) = collecting.close()?;
    let mut masks_taken_off = list.len();
    for (own, client) in waiting {
        let answer = client.unmask(&list)?;
        masks_taken_off += answer.pairwise.len();
        unmasking.add(own, answer)?;
    }
    let (reconstruct_and_unmask, opened) = timed(|| unmasking.close(threads));
    let expected = input.iter().map(|word| word.wrapping_mul(survivors) & terms.largest_word());
    if !opened?.sum.into_iter().eq(expected) {
        return Err("the opened sum is wrong".into());
    }
    Ok(Round { mask, add, add_packed, reconstruct_and_unmask, masks_taken_off })
}

type Seated = Vec<(AdvertisedKeys, fedra_secure_aggregation::KeyDirectory)>;

fn advertise<R: CryptoRng>(
    terms: &Terms,
    clients: u32,
    rng: &mut R,
) -> Result<(fedra_secure_aggregation::server::Sharing, Seated), Box<dyn Error>> {
    let mut advertising = Advertising::new(*terms, Assumptions::default(), clients);
    let mut states = Vec::new();
    for _ in 0..clients {
        let (client, keys) = AdvertisedKeys::generate(rng);
        advertising.add(keys)?;
        states.push(client);
    }
    let (sharing, directories) = advertising.close(rng)?;
    Ok((sharing, states.into_iter().zip(directories).collect()))
}

fn packing(settings: &Settings) -> f64 {
    let words: Vec<u32> = (0..settings.words as u32).collect();
    best(|| {
        black_box(pack(black_box(&words), settings.bits));
    })
}

fn unpacking(settings: &Settings) -> Result<f64, Box<dyn Error>> {
    let packed = pack(&vec![1; settings.words], settings.bits);
    unpack(&packed, settings.words, settings.bits)?;
    Ok(best(|| {
        let _ = black_box(unpack(black_box(&packed), settings.words, settings.bits));
    }))
}

fn plain_addition(words: usize) -> f64 {
    let (mut sum, words) = (vec![0_u32; words], vec![1_u32; words]);
    best(|| {
        for (sum, word) in black_box(&mut sum).iter_mut().zip(black_box(&words)) {
            *sum = sum.wrapping_add(*word);
        }
    })
}

fn best(mut work: impl FnMut()) -> f64 {
    (0..REPEATS).map(|_| timed(&mut work).0).fold(f64::MAX, f64::min)
}

fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let started = Instant::now();
    let result = work();
    (started.elapsed().as_secs_f64(), result)
}
