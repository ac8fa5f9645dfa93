//! Pictures with a class each.

use serde::{Deserialize, Serialize};

use super::scaling::{Keys, Scaling};
use super::{DataSpecError, all_named, key};
use crate::limits::MAX_CATEGORIES;
use crate::model::Shape;

/// Description of pictures: their size as the model takes them, and their classes.
///
/// Values of a pixel are 0 to 1 before they are normalised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawImage", into = "RawImage")]
pub struct ImageSpec {
    channels: u32,
    height: u32,
    width: u32,
    fit: Fit,
    /// One for all channels, or one a channel.
    normalisation: Vec<Scaling>,
    classes: Vec<String>,
}

/// Rule by which a picture of another size is made to fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// Scaled until it covers the size, and cut off evenly on both sides.
    #[default]
    Cover,
    /// Scaled until it is within the size, with black bars of equal size on both sides.
    Contain,
    /// Scaled to the size, whatever its own proportions.
    Stretch,
}

impl ImageSpec {
    /// Channels: 1 for brightness, 3 for red, green and blue.
    pub fn channels(&self) -> u32 {
        self.channels
    }

    /// Rows.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Columns.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rule for pictures of another size.
    pub fn fit(&self) -> Fit {
        self.fit
    }

    /// Scaling of a channel's values, which are 0 to 1.
    pub fn normalisation(&self, channel: usize) -> Scaling {
        match self.normalisation[..] {
            [all] => all,
            ref each => each[channel],
        }
    }

    /// Names of the classes; their numbers are their places, from 0.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    pub(super) fn shape(&self) -> Shape {
        let Self { channels, height, width, .. } = *self;
        Shape::Image { channels, height, width }
    }

    pub(crate) fn scalings(&self) -> &[Scaling] {
        &self.normalisation
    }

    pub(crate) fn new(
        [channels, height, width]: [u32; 3],
        fit: Fit,
        normalisation: Vec<Scaling>,
        classes: Vec<String>,
    ) -> Result<Self, DataSpecError> {
        if channels != 1 && channels != 3 {
            let problem = format!("1 is brightness, 3 is red, green and blue; it is {channels}");
            return Err(key("channels", problem));
        }
        if Shape::from_dims(&[channels, height, width]).is_none() {
            let problem = "height and width are at least 1, with at most 2^26 values an image";
            return Err(key("height", problem));
        }
        if normalisation.len() != 1 && normalisation.len() != channels as usize {
            let problem = format!("give one number, or {channels}: one a channel");
            return Err(key("mean", problem));
        }
        all_named("classes", &classes, 2, MAX_CATEGORIES)?;
        Ok(Self { channels, height, width, fit, normalisation, classes })
    }
}

/// Images as they are written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawImage {
    #[serde(default = "three")]
    channels: u32,
    height: u32,
    width: u32,
    #[serde(default)]
    fit: Fit,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    mean: Vec<f64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    deviation: Vec<f64>,
    classes: Vec<String>,
}

fn three() -> u32 {
    3
}

impl TryFrom<RawImage> for ImageSpec {
    type Error = DataSpecError;

    fn try_from(raw: RawImage) -> Result<Self, DataSpecError> {
        let RawImage { channels, height, width, fit, mean, deviation, classes } = raw;
        if mean.len() != deviation.len() {
            return Err(key("mean", "give as many numbers as in deviation"));
        }
        let scaling = |(mean, deviation): (&f64, &f64)| {
            let keys = Keys { mean: Some(*mean), deviation: Some(*deviation), ..Keys::default() };
            Scaling::of_keys(keys).map_err(|problem| key("mean", problem))
        };
        let normalisation = match mean.is_empty() {
            true => vec![Scaling::default()],
            false => mean.iter().zip(&deviation).map(scaling).collect::<Result<_, _>>()?,
        };
        Self::new([channels, height, width], fit, normalisation, classes)
    }
}

impl From<ImageSpec> for RawImage {
    fn from(image: ImageSpec) -> Self {
        let ImageSpec { channels, height, width, fit, normalisation, classes } = image;
        let (mut mean, mut deviation) = (Vec::new(), Vec::new());
        if normalisation != [Scaling::default()] {
            mean = normalisation.iter().map(|scaling| scaling.offset()).collect();
            deviation = normalisation.iter().map(|scaling| scaling.divisor()).collect();
        }
        Self { channels, height, width, fit, mean, deviation, classes }
    }
}
