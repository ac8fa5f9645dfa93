//! Pictures of any size as the pixels that a model takes.
//!
//! Decoders are the caller's, because a browser has its own: they give the same picture but
//! for the rounding of a JPEG's colours. From there on every device does the same.

use fedra_protocol::data::{Fit, ImageSpec};
use resize::{Pixel, Type};
use rgb::{FromSlice, RGB8};

use crate::memory::with_room;
use crate::read_error::Problem;

/// Decoded picture: red, green, blue and opacity of each pixel, row by row.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    width: u32,
    height: u32,
    rgba: &'a [u8],
}

impl<'a> Picture<'a> {
    /// A picture of `4 * width * height` bytes.
    ///
    /// # Errors
    ///
    /// [`Problem::ImageSize`] for another number of bytes, and for none.
    pub fn new(width: u32, height: u32, rgba: &'a [u8]) -> Result<Self, Problem> {
        let expected = (u64::from(width) * u64::from(height)).saturating_mul(4);
        if expected == 0 || expected != rgba.len() as u64 {
            return Err(Problem::ImageSize { width, height, bytes: rgba.len() });
        }
        Ok(Self { width, height, rgba })
    }
}

/// The values of a picture in the shape of `spec`, channels first.
///
/// Transparent pixels are put on white. The picture is scaled with a triangle filter, which
/// takes every pixel of a larger picture into account, and brightness is 0.299 red + 0.587
/// green + 0.114 blue (ITU-R BT.601).
///
/// # Errors
///
/// [`Problem::Memory`] without room for a copy of the picture.
pub fn prepared(picture: Picture<'_>, spec: &ImageSpec) -> Result<Vec<f32>, Problem> {
    let (width, height) = (spec.width() as usize, spec.height() as usize);
    let mut pixels = vec![RGB8::default(); width * height];
    fitted(&opaque(picture)?, picture, spec.fit(), [width, height], &mut pixels)?;
    let channels = spec.channels();
    let mut values = with_room(channels as usize * pixels.len())?;
    for channel in 0..channels as usize {
        let scaling = spec.normalisation(channel);
        values.extend(pixels.iter().map(|pixel| {
            let value = match (channels, channel) {
                (1, _) => brightness(*pixel),
                (_, 0) => f64::from(pixel.r),
                (_, 1) => f64::from(pixel.g),
                _ => f64::from(pixel.b),
            };
            scaling.apply(value / 255.0) as f32
        }));
    }
    Ok(values)
}

fn brightness(pixel: RGB8) -> f64 {
    0.299 * f64::from(pixel.r) + 0.587 * f64::from(pixel.g) + 0.114 * f64::from(pixel.b)
}

/// The picture on white.
fn opaque(picture: Picture<'_>) -> Result<Vec<RGB8>, Problem> {
    let mut pixels = with_room(picture.rgba.len() / 4)?;
    let on_white = |value: u8, opacity: u8| {
        let opacity = u32::from(opacity);
        ((u32::from(value) * opacity + 255 * (255 - opacity) + 127) / 255) as u8
    };
    pixels.extend(picture.rgba.as_rgba().iter().map(|pixel| match pixel.a {
        255 => RGB8::new(pixel.r, pixel.g, pixel.b),
        a => RGB8::new(on_white(pixel.r, a), on_white(pixel.g, a), on_white(pixel.b, a)),
    }));
    Ok(pixels)
}

