//! Secure aggregation: a server learns the sum of its clients' vectors and
//! who took part, and nothing else about any of them.
//!
//! This is the protocol of Bonawitz et al. ("Practical Secure Aggregation for
//! Privacy-Preserving Machine Learning", CCS 2017) on the sparse graph of Bell
//! et al. ("Secure Single-Server Aggregation with (Poly)Logarithmic Overhead",
//! CCS 2020), in its semi-honest variant, as two state machines: [`client`] and
//! [`server`]. They do no I/O, read no clock and own no generator. They know
//! nothing of models, noise or budgets: a vector is words modulo 2^bits.
//!
//! # A round
//!
//! | step | a client sends | the server sends |
//! |---|---|---|
//! | advertise keys | two fresh X25519 keys | the neighbours' keys and the threshold |
//! | share keys | Shamir shares of its self-mask seed and of its masking secret, encrypted for each neighbour | the neighbours' shares |
//! | masked input | input + self mask ± a mask with each neighbour | who survived |
//! | unmask | for each neighbour one share: of the seed if it survived, of the masking secret if not | |
//!
//! Pairwise masks of survivors cancel in the sum. Those with clients that
//! dropped out in between are reconstructed from the dropped client's masking
//! secret, self masks from their seeds. A late input is useless to the server
//! without its self mask; the self mask is never given away for a client whose
//! masking secret is.
//!
//! # Claims
//!
//! Against a server that follows the protocol and remembers everything, even
//! together with a tenth of the clients, chosen at random: it learns the sum of the
//! survivors' inputs, of at least `minimum_survivors` of them, except with
//! probability 2^-40. Outsiders and other clients learn nothing, not even the sum.
//!
//! A client does not have to trust the server for the numbers: it checks cohort,
//! degree, threshold and its place in the graph by itself ([`Graph::checked`])
//! and answers once. All keys are bound to the round's terms ([`Terms`]), to both
//! owners, to purpose and direction, so that messages of other rounds, or
//! meant for others, are worthless and are named.
//!
//! # Not claimed
//!
//! - **A lying server.** It could invent most of the cohort, or give each client
//!   a key of its own making in the place of a neighbour's, because keys are not
//!   authenticated. [`Adversary::SemiMalicious`] withstands a server that is honest while
//!   keys are exchanged and lies about survivors afterwards.
//! - **Lying clients.** A client can give any input. One client can make
//!   the sum worthless, and wrong shares can stop a round; they cannot make
//!   it reveal more.
//! - **The sum itself.** It may say much about one client, above all to a party
//!   that knows the other inputs. That is what differential privacy is for.
//! - **Side channels of the traffic**: who takes part, and when, is not hidden.
//!
//! # Primitives
//!
//! - Keys: X25519 (RFC 7748), clamped. A clamped secret is `8 m`; `m` is below
//!   the order of the group and is what is shared. A key agreed on that is zero
//!   is refused, and so are keys of low order or in another spelling.
//! - Shares: Shamir's scheme over the scalars of Curve25519, encrypted with
//!   ChaCha20-Poly1305 (RFC 8439) under a key for one message, with a hash of
//!   round, sender and receiver as associated data.
//! - Keys for one purpose each: HKDF-SHA256 (RFC 5869).
//! - Masks: the ChaCha20 keystream of a full 256-bit key.
//! - Secrets are zeroised when dropped, compared in constant time and never
//!   printed. (What the compiler or the operating system copied is out of reach.)
//!
//! # Example
//!
//! Five clients, one of which drops out after sharing its keys.
//!
//! ```
//! use std::num::NonZeroUsize;
//!
//! use fedra_secure_aggregation::client::AdvertisedKeys;
//! use fedra_secure_aggregation::{Assumptions, Context, Terms, server};
//! use rand::SeedableRng;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(7);
//! // Known to both sides: which round, at least 3 survivors, 4 words of 16 bits.
//! let terms = Terms::new(Context::new(&[b"my task", b"round 12"]), 3, 4, 16)?;
//!
//! let mut advertising = server::Advertising::new(terms, Assumptions::default(), 100);
//! let mut clients = Vec::new();
//! for _ in 0..5 {
//!     let (client, keys) = AdvertisedKeys::generate(&mut rng);
//!     advertising.add(keys)?;
//!     clients.push(client);
//! }
//!
//! let (mut sharing, directories) = advertising.close(&mut rng)?;
//! let mut by_index = std::collections::BTreeMap::new();
//! for (client, directory) in clients.into_iter().zip(directories) {
//!     let (client, shares) = client.share(&terms, &directory, &mut rng)?;
//!     sharing.add(directory.own, shares)?;
//!     by_index.insert(directory.own, client);
//! }
//!
//! let (mut collecting, deliveries) = sharing.close()?;
//! let mut masked = Vec::new();
//! for (index, shares) in deliveries.into_iter().skip(1) {
//!     let client = by_index.remove(&index).expect("delivered to who shared");
//!     let (client, words) = client.mask(&shares, vec![1, 10, 100, 0xffff])?;
//!     collecting.add(index, &words)?;
//!     masked.push((index, client));
//! }
//!
//! let (mut unmasking, survivors) = collecting.close()?;
//! for (index, client) in masked {
//!     unmasking.add(index, client.unmask(&survivors)?)?;
//! }
//! let result = unmasking.close(NonZeroUsize::MIN)?;
//! assert_eq!(result.sum, [4, 40, 400, 0xfffc]);
//! assert_eq!(result.survivors, 4);
//! # Ok(())
//! # }
//! ```

pub mod client;
mod graph;
mod keys;
mod known_answer;
mod mask;
mod message;
mod packing;
mod sealing;
pub mod server;
mod shamir;
mod terms;
mod transcript;

pub use graph::{
    Adversary, Assumptions, COMPLETE_BELOW, Graph, GraphError, MAX_COHORT, MIN_COHORT,
};
pub use known_answer::{KNOWN_ANSWER, known_answer};
#[doc(hidden)]
pub use mask::bare_keystream;
pub use message::{EncryptedShare, Index, KeyDirectory, PublicKeys, Share, UnmaskingShares};
pub use packing::{PackingError, add_packed, check_packed, pack, packed_len, unpack};
pub use terms::{Context, MAX_WORDS, MIN_SURVIVORS, Terms, TermsError};
