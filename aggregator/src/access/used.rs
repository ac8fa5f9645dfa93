//! The single-use tokens that have been used, until they expire by themselves.
//! Memory is bounded: when there is no room for another, it is not let in.

use std::collections::{BTreeSet, HashSet};

/// Most tokens remembered: about 16 MiB. Only tokens with a valid signature
/// come this far.
const TOKENS: usize = 1 << 17;

/// A token by its key and `jti`.
pub(super) type TokenName = [u8; 16];

/// Reason not to let a token in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotNew {
    Used,
    NoRoom,
}

/// Names of used tokens.
#[derive(Debug)]
pub(super) struct UsedTokens {
    most: usize,
    names: HashSet<TokenName>,
    /// The same with when they may be forgotten, Unix seconds.
    expiry: BTreeSet<(u64, TokenName)>,
}

impl Default for UsedTokens {
    fn default() -> Self {
        Self { most: TOKENS, names: HashSet::new(), expiry: BTreeSet::new() }
    }
}

impl UsedTokens {
    /// Uses a token that is refused for its age from `until` on.
    pub(super) fn take(&mut self, name: TokenName, until: u64, now: u64) -> Result<(), NotNew> {
        while self.expiry.first().is_some_and(|(until, _)| *until <= now) {
            if let Some((_, expired)) = self.expiry.pop_first() {
                self.names.remove(&expired);
            }
        }
        if self.names.contains(&name) {
            return Err(NotNew::Used);
        }
        if self.names.len() >= self.most {
            return Err(NotNew::NoRoom);
        }
        self.names.insert(name);
        self.expiry.insert((until, name));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_new_once_and_forgotten_when_it_has_expired() {
        let mut used = UsedTokens { most: 2, ..UsedTokens::default() };
        assert_eq!(used.take([1; 16], 100, 10), Ok(()));
        assert_eq!(used.take([1; 16], 100, 99), Err(NotNew::Used));
        assert_eq!(used.take([2; 16], 200, 99), Ok(()));
        // Neither may be forgotten yet.
        assert_eq!(used.take([3; 16], 300, 99), Err(NotNew::NoRoom));
        assert_eq!(used.take([2; 16], 200, 99), Err(NotNew::Used));
        assert_eq!(used.take([3; 16], 300, 100), Ok(()));
        assert_eq!((used.names.len(), used.expiry.len()), (2, 2));
    }
}
