//! Layout of a batch in a buffer: images channels last, features as an image of one pixel.
//!
//! A quad is four neighbouring channels, one `vec4<f32>`. Channels behind the last real one
//! are zero, and so are the pixels around an image that a convolution pads.

use fedra_protocol::Shape;

use crate::text::wgsl;

/// Rows of `lanes` floats for each pixel of each example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    /// Real channels, or features.
    pub channels: u32,
    /// Floats of a pixel: the channels, up to a multiple of 4 but for narrow data.
    pub lanes: u32,
    /// Rows of pixels.
    pub height: u32,
    /// Columns of pixels.
    pub width: u32,
    /// Zero pixels before the first row and column.
    pub lead: u32,
    /// Distance between two rows or columns; zeros lie between.
    pub dilation: u32,
    /// Rows with all zeros.
    pub rows: u32,
    /// Columns with all zeros.
    pub columns: u32,
}

impl Grid {
    /// Plain layout of a shape; `None` for shapes other than features and images.
    pub fn of(shape: Shape) -> Option<Self> {
        let [channels, height, width] = match shape {
            Shape::Features(features) => [features, 1, 1],
            Shape::Image { channels, height, width } => [channels, height, width],
            Shape::Sequence { .. } | Shape::Tokens { .. } => return None,
        };
        Some(Self::plain(channels, height, width))
    }

    /// Nothing between or around the pixels.
    pub fn plain(channels: u32, height: u32, width: u32) -> Self {
        let lanes = channels.next_multiple_of(4);
        let (rows, columns) = (height, width);
        Self { channels, lanes, height, width, lead: 0, dilation: 1, rows, columns }
    }

    /// `padding` zeros on each side.
    pub fn padded(self, padding: u32) -> Self {
        let (rows, columns) = (self.height + 2 * padding, self.width + 2 * padding);
        Self { lead: padding, rows, columns, ..self }
    }

    /// Fewer than 4 channels side by side without zeros between pixels.
    pub fn narrow(self) -> Self {
        if self.channels < 4 { Self { lanes: self.channels, ..self } } else { self }
    }

    /// Quads of a pixel.
    pub fn quads(&self) -> u32 {
        self.lanes / 4
    }

    /// Floats of an example, zeros included.
    pub fn len(&self) -> u64 {
        u64::from(self.rows) * u64::from(self.columns) * u64::from(self.lanes)
    }

    /// Floats of an example in the layout that a linear layer reads: no zeros around.
    pub fn features(&self) -> u32 {
        self.height * self.width * self.lanes
    }

    /// Real values of an example.
    pub fn values(&self) -> u32 {
        self.height * self.width * self.channels
    }

    /// Position, among [`Self::features`], of the value that is `index` in channels-first
    /// order.
    pub fn feature(&self, index: u32) -> u32 {
        let pixels = self.height * self.width;
        (index % pixels) * self.lanes + index / pixels
    }

    /// Position in the buffer, from the example's start, of the value that is `index` in
    /// channels-first order.
    pub fn position(&self, index: u32) -> usize {
        let pixels = self.height * self.width;
        let (channel, pixel) = (index / pixels, index % pixels);
        let row = (self.lead + pixel / self.width * self.dilation) as usize;
        let column = (self.lead + pixel % self.width * self.dilation) as usize;
        (row * self.columns as usize + column) * self.lanes as usize + channel as usize
    }

    /// True if some lanes carry no channel.
    pub fn has_gaps(&self) -> bool {
        !self.channels.is_multiple_of(4)
    }

    /// Expression of a quad's index in the buffer; `at` are expressions of its place.
    pub fn quad(&self, at: &Place) -> String {
        let Place { m, y, x, q } = at;
        if self.rows == 1 && self.columns == 1 {
            return wgsl!("($M*$Su+$Q)", M = m, S = self.quads(), Q = q);
        }
        let template = match (self.lead, self.dilation) {
            (0, 1) => "($V)",
            (_, 1) => "($V+$Lu)",
            _ => "($V*$Du+$Lu)",
        };
        let line = |value: &str| wgsl!(template, V = value, D = self.dilation, L = self.lead);
        wgsl!(
            "((($M*$Hu+$Y)*$Wu+$X)*$Su+$Q)",
            M = m,
            H = self.rows,
            Y = line(y),
            W = self.columns,
            X = line(x),
            S = self.quads(),
            Q = q
        )
    }

    /// Expression of a quad's number among all quads of the batch that carry channels.
    pub fn number(&self, at: &Place) -> String {
        let (height, width) = (self.height, self.width);
        Self::plain(self.channels, height, width).quad(at)
    }

    /// Expressions of a place from `flat`, the number of a quad within the example.
    pub fn place(&self, m: &str, flat: &str) -> Place {
        let quads = self.quads();
        if self.height == 1 && self.width == 1 {
            return Place::new(m, "0u", "0u", flat);
        }
        let row = self.width * quads;
        Place::new(
            m,
            &wgsl!("($F/$Ru)", F = flat, R = row),
            &wgsl!("($F%$Ru/$Qu)", F = flat, R = row, Q = quads),
            &wgsl!("($F%$Qu)", F = flat, Q = quads),
        )
    }
}

/// WGSL expressions of a quad's place: example, row, column, quad of the pixel.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub m: String,
    pub y: String,
    pub x: String,
    pub q: String,
}

impl Place {
    pub fn new(m: &str, y: &str, x: &str, q: &str) -> Self {
        let [m, y, x, q] = [m, y, x, q].map(str::to_owned);
        Self { m, y, x, q }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_come_last_and_zeros_lie_around() {
        let grid = Grid::plain(3, 2, 2).padded(1);
        assert_eq!((grid.lanes, grid.rows, grid.columns, grid.len()), (4, 4, 4, 64));
        // Channel 1, row 0, column 1 is value 5 of [3, 2, 2].
        assert_eq!(grid.position(5), (4 + 2) * 4 + 1);
        assert_eq!(Grid::plain(3, 2, 2).feature(5), 4 + 1);
        assert_eq!(grid.narrow().position(5), (4 + 2) * 3 + 1);
    }
}
