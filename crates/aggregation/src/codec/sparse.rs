//! The values of largest magnitude alone: `topk` sends them as float16 (Aji and Heafield
//! 2017), `stc` their signs and their mean magnitude (sparse ternary compression, Sattler et
//! al. 2019). The others are decoded to zeros.
//!
//! Both are biased: whoever encodes has to add what was not sent to the next update
//! (error feedback, Stich et al. 2018), or values that are always small are never sent.
//!
//! The values are chosen chunk by chunk, the same share of each, so that memory does not
//! grow with the model.

use fedra_protocol::{CodecName, SentShare, UpdateRange};
use fedra_secure_aggregation::{check_packed, pack, packed_len, unpack};
use half::f16;

use super::positions::Positions;
use super::{
    CodecBounds, UpdateCodec, UpdateError, UpdateLength, ValueCodec, check_length, fault, float16,
};

/// Values among which the largest are chosen.
const CHUNK: usize = 1 << 16;

/// Form of the values that are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SentValues {
    /// A float16 each.
    Halves,
    /// One float32, their mean magnitude, and a bit each: 1 is negative.
    Signs,
}

impl SentValues {
    /// Bytes of `count` values.
    fn bytes(self, count: usize) -> usize {
        match self {
            Self::Halves => 2 * count,
            Self::Signs => size_of::<f32>() + packed_len(count, 1),
        }
    }

    fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::Halves => {
                values.iter().flat_map(|value| float16::nearest(*value).to_le_bytes()).collect()
            }
            Self::Signs => {
                let sum: f64 = values.iter().map(|value| f64::from(value.abs())).sum();
                let mean = (sum / values.len() as f64) as f32;
                let signs: Vec<u32> =
                    values.iter().map(|value| u32::from(value.is_sign_negative())).collect();
                [mean.to_le_bytes().as_slice(), &pack(&signs, 1)].concat()
            }
        }
    }

    /// The values of bytes of the right length, whatever the bits after the last sign.
    fn decode(self, bytes: &[u8], count: usize) -> Vec<f32> {
        match self {
            Self::Halves => {
                bytes.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f32()).collect()
            }
            Self::Signs => {
                let (mean, signs) = mean_and_signs(bytes);
                let signs = unpack(signs, count, 1).expect("checked bytes");
                signs.into_iter().map(|sign| if sign == 0 { mean } else { -mean }).collect()
            }
        }
    }
}

fn mean_and_signs(bytes: &[u8]) -> (f32, &[u8]) {
    let (mean, signs) = bytes.split_first_chunk().expect("of the codec's length");
    (f32::from_le_bytes(*mean), signs)
}

/// Codecs `topk` and `stc`.
#[derive(Debug, Clone, Copy)]
pub struct Sparse {
    len: usize,
    range: UpdateRange,
    share: SentShare,
    form: SentValues,
}

/// Chunk of an update.
#[derive(Clone, Copy)]
struct Chunk {
    /// Values of the update that it has.
    values: usize,
    /// Number of those that are sent.
    sent: usize,
    positions: Positions,
}

impl Sparse {
    /// Codec of `len` values within the range.
    #[must_use]
    pub fn new(len: usize, range: UpdateRange, share: SentShare, form: SentValues) -> Self {
        Self { len, range, share, form }
    }

    fn chunk(&self, values: usize) -> Chunk {
        let sent = self.share.of(values);
        Chunk { values, sent, positions: Positions::new(sent, values) }
    }

    fn bytes_of(&self, chunk: Chunk) -> usize {
        chunk.positions.bytes() + self.form.bytes(chunk.sent)
    }

