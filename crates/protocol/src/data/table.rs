//! Rows of columns: numbers, categories, booleans and dates, some of them targets.

use serde::{Deserialize, Serialize};

use super::date::{DateOrder, DatePart, Timestamp};
use super::scaling::{Keys, Scaling};
use super::{DataSpecError, TargetKind, all_named, key, named};
use crate::limits::{MAX_CATEGORIES, MAX_COLUMNS, MAX_MISSING};
use crate::model::Shape;

/// Texts that stand for a missing value where a table states none.
const MISSING: [&str; 5] = ["", "?", "NA", "NaN", "null"];

/// Description of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawTable", into = "RawTable")]
pub struct TableSpec {
    columns: Vec<Column>,
    /// Indices of columns.
    targets: Vec<usize>,
    missing: Vec<String>,
}

/// A column of a table. Columns of a file that no description names are passed over.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name in the file's header.
    pub name: String,
    /// Kind of its values, and their form as features.
    pub content: Content,
}

/// Kind of a column's values, and their form as features.
///
/// A missing value is an error, unless there is a value to `fill` in, or `other` stands
/// for it.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Numbers, scaled.
    Number {
        /// Scaling, also of a target.
        scaling: Scaling,
        /// Value in place of a missing one, before it is scaled.
        fill: Option<f64>,
        /// One more feature, 1 where the value is missing.
        flag_missing: bool,
    },
    /// One of the values of a list.
    Category {
        /// The values.
        values: Vec<String>,
        /// Form as features.
        encoding: Encoding,
        /// One more category, for missing values and those that are not in the list.
        other: bool,
    },
    /// `true`, `t`, `yes`, `y` or `1`, and `false`, `f`, `no`, `n` or `0`, in any case.
    Boolean {
        /// Value in place of a missing one.
        fill: Option<bool>,
        /// One more feature, 1 where the value is missing.
        flag_missing: bool,
    },
    /// A date, with or without a time of the day.
    Date {
        /// Order of day, month and year.
        order: DateOrder,
        /// Parts that become features.
        parts: Vec<DatePart>,
        /// Dates that [`DatePart::Span`] makes 0 and 1.
        span: Option<(Timestamp, Timestamp)>,
        /// Date in place of a missing one.
        fill: Option<Timestamp>,
        /// One more feature, 1 where the date is missing.
        flag_missing: bool,
    },
}

/// Form of a category as features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// A feature for each category: 1 for the value's, 0 for the others.
    #[default]
    OneHot,
    /// One feature: the place in the list, from 0.
    Index,
}

/// Kind of a column's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    /// A number.
    Number,
    /// One of the values of a list.
    Category,
    /// True or false.
    Boolean,
    /// A date, with or without a time of the day.
    Date,
}

impl ColumnType {
    /// Its name in a config.
    pub fn name(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Category => "category",
            Self::Boolean => "boolean",
            Self::Date => "date",
        }
    }
}

impl Content {
    /// Kind of the values.
    pub fn column_type(&self) -> ColumnType {
        match self {
            Self::Number { .. } => ColumnType::Number,
            Self::Category { .. } => ColumnType::Category,
            Self::Boolean { .. } => ColumnType::Boolean,
            Self::Date { .. } => ColumnType::Date,
        }
    }

    /// Features that a value becomes.
    pub fn width(&self) -> u32 {
        match self {
            Self::Number { flag_missing, .. } | Self::Boolean { flag_missing, .. } => {
                1 + u32::from(*flag_missing)
            }
            Self::Category { encoding: Encoding::OneHot, .. } => self.categories(),
            Self::Category { encoding: Encoding::Index, .. } => 1,
            Self::Date { parts, flag_missing, .. } => {
                parts.iter().map(|part| part.width()).sum::<u32>() + u32::from(*flag_missing)
            }
        }
    }

    /// Classes of a target: categories with the one for others, or false and true; 0 for
    /// numbers and dates.
    pub fn categories(&self) -> u32 {
        match self {
            Self::Category { values, other, .. } => values.len() as u32 + u32::from(*other),
            Self::Boolean { .. } => 2,
            Self::Number { .. } | Self::Date { .. } => 0,
        }
    }
}

impl Column {
    fn feature_names(&self) -> Vec<String> {
        let name = &self.name;
        let mut names = match &self.content {
            Content::Number { .. }
            | Content::Boolean { .. }
            | Content::Category { encoding: Encoding::Index, .. } => vec![name.clone()],
            Content::Category { values, other, .. } => {
                let listed = values.iter().map(|value| format!("{name} = {value}"));
                listed.chain(other.then(|| format!("{name} (other)"))).collect()
            }
            Content::Date { parts, .. } => {
                parts.iter().flat_map(|part| self.parts(*part)).collect()
            }
        };
        if self.content.width() as usize > names.len() {
            names.push(format!("{name} (missing)"));
        }
        names
    }

