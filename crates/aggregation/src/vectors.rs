//! The widest vectors of the processor, chosen at run time: natively the program is
//! compiled for every processor of its kind, and plain loops are for the oldest of them.

/// Runs `work`, whose loops are compiled once more for each width of vectors. It has to
/// be a closure around code that is inlined: what it calls otherwise stays as it is.
#[cfg(not(target_arch = "wasm32"))]
#[inline(always)]
pub(crate) fn widest<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

/// Runs `work` with the vectors that it was compiled for.
#[cfg(target_arch = "wasm32")]
#[inline(always)]
pub(crate) fn widest<R>(work: impl FnOnce() -> R) -> R {
    work()
}
