//! Maximum over windows, with the place of each maximum, and mean over windows.

use crate::add_rows;

/// Max pooling without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPool {
    /// Height and width of a window.
    pub kernel: [usize; 2],
    /// Steps between windows, down and across.
    pub stride: [usize; 2],
}

impl MaxPool {
    /// Rows and columns of windows in an image of `size`. Panics if a window does not fit.
    pub fn output(&self, size: [usize; 2]) -> [usize; 2] {
        core::array::from_fn(|axis| (size[axis] - self.kernel[axis]) / self.stride[axis] + 1)
    }

    /// True if no two windows share a pixel.
    fn is_disjoint(&self) -> bool {
        self.stride[0] >= self.kernel[0] && self.stride[1] >= self.kernel[1]
    }

    /// Pools images of `size`, and gives for each value the number of the pixel in its
    /// window, row by row, that it comes from.
    pub fn pool(&self, size: [usize; 2], channels: usize, images: &[f32]) -> (Vec<f32>, Vec<u32>) {
        let (input, output) = self.lengths(size, channels);
        let mut values = vec![0.0; images.len() / input * output];
        let mut chosen = vec![0; values.len()];
        let outputs = values.chunks_exact_mut(output).zip(chosen.chunks_exact_mut(output));
        for (image, (values, chosen)) in images.chunks_exact(input).zip(outputs) {
            self.forward(size, channels, image, values, chosen);
        }
        (values, chosen)
    }

    /// Gradient by the images, given the one by the pooled values.
    pub fn gradient(
        &self,
        size: [usize; 2],
        channels: usize,
        chosen: &[u32],
        gradient: &[f32],
    ) -> Vec<f32> {
        let (input, output) = self.lengths(size, channels);
        let mut images = vec![0.0; gradient.len() / output * input];
        let inputs = gradient.chunks_exact(output).zip(chosen.chunks_exact(output));
        for (image, (gradient, chosen)) in images.chunks_exact_mut(input).zip(inputs) {
            self.backward(size, channels, gradient, chosen, image, size[1] * channels);
        }
        images
    }

    /// Values of an image and of what it is pooled to.
    fn lengths(&self, size: [usize; 2], channels: usize) -> (usize, usize) {
        (
            size.iter().product::<usize>() * channels,
            self.output(size).iter().product::<usize>() * channels,
        )
    }

    /// Pools `image: [rows][columns][channels]` into `output`, and writes the number of the
    /// pixel in its window, row by row, that each value comes from.
    ///
    /// The first of equals counts, and the last NaN before every number, as in burn's
    /// `flex` and in PyTorch.
    #[inline(always)]
    pub(crate) fn forward(
        &self,
        size: [usize; 2],
        channels: usize,
        image: &[f32],
        output: &mut [f32],
        chosen: &mut [u32],
    ) {
        let windows = Windows::new(self, size, channels);
        let outputs = output.chunks_exact_mut(channels).zip(chosen.chunks_exact_mut(channels));
        for (first, (output, chosen)) in windows.starts().zip(outputs) {
            if self.kernel == [2, 2] {
                let pixel = |index| &image[first + windows.offset(index)..][..channels];
                square(pixel(0), pixel(1), pixel(2), pixel(3), output, chosen);
                continue;
            }
            output.copy_from_slice(&image[first..][..channels]);
            chosen.fill(0);
            for index in 1..windows.pixels() {
                let pixel = &image[first + windows.offset(index as usize)..][..channels];
                for ((output, chosen), &value) in output.iter_mut().zip(&mut *chosen).zip(pixel) {
                    if value > *output || value.is_nan() {
                        (*output, *chosen) = (value, index);
                    }
                }
            }
        }
    }

    /// Adds every value of `gradient` to the pixel of `image` that was chosen. Rows of the
    /// image are `pitch` floats apart. Pixels outside of every window are left alone.
    #[inline(always)]
    pub(crate) fn backward(
        &self,
        size: [usize; 2],
        channels: usize,
        gradient: &[f32],
        chosen: &[u32],
        image: &mut [f32],
        pitch: usize,
    ) {
        let mut windows = Windows::new(self, size, channels);
        windows.pitch = pitch;
        let disjoint = self.is_disjoint();
        if !disjoint {
            for row in 0..size[0] {
                image[row * pitch..][..size[1] * channels].fill(0.0);
            }
        }
        let inputs = gradient.chunks_exact(channels).zip(chosen.chunks_exact(channels));
        for (first, (gradient, chosen)) in windows.starts().zip(inputs) {
            for index in 0..windows.pixels() {
                let pixel = &mut image[first + windows.offset(index as usize)..][..channels];
                let values = gradient.iter().zip(chosen);
                for (pixel, (&value, &chosen)) in pixel.iter_mut().zip(values) {
                    let value = if chosen == index { value } else { 0.0 };
                    *pixel = if disjoint { value } else { *pixel + value };
                }
            }
        }
    }
}

