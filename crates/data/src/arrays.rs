//! Data sets from flat arrays and a shape, as callers of other languages have them.

use std::str::FromStr;

use fedra_protocol::Shape;
use fedra_protocol::limits::MAX_VOCABULARY;

use super::dataset::Dataset;
use super::error::DatasetError;
use super::features::Features;
use super::targets::Targets;

/// Order of an image's values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// `[channels, height, width]`, as models take them.
    #[default]
    ChannelsFirst,
    /// `[height, width, channels]`, as canvases and image files have them.
    ChannelsLast,
}

impl FromStr for Layout {
    type Err = DatasetError;

    fn from_str(name: &str) -> Result<Self, DatasetError> {
        match name {
            "channels-first" => Ok(Self::ChannelsFirst),
            "channels-last" => Ok(Self::ChannelsLast),
            _ => Err(DatasetError::Layout(name.to_owned())),
        }
    }
}

impl Dataset {
    /// Data set from row-major features of `shape`, `[examples, ...example]`, and
    /// labels: one an example, or as many values for each, row by row (see
    /// [`Targets::from_labels`]).
    ///
    /// An example of values is `[features]`, `[height, width]` (one channel), or an image
    /// in `layout`. [`Layout::ChannelsLast`] reorders the values in place. One of token ids
    /// is `[positions]`, and the vocabulary is the least one that has every id.
    ///
    /// # Errors
    ///
    /// [`DatasetError`] for a shape that is none, and for arrays that do not have it.
    pub fn from_arrays(
        features: impl Into<Features>,
        labels: Vec<f32>,
        shape: &[u32],
        layout: Layout,
    ) -> Result<Self, DatasetError> {
        let features = features.into();
        let dimensions = || DatasetError::Dimensions(shape.to_vec());
        let (&examples, example) = shape.split_first().ok_or_else(dimensions)?;
        let example = match &features {
            Features::Values(_) => value_shape(example, layout, shape)?,
            Features::Tokens(tokens) => token_shape(example, tokens, shape)?,
        };
        // At most 2^32 * 2^26.
        let expected = u64::from(examples) * example.len() as u64;
        if features.len() as u64 != expected {
            let (shape, actual) = (shape.to_vec(), features.len());
            return Err(DatasetError::FeatureCount { shape, expected, actual });
        }
        if examples == 0 {
            return Err(DatasetError::Empty);
        }
        let targets = Targets::from_labels(labels, examples as usize)?;
        let mut data = Self::new(features, example, targets)?;
        if let (Layout::ChannelsLast, Features::Values(values)) = (layout, &mut data.features) {
            put_channels_first(values, example);
        }
        Ok(data)
    }
}

/// Shape of an example of values; `shape` is the data set's.
fn value_shape(example: &[u32], layout: Layout, shape: &[u32]) -> Result<Shape, DatasetError> {
    let example = match (layout, example) {
        (Layout::ChannelsLast, &[height, width, channels]) => {
            Shape::from_dims(&[channels, height, width])
        }
        (Layout::ChannelsLast, [_]) => return Err(DatasetError::FlatLayout(shape.to_vec())),
        _ => Shape::from_dims(example),
    };
    example.ok_or_else(|| DatasetError::Dimensions(shape.to_vec()))
}

/// Shape of an example of `tokens`; `shape` is the data set's.
fn token_shape(example: &[u32], tokens: &[u32], shape: &[u32]) -> Result<Shape, DatasetError> {
    let largest = tokens.iter().copied().max().unwrap_or(0);
    if largest >= MAX_VOCABULARY {
        return Err(DatasetError::TokenLimit { token: largest });
    }
    match *example {
        [positions] => Shape::from_tokens(positions, largest + 1),
        _ => None,
    }
    .ok_or_else(|| DatasetError::TokenDimensions(shape.to_vec()))
}

/// Reorders each image from `[height, width, channels]`, with room for one of them.
fn put_channels_first(features: &mut [f32], shape: Shape) {
    let Shape::Image { channels: channels @ 2.., .. } = shape else { return };
    let channels = channels as usize;
    let pixels = shape.len() / channels;
    let mut source = vec![0.0; shape.len()];
    for image in features.chunks_exact_mut(shape.len()) {
        source.copy_from_slice(image);
        for (channel, plane) in image.chunks_exact_mut(pixels).enumerate() {
            let values = source[channel..].iter().step_by(channels);
            plane.iter_mut().zip(values).for_each(|(value, &source)| *value = source);
        }
    }
}
