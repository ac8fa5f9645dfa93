//! Allocations whose size a caller or a file chooses. These fail with an error; any
//! other allocation that fails ends the program.

/// Memory that the system does not give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} MiB of memory are needed at once, and the system does not give them; close other \
     pages or programs, or use a smaller model or fewer examples",
    .bytes.div_ceil(1 << 20)
)]
pub struct OutOfMemory {
    /// Bytes asked for.
    pub bytes: u64,
}

/// An empty vector with room for `len` values.
///
/// # Errors
///
/// [`OutOfMemory`] with the bytes that the system does not give.
pub fn with_room<T>(len: usize) -> Result<Vec<T>, OutOfMemory> {
    let bytes = (len as u64).saturating_mul(size_of::<T>() as u64);
    let mut values = Vec::new();
    values.try_reserve_exact(len).map_err(|_| OutOfMemory { bytes })?;
    Ok(values)
}

/// Fails unless `bytes` of memory can be allocated now: a look ahead for allocations
/// inside of burn, which end the program where they fail.
///
/// # Errors
///
/// [`OutOfMemory`] with the bytes that the system does not give.
pub fn ensure_free(bytes: u64) -> Result<(), OutOfMemory> {
    let len = usize::try_from(bytes).map_err(|_| OutOfMemory { bytes })?;
    with_room::<u8>(len).map(drop)
}
