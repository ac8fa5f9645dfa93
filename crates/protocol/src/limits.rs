//! Upper bounds on everything that a peer can make long or large.
//!
//! A decoder checks against these before it builds a domain value, and the
//! WebSocket layer before it reads a whole message.

use std::time::Duration;

/// Largest WebSocket message in either direction, bytes.
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;
/// Largest payload of one [`UpdateChunk`](crate::UpdateChunk), bytes.
pub const MAX_CHUNK_BYTES: usize = 256 << 10;
/// Longest task id, bytes.
pub const MAX_TASK_ID_BYTES: usize = 64;
/// Longest title, software name or sentence for a person, bytes.
pub const MAX_TEXT_BYTES: usize = 512;
/// Longest token of a check-in, bytes.
pub const MAX_TOKEN_BYTES: usize = 4 << 10;
/// Longest URL path of a model, bytes.
pub const MAX_URL_BYTES: usize = 256;
/// Most protocol versions that a [`Hello`](crate::Hello) may list.
pub const MAX_VERSIONS: usize = 16;
/// Most names in one list of a client's [`Capabilities`](crate::Capabilities).
pub const MAX_CAPABILITIES: usize = 256;
/// Longest such name, bytes.
pub const MAX_CAPABILITY_BYTES: usize = 64;
/// Most layers of a model, those in other layers included.
pub const MAX_LAYERS: usize = 128;
/// Most layers that a layer may be in.
pub const MAX_NESTING: usize = 4;
/// Most parameters of a model, frozen ones included: 2^26, 256 MiB as float32.
pub const MAX_PARAMETERS: u64 = 1 << 26;
/// Longest update in any codec, bytes.
pub const MAX_UPDATE_BYTES: u64 = 4 * MAX_PARAMETERS;
/// Most entries of a vocabulary: float32 has every whole number up to it.
pub const MAX_VOCABULARY: u32 = 1 << 24;
/// Most columns of a table.
pub const MAX_COLUMNS: usize = 4096;
/// Most categories of a column, and most classes of images.
pub const MAX_CATEGORIES: usize = 1 << 16;
/// Longest name of a column, a category or a class, bytes.
pub const MAX_NAME_BYTES: usize = 256;
/// Most texts that stand for a missing value.
pub const MAX_MISSING: usize = 64;
/// Most characters of an alphabet.
pub const MAX_ALPHABET: usize = 1 << 16;
/// Longest [`DataSpec`](crate::DataSpec) as a message, bytes: it travels with its task.
pub const MAX_DATA_SPEC_BYTES: usize = 512 << 10;
/// Most classes that a loss weighs, 256 KiB in a message.
pub const MAX_CLASS_WEIGHTS: usize = 1 << 16;
/// Most activations of one example after any layer, and within one.
pub const MAX_ACTIVATIONS: u64 = 1 << 26;
/// Most positions of a recurrent layer, which takes them one after the other.
pub const MAX_STEPS: u32 = 1 << 16;
/// Most directions of a layer of fixed filters.
pub const MAX_ORIENTATIONS: u32 = 64;
/// Largest side of a fixed filter, pixels.
pub const MAX_FIXED_KERNEL: u32 = 31;
/// Default of a task's [`UpdateRange`](crate::UpdateRange).
pub const DEFAULT_UPDATE_RANGE: u32 = 64;
/// The same for a task of a regression: a bias has to reach its targets.
pub const DEFAULT_REGRESSION_UPDATE_RANGE: u32 = 1 << 20;
/// Largest [`UpdateRange`](crate::UpdateRange).
pub const MAX_UPDATE_RANGE: u32 = 1 << 24;
/// Default of a [`SentShare`](crate::SentShare): a hundredth.
pub const DEFAULT_SENT_SHARE: u32 = 10_000;
/// Largest [`SentShare`](crate::SentShare): half of the values.
pub const MAX_SENT_SHARE: u32 = 500_000;
/// Most [steps](crate::ModelStep) of an assignment.
pub const MAX_MODEL_STEPS: usize = 64;
/// Longest beginning of a model's file in an assignment, bytes.
pub const MAX_MODEL_HEAD_BYTES: usize = 64 << 10;
/// Most epochs of local training in a round.
pub const MAX_EPOCHS: u32 = 1_000;
/// Most steps of local training in a round.
pub const MAX_LOCAL_STEPS: u32 = 1_000_000;
/// Longest time limit of local training in a round.
pub const MAX_TIME_LIMIT: Duration = Duration::from_secs(24 * 3600);
/// Largest local batch, examples.
pub const MAX_BATCH: u32 = 65_536;
/// Most clients in a round of secure aggregation.
pub const MAX_COHORT: u32 = 1 << 16;
/// Most neighbours of a client in secure aggregation.
pub const MAX_NEIGHBOURS: usize = 1 << 10;
/// Longest ciphertext of a share, bytes.
pub const MAX_CIPHERTEXT_BYTES: usize = 512;
/// Most rounds that a privacy policy may grant one subject.
pub const MAX_PARTICIPATIONS: u32 = 1_000_000;
/// Most rounds whose noise may be correlated.
pub const MAX_BANDED_ROUNDS: u32 = 1_000_000;
/// Most rounds that the noise of one round may reach into, its own included.
pub const MAX_BAND: u32 = 64;
