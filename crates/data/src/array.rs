//! Array files that arrive in pieces: NumPy's `.npy` (NEP 1, versions 1 to 3) and IDX.

use fedra_protocol::Shape;
use fedra_protocol::data::{ArraySpec, Dtype};

use crate::error::DatasetError;
use crate::features::Features;
use crate::memory::OutOfMemory;
use crate::read_error::{Place, Problem, ReadError};

const NUMPY: &[u8] = b"\x93NUMPY";
/// Longest header, bytes.
const MOST_HEADER: usize = 1 << 16;

/// Contents of a file of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The examples.
    Features,
    /// Their labels.
    Labels,
}

/// Reader of one array.
pub(crate) struct ArrayFile {
    file: String,
    part: Part,
    header: Option<Header>,
    /// Bytes of the header or of a number that has begun.
    begun: Vec<u8>,
    /// Bytes of numbers so far.
    bytes: u64,
    values: Features,
}

/// Numbers of a file, and their order.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Header {
    element: Element,
    shape: Vec<u64>,
}

/// Type of a number in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Element {
    kind: Kind,
    size: usize,
    is_big_endian: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Float,
    Signed,
    Unsigned,
}

/// An array that was read.
pub(crate) struct Array {
    pub values: Features,
    /// Shape, the number of examples first.
    pub shape: Vec<u64>,
}

impl ArrayFile {
    pub fn new(file: &str, part: Part, spec: &ArraySpec) -> Self {
        let values = match (part, spec.shape()) {
            (Part::Features, Shape::Tokens { .. }) => Features::Tokens(Vec::new()),
            _ => Features::Values(Vec::new()),
        };
        Self { file: file.to_owned(), part, header: None, begun: Vec::new(), bytes: 0, values }
    }

    pub fn push(&mut self, bytes: &[u8], spec: &ArraySpec) -> Result<(), ReadError> {
        let place = || Place::file(&self.file);
        if self.header.is_some() {
            return self.numbers(bytes, spec);
        }
        self.begun.extend_from_slice(bytes);
        let parsed = parse(&self.begun).map_err(|problem| place().error(problem))?;
        let Some((header, length)) = parsed else {
            if self.begun.len() > MOST_HEADER {
                return Err(place().error(Problem::ArrayHeader("it is too long".to_owned())));
            }
            return Ok(());
        };
        self.check(&header, spec).map_err(|problem| place().error(problem))?;
        self.header = Some(header);
        let rest = self.begun.split_off(length);
        self.begun.clear();
        self.numbers(&rest, spec)
    }

    pub fn end(self) -> Result<Array, ReadError> {
        let place = Place::file(&self.file);
        let Some(header) = self.header else {
            let problem = match self.begun.is_empty() {
                true => Problem::EmptyFile,
                false if self.begun.starts_with(NUMPY) => {
                    Problem::ArrayHeader("the file ends in it".to_owned())
                }
                false => Problem::NotAnArray,
            };
            return Err(place.error(problem));
        };
        let promised = header.bytes();
        if promised != self.bytes {
            return Err(place.error(Problem::ArrayLength { promised, actual: self.bytes }));
        }
        Ok(Array { values: self.values, shape: header.shape })
    }

    /// Holds a header against the task's description.
    fn check(&self, header: &Header, spec: &ArraySpec) -> Result<(), Problem> {
        if header.shape.first().is_none_or(|&examples| examples == 0) {
            return Err(DatasetError::Empty.into());
        }
        if self.part == Part::Labels {
            return Ok(());
        }
        if header.element.dtype() != Some(spec.dtype()) {
            let (expected, actual) = (spec.dtype(), header.element.name());
            return Err(Problem::Dtype { expected, actual });
        }
        let actual = header.shape[1..].to_vec();
        let expected = spec.shape().dims();
        let wide: Vec<u64> = expected.iter().map(|&side| side.into()).collect();
        let len: u64 = wide.iter().product();
        // A model of flat features takes images of one channel row by row.
        let is_flat = wide.len() == 1 && actual.len() == 2;
        let same = actual == wide
            || actual == [len]
            || wide.first() == Some(&1) && actual == wide[1..]
            || is_flat && actual[0].checked_mul(actual[1]) == Some(len);
        if same { Ok(()) } else { Err(Problem::ArrayShape { expected, actual }) }
    }

