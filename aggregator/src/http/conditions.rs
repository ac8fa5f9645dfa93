//! Preconditions and ranges of a request for one representation (RFC 9110,
//! sections 13 and 14), and the answer that they lead to.
//!
//! Representations have a strong entity tag and no modification date, so
//! conditions on dates are ignored, as the RFC asks.

use std::ops::Range;

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName,
    IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use warp::reply::Response;

use super::problem::problem;

/// The part of a representation that a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Whole,
    /// A range that is not empty and lies within the representation.
    Part(Range<usize>),
    /// The client has it already.
    NotModified,
    /// The client wants it only if it were another one.
    Failed,
    /// No byte of the representation is in the range.
    Unsatisfiable,
}

/// A representation without its bytes.
#[derive(Debug, Clone)]
pub(super) struct Representation {
    /// The strong entity tag, with its quotation marks.
    pub(super) tag: HeaderValue,
    /// Bytes; unknown as long as they are not made.
    pub(super) length: Option<usize>,
    pub(super) kind: HeaderValue,
    pub(super) cache: HeaderValue,
}

impl Representation {
    /// Evaluates the preconditions in the order of RFC 9110, section 13.2.2, and then
    /// the range. `headers` are those of a GET or HEAD.
    pub(super) fn judge(&self, method: &Method, headers: &HeaderMap) -> Verdict {
        let tag = self.tag.as_bytes();
        if listed(headers, &IF_MATCH, tag, Comparison::Strong) == Some(false) {
            return Verdict::Failed;
        }
        if listed(headers, &IF_NONE_MATCH, tag, Comparison::Weak) == Some(true) {
            return Verdict::NotModified;
        }
        if *method != Method::GET {
            return Verdict::Whole;
        }
        let current = headers.get(IF_RANGE).is_none_or(|known| known.as_bytes() == tag);
        match self.length {
            Some(length) if current => range(headers, length),
            _ => Verdict::Whole,
        }
    }

    /// The answer. `bytes` is the whole representation; without it, for HEAD, only
    /// its head is described. Part and Unsatisfiable come only of a known length.
    pub(super) fn answer(&self, verdict: Verdict, bytes: Option<Bytes>) -> Response {
        let mut response = match verdict {
            Verdict::Failed => {
                return problem(StatusCode::PRECONDITION_FAILED, "it is another one by now");
            }
            Verdict::Unsatisfiable => {
                let length = self.length.unwrap_or_default();
                let detail = format!("it has {length} bytes, none of them in this range");
                let mut response = problem(StatusCode::RANGE_NOT_SATISFIABLE, &detail);
                insert(&mut response, CONTENT_RANGE, &format!("bytes */{length}"));
                return response;
            }
            Verdict::NotModified => {
                let mut response = Response::default();
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                response
            }
            Verdict::Whole => self.described(bytes),
            Verdict::Part(range) => {
                let Range { start, end } = range.clone();
                let mut response = self.described(bytes.map(|bytes| bytes.slice(range)));
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                let length = self.length.unwrap_or_default();
                let place = format!("bytes {start}-{}/{length}", end - 1);
                insert(&mut response, CONTENT_RANGE, &place);
                response
            }
        };
        let headers = response.headers_mut();
        headers.insert(ETAG, self.tag.clone());
        headers.insert(CACHE_CONTROL, self.cache.clone());
        response
    }

    fn described(&self, bytes: Option<Bytes>) -> Response {
        let length = bytes.as_ref().map(Bytes::len).or(self.length);
        let mut response = Response::new(bytes.into());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, self.kind.clone());
        if let Some(length) = length {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        response
    }
}

fn insert(response: &mut Response, name: HeaderName, text: &str) {
    let value = HeaderValue::from_str(text).expect("digits and punctuation are visible ASCII");
    response.headers_mut().insert(name, value);
}

/// Comparison of entity tags (RFC 9110, section 8.8.3.2).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// True if the entity tag is in the list of this header, or the list is `*`; `None`
/// without the header.
fn listed(
    headers: &HeaderMap,
    name: &HeaderName,
    tag: &[u8],
    comparison: Comparison,
) -> Option<bool> {
    let mut values = headers.get_all(name).iter().peekable();
    values.peek()?;
    Some(values.any(|value| has(value.as_bytes(), tag, comparison)))
}

fn has(list: &[u8], tag: &[u8], comparison: Comparison) -> bool {
    if list.trim_ascii() == b"*" {
        return true;
    }
    let mut rest = list;
    loop {
        while let [b' ' | b'\t' | b',', after @ ..] = rest {
            rest = after;
        }
        let (weak, quoted) = match rest.strip_prefix(b"W/") {
            Some(after) => (true, after),
            None => (false, rest),
        };
        // A comma may be part of a tag, so it is the quotation marks that count.
        let Some(inner) = quoted.strip_prefix(b"\"") else { return false };
        let Some(end) = inner.iter().position(|byte| *byte == b'"') else { return false };
        let (known, after) = quoted.split_at(end + 2);
        if known == tag && !(weak && comparison == Comparison::Strong) {
            return true;
        }
        rest = after;
    }
}

