//! Files as data sets, and the mistakes that files have in the world.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod arrays;
mod reading;
mod tables;
mod texts;
