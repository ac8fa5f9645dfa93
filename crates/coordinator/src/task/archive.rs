//! Records of participants that are not connected, by subject.
//!
//! Only records that say something are kept: of a participant without failures there
//! is nothing to remember.

use std::collections::{BTreeMap, HashMap};

use fedra_protocol::SubjectId;

use crate::round::Record;

/// Records kept, of about a hundred bytes each. Beyond that the oldest is dropped.
const CAPACITY: usize = 1 << 16;

/// Bounded store of records.
#[derive(Default)]
pub(super) struct Archive {
    records: HashMap<SubjectId, (u64, Record)>,
    /// Subjects by when their record was put in, oldest first.
    order: BTreeMap<u64, SubjectId>,
    next: u64,
}

impl Archive {
    /// Keeps the record of a subject, in place of an earlier one.
    pub(super) fn put(&mut self, subject: SubjectId, record: Record) {
        self.take(&subject);
        self.next += 1;
        self.records.insert(subject, (self.next, record));
        self.order.insert(self.next, subject);
        if self.records.len() > CAPACITY
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.records.remove(&oldest);
        }
    }

    /// Takes the record of a subject out; a clean one if there is none.
    pub(super) fn take(&mut self, subject: &SubjectId) -> Record {
        let Some((place, record)) = self.records.remove(subject) else {
            return Record::default();
        };
        self.order.remove(&place);
        record
    }
}

#[cfg(test)]
mod tests {
    use fedra_protocol::StandbyCause;

    use super::*;
    use crate::round::{Ending, Time};

    fn subject(number: u32) -> SubjectId {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        SubjectId::from_bytes(bytes)
    }

    #[test]
    fn a_record_is_kept_until_it_is_taken_and_the_oldest_goes_first() {
        let mut failed = Record::default();
        failed.note(Ending::Failed(StandbyCause::Lost), Time::default());
        let mut archive = Archive::default();
        archive.put(subject(0), failed);
        assert_eq!(archive.take(&subject(0)), failed);
        assert_eq!(archive.take(&subject(0)), Record::default());
        let all = CAPACITY as u32 + 10;
        (0..all).for_each(|number| archive.put(subject(number), failed));
        assert_eq!((archive.records.len(), archive.order.len()), (CAPACITY, CAPACITY));
        assert_eq!(archive.take(&subject(9)), Record::default());
        assert_eq!(archive.take(&subject(10)), failed);
    }
}
