//! The discrete Gaussian by rejection from equal rectangles.
//!
//! It must stay free of floating point, and must never decide a comparison that
//! the bits at hand leave open.

use alloc::vec::Vec;
use core::{fmt, iter::repeat_n};

use rand_core::Rng;

use super::{
    Ratio,
    enclosure::{exp_neg, fraction, is_below_exp_neg},
};

/// Heights are counted in units of 2^-32 of the density's peak.
const HEIGHT_BITS: u32 = 32;
const PEAK: u64 = 1 << HEIGHT_BITS;

/// Most rectangles: their table should stay in the first-level cache.
const MOST_RECTANGLES: u64 = 4096;

/// Largest error of [`DiscreteGaussian::estimate`], in units of height. See there.
const MARGIN: u64 = 32;

/// A rectangle's three fields in 32 bits: the block in the lowest 8, then the
/// slab, and on top whether all of it lies under the curve.
const SLAB_SHIFT: u32 = 8;
const INSIDE: u32 = 1 << 31;
const TAIL: u32 = 255;

/// Random words drawn from the generator at a time.
const BUFFERED: usize = 256;

/// The discrete Gaussian law on the integers: P(x) proportional to
/// exp(-x² / (2 s²)) for a rational s (Canonne, Kamath and Steinke 2020,
/// Definition 1). Its variance is at most s², and from s = 1 on below it by less
/// than a millionth.
///
/// # How it draws, and why the law is exact
///
/// Magnitudes below about 5 s are cut into blocks of equal, power-of-two width,
/// and the area over each block into slabs of equal height, enough of them to
/// cover the curve f(x) = exp(-x² / (2 s²)). A draw picks one of these equal
/// rectangles uniformly, then a uniform integer x in its block, then a uniform
/// height U in its slab, and accepts x if U < f(x): rejection sampling, exact
/// as long as the comparison is. One more set of rectangles stands for the tail:
/// there, blocks of width T with f falling at least by half from each to the
/// next are picked by fair coins, under an envelope that halves from block to
/// block, without end. A sign is drawn with x, and a negative zero is refused.
///
/// The comparison U < f(x) is the only place where a real number occurs. It is
/// decided in the first of these ways that can:
/// 1. the whole rectangle lies under the curve: known since the table was made,
///    from enclosures of f at the ends of the block;
/// 2. 32 bits of U lie farther from an estimate of f(x) than the estimate's
///    proven error;
/// 3. U is given more random bits, and f(x) more digits, until they differ.
///
/// U is thus a uniform real of which only the bits that matter are ever drawn. The
/// one departure from the law is that an `i64` has an end: magnitudes beyond 270 s,
/// whose probability is below exp(-36,000), do not come out.
///
/// A draw takes about 72 random bits. It is not constant in time: whether
/// step 2 or 3 is reached depends on the value drawn. Draw before the network
/// is involved, not in answer to a request.
///
/// ```
/// use differential_privacy::sampler::{DiscreteGaussian, Ratio};
/// use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
///
/// // Only for the example: a real seed comes from the system's generator.
/// let mut rng = ChaCha20Rng::from_seed([7; 32]);
/// let noise = DiscreteGaussian::new(Ratio::new(181, 1)?);
/// assert!(noise.sample(&mut rng).abs() < 181 * 10);
/// # Ok::<(), differential_privacy::sampler::RatioError>(())
/// ```
#[derive(Clone)]
pub struct DiscreteGaussian {
    scale: Ratio,
    /// Each block has 2^`block_bits` integers.
    block_bits: u32,
    /// Each slab is 2^`slab_bits` units high.
    slab_bits: u32,
    rectangles: Vec<u32>,
    /// 2^32 modulo the number of rectangles.
    bias: u32,
    /// f at the first integer of each block, in units, rounded down; at most
    /// `u32::MAX`.
    heights: Vec<u64>,
    /// 2^40 w² / (2 s²) rounded down, for blocks of w integers.
    curvature: u64,
    tail: Tail,
}

/// The magnitudes from `start` on.
#[derive(Clone)]
struct Tail {
    start: u64,
    /// Each block has 2^`block_bits` integers.
    block_bits: u32,
    /// The envelope over the first block is 2^`height_bits` units high.
    height_bits: u32,
    /// f at `start`, in units, rounded up.
    height: u64,
}

