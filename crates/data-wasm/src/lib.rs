//! Files as data sets: the page's worker hands over their bytes, and pixels that the
//! browser has decoded.
//!
//! A module apart from the client's, because only a page that gives files needs it.
//! It must not know the client.
#![cfg(target_arch = "wasm32")]

use fedra_data::{
    CsvOptions, Features, Part, Picture, Place, Problem, ReadError, ReadOptions, Reader, Targets,
};
use fedra_protocol::{DataSpec, EncodedDataSpec, Shape};
use js_sys::{Array, Float32Array, Object, Reflect, Uint32Array};
use wasm_bindgen::prelude::{JsError, JsValue, wasm_bindgen};

#[wasm_bindgen]
extern "C" {
    /// Choices of the page, which has checked them.
    pub type Options;

    #[wasm_bindgen(method, getter)]
    fn delimiter(this: &Options) -> Option<String>;

    #[wasm_bindgen(method, getter)]
    fn decimal(this: &Options) -> Option<String>;

    #[wasm_bindgen(method, getter, js_name = maxExamples)]
    fn max_examples(this: &Options) -> Option<u32>;

    #[wasm_bindgen(method, getter)]
    fn seed(this: &Options) -> Option<u32>;
}

impl Options {
    fn read(&self) -> Result<ReadOptions, JsValue> {
        let bad = |key: &str, error: &dyn ToString| {
            coded("invalid-options", &format!("{key} {}", error.to_string()))
        };
        let delimiter = self.delimiter().map(|text| CsvOptions::delimiter_of(&text)).transpose();
        let decimal = self.decimal().map(|text| text.parse()).transpose();
        let csv = CsvOptions {
            delimiter: delimiter.map_err(|error| bad("delimiter", &error))?,
            decimal: decimal.map_err(|error| bad("decimal", &error))?.unwrap_or_default(),
        };
        Ok(ReadOptions {
            csv,
            most: self.max_examples().map(|most| most as usize),
            seed: self.seed().unwrap_or(0).into(),
        })
    }
}

/// Reader of one data set, file by file. A mistake ends it.
#[wasm_bindgen]
pub struct DataReader {
    reader: Option<Reader>,
    /// Of a table's features.
    names: Option<Vec<String>>,
}

#[wasm_bindgen]
impl DataReader {
    /// Reader for a task, from what `EdgeClient.dataDescription` promises: the message that
    /// describes the data, unless they are bytes in the model's shape; the dimensions of
    /// the model's input, and its vocabulary, 0 of values; and the positions at which it
    /// has outputs.
    ///
    /// # Errors
    ///
    /// An `Error` with the code `unsupported-task` for a description that this version does
    /// not understand, or `invalid-options`.
    #[wasm_bindgen(constructor)]
    pub fn new(
        description: Option<Vec<u8>>,
        input: &[u32],
        vocabulary: u32,
        positions: u32,
        options: &Options,
    ) -> Result<DataReader, JsValue> {
        console_error_panic_hook::set_once();
        let not_understood = |error: &dyn ToString| {
            let message = format!("the task's description of its data: {}", error.to_string());
            coded("unsupported-task", &message)
        };
        let spec = match description {
            Some(bytes) => EncodedDataSpec::new(bytes.into())
                .and_then(|data| data.decode())
                .map_err(|error| not_understood(&error))?,
            None => DataSpec::of_bytes(
                shape(input, vocabulary).ok_or_else(|| not_understood(&"no shape of a model"))?,
            ),
        };
        let reader = Reader::new(&spec, positions as usize, options.read()?);
        let names = match &spec {
            DataSpec::Table(table) => Some(table.feature_names()),
            _ => None,
        };
        Ok(Self { reader: Some(reader), names })
    }

    /// Begins a file, which holds an array's labels or anything else.
    ///
    /// # Errors
    ///
    /// An `Error` with the code `bad-dataset`.
    pub fn open(&mut self, name: &str, is_labels: bool) -> Result<(), JsValue> {
        let part = if is_labels { Part::Labels } else { Part::Features };
        self.with(|reader| reader.open(name, part))
    }

