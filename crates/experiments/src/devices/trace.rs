//! Traces of devices from CSV files: speed and links, and the times at which they are there.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fedra_data::{CsvOptions, Place, Problem, ReadError, TextRow, column_names, text_columns};

use super::{Assignment, Devices};

const CLIENT: &str = "client";
const SPEED: &str = "examples_per_second";
const DOWNLOAD: &str = "download_mbit";
const UPLOAD: &str = "upload_mbit";
const FROM: &str = "from_seconds";
const TO: &str = "to_seconds";

/// Reason why a trace is of no use.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TraceError {
    /// The file cannot be read, or is not CSV with the columns.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A value is out of range, or does not fit the others.
    #[error("{place}: {problem}")]
    Value {
        /// Its place.
        place: Place,
        /// The problem, and what to do.
        problem: String,
    },
    /// A client has no device.
    #[error(
        "the traces have no client {client:?}; add it, or set devices.traced = \"drawn\" to give \
         each client a device by chance"
    )]
    NoDevice {
        /// Name of the client.
        client: String,
    },
}

/// A traced device.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Traced {
    client: Option<String>,
    pub speed: Option<f64>,
    pub download_mbit: Option<f64>,
    pub upload_mbit: Option<f64>,
    pub availability: Option<Arc<Availability>>,
}

/// Times at which a device is there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Availability {
    /// Begin and end of each stay, in order. Stays do not touch, and there is one.
    stays: Vec<(Duration, Duration)>,
    /// Time after which they repeat.
    period: Option<Duration>,
}

impl Availability {
    /// Time at which a device that is there at `now` goes, or one that is away comes; `now`
    /// itself for one that is where it should not be. `None` if there is no such time.
    pub fn change(&self, now: Duration, is_there: bool) -> Option<Duration> {
        let Some(period) = self.period else {
            return self.in_one(now, is_there).or(is_there.then_some(now));
        };
        let nanos = now.as_nanos() % period.as_nanos();
        let offset = Duration::from_nanos(u64::try_from(nanos).ok()?);
        let (start, next) = (now - offset, now - offset + period);
        let first = self.stays[0];
        match self.in_one(offset, is_there) {
            // A stay may go on in the next period.
            Some(end) if is_there && end == period && first.0.is_zero() => {
                (first.1 < period).then(|| next + first.1)
            }
            Some(change) => Some(start + change),
            None if is_there => Some(now),
            None => Some(next + first.0),
        }
    }

    /// The same, of the stays as they are written.
    fn in_one(&self, now: Duration, is_there: bool) -> Option<Duration> {
        let stay = self.stays.iter().find(|(_, end)| *end > now);
        match is_there {
            true => stay.filter(|(begin, _)| *begin <= now).map(|(_, end)| *end),
            false => stay.map(|(begin, _)| now.max(*begin)),
        }
    }
}

/// The devices by the names of their clients.
pub(crate) fn by_name(devices: &[Traced]) -> HashMap<&str, &Traced> {
    devices.iter().filter_map(|device| Some((device.client.as_deref()?, device))).collect()
}

/// Reads the traces; none without a file.
///
/// # Errors
///
/// [`TraceError`] with the file and the line.
pub(crate) fn read(
    trace: Option<&Path>,
    availability: Option<&Path>,
    settings: &Devices,
) -> Result<Vec<Traced>, TraceError> {
    let mut devices = match trace {
        Some(path) => speeds(path, settings, availability.is_some())?,
        None => Vec::new(),
    };
    let Some(path) = availability else { return Ok(devices) };
    let mut times = stays(path, settings.period)?;
    if trace.is_none() {
        let device = |(client, (_, availability))| Traced {
            client: Some(client),
            availability: Some(Arc::new(availability)),
            ..Traced::default()
        };
        return Ok(times.into_iter().map(device).collect());
    }
    for device in &mut devices {
        let name = device.client.clone().unwrap_or_default();
        let Some((_, availability)) = times.remove(&name) else {
            let problem = format!(
                "there is no row of the client {name:?}, which devices.trace has; add the times at \
                 which it is there"
            );
            return Err(value(place(path, None, None), problem));
        };
        device.availability = Some(Arc::new(availability));
    }
    match times.into_iter().next() {
        None => Ok(devices),
        Some((name, (line, _))) => {
            let problem = format!("devices.trace has no client {name:?}; add it there");
            Err(value(place(path, Some(line), Some(CLIENT)), problem))
        }
    }
}

