//! The tokens of this process's clients: from a file that is read anew before
//! every connection, or from the environment. Not from the command line, which
//! every user of a machine can read; and never into the log.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use fedra_edge_client::{CallbackError, TokenSource};
use fedra_protocol::{Token, TokenError};

/// The variable that holds a token.
pub const VARIABLE: &str = "FEDRA_TOKEN";

/// Source of tokens.
pub enum Tokens {
    None,
    Fixed(Token),
    /// Line I is the I-th client's.
    File(PathBuf),
}

impl Tokens {
    /// Takes the file if there is one, else the variable's value; checked once for all
    /// clients.
    pub fn of(
        file: Option<&Path>,
        variable: Option<OsString>,
        clients: usize,
    ) -> anyhow::Result<Self> {
        if let Some(path) = file {
            for client in 0..clients {
                read(path, client)?;
            }
            return Ok(Self::File(path.to_path_buf()));
        }
        let Some(token) = variable.filter(|token| !token.is_empty()) else {
            return Ok(Self::None);
        };
        if clients > 1 {
            bail!(
                "{VARIABLE} is one participant's token; {clients} clients need --token-file with \
                 a line for each"
            );
        }
        let token = token.into_string().ok().and_then(|token| Token::new(token).ok());
        token.map(Self::Fixed).with_context(|| format!("{VARIABLE} does not hold a token"))
    }

    /// The tokens of the `client`-th client.
    pub fn source(&self, client: usize) -> TokenSource {
        match self {
            Self::None => TokenSource::none(),
            Self::Fixed(token) => TokenSource::fixed(token.clone()),
            Self::File(path) => {
                let path = path.clone();
                TokenSource::new(move || {
                    std::future::ready(read(&path, client).map_err(CallbackError::new))
                })
            }
        }
    }
}

/// Reason why a file has no token for a client. It does not repeat what is in the file.
#[derive(Debug, thiserror::Error)]
enum TokenFileError {
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} has no line for client {client}", path.display())]
    NoLine { path: PathBuf, client: usize },
    #[error("{}, client {client}: {source}", path.display())]
    NoToken { path: PathBuf, client: usize, source: TokenError },
}

fn read(path: &Path, client: usize) -> Result<Token, TokenFileError> {
    let path = || path.to_path_buf();
    let text = fs::read_to_string(path())
        .map_err(|source| TokenFileError::Unreadable { path: path(), source })?;
    let line = text.lines().map(str::trim).filter(|line| !line.is_empty()).nth(client);
    let line = line.ok_or_else(|| TokenFileError::NoLine { path: path(), client })?;
    Token::new(line).map_err(|source| TokenFileError::NoToken { path: path(), client, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn a_file_has_a_line_for_each_client_and_is_read_each_time() {
        let file = file("first.token\n\n  second.token \n");
        let path = file.path();
        assert!(Tokens::of(Some(path), None, 2).is_ok());
        assert!(Tokens::of(Some(path), None, 3).is_err(), "no line for the third");
        assert_eq!(read(path, 1).unwrap().as_str(), "second.token");
        fs::write(path, "first.token\nfresh.token").unwrap();
        assert_eq!(read(path, 1).unwrap().as_str(), "fresh.token");
        assert!(Tokens::of(Some(Path::new("/no/such/file")), None, 1).is_err());
    }

    #[test]
    fn a_variable_is_for_one_client() {
        let variable = |value: &str| Some(OsString::from(value));
        assert!(matches!(Tokens::of(None, variable("a.b.c"), 1), Ok(Tokens::Fixed(_))));
        assert!(matches!(Tokens::of(None, variable(""), 1), Ok(Tokens::None)));
        assert!(matches!(Tokens::of(None, None, 5), Ok(Tokens::None)));
        assert!(Tokens::of(None, variable("a.b.c"), 2).is_err());
    }

    #[test]
    fn no_error_repeats_a_token() {
        let secret = "s3cr3t with a space";
        let file = file(secret);
        let of_file = Tokens::of(Some(file.path()), None, 1).err().expect("not a token");
        let of_variable = Tokens::of(None, Some(secret.into()), 1).err().expect("not a token");
        for error in [of_file, of_variable] {
            assert!(!format!("{error:#} {error:?}").contains("s3cr3t"), "{error:#}");
        }
    }
}
