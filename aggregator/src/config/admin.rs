//! `[server.admin]`: the operator's token. Of a token only its SHA-256 is kept,
//! so no log and no dump of the config can have it.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use fedra_protocol::Sha256Hash;
use subtle::ConstantTimeEq;

use super::section::Section;
use super::value;

/// Fewest characters of a token: what 128 random bits take in hexadecimal.
const MIN_TOKEN: usize = 32;
/// Most characters of a token: it has to fit into a header.
const MAX_TOKEN: usize = 1024;

/// The token that lets an operator in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OperatorToken(Sha256Hash);

impl OperatorToken {
    /// Takes a token of 32 to 1,024 visible ASCII characters.
    ///
    /// # Errors
    ///
    /// The problem with the token, without the token itself.
    pub fn new(token: &str) -> Result<Self, String> {
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("a token has only visible ASCII characters and no spaces".to_owned());
        }
        if !(MIN_TOKEN..=MAX_TOKEN).contains(&token.len()) {
            return Err(format!(
                "a token has {MIN_TOKEN} to {MAX_TOKEN} characters; this one has {}. \
                 `openssl rand -hex 32` makes a good one",
                token.len()
            ));
        }
        Ok(Self(Sha256Hash::of(token.as_bytes())))
    }

    /// True if this is the token. The time does not depend on where it differs.
    #[must_use]
    pub fn matches(&self, presented: &[u8]) -> bool {
        Sha256Hash::of(presented).as_bytes().ct_eq(self.0.as_bytes()).into()
    }
}

impl fmt::Debug for OperatorToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OperatorToken(..)")
    }
}

/// The token of the section, if it has one.
pub(super) fn read(section: Section<'_>) -> Option<OperatorToken> {
    let token = section.optional("token", value::text);
    let file = section.optional("token_file", value::path);
    let found = match (token, file) {
        (Some(_), Some(_)) => {
            section.mistake("token_file", "there is a token as well; leave one of the two out");
            None
        }
        (Some(token), None) => {
            OperatorToken::new(&token).map_err(|problem| section.mistake("token", problem)).ok()
        }
        (None, Some(file)) => {
            from_file(&file).map_err(|problem| section.mistake("token_file", problem)).ok()
        }
        (None, None) => None,
    };
    section.finish();
    found
}

/// The token in a file; a line break at its end is not part of it.
fn from_file(path: &Path) -> Result<OperatorToken, String> {
    let mut text = String::new();
    // One character more than any token and a line break would have.
    let limit = MAX_TOKEN as u64 + 3;
    File::open(path)
        .and_then(|file| file.take(limit).read_to_string(&mut text))
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    OperatorToken::new(text.trim_end_matches(['\r', '\n']))
        .map_err(|problem| format!("{}: {problem}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn config(admin: &str) -> Result<Config, crate::config::Mistakes> {
        Config::from_toml(&format!(
            "[server.admin]\n{admin}\n[[task]]\nid = \"t\"\nmodel = \"softmax-regression\""
        ))
    }

    #[test]
    fn only_the_token_matches_and_it_is_not_shown() {
        let token = OperatorToken::new(TOKEN).expect("long enough");
        assert!(token.matches(TOKEN.as_bytes()));
        assert!(!token.matches(&TOKEN.as_bytes()[1..]));
        assert!(!token.matches(b""));
        let config = config(&format!("token = \"{TOKEN}\"")).expect("sound");
        assert_eq!(config.server.admin, Some(token));
        let shown = format!("{config:?}");
        assert!(shown.contains("OperatorToken(..)") && !shown.contains(TOKEN), "{shown}");
    }

    #[test]
    fn without_a_token_there_is_none() {
        assert_eq!(config("").expect("sound").server.admin, None);
    }

    #[test]
    fn a_weak_token_is_a_mistake_that_does_not_tell_it() {
        for bad in ["short-secret", "a secret with spaces that is long enough", &"x".repeat(1025)] {
            let mistakes = config(&format!("token = \"{bad}\"")).expect_err("too weak").to_string();
            assert!(mistakes.contains("server.admin.token: a token has"), "{mistakes}");
            assert!(!mistakes.contains(bad), "{mistakes}");
        }
    }

    #[test]
    fn a_file_may_hold_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        let key = format!("token_file = \"{}\"", path.display());
        let missing = config(&key).expect_err("no file").to_string();
        assert!(missing.contains("server.admin.token_file: cannot read"), "{missing}");
        std::fs::write(&path, format!("{TOKEN}\r\n")).expect("writes");
        let token = config(&key).expect("sound").server.admin.expect("a token");
        assert!(token.matches(TOKEN.as_bytes()));
        let both = config(&format!("{key}\ntoken = \"{TOKEN}\"")).expect_err("two").to_string();
        assert!(both.contains("leave one of the two out"), "{both}");
        std::fs::write(&path, "x".repeat(5000)).expect("writes");
        let long = config(&key).expect_err("too long").to_string();
        assert!(long.contains("32 to 1024 characters"), "{long}");
    }
}
