//! Tables: rows of a CSV file as examples.

use std::collections::HashMap;

use fedra_protocol::data::{Column, Content, DatePart, Encoding, TableSpec, Timestamp};

use crate::collect::{Collector, Target};
use crate::csv::{self, Csv, CsvOptions, DecimalSign, Row};
use crate::decimal;
use crate::read_error::{MissingRemedy, Place, Problem, ReadError, nearest};

/// Reader of one CSV file.
pub(crate) struct TableFile {
    file: String,
    options: CsvOptions,
    state: State,
    rows: u64,
}

enum State {
    /// Bytes until the header is complete.
    Header(Vec<u8>),
    Rows(Box<Rows>),
}

impl TableFile {
    pub fn new(file: &str, options: CsvOptions) -> Self {
        Self { file: file.to_owned(), options, state: State::Header(Vec::new()), rows: 0 }
    }

    pub fn push(
        &mut self,
        bytes: &[u8],
        spec: &TableSpec,
        collector: &mut Collector,
    ) -> Result<(), ReadError> {
        let before;
        let bytes = match &mut self.state {
            State::Rows(_) => bytes,
            State::Header(start) => {
                start.extend_from_slice(bytes);
                let text = csv::without_mark(&self.file, start)?;
                if csv::first_line(text).is_none() && text.len() < csv::MOST_HEADER {
                    return Ok(());
                }
                before = std::mem::take(start);
                self.begin(&before, spec)?
            }
        };
        let State::Rows(rows) = &mut self.state else { unreachable!("begun above") };
        let Rows { csv, encoder } = &mut **rows;
        csv.push(bytes, |row| {
            self.rows += 1;
            encoder.take(row, spec, collector)
        })
    }

    pub fn end(mut self, spec: &TableSpec, collector: &mut Collector) -> Result<(), ReadError> {
        if let State::Header(start) = &mut self.state {
            let mut start = std::mem::take(start);
            if csv::without_mark(&self.file, &start)?.iter().all(u8::is_ascii_whitespace) {
                return Err(Place::file(&self.file).error(Problem::EmptyFile));
            }
            start.push(b'\n');
            self.begin(&start, spec)?;
        }
        let State::Rows(rows) = &mut self.state else { unreachable!("begun above") };
        let Rows { csv, encoder } = &mut **rows;
        csv.end(|row| {
            self.rows += 1;
            encoder.take(row, spec, collector)
        })?;
        if self.rows == 0 {
            return Err(Place::file(&self.file).error(Problem::NoRows));
        }
        Ok(())
    }

    /// Reads the header; returns the bytes behind it.
    fn begin<'a>(&mut self, start: &'a [u8], spec: &TableSpec) -> Result<&'a [u8], ReadError> {
        let text = csv::without_mark(&self.file, start)?;
        let end = csv::first_line(text).unwrap_or(text.len());
        let wanted = spec.columns().iter().map(|column| column.name.as_str());
        let (delimiter, names) =
            csv::header(&self.file, &text[..end], self.options.delimiter, &wanted)?;
        let mut csv = Csv::new(&self.file, delimiter);
        // The lines are counted from the start of the file.
        csv.push(&text[..end], |_| Ok(()))?;
        let encoder = Encoder::new(&self.file, spec, names, self.options.decimal)?;
        self.state = State::Rows(Box::new(Rows { csv, encoder }));
        Ok(&text[end..])
    }
}

struct Rows {
    csv: Csv,
    encoder: Encoder,
}

/// Rows of one file as features and targets.
struct Encoder {
    file: String,
    /// Fields of the header.
    fields: usize,
    inputs: Vec<Source>,
    targets: Vec<Source>,
    decimal: DecimalSign,
    /// Features of one row.
    features: Vec<f32>,
    labels: Vec<f32>,
}

/// Column of the description, and where its values are.
struct Source {
    column: Column,
    field: usize,
    /// Places of the categories by name.
    categories: HashMap<String, u32>,
}

impl Encoder {
    fn new(
        file: &str,
        spec: &TableSpec,
        names: Vec<String>,
        decimal: DecimalSign,
    ) -> Result<Self, ReadError> {
        let place = || Place { line: Some(1), ..Place::file(file) };
        let needed = || spec.columns().iter().map(|column| &column.name);
        let missing: Vec<String> = needed().filter(|name| !names.contains(name)).cloned().collect();
        if !missing.is_empty() {
            let spare = names.iter().filter(|name| needed().all(|needed| needed != *name));
            let spare = spare.map(String::as_str);
            let near = missing.iter().find_map(|needed| {
                nearest(needed, spare.clone()).map(|near| (needed.clone(), near.to_owned()))
            });
            return Err(place().error(Problem::MissingColumns { missing, found: names, near }));
        }
        let count = |wanted: &&String| names.iter().filter(|name| name == wanted).count();
        if let Some(twice) = needed().find(|name| count(name) > 1) {
            return Err(place().error(Problem::TwiceColumn(twice.clone())));
        }
        let source = |column: &Column| Source {
            column: column.clone(),
            field: names.iter().position(|name| *name == column.name).unwrap_or_default(),
            categories: match &column.content {
                Content::Category { values, .. } => values.iter().cloned().zip(0..).collect(),
                _ => HashMap::new(),
            },
        };
        Ok(Self {
            file: file.to_owned(),
            fields: names.len(),
            inputs: spec.inputs().map(source).collect(),
            targets: spec.targets().map(source).collect(),
            decimal,
            features: Vec::new(),
            labels: Vec::new(),
        })
    }