    fn numbers(&mut self, bytes: &[u8], spec: &ArraySpec) -> Result<(), ReadError> {
        let place = || Place::file(&self.file);
        let Some(header) = &self.header else { unreachable!("called behind the header") };
        // Bytes beyond those that the header promises are only counted.
        let left = header.bytes().saturating_sub(self.bytes).min(bytes.len() as u64);
        self.bytes += bytes.len() as u64;
        let mut bytes = &bytes[..left as usize];
        let size = header.element.size;
        if !self.begun.is_empty() {
            let missing = (size - self.begun.len()).min(bytes.len());
            self.begun.extend_from_slice(&bytes[..missing]);
            bytes = &bytes[missing..];
            if self.begun.len() < size {
                return Ok(());
            }
            let begun = std::mem::take(&mut self.begun);
            put(&begun, header.element, self.part, spec, &mut self.values)
                .map_err(|problem| place().error(problem))?;
        }
        let whole = bytes.len() - bytes.len() % size;
        put(&bytes[..whole], header.element, self.part, spec, &mut self.values)
            .map_err(|problem| place().error(problem))?;
        self.begun.extend_from_slice(&bytes[whole..]);
        Ok(())
    }
}

/// Appends whole numbers.
fn put(
    bytes: &[u8],
    element: Element,
    part: Part,
    spec: &ArraySpec,
    values: &mut Features,
) -> Result<(), Problem> {
    let count = bytes.len() / element.size;
    let more = OutOfMemory { bytes: 4 * (values.len() + count) as u64 };
    let numbers = bytes.chunks_exact(element.size).map(|bytes| element.number(bytes));
    match (values, part, spec.shape()) {
        (Features::Tokens(ids), Part::Features, Shape::Tokens { vocabulary, .. }) => {
            ids.try_reserve(count).map_err(|_| more)?;
            for value in numbers {
                let is_id = value >= 0.0 && value < f64::from(vocabulary);
                if !is_id {
                    return Err(Problem::NotAToken { value, vocabulary });
                }
                ids.push(value as u32);
            }
        }
        (Features::Values(values), Part::Features, _) => {
            values.try_reserve(count).map_err(|_| more)?;
            values.extend(numbers.map(|value| spec.scaling().apply(value) as f32));
        }
        (Features::Values(values), Part::Labels, _) => {
            values.try_reserve(count).map_err(|_| more)?;
            values.extend(numbers.map(|value| value as f32));
        }
        (Features::Tokens(_), ..) => unreachable!("ids are made for token ids"),
    }
    Ok(())
}

impl Header {
    fn bytes(&self) -> u64 {
        let count = self.shape.iter().try_fold(1u64, |count, &side| count.checked_mul(side));
        count.and_then(|count| count.checked_mul(self.element.size as u64)).unwrap_or(u64::MAX)
    }
}

impl Element {
    fn dtype(self) -> Option<Dtype> {
        Some(match (self.kind, self.size) {
            (Kind::Float, 4) => Dtype::Float32,
            (Kind::Float, 8) => Dtype::Float64,
            (Kind::Unsigned, 1) => Dtype::Uint8,
            (Kind::Signed, 4) => Dtype::Int32,
            (Kind::Signed, 8) => Dtype::Int64,
            _ => return None,
        })
    }

    fn name(self) -> String {
        let kind = match self.kind {
            Kind::Float => "float",
            Kind::Signed => "int",
            Kind::Unsigned => "uint",
        };
        format!("{kind}{}", 8 * self.size)
    }

    /// The number, exact up to 53 bits.
    fn number(self, bytes: &[u8]) -> f64 {
        let mut all = [0; 8];
        for (at, &byte) in bytes.iter().enumerate() {
            all[if self.is_big_endian { self.size - 1 - at } else { at }] = byte;
        }
        let raw = u64::from_le_bytes(all);
        match (self.kind, self.size) {
            (Kind::Float, 4) => f32::from_bits(raw as u32).into(),
            (Kind::Float, _) => f64::from_bits(raw),
            (Kind::Unsigned, _) => raw as f64,
            (Kind::Signed, size) => {
                let unused = 64 - 8 * size as u32;
                ((raw << unused) as i64 >> unused) as f64
            }
        }
    }
}