    /// The chunks of bytes of the right length, each with those of its positions and of
    /// its values.
    fn parts<'a>(&self, mut bytes: &'a [u8]) -> impl Iterator<Item = (Chunk, &'a [u8], &'a [u8])> {
        let codec = *self;
        (0..self.len).step_by(CHUNK).map_while(move |start| {
            let chunk = codec.chunk(CHUNK.min(codec.len - start));
            let (these, others) = bytes.split_at_checked(codec.bytes_of(chunk))?;
            bytes = others;
            let (positions, values) = these.split_at(chunk.positions.bytes());
            Some((chunk, positions, values))
        })
    }

    /// Checks the values of a chunk, whose first one is value `start` of the update.
    fn check_values(
        &self,
        block: usize,
        start: usize,
        positions: &[u32],
        bytes: &[u8],
    ) -> Result<(), UpdateError> {
        if self.form == SentValues::Signs {
            let (scale, signs) = mean_and_signs(bytes);
            let most = self.range.magnitude();
            if !(0.0..=most).contains(&scale) {
                return Err(UpdateError::Scale { block, scale, most });
            }
            return check_packed(signs, positions.len(), 1).map_err(|_| UpdateError::Padding);
        }
        let values = self.form.decode(bytes, positions.len());
        let mut places = positions.iter().zip(values);
        let faulty = places
            .find_map(|(position, value)| fault(value, start + *position as usize, self.range));
        faulty.map_or(Ok(()), Err)
    }
}

/// Positions of the `count` values of largest magnitude, of equal ones the first, in
/// increasing order.
fn largest(values: &[f32], count: usize) -> Vec<u32> {
    // The order of the integers is that of the magnitudes.
    let magnitude = |value: &f32| value.abs().to_bits();
    let reach = |least| values.iter().filter(|value| magnitude(value) >= least).count();
    // The largest magnitude that `count` values reach, bit by bit.
    let least = (0..31)
        .rev()
        .map(|bit| 1 << bit)
        .fold(0, |least, bit| if reach(least | bit) >= count { least | bit } else { least });
    let mut equal = count - reach(least + 1);
    let mut is_chosen = |value: &f32| {
        let is_equal = magnitude(value) == least && equal > 0;
        equal -= usize::from(is_equal);
        is_equal || magnitude(value) > least
    };
    (0..).zip(values).filter(|(_, value)| is_chosen(value)).map(|(at, _)| at).collect()
}

impl UpdateCodec for Sparse {
    fn name(&self) -> CodecName {
        match self.form {
            SentValues::Halves => CodecName::TopK(self.share),
            SentValues::Signs => CodecName::Stc(self.share),
        }
    }

    /// A chunk, its positions and the values that were sent.
    fn bounds(&self) -> CodecBounds {
        let largest = self.chunk(self.len.clamp(1, CHUNK));
        let memory =
            largest.positions.memory() + size_of::<f32>() * (largest.values + largest.sent);
        let whole = (self.len / CHUNK).saturating_mul(self.bytes_of(self.chunk(CHUNK)));
        let rest = match self.len % CHUNK {
            0 => 0,
            rest => self.bytes_of(self.chunk(rest)),
        };
        CodecBounds { bytes: UpdateLength::Exactly(whole.saturating_add(rest)), memory }
    }

    fn check(&self, bytes: &[u8]) -> Result<(), UpdateError> {
        check_length(self, bytes)?;
        for (block, (chunk, code, values)) in self.parts(bytes).enumerate() {
            let positions = chunk.positions.decode(code).ok_or(UpdateError::Positions { block })?;
            self.check_values(block, block * CHUNK, &positions, values)?;
        }
        Ok(())
    }
}

impl ValueCodec for Sparse {
    fn encode(&self, values: &[f32], _seed: &[u8; 32]) -> Vec<u8> {
        let mut sent = Vec::new();
        for these in values.chunks(CHUNK) {
            let chunk = self.chunk(these.len());
            let positions = largest(these, chunk.sent);
            let chosen: Vec<f32> = positions.iter().map(|&at| these[at as usize]).collect();
            sent.extend(chunk.positions.encode(&positions));
            sent.extend(self.form.encode(&chosen));
        }
        sent
    }

    fn decode(&self, bytes: &[u8], take: &mut dyn FnMut(&[f32])) {
        for (chunk, code, values) in self.parts(bytes) {
            let positions = chunk.positions.decode(code).expect("checked bytes");
            let mut all = vec![0.0; chunk.values];
            for (position, value) in positions.into_iter().zip(self.form.decode(values, chunk.sent))
            {
                all[position as usize] = value;
            }
            take(&all);
        }
    }
}