    fn parts(&self, part: DatePart) -> Vec<String> {
        let of = |what: &str| format!("{} ({}{what})", self.name, part.name());
        match part {
            DatePart::Span => vec![of("")],
            _ => vec![of(", sine"), of(", cosine")],
        }
    }
}

impl TableSpec {
    /// Checks columns, the names of the targets among them, and texts that stand for a
    /// missing value.
    ///
    /// # Errors
    ///
    /// [`DataSpecError`] for the first mistake.
    pub fn new(
        columns: Vec<Column>,
        targets: &[String],
        missing: Vec<String>,
    ) -> Result<Self, DataSpecError> {
        let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        all_named("columns", &names, 1, MAX_COLUMNS)?;
        all_named("target", targets, 1, MAX_COLUMNS)?;
        if missing.len() > MAX_MISSING {
            let problem = format!("at most {MAX_MISSING} texts are possible");
            return Err(key("missing", problem));
        }
        missing.iter().try_for_each(|text| named("missing", text))?;
        let index = |target: &String| {
            let found = names.iter().position(|name| name == target);
            let known = names.join(", ");
            found.ok_or_else(|| {
                key("target", format!("no column is called {target:?}; the columns are {known}"))
            })
        };
        let targets = targets.iter().map(index).collect::<Result<Vec<_>, _>>()?;
        let table = Self { columns, targets, missing };
        table.columns.iter().try_for_each(check)?;
        table.check_targets()?;
        if table.inputs().next().is_none() {
            return Err(key("columns", "every column is a target; name one to learn from"));
        }
        if table.width() > crate::limits::MAX_ACTIVATIONS {
            return Err(key("columns", "the columns make too many features"));
        }
        Ok(table)
    }

    fn check_targets(&self) -> Result<(), DataSpecError> {
        for column in self.targets() {
            let fault = |problem: &str| DataSpecError::Column {
                name: column.name.clone(),
                problem: problem.to_owned(),
            };
            match &column.content {
                Content::Number { fill: Some(_), .. } | Content::Boolean { fill: Some(_), .. } => {
                    return Err(fault("a missing target cannot be filled in; leave fill out"));
                }
                Content::Number { flag_missing: true, .. }
                | Content::Boolean { flag_missing: true, .. } => {
                    return Err(fault("a target has no features; leave flag_missing out"));
                }
                Content::Date { .. } => {
                    return Err(fault("a date cannot be a target; make it a number in the file"));
                }
                Content::Category { .. } if self.targets.len() > 1 => {
                    return Err(fault(
                        "a category is a target by itself; several targets are numbers, or booleans",
                    ));
                }
                Content::Category { .. } if column.content.categories() < 2 => {
                    return Err(fault("a target needs at least 2 categories"));
                }
                _ => {}
            }
        }
        let first = self.columns[self.targets[0]].content.column_type();
        match self.targets().find(|column| column.content.column_type() != first) {
            None => Ok(()),
            Some(column) => Err(DataSpecError::Column {
                name: column.name.clone(),
                problem: "several targets are all numbers, or all booleans".to_owned(),
            }),
        }
    }

    /// All columns, in the order of the description.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Columns that become features, in their order.
    pub fn inputs(&self) -> impl Iterator<Item = &Column> {
        let is_input = |(index, column)| (!self.targets.contains(&index)).then_some(column);
        self.columns.iter().enumerate().filter_map(is_input)
    }

    /// Columns that are targets, in the order in which they were named.
    pub fn targets(&self) -> impl Iterator<Item = &Column> {
        self.targets.iter().map(|&index| &self.columns[index])
    }

    /// Names of the features, in their order: `age`, `age (missing)`, `job = nurse`,
    /// `since (year, sine)`.
    pub fn feature_names(&self) -> Vec<String> {
        self.inputs().flat_map(Column::feature_names).collect()
    }

    /// True if a text stands for a missing value.
    pub fn is_missing(&self, text: &str) -> bool {
        self.missing.iter().any(|missing| missing == text)
    }

    /// Texts that stand for a missing value.
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    fn width(&self) -> u64 {
        self.inputs().map(|column| u64::from(column.content.width())).sum()
    }

    pub(super) fn shape(&self) -> Shape {
        // Within the limit of activations by its check.
        Shape::Features(self.width() as u32)
    }

