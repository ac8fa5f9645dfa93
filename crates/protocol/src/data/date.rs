//! Dates and times as they are written in files.

use std::fmt;

use serde::{Deserialize, Serialize};

const DAY: i64 = 86_400;

/// Seconds since the start of 1970 by the clock of whoever wrote the date: no time zone
/// is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(i64);

/// Order of day, month and year in a date of three numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DateOrder {
    /// Year first, as in ISO 8601: `2026-11-29`.
    #[default]
    Ymd,
    /// `29.11.2026`.
    Dmy,
    /// `11/29/2026`.
    Mdy,
}

/// Part of a date that becomes features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatePart {
    /// Time since the column's `min`, over that from `min` to `max`.
    Span,
    /// Time of the year as an angle: sine and cosine.
    Year,
    /// Time of the week as an angle, from Monday.
    Week,
    /// Time of the day as an angle, from midnight.
    Day,
}

impl DatePart {
    /// Features that the part becomes.
    pub fn width(self) -> u32 {
        match self {
            Self::Span => 1,
            Self::Year | Self::Week | Self::Day => 2,
        }
    }

    /// The part's name in a config.
    pub fn name(self) -> &'static str {
        match self {
            Self::Span => "span",
            Self::Year => "year",
            Self::Week => "week",
            Self::Day => "day",
        }
    }
}

impl DateOrder {
    /// A date as an example of the order.
    pub fn example(self) -> &'static str {
        match self {
            Self::Ymd => "2026-11-29",
            Self::Dmy => "29.11.2026",
            Self::Mdy => "11/29/2026",
        }
    }
}

impl Timestamp {
    /// Seconds since 1970, of a year from 1 to 9999; `None` outside.
    pub fn from_seconds(seconds: i64) -> Option<Self> {
        let (first, last) = (days_from_civil(1, 1, 1) * DAY, days_from_civil(10_000, 1, 1) * DAY);
        (first..last).contains(&seconds).then_some(Self(seconds))
    }

    /// Seconds since 1970.
    pub fn seconds(self) -> i64 {
        self.0
    }

