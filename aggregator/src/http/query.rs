//! Query of a request: one whole number, or nothing.

use std::convert::Infallible;

use thiserror::Error;
use warp::Filter;

/// Query that an address does not take.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the query is `{0}=n` with a whole number, or nothing")]
pub(super) struct BadQuery(&'static str);

/// The query as it was sent; empty without one.
pub(super) fn raw() -> impl Filter<Extract = (String,), Error = Infallible> + Copy {
    warp::query::raw().or(warp::any().map(String::new)).unify()
}

/// The number that the query names so.
pub(super) fn number(query: &str, name: &'static str) -> Result<Option<u64>, BadQuery> {
    if query.is_empty() {
        return Ok(None);
    }
    let number = query.split_once('=').filter(|(key, _)| *key == name);
    let number = number.and_then(|(_, number)| number.parse().ok());
    number.map(Some).ok_or(BadQuery(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_one_number_or_nothing() {
        assert_eq!(number("", "round"), Ok(None));
        assert_eq!(number("round=3", "round"), Ok(Some(3)));
        for bad in ["round", "round=", "round=x", "round=-1", "rounds=3", "round=3&round=4"] {
            assert_eq!(number(bad, "round"), Err(BadQuery("round")), "{bad}");
        }
    }
}
