//! CRC-32 of IEEE 802.3, by which a damaged update is told from a whole one.
//!
//! `crc32fast` computes it with the instructions that processors have for it. A browser has
//! none, and that crate's tables would be 16 KiB of the module that no compression makes
//! smaller: there the tables are made at first use.

/// CRC-32 (IEEE) of the bytes.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u32 {
    #[cfg(target_arch = "wasm32")]
    return tables::checksum(bytes);
    #[cfg(not(target_arch = "wasm32"))]
    return crc32fast::hash(bytes);
}

/// Eight bytes at a time, by eight tables (Kounavis and Berry 2008, "slicing-by-8").
#[cfg(any(test, target_arch = "wasm32"))]
mod tables {
    use std::sync::LazyLock;

    /// The polynomial, its lowest power in the highest bit.
    const POLYNOMIAL: u32 = 0xedb8_8320;

    /// Remainders of each byte followed by 0 to 7 bytes of zeros.
    static TABLES: LazyLock<[[u32; 256]; 8]> = LazyLock::new(|| {
        let mut tables = [[0; 256]; 8];
        for byte in 0..=u8::MAX {
            let mut rest = u32::from(byte);
            for table in &mut tables {
                for _ in 0..8 {
                    rest = (rest >> 1) ^ if rest & 1 == 1 { POLYNOMIAL } else { 0 };
                }
                table[usize::from(byte)] = rest;
            }
        }
        tables
    });

    pub fn checksum(bytes: &[u8]) -> u32 {
        let tables = &*TABLES;
        let (words, rest) = bytes.as_chunks::<8>();
        let mut sum = u32::MAX;
        for word in words {
            let word = u64::from_le_bytes(*word) ^ u64::from(sum);
            let remainders = tables.iter().rev().zip(word.to_le_bytes());
            sum = remainders.fold(0, |sum, (table, byte)| sum ^ table[usize::from(byte)]);
        }
        for byte in rest {
            let [low, ..] = sum.to_le_bytes();
            sum = (sum >> 8) ^ tables[0][usize::from(low ^ byte)];
        }
        !sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of the algorithm, and its sums of nothing and of zeros.
    #[test]
    fn sums_are_those_of_ieee() {
        for (bytes, sum) in [(&b"123456789"[..], 0xcbf4_3926), (b"", 0), (&[0; 4], 0x2144_df1c)] {
            assert_eq!((checksum(bytes), tables::checksum(bytes)), (sum, sum));
        }
    }

    #[test]
    fn browsers_and_servers_have_the_same_sums() {
        let bytes: Vec<u8> = (0..1000_u32).map(|i| ((i * i) >> 3) as u8).collect();
        for (start, end) in (0..17).zip((0..=1000).rev().step_by(31)) {
            let bytes = &bytes[start..end];
            assert_eq!(tables::checksum(bytes), checksum(bytes), "{start}..{end}");
        }
    }
}
