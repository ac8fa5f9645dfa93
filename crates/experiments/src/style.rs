//! Style of each client's images, which makes the features of clients differ: a rotation, a
//! shear, a width of strokes and a contrast, drawn by the seed.

use fedra_data::{Dataset, Features};
use fedra_protocol::Shape;
use rand::{Rng, RngExt};
use serde::Deserialize;

/// `data.style`: the largest changes. Each client draws its own evenly from the range to either
/// side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Style {
    /// Degrees of a rotation about the middle, 0 to 180.
    pub rotation: f64,
    /// Columns by which a row is moved against the next one, 0 to 1.
    pub shear: f64,
    /// Pixels by which bright strokes are wider (dilated) or narrower (eroded) on each side, 0
    /// to 8.
    pub stroke: f64,
    /// Change of the distance of each value from the image's mean, 0 to 1: with 0.3 it is 0.7
    /// to 1.3 times as large, within the image's range.
    pub contrast: f64,
    /// Rows and columns of an image, where the model takes flat values.
    pub size: Option<[u32; 2]>,
}

/// Style of one client.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ClientStyle {
    /// Radians.
    rotation: f64,
    shear: f64,
    stroke: f64,
    /// Factor of the distance from the mean.
    contrast: f64,
    size: Option<[u32; 2]>,
}

impl Style {
    /// Problem with a number, and what to do.
    pub(crate) fn problem(&self) -> Option<String> {
        let limits = [
            ("rotation", self.rotation, 180),
            ("shear", self.shear, 1),
            ("stroke", self.stroke, 8),
            ("contrast", self.contrast, 1),
        ];
        limits.into_iter().find_map(|(key, value, most)| {
            let is_sound = (0.0..=f64::from(most)).contains(&value);
            (!is_sound).then(|| format!("data.style.{key} must be 0 to {most}; it is {value}"))
        })
    }

    /// Rows and columns of the images in data of this shape.
    ///
    /// # Errors
    ///
    /// The problem and its remedy, for data that are no images.
    pub(crate) fn size(&self, shape: Shape) -> Result<[usize; 2], String> {
        image_size(shape, self.size)
    }

    /// The style of a client.
    pub(crate) fn draw(&self, rng: &mut impl Rng) -> ClientStyle {
        let mut within = |most: f64| most * (2.0 * rng.random::<f64>() - 1.0);
        ClientStyle {
            rotation: within(self.rotation).to_radians(),
            shear: within(self.shear),
            stroke: within(self.stroke),
            contrast: 1.0 + within(self.contrast),
            size: self.size,
        }
    }
}

impl ClientStyle {
    /// The examples in this style. Data that are no images stay as they are.
    pub(crate) fn apply(&self, data: Dataset) -> Dataset {
        let shape = data.shape();
        let (Ok([height, width]), Features::Values(values)) =
            (image_size(shape, self.size), data.features())
        else {
            return data;
        };
        let mut values = values.clone();
        for image in values.chunks_exact_mut(shape.len()) {
            for plane in image.chunks_exact_mut(height * width) {
                self.stroke(plane, width);
                self.warp(plane, width);
            }
            self.contrast(image);
        }
        let targets = data.targets().clone();
        Dataset::new(values, shape, targets).unwrap_or(data)
    }

    /// Widens bright strokes, or narrows them: each whole pixel is a pass of the 3 x 3 maximum
    /// or minimum, and the rest a mixture with one more.
    fn stroke(&self, plane: &mut [f32], width: usize) {
        let mut left = self.stroke.abs();
        let pick = if self.stroke > 0.0 { f32::max } else { f32::min };
        while left > 0.0 {
            let share = left.min(1.0) as f32;
            let rows = extremes(plane, 1, width, pick);
            let passed = extremes(&rows, width, plane.len() / width, pick);
            plane.iter_mut().zip(passed).for_each(|(old, new)| *old += share * (new - *old));
            left -= 1.0;
        }
    }

    /// Shears and rotates a plane about its middle, with values between pixels in proportion.
    /// Values from outside continue the edge.
    fn warp(&self, plane: &mut [f32], width: usize) {
        if self.rotation == 0.0 && self.shear == 0.0 {
            return;
        }
        // The same bits on every platform.
        let (sin, cos) = (libm::sin(self.rotation), libm::cos(self.rotation));
        let height = plane.len() / width;
        let middle = |len: usize| (len as f64 - 1.0) / 2.0;
        let (middle_x, middle_y) = (middle(width), middle(height));
        let old = plane.to_vec();
        for (at, new) in plane.iter_mut().enumerate() {
            let (x, y) = ((at % width) as f64 - middle_x, (at / width) as f64 - middle_y);
            let (turned_x, turned_y) = (cos * x + sin * y, cos * y - sin * x);
            let x = turned_x - self.shear * turned_y + middle_x;
            *new = between(&old, width, x, turned_y + middle_y);
        }
    }

