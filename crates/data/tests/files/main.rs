//! Files as data sets, and the mistakes that files have in the world.

mod arrays;
mod reading;
mod tables;
mod texts;