/// The devices of a file of speeds.
fn speeds(path: &Path, settings: &Devices, is_joined: bool) -> Result<Vec<Traced>, TraceError> {
    let file = Columns::read(path, &[CLIENT, SPEED, DOWNLOAD, UPLOAD])?;
    let speed = file.numbers(SPEED)?;
    let optional = |column: &str, given: Option<f64>| match (file.has(column), given) {
        (false, _) => Ok(None),
        (true, None) => file.numbers(column).map(Some),
        (true, Some(_)) => {
            let problem = format!("devices.{column} is set, too; leave one of them out");
            Err(value(place(path, Some(1), Some(column)), problem))
        }
    };
    let download = optional(DOWNLOAD, settings.download_mbit)?;
    let upload = optional(UPLOAD, settings.upload_mbit)?;
    let clients = match file.has(CLIENT) || is_joined || settings.traced == Assignment::Named {
        true => Some(file.texts(CLIENT)?),
        false => None,
    };
    let mut lines = HashMap::new();
    for (line, client) in clients.iter().flatten() {
        if let Some(first) = lines.insert(client, line) {
            let problem = format!("the client {client:?} has line {first} already; remove one");
            return Err(value(place(path, Some(*line), Some(CLIENT)), problem));
        }
    }
    let positive = |column: &str, numbers: Option<&Vec<(u64, f64)>>, at: usize| {
        let Some(&(line, number)) = numbers.and_then(|numbers| numbers.get(at)) else {
            return Ok(None);
        };
        match number > 0.0 {
            true => Ok(Some(number)),
            false => {
                let problem = format!("must be above 0; it is {number}");
                Err(value(place(path, Some(line), Some(column)), problem))
            }
        }
    };
    let device = |at: usize| {
        Ok(Traced {
            client: clients.as_ref().map(|clients| clients[at].1.clone()),
            speed: positive(SPEED, Some(&speed), at)?,
            download_mbit: positive(DOWNLOAD, download.as_ref(), at)?,
            upload_mbit: positive(UPLOAD, upload.as_ref(), at)?,
            availability: None,
        })
    };
    (0..speed.len()).map(device).collect()
}

/// The stays of each client of a file, with its first line.
fn stays(
    path: &Path,
    period: Option<Duration>,
) -> Result<BTreeMap<String, (u64, Availability)>, TraceError> {
    let file = Columns::read(path, &[CLIENT, FROM, TO])?;
    let (clients, from, to) = (file.texts(CLIENT)?, file.numbers(FROM)?, file.numbers(TO)?);
    let mut all = BTreeMap::<String, (u64, Vec<(Duration, Duration)>)>::new();
    for (((line, client), (_, from)), (_, to)) in clients.into_iter().zip(from).zip(to) {
        let wrong = |column, problem| Err(value(place(path, Some(line), Some(column)), problem));
        let (Ok(begin), Ok(end)) =
            (Duration::try_from_secs_f64(from), Duration::try_from_secs_f64(to))
        else {
            let column = if from < 0.0 { FROM } else { TO };
            return wrong(column, "seconds from the start are 0 or more".to_owned());
        };
        if begin >= end {
            let problem = format!("the stay begins at {from} and ends at {to}; end it later");
            return wrong(TO, problem);
        }
        if let Some(period) = period.filter(|&period| end > period) {
            let problem = format!(
                "{to} is behind devices.period, {} s; cut the stay there, and begin the rest at 0",
                period.as_secs_f64()
            );
            return wrong(TO, problem);
        }
        all.entry(client).or_insert((line, Vec::new())).1.push((begin, end));
    }
    let merged = |(client, (line, mut stays)): (_, (_, Vec<(Duration, Duration)>))| {
        stays.sort_unstable();
        stays.dedup_by(|next, last| {
            let touches = next.0 <= last.1;
            if touches {
                last.1 = last.1.max(next.1);
            }
            touches
        });
        (client, (line, Availability { stays, period }))
    };
    Ok(all.into_iter().map(merged).collect())
}

/// A CSV file of some columns.
struct Columns<'a> {
    path: &'a Path,
    bytes: Vec<u8>,
    names: Vec<String>,
}

