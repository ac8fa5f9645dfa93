//! Refusals of the server: for good, for now, or to this token.

use std::time::Duration;

use fedra_protocol::{Refusal, RefusalCode, Token};

use super::{Action, COMING_BACK, GOODBYE, Session};
use crate::events::{ClientEvent, SessionState};
use crate::failure::{Course, Failure};

/// Fresh tokens that are tried after one that was refused.
const TOKEN_TRIES: u32 = 3;
/// The largest share of a wait that chance adds to it.
const SPREAD: f64 = 0.1;

/// A token that was refused already, with the server's words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct RefusedBefore(String);

/// State of the tokens so far.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    /// Token of the present connection.
    pub current: Option<Token>,
    /// The last one that was refused, and the server's words.
    refused: Option<(Token, String)>,
    tries: u32,
}

impl Tokens {
    /// The server has let the client in.
    pub fn accepted(&mut self) {
        self.refused = None;
        self.tries = 0;
    }

    /// Takes the token for a new connection.
    ///
    /// # Errors
    ///
    /// [`RefusedBefore`] for a token that would be refused again.
    pub fn take(&mut self, token: Option<Token>) -> Result<(), RefusedBefore> {
        match (&token, &self.refused) {
            (Some(token), Some((refused, message))) if token == refused => {
                Err(RefusedBefore(message.clone()))
            }
            _ => {
                self.current = token;
                Ok(())
            }
        }
    }

    /// The current one was refused. Whether another may do.
    fn refused(&mut self, message: &str) -> bool {
        let Some(token) = self.current.take() else {
            return false;
        };
        self.refused = Some((token, message.to_string()));
        self.tries += 1;
        self.tries <= TOKEN_TRIES
    }
}

impl Session {
    pub(super) fn refused(&mut self, refusal: Refusal, now: Duration) -> Vec<Action> {
        let Refusal { code, message, retry_after } = refusal;
        if code == RefusalCode::NotSelected {
            return self.sent_away(retry_after, now);
        }
        let failure = Failure::Refused(code);
        let comes_back = match failure.course() {
            Course::BackOff => true,
            Course::BackOffIfTold => retry_after.is_some(),
            Course::FreshToken => self.tokens.refused(&message),
            Course::UntilNewData | Course::UntilNewModel | Course::End => false,
        };
        if comes_back {
            self.come_back(failure, message, retry_after, now)
        } else {
            self.give_up(failure, message)
        }
    }

    /// Keeps its work, and tries again later.
    fn come_back(
        &mut self,
        failure: Failure,
        message: String,
        retry_after: Option<Duration>,
        now: Duration,
    ) -> Vec<Action> {
        let delay = self.next_delay(now).max(self.spread(retry_after.unwrap_or_default()));
        vec![
            Action::Emit(ClientEvent::problem(failure, message)),
            Action::Disconnect { code: COMING_BACK },
            self.wait(delay, SessionState::Reconnecting, now),
        ]
    }

    /// Is not wanted for now, which is no problem.
    fn sent_away(&mut self, retry_after: Option<Duration>, now: Duration) -> Vec<Action> {
        let delay = match retry_after {
            Some(after) => self.spread(after),
            None => self.next_delay(now),
        };
        let mut actions = self.end_work();
        actions.push(Action::Disconnect { code: GOODBYE });
        actions.push(self.wait(delay, SessionState::Waiting, now));
        actions
    }

    /// A little more, so that those who were sent away together come back apart.
    fn spread(&self, delay: Duration) -> Duration {
        delay.mul_f64(1.0 + SPREAD * self.jitter.clamp(0.0, 1.0))
    }
}
