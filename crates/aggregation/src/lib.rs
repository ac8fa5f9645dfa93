//! Updates and their averages as pure numbers: the codecs in which updates travel, the
//! accumulators that turn a round's updates into their mean, the server's step from
//! the mean to the next global model, that step in a codec, and SCAFFOLD's control variates.
//!
//! It does no I/O and knows nothing of sockets, files, clocks or tensors. A client is a
//! number here. Of the protocol it takes the range of an update, the names of codecs and
//! the contents of secure aggregation's messages.
//!
//! Sums are integers, so the result is the same to the bit for any order of the updates
//! and for any split over partial sums. An accumulator that adds up holds one update at a
//! time. The robust [estimators](accumulator::Estimator) that have to see all updates of a
//! round hold them, put them in an order of their own, and give the same bits for any order
//! of arrival too. What an accumulator holds is in its [bounds](RoundAccumulator::bounds).
//!
//! # Example
//!
//! Two updates of a model with two parameters, from 30 and from 10 examples.
//!
//! ```
//! use fedra_aggregation::accumulator::{Contributor, Plain, RoundAccumulator, Weight};
//! use fedra_aggregation::codec::{Codec, UpdateShape};
//! use fedra_aggregation::{CheckedUpdate, OptimizerState, ServerOptimizer};
//! use fedra_protocol::{CodecName, Loss, UpdateRange};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let range = UpdateRange::default_for(Loss::SoftmaxCrossEntropy);
//! // Both sides make the codec that the round's assignment names.
//! let codec = Codec::new(Some(CodecName::F16), UpdateShape::Values { len: 2, range })?;
//! let mut sum = Box::new(Plain::new(2, range));
//! for (client, update, examples) in [(1, [1.0, 0.0], 30), (2, [0.0, -1.0], 10)] {
//!     // The seed is a random one, of this update alone.
//!     let sent = codec.values()?.encode(&update, &[client; 32]);
//!     let received = CheckedUpdate::parse(sent.into(), &codec)?;
//!     sum.add(Contributor(client.into()), received, Weight::of(examples))?;
//! }
//! let mean = sum.finish()?.delta;
//! assert_eq!(mean, [0.75, -0.25]);
//! let averaging = ServerOptimizer::Averaging { learning_rate: 1.0 };
//! let (model, _) = averaging.step(&OptimizerState::Empty, &[1.0, 1.0], &mean)?;
//! assert_eq!(model, [1.75, 0.75]);
//! # Ok(())
//! # }
//! ```

pub mod accumulator;
pub mod codec;
pub mod control;
mod optimizer;
mod step;
mod sum;
mod update;
mod vectors;

pub use accumulator::RoundAccumulator;
pub use codec::{Codec, UpdateError, UpdateShape};
pub use optimizer::{ApplyError, Moments, OptimizerState, ServerOptimizer, StateError};
pub use step::Step;
pub use sum::{FixedPointSum, FoldError, MAX_TOTAL_WEIGHT};
pub use update::CheckedUpdate;