/// The range of a request. What is not understood, and more than one range, is
/// ignored, as RFC 9110, section 14.2 allows.
fn range(headers: &HeaderMap, length: usize) -> Verdict {
    let mut values = headers.get_all(RANGE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Verdict::Whole };
    let set = value.to_str().ok().and_then(|text| text.split_once('='));
    let Some((unit, ranges)) = set else { return Verdict::Whole };
    let mut ranges = ranges.split(',').map(str::trim).filter(|range| !range.is_empty());
    let (Some(range), None) = (ranges.next(), ranges.next()) else { return Verdict::Whole };
    let Some((first, last)) = range.split_once('-') else { return Verdict::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") || length == 0 {
        return Verdict::Whole;
    }
    match (position(first), position(last)) {
        (Some(first), Some(last)) if first <= last => within(first, last, length),
        (Some(first), None) if last.is_empty() => within(first, usize::MAX, length),
        (None, Some(0)) if first.is_empty() => Verdict::Unsatisfiable,
        (None, Some(suffix)) if first.is_empty() => {
            Verdict::Part(length.saturating_sub(suffix)..length)
        }
        _ => Verdict::Whole,
    }
}

fn within(first: usize, last: usize, length: usize) -> Verdict {
    if first >= length {
        return Verdict::Unsatisfiable;
    }
    Verdict::Part(first..last.min(length - 1) + 1)
}

/// A position in the representation. One beyond all numbers is beyond its end.
fn position(digits: &str) -> Option<usize> {
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: &str = "\"ab,c\"";

    fn judge(method: &Method, headers: &[(HeaderName, &str)]) -> Verdict {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_str(value).expect("visible"));
        }
        let representation = Representation {
            tag: HeaderValue::from_static(TAG),
            length: Some(10),
            kind: HeaderValue::from_static("text/plain"),
            cache: HeaderValue::from_static("no-cache"),
        };
        representation.judge(method, &map)
    }

    fn ranged(range: &str) -> Verdict {
        judge(&Method::GET, &[(RANGE, range)])
    }

    #[test]
    fn a_known_tag_is_not_sent_again() {
        for known in ["*", TAG, "W/\"ab,c\"", "\"x\", W/\"y\" ,\t\"ab,c\"", ", \"ab,c\""] {
            for method in [Method::GET, Method::HEAD] {
                let verdict = judge(&method, &[(IF_NONE_MATCH, known)]);
                assert_eq!(verdict, Verdict::NotModified, "{known}");
            }
        }
        for other in ["", "ab,c", "\"ab\"", "\"c\"", "\"ab,c", "\"x\" ab,c", "w/\"ab,c\""] {
            assert_eq!(judge(&Method::GET, &[(IF_NONE_MATCH, other)]), Verdict::Whole, "{other}");
        }
        let two = [(IF_NONE_MATCH, "\"x\""), (IF_NONE_MATCH, TAG)];
        assert_eq!(judge(&Method::GET, &two), Verdict::NotModified);
    }

    #[test]
    fn a_tag_that_must_match_is_compared_strongly() {
        assert_eq!(judge(&Method::GET, &[(IF_MATCH, "*")]), Verdict::Whole);
        assert_eq!(judge(&Method::GET, &[(IF_MATCH, TAG)]), Verdict::Whole);
        assert_eq!(judge(&Method::GET, &[(IF_MATCH, "W/\"ab,c\"")]), Verdict::Failed);
        let both = [(IF_MATCH, "\"x\""), (IF_NONE_MATCH, TAG)];
        assert_eq!(judge(&Method::GET, &both), Verdict::Failed);
    }

    #[test]
    fn one_range_is_a_part() {
        for (range, part) in [
            ("bytes=0-0", 0..1),
            ("bytes=2-4", 2..5),
            ("Bytes= 2-4 ,", 2..5),
            ("bytes=9-", 9..10),
            ("bytes=0-99999999999999999999", 0..10),
            ("bytes=-3", 7..10),
            ("bytes=-11", 0..10),
        ] {
            assert_eq!(ranged(range), Verdict::Part(part), "{range}");
        }
        for beyond in ["bytes=10-", "bytes=10-12", "bytes=99999999999999999999-", "bytes=-0"] {
            assert_eq!(ranged(beyond), Verdict::Unsatisfiable, "{beyond}");
        }
    }

    #[test]
    fn several_ranges_and_nonsense_get_the_whole() {
        for range in [
            "bytes=0-1,3-4",
            "bytes=4-2",
            "bytes=a-b",
            "bytes=+1-2",
            "bytes=-",
            "bytes=",
            "bytes",
            "lines=0-1",
            "bytes=1",
        ] {
            assert_eq!(ranged(range), Verdict::Whole, "{range}");
        }
        let two = [(RANGE, "bytes=0-1"), (RANGE, "bytes=3-4")];
        assert_eq!(judge(&Method::GET, &two), Verdict::Whole);
        assert_eq!(judge(&Method::HEAD, &[(RANGE, "bytes=0-1")]), Verdict::Whole);
    }

    #[test]
    fn a_range_counts_for_the_same_representation_only() {
        let with = |if_range| judge(&Method::GET, &[(RANGE, "bytes=0-1"), (IF_RANGE, if_range)]);
        assert_eq!(with(TAG), Verdict::Part(0..2));
        for other in ["W/\"ab,c\"", "\"x\"", "Sat, 29 Oct 1994 19:43:31 GMT", "*"] {
            assert_eq!(with(other), Verdict::Whole, "{other}");
        }
        let known = [(RANGE, "bytes=0-1"), (IF_NONE_MATCH, TAG)];
        assert_eq!(judge(&Method::GET, &known), Verdict::NotModified);
    }
}
