//! Keystream by the crate `chacha20`, which chooses among its vectors at run time.

use core::fmt;

use chacha20::cipher::{StreamCipher, StreamCipherSeek};
use chacha20::{ChaCha20, KeyIvInit};

/// Keystream of one key, from any position on. Zeroised when dropped.
pub struct Keystream(ChaCha20);

impl Keystream {
    /// Keystream of `key`, from its first byte on.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(ChaCha20::new(key.into(), &[0; 12].into()))
    }

    /// Continues at byte `position`.
    ///
    /// # Panics
    ///
    /// If the keystream ends before it.
    pub fn seek(&mut self, position: u64) {
        self.0.seek(position);
    }

    /// Overwrites `bytes` with the next bytes of the keystream.
    ///
    /// # Panics
    ///
    /// If the keystream ends before them.
    pub fn write(&mut self, bytes: &mut [u8]) {
        self.0.write_keystream(bytes);
    }
}

impl fmt::Debug for Keystream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keystream").finish_non_exhaustive()
    }
}