/// The maximum of a window of two by two pixels, in one pass.
#[inline(always)]
fn square(p: &[f32], q: &[f32], r: &[f32], s: &[f32], output: &mut [f32], chosen: &mut [u32]) {
    let outputs = output.iter_mut().zip(chosen);
    let pixels = p.iter().zip(q).zip(r.iter().zip(s));
    for ((output, chosen), ((&p, &q), (&r, &s))) in outputs.zip(pixels) {
        let mut best = (p, 0);
        for (index, value) in [(1, q), (2, r), (3, s)] {
            best = if value > best.0 || value.is_nan() { (value, index) } else { best };
        }
        (*output, *chosen) = best;
    }
}

/// Mean over windows without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeanPool {
    /// Height and width of a window.
    pub kernel: [usize; 2],
    /// Steps between windows, down and across.
    pub stride: [usize; 2],
}

impl MeanPool {
    /// Rows and columns of windows in an image of `size`. Panics if a window does not fit.
    pub fn output(&self, size: [usize; 2]) -> [usize; 2] {
        self.windows().output(size)
    }

    /// Pools images of `size`.
    pub fn pool(&self, size: [usize; 2], channels: usize, images: &[f32]) -> Vec<f32> {
        let (input, output) = self.windows().lengths(size, channels);
        let windows = Windows::new(&self.windows(), size, channels);
        let mut values = vec![0.0; images.len() / input * output];
        for (image, values) in images.chunks_exact(input).zip(values.chunks_exact_mut(output)) {
            for (first, sum) in windows.starts().zip(values.chunks_exact_mut(channels)) {
                for index in 0..windows.pixels() {
                    add_rows(sum, &image[first + windows.offset(index as usize)..][..channels]);
                }
                sum.iter_mut().for_each(|value| *value /= windows.pixels() as f32);
            }
        }
        values
    }

    /// Gradient by the images, given the one by the pooled values.
    pub fn gradient(&self, size: [usize; 2], channels: usize, gradient: &[f32]) -> Vec<f32> {
        let (input, output) = self.windows().lengths(size, channels);
        let windows = Windows::new(&self.windows(), size, channels);
        let share = 1.0 / windows.pixels() as f32;
        let mut images = vec![0.0; gradient.len() / output * input];
        for (image, gradient) in images.chunks_exact_mut(input).zip(gradient.chunks_exact(output)) {
            for (first, gradient) in windows.starts().zip(gradient.chunks_exact(channels)) {
                for index in 0..windows.pixels() {
                    let pixel = &mut image[first + windows.offset(index as usize)..][..channels];
                    let values = pixel.iter_mut().zip(gradient);
                    values.for_each(|(pixel, value)| *pixel += value * share);
                }
            }
        }
        images
    }

    /// The same windows.
    fn windows(&self) -> MaxPool {
        MaxPool { kernel: self.kernel, stride: self.stride }
    }
}

/// Places of windows in an image.
struct Windows {
    pool: MaxPool,
    output: [usize; 2],
    channels: usize,
    /// Distance of two rows in floats.
    pitch: usize,
}

impl Windows {
    #[inline(always)]
    fn new(pool: &MaxPool, size: [usize; 2], channels: usize) -> Self {
        Self { pool: *pool, output: pool.output(size), channels, pitch: size[1] * channels }
    }

    /// Pixels of a window.
    #[inline(always)]
    fn pixels(&self) -> u32 {
        (self.pool.kernel[0] * self.pool.kernel[1]) as u32
    }

    /// First float of each window, row by row.
    #[inline(always)]
    fn starts(&self) -> impl Iterator<Item = usize> + use<> {
        let ([rows, columns], [down, across]) = (self.output, self.pool.stride);
        let (pitch, channels) = (self.pitch, self.channels);
        (0..rows).flat_map(move |row| {
            (0..columns).map(move |column| row * down * pitch + column * across * channels)
        })
    }

    /// Floats from the start of a window to one of its pixels.
    #[inline(always)]
    fn offset(&self, pixel: usize) -> usize {
        let width = self.pool.kernel[1];
        pixel / width * self.pitch + pixel % width * self.channels
    }
}
