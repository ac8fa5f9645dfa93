//! Values that are rotated and then rounded to a few levels: `int8` and `int4` at random,
//! `eden2` and `eden1` to the nearest level.
//!
//! A rotation spreads an update evenly over its coordinates, which then are about normally
//! distributed, so that a grid with few levels fits every one of them (Suresh et al. 2017).
//! Each block is rotated by itself and has a scale of its own.
//!
//! - `int8` and `int4` round at random to one of the two neighbouring levels, so that the
//!   expected value is exact for any update (Alistarh et al. 2017). The outermost levels are
//!   the block's largest magnitude.
//! - `eden2` and `eden1` round to the levels that fit a normal distribution best (Max 1960),
//!   and scale them by |x|^2 / <x, levels>, for which the expected value over the rotations
//!   is that of the update (Vargaftik et al. 2021, 2022). Their mean squared error over
//!   |x|^2 is pi/2 - 1 = 0.571 with one bit and 0.133 with two. They are rotated twice: after
//!   one rotation of this kind an update with a few large values is not normally
//!   distributed, and the mean of many would be off by up to a third of its norm.
//!
//! The seed of the rotation travels with the update, 8 bytes. One that a round's clients
//! share would give similar updates similar errors, which their mean would keep.
//!
//! Received levels turn back to values that may lie beyond the task's range. They are
//! limited to it where they are decoded, like every update's.

use differential_privacy::{random_rotation, undo_random_rotation};
use fedra_keystream::Keystream;
use fedra_protocol::{CodecName, UpdateRange};
use fedra_secure_aggregation::{check_packed, pack, packed_len, unpack};

use super::{CodecBounds, UpdateCodec, UpdateError, UpdateLength, ValueCodec, check_length};

/// Most values that are rotated together: the transform stays in the first cache.
const LARGEST: usize = 1 << 13;

/// Fewest values that make a block without padding. The rest is filled up with zeros to
/// the next power of two.
const LEAST: usize = 1 << 8;

/// Bytes of the seed of an update's rotations.
const SEED: usize = 8;

/// Largest scale of a block over the range of an update. Sound scales are at most
/// 2.3 √[`LARGEST`], and with larger ones up to this no sum overflows.
const MOST_SCALE: f32 = 512.0;

/// Outer level, and inner one, of the best four levels of a normal distribution, and the
/// magnitude between them.
const FOUR_LEVELS: [f32; 2] = [1.510_417_6, 0.452_780_04];
const BETWEEN: f64 = 0.981_598_8;

/// Grid of levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grid {
    /// 256 levels, rounded to at random.
    Int8,
    /// 16 levels, rounded to at random.
    Int4,
    /// 4 levels of a normal distribution.
    Eden2,
    /// 2 levels.
    Eden1,
}

impl Grid {
    fn bits(self) -> u32 {
        match self {
            Self::Int8 => 8,
            Self::Int4 => 4,
            Self::Eden2 => 2,
            Self::Eden1 => 1,
        }
    }

    /// Rotations of a block, one after the other.
    fn rotations(self) -> u8 {
        match self {
            Self::Int8 | Self::Int4 => 1,
            Self::Eden2 | Self::Eden1 => 2,
        }
    }

    /// Level of a word, in units of the block's scale.
    fn level(self, word: u32) -> f32 {
        let steps = (1 << self.bits()) - 1;
        match (self, word) {
            (Self::Eden2, 0) => -FOUR_LEVELS[0],
            (Self::Eden2, 1) => -FOUR_LEVELS[1],
            (Self::Eden2, 2) => FOUR_LEVELS[1],
            (Self::Eden2, _) => FOUR_LEVELS[0],
            _ => (2 * word) as f32 - steps as f32,
        }
    }

    /// The scale of a rotated block, and its words.
    fn quantise(self, rotated: &[f32], noise: &mut Keystream) -> (f32, Vec<u32>) {
        match self {
            Self::Int8 | Self::Int4 => at_random(rotated, (1 << self.bits()) - 1, noise),
            Self::Eden2 | Self::Eden1 => self.to_nearest(rotated),
        }
    }

    fn to_nearest(self, rotated: &[f32]) -> (f32, Vec<u32>) {
        let square: f64 = rotated.iter().map(|value| f64::from(*value).powi(2)).sum();
        let outer = BETWEEN * (square / rotated.len() as f64).sqrt();
        let word = |value: &f32| {
            let positive = u32::from(*value >= 0.0);
            match self {
                Self::Eden2 if f64::from(value.abs()) > outer => 3 * positive,
                Self::Eden2 => 1 + positive,
                _ => positive,
            }
        };
        let words: Vec<u32> = rotated.iter().map(word).collect();
        let pairs = rotated.iter().zip(&words);
        let product: f64 =
            pairs.map(|(value, word)| f64::from(*value) * f64::from(self.level(*word))).sum();
        // Only the product of zeros is 0.
        let scale = if product > 0.0 { square / product } else { 0.0 };
        (scale as f32, words)
    }
}

/// Rounds each value to one of the two nearest of `steps` + 1 levels, with the
/// probabilities for which it is exact on average.
fn at_random(rotated: &[f32], steps: u32, noise: &mut Keystream) -> (f32, Vec<u32>) {
    let largest = rotated.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let scale = largest / steps as f32;
    if scale == 0.0 {
        return (0.0, vec![0; rotated.len()]);
    }
    let mut dice = vec![0; 4 * rotated.len()];
    noise.write(&mut dice);
    let word = |(value, dice): (&f32, &[u8; 4])| {
        let place = ((value / scale + steps as f32) / 2.0).clamp(0.0, steps as f32);
        let below = place.floor();
        // The upper 24 bits, as a number from 0 to below 1.
        let chance = (u32::from_le_bytes(*dice) >> 8) as f32 * 2.0_f32.powi(-24);
        below as u32 + u32::from(chance < place - below)
    };
    (scale, rotated.iter().zip(dice.as_chunks().0).map(word).collect())
}

