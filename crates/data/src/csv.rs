//! Rows of a CSV file that arrives in pieces (RFC 4180, by the crate `csv-core`).

use std::str::FromStr;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use crate::read_error::{Place, Problem, ReadError, nearest};

/// Longest row, bytes.
const MOST_ROW: usize = 1 << 20;
/// Most fields of a row.
const MOST_FIELDS: usize = 1 << 16;
/// Delimiters that are tried, in this order.
const DELIMITERS: [u8; 4] = *b",;\t|";
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Form of a CSV file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CsvOptions {
    /// Character between two fields; `None`: of `,`, `;`, tab and `|` the one with which
    /// the header has the most of the columns.
    pub delimiter: Option<u8>,
    /// Decimal sign of numbers.
    pub decimal: DecimalSign,
}

/// Decimal sign of numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DecimalSign {
    /// `3.14`.
    #[default]
    Point,
    /// `3,14`.
    Comma,
}

impl FromStr for DecimalSign {
    type Err = NotCsv;

    fn from_str(text: &str) -> Result<Self, NotCsv> {
        match text {
            "." => Ok(Self::Point),
            "," => Ok(Self::Comma),
            _ => Err(NotCsv::DecimalSign),
        }
    }
}

impl CsvOptions {
    /// The delimiter that `text` is.
    ///
    /// # Errors
    ///
    /// [`NotCsv::Delimiter`] for anything but one ASCII character.
    pub fn delimiter_of(text: &str) -> Result<u8, NotCsv> {
        match text.as_bytes() {
            &[character] if character.is_ascii() => Ok(character),
            _ => Err(NotCsv::Delimiter),
        }
    }
}

/// Text that is no option of CSV files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCsv {
    /// No delimiter.
    #[error("must be one character, such as \";\"")]
    Delimiter,
    /// No decimal sign.
    #[error("must be \".\" or \",\"")]
    DecimalSign,
}

/// Row of a file.
pub(crate) struct Row<'a> {
    fields: &'a [u8],
    ends: &'a [usize],
    /// Line that it begins on, from 1.
    pub line: u64,
    /// The row goes over several lines.
    pub spans_lines: bool,
}

impl<'a> Row<'a> {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// A field, without the spaces around it. Panics beyond the last one.
    pub fn field(&self, index: usize) -> Result<&'a str, Problem> {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        let field = &self.fields[start..self.ends[index]];
        std::str::from_utf8(field).map(str::trim).map_err(|_| Problem::NotUtf8)
    }
}

/// Parser of one file.
pub(crate) struct Csv {
    file: String,
    reader: Reader,
    /// Bytes of the row that has begun, and ends of its fields.
    row: Vec<u8>,
    len: usize,
    ends: Vec<usize>,
    fields: usize,
}

impl Csv {
    pub fn new(file: &str, delimiter: u8) -> Self {
        let reader = ReaderBuilder::new().delimiter(delimiter).build();
        let file = file.to_owned();
        Self { file, reader, row: vec![0; 1024], len: 0, ends: vec![0; 64], fields: 0 }
    }

    /// Hands on each row that ends in `bytes`.
    pub fn push(
        &mut self,
        mut bytes: &[u8],
        mut take: impl FnMut(&Row<'_>) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        while !bytes.is_empty() {
            let read = self.read(bytes)?;
            if read.ended {
                self.take(&bytes[..read.bytes], &mut take)?;
            }
            bytes = &bytes[read.bytes..];
        }
        Ok(())
    }

    /// Hands on a last row without a line's end.
    pub fn end(
        &mut self,
        mut take: impl FnMut(&Row<'_>) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        while self.read(&[])?.ended {
            self.take(&[], &mut take)?;
        }
        Ok(())
    }

    /// Reads up to the end of a row, of the bytes, or of the room.
    fn read(&mut self, bytes: &[u8]) -> Result<Read, ReadError> {
        let (result, read, written, ended) = self.reader.read_record(
            bytes,
            &mut self.row[self.len..],
            &mut self.ends[self.fields..],
        );
        self.len += written;
        self.fields += ended;
        match result {
            ReadRecordResult::OutputFull => self.grow_row()?,
            ReadRecordResult::OutputEndsFull => self.grow_ends()?,
            ReadRecordResult::InputEmpty | ReadRecordResult::Record | ReadRecordResult::End => {}
        }
        Ok(Read { bytes: read, ended: result == ReadRecordResult::Record })
    }

