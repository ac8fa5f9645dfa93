//! Random numbers from a keystream: the words in order, two for a `u64`.

use core::convert::Infallible;
use core::fmt;

use rand_core::{SeedableRng, TryCryptoRng, TryRng};
use zeroize::Zeroizing;

use crate::Keystream;

/// Bytes drawn from the keystream at a time.
const BUFFER: usize = 1024;

/// Cryptographically secure generator with the numbers of `rand_chacha::ChaCha20Rng`, for
/// any order of its methods. Zeroised when dropped.
pub struct KeystreamRng {
    stream: Keystream,
    buffer: Zeroizing<[u8; BUFFER]>,
    /// Bytes of the buffer that are used up: a multiple of 4.
    used: usize,
}

impl KeystreamRng {
    /// Next `N` bytes, a multiple of 4.
    #[inline]
    fn take<const N: usize>(&mut self) -> [u8; N] {
        const { assert!(N.is_multiple_of(4)) };
        if let Some(bytes) = self.buffer[self.used..].first_chunk() {
            self.used += N;
            return *bytes;
        }
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        let (buffered, rest) = bytes.split_at_mut(bytes.len().min(BUFFER - self.used));
        buffered.copy_from_slice(&self.buffer[self.used..self.used + buffered.len()]);
        self.used += buffered.len().next_multiple_of(4);
        let (direct, rest) = rest.split_at_mut(rest.len() - rest.len() % BUFFER);
        self.stream.write(direct);
        if !rest.is_empty() {
            self.stream.write(self.buffer.as_mut_slice());
            rest.copy_from_slice(&self.buffer[..rest.len()]);
            self.used = rest.len().next_multiple_of(4);
        }
    }
}

impl SeedableRng for KeystreamRng {
    type Seed = [u8; 32];

    fn from_seed(seed: Self::Seed) -> Self {
        Self { stream: Keystream::new(&seed), buffer: Zeroizing::new([0; BUFFER]), used: BUFFER }
    }
}

impl TryRng for KeystreamRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.take()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(self.take()))
    }

    /// Takes whole words: bytes of the last one that do not fit are lost.
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.fill(bytes);
        Ok(())
    }
}

impl TryCryptoRng for KeystreamRng {}

impl fmt::Debug for KeystreamRng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeystreamRng").finish_non_exhaustive()
    }
}