impl DiscreteGaussian {
    /// Prepares to draw with standard deviation parameter s = `scale`: a table
    /// of 16 KiB, made in less than a millisecond.
    #[must_use]
    pub fn new(scale: Ratio) -> Self {
        let curve = Curve { scale };
        let block_bits = block_bits(scale);
        let width = 1_u64 << block_bits;
        let blocks = blocks(scale, width);
        let bounds: Vec<Block> = (0..blocks).map(|block| curve.block(block, width)).collect();

        let start = blocks * width;
        let beyond = curve.bounds(start).1;
        let widening = tail_widening(scale, start, width);
        let (slab_bits, tail_rectangles) = slabs(&bounds, beyond, widening);

        let mut rectangles = Vec::new();
        for (block, bounds) in (0_u32..).zip(&bounds) {
            for slab in 0..bounds.first.1.div_ceil(1 << slab_bits) {
                let inside = (slab + 1) << slab_bits <= bounds.last.0;
                let flag = if inside { INSIDE } else { 0 };
                rectangles.push(block | (slab as u32) << SLAB_SHIFT | flag);
            }
        }
        rectangles.extend(repeat_n(TAIL, tail_rectangles as usize));

        let count = rectangles.len() as u64;
        Self {
            scale,
            block_bits,
            slab_bits,
            rectangles,
            bias: (PEAK % count) as u32,
            heights: bounds.iter().map(|b| b.first.0.min(u64::from(u32::MAX))).collect(),
            curvature: curve.curvature(width),
            tail: Tail {
                start,
                block_bits: block_bits + widening,
                height_bits: slab_bits + tail_rectangles.ilog2() - 1 - widening,
                height: beyond,
            },
        }
    }

    /// s.
    #[must_use]
    pub fn scale(&self) -> Ratio {
        self.scale
    }

    /// One draw. For many, [`Self::fold_into`] is faster.
    pub fn sample(&self, rng: &mut (impl Rng + ?Sized)) -> i64 {
        self.draw(&mut || rng.next_u64())
    }

    /// Draws once for each of `values`, in order, and hands both to `fold`. The
    /// same `rng` state gives the same draws on every platform.
    pub fn fold_into<T>(
        &self,
        values: &mut [T],
        rng: &mut (impl Rng + ?Sized),
        mut fold: impl FnMut(&mut T, i64),
    ) {
        let mut bytes = [0_u8; 8 * BUFFERED];
        let mut used = BUFFERED;
        let mut next = || {
            if used == BUFFERED {
                rng.fill_bytes(&mut bytes);
                used = 0;
            }
            let word = bytes.as_chunks::<8>().0[used];
            used += 1;
            u64::from_le_bytes(word)
        };
        for value in values {
            let noise = self.draw(&mut next);
            fold(value, noise);
        }
    }

    #[inline]
    fn draw(&self, next: &mut impl FnMut() -> u64) -> i64 {
        loop {
            let word = next();
            // The upper half picks a rectangle (Lemire 2019: uniform because the
            // few products that would be one too many are refused).
            let product = (word >> 32) * self.rectangles.len() as u64;
            if (product as u32) < self.bias {
                continue;
            }
            let rectangle = self.rectangles[(product >> 32) as usize];
            let magnitude = if rectangle == TAIL {
                self.draw_from_tail(next)
            } else {
                self.draw_from_block(rectangle, word as u32 & (u32::MAX >> 1), next)
            };
            let negative = word as u32 >> 31 == 1;
            match magnitude {
                Some(0) if negative => {}
                Some(magnitude) if negative => return -magnitude,
                Some(magnitude) => return magnitude,
                None => {}
            }
        }
    }

    /// `low` holds 31 random bits.
    #[inline]
    fn draw_from_block(
        &self,
        rectangle: u32,
        low: u32,
        next: &mut impl FnMut() -> u64,
    ) -> Option<i64> {
        let offset = match self.block_bits {
            bits @ 0..=31 => u64::from(low) >> (31 - bits),
            bits => next() >> (64 - bits),
        };
        let block = u64::from(rectangle & 0xff);
        let magnitude = (block << self.block_bits) + offset;
        if rectangle & INSIDE == 0 {
            let slab = u64::from(rectangle >> SLAB_SHIFT);
            let height = slab << self.slab_bits | next() >> (64 - self.slab_bits);
            let estimate = self.estimate(block, offset);
            if height >= estimate + MARGIN {
                return None;
            }
            if height + MARGIN >= estimate
                && !self.is_under_curve(magnitude, height, HEIGHT_BITS, 0, next)
            {
                return None;
            }
        }
        Some(magnitude as i64)
    }

