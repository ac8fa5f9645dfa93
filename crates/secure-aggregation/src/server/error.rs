//! Reasons for which a message is refused, or a round ends without a sum.

use thiserror::Error;

use crate::graph::GraphError;
use crate::message::Index;
use crate::packing::PackingError;

/// The steps of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Clients show their public keys.
    AdvertiseKeys,
    /// Clients share their secrets.
    ShareKeys,
    /// Clients send masked inputs.
    MaskedInput,
    /// Survivors send the shares that take the masks off.
    Unmasking,
}

/// A client's message is refused. The round goes on as if it had not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Fault {
    /// No more clients are taken.
    #[error("the cohort of {cohort} is full")]
    CohortFull {
        /// Clients already there.
        cohort: u32,
    },
    /// A key is zero, of low order, or not in its canonical form.
    #[error("a public key is not a sound X25519 key")]
    BadKey,
    /// One of the keys was shown before.
    #[error("a public key was shown before")]
    DuplicateKey,
    /// There is no such client.
    #[error("client {client} is not in the cohort of {cohort}")]
    NotInCohort {
        /// Index that the client claims.
        client: Index,
        /// Clients there are.
        cohort: u32,
    },
    /// The client did not make an earlier step.
    #[error("client {client} has already dropped out")]
    DroppedOut {
        /// The sender.
        client: Index,
    },
    /// The client has sent this step's message before.
    #[error("client {client} has sent this message before")]
    Repeated {
        /// The sender.
        client: Index,
    },
    /// Not one encrypted share for each neighbour, in increasing order.
    #[error("the shares of client {client} are not one for each of its neighbours")]
    WrongRecipients {
        /// The sender.
        client: Index,
    },
    /// A ciphertext has an impossible length.
    #[error("what client {client} encrypted for {peer} has a wrong length")]
    WrongCiphertext {
        /// The sender.
        client: Index,
        /// The recipient.
        peer: Index,
    },
    /// The masked input has not as many words as the terms say.
    #[error("the masked input has {actual} words, the terms say {expected}")]
    WrongLength {
        /// Words by the terms.
        expected: usize,
        /// Words of the input.
        actual: usize,
    },
    /// A word is not reduced modulo 2^bits.
    #[error("word {position} of the masked input has more bits than the terms say")]
    WordOutOfRange {
        /// Position of the word, from 0.
        position: usize,
    },
    /// The packed input is not packed words.
    #[error("the masked input cannot be unpacked: {0}")]
    Packing(#[from] PackingError),
    /// Not one share for each neighbour, of the kind that its fate calls for.
    #[error("client {client} did not answer with one share of the right kind for each neighbour")]
    WrongShares {
        /// The sender.
        client: Index,
    },
}

/// The round ends without a sum. No mask has been taken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Abandoned {
    /// Fewer clients made the step than a sum must be over.
    #[error("{clients} clients made the step {step:?}, at least {minimum} must")]
    TooFewClients {
        /// The step.
        step: Step,
        /// Clients that made it.
        clients: u32,
        /// Fewest by the terms.
        minimum: u32,
    },
    /// There is no safe graph for this cohort.
    #[error("no graph for this cohort: {0}")]
    NoGraph(#[from] GraphError),
    /// A client's secret cannot be reconstructed.
    #[error("of client {owner}'s secret {shares} shares can be had, {needed} are needed")]
    TooFewShares {
        /// Owner of the secret.
        owner: Index,
        /// Shares there are, or could be.
        shares: u32,
        /// The threshold.
        needed: u32,
    },
    /// Shares contradict each other, or give a key that is not the client's,
    /// and which of them are wrong cannot be told.
    #[error("the shares of the secret of client {owner} contradict each other")]
    WrongShares {
        /// Owner of the secret.
        owner: Index,
    },
}
