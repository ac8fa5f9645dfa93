//! Authorization of calls to the admin API: they need the operator's token.
//!
//! A call without it is answered late and counted. Neither the answer nor the log
//! says anything of what was presented.

use std::net::IpAddr;
use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::error::AdminError;
use crate::config::OperatorToken;
use crate::metrics::Metrics;

/// Time for which a refusal is held back.
const DELAY: Duration = Duration::from_millis(250);
/// Refusals that are held back at the same time. Beyond them calls are refused at
/// once, and not logged.
const HELD_BACK: usize = 16;

/// Lets operators through.
pub(super) struct Authorization {
    held_back: Semaphore,
}

impl Authorization {
    pub(super) fn new() -> Self {
        Self { held_back: Semaphore::new(HELD_BACK) }
    }

    /// Decides if a call from this address may go on. A call with the token never
    /// waits.
    pub(super) async fn admit(
        &self,
        token: Option<OperatorToken>,
        headers: &HeaderMap,
        address: Option<IpAddr>,
        metrics: &Metrics,
    ) -> Result<(), AdminError> {
        let Some(token) = token else { return Err(AdminError::NotEnabled) };
        let presented = bearer(headers);
        if presented.is_some_and(|presented| token.matches(presented)) {
            return Ok(());
        }
        metrics.admin_denied.increment(1);
        let Ok(_place) = self.held_back.try_acquire() else { return Err(AdminError::TooMany) };
        let reason = if presented.is_some() { "wrong token" } else { "no token" };
        let address = address.map(tracing::field::display);
        tracing::warn!(reason, address, "admin call refused");
        sleep(DELAY).await;
        Err(AdminError::Unauthorized)
    }
}

/// The token in the one `Authorization: Bearer` header.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn headers(values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn only_a_single_bearer_counts() {
        assert_eq!(bearer(&headers(&["Bearer abc"])), Some(&b"abc"[..]));
        assert_eq!(bearer(&headers(&["bearer  abc "])), Some(&b"abc"[..]));
        for none in [&[][..], &["Basic abc"], &["Bearer"], &["abc"], &["Bearer abc", "Bearer abc"]]
        {
            assert_eq!(bearer(&headers(none)), None, "{none:?}");
        }
    }

    #[tokio::test]
    async fn a_flood_of_wrong_tokens_is_turned_away_at_once_but_the_right_one_is_let_in() {
        let (authorization, token) = (Authorization::new(), OperatorToken::new(TOKEN).ok());
        let metrics = Metrics::new();
        let wrong = headers(&["Bearer x"]);
        let right = HeaderMap::from_iter([(
            AUTHORIZATION,
            HeaderValue::from_str(&format!("Bearer {TOKEN}")).expect("visible"),
        )]);
        let flood = futures_util::future::join_all(
            (0..40).map(|_| authorization.admit(token, &wrong, None, &metrics)),
        );
        let operator = async {
            tokio::task::yield_now().await;
            authorization.admit(token, &right, None, &metrics).await
        };
        let (refused, let_in) = tokio::join!(flood, operator);
        assert!(let_in.is_ok());
        let late = refused.iter().filter(|r| matches!(r, Err(AdminError::Unauthorized))).count();
        let at_once = refused.iter().filter(|r| matches!(r, Err(AdminError::TooMany))).count();
        assert_eq!((late, at_once), (HELD_BACK, 40 - HELD_BACK));
        assert!(metrics.render().contains("fedra_admin_denied_total 40"));
    }

    #[tokio::test]
    async fn without_a_token_in_the_config_nobody_is_let_in() {
        let (headers, metrics) = (headers(&["Bearer "]), Metrics::new());
        let answer = Authorization::new().admit(None, &headers, None, &metrics).await;
        assert!(matches!(answer, Err(AdminError::NotEnabled)));
    }
}
