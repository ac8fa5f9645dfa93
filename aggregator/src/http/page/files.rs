//! Contents of files, by what is in them: hashes, and which compressed file belongs
//! to which.
//!
//! A hash is remembered for as long as the file system says that the file is the same
//! one, unchanged. A content stays in memory while it is being sent, once, however
//! many it is sent to. So neither slow readers nor their number cost descriptors.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use bytes::Bytes;
use fedra_protocol::Sha256Hash;
use ring::digest;

use crate::http::encoding::Coding;
use crate::platform::FileState;

/// Most files that are remembered. A folder whose files change their names for ever
/// begins anew.
const REMEMBERED: usize = 10_000;

/// Files that were looked at.
#[derive(Default)]
pub(super) struct Files {
    known: HashMap<PathBuf, Known>,
}

struct Known {
    /// `None` if the system could not tell a later change from this state.
    state: Option<FileState>,
    sha256: Sha256Hash,
    crc32: u32,
    length: usize,
    content: Weak<Vec<u8>>,
    /// The content that this compressed file was compared with, and whether it is
    /// what it unpacks to.
    compared: Option<(Sha256Hash, bool)>,
}

/// A file as it is now.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) sha256: Sha256Hash,
    crc32: u32,
    /// Bytes.
    pub(super) length: usize,
    /// There if it was asked for, or at hand.
    pub(super) content: Option<Bytes>,
}

/// The part of a file that is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    Hash,
    Content,
}

/// A content that others are sent too.
struct Shared(Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Files {
    /// The file's hash, and its content where it is wanted. Blocking.
    pub(super) fn look(&mut self, now: SystemTime, path: &Path, want: Want) -> io::Result<Seen> {
        let mut file = File::open(path)?;
        let state = FileState::of(&file, now)?;
        if let Some(known) = self.known.get(path)
            && known.state.is_some()
            && known.state == state
        {
            let content = known.content.upgrade().map(|content| Bytes::from_owner(Shared(content)));
            if want == Want::Hash || content.is_some() {
                let Known { sha256, crc32, length, .. } = *known;
                return Ok(Seen { sha256, crc32, length, content });
            }
        }
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        // A change while it was read is a change of the state before.
        let state = state
            .filter(|before| FileState::of(&file, now).is_ok_and(|state| state == Some(*before)));
        let (sha256, content) = (Sha256Hash::of(&content), Arc::new(content));
        let (crc32, length) = (crc32fast::hash(&content), content.len());
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        let compared = self.known.get(path).filter(|known| known.sha256 == sha256);
        let known = Known {
            state,
            sha256,
            crc32,
            length,
            content: Arc::downgrade(&content),
            compared: compared.and_then(|known| known.compared),
        };
        self.known.insert(path.to_owned(), known);
        Ok(Seen { sha256, crc32, length, content: Some(Bytes::from_owner(Shared(content))) })
    }

    /// The compressed file beside `path`, if there is one that unpacks to `original`.
    /// Blocking.
    pub(super) fn compressed(
        &mut self,
        now: SystemTime,
        path: &Path,
        coding: Coding,
        original: &Seen,
    ) -> io::Result<Option<PathBuf>> {
        let mut name = OsString::from(path);
        name.push(match coding {
            Coding::Brotli => ".br",
            Coding::Gzip => ".gz",
            Coding::Identity => return Ok(None),
        });
        let beside = PathBuf::from(name);
        // Not a link: it could lead anywhere.
        if !beside.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
            return Ok(None);
        }
        let seen = self.look(now, &beside, Want::Hash)?;
        let compared = self.known.get(&beside).and_then(|known| known.compared);
        let fits = match compared {
            Some((with, fits)) if with == original.sha256 => fits,
            _ => {
                let packed = self.look(now, &beside, Want::Content)?.content.unwrap_or_default();
                let fits = unpacks_to(&packed, coding, original);
                if let Some(known) = self.known.get_mut(&beside)
                    && known.sha256 == seen.sha256
                {
                    known.compared = Some((original.sha256, fits));
                }
                if !fits {
                    let (file, of) = (beside.display(), path.display());
                    tracing::warn!(%file, %of, "a compressed file is not used: its content is another");
                }
                fits
            }
        };
        Ok(fits.then_some(beside))
    }
}

/// True if compressed bytes are those of the original.
fn unpacks_to(packed: &[u8], coding: Coding, original: &Seen) -> bool {
    match coding {
        Coding::Brotli => unbrotlied_is(packed, original),
        Coding::Gzip => gzip_names(packed, original),
        Coding::Identity => false,
    }
}

/// True if a gzip file is of the original, by the checksum and the length modulo 2^32
/// at its end (RFC 1952, section 2.3.1).
fn gzip_names(packed: &[u8], original: &Seen) -> bool {
    let Some((data, length)) = packed.split_last_chunk() else { return false };
    let Some((data, crc32)) = data.split_last_chunk() else { return false };
    data.starts_with(&[0x1f, 0x8b, 8])
        && u32::from_le_bytes(*crc32) == original.crc32
        && u32::from_le_bytes(*length) == original.length as u32
}

/// Bytes that are unpacked at a time.
const BUFFER: usize = 64 << 10;

/// True if a brotli stream, which has no checksum, unpacks to the original.
fn unbrotlied_is(packed: &[u8], original: &Seen) -> bool {
    let mut unpacked = brotli_decompressor::Decompressor::new(packed, BUFFER);
    let mut hash = digest::Context::new(&digest::SHA256);
    let (mut buffer, mut length) = (vec![0; BUFFER], 0);
    loop {
        match unpacked.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                hash.update(&buffer[..read]);
                length += read;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
        // The rest cannot make it the original.
        if length > original.length {
            return false;
        }
    }
    hash.finish().as_ref() == original.sha256.as_bytes()
}

#[cfg(test)]
mod tests;
