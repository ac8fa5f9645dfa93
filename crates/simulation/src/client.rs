//! A simulated device: the production session, with made-up training.

use std::time::Duration;

use bytes::Bytes;
use fedra_edge_client::PrivacyFloors;
use fedra_edge_client::secure_round::SecureRound;
use fedra_edge_client::session::Session;
use fedra_edge_client::{Consent, PrivacyConfig};
use fedra_protocol::{RoundAssignment, SubjectId, TaskId};

use crate::network::LinkId;
use crate::scenario::Manner;

pub(crate) struct Client {
    pub manner: Manner,
    pub subject: SubjectId,
    /// `None` while the device is off.
    pub session: Option<Session>,
    /// Number of times that the device was switched on.
    pub lives: u64,
    pub link: Option<LinkId>,
    /// The training under way, and its number.
    pub work: Option<(RoundAssignment, u64)>,
    pub works: u64,
    /// State of the round's secure aggregation.
    pub secret: Option<SecureRound>,
    pub frozen_until: Duration,
    pub timer: Option<Duration>,
    /// Survives the device's death, as what is on a disk does.
    pub participations: u32,
}

impl Client {
    pub(crate) fn new(number: usize, manner: Manner) -> Self {
        Self {
            manner,
            subject: subject(number, 0),
            session: None,
            lives: 0,
            link: None,
            work: None,
            works: 0,
            secret: None,
            frozen_until: Duration::ZERO,
            timer: None,
            participations: 0,
        }
    }

    /// Switches the device on.
    pub(crate) fn start(&mut self, task: TaskId) {
        let privacy = PrivacyConfig {
            floors: PrivacyFloors::default(),
            consent: Consent::Granted,
            subject: self.subject,
            participations: self.participations,
        };
        self.session = Some(Session::new(task, privacy));
        self.lives += 1;
        self.link = None;
        self.work = None;
        self.secret = None;
        self.timer = None;
    }

    /// Examples that the client has: its weight in the average.
    pub(crate) fn weight(number: usize) -> u64 {
        1 + 3 * number as u64
    }

    /// Update of a client in any round: one at its own place.
    pub(crate) fn update(number: usize, clients: usize) -> Bytes {
        Self::values(number, clients).into_iter().flat_map(f32::to_le_bytes).collect()
    }

    pub(crate) fn values(number: usize, clients: usize) -> Vec<f32> {
        (0..clients).map(|place| if place == number { 1.0 } else { 0.0 }).collect()
    }
}

/// Client that a subject stands for.
pub(crate) fn client_of(subject: &SubjectId) -> usize {
    usize::from(subject.as_bytes()[0])
}

fn subject(number: usize, life: u64) -> SubjectId {
    let mut bytes = [0; 16];
    bytes[0] = number as u8;
    bytes[8..].copy_from_slice(&life.to_le_bytes());
    SubjectId::from_bytes(bytes)
}
