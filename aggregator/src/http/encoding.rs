//! Content codings that a client accepts (RFC 9110, section 12.5.3).

use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

/// A content coding that the server may have of a file. Of two that a client likes as
/// much, the earlier one is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Brotli,
    Gzip,
    Identity,
}

/// Preference of a client, in thousandths. The least there is has 0, which stands for
/// a coding that is accepted because nothing speaks against it.
type Weight = u16;

/// The codings that the client accepts, best first. Without the header it is the
/// identity, which every client understands.
pub(super) fn acceptable(headers: &HeaderMap) -> Vec<Coding> {
    let mut listed: Vec<(String, Weight)> = Vec::new();
    for value in headers.get_all(ACCEPT_ENCODING) {
        let elements = value.to_str().unwrap_or_default().split(',');
        listed.extend(elements.filter_map(element));
    }
    let weight = |names: &[&str]| {
        let named = listed.iter().filter(|(name, _)| names.contains(&name.as_str()));
        named.map(|(_, weight)| *weight).max()
    };
    let any = weight(&["*"]);
    let wanted = |names| weight(names).or(any).filter(|weight| *weight > 0);
    let identity = match weight(&["identity"]).or(any) {
        Some(0) => None,
        listed => Some(listed.unwrap_or(0)),
    };
    let weights = [
        (Coding::Brotli, wanted(&["br"])),
        (Coding::Gzip, wanted(&["gzip", "x-gzip"])),
        (Coding::Identity, identity),
    ];
    let mut accepted: Vec<_> =
        weights.into_iter().filter_map(|(coding, weight)| Some((coding, weight?))).collect();
    // The sort is stable.
    accepted.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
    accepted.into_iter().map(|(coding, _)| coding).collect()
}

/// The name of a coding in lower case, and its weight; `None` for what has no sound
/// weight.
fn element(text: &str) -> Option<(String, Weight)> {
    let (name, parameter) = match text.split_once(';') {
        Some((name, parameter)) => (name, Some(parameter)),
        None => (text, None),
    };
    let name = name.trim().to_ascii_lowercase();
    if name.is_empty() {
        return None;
    }
    let Some(parameter) = parameter else { return Some((name, 1000)) };
    let (key, value) = parameter.trim().split_once('=')?;
    if !key.eq_ignore_ascii_case("q") {
        return None;
    }
    Some((name, thousandths(value)?))
}

/// A number from 0 to 1 with at most three decimals.
fn thousandths(value: &str) -> Option<Weight> {
    let (whole, decimals) = value.split_once('.').unwrap_or((value, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let decimals: Weight = format!("{decimals:0<3}").parse().ok()?;
    match whole {
        "0" => Some(decimals),
        "1" => (decimals == 0).then_some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use Coding::{Brotli, Gzip, Identity};

    fn accepted(values: &[&str]) -> Vec<Coding> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(ACCEPT_ENCODING, HeaderValue::from_str(value).expect("visible"));
        }
        acceptable(&headers)
    }

    #[test]
    fn what_browsers_send() {
        assert_eq!(accepted(&["gzip, deflate, br, zstd"]), [Brotli, Gzip, Identity]);
        assert_eq!(accepted(&["gzip, deflate"]), [Gzip, Identity]);
    }

    #[test]
    fn without_a_list_it_is_the_identity() {
        assert_eq!(accepted(&[]), [Identity]);
        assert_eq!(accepted(&[""]), [Identity]);
        assert_eq!(accepted(&["zstd"]), [Identity]);
    }

    #[test]
    fn weights_decide_and_zero_is_a_no() {
        assert_eq!(accepted(&["br;q=0.5, gzip"]), [Gzip, Brotli, Identity]);
        assert_eq!(accepted(&["BR ; Q=0.001, GZIP;q=0"]), [Brotli, Identity]);
        assert_eq!(accepted(&["identity, br;q=0.9"]), [Identity, Brotli]);
        assert_eq!(accepted(&["gzip;q=1.000, br;q=0.999"]), [Gzip, Brotli, Identity]);
        assert_eq!(accepted(&["br", "x-gzip;q=0.5"]), [Brotli, Gzip, Identity]);
    }

    #[test]
    fn the_star_stands_for_what_is_not_listed() {
        assert_eq!(accepted(&["*"]), [Brotli, Gzip, Identity]);
        assert_eq!(accepted(&["*;q=0.5, gzip"]), [Gzip, Brotli, Identity]);
        assert_eq!(accepted(&["br, *;q=0"]), [Brotli]);
        assert_eq!(accepted(&["*;q=0, identity;q=0.1"]), [Identity]);
        assert_eq!(accepted(&["*;q=0"]), []);
    }

    #[test]
    fn the_identity_can_be_refused() {
        assert_eq!(accepted(&["identity;q=0, gzip"]), [Gzip]);
        assert_eq!(accepted(&["identity;q=0"]), []);
        assert_eq!(accepted(&["identity;q=0.0, *"]), [Brotli, Gzip]);
    }

    #[test]
    fn an_element_without_a_sound_weight_is_passed_over() {
        for broken in
            ["br;q=2", "br;q=-1", "br;q=1.5", "br;q=0.1234", "br;q=", "br;level=3", "br;q"]
        {
            assert_eq!(accepted(&[broken]), [Identity], "{broken}");
        }
        assert_eq!(accepted(&["br;q=x, gzip"]), [Gzip, Identity]);
    }
}
