//! Single values of the config: text, numbers, durations, sizes. Each error
//! says what would have been right.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use fedra_data::{CsvOptions, DecimalSign, NotCsv};
use fedra_protocol::{CodecName, DataSpec, ModelSpec, SentShare, TaskId, UpdateRange};
use figment::value::Value;

type Read<T> = Result<T, String>;

pub(super) fn text(value: &Value) -> Read<String> {
    value.as_str().map(str::to_owned).ok_or_else(|| "must be a text in quotes".to_owned())
}

pub(super) fn title(value: &Value) -> Read<String> {
    let title = text(value)?;
    let max = fedra_protocol::limits::MAX_TEXT_BYTES;
    if title.len() > max {
        return Err(format!("must be at most {max} bytes long; it has {}", title.len()));
    }
    Ok(title)
}

pub(super) fn path(value: &Value) -> Read<PathBuf> {
    match text(value)? {
        path if path.is_empty() => Err("must not be empty".to_owned()),
        path => Ok(path.into()),
    }
}

/// A table of texts.
pub(super) fn texts(value: &Value) -> Read<BTreeMap<String, String>> {
    let dict = value.as_dict().ok_or("must be a table of texts")?;
    dict.iter().map(|(name, value)| Ok((name.clone(), text(value)?))).collect()
}

pub(super) fn address(value: &Value) -> Read<SocketAddr> {
    let text = text(value)?;
    text.parse().map_err(|_| {
        format!("must be an address and a port, such as \"127.0.0.1:8080\"; it is {text:?}")
    })
}

pub(super) fn task_id(value: &Value) -> Read<TaskId> {
    TaskId::new(text(value)?).map_err(|error| error.to_string())
}

pub(super) fn yes_or_no(value: &Value) -> Read<bool> {
    value.to_bool().ok_or_else(|| "must be true or false, without quotes".to_owned())
}

/// A whole number from `min` up.
pub(super) fn whole<T>(min: u64) -> impl Fn(&Value) -> Read<T>
where
    T: TryFrom<u64>,
{
    move |value| {
        let number = value
            .to_u128()
            .and_then(|n| u64::try_from(n).ok())
            .or_else(|| value.to_i128().and_then(|n| u64::try_from(n).ok()))
            .filter(|n| *n >= min)
            .ok_or_else(|| format!("must be a whole number of at least {min}"))?;
        T::try_from(number).map_err(|_| format!("{number} is too large here"))
    }
}

/// A power of two up to the largest range.
pub(super) fn update_range(value: &Value) -> Read<UpdateRange> {
    let must = format!("must be a power of two, 1 to {}", fedra_protocol::limits::MAX_UPDATE_RANGE);
    let range = whole::<u32>(0)(value).map_err(|_| must.clone())?;
    UpdateRange::new(range).map_err(|_| format!("{must}; it is {range}"))
}

/// A codec of values by name. Words of a privacy policy have no choice of one.
pub(super) fn codec(value: &Value) -> Read<CodecName> {
    let name = text(value)?;
    let is_choice = |codec: &CodecName| *codec != CodecName::Packed;
    CodecName::named(&name).filter(is_choice).ok_or_else(|| {
        let names: Vec<&str> =
            CodecName::ALL.into_iter().filter(is_choice).map(CodecName::name).collect();
        format!("{name:?} is not known; the codecs are \"{}\"", names.join("\", \""))
    })
}

/// A share of an update's values.
pub(super) fn sent_share(value: &Value) -> Read<SentShare> {
    let half = |share: f64| (1e-6..=0.5).contains(&share);
    let share = number("from 0.000001 to 0.5", half)(value)?;
    SentShare::new((share * 1e6).round() as u32).map_err(|error| error.to_string())
}

/// A number that satisfies `holds`, which `range` describes as text.
pub(super) fn number(range: &str, holds: impl Fn(f64) -> bool) -> impl Fn(&Value) -> Read<f64> {
    move |value| {
        let number = value
            .to_f64()
            .or_else(|| value.to_i128().map(|n| n as f64))
            .or_else(|| value.to_u128().map(|n| n as f64));
        match number {
            Some(number) if holds(number) => Ok(number),
            Some(number) => Err(format!("must be {range}; it is {number}")),
            None => Err(format!("must be a number, {range}")),
        }
    }
}

/// A list of values that `read` takes.
pub(super) fn list<T>(read: impl Fn(&Value) -> Read<T>) -> impl Fn(&Value) -> Read<Vec<T>> {
    move |value| {
        let values = value.as_array().ok_or("must be a list in brackets")?;
        values.iter().map(&read).collect()
    }
}

/// A duration such as "500ms" or "2min", between bounds.
pub(super) fn duration(min: Duration, max: Duration) -> impl Fn(&Value) -> Read<Duration> {
    move |value| {
        let hint = "a duration such as \"500ms\", \"30s\" or \"2min\"";
        let Some(text) = value.as_str() else {
            return Err(format!("must be {hint}, in quotes and with its unit"));
        };
        let duration = humantime::parse_duration(text)
            .map_err(|error| format!("must be {hint}; {text:?}: {error}"))?;
        if !(min..=max).contains(&duration) {
            let (min, max) = (humantime::format_duration(min), humantime::format_duration(max));
            return Err(format!("must be from {min} to {max}; it is {text}"));
        }
        Ok(duration)
    }
}

/// A size such as "256MiB", in bytes.
pub(super) fn size(value: &Value) -> Read<u64> {
    let hint = "a size such as \"64KiB\", \"256MiB\" or \"1GiB\"";
    let Some(text) = value.as_str() else {
        return Err(format!("must be {hint}, in quotes and with its unit"));
    };
    parse_size(text).ok_or_else(|| format!("must be {hint}; it is {text:?}"))
}

fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit.trim_start() {
        "B" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// A built-in model by name, or a table that describes one.
pub(super) fn model(value: &Value) -> Read<ModelSpec> {
    if let Some(name) = value.as_str() {
        return ModelSpec::builtin(name).ok_or_else(|| {
            let names = ModelSpec::BUILTIN.join("\", \"");
            format!(
                "no built-in model {name:?}; use \"{names}\" or a table {{ input, layers, loss }}"
            )
        });
    }
    value.deserialize().map_err(|error| error.kind.to_string())
}

/// A table that describes data, for a task whose model may not be known yet.
pub(super) fn data(value: &Value) -> Read<DataSpec> {
    let data: DataSpec = value.deserialize().map_err(|error| error.kind.to_string())?;
    let (bytes, max) = (data.encoded_len(), fedra_protocol::limits::MAX_DATA_SPEC_BYTES);
    if bytes > max {
        return Err(format!(
            "the description takes {bytes} bytes of a client's first message, at most {max} are \
             possible; shorten the lists of values"
        ));
    }
    Ok(data)
}

/// The delimiter of a CSV file.
pub(super) fn delimiter(value: &Value) -> Read<u8> {
    CsvOptions::delimiter_of(&text(value)?).map_err(|error| error.to_string())
}

/// The decimal sign of a CSV file.
pub(super) fn decimal(value: &Value) -> Read<DecimalSign> {
    text(value)?.parse().map_err(|error: NotCsv| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("256MiB"), Some(256 << 20));
        assert_eq!(parse_size(" 3 kB "), Some(3_000));
        assert_eq!(parse_size("3 kB"), Some(3_000));
        assert_eq!(parse_size("12"), None);
        assert_eq!(parse_size("MiB"), None);
        assert_eq!(parse_size("99999999999999GiB"), None);
    }
}