    /// The date that `text` is: three numbers with `-`, `/` or `.` between them, the year
    /// with four digits, and after a space or a `T` the time of the day in 24 hours, if
    /// there is one. A fraction of a second and an offset from UTC are left aside.
    pub fn parse(text: &str, order: DateOrder) -> Option<Self> {
        let (date, time) = match text.split_once(['T', ' ']) {
            Some((date, time)) => (date, Some(time.trim())),
            None => (text, None),
        };
        let separator = date.chars().find(|c| !c.is_ascii_digit())?;
        if !matches!(separator, '-' | '/' | '.') {
            return None;
        }
        let mut parts = date.split(separator);
        let parts = [parts.next()?, parts.next()?, parts.next()?, parts.next().unwrap_or("")];
        let [year, month, day, ""] = (match order {
            DateOrder::Ymd => parts,
            DateOrder::Dmy => [parts[2], parts[1], parts[0], parts[3]],
            DateOrder::Mdy => [parts[2], parts[0], parts[1], parts[3]],
        }) else {
            return None;
        };
        if year.len() != 4 {
            return None;
        }
        let (year, month, day) = (number(year)?, number(month)?, number(day)?);
        let is_valid = (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
        let seconds = days_from_civil(year, month, day) * DAY + time.map_or(Some(0), clock)?;
        if is_valid { Self::from_seconds(seconds) } else { None }
    }

    /// Share of the year, of the week or of the day that has passed, 0 to below 1.
    pub fn phase(self, part: DatePart) -> f64 {
        let days = self.0.div_euclid(DAY);
        let of_day = self.0.rem_euclid(DAY) as f64 / DAY as f64;
        match part {
            DatePart::Span | DatePart::Day => of_day,
            // 1970 began on a Thursday.
            DatePart::Week => ((days + 3).rem_euclid(7) as f64 + of_day) / 7.0,
            DatePart::Year => {
                let year = civil_from_days(days).0;
                let first = days_from_civil(year, 1, 1);
                let length = days_from_civil(year + 1, 1, 1) - first;
                ((days - first) as f64 + of_day) / length as f64
            }
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.0.div_euclid(DAY));
        write!(f, "{year:04}-{month:02}-{day:02}")?;
        let second = self.0.rem_euclid(DAY);
        if second == 0 {
            return Ok(());
        }
        write!(f, "T{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
    }
}

fn number(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

/// Seconds of `hh:mm`, `hh:mm:ss` or `hh:mm:ss.fff`, with `Z` or an offset behind.
fn clock(text: &str) -> Option<i64> {
    let text = text.split(['Z', '+', '-', '.']).next()?;
    let mut parts = text.split(':');
    let (hour, minute) = (number(parts.next()?)?, number(parts.next()?)?);
    let second = parts.next().map_or(Some(0), number)?;
    let is_valid = hour < 24 && minute < 60 && second < 60 && parts.next().is_none();
    is_valid.then_some(hour * 3600 + minute * 60 + second)
}

fn days_of(year: i64, month: i64) -> i64 {
    let (next_year, next) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    days_from_civil(next_year, next, 1) - days_from_civil(year, month, 1)
}

/// Days since 1970 of a date of the Gregorian calendar. Years begin in March here, so that
/// the leap day is their last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The inverse: year, month and day.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let mut year = 1970 + days.div_euclid(365);
    while days_from_civil(year, 1, 1) > days {
        year -= 1 + (days_from_civil(year, 1, 1) - days) / 366;
    }
    while days_from_civil(year + 1, 1, 1) <= days {
        year += 1;
    }
    let mut month = 1;
    while month < 12 && days_from_civil(year, month + 1, 1) <= days {
        month += 1;
    }
    (year, month, days - days_from_civil(year, month, 1) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_as_the_calendar_does() {
        // Known: 2000-03-01 is day 11,017, 1970-01-01 a Thursday.
        assert_eq!(days_from_civil(1970, 1, 1), 0);
        assert_eq!(days_from_civil(2000, 3, 1), 11_017);
        assert_eq!(days_from_civil(1969, 12, 31), -1);
        let (mut year, mut month, mut day) = (1, 1, 1);
        for days in days_from_civil(1, 1, 1)..days_from_civil(2101, 1, 1) {
            assert_eq!(civil_from_days(days), (year, month, day), "{days}");
            assert_eq!(days_from_civil(year, month, day), days);
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 if leap => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }

    #[test]
    fn dates_are_read_in_their_order_and_nothing_else_is_a_date() {
        use DateOrder::{Dmy, Mdy, Ymd};
        let read = |text, order| Timestamp::parse(text, order).map(|time| time.to_string());
        for (text, order, date) in [
            ("2026-11-29", Ymd, "2026-11-29"),
            ("2026/1/2", Ymd, "2026-01-02"),
            ("29.11.2026", Dmy, "2026-11-29"),
            ("11/29/2026", Mdy, "2026-11-29"),
            ("2024-02-29", Ymd, "2024-02-29"),
            ("2026-11-29T08:05:09Z", Ymd, "2026-11-29T08:05:09"),
            ("2026-11-29 23:59", Ymd, "2026-11-29T23:59:00"),
            ("2026-11-29T08:05:09.25+02:00", Ymd, "2026-11-29T08:05:09"),
            ("1899-12-31", Ymd, "1899-12-31"),
        ] {
            assert_eq!(read(text, order).as_deref(), Some(date), "{text}");
        }
        for (text, order) in [
            ("", Ymd),
            ("2026", Ymd),
            ("2026-13-01", Ymd),
            ("2026-02-29", Ymd),
            ("2026-02-00", Ymd),
            ("29.11.2026", Ymd),
            ("29.11.26", Dmy),
            ("2026-11-29-1", Ymd),
            ("2026-11/29", Ymd),
            ("2026-11-29T24:00", Ymd),
            ("2026-11-29T12", Ymd),
            ("0000-01-01", Ymd),
            ("+026-11-29", Ymd),
        ] {
            assert_eq!(read(text, order), None, "{text}");
        }
    }

    #[test]
    fn phases_are_shares_of_their_period() {
        let phase = |text, part| Timestamp::parse(text, DateOrder::Ymd).unwrap().phase(part);
        assert_eq!(phase("2026-11-30", DatePart::Week), 0.0, "a Monday");
        assert_eq!(phase("2026-11-29T12:00", DatePart::Week), 6.5 / 7.0);
        assert_eq!(phase("2026-11-29T06:00", DatePart::Day), 0.25);
        assert_eq!(phase("2026-01-01", DatePart::Year), 0.0);
        assert_eq!(phase("2024-12-31T12:00", DatePart::Year), 365.5 / 366.0);
        assert_eq!(phase("1969-12-31T12:00", DatePart::Year), 364.5 / 365.0);
    }
}
