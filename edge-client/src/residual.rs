//! Values that a client carries from one update to the next, and their store outside the client:
//! the part of its updates that a sparse codec has not sent yet, or its control variate.

use std::fmt;
use std::future::{self, Future};
use std::rc::Rc;

use fedra_protocol::RoundId;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

/// Version of the stored form.
const VERSION: u32 = 2;

/// Values that go from one update to the next, one a parameter.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Residual {
    /// SHA-256 of the kind of the values, and of the names and shapes of the model's tensors.
    pub model: [u8; 32],
    /// Values before the newest update. Empty stands for zeros.
    pub kept: Vec<f32>,
    /// The newest update, whose round may come to nothing.
    pub latest: Option<Latest>,
}

/// An update on its way.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Latest {
    pub round: RoundId,
    /// The server may have all of it, and has not turned it down.
    pub counts: bool,
    /// True if it counts for the attempt that it was made in alone, and not for a later round
    /// that takes it.
    pub attempted: bool,
    /// Values that are kept if the round has had the update.
    pub rest: Vec<f32>,
}

/// Reason why bytes are not what a client has stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the residual of a client, or of another version")]
pub struct ResidualError;

impl Residual {
    /// Bytes for a store. An update that does not count leaves nothing behind, and is not
    /// in them.
    ///
    /// The version, the model's hash, round and attempt, the number of values, all
    /// little-endian; then the kept values as float32, and after them the rest of an update
    /// that counts.
    pub fn to_bytes(&self) -> Vec<u8> {
        let latest = self.latest.as_ref().filter(|latest| latest.counts);
        let rest = latest.map_or(&[][..], |latest| &latest.rest);
        let RoundId { round, attempt } =
            latest.map_or(RoundId { round: 0, attempt: 0 }, |latest| latest.round);
        let len = self.kept.len().max(rest.len());
        let mut bytes = VERSION.to_le_bytes().to_vec();
        bytes.extend(self.model);
        bytes.extend(round.to_le_bytes());
        bytes.extend(attempt.to_le_bytes());
        bytes.extend((len as u64).to_le_bytes());
        let zeros = std::iter::repeat_n(&0.0, len - self.kept.len());
        bytes.extend(self.kept.iter().chain(zeros).chain(rest).flat_map(|v| v.to_le_bytes()));
        bytes
    }

    /// Reads what [`Residual::to_bytes`] has written.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ResidualError> {
        let read = || {
            let (version, bytes) = bytes.split_first_chunk()?;
            let (model, bytes) = bytes.split_first_chunk()?;
            let (round, bytes) = bytes.split_first_chunk()?;
            let (attempt, bytes) = bytes.split_first_chunk()?;
            let (len, bytes) = bytes.split_first_chunk()?;
            let (values, excess) = bytes.as_chunks();
            let values: Vec<f32> = values.iter().map(|value| f32::from_le_bytes(*value)).collect();
            let (kept, rest) =
                values.split_at_checked(u64::from_le_bytes(*len).try_into().ok()?)?;
            let sound = u32::from_le_bytes(*version) == VERSION
                && excess.is_empty()
                && (rest.is_empty() || rest.len() == kept.len())
                && values.iter().all(|value| value.is_finite());
            let round = RoundId {
                round: u64::from_le_bytes(*round),
                attempt: u32::from_le_bytes(*attempt),
            };
            let latest = (!rest.is_empty()).then(|| Latest {
                round,
                counts: true,
                attempted: false,
                rest: rest.to_vec(),
            });
            sound.then(|| Self { model: *model, kept: kept.to_vec(), latest })
        };
        read().ok_or(ResidualError)
    }
}

/// Reads the bytes that were stored last.
type Load = dyn Fn() -> LocalBoxFuture<'static, Option<Vec<u8>>>;

/// Stores bytes in place of earlier ones.
type Keep = dyn Fn(Vec<u8>) -> LocalBoxFuture<'static, ()>;

/// Store of what a client carries from one update to the next: the part that a sparse codec has
/// not sent yet, or its control variate of SCAFFOLD. It outlives the client.
#[derive(Clone, Default)]
pub struct ResidualStore {
    pub(crate) residual: Residual,
    /// Gone once it was read.
    load: Option<Rc<Load>>,
    keep: Option<Rc<Keep>>,
}

