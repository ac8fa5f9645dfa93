//! Measurements of the hot loops of an update.
//!
//! `benches/` compares a change with what was there before it:
//! `cargo bench -p fedra-benchmarks`. The programs in `src/bin` measure whole steps
//! beside what the machine does at the most, and print JSON for `cargo xtask bench`.
