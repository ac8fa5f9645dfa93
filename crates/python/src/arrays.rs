//! NumPy arrays as data sets.

use fedra_data::{Dataset, Features, Layout};
use pyo3::buffer::PyBuffer;
use pyo3::{FromPyObject, PyResult, Python};
use sha2::{Digest, Sha256};

use crate::error::DataError;

/// Arrays of `fedra._arrays.Arrays`: contiguous, and as many labels as examples.
#[derive(FromPyObject)]
pub(crate) struct Arrays {
    features: Elements,
    labels: PyBuffer<f32>,
    /// `[examples, ...example]`.
    shape: Vec<u32>,
    /// Order of an image's values.
    layout: String,
}

/// Elements of the examples.
#[derive(FromPyObject)]
enum Elements {
    #[pyo3(transparent)]
    Real(PyBuffer<f32>),
    /// Whole numbers from 0: token ids, or values for a model that takes those.
    Whole(PyBuffer<u32>),
}

impl Arrays {
    /// A data set with copies of the arrays, for a model that takes token ids or does not; and
    /// the hash of its elements and labels.
    pub(crate) fn dataset(
        &self,
        py: Python<'_>,
        takes_tokens: bool,
    ) -> PyResult<(Dataset, [u8; 32])> {
        let labels = self.labels.to_vec(py)?;
        let features = match &self.features {
            Elements::Real(values) => Features::Values(values.to_vec(py)?),
            Elements::Whole(numbers) => match (numbers.to_vec(py)?, takes_tokens) {
                (tokens, true) => Features::Tokens(tokens),
                (numbers, false) => {
                    Features::Values(numbers.into_iter().map(|number| number as f32).collect())
                }
            },
        };
        let hash = hash(&features, &labels);
        let unfit = |error: fedra_data::DatasetError| DataError::new_err(error.to_string());
        let layout: Layout = self.layout.parse().map_err(unfit)?;
        let data = Dataset::from_arrays(features, labels, &self.shape, layout).map_err(unfit)?;
        Ok((data, hash))
    }
}

/// Bytes that are hashed at a time.
const PIECE: usize = 4096;

fn hash(features: &Features, labels: &[f32]) -> [u8; 32] {
    let mut hash = Sha256::new();
    match features {
        Features::Values(values) => absorb(&mut hash, values.iter().map(|value| value.to_bits())),
        Features::Tokens(tokens) => absorb(&mut hash, tokens.iter().copied()),
    }
    absorb(&mut hash, labels.iter().map(|label| label.to_bits()));
    hash.finalize().into()
}

fn absorb(hash: &mut Sha256, words: impl Iterator<Item = u32>) {
    let mut piece = Vec::with_capacity(PIECE);
    for word in words {
        piece.extend(word.to_le_bytes());
        if piece.len() == PIECE {
            hash.update(&piece);
            piece.clear();
        }
    }
    hash.update(&piece);
}