impl ResidualStore {
    /// `stored` is what `keep` was given last, if it was. `keep` stores the bytes in place of
    /// earlier ones; the client goes on where that fails.
    ///
    /// # Errors
    ///
    /// [`ResidualError`] for other bytes.
    pub fn new(
        stored: Option<&[u8]>,
        keep: impl Fn(&[u8]) + 'static,
    ) -> Result<Self, ResidualError> {
        let residual = stored.map(Residual::from_bytes).transpose()?.unwrap_or_default();
        let keep = move |bytes: Vec<u8>| {
            keep(&bytes);
            future::ready(()).boxed_local()
        };
        Ok(Self { residual, load: None, keep: Some(Rc::new(keep)) })
    }

    /// A store that takes its time. `load` is asked before the first update that needs it,
    /// again if that round ends meanwhile; what is not a client's residual is nothing. The
    /// last bytes of an update wait for `keep`. It stores in the order of its calls, also where
    /// its future is dropped.
    pub fn elsewhere<L, K>(
        load: impl Fn() -> L + 'static,
        keep: impl Fn(Vec<u8>) -> K + 'static,
    ) -> Self
    where
        L: Future<Output = Option<Vec<u8>>> + 'static,
        K: Future<Output = ()> + 'static,
    {
        Self {
            residual: Residual::default(),
            load: Some(Rc::new(move || load().boxed_local())),
            keep: Some(Rc::new(move |bytes| keep(bytes).boxed_local())),
        }
    }

    /// For owners without storage: the client's memory alone.
    pub fn nowhere() -> Self {
        Self::default()
    }

    /// The stored bytes, unless they were read.
    pub(crate) fn load(&self) -> Option<LocalBoxFuture<'static, Option<Vec<u8>>>> {
        self.load.as_ref().map(|load| load())
    }

    /// Takes what [`Self::load`] has given.
    pub(crate) fn loaded(&mut self, stored: Option<&[u8]>) {
        self.load = None;
        self.residual =
            stored.and_then(|bytes| Residual::from_bytes(bytes).ok()).unwrap_or_default();
    }

    /// Stores what there is now; ready once it is stored.
    pub(crate) fn keep(&self) -> Option<LocalBoxFuture<'static, ()>> {
        self.keep.as_ref().map(|keep| keep(self.residual.to_bytes()))
    }
}

impl fmt::Debug for ResidualStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResidualStore")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn residual(counts: bool) -> Residual {
        let round = RoundId { round: 3, attempt: 1 };
        let latest = Latest { round, counts, attempted: false, rest: vec![0.5, -2.0] };
        Residual { model: [7; 32], kept: Vec::new(), latest: Some(latest) }
    }

    #[test]
    fn an_update_that_counts_outlives_the_process_and_another_does_not() {
        let bytes = residual(true).to_bytes();
        assert_eq!(bytes.len(), 4 + 32 + 8 + 4 + 8 + 16);
        let read = Residual::from_bytes(&bytes);
        assert_eq!(read, Ok(Residual { kept: vec![0.0; 2], ..residual(true) }));
        let read = Residual::from_bytes(&residual(false).to_bytes());
        assert_eq!(read, Ok(Residual { latest: None, ..residual(false) }));
        let kept = Residual { kept: vec![1.0; 3], latest: None, ..residual(true) };
        assert_eq!(Residual::from_bytes(&kept.to_bytes()), Ok(kept));
    }

    #[test]
    fn other_bytes_are_refused() {
        let sound = residual(true).to_bytes();
        for end in 0..sound.len() {
            // Without the rest of the update it is sound again.
            let is_whole = end == sound.len() - 8;
            assert_eq!(Residual::from_bytes(&sound[..end]).is_ok(), is_whole, "{end}");
        }
        let with = |at: usize, byte: u8| {
            let mut bytes = sound.clone();
            bytes[at] = byte;
            Residual::from_bytes(&bytes)
        };
        assert_eq!(with(0, 1), Err(ResidualError), "another version");
        assert_eq!(with(48, 3), Err(ResidualError), "another number of values");
        assert_eq!(with(55, 255), Err(ResidualError), "more values than there can be");
        let infinite = [&sound[..56], &f32::INFINITY.to_le_bytes(), &sound[60..]].concat();
        assert_eq!(Residual::from_bytes(&infinite), Err(ResidualError));
    }
}
