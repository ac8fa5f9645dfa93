//! Conversion of descriptions to and from their messages.

use bytes::Bytes;
use prost::Message;

use crate::data::{
    ArraySpec, Column, Content, DataSpec, DateOrder, DatePart, Dtype, EncodedDataSpec, Encoding,
    Fit, ImageSpec, Scaling, TableSpec, TextSpec, Timestamp, key,
};
use crate::limits::{MAX_COLUMNS, MAX_DATA_SPEC_BYTES};
use crate::wire::column::Content as WireContent;
use crate::wire::data_spec::Kind;
use crate::{DecodeError, wire};

/// An enum and its wire numbers, converted both ways.
macro_rules! numbered {
    ($domain:ident = $wire:ident { $($name:ident),+ }) => {
        impl From<$domain> for wire::$wire {
            fn from(value: $domain) -> Self {
                match value { $($domain::$name => Self::$name),+ }
            }
        }

        impl wire::$wire {
            fn read(number: i32) -> Result<$domain, DecodeError> {
                match Self::try_from(number) {
                    $(Ok(Self::$name) => Ok($domain::$name),)+
                    _ => Err(unsupported()),
                }
            }
        }
    };
}

numbered!(Encoding = CategoryEncoding { OneHot, Index });
numbered!(DateOrder = DateOrder { Ymd, Dmy, Mdy });
numbered!(DatePart = DatePart { Span, Year, Week, Day });
numbered!(Fit = ImageFit { Cover, Contain, Stretch });
numbered!(Dtype = ArrayDtype { Float32, Float64, Uint8, Int32, Int64 });

fn unsupported() -> DecodeError {
    DecodeError::Unsupported { what: "a part of the task's description of its data" }
}

fn invalid(field: &'static str, problem: &str) -> DecodeError {
    DecodeError::Invalid { field, problem: problem.to_owned() }
}

impl DataSpec {
    /// Length of the description as a message, bytes.
    pub fn encoded_len(&self) -> usize {
        wire::DataSpec::from(self.clone()).encoded_len()
    }

    /// The description as a message.
    pub fn encoded(&self) -> EncodedDataSpec {
        EncodedDataSpec(wire::DataSpec::from(self.clone()).encode_to_vec().into())
    }
}

impl EncodedDataSpec {
    /// Takes a message, of which it checks the length alone.
    ///
    /// # Errors
    ///
    /// [`DecodeError::OverLimit`] for more than [`MAX_DATA_SPEC_BYTES`].
    pub fn new(bytes: Bytes) -> Result<Self, DecodeError> {
        let (actual, max) = (bytes.len() as u64, MAX_DATA_SPEC_BYTES as u64);
        if actual > max {
            return Err(DecodeError::OverLimit { field: "task.data", actual, max });
        }
        Ok(Self(bytes))
    }

    /// The description.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] for bytes that are none, or one of a later version.
    pub fn decode(&self) -> Result<DataSpec, DecodeError> {
        wire::DataSpec::decode(&*self.0)?.try_into()
    }

    /// The message.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<EncodedDataSpec> for Bytes {
    fn from(data: EncodedDataSpec) -> Self {
        data.0
    }
}

