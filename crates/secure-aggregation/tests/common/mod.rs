//! Rounds with clients that leave at a given step.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::num::NonZeroUsize;

use fedra_secure_aggregation::client::{AdvertisedKeys, Masked, SharedKeys};
use fedra_secure_aggregation::server::{
    Abandoned, Advertising, Collecting, Sharing, SumOfSurvivors, Unmasking,
};
use fedra_secure_aggregation::{Assumptions, Context, EncryptedShare, Index, KeyDirectory, Terms};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;

pub const ONE: NonZeroUsize = NonZeroUsize::MIN;

/// The last step that a client makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stays {
    Away,
    Advertises,
    Shares,
    Masks,
    Unmasks,
}

pub const ALL: [Stays; 5] =
    [Stays::Away, Stays::Advertises, Stays::Shares, Stays::Masks, Stays::Unmasks];

pub fn generator(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

pub fn terms(minimum_survivors: u32, words: usize, bits: u32) -> Terms {
    Terms::new(Context::new(&[b"test"]), minimum_survivors, words, bits).unwrap()
}

/// A random vector that fits the terms.
pub fn input(terms: &Terms, rng: &mut ChaCha20Rng) -> Vec<u32> {
    (0..terms.words()).map(|_| rng.next_u32() & terms.largest_word()).collect()
}

pub fn plain_sum(terms: &Terms, inputs: &[&[u32]]) -> Vec<u32> {
    (0..terms.words())
        .map(|i| {
            let sum: u64 = inputs.iter().map(|input| u64::from(input[i])).sum();
            (sum % (u64::from(terms.largest_word()) + 1)) as u32
        })
        .collect()
}

/// Every client with its directory, by index, and the server that waits for
/// their shares.
pub fn advertised(
    terms: &Terms,
    clients: u32,
    rng: &mut ChaCha20Rng,
) -> (Sharing, Vec<(AdvertisedKeys, KeyDirectory)>) {
    let mut advertising = Advertising::new(*terms, Assumptions::default(), clients);
    let mut states = Vec::new();
    for _ in 0..clients {
        let (client, keys) = AdvertisedKeys::generate(rng);
        advertising.add(keys).unwrap();
        states.push(client);
    }
    let (sharing, directories) = advertising.close(rng).unwrap();
    let mut seated: Vec<_> = states.into_iter().zip(directories).collect();
    seated.sort_by_key(|(_, directory)| directory.own);
    (sharing, seated)
}

/// Every client with the shares that its neighbours sent it, by index.
pub fn shared(
    terms: &Terms,
    clients: u32,
    rng: &mut ChaCha20Rng,
) -> (Collecting, Vec<(SharedKeys, Vec<EncryptedShare>)>) {
    let (mut sharing, seated) = advertised(terms, clients, rng);
    let mut states = Vec::new();
    for (client, directory) in seated {
        let (client, shares) = client.share(terms, &directory, rng).unwrap();
        sharing.add(directory.own, shares).unwrap();
        states.push(client);
    }
    let (collecting, deliveries) = sharing.close().unwrap();
    (collecting, states.into_iter().zip(deliveries.into_iter().map(|(_, mail)| mail)).collect())
}

pub struct AllMasked {
    pub server: Unmasking,
    pub survivors: Vec<Index>,
    pub clients: Vec<(Index, Masked)>,
    pub inputs: Vec<Vec<u32>>,
}

/// Every client that is not in `dropped` has sent its masked input.
pub fn masked(terms: &Terms, clients: u32, dropped: &[Index], rng: &mut ChaCha20Rng) -> AllMasked {
    let (mut collecting, states) = shared(terms, clients, rng);
    let (mut waiting, mut inputs) = (Vec::new(), Vec::new());
    for (index, (client, mail)) in (0..).zip(states) {
        if dropped.contains(&index) {
            continue;
        }
        inputs.push(input(terms, rng));
        let (client, words) = client.mask(&mail, inputs.last().unwrap().clone()).unwrap();
        collecting.add(index, &words).unwrap();
        waiting.push((index, client));
    }
    let (server, survivors) = collecting.close().unwrap();
    AllMasked { server, survivors, clients: waiting, inputs }
}

/// Result of a round, and the expected sum if there is one.
pub struct Outcome {
    pub result: Result<SumOfSurvivors, Abandoned>,
    pub expected: Vec<u32>,
    pub survivors: u32,
}

/// A whole round in which client `i` makes the steps up to `plan[i]`.
pub fn round(
    terms: &Terms,
    assumptions: Assumptions,
    plan: &[Stays],
    rng: &mut ChaCha20Rng,
) -> Outcome {
    let inputs: Vec<Vec<u32>> = plan.iter().map(|_| input(terms, rng)).collect();
    let summed: Vec<&[u32]> = plan
        .iter()
        .zip(&inputs)
        .filter(|(stays, _)| **stays >= Stays::Masks)
        .map(|(_, input)| input.as_slice())
        .collect();
    let (expected, survivors) = (plain_sum(terms, &summed), summed.len() as u32);
    let clients: Vec<(Stays, Vec<u32>)> = plan.iter().copied().zip(inputs).collect();
    Outcome { result: steps(terms, assumptions, clients, rng), expected, survivors }
}

fn steps(
    terms: &Terms,
    assumptions: Assumptions,
    clients: Vec<(Stays, Vec<u32>)>,
    rng: &mut ChaCha20Rng,
) -> Result<SumOfSurvivors, Abandoned> {
    let cohort = clients.len();
    let mut advertising = Advertising::new(*terms, assumptions, cohort as u32);
    let mut advertised = Vec::new();
    for (stays, input) in clients.into_iter().filter(|(stays, _)| *stays > Stays::Away) {
        let (client, keys) = AdvertisedKeys::generate(rng);
        advertising.add(keys).unwrap();
        advertised.push((stays, input, client));
    }

    let (mut sharing, directories) = advertising.close(rng)?;
    let mut shared: Vec<_> = (0..cohort).map(|_| None).collect();
    for ((stays, input, client), directory) in advertised.into_iter().zip(directories) {
        if stays > Stays::Advertises {
            let (client, shares) = client.share(terms, &directory, rng).unwrap();
            sharing.add(directory.own, shares).unwrap();
            shared[directory.own as usize] = Some((stays, input, client));
        }
    }

    let (mut collecting, deliveries) = sharing.close()?;
    let mut masked = Vec::new();
    for (index, mail) in deliveries {
        let (stays, input, client) = shared[index as usize].take().unwrap();
        if stays > Stays::Shares {
            let (client, words) = client.mask(&mail, input).unwrap();
            collecting.add(index, &words).unwrap();
            masked.push((stays, index, client));
        }
    }

    let (mut unmasking, survivors) = collecting.close()?;
    for (stays, index, client) in masked {
        if stays > Stays::Masks {
            unmasking.add(index, client.unmask(&survivors).unwrap()).unwrap();
        }
    }
    unmasking.close(ONE)
}