    fn take(
        &mut self,
        read: &[u8],
        take: &mut impl FnMut(&Row<'_>) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let (len, fields) = (std::mem::take(&mut self.len), std::mem::take(&mut self.fields));
        let inner = self.row[..len].iter().filter(|&&byte| byte == b'\n').count() as u64;
        // The reader counts line feeds, and may have taken the one behind the row.
        let behind = u64::from(read.last() == Some(&b'\n'));
        let line = self.reader.line().saturating_sub(inner + behind);
        let (fields, ends) = (&self.row[..len], &self.ends[..fields]);
        take(&Row { fields, ends, line, spans_lines: inner > 0 })
    }

    fn grow_row(&mut self) -> Result<(), ReadError> {
        if self.row.len() >= MOST_ROW {
            let inner = self.row.iter().filter(|&&byte| byte == b'\n').count() as u64;
            let line = Some(self.reader.line().saturating_sub(inner));
            let place = Place { line, ..Place::file(&self.file) };
            return Err(place.error(Problem::LongRow(MOST_ROW)));
        }
        self.row.resize(2 * self.row.len(), 0);
        Ok(())
    }

    fn grow_ends(&mut self) -> Result<(), ReadError> {
        if self.ends.len() >= MOST_FIELDS {
            let place = Place { line: Some(self.reader.line()), ..Place::file(&self.file) };
            return Err(place.error(Problem::LongRow(MOST_FIELDS)));
        }
        self.ends.resize(2 * self.ends.len(), 0);
        Ok(())
    }
}

struct Read {
    bytes: usize,
    /// A row has ended.
    ended: bool,
}

/// The header's names with the delimiter under which it has the most of `wanted`.
pub(crate) fn header<'a>(
    file: &str,
    header: &[u8],
    given: Option<u8>,
    wanted: &(impl Iterator<Item = &'a str> + Clone),
) -> Result<(u8, Vec<String>), ReadError> {
    let names = |delimiter| {
        let mut names = Vec::new();
        let mut csv = Csv::new(file, delimiter);
        let mut take = |row: &Row<'_>| {
            let place = || Place { line: Some(row.line), ..Place::file(file) };
            // Only blank lines come before the last one.
            names.clear();
            for field in 0..row.len() {
                let name = row.field(field).map_err(|problem| place().error(problem))?;
                names.push(name.to_owned());
            }
            Ok(())
        };
        csv.push(header, &mut take)?;
        csv.end(take)?;
        Ok(names)
    };
    if let Some(delimiter) = given {
        return Ok((delimiter, names(delimiter)?));
    }
    let mut best = (0, DELIMITERS[0], Vec::new());
    for delimiter in DELIMITERS {
        let names: Vec<String> = names(delimiter)?;
        let count =
            wanted.clone().filter(|&wanted| names.iter().any(|name| name == wanted)).count();
        // Of two that have as many, the one that divides more: the message lists the names.
        if best.2.is_empty() || (count, names.len()) > (best.0, best.2.len()) {
            best = (count, delimiter, names);
        }
    }
    Ok((best.1, best.2))
}

/// Bytes up to the end of the first line that is not blank, outside of quotation marks.
pub(crate) fn first_line(bytes: &[u8]) -> Option<usize> {
    let (mut quoted, mut begun) = (false, false);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' | b'\r' if !quoted && begun => return Some(at + 1),
            byte if byte.is_ascii_whitespace() => {}
            _ => begun = true,
        }
    }
    None
}

/// The start of a file without its byte-order mark, once enough of it is there to see.
pub(crate) fn without_mark<'a>(file: &str, start: &'a [u8]) -> Result<&'a [u8], ReadError> {
    if start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff") {
        return Err(Place::file(file).error(Problem::Utf16));
    }
    Ok(start.strip_prefix(BYTE_ORDER_MARK).unwrap_or(start))
}

/// Row of some columns as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextRow {
    /// Line that it begins on, from 1.
    pub line: u64,
    /// A field for each column.
    pub fields: Vec<String>,
}

/// The rows of a whole CSV file, of the columns `names` alone.
///
/// # Errors
///
/// [`ReadError`] for a header without one of the columns, and for rows of another length.
pub fn text_columns(
    file: &str,
    bytes: &[u8],
    names: &[&str],
    options: CsvOptions,
) -> Result<Vec<TextRow>, ReadError> {
    let text = without_mark(file, bytes)?;
    let end = first_line(text).unwrap_or(text.len());
    let (delimiter, header) =
        header(file, &text[..end], options.delimiter, &names.iter().copied())?;
    let place = |line| Place { line: Some(line), ..Place::file(file) };
    let missing = |name: &&&str| !header.iter().any(|found| found == **name);
    let missing: Vec<String> = names.iter().filter(missing).map(|&name| name.to_owned()).collect();
    if !missing.is_empty() {
        let near = missing.iter().find_map(|needed| {
            let near = nearest(needed, header.iter().map(String::as_str))?;
            Some((needed.clone(), near.to_owned()))
        });
        let problem = Problem::MissingColumns { missing, found: header, near };
        return Err(place(1).error(problem));
    }
    let fields: Vec<usize> =
        names.iter().filter_map(|name| header.iter().position(|found| found == name)).collect();
    let (mut rows, mut csv) = (Vec::new(), Csv::new(file, delimiter));
    csv.push(&text[..end], |_| Ok(()))?;
    let mut take = |row: &Row<'_>| {
        if row.len() != header.len() {
            let (expected, actual) = (header.len(), row.len());
            let problem = Problem::Fields { expected, actual, spans_lines: row.spans_lines };
            return Err(place(row.line).error(problem));
        }
        let field = |&at: &usize| row.field(at).map(str::to_owned);
        let fields = fields.iter().map(field).collect::<Result<_, _>>();
        let fields = fields.map_err(|problem| place(row.line).error(problem))?;
        rows.push(TextRow { line: row.line, fields });
        Ok(())
    };
    csv.push(&text[end..], &mut take)?;
    csv.end(take)?;
    Ok(rows)
}

/// The names of the columns of a whole CSV file, some of which may be `known`.
///
/// # Errors
///
/// [`ReadError`] for a header that is not UTF-8.
pub fn column_names(
    file: &str,
    bytes: &[u8],
    known: &[&str],
    options: CsvOptions,
) -> Result<Vec<String>, ReadError> {
    let text = without_mark(file, bytes)?;
    let end = first_line(text).unwrap_or(text.len());
    let (_, names) = header(file, &text[..end], options.delimiter, &known.iter().copied())?;
    Ok(names)
}

/// Longest header, bytes.
pub(crate) const MOST_HEADER: usize = MOST_ROW;
