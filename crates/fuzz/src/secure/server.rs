//! A server whose clients may send anything. Some of them are honest, and what
//! comes out is their sum unless a forged input or answer was taken.

use std::num::NonZeroUsize;

use arbitrary::{Result, Unstructured};
use fedra_secure_aggregation::client::{AdvertisedKeys, Masked, SharedKeys};
use fedra_secure_aggregation::server::{Advertising, Collecting, Deliveries, Sharing, Unmasking};
use fedra_secure_aggregation::{
    Assumptions, Index, KeyDirectory, PublicKeys, Terms, UnmaskingShares, pack,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use super::{WORDS, index, key, share, tamper, terms};

/// Messages of clients to a server in the four steps.
pub fn secure_server(data: &[u8]) {
    // Bytes that are too short for a case are none.
    let _ = round(&mut Unstructured::new(data));
}

fn round(input: &mut Unstructured<'_>) -> Result<()> {
    let terms = terms(input)?;
    let mut rng = ChaCha20Rng::seed_from_u64(input.arbitrary::<u16>()?.into());
    let mut round = Round { terms, sum: vec![0; WORDS], inputs: 0, forged: false };
    let (advertising, clients) = round.advertise(input, &mut rng)?;
    let Ok((mut sharing, directories)) = advertising.close(&mut rng) else { return Ok(()) };
    let clients =
        share_keys(&terms, input, &mut sharing, clients.into_iter().zip(directories), &mut rng)?;
    let Ok((mut collecting, deliveries)) = sharing.close() else { return Ok(()) };
    let clients = round.mask(input, &mut collecting, clients, deliveries)?;
    let Ok((mut unmasking, survivors)) = collecting.close() else { return Ok(()) };
    assert!(survivors.len() >= terms.minimum_survivors() as usize);
    assert!(survivors.is_sorted_by(|a, b| a < b));
    round.unmask(input, &mut unmasking, clients, &survivors)?;
    let enough = unmasking.is_enough();
    let result = unmasking.close(NonZeroUsize::MIN);
    assert!(enough || result.is_err());
    if let Ok(result) = result {
        assert_eq!(result.survivors as usize, survivors.len());
        if !round.forged {
            assert_eq!(result.survivors, round.inputs);
            assert_eq!(result.sum, round.sum);
        }
    }
    Ok(())
}

struct Round {
    terms: Terms,
    /// Sum of the honest inputs that were taken.
    sum: Vec<u32>,
    inputs: u32,
    /// True if something was taken that no honest client sent.
    forged: bool,
}

/// An honest client, or `None` for a place that another client has.
type Clients<T> = Vec<(Index, Option<T>)>;

impl Round {
    /// In the order of their arrival.
    fn advertise(
        &mut self,
        input: &mut Unstructured<'_>,
        rng: &mut ChaCha20Rng,
    ) -> Result<(Advertising, Vec<Option<AdvertisedKeys>>)> {
        let most = input.int_in_range(3..=6)?;
        let mut advertising = Advertising::new(self.terms, Assumptions::default(), most);
        let (mut clients, mut known) = (Vec::new(), Vec::<PublicKeys>::new());
        for _ in 0..input.int_in_range(3..=7)? {
            let honest = input.int_in_range(0..=7)? > 0;
            let (client, keys) = if honest {
                let (client, keys) = AdvertisedKeys::generate(rng);
                (Some(client), keys)
            } else {
                let (encryption, masking) = (key(input, &known)?, key(input, &known)?);
                (None, PublicKeys { encryption, masking })
            };
            let shown = known.iter().any(|other| {
                [other.encryption, other.masking]
                    .iter()
                    .any(|key| *key == keys.encryption || *key == keys.masking)
            });
            if advertising.add(keys).is_ok() {
                assert!(!shown, "a key under two names");
                known.push(keys);
                clients.push(client);
            }
        }
        assert!(advertising.clients() == clients.len() && clients.len() <= most as usize);
        Ok((advertising, clients))
    }

    fn mask(
        &mut self,
        input: &mut Unstructured<'_>,
        collecting: &mut Collecting,
        clients: Clients<SharedKeys>,
        deliveries: Deliveries,
    ) -> Result<Clients<Masked>> {
        let mut waiting = Vec::new();
        let mut clients: Vec<_> = clients.into_iter().filter_map(|(i, c)| Some((i, c?))).collect();
        for (index, mail) in deliveries {
            self.forge_input(input, collecting)?;
            let Some(at) = clients.iter().position(|(own, _)| *own == index) else { continue };
            let (_, client) = clients.swap_remove(at);
            if input.int_in_range(0..=7)? == 0 {
                continue; // It drops out.
            }
            let largest = self.terms.largest_word();
            let words: Vec<u32> = (0..WORDS)
                .map(|_| Ok(input.arbitrary::<u32>()? & largest))
                .collect::<Result<_>>()?;
            // Refused if another client sent it worthless shares.
            let Ok((client, masked)) = client.mask(&mail, words.clone()) else { continue };
            let taken = match input.arbitrary()? {
                true => collecting.add(index, &masked),
                false => collecting.add_packed(index, &pack(&masked, self.terms.bits())),
            };
            if taken.is_ok() {
                for (sum, word) in self.sum.iter_mut().zip(words) {
                    *sum = sum.wrapping_add(word) & largest;
                }
                self.inputs += 1;
                waiting.push((index, Some(client)));
                assert!(collecting.add(index, &masked).is_err(), "an input twice");
            } else {
                assert!(self.forged, "only a forged input can be in its place");
            }
        }
        Ok(waiting)
    }

    fn forge_input(
        &mut self,
        input: &mut Unstructured<'_>,
        collecting: &mut Collecting,
    ) -> Result<()> {
        let taken = match input.int_in_range(0..=15)? {
            0 => {
                let length = input.int_in_range(0..=4 * WORDS + 1)?;
                let packed = input.bytes(length.min(input.len()))?;
                collecting.add_packed(index(input)?, packed)
            }
            1 => {
                let length = input.int_in_range(WORDS - 1..=WORDS + 1)?;
                let words: Vec<u32> =
                    (0..length).map(|_| input.arbitrary()).collect::<Result<_>>()?;
                collecting.add(index(input)?, &words)
            }
            _ => return Ok(()),
        };
        self.forged |= taken.is_ok();
        Ok(())
    }

    fn unmask(
        &mut self,
        input: &mut Unstructured<'_>,
        unmasking: &mut Unmasking,
        clients: Clients<Masked>,
        survivors: &[Index],
    ) -> Result<()> {
        for (own, client) in clients {
            let Some(client) = client else { continue };
            let honest = client.unmask(survivors).expect("an honest list of survivors");
            match input.int_in_range(0..=15)? {
                0 => {} // It drops out.
                1 => {
                    let (from, answer) = forged_answer(input, own, honest.clone())?;
                    let same = from == own && answer == honest;
                    self.forged |= unmasking.add(from, answer).is_ok() && !same;
                }
                _ => {
                    let taken = unmasking.add(own, honest.clone()).is_ok();
                    assert!(taken || self.forged, "an honest answer");
                    assert!(unmasking.add(own, honest).is_err(), "an answer twice");
                }
            }
        }
        Ok(())
    }
}

/// By their places, and who made it.
fn share_keys(
    terms: &Terms,
    input: &mut Unstructured<'_>,
    sharing: &mut Sharing,
    clients: impl Iterator<Item = (Option<AdvertisedKeys>, KeyDirectory)>,
    rng: &mut ChaCha20Rng,
) -> Result<Clients<SharedKeys>> {
    let mut shared = Vec::new();
    for (client, directory) in clients {
        let Some(client) = client else {
            // No client can read these, but they have the right form.
            let forged = directory.neighbours.iter().map(|(peer, _)| {
                let ciphertext = vec![7; fedra_secure_aggregation::EncryptedShare::LEN];
                fedra_secure_aggregation::EncryptedShare { peer: *peer, ciphertext }
            });
            let _ = sharing.add(directory.own, forged.collect());
            continue;
        };
        // Another's key may be one with which no key agreement is possible.
        let Ok((client, mut shares)) = client.share(terms, &directory, rng) else { continue };
        let from = match input.int_in_range(0..=15)? {
            0 => continue, // It drops out.
            1 => {
                tamper(input, &mut shares)?;
                index(input)?
            }
            2 => {
                tamper(input, &mut shares)?;
                directory.own
            }
            _ => directory.own,
        };
        if sharing.add(from, shares).is_ok() && from == directory.own {
            shared.push((directory.own, Some(client)));
        }
    }
    Ok(shared)
}

fn forged_answer(
    input: &mut Unstructured<'_>,
    own: Index,
    mut answer: UnmaskingShares,
) -> Result<(Index, UnmaskingShares)> {
    let from = if input.arbitrary()? { own } else { index(input)? };
    let list = if input.arbitrary()? { &mut answer.self_masks } else { &mut answer.pairwise };
    match input.int_in_range(0..=3)? {
        0 => list.push((index(input)?, share(input)?)),
        1 => drop(list.pop()),
        2 => {
            if let Some((owner, _)) = list.first_mut() {
                *owner = index(input)?;
            }
        }
        _ => {
            let changed = share(input)?;
            if let Some((_, share)) = list.first_mut() {
                *share = changed;
            }
        }
    }
    Ok((from, answer))
}
