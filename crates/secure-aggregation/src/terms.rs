//! Terms that a client insists on before the round: how many survivors a sum must
//! have, the shape of the vector, and which round it is.
//!
//! Nothing here is secret.

use sha2::{Digest, Sha256};
use thiserror::Error;

/// Fewest clients a sum may ever be over. A sum of one is that client's vector.
pub const MIN_SURVIVORS: u32 = 2;

/// Most words of a vector.
pub const MAX_WORDS: usize = 1 << 31;

/// Names the round: a hash over everything that both sides must agree on
/// (task, round, attempt, privacy policy, and so on).
///
/// Two clients with different contexts share no key, so a server that tells
/// them different things gets nothing out of either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context([u8; 32]);

impl Context {
    /// Hashes the parts. Their boundaries count: `["ab", "c"]` and `["a", "bc"]`
    /// are different contexts.
    #[must_use]
    pub fn new(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new_with_prefix(b"fedra secure aggregation, context, version 1");
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    /// The hash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Reason that a round cannot have these terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TermsError {
    /// A sum over too few clients hides none of them.
    #[error("a sum must be over at least {MIN_SURVIVORS} clients, not {minimum_survivors}")]
    TooFewSurvivors {
        /// Survivors asked for.
        minimum_survivors: u32,
    },
    /// The vector is empty or longer than [`MAX_WORDS`].
    #[error("a vector has 1 to {MAX_WORDS} words, not {words}")]
    Length {
        /// Words asked for.
        words: usize,
    },
    /// Words are of 1 to 32 bits.
    #[error("a word has 1 to 32 bits, not {bits}")]
    Bits {
        /// Bits asked for.
        bits: u32,
    },
}

/// The terms of a round, known to both sides before it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    context: Context,
    minimum_survivors: u32,
    words: usize,
    bits: u32,
}

impl Terms {
    /// A round over vectors of `words` words modulo 2^`bits`, whose sum is over
    /// at least `minimum_survivors` clients or is never opened.
    ///
    /// # Errors
    ///
    /// [`TermsError`] for fewer than [`MIN_SURVIVORS`] survivors, a length
    /// outside `1..=MAX_WORDS`, or bits outside `1..=32`.
    pub fn new(
        context: Context,
        minimum_survivors: u32,
        words: usize,
        bits: u32,
    ) -> Result<Self, TermsError> {
        if minimum_survivors < MIN_SURVIVORS {
            return Err(TermsError::TooFewSurvivors { minimum_survivors });
        }
        if words == 0 || words > MAX_WORDS {
            return Err(TermsError::Length { words });
        }
        if !(1..=32).contains(&bits) {
            return Err(TermsError::Bits { bits });
        }
        Ok(Self { context, minimum_survivors, words, bits })
    }

    /// Context that identifies the round.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Fewest clients the sum may be over.
    #[must_use]
    pub fn minimum_survivors(&self) -> u32 {
        self.minimum_survivors
    }

    /// Words of a vector.
    #[must_use]
    pub fn words(&self) -> usize {
        self.words
    }

    /// Bits of a word: sums are modulo 2^`bits`.
    #[must_use]
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// The largest value of a word, 2^bits - 1.
    #[must_use]
    pub fn largest_word(&self) -> u32 {
        u32::MAX >> (32 - self.bits)
    }

    /// The place of the first word that is not reduced modulo 2^`bits`.
    pub(crate) fn first_out_of_range(&self, words: &[u32]) -> Option<usize> {
        let largest = self.largest_word();
        // Without an early exit this runs at the speed of memory.
        let used = words.iter().fold(0, |used, word| used | word);
        if used <= largest { None } else { words.iter().position(|&word| word > largest) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_out_of_range_are_refused() {
        let context = Context::new(&[b"round"]);
        assert_eq!(
            Terms::new(context, 1, 8, 16),
            Err(TermsError::TooFewSurvivors { minimum_survivors: 1 })
        );
        assert_eq!(Terms::new(context, 2, 0, 16), Err(TermsError::Length { words: 0 }));
        assert_eq!(
            Terms::new(context, 2, MAX_WORDS + 1, 16),
            Err(TermsError::Length { words: MAX_WORDS + 1 })
        );
        assert_eq!(Terms::new(context, 2, 8, 0), Err(TermsError::Bits { bits: 0 }));
        assert_eq!(Terms::new(context, 2, 8, 33), Err(TermsError::Bits { bits: 33 }));
    }

    #[test]
    fn the_largest_word_fills_its_bits() {
        let largest = |bits| Terms::new(Context::new(&[]), 2, 1, bits).unwrap().largest_word();
        assert_eq!((largest(1), largest(16), largest(32)), (1, 0xffff, u32::MAX));
    }

    #[test]
    fn the_first_word_out_of_range_is_found() {
        let terms = Terms::new(Context::new(&[]), 2, 4, 4).unwrap();
        assert_eq!(terms.first_out_of_range(&[15, 0, 8, 7]), None);
        assert_eq!(terms.first_out_of_range(&[15, 0, 16, 99]), Some(2));
    }

    #[test]
    fn the_boundaries_of_a_contexts_parts_count() {
        assert_ne!(Context::new(&[b"ab", b"c"]), Context::new(&[b"a", b"bc"]));
        assert_ne!(Context::new(&[b"a"]), Context::new(&[b"a", b""]));
        assert_eq!(Context::new(&[b"a", b"b"]), Context::new(&[b"a", b"b"]));
    }
}
