//! Checks after every step, seen from outside: in the store, in the models, and in the
//! messages to clients.

use std::collections::{BTreeMap, BTreeSet};

use fedra_learning::safetensors;
use fedra_protocol::{
    ModelRef, ModelSpec, RoundId, ServerMessage, Sha256Hash, TaskId, UpdateVerdict,
};

use crate::client::{Client, client_of};
use crate::scenario::Kind;
use fedra_coordinator::settings::TaskSettings;
use fedra_coordinator::status::HISTORY;
use fedra_coordinator::storage::{Debit, RoundRecord, Storage};

/// Room for rounding in a sum of 32-bit parameters.
const TOLERANCE: f64 = 0.05;
/// The same under policies that add some noise.
const NOISE: f64 = 0.3;

pub(crate) struct Checks {
    task: TaskId,
    spec: ModelSpec,
    kind: Kind,
    minimum_reports: usize,
    /// Participations that a policy grants each subject.
    most_participations: u32,
    /// Durable rounds that were looked at; the initial model is the first.
    records: Vec<(RoundRecord, Vec<f32>)>,
    invited: BTreeSet<(RoundId, usize)>,
    accepted: BTreeSet<(RoundId, usize)>,
    /// Number of times that each client is in a model.
    counted: BTreeMap<usize, u64>,
    /// True if the last verdict that was sent had been sent before.
    repeated: bool,
    problem: Option<String>,
}

impl Checks {
    pub(crate) fn new(task: &TaskSettings, kind: Kind) -> Self {
        Self {
            task: task.id.clone(),
            spec: task.model.clone(),
            kind,
            minimum_reports: task.plan.minimum_reports,
            most_participations: task.policy().map_or(0, |policy| policy.max_participations),
            records: Vec::new(),
            invited: BTreeSet::new(),
            accepted: BTreeSet::new(),
            counted: BTreeMap::new(),
            repeated: false,
            problem: None,
        }
    }

    /// Completed rounds in the store.
    pub(crate) fn rounds(&self) -> u64 {
        (self.records.len() as u64).saturating_sub(1)
    }

    pub(crate) fn is_repeated(&self) -> bool {
        self.repeated
    }

    fn complain(&mut self, problem: String) {
        self.problem.get_or_insert(problem);
    }

    /// Result of the checks so far, after a look at the store.
    pub(crate) fn verdict(&mut self, store: &Storage) -> Result<(), String> {
        self.look_at(store);
        self.problem.clone().map_or(Ok(()), Err)
    }

    /// Voids what clients were told of rounds that are not durable.
    pub(crate) fn server_crashed(&mut self) {
        let rounds = self.rounds();
        self.accepted.retain(|(round, _)| round.round <= rounds);
    }

    /// A model is announced: it has to be the newest that is durable.
    pub(crate) fn published(&mut self, sha256: Sha256Hash, store: &Storage) {
        self.look_at(store);
        if self.records.last().is_none_or(|(record, _)| record.sha256 != sha256) {
            self.complain(format!("the model {sha256} is announced before it is durable"));
        }
    }

    /// A client is told something.
    pub(crate) fn sent(&mut self, client: usize, message: &ServerMessage, store: &Storage) {
        match message {
            ServerMessage::CheckedIn(checked_in) => {
                self.told_of(&checked_in.status.model, store);
            }
            ServerMessage::TaskStatus(status) => self.told_of(&status.model, store),
            ServerMessage::RoundAssignment(assignment) => {
                self.told_of(&assignment.model, store);
                self.invited.insert((assignment.round, client));
            }
            ServerMessage::UpdateOutcome(outcome) if outcome.verdict == UpdateVerdict::Accepted => {
                self.repeated = !self.accepted.insert((outcome.round, client));
            }
            _ => {}
        }
    }