/// Codecs `int8`, `int4`, `eden2` and `eden1`: 8, 4, 2 or 1 bits a value, 4 bytes a block,
/// and 8 bytes.
#[derive(Debug, Clone, Copy)]
pub struct Rotated {
    len: usize,
    range: UpdateRange,
    grid: Grid,
    bytes: usize,
}

/// Block of received bytes.
struct Block<'a> {
    /// Values of the update that it has.
    values: usize,
    /// The same with those that fill it up.
    padded: usize,
    scale: f32,
    words: &'a [u8],
}

impl Rotated {
    /// Codec of `len` values within the range.
    #[must_use]
    pub fn new(len: usize, range: UpdateRange, grid: Grid) -> Self {
        let block = |padded| size_of::<f32>() + packed_len(padded, grid.bits());
        let whole = (len / LARGEST).saturating_mul(block(LARGEST));
        let rest: usize = blocks(len % LARGEST).map(|(_, padded)| block(padded)).sum();
        Self { len, range, grid, bytes: whole.saturating_add(SEED + rest) }
    }

    /// The seed of the rotations, and the blocks, of bytes of the right length.
    fn parts<'a>(&self, bytes: &'a [u8]) -> (&'a [u8], impl Iterator<Item = Block<'a>>) {
        let (seed, mut rest) = bytes.split_at(SEED);
        let bits = self.grid.bits();
        let parts = blocks(self.len).map_while(move |(values, padded)| {
            let (scale, after) = rest.split_first_chunk()?;
            let (words, after) = after.split_at_checked(packed_len(padded, bits))?;
            rest = after;
            Some(Block { values, padded, scale: f32::from_le_bytes(*scale), words })
        });
        (seed, parts)
    }
}

/// Numbers of values in the blocks of `len` values, each with the power of two to which
/// it is filled up: the largest ones that fit, so that little is filled up.
fn blocks(mut len: usize) -> impl Iterator<Item = (usize, usize)> {
    std::iter::from_fn(move || {
        let padded = match len {
            0 => return None,
            1..LEAST => len.next_power_of_two(),
            _ => LARGEST.min(1 << len.ilog2()),
        };
        let values = padded.min(len);
        len -= values;
        Some((values, padded))
    })
}

/// Seed of a rotation: the update's, the number of the block, and that of the rotation.
fn seed_of(seed: &[u8], block: u64, rotation: u8) -> [u8; 32] {
    let mut all = [0; 32];
    all[..SEED].copy_from_slice(seed);
    all[SEED..2 * SEED].copy_from_slice(&block.to_le_bytes());
    all[2 * SEED] = rotation;
    all
}

impl UpdateCodec for Rotated {
    fn name(&self) -> CodecName {
        match self.grid {
            Grid::Int8 => CodecName::Int8,
            Grid::Int4 => CodecName::Int4,
            Grid::Eden2 => CodecName::Eden2,
            Grid::Eden1 => CodecName::Eden1,
        }
    }

    /// A block's words, and its values.
    fn bounds(&self) -> CodecBounds {
        let largest = self.len.next_power_of_two().min(LARGEST);
        let memory = (size_of::<u32>() + size_of::<f32>()) * largest;
        CodecBounds { bytes: UpdateLength::Exactly(self.bytes), memory }
    }

    fn check(&self, bytes: &[u8]) -> Result<(), UpdateError> {
        check_length(self, bytes)?;
        let most = MOST_SCALE * self.range.magnitude();
        for (block, part) in self.parts(bytes).1.enumerate() {
            // A NaN is in no range.
            if !(0.0..=most).contains(&part.scale) {
                return Err(UpdateError::Scale { block, scale: part.scale, most });
            }
            let padding = check_packed(part.words, part.padded, self.grid.bits());
            padding.map_err(|_| UpdateError::Padding)?;
        }
        Ok(())
    }
}

impl ValueCodec for Rotated {
    fn encode(&self, values: &[f32], seed: &[u8; 32]) -> Vec<u8> {
        let rotation = &seed[..SEED];
        let mut noise = Keystream::new(seed);
        let mut sent = Vec::with_capacity(self.bytes);
        sent.extend_from_slice(rotation);
        let mut rest = values;
        for (block, (count, padded)) in (0..).zip(blocks(values.len())) {
            let (these, others) = rest.split_at(count);
            rest = others;
            let mut rotated = these.to_vec();
            rotated.resize(padded, 0.0);
            for turn in 0..self.grid.rotations() {
                random_rotation(&mut rotated, &seed_of(rotation, block, turn));
            }
            let (scale, words) = self.grid.quantise(&rotated, &mut noise);
            sent.extend_from_slice(&scale.to_le_bytes());
            sent.extend_from_slice(&pack(&words, self.grid.bits()));
        }
        sent
    }

    fn decode(&self, bytes: &[u8], take: &mut dyn FnMut(&[f32])) {
        let most = self.range.magnitude();
        let (seed, parts) = self.parts(bytes);
        for (block, part) in (0..).zip(parts) {
            let words = unpack(part.words, part.padded, self.grid.bits()).expect("checked bytes");
            let level = |word| part.scale * self.grid.level(word);
            let mut values: Vec<f32> = words.into_iter().map(level).collect();
            for turn in (0..self.grid.rotations()).rev() {
                undo_random_rotation(&mut values, &seed_of(seed, block, turn));
            }
            values.truncate(part.values);
            values.iter_mut().for_each(|value| *value = value.clamp(-most, most));
            take(&values);
        }
    }
}
