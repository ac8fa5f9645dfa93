//! Secure aggregation: one side is honest, the other sends what it likes.

mod client;
mod server;

use arbitrary::{Result, Unstructured};
use fedra_secure_aggregation::{Context, EncryptedShare, PublicKeys, Share, Terms};

pub(crate) use client::secure_client;
pub(crate) use server::secure_server;

const WORDS: usize = 3;

fn terms(input: &mut Unstructured<'_>) -> Result<Terms> {
    let context = Context::new(&[b"fuzz"]);
    let (survivors, bits) = (input.int_in_range(2..=4)?, input.int_in_range(1..=32)?);
    Ok(Terms::new(context, survivors, WORDS, bits).expect("within the ranges of terms"))
}

/// A client's place, mostly one that there is.
fn index(input: &mut Unstructured<'_>) -> Result<u32> {
    Ok(match input.arbitrary::<u8>()? {
        255 => input.arbitrary()?,
        small => u32::from(small) % 10,
    })
}

/// A key: low order, another spelling, one that was shown before, or anything.
fn key(input: &mut Unstructured<'_>, known: &[PublicKeys]) -> Result<[u8; 32]> {
    Ok(match input.int_in_range(0..=4)? {
        0 => [0; 32],
        1 => [0xff; 32],
        2 if !known.is_empty() => {
            let keys = input.choose(known)?;
            if input.arbitrary()? { keys.encryption } else { keys.masking }
        }
        _ => input.arbitrary()?,
    })
}

/// Changes a list of ciphertexts, and says whether it is another one now.
fn tamper(input: &mut Unstructured<'_>, shares: &mut Vec<EncryptedShare>) -> Result<bool> {
    let before = shares.clone();
    for _ in 0..input.int_in_range(1..=3)? {
        let at = input.int_in_range(0..=shares.len().saturating_sub(1))?;
        let other = input.int_in_range(0..=shares.len().saturating_sub(1))?;
        match input.int_in_range(0..=6)? {
            0 => shares.push(EncryptedShare {
                peer: index(input)?,
                ciphertext: input.arbitrary::<[u8; EncryptedShare::LEN]>()?.to_vec(),
            }),
            _ if shares.is_empty() => {}
            1 => drop(shares.remove(at)),
            2 => shares[at].peer = index(input)?,
            3 => {
                let byte = input.int_in_range(0..=EncryptedShare::LEN - 1)?;
                if let Some(byte) = shares[at].ciphertext.get_mut(byte) {
                    *byte ^= input.int_in_range(1..=255)?;
                }
            }
            4 => shares[at].ciphertext.truncate(input.int_in_range(0..=EncryptedShare::LEN)?),
            5 => shares[at].ciphertext = shares[other].ciphertext.clone(),
            _ => shares.push(shares[at].clone()),
        }
    }
    Ok(*shares != before)
}

/// A number below the group's order.
fn share(input: &mut Unstructured<'_>) -> Result<Share> {
    let mut bytes: [u8; Share::LEN] = input.arbitrary()?;
    bytes[31] &= 0x0f;
    Ok(Share::from_bytes(bytes).expect("below 2^252"))
}