    #[cold]
    fn draw_from_tail(&self, next: &mut impl FnMut() -> u64) -> Option<i64> {
        // 2000 halvings in a row: see "270 s" in the type's documentation.
        let mut halvings = 0;
        loop {
            let zeros = next().trailing_zeros();
            halvings += zeros;
            if zeros < 64 {
                break;
            }
            if halvings > 2000 {
                return None;
            }
        }
        let offset = next().checked_shr(64 - self.tail.block_bits).unwrap_or(0);
        let height = next().checked_shr(64 - self.tail.height_bits).unwrap_or(0);
        // Over every block f is at most its value at the start, halved as often
        // as the envelope.
        if height >= self.tail.height {
            return None;
        }
        let magnitude = self.tail.start + (u64::from(halvings) << self.tail.block_bits) + offset;
        let zeros = HEIGHT_BITS - self.tail.height_bits + halvings;
        self.is_under_curve(magnitude, height, self.tail.height_bits, zeros, next)
            .then_some(magnitude as i64)
    }

    /// f at `offset` into `block`, in units, off by less than [`MARGIN`] - 1.
    ///
    /// With f at the block's start known, the rest is exp(-y) for
    /// y = (2 block + u) u w² / (2 s²), u = offset / w: below 0.35 as w is at
    /// most s/16 and blocks end before 5 s + w. All in fixed point. Errors of y,
    /// in units of 2^-32: 4 for cutting 2 block + u and its product with u to 22
    /// bits of fraction, each times the curvature of at most 2^-9; 2 for the
    /// curvature's own, u's, and the last shift: 6 in all. The alternating
    /// series to y^9 leaves less than 1; each of its nine steps is cut off by at
    /// most 3, and passed on times y: 5. The product with the start and the start
    /// itself add 4: 16 in all.
    fn estimate(&self, block: u64, offset: u64) -> u64 {
        // 2^32 / k, rounded down.
        const RECIPROCALS: [u64; 10] = {
            let mut table = [0; 10];
            let mut k = 1;
            while k < 10 {
                table[k] = PEAK / k as u64;
                k += 1;
            }
            table
        };
        let u = match self.block_bits {
            bits @ 0..=32 => offset << (32 - bits),
            bits => offset >> (bits - 32),
        };
        let steepness = (block << 33 | u) >> 10;
        let y = (((steepness * u) >> 32) * self.curvature) >> 30;
        let mut decay = u64::from(u32::MAX);
        for k in (1..10).rev() {
            let share = (y * RECIPROCALS[k]) >> 32;
            decay = u64::from(u32::MAX) - ((share * decay) >> 32);
        }
        (self.heights[block as usize] * decay) >> 32
    }

    /// True if U < f(`magnitude`) for the real number U whose binary fraction is
    /// `zeros` zeros, then the `bits` bits of `height`, then fresh random ones.
    #[cold]
    fn is_under_curve(
        &self,
        magnitude: u64,
        height: u64,
        bits: u32,
        zeros: u32,
        next: &mut impl FnMut() -> u64,
    ) -> bool {
        let (a, b) = Curve { scale: self.scale }.exponent(magnitude);
        let known = (zeros + bits) as usize;
        let mut length = known.div_ceil(64) + 2;
        // Limbs of U from the most significant on, as many as are drawn.
        let mut limbs: Vec<u64> = Vec::new();
        loop {
            while limbs.len() < length {
                let at = 64 * limbs.len();
                limbs.push(
                    limb_of(height, bits as usize, zeros as usize, at) | {
                        let random = next();
                        match known.saturating_sub(at) {
                            0 => random,
                            kept @ 1..=63 => random >> kept,
                            _ => 0,
                        }
                    },
                );
            }
            let value: Vec<u64> = limbs.iter().rev().copied().chain([0]).collect();
            if let Some(below) = is_below_exp_neg(&value, a, b) {
                return below;
            }
            length *= 2;
        }
    }
}

impl fmt::Debug for DiscreteGaussian {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiscreteGaussian").field("scale", &self.scale).finish_non_exhaustive()
    }
}