    fn told_of(&mut self, model: &ModelRef, store: &Storage) {
        self.look_at(store);
        let round = usize::try_from(model.round).unwrap_or(usize::MAX);
        match self.records.get(round) {
            Some((record, _)) if record.sha256 == model.sha256 => {}
            Some((record, _)) => {
                let known = record.sha256;
                let told = model.sha256;
                self.complain(format!(
                    "a client is told of {told} as the model of round {round}, and durable is {known}"
                ));
            }
            None => {
                self.complain(format!("a client is told of round {round} before it is durable"));
            }
        }
    }

    /// Verifies the rounds that are new in the store, and that none is missing.
    fn look_at(&mut self, store: &Storage) {
        let Ok(history) = store.tasks.records(&self.task, HISTORY) else { return };
        let known = self.records.len();
        if history.len() < known {
            self.complain(format!("of {known} durable rounds {} are left", history.len()));
            return;
        }
        for (record, (seen, _)) in history.iter().zip(&self.records) {
            if record.sha256 != seen.sha256 {
                let problem = format!("the model of round {} has changed", record.round);
                self.problem.get_or_insert(problem);
            }
        }
        for record in history.into_iter().skip(known) {
            match self.model_of(&record, store) {
                Ok(parameters) => {
                    if let Err(problem) = self.verify(&record, &parameters, store) {
                        let (round, attempt) = (record.round, record.attempt);
                        self.complain(format!("round {round}.{attempt}: {problem}"));
                    }
                    self.records.push((record, parameters));
                }
                Err(problem) => self.complain(problem),
            }
        }
    }

    fn model_of(&self, record: &RoundRecord, store: &Storage) -> Result<Vec<f32>, String> {
        let file = store.model(&self.task, &record.sha256).map_err(|error| error.to_string())?;
        let file = file.ok_or_else(|| format!("round {} has no model", record.round))?;
        if Sha256Hash::of(&file) != record.sha256 {
            return Err(format!("the model of round {} is not what its hash says", record.round));
        }
        safetensors::read(&self.spec, &file).map_err(|error| error.to_string())
    }

    fn verify(
        &mut self,
        record: &RoundRecord,
        parameters: &[f32],
        store: &Storage,
    ) -> Result<(), String> {
        let Some((before, start)) = self.records.last() else { return Ok(()) };
        if record.round != before.round + 1 {
            return Err(format!("it follows round {}", before.round));
        }
        if let Some(to) = record.restored {
            let restored = self.records.get(usize::try_from(to).unwrap_or(usize::MAX));
            let same = restored.is_some_and(|(earlier, _)| earlier.sha256 == record.sha256);
            return if same { Ok(()) } else { Err(format!("it is not the model of round {to}")) };
        }
        let debit = if self.kind.is_private() { Some(self.debit_of(record, store)?) } else { None };
        // Buffered rounds go on with what they have when all who were invited failed.
        if self.kind != Kind::Buffered && (record.reports as usize) < self.minimum_reports {
            let minimum = self.minimum_reports;
            return Err(format!("it has {} reports and needs {minimum}", record.reports));
        }
        if self.kind == Kind::Private {
            return Ok(());
        }
        let change = parameters.iter().zip(start).map(|(new, old)| f64::from(new - old));
        let is_private = self.kind.is_private();
        let weight = |client| if is_private { 1 } else { Client::weight(client) };
        let tolerance = if is_private { NOISE } else { TOLERANCE };
        let times = times_counted(change, record.weight, weight, tolerance)?;
        let reports: u64 = times.values().sum();
        if reports != u64::from(record.reports) {
            return Err(format!(
                "{reports} updates are counted, and {} were reported",
                record.reports
            ));
        }
        let weight: u64 = times.iter().map(|(client, times)| times * weight(*client)).sum();
        if weight != record.weight {
            return Err(format!("a weight of {weight} is counted, not {}", record.weight));
        }
        let round = RoundId { round: record.round, attempt: record.attempt };
        if !self.kind.is_buffered() {
            return self.counted_once(round, &times);
        }
        if let Some(debit) = debit {
            paid_for_once(&debit, &times, self.kind)?;
        }
        self.counted_at_most_once_an_invitation(&times)
    }

