//! The event log of the aggregator (docs/OPERATIONS.md): which attempts were
//! opened, what was counted in them, how they ended. Reads a file that grows;
//! judges nothing. Knows an event by its fields `target` and `event`, not by the
//! sentence beside them.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde_json::Value;

/// An attempt at a round.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct AttemptId {
    pub round: u64,
    pub attempt: u64,
}

/// A line that matters, with its time.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    pub at: SystemTime,
    pub event: Event,
}

/// Contents of a line.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// The cohort is invited.
    Opened { attempt: AttemptId, deadline: Duration },
    /// A step of secure aggregation begins.
    Advanced { attempt: AttemptId, deadline: Duration },
    /// A participant's update counts.
    Accepted { attempt: AttemptId, participant: String },
    /// The model is durable and announced.
    Completed { attempt: AttemptId, model: String, reports: u64 },
    /// The attempt came to nothing.
    Abandoned { attempt: AttemptId, reason: String },
}

/// The target of the event log's lines.
const TARGET: &str = "fedra::events";

/// An event log that is read as it grows.
pub struct Journal {
    file: File,
    /// The beginning of a line whose end has not come yet.
    rest: Vec<u8>,
}

impl Journal {
    /// Opens a log that is there.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { file, rest: Vec::new() })
    }

    /// The number of completed rounds in the log at `path`.
    pub fn completed_rounds(path: &Path) -> Result<u64> {
        let entries = Self::open(path)?.read()?;
        let completed = |entry: &&Entry| matches!(entry.event, Event::Completed { .. });
        Ok(entries.iter().filter(completed).count() as u64)
    }

    /// Entries written since the last call.
    pub fn read(&mut self) -> Result<Vec<Entry>> {
        self.file.read_to_end(&mut self.rest).context("cannot read the aggregator's log")?;
        let whole = self.rest.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let lines: Vec<u8> = self.rest.drain(..whole).collect();
        let mut entries = Vec::new();
        for line in lines.split(|&byte| byte == b'\n') {
            entries.extend(entry(line)?);
        }
        Ok(entries)
    }
}

/// The entry in a line, if it is one; lines that are not JSON are none.
fn entry(line: &[u8]) -> Result<Option<Entry>> {
    let Ok(line) = serde_json::from_slice::<Value>(line) else { return Ok(None) };
    if line["target"] != TARGET {
        return Ok(None);
    }
    let fields = &line["fields"];
    let Some(event) = event(fields) else { return Ok(None) };
    let event = event.with_context(|| format!("a line of the log is not complete: {line}"))?;
    let at = line["timestamp"].as_str().context("a line of the log without a time")?;
    let at = humantime::parse_rfc3339(at).with_context(|| format!("{at} is no time"))?;
    Ok(Some(Entry { at, event }))
}

/// None for lines about something else; an error in the option for a line that
/// lacks a field.
fn event(fields: &Value) -> Option<Option<Event>> {
    let deadline = || fields["deadline_ms"].as_u64().map(Duration::from_millis);
    let text = |key: &str| fields[key].as_str().map(str::to_owned);
    let attempt = attempt(fields);
    Some(match fields["event"].as_str()? {
        "round-opened" => (|| Some(Event::Opened { attempt: attempt?, deadline: deadline()? }))(),
        "round-advanced" => {
            (|| Some(Event::Advanced { attempt: attempt?, deadline: deadline()? }))()
        }
        "update-accepted" => (|| {
            // A client without a subject is known by its connection.
            let client = || fields["client"].as_u64().map(|client| format!("client {client}"));
            let participant = text("subject").filter(|s| !s.is_empty()).or_else(client)?;
            Some(Event::Accepted { attempt: attempt?, participant })
        })(),
        "round-completed" => (|| {
            let reports = fields["reports"].as_u64()?;
            Some(Event::Completed { attempt: attempt?, model: text("model")?, reports })
        })(),
        "round-abandoned" => {
            (|| Some(Event::Abandoned { attempt: attempt?, reason: text("kind")? }))()
        }
        _ => return None,
    })
}

/// `round: 5, attempt: 1`, or both in one text, `round: "5.1"`.
fn attempt(fields: &Value) -> Option<AttemptId> {
    if let Some(both) = fields["round"].as_str() {
        let (round, attempt) = both.split_once('.')?;
        return Some(AttemptId { round: round.parse().ok()?, attempt: attempt.parse().ok()? });
    }
    Some(AttemptId { round: fields["round"].as_u64()?, attempt: fields["attempt"].as_u64()? })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    fn line(fields: &str) -> String {
        format!(
            r#"{{"timestamp":"2026-01-02T03:04:05.250000Z","level":"INFO","fields":{{{fields}}},"target":"fedra::events"}}"#
        )
    }

    fn read(fields: &str) -> Option<Event> {
        entry(line(fields).as_bytes()).unwrap().map(|entry| entry.event)
    }

    #[test]
    fn lines_that_matter_are_understood() {
        let attempt = AttemptId { round: 5, attempt: 1 };
        let opened = read(r#""event":"round-opened","task":"a","round":"5.1","deadline_ms":8000"#);
        let deadline = Duration::from_secs(8);
        assert_eq!(opened, Some(Event::Opened { attempt, deadline }));
        let completed = read(
            r#""event":"round-completed","round":5,"attempt":1,"reports":7,"model":"ab","seconds":1.5"#,
        );
        let expected = Event::Completed { attempt, model: "ab".into(), reports: 7 };
        assert_eq!(completed, Some(expected));
        for (who, participant) in
            [(r#""client":3,"subject":"aa""#, "aa"), (r#""client":3"#, "client 3")]
        {
            let accepted = read(&format!(r#""event":"update-accepted","round":"5.1",{who}"#));
            let participant = participant.to_owned();
            assert_eq!(accepted, Some(Event::Accepted { attempt, participant }));
        }
        assert_eq!(read(r#""event":"model-evaluated","round":5"#), None);
    }

    #[test]
    fn a_line_that_lacks_something_is_an_error_and_no_line_is_none() {
        assert!(entry(line(r#""event":"round-opened","round":"5.1""#).as_bytes()).is_err());
        assert!(entry(line(r#""event":"round-completed","round":5"#).as_bytes()).is_err());
        let elsewhere = line(r#""event":"round-opened""#).replace("fedra::events", "fedra");
        assert!(entry(elsewhere.as_bytes()).unwrap().is_none());
        assert!(entry(b"fedra-aggregator: some text").unwrap().is_none());
        assert!(entry(b"").unwrap().is_none());
    }

    #[test]
    fn a_log_is_read_as_it_grows_line_by_line() {
        let path = std::env::temp_dir().join(format!("journal-{}.log", std::process::id()));
        let mut log = File::create(&path).unwrap();
        let mut journal = Journal::open(&path).unwrap();
        let text = line(r#""event":"round-abandoned","round":"2.0","kind":"too_few_reports""#);
        let (start, end) = text.split_at(60);
        log.write_all(start.as_bytes()).unwrap();
        assert_eq!(journal.read().unwrap(), []);
        log.write_all(format!("{end}\n{text}\n").as_bytes()).unwrap();
        let entries = journal.read().unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0], entries[1]);
        let since = entries[0].at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(since.as_millis() % 1000, 250);
        assert_eq!(journal.read().unwrap(), []);
        fs::remove_file(path).unwrap();
    }
}
