//! Queries of requests: parameters that an address takes, each at most once.

use std::convert::Infallible;

use fedra_http_api::{CardFormat, ModelFormat};
use thiserror::Error;
use warp::Filter;

/// Query that an address does not take.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum BadQuery {
    #[error("the query is `{0}=n` with a whole number, or nothing")]
    Number(&'static str),
    #[error("the query is {formats}, or nothing", formats = formats())]
    Format,
    #[error("the query is {formats}, or nothing", formats = listed(&CardFormat::NAMES))]
    Card,
    #[error(
        "the query is `round=n` with a whole number, {formats}, both joined by `&`, or nothing",
        formats = formats()
    )]
    Export,
}

/// The formats as a query names them.
fn formats() -> String {
    listed(&ModelFormat::NAMES)
}

/// Names of formats: "`format=a`, `format=b` or `format=c`".
fn listed(names: &[&str]) -> String {
    let named: Vec<_> = names.iter().map(|name| format!("`format={name}`")).collect();
    match named.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => named.concat(),
    }
}

/// The query as it was sent; empty without one.
pub(super) fn raw() -> impl Filter<Extract = (String,), Error = Infallible> + Copy {
    warp::query::raw().or(warp::any().map(String::new)).unify()
}

/// The number that the query names so.
pub(super) fn number(query: &str, name: &'static str) -> Result<Option<u64>, BadQuery> {
    let [number] = parameters(query, [name]).ok_or(BadQuery::Number(name))?;
    number.map(str::parse).transpose().map_err(|_| BadQuery::Number(name))
}

/// The format of a model; safetensors without one.
pub(super) fn format(query: &str) -> Result<ModelFormat, BadQuery> {
    let [format] = parameters(query, ["format"]).ok_or(BadQuery::Format)?;
    named(format).ok_or(BadQuery::Format)
}

/// The form of a model's card; JSON without one.
pub(super) fn card(query: &str) -> Result<CardFormat, BadQuery> {
    let [format] = parameters(query, ["format"]).ok_or(BadQuery::Card)?;
    format.map_or(Some(CardFormat::Json), CardFormat::named).ok_or(BadQuery::Card)
}

/// The round and the format of a model to export.
pub(super) fn export(query: &str) -> Result<(Option<u64>, ModelFormat), BadQuery> {
    let [round, format] = parameters(query, ["round", "format"]).ok_or(BadQuery::Export)?;
    let round = round.map(str::parse).transpose().map_err(|_| BadQuery::Export)?;
    Ok((round, named(format).ok_or(BadQuery::Export)?))
}

fn named(format: Option<&str>) -> Option<ModelFormat> {
    format.map_or(Some(ModelFormat::default()), |name| name.parse().ok())
}

/// The values of these parameters; `None` if there is another, or one of them twice.
fn parameters<'a, const N: usize>(
    query: &'a str,
    names: [&str; N],
) -> Option<[Option<&'a str>; N]> {
    let mut values = [None; N];
    for parameter in query.split('&').filter(|_| !query.is_empty()) {
        let (key, value) = parameter.split_once('=')?;
        let place = names.iter().position(|name| *name == key)?;
        if values[place].replace(value).is_some() {
            return None;
        }
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use ModelFormat::{Onnx, Pytorch, Safetensors};

    use super::*;

    #[test]
    fn a_query_is_one_number_or_nothing() {
        assert_eq!(number("", "round"), Ok(None));
        assert_eq!(number("round=3", "round"), Ok(Some(3)));
        for bad in ["round", "round=", "round=x", "round=-1", "rounds=3", "round=3&round=4"] {
            assert_eq!(number(bad, "round"), Err(BadQuery::Number("round")), "{bad}");
        }
    }

    #[test]
    fn a_format_is_one_that_there_is() {
        assert_eq!(format(""), Ok(Safetensors));
        assert_eq!(format("format=safetensors"), Ok(Safetensors));
        assert_eq!(format("format=onnx"), Ok(Onnx));
        assert_eq!(format("format=pytorch"), Ok(Pytorch));
        for bad in ["format", "format=", "format=pt", "format=ONNX", "onnx", "format=onnx&", "x=1"]
        {
            let error = format(bad).unwrap_err();
            let expected = "the query is `format=safetensors`, `format=onnx` or \
                            `format=pytorch`, or nothing";
            assert_eq!(error.to_string(), expected, "{bad}");
        }
    }

    #[test]
    fn a_card_is_json_or_markdown() {
        assert_eq!(card(""), Ok(CardFormat::Json));
        assert_eq!(card("format=json"), Ok(CardFormat::Json));
        assert_eq!(card("format=markdown"), Ok(CardFormat::Markdown));
        for bad in ["format=md", "format", "markdown", "format=json&format=json"] {
            let error = card(bad).unwrap_err();
            let expected = "the query is `format=json` or `format=markdown`, or nothing";
            assert_eq!(error.to_string(), expected, "{bad}");
        }
    }

    #[test]
    fn an_export_has_a_round_a_format_or_both() {
        assert_eq!(export(""), Ok((None, Safetensors)));
        assert_eq!(export("round=3"), Ok((Some(3), Safetensors)));
        assert_eq!(export("format=onnx"), Ok((None, Onnx)));
        for both in ["round=3&format=onnx", "format=onnx&round=3"] {
            assert_eq!(export(both), Ok((Some(3), Onnx)));
        }
        for bad in
            ["round=x", "round=1&round=2", "format=pt", "rounds=1", "round=1&format=onnx&x=1"]
        {
            assert_eq!(export(bad), Err(BadQuery::Export), "{bad}");
        }
    }
}
