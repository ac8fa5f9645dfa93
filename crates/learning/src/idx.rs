//! The IDX format of MNIST: a magic number, big-endian dimensions, raw bytes.
//!
//! Source: the description on the data set's page, <http://yann.lecun.com/exdb/mnist/>.

use fedra_protocol::Shape;

use crate::data::{Dataset, DatasetError, Targets};

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

/// A classification data set from an image file and a label file.
///
/// Images become `[1, height, width]` with pixels divided by 255.
///
/// # Errors
///
/// [`IdxError`] if a file is not of the format, or the two do not belong together.
pub fn read_mnist(images: &[u8], labels: &[u8]) -> Result<Dataset, IdxError> {
    let (dims, pixels) = parse::<3>(images)?;
    let ([_], classes) = parse::<1>(labels)?;
    let shape = Shape::from_dims(&dims[1..]).ok_or(DatasetError::Dimensions(dims.into()))?;
    let features = pixels.iter().map(|&pixel| f32::from(pixel) / 255.0).collect();
    let targets = Targets::Classes(classes.iter().map(|&class| u32::from(class)).collect());
    Ok(Dataset::new(features, shape, targets)?)
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