    fn contrast(&self, image: &mut [f32]) {
        if self.contrast == 1.0 {
            return;
        }
        let mean = image.iter().copied().map(f64::from).sum::<f64>() / image.len() as f64;
        let low = image.iter().copied().fold(f32::INFINITY, f32::min);
        let high = image.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for value in image {
            let moved = mean + self.contrast * (f64::from(*value) - mean);
            *value = (moved as f32).clamp(low, high);
        }
    }
}

/// Rows and columns of the images in data of this shape: those of the shape, or `given` ones
/// of flat values. The problem and its remedy if there are none.
fn image_size(shape: Shape, given: Option<[u32; 2]>) -> Result<[usize; 2], String> {
    let [height, width] = match (shape, given) {
        (Shape::Image { height, width, .. }, None) => [height, width],
        (Shape::Features(len), Some([height, width]))
            if height > 0 && u64::from(len) == u64::from(height) * u64::from(width) =>
        {
            [height, width]
        }
        (Shape::Features(len), Some([height, width])) => {
            return Err(format!(
                "data.style.size is {height} x {width} pixels, and an example has {len} values"
            ));
        }
        (Shape::Features(_), None) => {
            return Err("data.style needs images, and an example has flat values; if they are \
                        the pixels of an image, set data.style.size = [height, width]"
                .to_owned());
        }
        (Shape::Image { .. }, Some(_)) => {
            return Err(
                "data.style.size is for flat values; these are images: leave it out".to_owned()
            );
        }
        (Shape::Sequence { .. } | Shape::Tokens { .. }, _) => {
            return Err("data.style is for images; leave it out".to_owned());
        }
    };
    Ok([height as usize, width as usize])
}

/// Of each value and its neighbours before and behind it along an axis, the largest or the
/// smallest, as `pick` has it. The axis has `len` places that are `step` values apart.
fn extremes(plane: &[f32], step: usize, len: usize, pick: fn(f32, f32) -> f32) -> Vec<f32> {
    let one = |at: usize| {
        let place = at / step % len;
        let before = (place > 0).then(|| plane[at - step]);
        let behind = (place + 1 < len).then(|| plane[at + step]);
        before.into_iter().chain(behind).fold(plane[at], pick)
    };
    (0..plane.len()).map(one).collect()
}

