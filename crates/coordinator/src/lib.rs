//! Server core of Fedra without I/O: the round machine, the state of a task, the
//! machine of one client session from Hello to close, the writer of models, and the
//! storage traits.
//!
//! Nothing here opens a socket, reads a clock or owns a generator of random numbers:
//! time and randomness are arguments, and what has to be done comes out as data. The
//! aggregator drives these machines with sockets and threads, a simulation with
//! virtual time.
//!
//! ```text
//! session::Session --Command--> task::TaskCore --WriterJob--> writer::Writer
//!        ^                        |   ^                          |
//!        +-------Notice-----------+   +--------Command-----------+
//! ```
//!
//! Modules know only those before them: [`round`], [`storage`], [`settings`],
//! [`status`], [`writer`], [`participation`], [`messages`], [`session`] and [`task`].

#[cfg(test)]
mod fixtures;
pub mod messages;
pub mod participation;
pub mod round;
pub mod session;
pub mod settings;
pub mod status;
pub mod storage;
pub mod task;
pub mod writer;
