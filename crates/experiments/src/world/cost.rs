//! Epsilon spent so far: the task's, or that of the clients' DP-SGD.

use std::collections::BTreeMap;

use fedra_learning::{BatchOrder, ExamplePrivacy};
use fedra_protocol::RoundId;

use super::World;

/// Clients' promise to their examples, and the trainings that it has paid for.
pub(super) struct ExampleCosts {
    privacy: Option<ExamplePrivacy>,
    /// Rounds for which each client has trained; an abandoned attempt is one, too.
    trainings: BTreeMap<usize, Vec<u64>>,
}

impl ExampleCosts {
    pub(super) fn new(privacy: Option<ExamplePrivacy>) -> Self {
        Self { privacy, trainings: BTreeMap::new() }
    }

    /// Terms of a client's training in a round, which counts from now on.
    pub(super) fn begin(&mut self, client: usize, round: RoundId) -> Option<ExamplePrivacy> {
        let privacy = self.privacy?;
        self.trainings.entry(client).or_default().push(round.round);
        Some(privacy)
    }
}

impl World {
    /// Epsilon after a round, of the task's policy. Without one, the largest that an example
    /// has had from its client's trainings, if they are DP-SGD.
    pub(super) fn epsilon(&self, round: u64) -> Option<f64> {
        let policy = self.server.view().privacy.map(|spent| spent.epsilon);
        policy.or_else(|| Some(self.epsilon_of_examples(self.costs.privacy?, round)))
    }

    fn epsilon_of_examples(&self, privacy: ExamplePrivacy, last: u64) -> f64 {
        let plan = &self.server.settings.training;
        // Clients with as many examples pay the same for a training.
        let mut most = BTreeMap::<usize, u64>::new();
        for (&client, rounds) in &self.costs.trainings {
            let trainings = rounds.iter().filter(|&&round| round <= last).count() as u64;
            let of = most.entry(self.clients[client].own.len()).or_default();
            *of = trainings.max(*of);
        }
        let costs = most.into_iter().map(|(own, trainings)| {
            let order = BatchOrder::new(plan, own);
            let steps = u32::try_from(order.steps().saturating_mul(trainings));
            let cost = privacy.cost(order.examples(), plan.batch_size(), steps.unwrap_or(u32::MAX));
            cost.epsilon().value()
        });
        costs.fold(0.0, f64::max)
    }
}
