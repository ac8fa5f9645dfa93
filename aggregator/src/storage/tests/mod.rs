//! Tests of every store, and of the embedded one when power, disk or database
//! fail.

mod backup;
mod blobs;
mod contract;
mod crash;
mod damage;
mod power;
mod records;
mod sample;
