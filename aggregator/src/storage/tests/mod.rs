//! What every store has to do, and what the embedded one does when power, disk
//! or database fail.

mod backup;
mod contract;
mod crash;
mod damage;
mod power;
mod sample;