    pub(super) fn target_kind(&self) -> TargetKind {
        let count = self.targets.len() as u32;
        let content = &self.columns[self.targets[0]].content;
        match content {
            Content::Number { .. } | Content::Date { .. } => TargetKind::Values(count),
            Content::Boolean { .. } if count > 1 => TargetKind::Answers(count),
            Content::Boolean { .. } | Content::Category { .. } => {
                TargetKind::Classes(content.categories())
            }
        }
    }
}

fn check(column: &Column) -> Result<(), DataSpecError> {
    let fault = |problem: String| DataSpecError::Column { name: column.name.clone(), problem };
    if column.name.is_empty() {
        return Err(fault("a column needs a name".to_owned()));
    }
    match &column.content {
        Content::Number { fill, .. } if fill.is_some_and(|fill| !fill.is_finite()) => {
            Err(fault("fill must be a finite number".to_owned()))
        }
        Content::Category { values, .. } => {
            all_named("values", values, 1, MAX_CATEGORIES).map_err(|error| fault(error.to_string()))
        }
        Content::Date { parts, span, .. } => {
            let twice = (1..parts.len()).any(|at| parts[..at].contains(&parts[at]));
            if parts.is_empty() || twice {
                return Err(fault("parts must name one or more, each once".to_owned()));
            }
            match (parts.contains(&DatePart::Span), span) {
                (true, None) => Err(fault("the part span needs the dates min and max".to_owned())),
                (false, Some(_)) => {
                    Err(fault("min and max are for the part span; name it in parts".to_owned()))
                }
                (_, Some((min, max))) if min >= max => {
                    Err(fault("max must be above min".to_owned()))
                }
                _ => Ok(()),
            }
        }
        Content::Number { .. } | Content::Boolean { .. } => Ok(()),
    }
}

/// Table as it is written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTable {
    columns: Vec<RawColumn>,
    target: OneOrMore,
    #[serde(default = "missing")]
    missing: Vec<String>,
}

fn missing() -> Vec<String> {
    MISSING.map(str::to_owned).into()
}

/// A name, or a list of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// Column as it is written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawColumn {
    name: String,
    r#type: ColumnType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mean: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deviation: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min: Option<RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max: Option<RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fill: Option<RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    flag_missing: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    values: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    encoding: Option<Encoding>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    other: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parts: Option<Vec<DatePart>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    order: Option<DateOrder>,
}

/// Value of a key whose type is the column's.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum RawValue {
    Boolean(bool),
    Number(f64),
    Text(String),
}

impl RawColumn {
    fn empty(name: String, r#type: ColumnType) -> Self {
        Self {
            name,
            r#type,
            mean: None,
            deviation: None,
            min: None,
            max: None,
            fill: None,
            flag_missing: None,
            values: None,
            encoding: None,
            other: None,
            parts: None,
            order: None,
        }
    }

    /// The first key that a column of this type has no use for.
    fn misplaced(&self) -> Option<(&'static str, &'static str)> {
        use ColumnType::{Category, Date, Number};
        let (is, of) = (self.r#type, "a number");
        let keys = [
            ("mean", self.mean.is_some(), is == Number, of),
            ("deviation", self.deviation.is_some(), is == Number, of),
            ("min", self.min.is_some(), matches!(is, Number | Date), "a number or a date"),
            ("max", self.max.is_some(), matches!(is, Number | Date), "a number or a date"),
            ("fill", self.fill.is_some(), is != Category, "a column without values"),
            (
                "flag_missing",
                self.flag_missing.is_some(),
                is != Category,
                "a column without values",
            ),
            ("values", self.values.is_some(), is == Category, "a category"),
            ("encoding", self.encoding.is_some(), is == Category, "a category"),
            ("other", self.other.is_some(), is == Category, "a category"),
            ("parts", self.parts.is_some(), is == Date, "a date"),
            ("order", self.order.is_some(), is == Date, "a date"),
        ];
        keys.into_iter()
            .find(|(_, is_there, fits, _)| *is_there && !fits)
            .map(|(key, _, _, of)| (key, of))
    }

    fn content(self) -> Result<Content, String> {
        if let Some((key, of)) = self.misplaced() {
            return Err(format!("{key} is a key of {of}; leave it out, or change the type"));
        }
        let flag_missing = self.flag_missing.unwrap_or(false);
        let content = match self.r#type {
            ColumnType::Number => Content::Number {
                scaling: Scaling::of_keys(Keys {
                    mean: self.mean,
                    deviation: self.deviation,
                    min: number("min", self.min.as_ref())?,
                    max: number("max", self.max.as_ref())?,
                })?,
                fill: number("fill", self.fill.as_ref())?,
                flag_missing,
            },
            ColumnType::Category => Content::Category {
                values: self.values.ok_or("a category needs the list of its values")?,
                encoding: self.encoding.unwrap_or_default(),
                other: self.other.unwrap_or(false),
            },
            ColumnType::Boolean => Content::Boolean {
                fill: match self.fill {
                    None => None,
                    Some(RawValue::Boolean(fill)) => Some(fill),
                    Some(_) => return Err("fill must be true or false".to_owned()),
                },
                flag_missing,
            },
            ColumnType::Date => {
                let span = match (date("min", self.min)?, date("max", self.max)?) {
                    (None, None) => None,
                    (Some(min), Some(max)) => Some((min, max)),
                    _ => return Err("give min and max together".to_owned()),
                };
                Content::Date {
                    order: self.order.unwrap_or_default(),
                    parts: self.parts.ok_or("a date needs parts: span, year, week, day")?,
                    span,
                    fill: date("fill", self.fill)?,
                    flag_missing,
                }
            }
        };
        if flag_missing && !content.has_fill() {
            return Err("flag_missing needs a value to fill in; give fill".to_owned());
        }
        Ok(content)
    }
}

