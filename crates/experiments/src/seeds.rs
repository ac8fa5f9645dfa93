//! Seeds of an experiment's draws, each from the experiment's seed and the purpose alone.

use fedra_protocol::RoundId;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use sha2::{Digest, Sha256};

/// Seed of an experiment.
#[derive(Clone, Copy, Debug)]
pub struct Seeds(pub u64);

/// Purpose of a draw.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// Partition of the examples.
    Partition,
    /// Speed of the devices, and the attackers among them.
    Devices,
    /// Presence of a device, from its first to its last.
    Presence(usize),
    /// Decisions of the server after this round: the selection of the next cohort.
    After(u64),
    /// Noise of the server, under a central policy.
    ServerNoise,
    /// Noise, keys and failures of a client in a round.
    Work(usize, RoundId),
    /// Samples and noise of a client's DP-SGD in a round.
    Examples(usize, RoundId),
    /// Direction that the attackers of a round agree on.
    Collusion(RoundId),
    /// Style of a client's images.
    Style(usize),
}

impl Seeds {
    /// Seed for a purpose.
    pub fn bytes(self, purpose: Purpose) -> [u8; 32] {
        let words = match purpose {
            Purpose::Partition => [0, 0, 0, 0],
            Purpose::Devices => [1, 0, 0, 0],
            Purpose::Presence(client) => [2, client as u64, 0, 0],
            Purpose::After(round) => [3, 0, round, 0],
            Purpose::ServerNoise => [4, 0, 0, 0],
            Purpose::Work(client, round) => {
                [5, client as u64, round.round, u64::from(round.attempt)]
            }
            Purpose::Examples(client, round) => {
                [7, client as u64, round.round, u64::from(round.attempt)]
            }
            Purpose::Collusion(round) => [6, 0, round.round, u64::from(round.attempt)],
            Purpose::Style(client) => [7, client as u64, 0, 0],
        };
        let mut hash = Sha256::new_with_prefix(b"fedra-experiment");
        hash.update(self.0.to_le_bytes());
        words.iter().for_each(|word| hash.update(word.to_le_bytes()));
        hash.finalize().into()
    }

    /// Generator for a purpose.
    pub fn rng(self, purpose: Purpose) -> ChaCha20Rng {
        ChaCha20Rng::from_seed(self.bytes(purpose))
    }
}