    fn take(
        &mut self,
        row: &Row<'_>,
        spec: &TableSpec,
        collector: &mut Collector,
    ) -> Result<(), ReadError> {
        let place = || Place { line: Some(row.line), ..Place::file(&self.file) };
        if row.len() != self.fields {
            let (expected, actual) = (self.fields, row.len());
            let problem = Problem::Fields { expected, actual, spans_lines: row.spans_lines };
            return Err(place().error(problem));
        }
        self.features.clear();
        self.labels.clear();
        let in_column = |source: &Source, problem| {
            Place { column: Some(source.column.name.clone()), ..place() }.error(problem)
        };
        for source in &self.inputs {
            row.field(source.field)
                .and_then(|text| source.encode(text, spec, self.decimal, &mut self.features))
                .map_err(|problem| in_column(source, problem))?;
        }
        for source in &self.targets {
            let label = row
                .field(source.field)
                .and_then(|text| source.label(text, spec, self.decimal))
                .map_err(|problem| in_column(source, problem))?;
            self.labels.push(label);
        }
        let target = match (&self.targets[..], &self.labels[..]) {
            ([source], &[class]) if source.column.content.categories() > 0 => {
                Target::Class(class as u32)
            }
            (_, labels) => Target::Values(labels),
        };
        collector.add(&self.features, target).map_err(|problem| place().error(problem))
    }
}

impl Source {
    /// Appends the features of one value.
    fn encode(
        &self,
        text: &str,
        spec: &TableSpec,
        decimal: DecimalSign,
        features: &mut Vec<f32>,
    ) -> Result<(), Problem> {
        let missing = spec.is_missing(text);
        let content = &self.column.content;
        match content {
            Content::Number { scaling, fill, flag_missing } => {
                let value = match missing {
                    false => number(text, decimal)?,
                    true => fill.ok_or(Problem::Missing(MissingRemedy::Fill))?,
                };
                features.push(scaling.apply(value) as f32);
                flag(features, *flag_missing, missing);
            }
            Content::Category { encoding, .. } => {
                let class = self.category(text, missing)?;
                match encoding {
                    Encoding::Index => features.push(class as f32),
                    Encoding::OneHot => {
                        let start = features.len();
                        features.resize(start + content.categories() as usize, 0.0);
                        features[start + class as usize] = 1.0;
                    }
                }
            }
            Content::Boolean { fill, flag_missing } => {
                let value = match missing {
                    false => boolean(text)?,
                    true => fill.ok_or(Problem::Missing(MissingRemedy::Fill))?,
                };
                features.push(f32::from(u8::from(value)));
                flag(features, *flag_missing, missing);
            }
            Content::Date { order, parts, span, fill, flag_missing } => {
                let time = match missing {
                    false => Timestamp::parse(text, *order).ok_or_else(|| Problem::NotADate {
                        text: text.to_owned(),
                        order: *order,
                    })?,
                    true => fill.ok_or(Problem::Missing(MissingRemedy::Fill))?,
                };
                for part in parts {
                    match (part, span) {
                        (DatePart::Span, Some((min, max))) => {
                            let (from, to) = (min.seconds() as f64, max.seconds() as f64);
                            features.push(((time.seconds() as f64 - from) / (to - from)) as f32);
                        }
                        _ => {
                            let angle = 2.0 * std::f64::consts::PI * time.phase(*part);
                            // The same bits on every platform.
                            features.extend([libm::sin(angle) as f32, libm::cos(angle) as f32]);
                        }
                    }
                }
                flag(features, *flag_missing, missing);
            }
        }
        Ok(())
    }

    /// Class or value of a target.
    fn label(&self, text: &str, spec: &TableSpec, decimal: DecimalSign) -> Result<f32, Problem> {
        let missing = spec.is_missing(text);
        match &self.column.content {
            Content::Category { .. } => Ok(self.category(text, missing)? as f32),
            _ if missing => Err(Problem::Missing(MissingRemedy::None)),
            Content::Number { scaling, .. } => Ok(scaling.apply(number(text, decimal)?) as f32),
            Content::Boolean { .. } => Ok(f32::from(u8::from(boolean(text)?))),
            Content::Date { .. } => unreachable!("a checked table has no date as target"),
        }
    }

    /// Place in the list of a category, or behind it for every other value. A value of the list
    /// is one even if it also stands for a missing value.
    fn category(&self, text: &str, missing: bool) -> Result<u32, Problem> {
        let Content::Category { values, other, .. } = &self.column.content else {
            unreachable!("only called for categories")
        };
        match self.categories.get(text) {
            Some(&place) => Ok(place),
            None if *other => Ok(values.len() as u32),
            None if missing => Err(Problem::Missing(MissingRemedy::Other)),
            None => Err(Problem::UnknownCategory {
                text: text.to_owned(),
                known: values.clone(),
                near: nearest(text, values.iter().map(String::as_str)).map(str::to_owned),
            }),
        }
    }
}

fn flag(features: &mut Vec<f32>, has_flag: bool, missing: bool) {
    if has_flag {
        features.push(f32::from(u8::from(missing)));
    }
}

fn number(text: &str, sign: DecimalSign) -> Result<f64, Problem> {
    let with_comma =
        || (!text.contains('.')).then(|| decimal::parse(&text.replacen(',', ".", 1)))?;
    let value = match sign {
        DecimalSign::Point => decimal::parse(text),
        DecimalSign::Comma => with_comma(),
    };
    value.ok_or_else(|| Problem::NotANumber {
        text: text.to_owned(),
        comma: sign == DecimalSign::Point && text.contains(',') && with_comma().is_some(),
    })
}

fn boolean(text: &str) -> Result<bool, Problem> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "1" => Ok(true),
        "false" | "f" | "no" | "n" | "0" => Ok(false),
        _ => Err(Problem::NotABoolean(text.to_owned())),
    }
}
