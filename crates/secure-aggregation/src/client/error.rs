//! Reasons for which a client goes no further.

use thiserror::Error;

use crate::graph::GraphError;
use crate::message::Index;

/// A client refuses to go on. Its state is gone, and with it the round for this
/// client; nothing has been revealed beyond the messages already sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ClientError {
    /// Fewer take part than a sum must be over.
    #[error("{cohort} clients take part, the terms ask for a sum over at least {minimum}")]
    CohortTooSmall {
        /// Clients that take part.
        cohort: u32,
        /// Fewest survivors by the terms.
        minimum: u32,
    },
    /// The neighbourhood or the threshold does not protect the client.
    #[error("the server's graph is refused: {0}")]
    UnsafeGraph(#[from] GraphError),
    /// The neighbours are not those that the graph gives to this position, in
    /// increasing order.
    #[error("the directory does not list the neighbours of client {own}")]
    WrongNeighbours {
        /// The position the server gave us.
        own: Index,
    },
    /// A key occurs twice, or is one of our own.
    #[error("a key of client {peer} belongs to somebody else, too")]
    DuplicateKey {
        /// The later of its owners.
        peer: Index,
    },
    /// A key is zero, of low order, or not in its canonical form.
    #[error("a key of client {peer} is not a sound X25519 key")]
    BadKey {
        /// Owner of the key.
        peer: Index,
    },
    /// The input has not as many words as the terms say.
    #[error("the input has {actual} words, the terms say {expected}")]
    WrongLength {
        /// Words by the terms.
        expected: usize,
        /// Words of the input.
        actual: usize,
    },
    /// A word of the input is not reduced modulo 2^bits.
    #[error("word {position} of the input has more bits than the terms say")]
    WordOutOfRange {
        /// Position of the word, from 0.
        position: usize,
    },
    /// Shares from a client that is not a neighbour.
    #[error("shares came from client {peer}, who is no neighbour")]
    UnknownPeer {
        /// The supposed sender.
        peer: Index,
    },
    /// Shares from the same neighbour twice.
    #[error("shares from client {peer} came twice")]
    RepeatedShares {
        /// The supposed sender.
        peer: Index,
    },
    /// Shares that were tampered with, or are from another round, for another
    /// receiver, or under other terms.
    #[error("the shares from client {peer} are not what it sent us in this round")]
    BadShares {
        /// The supposed sender.
        peer: Index,
    },
    /// Too few neighbours shared their secrets for a sum to be opened.
    #[error("{received} neighbours sent shares, {needed} are needed")]
    TooFewShares {
        /// Neighbours that sent theirs.
        received: u32,
        /// The threshold.
        needed: u32,
    },
    /// The sum would be over fewer clients than the terms allow.
    #[error("{survivors} clients survived, the terms ask for at least {minimum}")]
    TooFewSurvivors {
        /// Survivors by the server's list.
        survivors: u32,
        /// Fewest by the terms.
        minimum: u32,
    },
    /// The list of survivors is not strictly increasing or leaves the cohort.
    #[error("the list of survivors is not an increasing list of clients of the cohort")]
    BadSurvivors,
    /// The server lists us as dropped although it asks us.
    #[error("the list of survivors leaves out the client that it was sent to")]
    NotASurvivor,
    /// A survivor that never sent us the shares that its mask hangs on.
    #[error("client {peer} is said to have survived, but never sent us its shares")]
    ImpossibleSurvivor {
        /// The supposed survivor.
        peer: Index,
    },
}