/// The header at the start of a file and its length; `None` if more of it is needed.
fn parse(start: &[u8]) -> Result<Option<(Header, usize)>, Problem> {
    if start.len() < NUMPY.len() {
        return Ok(None);
    }
    if start.starts_with(NUMPY) { numpy(start) } else { idx(start) }
}

fn idx(start: &[u8]) -> Result<Option<(Header, usize)>, Problem> {
    let &[0, 0, code, dimensions, ..] = start else { return Err(Problem::NotAnArray) };
    let (kind, size) = match code {
        0x08 => (Kind::Unsigned, 1),
        0x09 => (Kind::Signed, 1),
        0x0b => (Kind::Signed, 2),
        0x0c => (Kind::Signed, 4),
        0x0d => (Kind::Float, 4),
        0x0e => (Kind::Float, 8),
        _ => return Err(Problem::NotAnArray),
    };
    let length = 4 + 4 * usize::from(dimensions);
    let Some(sides) = start.get(4..length) else { return Ok(None) };
    let side =
        |bytes: &[u8]| u64::from(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    let shape = sides.chunks_exact(4).map(side).collect();
    Ok(Some((Header { element: Element { kind, size, is_big_endian: true }, shape }, length)))
}

fn numpy(start: &[u8]) -> Result<Option<(Header, usize)>, Problem> {
    let damaged = |what: &str| Problem::ArrayHeader(what.to_owned());
    let (begin, length) = match start {
        [_, _, _, _, _, _, 1, _, a, b, ..] => (10, usize::from(u16::from_le_bytes([*a, *b]))),
        [_, _, _, _, _, _, 2 | 3, _, a, b, c, d, ..] => {
            (12, u32::from_le_bytes([*a, *b, *c, *d]) as usize)
        }
        [_, _, _, _, _, _, version, ..] if !(1..=3).contains(version) => {
            return Err(damaged(&format!("version {version} is not known")));
        }
        _ => return Ok(None),
    };
    if length > MOST_HEADER {
        return Err(damaged("it is too long"));
    }
    let Some(text) = start.get(begin..begin + length) else { return Ok(None) };
    let text = std::str::from_utf8(text).map_err(|_| damaged("it is no text"))?;
    let after = |key: &str| {
        let found = text.split_once(key).and_then(|(_, rest)| rest.split_once(':'));
        found.map(|(_, rest)| rest.trim_start()).ok_or_else(|| damaged(&format!("it has no {key}")))
    };
    if after("'fortran_order'")?.starts_with("True") {
        return Err(Problem::FortranOrder);
    }
    let descr = after("'descr'")?;
    let descr = descr.strip_prefix('\'').and_then(|rest| rest.split_once('\''));
    let element = element(descr.map_or("", |(descr, _)| descr))?;
    let sides = after("'shape'")?.strip_prefix('(').and_then(|rest| rest.split_once(')'));
    let sides = sides.ok_or_else(|| damaged("its shape is none"))?.0;
    let side = |side: &str| side.trim().parse().map_err(|_| damaged("its shape is none"));
    let shape = sides.split(',').filter(|side| !side.trim().is_empty()).map(side);
    Ok(Some((Header { element, shape: shape.collect::<Result<_, _>>()? }, begin + length)))
}

/// The type of numbers that NumPy calls `descr`, such as `<f4`.
fn element(descr: &str) -> Result<Element, Problem> {
    let unknown = || Problem::ArrayHeader(format!("the type {descr:?} is not known"));
    let mut characters = descr.chars();
    let (order, kind) = (characters.next(), characters.next());
    let size: usize = characters.as_str().parse().map_err(|_| unknown())?;
    let kind = match kind {
        Some('f') if matches!(size, 4 | 8) => Kind::Float,
        Some('i') if matches!(size, 1 | 2 | 4 | 8) => Kind::Signed,
        Some('u' | 'b') if matches!(size, 1 | 2 | 4 | 8) => Kind::Unsigned,
        _ => return Err(unknown()),
    };
    Ok(Element { kind, size, is_big_endian: order == Some('>') })
}