/// Scales the picture into `out`, `[width, height]` pixels of black.
fn fitted(
    pixels: &[RGB8],
    picture: Picture<'_>,
    fit: Fit,
    [width, height]: [usize; 2],
    out: &mut [RGB8],
) -> Result<(), Problem> {
    let [from_width, from_height] = [picture.width as usize, picture.height as usize];
    // The sides of one in the proportions of the other, at least a pixel.
    let within = |[a, b]: [usize; 2], [c, d]: [usize; 2]| match a * d > c * b {
        true => [((c * b + d / 2) / d).clamp(1, a), b],
        false => [a, ((a * d + c / 2) / c).clamp(1, b)],
    };
    let (mut from, mut to) = ([from_width, from_height], [width, height]);
    match fit {
        Fit::Stretch => {}
        Fit::Cover => from = within(from, to),
        Fit::Contain => to = within(to, from),
    }
    let offset = |all: usize, part: usize| (all - part) / 2;
    let start = offset(from_height, from[1]) * from_width + offset(from_width, from[0]);
    let source = &pixels[start..];
    let mut scaled = with_room(to[0] * to[1])?;
    scaled.resize(to[0] * to[1], RGB8::default());
    let broken = |error: resize::Error| Problem::BrokenImage(error.to_string());
    resize::new(from[0], from[1], to[0], to[1], Pixel::RGB8, Type::Triangle)
        .and_then(|mut resizer| resizer.resize_stride(source, from_width, &mut scaled))
        .map_err(broken)?;
    let (left, top) = (offset(width, to[0]), offset(height, to[1]));
    for (row, line) in scaled.chunks_exact(to[0]).enumerate() {
        out[(top + row) * width + left..][..to[0]].copy_from_slice(line);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: &str) -> ImageSpec {
        serde_json::from_str(json).unwrap()
    }

    /// A picture whose left half is red and whose right half is blue.
    fn halves(width: u32, height: u32) -> Vec<u8> {
        let pixel = |x| if x < width / 2 { [255, 0, 0, 255] } else { [0, 0, 255, 255] };
        (0..height).flat_map(|_| (0..width).flat_map(pixel)).collect()
    }

    fn values(width: u32, height: u32, rgba: &[u8], spec: &ImageSpec) -> Vec<f32> {
        prepared(Picture::new(width, height, rgba).unwrap(), spec).unwrap()
    }

    #[test]
    fn channels_come_first_and_are_normalised() {
        let rgba = [[255, 0, 51, 255], [0, 255, 102, 255]].concat();
        let plain = spec(r#"{ "height": 1, "width": 2, "classes": ["a", "b"] }"#);
        assert_eq!(values(2, 1, &rgba, &plain), [1.0, 0.0, 0.0, 1.0, 0.2, 0.4]);
        let scaled = spec(
            r#"{ "height": 1, "width": 2, "classes": ["a", "b"],
                 "mean": [0.5, 0, 0], "deviation": [0.5, 1, 0.1] }"#,
        );
        assert_eq!(values(2, 1, &rgba, &scaled), [1.0, -1.0, 0.0, 1.0, 2.0, 4.0]);
        let grey = spec(r#"{ "channels": 1, "height": 1, "width": 2, "classes": ["a", "b"] }"#);
        let expected = [0.299 + 0.114 * 0.2, 0.587 + 0.114 * 0.4];
        for (value, expected) in values(2, 1, &rgba, &grey).iter().zip(expected) {
            assert!((value - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn transparent_pixels_are_put_on_white() {
        let grey = spec(r#"{ "channels": 1, "height": 1, "width": 3, "classes": ["a", "b"] }"#);
        let rgba = [[0, 0, 0, 0], [0, 0, 0, 255], [0, 0, 0, 51]].concat();
        let values = values(3, 1, &rgba, &grey);
        assert_eq!(
            values.iter().map(|v| (v * 255.0).round()).collect::<Vec<_>>(),
            [255.0, 0.0, 204.0]
        );
    }

    #[test]
    fn a_picture_of_another_shape_is_cut_filled_or_stretched() {
        let square = |fit: &str| {
            let json =
                format!(r#"{{ "height": 4, "width": 4, "fit": {fit:?}, "classes": ["a", "b"] }}"#);
            let red = |values: Vec<f32>| {
                values[..16].chunks(4).map(|row| row.to_vec()).collect::<Vec<_>>()
            };
            red(values(16, 8, &halves(16, 8), &spec(&json)))
        };
        // The middle 8 x 8: half of it red.
        let cover = square("cover");
        assert!(cover.iter().all(|row| row[0] == 1.0 && row[3] == 0.0), "{cover:?}");
        // 4 x 2 of the picture, a black row above and one below.
        let contain = square("contain");
        assert_eq!((&contain[0], &contain[3]), (&vec![0.0; 4], &vec![0.0; 4]));
        assert!(contain[1][0] == 1.0 && contain[2][3] == 0.0, "{contain:?}");
        let stretch = square("stretch");
        assert!(stretch.iter().all(|row| row[0] == 1.0 && row[3] == 0.0), "{stretch:?}");
        // Larger than the picture, and a single pixel.
        for fit in ["cover", "contain", "stretch"] {
            let json =
                format!(r#"{{ "height": 5, "width": 9, "fit": {fit:?}, "classes": ["a", "b"] }}"#);
            let one = values(1, 1, &[255; 4], &spec(&json));
            assert_eq!((one.len(), one[22]), (3 * 45, 1.0), "{fit}");
            assert_eq!(values(1, 1000, &[255; 4000], &spec(&json)).len(), 3 * 45, "{fit}");
        }
    }

    #[test]
    fn a_larger_picture_is_averaged() {
        let grey = spec(r#"{ "channels": 1, "height": 1, "width": 1, "classes": ["a", "b"] }"#);
        // Black and white by turns.
        let rgba: Vec<u8> = (0..64 * 64)
            .flat_map(|i| if (i + i / 64) % 2 == 0 { [0, 0, 0, 255] } else { [255; 4] })
            .collect();
        let value = values(64, 64, &rgba, &grey)[0];
        assert!((value - 0.5).abs() < 0.01, "{value}");
    }

    #[test]
    fn a_picture_has_as_many_bytes_as_its_sides_say() {
        for (width, height, bytes) in [(0, 4, 0), (2, 2, 15), (u32::MAX, u32::MAX, 4)] {
            let refused = Picture::new(width, height, &vec![0; bytes]).unwrap_err();
            assert_eq!(refused, Problem::ImageSize { width, height, bytes });
        }
    }
}