impl<'a> Columns<'a> {
    /// Reads a file that has no other columns than the known ones.
    fn read(path: &'a Path, known: &[&str]) -> Result<Self, TraceError> {
        let failed = |problem| place(path, None, None).error(problem);
        let bytes = fs::read(path).map_err(|error| failed(Problem::System(error.to_string())))?;
        if bytes.is_empty() {
            return Err(failed(Problem::EmptyFile).into());
        }
        let name = path.display().to_string();
        let names = column_names(&name, &bytes, known, CsvOptions::default())?;
        if let Some(other) = names.iter().find(|name| !known.contains(&name.as_str())) {
            let problem = format!("the column is not known; a trace has {}", known.join(", "));
            return Err(value(place(path, Some(1), Some(other)), problem));
        }
        Ok(Self { path, bytes, names })
    }

    fn has(&self, column: &str) -> bool {
        self.names.iter().any(|name| name == column)
    }

    fn rows(&self, column: &str) -> Result<Vec<TextRow>, TraceError> {
        let name = self.path.display().to_string();
        let rows = text_columns(&name, &self.bytes, &[column], CsvOptions::default())?;
        match rows.is_empty() {
            true => Err(place(self.path, None, None).error(Problem::NoRows).into()),
            false => Ok(rows),
        }
    }

    /// The column with its lines.
    fn texts(&self, column: &str) -> Result<Vec<(u64, String)>, TraceError> {
        let rows = self.rows(column)?;
        Ok(rows.into_iter().map(|row| (row.line, row.fields.concat())).collect())
    }

    /// The same as finite numbers.
    fn numbers(&self, column: &str) -> Result<Vec<(u64, f64)>, TraceError> {
        let number = |(line, text): (u64, String)| match text.parse() {
            Ok(number) if f64::is_finite(number) => Ok((line, number)),
            _ => {
                let problem = Problem::NotANumber { text, comma: false };
                Err(place(self.path, Some(line), Some(column)).error(problem).into())
            }
        };
        self.texts(column)?.into_iter().map(number).collect()
    }
}

fn place(path: &Path, line: Option<u64>, column: Option<&str>) -> Place {
    let column = column.map(str::to_owned);
    Place { line, column, ..Place::file(&path.display().to_string()) }
}

fn value(place: Place, problem: String) -> TraceError {
    TraceError::Value { place, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(stays: &[(u64, u64)], period: Option<u64>) -> Availability {
        let stay = |&(begin, end)| (Duration::from_secs(begin), Duration::from_secs(end));
        Availability {
            stays: stays.iter().map(stay).collect(),
            period: period.map(Duration::from_secs),
        }
    }

    /// Seconds of the changes from the start on, the first ones.
    fn changes(times: &Availability, count: usize) -> Vec<u64> {
        let (mut now, mut is_there, mut changes) = (Duration::ZERO, false, Vec::new());
        while changes.len() < count
            && let Some(change) = times.change(now, is_there)
        {
            changes.push(change.as_secs());
            (now, is_there) = (change, !is_there);
        }
        changes
    }

    #[test]
    fn a_device_comes_and_goes_as_its_stays_say() {
        assert_eq!(changes(&times(&[(0, 5), (7, 9)], None), 9), [0, 5, 7, 9]);
        assert_eq!(changes(&times(&[(3, 5)], Some(10)), 5), [3, 5, 13, 15, 23]);
    }

    #[test]
    fn a_stay_goes_on_over_the_end_of_the_period() {
        let night = times(&[(0, 6), (22, 24)], Some(24));
        assert_eq!(changes(&night, 5), [0, 6, 22, 30, 46]);
        assert_eq!(changes(&times(&[(0, 24)], Some(24)), 5), [0], "always there");
        assert_eq!(changes(&times(&[(22, 24)], Some(24)), 3), [22, 24, 46]);
    }

    #[test]
    fn a_device_that_is_where_it_should_not_be_changes_at_once() {
        let (now, day) = (Duration::from_secs(12), times(&[(3, 5)], Some(10)));
        assert_eq!(day.change(now, true), Some(now));
        assert_eq!(times(&[(3, 5)], None).change(now, true), Some(now));
        let now = Duration::from_secs(14);
        assert_eq!(day.change(now, false), Some(now));
    }
}
