//! An update on its way: announced, given room, received, checked and passed on.

use bytes::Bytes;
use fedra_aggregation::{CheckedUpdate, UpdateError};
use fedra_protocol::{
    RefusalCode, RoundId, ServerMessage, UpdateBegin, UpdateChunk, UpdateFault, UpdateVerdict,
};

use super::Output;
use super::member::{Member, outcome};
use super::refusal::refusal;
use crate::participation::{Part, Settled, Upload, UploadProgress};
use crate::round::{Stage, Time};
use crate::writer::{Contribution, Received, Room};

impl Member {
    pub(super) fn begin(&mut self, begin: UpdateBegin, out: &mut Vec<Output>) {
        let round = begin.round;
        if let Some(Settled { begin: known, verdict }) = &self.participation.settled
            && *known == begin
        {
            // It never heard: the verdict stands, and nothing counts twice.
            let verdict = *verdict;
            self.participation.over = Some(round);
            out.push(Output::Send(outcome(round, verdict, "")));
            return;
        }
        let again = self.announced.replace(round) == Some(round);
        let part = match &self.participation.part {
            Some((known, part)) if *known == round => part,
            _ => return self.misplaced(round, out),
        };
        let verdict = match part {
            Part::Working(Stage::Update | Stage::MaskedInput) => return self.queue(begin, out),
            Part::Sending(upload, _) if *upload.begin() == begin => {
                let offset = upload.received();
                self.participation.over = None;
                out.push(Output::Send(ServerMessage::UploadReady { round, offset }));
                return;
            }
            Part::Queued(known) | Part::Checking(known, _) | Part::Judging(Some(known), _)
                if *known == begin =>
            {
                return;
            }
            // The client has started over, for example in a new process.
            Part::Sending(..) if !again => return self.queue(begin, out),
            Part::Working(_) => return self.refuse(round, UpdateFault::WrongStep, "", out),
            Part::Queued(_)
            | Part::Sending(..)
            | Part::Checking(..)
            | Part::Judging(..)
            | Part::Judged => UpdateVerdict::Rejected(UpdateFault::Duplicate),
            Part::Left => UpdateVerdict::Rejected(UpdateFault::NotInCohort),
            Part::Dismissed => UpdateVerdict::Discarded(UpdateFault::RoundOver),
        };
        self.outcome(round, verdict, "", out);
    }

    /// The update waits for room, if what was announced is what the task takes:
    /// that is found out before a byte is allocated.
    fn queue(&mut self, begin: UpdateBegin, out: &mut Vec<Output>) {
        let (round, config) = (begin.round, &self.settings);
        let length = config.payload(round.round).codec.bounds().bytes;
        let most = config.plan.max_weight;
        if !length.admits(begin.bytes) {
            let message = format!("{} bytes announced, the round needs {length}", begin.bytes);
            return self.refuse(round, UpdateFault::WrongLength, &message, out);
        }
        if !(1..=most).contains(&begin.examples) {
            let message = format!("{} examples, the task takes 1 to {most}", begin.examples);
            return self.refuse(round, UpdateFault::WeightOutOfRange, &message, out);
        }
        self.participation.part = Some((round, Part::Queued(begin)));
    }

    pub(super) fn start_upload(&mut self, room: Room, now: Time, out: &mut Vec<Output>) {
        let Some((round, Part::Queued(begin))) = &self.participation.part else { return };
        let (round, upload) = (*round, Upload::new(begin.clone(), self.pace, now));
        self.participation.part = Some((round, Part::Sending(upload, room)));
        self.participation.over = None;
        out.push(Output::Send(ServerMessage::UploadReady { round, offset: 0 }));
    }

    /// An upload that is too slow ends its connection: the next may begin again. One
    /// that an earlier connection has left only gives its room back.
    pub(super) fn time_passed(&mut self, now: Time, out: &mut Vec<Output>) {
        let announced = self.announced == self.round();
        if self.participation.drop_slow_upload(now) && announced {
            let message = "the update arrives too slowly; connect again and begin it anew";
            out.push(Output::End(refusal(RefusalCode::Timeout, message)));
        }
    }

    pub(super) fn chunk(&mut self, chunk: &UpdateChunk, out: &mut Vec<Output>) {
        let round = chunk.round;
        if self.participation.over == Some(round) {
            return;
        }
        match &mut self.participation.part {
            // A connection that has not announced the update has no business here.
            Some((known, Part::Sending(upload, _)))
                if *known == round && self.announced == Some(round) =>
            {
                match upload.receive_chunk(chunk) {
                    Ok(UploadProgress::Partly) => {}
                    Ok(UploadProgress::Whole(bytes)) => self.whole(bytes, out),
                    Err(fault) => self.refuse(round, fault, "", out),
                }
            }
            Some((known, Part::Working(_) | Part::Queued(_) | Part::Sending(..)))
                if *known == round =>
            {
                let message = "a chunk before UpdateBegin was answered by UploadReady";
                self.refuse(round, UpdateFault::WrongOffset, message, out);
            }
            Some((known, Part::Checking(..) | Part::Judging(..))) if *known == round => {
                self.refuse_duplicate(round, out);
            }
            _ => self.misplaced(round, out),
        }
    }

    pub(super) fn refuse_duplicate(&mut self, round: RoundId, out: &mut Vec<Output>) {
        self.participation.over = Some(round);
        let verdict = UpdateVerdict::Rejected(UpdateFault::Duplicate);
        self.outcome(round, verdict, "", out);
    }

    /// The update is complete: has it checked, and then the coordinator judge it.
    fn whole(&mut self, bytes: Bytes, out: &mut Vec<Output>) {
        let Some((round, Part::Sending(upload, room))) = self.participation.part.take() else {
            return;
        };
        self.participation.part = Some((round, Part::Checking(upload.begin().clone(), room)));
        out.push(Output::Check(bytes, self.settings.payload(round.round).codec));
    }

    pub(super) fn checked(
        &mut self,
        result: Result<CheckedUpdate, UpdateError>,
        out: &mut Vec<Output>,
    ) {
        let checking = matches!(&self.participation.part, Some((_, Part::Checking(..))));
        // It may have left, or the round may be over.
        let Some((round, Part::Checking(begin, room))) =
            self.participation.part.take_if(|_| checking)
        else {
            return;
        };
        match result {
            Ok(update) => {
                let received = Received { update, room };
                let contribution = Contribution::Update(received, begin.examples);
                let stage = self.settings.plan.upload_stage();
                self.report(round, stage, Some(begin), contribution, out);
            }
            Err(error) => self.refuse(round, fault_of(&error), &error.to_string(), out),
        }
    }
}

fn fault_of(error: &UpdateError) -> UpdateFault {
    match error {
        UpdateError::WrongLength { .. } => UpdateFault::WrongLength,
        UpdateError::NotFinite { .. } => UpdateFault::NotFinite,
        UpdateError::OutOfRange { .. }
        | UpdateError::Padding
        | UpdateError::Scale { .. }
        | UpdateError::Positions { .. } => UpdateFault::OutOfRange,
    }
}
