//! PNG and JPEG files as pixels.

use std::io::Cursor;

use exif::{In, Tag};
use png::{ColorType, Decoder, Limits, Transformations};
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

/// Most bytes that decoding a PNG may take.
const MOST_BYTES: usize = 1 << 30;
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
const JPEG: &[u8] = b"\xff\xd8\xff";

/// Red, green, blue and opacity of each pixel, row by row.
pub struct Pixels {
    pub width: u32,
    pub height: u32,
    pub rgba: Vec<u8>,
}

/// Decodes a file, and turns it as its camera was held.
///
/// # Errors
///
/// A sentence for bytes that are no PNG and no JPEG, or damaged.
pub fn decode(bytes: &[u8]) -> Result<Pixels, String> {
    let pixels = if bytes.is_empty() {
        return Err("the file is empty".to_owned());
    } else if bytes.starts_with(PNG) {
        png(bytes)?
    } else if bytes.starts_with(JPEG) {
        jpeg(bytes)?
    } else {
        return Err("it is neither PNG nor JPEG; convert it to one of them".to_owned());
    };
    Ok(turned(pixels, orientation(bytes)))
}

fn png(bytes: &[u8]) -> Result<Pixels, String> {
    let text = |error: png::DecodingError| error.to_string();
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: MOST_BYTES });
    decoder.set_transformations(Transformations::normalize_to_color8() | Transformations::ALPHA);
    let mut reader = decoder.read_info().map_err(text)?;
    let size = reader.output_buffer_size().filter(|&size| size <= MOST_BYTES);
    let mut data = vec![0; size.ok_or("it is too large")?];
    let info = reader.next_frame(&mut data).map_err(text)?;
    data.truncate(info.buffer_size());
    let rgba = match info.color_type {
        ColorType::GrayscaleAlpha => data
            .chunks_exact(2)
            .flat_map(|pixel| [pixel[0], pixel[0], pixel[0], pixel[1]])
            .collect(),
        ColorType::Rgba => data,
        other => return Err(format!("its colours ({other:?}) are not known")),
    };
    Ok(Pixels { width: info.width, height: info.height, rgba })
}

fn jpeg(bytes: &[u8]) -> Result<Pixels, String> {
    // The decoder fills the rest of a cut picture with grey.
    if !ends(bytes) {
        return Err("the file ends in the middle of it; copy it again".to_owned());
    }
    let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGBA);
    let mut decoder = JpegDecoder::new_with_options(Cursor::new(bytes), options);
    let rgba = decoder.decode().map_err(|error| error.to_string())?;
    let info = decoder.info().ok_or("it has no header")?;
    Ok(Pixels { width: info.width.into(), height: info.height.into(), rgba })
}

/// True if a JPEG's marker of its end follows its first scan (ITU-T T.81, B.1.1), and for a
/// header that only the decoder can judge.
fn ends(bytes: &[u8]) -> bool {
    let mut at = JPEG.len() - 1;
    while let Some([0xff, marker, length @ ..]) = bytes.get(at..at + 4) {
        match marker {
            // A byte of padding.
            0xff => at += 1,
            // The start of a scan.
            0xda => return bytes[at..].windows(2).any(|pair| pair == [0xff, 0xd9]),
            _ => at += 2 + usize::from(u16::from_be_bytes([length[0], length[1]])),
        }
    }
    true
}

/// Orientation by the file's EXIF data, 1 to 8; 1 without any.
fn orientation(bytes: &[u8]) -> u32 {
    let exif = exif::Reader::new().read_from_container(&mut Cursor::new(bytes)).ok();
    let field = exif.as_ref().and_then(|exif| exif.get_field(Tag::Orientation, In::PRIMARY));
    field.and_then(|field| field.value.get_uint(0)).unwrap_or(1)
}

/// The picture upright (EXIF 2.32, table 6: the tag Orientation).
fn turned(pixels: Pixels, orientation: u32) -> Pixels {
    if !(2..=8).contains(&orientation) {
        return pixels;
    }
    let Pixels { width, height, rgba } = pixels;
    let (wide, high) = if orientation >= 5 { (height, width) } else { (width, height) };
    let source = |x: u32, y: u32| match orientation {
        2 => (width - 1 - x, y),
        3 => (width - 1 - x, height - 1 - y),
        4 => (x, height - 1 - y),
        5 => (y, x),
        6 => (y, height - 1 - x),
        7 => (width - 1 - y, height - 1 - x),
        _ => (width - 1 - y, x),
    };
    let mut upright = Vec::with_capacity(rgba.len());
    for y in 0..high {
        for x in 0..wide {
            let (x, y) = source(x, y);
            let at = 4 * (y as usize * width as usize + x as usize);
            upright.extend_from_slice(&rgba[at..at + 4]);
        }
    }
    Pixels { width: wide, height: high, rgba: upright }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_orientation_is_turned_upright() {
        // The letter F as 2 x 3 pixels, and as cameras held otherwise would store it.
        let pixels = |width, height, values: [u8; 6]| Pixels {
            width,
            height,
            rgba: values.iter().flat_map(|&value| [value; 4]).collect(),
        };
        let upright = [1, 2, 3, 4, 5, 6];
        for (orientation, width, height, stored) in [
            (1, 2, 3, [1, 2, 3, 4, 5, 6]),
            (2, 2, 3, [2, 1, 4, 3, 6, 5]),
            (3, 2, 3, [6, 5, 4, 3, 2, 1]),
            (4, 2, 3, [5, 6, 3, 4, 1, 2]),
            (5, 3, 2, [1, 3, 5, 2, 4, 6]),
            (6, 3, 2, [2, 4, 6, 1, 3, 5]),
            (7, 3, 2, [6, 4, 2, 5, 3, 1]),
            (8, 3, 2, [5, 3, 1, 6, 4, 2]),
            (9, 2, 3, [1, 2, 3, 4, 5, 6]),
        ] {
            let turned = turned(pixels(width, height, stored), orientation);
            assert_eq!((turned.width, turned.height), (2, 3), "{orientation}");
            let values: Vec<u8> = turned.rgba.chunks(4).map(|pixel| pixel[0]).collect();
            assert_eq!(values, upright, "{orientation}");
        }
    }
}
