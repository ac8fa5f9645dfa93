//! Strictly increasing positions in few bits: the code of Elias (1974) and Fano (1971).
//!
//! Of n positions below m, each has its l = floor(log2(m / n)) low bits as they are. The
//! high parts are a bitmap in which bit (high part of position i) + i is set. Together they
//! take n (l + 1) + floor((m - 1) / 2^l) bits, at most n (2 + log2(m / n)), whatever the
//! positions are: the length of an update says nothing about it.

use fedra_secure_aggregation::{pack, packed_len, unpack};

/// Code of `count` positions below `len`; `count` is 1 to `len`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Positions {
    count: usize,
    len: usize,
    low_bits: u32,
}

impl Positions {
    pub fn new(count: usize, len: usize) -> Self {
        Self { count, len, low_bits: (len / count).ilog2() }
    }

    /// Bits of the bitmap.
    fn bitmap(self) -> usize {
        self.count + ((self.len - 1) >> self.low_bits)
    }

    /// Bytes of the code.
    pub fn bytes(self) -> usize {
        packed_len(self.count, self.low_bits) + packed_len(self.bitmap(), 1)
    }

    /// Bytes of memory that decoding takes, the positions included.
    pub fn memory(self) -> usize {
        size_of::<u32>() * (2 * self.count + self.bitmap())
    }

    /// The code of increasing positions.
    pub fn encode(self, positions: &[u32]) -> Vec<u8> {
        let mut bitmap = vec![0; self.bitmap()];
        for (i, position) in positions.iter().enumerate() {
            bitmap[(position >> self.low_bits) as usize + i] = 1;
        }
        let mut code = match self.low_bits {
            0 => Vec::new(),
            // It cuts off what is above the low bits.
            bits => pack(positions, bits),
        };
        code.extend(pack(&bitmap, 1));
        code
    }

    /// The positions; `None` of bytes that are not the code of as many increasing ones
    /// below the length.
    pub fn decode(self, code: &[u8]) -> Option<Vec<u32>> {
        let (low, bitmap) = code.split_at_checked(packed_len(self.count, self.low_bits))?;
        let low = match self.low_bits {
            0 => vec![0; self.count],
            bits => unpack(low, self.count, bits).ok()?,
        };
        let bitmap = unpack(bitmap, self.bitmap(), 1).ok()?;
        let mut set = (0_u32..).zip(&bitmap).filter(|(_, bit)| **bit == 1).map(|(at, _)| at);
        let positions: Vec<u32> = (0_u32..)
            .zip(low)
            .map_while(|(i, low)| Some((set.next()? - i) << self.low_bits | low))
            .collect();
        let increase = positions.is_sorted_by(|a, b| a < b);
        let below = positions.last().is_some_and(|last| (*last as usize) < self.len);
        (positions.len() == self.count && set.next().is_none() && increase && below)
            .then_some(positions)
    }
}
