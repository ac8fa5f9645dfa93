//! Pace steering (Bonawitz et al. 2019, section 2.3): clients that are not
//! needed for a while are sent away, and come back spread over time.

use rand::RngExt;

use super::pool::sample;
use super::{ClientId, Context, Effect};

/// Sends those of `waiting` away for whom the waiting room has no place. Who may
/// stay is drawn at random.
pub(super) fn steer(waiting: &[ClientId], context: &mut Context<'_>) {
    let Some(room) = context.plan.waiting_room else { return };
    let surplus = waiting.len().saturating_sub(room);
    let window = context.plan.retry_after..=context.plan.retry_after * 2;
    for client in sample(waiting, surplus, context.rng) {
        let after = context.rng.random_range(window.clone());
        context.pool.forget(client);
        context.effects.push(Effect::SendAway(client, after));
    }
}