/// The 64 bits from position `at` on of a binary fraction that is `zeros` zeros,
/// then the `bits` bits of `height`, then zeros.
fn limb_of(height: u64, bits: usize, zeros: usize, at: usize) -> u64 {
    // As a 128-bit window whose upper half is the limb.
    let end = zeros + bits;
    match (at + 64).checked_sub(end) {
        // The bits end inside or before the limb.
        Some(left) if left < 128 => ((u128::from(height) << left) & u128::from(u64::MAX)) as u64,
        Some(_) => 0,
        // They go on beyond it.
        None if end - at - 64 < 64 => height >> (end - at - 64),
        None => 0,
    }
}

/// f(x) = exp(-x² / (2 s²)).
#[derive(Clone, Copy)]
struct Curve {
    scale: Ratio,
}

/// f at a block's first and last integer, in units: (rounded down, rounded up).
struct Block {
    first: (u64, u64),
    last: (u64, u64),
}

impl Curve {
    /// a/b = x² / (2 s²), for x of at most 1000 s.
    fn exponent(self, x: u64) -> (u128, u128) {
        let numerator = u128::from(x) * u128::from(self.scale.denominator());
        (numerator * numerator, 2 * u128::from(self.scale.numerator()).pow(2))
    }

    /// f(x) in units, rounded down and rounded up.
    fn bounds(self, x: u64) -> (u64, u64) {
        if x == 0 {
            return (PEAK, PEAK);
        }
        let (a, b) = self.exponent(x);
        let digits = exp_neg(a, b, 2);
        // The upper limb holds to one unit of 2^-64: more than enough.
        let upper = u128::from(digits[2]) << 64 | u128::from(digits[1]);
        let cut = |value: u128| (value >> HEIGHT_BITS) as u64;
        (cut(upper.saturating_sub(1)), (cut(upper + 2) + 1).min(PEAK))
    }

    fn block(self, block: u64, width: u64) -> Block {
        let first = block * width;
        let first_bounds = self.bounds(first);
        let last = if width == 1 { first_bounds } else { self.bounds(first + width - 1) };
        Block { first: first_bounds, last }
    }

    /// 2^40 w² / (2 s²), rounded down; w is at most s/16, or 1.
    fn curvature(self, width: u64) -> u64 {
        let (a, b) = self.exponent(width);
        // With blocks of one integer no offset ever needs it.
        if width == 1 || a >= b { 0 } else { fraction(a, b, 1)[0] >> 24 }
    }
}

/// log2 of the blocks' width: a power of two in (s/32, s/16], or 1.
fn block_bits(scale: Ratio) -> u32 {
    (scale.numerator() / (16 * scale.denominator())).checked_ilog2().unwrap_or(0)
}

/// Blocks of `width` that reach to 5 s.
fn blocks(scale: Ratio, width: u64) -> u64 {
    (5 * scale.numerator()).div_ceil(scale.denominator() * width)
}

/// Number of doublings of the width until f halves at least from each block of the
/// tail to the next: T start / s² >= 0.6932 > ln 2, as (x + T)² - x² >= 2 T start
/// for every x from `start` on.
fn tail_widening(scale: Ratio, start: u64, width: u64) -> u32 {
    let square = |x: u64| u128::from(x) * u128::from(x);
    let product = u128::from(start) * u128::from(width) * square(scale.denominator());
    // Below 2^110 each, so that the factors have room.
    let enough =
        |&widening: &u32| 10_000 * (product << widening) >= 6932 * square(scale.numerator());
    (0..8).find(enough).expect("start >= 5 s and width > s/32, or 1 and s < 16: five suffice")
}

/// The least slab height (its log2) with which at most [`MOST_RECTANGLES`] cover
/// the curve, and how many of them, a power of two, cover the tail.
///
/// The tail's proposals are spread over an area of 2 T H: widths T and heights H
/// both halve in weight from block to block. It has to be that of its
/// rectangles, so H = rectangles w 2^slab_bits / (2 T).
fn slabs(bounds: &[Block], tail_height: u64, widening: u32) -> (u32, u64) {
    for slab_bits in 1..HEIGHT_BITS {
        let main: u64 = bounds.iter().map(|b| b.first.1.div_ceil(1 << slab_bits)).sum();
        let tail = (tail_height << (1 + widening)).div_ceil(1 << slab_bits).next_power_of_two();
        if main + tail <= MOST_RECTANGLES {
            return (slab_bits, tail);
        }
    }
    unreachable!("at most 160 blocks of two slabs each fit into the table")
}

#[cfg(test)]
mod tests;
