//! Sources of examples, read in pieces.

use super::dataset::Dataset;
use super::error::DatasetError;

/// Examples of a piece where a source is read as a whole.
const PIECE: usize = 4096;

/// Source of examples: a file format, a recording, a generator.
///
/// It is read piece by piece, so that a caller can yield, report progress or stop between
/// two pieces, and so that a file larger than memory can be looked through. It decodes what
/// it was given; files and sockets are its caller's.
pub trait DataSource {
    /// Reason why a piece cannot be read.
    type Error: From<DatasetError>;

    /// Examples that are left, where the source knows.
    fn remaining(&self) -> Option<usize>;

    /// The next examples, at most `most` of them, which is at least 1; `None` after the
    /// last. All pieces have the same shape and kind of targets.
    ///
    /// # Errors
    ///
    /// [`Self::Error`] for what is no example. The source has ended then.
    fn read(&mut self, most: usize) -> Result<Option<Dataset>, Self::Error>;
}

impl Dataset {
    /// All examples of a source.
    ///
    /// # Errors
    ///
    /// The source's, and [`DatasetError`] for a source without examples or with pieces that
    /// do not belong together.
    pub fn read_all<S: DataSource>(source: &mut S) -> Result<Self, S::Error> {
        let mut data = source.read(PIECE)?.ok_or(DatasetError::Empty)?;
        data.reserve(source.remaining().unwrap_or(0));
        while let Some(piece) = source.read(PIECE)? {
            data.append(piece)?;
        }
        Ok(data)
    }
}