/// Value at a place between pixels, bilinear; outside of the plane that of its edge.
fn between(plane: &[f32], width: usize, x: f64, y: f64) -> f32 {
    let height = plane.len() / width;
    let cell = |at: f64, len: usize| {
        let at = at.clamp(0.0, (len - 1) as f64);
        let first = at as usize;
        (first, (first + 1).min(len - 1), at - first as f64)
    };
    let (left, right, share_x) = cell(x, width);
    let (above, below, share_y) = cell(y, height);
    let value = |row: usize, column: usize| f64::from(plane[row * width + column]);
    let in_row = |row| value(row, left) + share_x * (value(row, right) - value(row, left));
    let (upper, lower) = (in_row(above), in_row(below));
    (upper + share_y * (lower - upper)) as f32
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails may panic")]
mod tests {
    use fedra_data::Targets;

    use super::*;
    use crate::seeds::{Purpose, Seeds};

    const PLAIN: ClientStyle =
        ClientStyle { rotation: 0.0, shear: 0.0, stroke: 0.0, contrast: 1.0, size: None };

    fn image(height: u32, width: u32, values: &[f32]) -> Dataset {
        let shape = Shape::from_dims(&[1, height, width]).unwrap();
        Dataset::new(values.to_vec(), shape, Targets::Classes(vec![3])).unwrap()
    }

    fn styled(style: ClientStyle, data: &Dataset) -> Vec<f32> {
        let styled = style.apply(data.clone());
        assert_eq!((styled.shape(), styled.targets()), (data.shape(), data.targets()));
        let Features::Values(values) = styled.features() else { panic!("values") };
        values.clone()
    }

    /// A bright pixel in the middle of 5 x 5.
    fn dot() -> Dataset {
        let mut values = [0.0; 25];
        values[12] = 1.0;
        image(5, 5, &values)
    }

    #[test]
    fn a_quarter_turn_moves_rows_to_columns() {
        let values: Vec<f32> = (0..9).map(|value| value as f32).collect();
        let data = image(3, 3, &values);
        assert_eq!(styled(PLAIN, &data), values, "no change is no change to the bit");
        let turned = styled(ClientStyle { rotation: 90_f64.to_radians(), ..PLAIN }, &data);
        let expected = [6.0, 3.0, 0.0, 7.0, 4.0, 1.0, 8.0, 5.0, 2.0];
        for (value, expected) in turned.iter().zip(expected) {
            assert!((value - expected).abs() < 1e-6, "{turned:?}");
        }
    }

    #[test]
    fn a_shear_moves_each_row_against_the_next() {
        let column = [0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0];
        let sheared = styled(ClientStyle { shear: 1.0, ..PLAIN }, &image(3, 3, &column));
        assert_eq!(sheared, [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn strokes_are_dilated_and_eroded_by_parts_of_a_pixel() {
        let wider = styled(ClientStyle { stroke: 1.0, ..PLAIN }, &dot());
        let bright = |values: &[f32]| values.iter().filter(|value| **value == 1.0).count();
        assert_eq!((bright(&wider), wider[6], wider[5]), (9, 1.0, 0.0));
        let half = styled(ClientStyle { stroke: 0.5, ..PLAIN }, &dot());
        assert_eq!((half[12], half[11], half[10]), (1.0, 0.5, 0.0));
        let narrower = styled(ClientStyle { stroke: -1.0, ..PLAIN }, &image(5, 5, &wider));
        assert_eq!(bright(&narrower), 1);
        assert_eq!(bright(&styled(ClientStyle { stroke: 2.0, ..PLAIN }, &dot())), 25);
    }

    #[test]
    fn contrast_stays_in_the_range_of_the_image() {
        let data = image(1, 4, &[0.0, 0.0, 0.5, 1.0]);
        let less = styled(ClientStyle { contrast: 0.5, ..PLAIN }, &data);
        assert_eq!(less, [0.1875, 0.1875, 0.4375, 0.6875]);
        let more = styled(ClientStyle { contrast: 1.5, ..PLAIN }, &data);
        assert_eq!(more, [0.0, 0.0, 0.5625, 1.0]);
    }

    #[test]
    fn each_client_has_a_style_within_the_ranges_by_the_seed() {
        let style =
            Style { rotation: 15.0, shear: 0.2, stroke: 1.0, contrast: 0.3, ..Style::default() };
        let of = |seed, client| style.draw(&mut Seeds(seed).rng(Purpose::Style(client)));
        let clients: Vec<ClientStyle> = (0..200).map(|client| of(1, client)).collect();
        assert_eq!(of(1, 7), clients[7]);
        assert!(of(2, 7) != clients[7] && clients[6] != clients[7]);
        let most = |value: fn(&ClientStyle) -> f64| {
            clients.iter().map(|client| value(client).abs()).fold(0.0, f64::max)
        };
        for (most, limit) in [
            (most(|of| of.rotation.to_degrees()), 15.0),
            (most(|of| of.shear), 0.2),
            (most(|of| of.stroke), 1.0),
            (most(|of| of.contrast - 1.0), 0.3),
        ] {
            assert!(most <= limit && most > 0.9 * limit, "{most} of {limit}");
        }
        assert_eq!(Style::default().draw(&mut Seeds(1).rng(Purpose::Style(0))), PLAIN);
    }

    #[test]
    fn data_that_are_no_images_are_refused() {
        let size = |dims: &[u32], size| {
            Style { size, ..Style::default() }.size(Shape::from_dims(dims).unwrap())
        };
        assert_eq!(size(&[3, 8, 9], None), Ok([8, 9]));
        assert_eq!(size(&[72], Some([8, 9])), Ok([8, 9]));
        assert!(size(&[72], None).unwrap_err().contains("set data.style.size"));
        assert!(size(&[72], Some([8, 8])).unwrap_err().contains("8 x 8 pixels"));
        assert!(size(&[3, 8, 9], Some([8, 9])).unwrap_err().contains("leave it out"));
        let sequence = Style::default().size(Shape::Sequence { positions: 5, width: 4 });
        assert!(sequence.unwrap_err().contains("for images"));
        let of = |style: Style| style.problem().unwrap();
        assert!(of(Style { rotation: 200.0, ..Style::default() }).contains("0 to 180; it is 200"));
        assert!(of(Style { contrast: f64::NAN, ..Style::default() }).contains("contrast"));
    }
}