impl Content {
    fn has_fill(&self) -> bool {
        match self {
            Self::Number { fill, .. } => fill.is_some(),
            Self::Boolean { fill, .. } => fill.is_some(),
            Self::Date { fill, .. } => fill.is_some(),
            Self::Category { other, .. } => *other,
        }
    }
}

fn number(key: &str, value: Option<&RawValue>) -> Result<Option<f64>, String> {
    match value {
        None => Ok(None),
        Some(&RawValue::Number(value)) => Ok(Some(value)),
        Some(_) => Err(format!("{key} must be a number")),
    }
}

fn date(key: &str, value: Option<RawValue>) -> Result<Option<Timestamp>, String> {
    match value {
        None => Ok(None),
        Some(RawValue::Text(text)) => match Timestamp::parse(&text, DateOrder::Ymd) {
            Some(date) => Ok(Some(date)),
            None => Err(format!("{key} must be a date such as \"2026-11-29\"; it is {text:?}")),
        },
        Some(_) => Err(format!("{key} must be a date in quotes, such as \"2026-11-29\"")),
    }
}

impl TryFrom<RawTable> for TableSpec {
    type Error = DataSpecError;

    fn try_from(raw: RawTable) -> Result<Self, DataSpecError> {
        let column = |raw: RawColumn| {
            let name = raw.name.clone();
            match raw.content() {
                Ok(content) => Ok(Column { name, content }),
                Err(problem) => Err(DataSpecError::Column { name, problem }),
            }
        };
        let columns = raw.columns.into_iter().map(column).collect::<Result<_, _>>()?;
        let targets = match raw.target {
            OneOrMore::One(name) => vec![name],
            OneOrMore::More(names) => names,
        };
        Self::new(columns, &targets, raw.missing)
    }
}

impl From<TableSpec> for RawTable {
    fn from(table: TableSpec) -> Self {
        let mut targets: Vec<String> = table.targets().map(|column| column.name.clone()).collect();
        let target = match targets.len() {
            1 => OneOrMore::One(targets.remove(0)),
            _ => OneOrMore::More(targets),
        };
        let columns = table.columns.into_iter().map(Into::into).collect();
        Self { columns, target, missing: table.missing }
    }
}

impl From<Column> for RawColumn {
    fn from(column: Column) -> Self {
        let raw = Self::empty(column.name, column.content.column_type());
        let flag = |flag: bool| flag.then_some(true);
        match column.content {
            Content::Number { scaling, fill, flag_missing } => {
                let Keys { mean, deviation, .. } = scaling.keys();
                let fill = fill.map(RawValue::Number);
                Self { mean, deviation, fill, flag_missing: flag(flag_missing), ..raw }
            }
            Content::Category { values, encoding, other } => {
                Self { values: Some(values), encoding: Some(encoding), other: flag(other), ..raw }
            }
            Content::Boolean { fill, flag_missing } => {
                Self { fill: fill.map(RawValue::Boolean), flag_missing: flag(flag_missing), ..raw }
            }
            Content::Date { order, parts, span, fill, flag_missing } => {
                let text = |time: Timestamp| RawValue::Text(time.to_string());
                Self {
                    order: Some(order),
                    parts: Some(parts),
                    min: span.map(|(min, _)| text(min)),
                    max: span.map(|(_, max)| text(max)),
                    fill: fill.map(text),
                    flag_missing: flag(flag_missing),
                    ..raw
                }
            }
        }
    }
}
