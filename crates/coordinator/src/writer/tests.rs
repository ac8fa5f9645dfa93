//! Tests of the writer on a store in memory.
