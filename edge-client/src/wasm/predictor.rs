//! Predictions as JavaScript asks for them: examples are read from the page's array and
//! outputs are written to one, so a long call takes no more of this module's memory than
//! a short one.

use std::ops::Range;
use std::rc::Rc;

use fedra_data::memory::{OutOfMemory, with_room};
use js_sys::{Array, Float32Array, Function, Promise, Reflect, Uint8Array, Uint32Array, global};
use wasm_bindgen::prelude::{JsCast, JsValue, wasm_bindgen};
use wasm_bindgen_futures::future_to_promise;

use super::coded;
use crate::codes::CallFault;
use crate::predict::{self, Features, Outputs, PredictError};

/// A model from a file, for a page that only predicts.
#[wasm_bindgen]
pub struct Predictor(Rc<predict::Predictor>);

#[wasm_bindgen]
impl Predictor {
    /// `file` is a model file as the aggregator serves and exports it, `frozen` the file of its
    /// frozen tensors, if it has frozen layers.
    ///
    /// # Errors
    ///
    /// An `Error` with the code `bad-model` or `out-of-memory`.
    #[wasm_bindgen(constructor)]
    #[allow(clippy::needless_pass_by_value, reason = "wasm-bindgen takes no option by reference")]
    pub fn new(file: &Uint8Array, frozen: Option<Uint8Array>) -> Result<Predictor, JsValue> {
        console_error_panic_hook::set_once();
        let bytes = |file: &Uint8Array| {
            let mut bytes: Vec<u8> = zeros(file.length() as usize)?;
            file.copy_to(&mut bytes);
            Ok::<_, PredictError>(bytes)
        };
        let read = || {
            let frozen = frozen.as_ref().map(bytes).transpose()?;
            predict::Predictor::new(&bytes(file)?, frozen.as_deref())
        };
        read().map(|predictor| Self(Rc::new(predictor))).map_err(|error| thrown(&error))
    }

    /// Outputs of the model: probabilities of a classifier, values of a regression, row
    /// by row. `features` is a `Float32Array` of values or a `Uint32Array` of token ids, and
    /// must not change before the answer.
    pub fn predict(&self, features: JsValue) -> Promise {
        let predictor = self.0.clone();
        answer(async move |outputs| {
            predictor.predict_into(&PageExamples::of(features)?, outputs).await
        })
    }

    /// Shape of one example: `[features]` or `[channels, height, width]` of values,
    /// `[positions]` of token ids.
    #[wasm_bindgen(getter, js_name = inputShape)]
    pub fn input_shape(&self) -> Vec<u32> {
        self.0.input_shape()
    }

    /// Outputs for one example.
    #[wasm_bindgen(getter)]
    pub fn outputs(&self) -> usize {
        self.0.outputs()
    }
}

/// Promises what `ask` puts out.
pub(super) fn answer(
    ask: impl AsyncFnOnce(&mut JsOutputs) -> Result<(), PredictError> + 'static,
) -> Promise {
    future_to_promise(async move {
        let mut outputs = JsOutputs::default();
        match ask(&mut outputs).await {
            Ok(()) => Ok(outputs.array.into()),
            Err(error) => Err(thrown(&error)),
        }
    })
}

/// The values of an array of the page, or `out-of-memory`.
pub(super) fn copied(array: &Float32Array) -> Result<Vec<f32>, JsValue> {
    let mut values = zeros(array.length() as usize).map_err(|error| thrown(&error.into()))?;
    array.copy_to(&mut values);
    Ok(values)
}

fn zeros<T: Clone + Default>(len: usize) -> Result<Vec<T>, OutOfMemory> {
    let mut values = with_room(len)?;
    values.resize(len, T::default());
    Ok(values)
}

fn thrown(error: &PredictError) -> JsValue {
    coded(error.code, &error.message)
}

/// Examples in an array of the page, which may shrink to nothing: by a transfer to another
/// worker.
pub(super) enum PageExamples {
    Values(Float32Array),
    Tokens(Uint32Array),
}

impl PageExamples {
    /// The array that `features` is.
    pub fn of(features: JsValue) -> Result<Self, PredictError> {
        let features = match features.dyn_into::<Float32Array>() {
            Ok(values) => return Ok(Self::Values(values)),
            Err(features) => features,
        };
        features.dyn_into::<Uint32Array>().map(Self::Tokens).map_err(|_| {
            let message = "features must be a Float32Array of values or a Uint32Array of token ids";
            PredictError::new(CallFault::BadFeatures, message)
        })
    }

    /// A copy of all elements.
    pub fn copied(&self) -> Result<fedra_data::Features, JsValue> {
        self.read(0..self.len()).map_err(|error| thrown(&error))
    }
}

impl Features for PageExamples {
    fn len(&self) -> usize {
        match self {
            Self::Values(array) => array.length() as usize,
            Self::Tokens(array) => array.length() as usize,
        }
    }

    fn read(&self, range: Range<usize>) -> Result<fedra_data::Features, PredictError> {
        if range.end > self.len() {
            let message = "the array of features was transferred or changed while it was in use; \
                           wait for the answer first";
            return Err(PredictError::new(CallFault::BadFeatures, message));
        }
        // Array lengths fit 32 bits here, as all addresses do.
        let (start, end) = (range.start as u32, range.end as u32);
        Ok(match self {
            Self::Values(array) => {
                let mut values: Vec<f32> = zeros(range.len())?;
                array.subarray(start, end).copy_to(&mut values);
                values.into()
            }
            Self::Tokens(array) => {
                let mut tokens: Vec<u32> = zeros(range.len())?;
                array.subarray(start, end).copy_to(&mut tokens);
                tokens.into()
            }
        })
    }
}

/// An array of the page that fills up.
#[derive(Default)]
pub(super) struct JsOutputs {
    array: Float32Array,
    filled: u32,
}

impl Outputs for JsOutputs {
    fn reserve(&mut self, values: usize) -> Result<(), PredictError> {
        // Unlike `Float32Array::new_with_length`, this hands on what the browser throws.
        let constructor = Reflect::get(&global(), &"Float32Array".into());
        let length = Array::of1(&JsValue::from_f64(values as f64));
        let array = constructor.and_then(|constructor| {
            Reflect::construct(constructor.unchecked_ref::<Function>(), &length)
        });
        self.array = array.map(JsCast::unchecked_into).map_err(|_| {
            let message = format!(
                "the browser has no memory for {values} outputs; ask for fewer examples at a time"
            );
            PredictError::new(CallFault::OutOfMemory, message)
        })?;
        Ok(())
    }

    fn extend(&mut self, values: &[f32]) {
        let end = self.filled + values.len() as u32;
        self.array.subarray(self.filled, end).copy_from(values);
        self.filled = end;
    }
}