impl From<DataSpec> for wire::DataSpec {
    fn from(data: DataSpec) -> Self {
        let kind = match data {
            DataSpec::Table(table) => Kind::Table(table.into()),
            DataSpec::Image(image) => Kind::Image(image.into()),
            DataSpec::Text(text) => Kind::Text(text.into()),
            DataSpec::Array(array) => Kind::Array(array.into()),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<wire::DataSpec> for DataSpec {
    type Error = DecodeError;

    fn try_from(data: wire::DataSpec) -> Result<Self, DecodeError> {
        Ok(match data.kind.ok_or_else(unsupported)? {
            Kind::Table(table) => Self::Table(table.try_into()?),
            Kind::Image(image) => Self::Image(image.try_into()?),
            Kind::Text(text) => Self::Text(text.try_into()?),
            Kind::Array(array) => Self::Array(array.try_into()?),
        })
    }
}

impl From<Scaling> for wire::Scaling {
    fn from(scaling: Scaling) -> Self {
        Self { offset: scaling.offset(), divisor: scaling.divisor() }
    }
}

impl wire::Scaling {
    fn of(scaling: Scaling) -> Option<Self> {
        (scaling != Scaling::default()).then(|| scaling.into())
    }
}

impl TryFrom<wire::Scaling> for Scaling {
    type Error = DecodeError;

    fn try_from(scaling: wire::Scaling) -> Result<Self, DecodeError> {
        Self::new(scaling.offset, scaling.divisor)
            .ok_or_else(|| invalid("data.scaling", "must be finite, its divisor not 0"))
    }
}

fn scaling(scaling: Option<wire::Scaling>) -> Result<Scaling, DecodeError> {
    scaling.map_or(Ok(Scaling::default()), TryInto::try_into)
}

impl From<TableSpec> for wire::TableSpec {
    fn from(table: TableSpec) -> Self {
        let targets = table.targets().map(|column| column.name.clone()).collect();
        let columns = table.columns().iter().cloned().map(Into::into).collect();
        Self { columns, targets, missing: table.missing().to_vec() }
    }
}

impl TryFrom<wire::TableSpec> for TableSpec {
    type Error = DecodeError;

    fn try_from(table: wire::TableSpec) -> Result<Self, DecodeError> {
        if table.columns.len() > MAX_COLUMNS {
            return Err(key("columns", format!("at most {MAX_COLUMNS} are possible")).into());
        }
        let columns = table.columns.into_iter().map(TryInto::try_into);
        let columns = columns.collect::<Result<Vec<Column>, _>>()?;
        Ok(Self::new(columns, &table.targets, table.missing)?)
    }
}

impl From<Column> for wire::Column {
    fn from(column: Column) -> Self {
        let content = match column.content {
            Content::Number { scaling, fill, flag_missing } => {
                let scaling = wire::Scaling::of(scaling);
                WireContent::Number(wire::NumberColumn { scaling, fill, flag_missing })
            }
            Content::Category { values, encoding, other } => {
                let encoding = wire::CategoryEncoding::from(encoding).into();
                WireContent::Category(wire::CategoryColumn { values, encoding, other })
            }
            Content::Boolean { fill, flag_missing } => {
                WireContent::Boolean(wire::BooleanColumn { fill, flag_missing })
            }
            Content::Date { order, parts, span, fill, flag_missing } => {
                WireContent::Date(wire::DateColumn {
                    order: wire::DateOrder::from(order).into(),
                    parts: parts
                        .into_iter()
                        .map(|part| wire::DatePart::from(part).into())
                        .collect(),
                    min: span.map(|(min, _)| min.seconds()),
                    max: span.map(|(_, max)| max.seconds()),
                    fill: fill.map(Timestamp::seconds),
                    flag_missing,
                })
            }
        };
        Self { name: column.name, content: Some(content) }
    }
}

impl TryFrom<wire::Column> for Column {
    type Error = DecodeError;

    fn try_from(column: wire::Column) -> Result<Self, DecodeError> {
        let content = match column.content.ok_or_else(unsupported)? {
            WireContent::Number(number) => Content::Number {
                scaling: scaling(number.scaling)?,
                fill: number.fill,
                flag_missing: number.flag_missing,
            },
            WireContent::Category(category) => Content::Category {
                values: category.values,
                encoding: wire::CategoryEncoding::read(category.encoding)?,
                other: category.other,
            },
            WireContent::Boolean(boolean) => {
                Content::Boolean { fill: boolean.fill, flag_missing: boolean.flag_missing }
            }
            WireContent::Date(date) => Content::Date {
                order: wire::DateOrder::read(date.order)?,
                parts: date
                    .parts
                    .into_iter()
                    .map(wire::DatePart::read)
                    .collect::<Result<_, _>>()?,
                span: match (time(date.min)?, time(date.max)?) {
                    (None, None) => None,
                    (Some(min), Some(max)) => Some((min, max)),
                    _ => return Err(invalid("data.date", "min and max belong together")),
                },
                fill: time(date.fill)?,
                flag_missing: date.flag_missing,
            },
        };
        Ok(Self { name: column.name, content })
    }
}

fn time(seconds: Option<i64>) -> Result<Option<Timestamp>, DecodeError> {
    let checked = |seconds| {
        Timestamp::from_seconds(seconds)
            .ok_or_else(|| invalid("data.date", "a date is of a year from 1 to 9999"))
    };
    seconds.map(checked).transpose()
}

impl From<ImageSpec> for wire::ImageSpec {
    fn from(image: ImageSpec) -> Self {
        Self {
            channels: image.channels(),
            height: image.height(),
            width: image.width(),
            fit: wire::ImageFit::from(image.fit()).into(),
            normalisation: image.scalings().iter().map(|&scaling| scaling.into()).collect(),
            classes: image.classes().to_vec(),
        }
    }
}

impl TryFrom<wire::ImageSpec> for ImageSpec {
    type Error = DecodeError;

    fn try_from(image: wire::ImageSpec) -> Result<Self, DecodeError> {
        let sides = [image.channels, image.height, image.width];
        let normalisation = image.normalisation.into_iter().map(TryInto::try_into);
        let normalisation = normalisation.collect::<Result<_, _>>()?;
        Ok(Self::new(sides, wire::ImageFit::read(image.fit)?, normalisation, image.classes)?)
    }
}

impl From<TextSpec> for wire::TextSpec {
    fn from(text: TextSpec) -> Self {
        Self {
            context: text.context(),
            stride: text.stride(),
            alphabet: text.alphabet().map(str::to_owned),
            other: text.has_other(),
        }
    }
}

impl TryFrom<wire::TextSpec> for TextSpec {
    type Error = DecodeError;

    fn try_from(text: wire::TextSpec) -> Result<Self, DecodeError> {
        Ok(Self::new(text.alphabet, text.other, text.context, text.stride)?)
    }
}

impl From<ArraySpec> for wire::ArraySpec {
    fn from(array: ArraySpec) -> Self {
        Self {
            shape: array.shape().dims(),
            dtype: wire::ArrayDtype::from(array.dtype()).into(),
            scaling: wire::Scaling::of(array.scaling()),
            vocabulary: array.vocabulary().unwrap_or(0),
        }
    }
}

impl TryFrom<wire::ArraySpec> for ArraySpec {
    type Error = DecodeError;

    fn try_from(array: wire::ArraySpec) -> Result<Self, DecodeError> {
        let vocabulary = (array.vocabulary != 0).then_some(array.vocabulary);
        let dtype = wire::ArrayDtype::read(array.dtype)?;
        Ok(Self::new(&array.shape, vocabulary, dtype, scaling(array.scaling)?)?)
    }
}
