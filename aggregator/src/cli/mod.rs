//! The commands of `fedra-aggregator`, one file each.

pub mod store;
