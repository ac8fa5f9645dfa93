//! Files as data sets: the page's worker hands over their bytes, and pixels that the
//! browser has decoded.

use std::cell::RefCell;
use std::rc::Rc;

use fedra_data::{
    CsvOptions, DecimalSign, Features, Part, Picture, Place, Problem, ReadError, ReadOptions,
    Reader, Targets,
};
use fedra_protocol::DataSpec;
use js_sys::{Array, Float32Array, Object, Promise, Reflect, Uint32Array};
use serde::Deserialize;
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};
use wasm_bindgen_futures::future_to_promise;

use super::coded;
use crate::client::{Client, DataRefused};
use crate::codes::CallFault;
use crate::failure::Failure;
use crate::local_data::LocalData;

/// Choices of the page.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Options {
    delimiter: Option<char>,
    #[serde(default)]
    decimal: Decimal,
    max_examples: Option<u32>,
    #[serde(default)]
    seed: u32,
}

#[derive(Debug, Default, Deserialize)]
enum Decimal {
    #[default]
    #[serde(rename = ".")]
    Point,
    #[serde(rename = ",")]
    Comma,
}

impl Options {
    fn read(self) -> Result<ReadOptions, JsValue> {
        let delimiter = self.delimiter.map(u8::try_from).transpose();
        let delimiter = delimiter.map_err(|_| {
            coded(CallFault::InvalidOptions, "delimiter must be one ASCII character")
        })?;
        let decimal = match self.decimal {
            Decimal::Point => DecimalSign::Point,
            Decimal::Comma => DecimalSign::Comma,
        };
        Ok(ReadOptions {
            csv: CsvOptions { delimiter, decimal },
            most: self.max_examples.map(|most| most as usize),
            seed: self.seed.into(),
        })
    }
}

/// Promises a [`DataReader`], once the task is known.
pub(super) fn reader(client: Rc<Client>, options: JsValue) -> Promise {
    future_to_promise(async move {
        let options: Options = serde_wasm_bindgen::from_value(options)
            .map_err(|error| coded(CallFault::InvalidOptions, &error.to_string()))?;
        let options = options.read()?;
        let task = client.description().await.map_err(|error| refused(&error))?;
        let spec = task.data_or_bytes();
        let reader = RefCell::new(Some(Reader::new(&spec, &task.model, options)));
        Ok(DataReader { client, spec, reader }.into())
    })
}

/// Reader of one data set, file by file. A mistake ends it.
#[wasm_bindgen]
pub struct DataReader {
    client: Rc<Client>,
    /// The task's description when the reading began.
    spec: DataSpec,
    reader: RefCell<Option<Reader>>,
}

#[wasm_bindgen]
impl DataReader {
    /// Kind of the task's data: `table`, `text`, `array` or `image`.
    #[wasm_bindgen(getter)]
    pub fn kind(&self) -> String {
        self.spec.kind().to_owned()
    }

    /// Begins a file, which holds an array's labels or anything else.
    ///
    /// # Errors
    ///
    /// An `Error` with the code `bad-dataset`.
    pub fn open(&self, name: &str, is_labels: bool) -> Result<(), JsValue> {
        let part = if is_labels { Part::Labels } else { Part::Features };
        self.with(|reader| reader.open(name, part))
    }

    /// Takes the next bytes of the file.
    ///
    /// # Errors
    ///
    /// An `Error` with the code `bad-dataset` and the place of the mistake.
    pub fn push(&self, bytes: &[u8]) -> Result<(), JsValue> {
        self.with(|reader| reader.push(bytes))
    }

    /// Ends the file.
    ///
    /// # Errors
    ///
    /// An `Error` with the code `bad-dataset`.
    pub fn close(&self) -> Result<(), JsValue> {
        self.with(Reader::close)
    }

    /// Takes a decoded picture of a class: red, green, blue and opacity of each pixel.
    ///
    /// # Errors
    ///
    /// An `Error` with the code `bad-dataset`.
    pub fn picture(
        &self,
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
        self.reader.borrow().as_ref().map_or(0, Reader::examples) as f64
    }

    /// Gives the data set to the client. The promise is that of `EdgeClient.setDataset`.
    pub fn finish(&self) -> Promise {
        let finished = self.take().and_then(|reader| reader.finish().map_err(|e| bad(&e)));
        let data = finished.map(|examples| LocalData::read(examples, self.spec.clone()));
        let judged = data.map(|data| self.client.set_data(data));
        future_to_promise(async move {
            judged?.await.map_err(|error| refused(&error))?;
            Ok(JsValue::UNDEFINED)
        })
    }

    /// The data set as arrays, without giving it to the client: `features`, `labels` (one
    /// class number an example or a position, or values row by row) and `shape`; of a table also
    /// the `names` of its features.
    ///
    /// # Errors
    ///
    /// An `Error` with the code `bad-dataset`.
    pub fn arrays(&self) -> Result<JsValue, JsValue> {
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
        if let DataSpec::Table(table) = &self.spec {
            let names = table.feature_names();
            let names: Array = names.iter().map(|name| JsValue::from_str(name)).collect();
            Reflect::set(&arrays, &"names".into(), &names)?;
        }
        Ok(arrays.into())
    }

    fn with(&self, act: impl FnOnce(&mut Reader) -> Result<(), ReadError>) -> Result<(), JsValue> {
        let mut reader = self.take()?;
        act(&mut reader).map_err(|error| bad(&error))?;
        *self.reader.borrow_mut() = Some(reader);
        Ok(())
    }

    fn take(&self) -> Result<Reader, JsValue> {
        let ended = || coded(Failure::BadDataset, "the reader has ended");
        self.reader.borrow_mut().take().ok_or_else(ended)
    }
}

fn bad(error: &ReadError) -> JsValue {
    let message = error.to_string();
    match *error.problem {
        Problem::Memory(_) => coded(CallFault::OutOfMemory, &message),
        _ => coded(Failure::BadDataset, &message),
    }
}

fn refused(error: &DataRefused) -> JsValue {
    coded(error.code, &error.message)
}
