//! One client against a server that may say anything. The rest of the cohort is
//! honest, so that the server has something true to begin with.

use arbitrary::{Result, Unstructured};
use fedra_secure_aggregation::client::{AdvertisedKeys, SharedKeys};
use fedra_secure_aggregation::server::{Advertising, Sharing};
use fedra_secure_aggregation::{
    Assumptions, EncryptedShare, Index, KeyDirectory, PublicKeys, Terms,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use super::{WORDS, index, key, tamper, terms};

/// Messages of a server to one client in the three steps.
pub fn secure_client(data: &[u8]) {
    // Bytes that are too short for a case are none.
    let _ = round(&mut Unstructured::new(data));
}

fn round(input: &mut Unstructured<'_>) -> Result<()> {
    let terms = terms(input)?;
    let cohort = input.int_in_range(3..=5)?;
    let mut rng = ChaCha20Rng::seed_from_u64(input.arbitrary::<u16>()?.into());
    let Some((sharing, mut seated)) = seated(&terms, cohort, &mut rng) else { return Ok(()) };
    let (client, honest) = seated.remove(0);
    let directory = directory(input, &honest)?;
    let Ok((client, own_shares)) = client.share(&terms, &directory, &mut rng) else {
        return Ok(());
    };

    // The client took the directory, so this must hold even if it is forged.
    assert!(directory.cohort >= terms.minimum_survivors());
    assert!(directory.own < directory.cohort);
    assert_eq!(directory.neighbours.len() as u32, directory.cohort - 1, "small: complete");
    assert!(2 * directory.threshold >= directory.cohort - 1 && directory.threshold >= 2);
    assert!(own_shares.iter().map(|share| share.peer).eq(peers(&directory)));
    assert!(own_shares.iter().all(|share| share.ciphertext.len() == EncryptedShare::LEN));

    let mail = if directory == honest {
        mail(&terms, sharing, own_shares, seated, &mut rng)
    } else {
        None
    };
    masked(input, &terms, &directory, client, mail.unwrap_or_default())
}

/// The last two steps.
fn masked(
    input: &mut Unstructured<'_>,
    terms: &Terms,
    directory: &KeyDirectory,
    client: SharedKeys,
    mut mail: Vec<EncryptedShare>,
) -> Result<()> {
    let mut forged = false;
    if input.arbitrary()? {
        let before = mail.clone();
        tamper(input, &mut mail)?;
        // Fewer, or in another order, is what may happen to honest ones.
        forged = mail.iter().any(|share| !before.contains(share))
            || mail.iter().enumerate().any(|(at, share)| mail[..at].contains(share));
    }
    let words: Vec<u32> = (0..WORDS).map(|_| input.arbitrary()).collect::<Result<_>>()?;
    let fits = words.iter().all(|word| *word <= terms.largest_word());
    let Ok((client, masked)) = client.mask(&mail, words) else { return Ok(()) };
    assert!(fits, "a word that is not reduced");
    assert!(!forged, "shares that no neighbour sent");
    assert!(mail.len() >= directory.threshold as usize);
    assert!(masked.iter().all(|word| *word <= terms.largest_word()));

    let survivors: Vec<Index> = match input.arbitrary::<u8>()? {
        0 => (0..input.int_in_range(0..=6)?).map(|_| index(input)).collect::<Result<_>>()?,
        some => (0..directory.cohort).filter(|i| some >> (i % 8) & 1 == 1).collect(),
    };
    let Ok(answer) = client.unmask(&survivors) else { return Ok(()) };
    assert!(survivors.is_sorted_by(|a, b| a < b));
    assert!(survivors.len() >= terms.minimum_survivors() as usize);
    assert!(survivors.contains(&directory.own));
    let known = |owner| mail.iter().any(|share| share.peer == owner);
    // Never both of one neighbour, for any request of the server.
    assert!(answer.self_masks.iter().all(|(owner, _)| survivors.contains(owner) && known(*owner)));
    assert!(answer.pairwise.iter().all(|(owner, _)| !survivors.contains(owner) && known(*owner)));
    assert_eq!(answer.self_masks.len() + answer.pairwise.len(), mail.len());
    Ok(())
}

type Seated = Vec<(AdvertisedKeys, KeyDirectory)>;

/// Clients with their directories, by their place.
fn seated(terms: &Terms, cohort: u32, rng: &mut ChaCha20Rng) -> Option<(Sharing, Seated)> {
    let mut advertising = Advertising::new(*terms, Assumptions::default(), cohort);
    let mut clients = Vec::new();
    for _ in 0..cohort {
        let (client, keys) = AdvertisedKeys::generate(rng);
        advertising.add(keys).expect("fresh keys");
        clients.push(client);
    }
    // Fewer than the terms allow end the round here.
    let (sharing, directories) = advertising.close(rng).ok()?;
    let mut seated: Seated = clients.into_iter().zip(directories).collect();
    seated.sort_by_key(|(_, directory)| directory.own);
    Some((sharing, seated))
}

/// Shares of the honest neighbours for client 0.
fn mail(
    terms: &Terms,
    mut sharing: Sharing,
    own_shares: Vec<EncryptedShare>,
    others: Seated,
    rng: &mut ChaCha20Rng,
) -> Option<Vec<EncryptedShare>> {
    sharing.add(0, own_shares).expect("an honest client's shares");
    for (client, directory) in others {
        let (_, shares) = client.share(terms, &directory, rng).expect("an honest directory");
        sharing.add(directory.own, shares).expect("an honest client's shares");
    }
    let (_, deliveries) = sharing.close().expect("everybody has shared");
    deliveries.into_iter().next().map(|(_, mail)| mail)
}

fn peers(directory: &KeyDirectory) -> impl Iterator<Item = Index> {
    directory.neighbours.iter().map(|(peer, _)| *peer)
}

/// The honest directory, or one with changes.
fn directory(input: &mut Unstructured<'_>, honest: &KeyDirectory) -> Result<KeyDirectory> {
    let mut directory = honest.clone();
    let known: Vec<PublicKeys> = honest.neighbours.iter().map(|(_, keys)| *keys).collect();
    for _ in 0..input.int_in_range(0..=3)? {
        let last = directory.neighbours.len().saturating_sub(1);
        let at = input.int_in_range(0..=last)?;
        let neighbours = &mut directory.neighbours;
        match input.int_in_range(0..=7)? {
            0 => directory.own = index(input)?,
            1 => directory.cohort = index(input)?,
            2 => directory.threshold = index(input)?,
            3 => {
                let (encryption, masking) = (key(input, &known)?, key(input, &known)?);
                neighbours.insert(at, (index(input)?, PublicKeys { encryption, masking }));
            }
            _ if neighbours.is_empty() => {}
            4 => drop(neighbours.remove(at)),
            5 => neighbours[at].0 = index(input)?,
            6 => neighbours[at].1.encryption = key(input, &known)?,
            _ => neighbours[at].1.masking = key(input, &known)?,
        }
    }
    Ok(directory)
}