    /// The debit that pays for a round; no subject has more debits than it may.
    fn debit_of(&self, record: &RoundRecord, store: &Storage) -> Result<Debit, String> {
        let debits = store.tasks.debits(&self.task).map_err(|error| error.to_string())?;
        let mut participations = BTreeMap::new();
        for subject in debits.iter().flat_map(|debit| &debit.subjects) {
            let count = participations.entry(client_of(subject)).or_insert(0);
            *count += 1;
            if *count > self.most_participations {
                return Err(format!("client {} is debited {count} times", client_of(subject)));
            }
        }
        let paid = |debit: &Debit| (debit.round, debit.attempt) == (record.round, record.attempt);
        let mut paid = debits.into_iter().filter(paid);
        match (paid.next(), paid.next()) {
            (Some(debit), None) => Ok(debit),
            (None, _) => Err("it was released, and the ledger has no debit for it".to_owned()),
            (Some(_), Some(_)) => Err("it is debited twice".to_owned()),
        }
    }

    /// Clients that the ledger leaves a participation.
    pub(crate) fn unspent(&self, clients: usize, store: &Storage) -> BTreeSet<usize> {
        let mut debited = BTreeMap::new();
        for debit in store.tasks.debits(&self.task).unwrap_or_default() {
            for subject in &debit.subjects {
                *debited.entry(client_of(subject)).or_insert(0) += 1;
            }
        }
        let has_left =
            |client: &usize| debited.get(client).is_none_or(|n| *n < self.most_participations);
        (0..clients).filter(has_left).collect()
    }

    fn counted_once(&self, round: RoundId, times: &BTreeMap<usize, u64>) -> Result<(), String> {
        for (client, times) in times {
            if *times > 1 {
                return Err(format!("client {client} is counted {times} times"));
            }
            if !self.invited.contains(&(round, *client)) {
                return Err(format!("client {client} is counted though it was not invited"));
            }
        }
        for (_, client) in self.accepted.iter().filter(|(accepted, _)| *accepted == round) {
            if !times.contains_key(client) {
                return Err(format!("client {client} was accepted and is not counted"));
            }
        }
        Ok(())
    }

    fn counted_at_most_once_an_invitation(
        &mut self,
        times: &BTreeMap<usize, u64>,
    ) -> Result<(), String> {
        for (client, times) in times {
            let counted = self.counted.entry(*client).or_default();
            *counted += times;
            let invitations = self.invited.iter().filter(|(_, c)| c == client).count() as u64;
            if *counted > invitations {
                return Err(format!(
                    "client {client} is counted {counted} times after {invitations} invitations"
                ));
            }
        }
        Ok(())
    }
}

/// Each client that counts is named in the debit, and counts once. No other is, unless masked
/// updates were paid for when they were asked for.
fn paid_for_once(debit: &Debit, times: &BTreeMap<usize, u64>, kind: Kind) -> Result<(), String> {
    let mut named: Vec<usize> = debit.subjects.iter().map(client_of).collect();
    if kind.is_masked() {
        named.retain(|client| times.contains_key(client));
        named.sort_unstable();
    }
    let counted: Vec<usize> = times.keys().copied().collect();
    if named != counted {
        return Err(format!("clients {named:?} are debited, and {counted:?} are counted"));
    }
    match times.iter().find(|(_, times)| **times != 1) {
        Some((client, times)) => Err(format!("client {client} is counted {times} times")),
        None => Ok(()),
    }
}

/// Number of times that each client is in a mean: its place in the model has changed by
/// its share of the weight.
fn times_counted(
    change: impl Iterator<Item = f64>,
    weight: u64,
    weight_of: impl Fn(usize) -> u64,
    tolerance: f64,
) -> Result<BTreeMap<usize, u64>, String> {
    let mut counted = BTreeMap::new();
    for (client, change) in change.enumerate() {
        let times = change * weight as f64 / weight_of(client) as f64;
        if (times - times.round()).abs() > tolerance || times < -tolerance {
            return Err(format!("client {client} is counted {times} times"));
        }
        if times.round() > 0.0 {
            counted.insert(client, times.round() as u64);
        }
    }
    Ok(counted)
}
