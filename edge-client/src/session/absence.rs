//! Causes that keep a connected client out of rounds: a failure of its own, or the
//! server, which leaves it out for a while.

use std::time::Duration;

use fedra_protocol::{Sha256Hash, Standby, StandbyCause};

use super::backoff::Backoff;
use crate::codes::StatusReason;
use crate::failure::{Course, Failure};

/// Waits after failures of a round's work.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// Both of them, across reconnects.
#[derive(Debug)]
pub(super) struct Absence {
    outage: Option<(Failure, Until)>,
    standby: Option<(StandbyCause, Duration)>,
    backoff: Backoff,
}

/// Time until which a failure keeps the client out.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Until {
    NewData,
    /// There is another model than this one.
    NewModel(Sha256Hash),
    Time(Duration),
}

/// Absence of the client, as its owner is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Absent {
    pub reason: StatusReason,
    /// Time at which it ends, if time alone ends it.
    pub until: Option<Duration>,
}

impl Absence {
    pub fn new() -> Self {
        Self { outage: None, standby: None, backoff: Backoff::new(FIRST, LONGEST) }
    }

    /// Work with `model` has failed.
    pub fn failed(&mut self, failure: Failure, model: Sha256Hash, now: Duration, jitter: f64) {
        let until = match failure.course() {
            Course::UntilNewData => Until::NewData,
            Course::UntilNewModel => Until::NewModel(model),
            Course::BackOff | Course::BackOffIfTold | Course::FreshToken | Course::End => {
                Until::Time(now + self.backoff.next(jitter))
            }
        };
        self.outage = Some((failure, until));
    }

    /// The server leaves the client out.
    pub fn stand_by(&mut self, standby: &Standby, now: Duration) {
        self.standby = Some((standby.cause, now + standby.retry_after));
    }

    /// The server has invited the client.
    pub fn invited(&mut self) {
        self.standby = None;
    }

    /// An update counts.
    pub fn succeeded(&mut self) {
        self.backoff.reset();
    }

    /// There are other examples. Whether that ends an outage.
    pub fn new_data(&mut self) -> bool {
        self.outage.take().is_some()
    }

    /// This is the newest model. Whether that ends an outage.
    pub fn newest_model(&mut self, model: Sha256Hash) -> bool {
        self.end_outage(|until| matches!(until, Until::NewModel(failed) if failed != model))
    }

    /// The next server may have another plan for the same model.
    pub fn disconnected(&mut self) {
        self.end_outage(|until| matches!(until, Until::NewModel(_)));
    }

    /// Forgets what is over by now. Whether there was anything.
    pub fn pass(&mut self, now: Duration) -> bool {
        let outage = self.end_outage(|until| matches!(until, Until::Time(at) if at <= now));
        let standby = self.standby.take_if(|(_, until)| *until <= now).is_some();
        outage || standby
    }

    fn end_outage(&mut self, is_over: impl Fn(Until) -> bool) -> bool {
        self.outage.take_if(|(_, until)| is_over(*until)).is_some()
    }

    /// The failure that keeps the client out.
    pub fn outage(&self) -> Option<Absent> {
        self.outage.map(|(failure, until)| Absent {
            reason: StatusReason::Failure(failure),
            until: match until {
                Until::Time(at) => Some(at),
                Until::NewData | Until::NewModel(_) => None,
            },
        })
    }

    /// Reason why the server leaves the client out.
    pub fn standby(&self) -> Option<Absent> {
        self.standby.map(|(cause, until)| Absent {
            reason: StatusReason::Standby(cause),
            until: Some(until),
        })
    }

    /// Time at which time ends the first of them.
    pub fn deadline(&self) -> Option<Duration> {
        [self.outage(), self.standby()]
            .into_iter()
            .flatten()
            .filter_map(|absent| absent.until)
            .min()
    }
}