    /// Takes the next bytes of the file.
    ///
    /// # Errors
    ///
    /// An `Error` with the code `bad-dataset` and the place of the mistake.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), JsValue> {
        self.with(|reader| reader.push(bytes))
    }

    /// Ends the file.
    ///
    /// # Errors
    ///
    /// An `Error` with the code `bad-dataset`.
    pub fn close(&mut self) -> Result<(), JsValue> {
        self.with(Reader::close)
    }

    /// Takes a decoded picture of a class: red, green, blue and opacity of each pixel.
    ///
    /// # Errors
    ///
    /// An `Error` with the code `bad-dataset`.
    pub fn picture(
        &mut self,
        name: &str,
        width: u32,
        height: u32,
        rgba: &[u8],
        label: &str,
    ) -> Result<(), JsValue> {
        self.with(|reader| {
            let picture = Picture::new(width, height, rgba)
                .map_err(|problem| Place::file(name).error(problem))?;
            reader.picture(name, picture, label)
        })
    }

    /// Examples that were read so far.
    #[wasm_bindgen(getter)]
    pub fn examples(&self) -> f64 {
        self.reader.as_ref().map_or(0, Reader::examples) as f64
    }

    /// The data set as arrays: `features`, `labels` (one class number an example or a
    /// position, or values row by row) and `shape`; of a table also the `names` of its
    /// features. It ends the reader.
    ///
    /// # Errors
    ///
    /// An `Error` with the code `bad-dataset`.
    pub fn arrays(&mut self) -> Result<JsValue, JsValue> {
        let data = self.take()?.finish().map_err(|error| bad(&error))?;
        let features: JsValue = match data.features() {
            Features::Values(values) => Float32Array::from(&values[..]).into(),
            Features::Tokens(ids) => Uint32Array::from(&ids[..]).into(),
        };
        let labels: JsValue = match data.targets() {
            Targets::Values { values, .. } => Float32Array::from(&values[..]).into(),
            Targets::Classes(classes) | Targets::PositionClasses { classes, .. } => {
                Uint32Array::from(&classes[..]).into()
            }
        };
        let shape: Vec<u32> =
            std::iter::once(data.len() as u32).chain(data.shape().dims()).collect();
        let shape = Uint32Array::from(&shape[..]).into();
        let arrays = Object::new();
        for (name, array) in [("features", features), ("labels", labels), ("shape", shape)] {
            Reflect::set(&arrays, &name.into(), &array)?;
        }
        if let Some(names) = &self.names {
            let names: Array = names.iter().map(|name| JsValue::from_str(name)).collect();
            Reflect::set(&arrays, &"names".into(), &names)?;
        }
        Ok(arrays.into())
    }

    fn with(
        &mut self,
        act: impl FnOnce(&mut Reader) -> Result<(), ReadError>,
    ) -> Result<(), JsValue> {
        let mut reader = self.take()?;
        act(&mut reader).map_err(|error| bad(&error))?;
        self.reader = Some(reader);
        Ok(())
    }

    fn take(&mut self) -> Result<Reader, JsValue> {
        self.reader.take().ok_or_else(|| coded("bad-dataset", "the reader has ended"))
    }
}

/// Shape of a model's input; `vocabulary` is 0 of values.
fn shape(input: &[u32], vocabulary: u32) -> Option<Shape> {
    match (vocabulary, input) {
        (0, _) => Shape::from_dims(input),
        (_, &[positions]) => Shape::from_tokens(positions, vocabulary),
        _ => None,
    }
}

fn bad(error: &ReadError) -> JsValue {
    let code = match *error.problem {
        Problem::Memory(_) => "out-of-memory",
        _ => "bad-dataset",
    };
    coded(code, &error.to_string())
}

/// An `Error` with a stable `code`, one of the client's.
fn coded(code: &str, message: &str) -> JsValue {
    let error: JsValue = JsError::new(message).into();
    // Setting a property of a fresh object does not fail.
    let _ = Reflect::set(&error, &"code".into(), &code.into());
    error
}
