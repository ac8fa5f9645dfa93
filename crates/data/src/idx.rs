//! The IDX format of MNIST: a magic number, big-endian dimensions, raw bytes.
//!
//! Source: the description on the data set's page, <http://yann.lecun.com/exdb/mnist/>.

use fedra_protocol::Shape;

use super::dataset::Dataset;
use super::error::DatasetError;
use super::source::DataSource;
use super::targets::Targets;

/// Bytes that are not the IDX file they should be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum IdxError {
    /// Another magic number.
    #[error("not an IDX file of unsigned bytes with {dimensions} dimension(s)")]
    Magic {
        /// Dimensions wanted.
        dimensions: u8,
    },
    /// The header promises another length.
    #[error("the IDX header promises {promised} bytes of data, the file has {actual}")]
    Length {
        /// Bytes by the header.
        promised: u64,
        /// In the file.
        actual: u64,
    },
    /// Valid files that do not make a data set together.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
}

/// Classified images of an image file and a label file, both in memory.
///
/// Images become `[1, height, width]` with pixels divided by 255.
#[derive(Clone, Debug)]
pub struct IdxSource<'a> {
    shape: Shape,
    /// Of the images that are left, and their classes.
    pixels: &'a [u8],
    classes: &'a [u8],
}

impl<'a> IdxSource<'a> {
    /// Checks the headers of the two files.
    ///
    /// # Errors
    ///
    /// [`IdxError`] if a file is not of the format, or the two do not belong together.
    pub fn new(images: &'a [u8], labels: &'a [u8]) -> Result<Self, IdxError> {
        let (dims, pixels) = parse::<3>(images)?;
        let ([_], classes) = parse::<1>(labels)?;
        let shape = Shape::from_dims(&dims[1..]).ok_or(DatasetError::Dimensions(dims.into()))?;
        let (targets, examples) = (classes.len(), dims[0] as usize);
        if targets != examples {
            return Err(DatasetError::Targets { targets, examples }.into());
        }
        Ok(Self { shape, pixels, classes })
    }
}

impl DataSource for IdxSource<'_> {
    type Error = IdxError;

    fn remaining(&self) -> Option<usize> {
        Some(self.classes.len())
    }

    fn read(&mut self, most: usize) -> Result<Option<Dataset>, IdxError> {
        let count = most.min(self.classes.len());
        if count == 0 {
            return Ok(None);
        }
        let (pixels, classes);
        (pixels, self.pixels) = self.pixels.split_at(count * self.shape.len());
        (classes, self.classes) = self.classes.split_at(count);
        let features: Vec<f32> = pixels.iter().map(|&pixel| f32::from(pixel) / 255.0).collect();
        let targets = Targets::Classes(classes.iter().map(|&class| u32::from(class)).collect());
        Ok(Some(Dataset::new(features, self.shape, targets)?))
    }
}

/// All examples of an [`IdxSource`].
///
/// # Errors
///
/// [`IdxError`] if a file is not of the format, or the two do not belong together.
pub fn read_mnist(images: &[u8], labels: &[u8]) -> Result<Dataset, IdxError> {
    Dataset::read_all(&mut IdxSource::new(images, labels)?)
}

fn parse<const D: usize>(file: &[u8]) -> Result<([u32; D], &[u8]), IdxError> {
    const UNSIGNED_BYTE: u8 = 8;
    let dimensions = D as u8;
    let magic = [0, 0, UNSIGNED_BYTE, dimensions];
    let header = file.get(..4 + 4 * D).filter(|header| header[..4] == magic);
    let header = header.ok_or(IdxError::Magic { dimensions })?;
    let mut dims = [0; D];
    for (dim, bytes) in dims.iter_mut().zip(header[4..].chunks_exact(4)) {
        *dim = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    let data = &file[header.len()..];
    let promised = dims.iter().try_fold(1u64, |len, &d| len.checked_mul(u64::from(d)));
    let (promised, actual) = (promised.unwrap_or(u64::MAX), data.len() as u64);
    if promised != actual {
        return Err(IdxError::Length { promised, actual });
    }
    Ok((dims, data))
}
