//! The binding that JavaScript sees, for use in a dedicated worker.
//!
//! Configuration and events cross by serde-wasm-bindgen, tensors as typed
//! arrays. Nothing is decided here.

mod predictor;

use std::rc::Rc;

use fedra_data::{Dataset, Layout};
use fedra_protocol::{EncodedDataSpec, LocalTraining, RawLocalTraining, Shape, Token};
use js_sys::{Array, Float32Array, Function, Promise, Reflect, Uint8Array, Uint32Array};
use serde::{Deserialize, Serialize};
use serde_wasm_bindgen::Serializer;
use wasm_bindgen::prelude::{JsCast, JsError, JsValue, wasm_bindgen};
use wasm_bindgen_futures::{JsFuture, future_to_promise};

use self::predictor::PageExamples;
use crate::backend;
use crate::bench;
use crate::callback::CallbackError;
use crate::client::Client;
use crate::codes::{CallCode, CallFault};
use crate::devices::Compute;
use crate::failure::Failure;
use crate::local_data::LocalData;
use crate::options::ClientOptions;
use crate::platform::TrainingSlots;
use crate::privacy::ParticipationLog;
use crate::residual::ResidualStore;
use crate::token::TokenSource;

#[wasm_bindgen]
extern "C" {
    /// Store of the page for the bytes of one residual. Its methods do not throw.
    #[wasm_bindgen(
        typescript_type = "{ load(): Promise<Uint8Array | undefined>; keep(bytes: Uint8Array): Promise<void> }"
    )]
    pub type PageStore;

    /// Promises the bytes that were kept last, or `undefined`.
    #[wasm_bindgen(method)]
    fn load(this: &PageStore) -> Promise;

    /// Keeps bytes in place of earlier ones. The promise is resolved once they are durable.
    #[wasm_bindgen(method)]
    fn keep(this: &PageStore, bytes: &Uint8Array) -> Promise;
}

/// Takes part in one task.
#[wasm_bindgen]
pub struct EdgeClient {
    client: Rc<Client>,
    on_event: Function,
}

#[wasm_bindgen]
impl EdgeClient {
    /// `on_event` gets every event as an object. `record` gets the number of
    /// participations before an update of a private round is sent, and gives a promise that
    /// is resolved once the number is durable. `residual` stores what sparse codecs have not
    /// sent. `token` is called before every connection and gives a promise of what to check in
    /// with.
    ///
    /// # Errors
    ///
    /// An `Error` with the code `invalid-options`.
    #[wasm_bindgen(constructor)]
    pub fn new(
        options: JsValue,
        on_event: Function,
        record: Function,
        residual: PageStore,
        token: Option<Function>,
    ) -> Result<EdgeClient, JsValue> {
        console_error_panic_hook::set_once();
        let bad = |error: &dyn ToString| coded(CallFault::InvalidOptions, &error.to_string());
        let options: ClientOptions =
            serde_wasm_bindgen::from_value(options).map_err(|e| bad(&e))?;
        let (token, log) = (token_source(token), participation_log(record));
        let config = options.config(token, log, residual_store(residual));
        let client = Client::new(config.map_err(|e| bad(&e))?, TrainingSlots::default());
        Ok(Self { client: Rc::new(client), on_event })
    }

    /// Connects, takes part once there are data, until `close()` or a refusal for good.
    pub fn run(&self) -> Promise {
        let (client, on_event) = (self.client.clone(), self.on_event.clone());
        future_to_promise(async move {
            client
                .run(|event| {
                    if let Ok(event) = plain(&event) {
                        // A listener that throws is the page's own matter.
                        let _ = on_event.call1(&JsValue::NULL, &event);
                    }
                })
                .await;
            Ok(JsValue::UNDEFINED)
        })
    }

    /// Gives the local examples. `features` is a `Float32Array` of values or a `Uint32Array`
    /// of token ids; `shape` is `[n, ...example]`; `labels` has one class number an example
    /// or a position, or the values of a regression row by row; `layout` is
    /// `channels-first` or `channels-last`.
    ///
    /// The promise is resolved once the data were held against the task and taken. It is
    /// rejected with `bad-dataset`, `aborted`, `closed`, or the code of the event that was
    /// fatal.
    #[wasm_bindgen(js_name = setDataset)]
    pub fn set_dataset(
        &self,
        features: JsValue,
        labels: &Float32Array,
        shape: &[u32],
        layout: &str,
    ) -> Promise {
        self.given(dataset(features, labels, shape, layout).map(LocalData::from))
    }

    /// The same for examples that were read from files, images channels first, by the
    /// description that `dataDescription` promised: they are trained on for as long as the
    /// task has it.
    #[wasm_bindgen(js_name = setRead)]
    pub fn set_read(
        &self,
        features: JsValue,
        labels: &Float32Array,
        shape: &[u32],
        description: Option<Vec<u8>>,
    ) -> Promise {
        let described = description.map(|bytes| EncodedDataSpec::new(bytes.into())).transpose();
        let described = described.map_err(|error| coded(Failure::BadDataset, &error.to_string()));
        self.given(described.and_then(|described| {
            let data = dataset(features, labels, shape, "channels-first")?;
            Ok(LocalData::read(data, described))
        }))
    }

    fn given(&self, data: Result<LocalData, JsValue>) -> Promise {
        let judged = data.map(|data| self.client.set_data(data));
        future_to_promise(async move {
            match judged?.await {
                Ok(()) => Ok(JsValue::UNDEFINED),
                Err(error) => Err(coded(error.code, &error.message)),
            }
        })
    }

    /// Promises the first arguments of a `DataReader`, once the task has told them: the
    /// message that describes its data or `undefined`, the dimensions of the model's input,
    /// its vocabulary or 0, and the positions at which the model has outputs.
    #[wasm_bindgen(js_name = dataDescription)]
    pub fn data_description(&self) -> Promise {
        let described = self.client.description();
        future_to_promise(async move {
            let task = described.await.map_err(|error| coded(error.code, &error.message))?;
            let data = task.data.as_ref().map(|data| Uint8Array::from(data.as_bytes()));
            let input = task.model.input();
            let vocabulary = match input {
                Shape::Tokens { vocabulary, .. } => vocabulary,
                _ => 0,
            };
            let positions = task.model.output_positions() as u32;
            let description = Array::of4(
                &data.into(),
                &Uint32Array::from(&input.dims()[..]).into(),
                &vocabulary.into(),
                &positions.into(),
            );
            Ok(description.into())
        })
    }

    /// Takes back data that still wait for the task's description.
    #[wasm_bindgen(js_name = withdrawDataset)]
    pub fn withdraw_dataset(&self) {
        self.client.withdraw_data();
    }

    /// Takes no part until `resume()`.
    pub fn pause(&self) {
        self.client.pause();
    }

    /// Takes part again.
    pub fn resume(&self) {
        self.client.resume();
    }

    /// The person agrees to the privacy terms of the task.
    pub fn consent(&self) {
        self.client.consent();
    }

    /// Ends `run()`.
    pub fn close(&self) {
        self.client.close();
    }

    /// Outputs of the newest global model: probabilities of a classifier,
    /// values of a regression, row by row. `features` is a `Float32Array` of values or a
    /// `Uint32Array` of token ids, and must not change before the answer.
    pub fn predict(&self, features: JsValue) -> Promise {
        let client = self.client.clone();
        predictor::answer(async move |outputs| {
            client.predict_into(&PageExamples::of(features)?, outputs).await
        })
    }
}

#[wasm_bindgen]
impl EdgeClient {
    /// Trains the last layer of the newest global model further on the local examples, and
    /// keeps the result here. Promises a `Personalization`.
    pub fn personalize(&self, epochs: u32, batch_size: u32, learning_rate: f32) -> Promise {
        let client = self.client.clone();
        future_to_promise(async move {
            let raw = RawLocalTraining {
                epochs,
                batch_size,
                learning_rate,
                ..RawLocalTraining::default()
            };
            let plan = LocalTraining::new(raw)
                .map_err(|error| coded(CallFault::InvalidOptions, &error.to_string()))?;
            match client.personalize(&plan).await {
                Ok(done) => Ok(plain(&done)?),
                Err(error) => Err(coded(error.code, &error.message)),
            }
        })
    }

    /// Outputs of the personal model, as of `predict`.
    #[wasm_bindgen(js_name = predictPersonal)]
    pub fn predict_personal(&self, features: JsValue) -> Promise {
        let client = self.client.clone();
        predictor::answer(async move |outputs| {
            client.predict_personal_into(&PageExamples::of(features)?, outputs).await
        })
    }
}

fn dataset(
    features: JsValue,
    labels: &Float32Array,
    shape: &[u32],
    layout: &str,
) -> Result<Dataset, JsValue> {
    let bad = |error: &dyn ToString| coded(Failure::BadDataset, &error.to_string());
    let features = PageExamples::of(features).map_err(|error| bad(&error))?;
    let (features, labels) = (features.copied()?, predictor::copied(labels)?);
    let layout = layout.parse::<Layout>();
    layout
        .and_then(|layout| Dataset::from_arrays(features, labels, shape, layout))
        .map_err(|error| bad(&error))
}

/// Asks the page for a token.
fn token_source(ask: Option<Function>) -> TokenSource {
    let Some(ask) = ask else {
        return TokenSource::none();
    };
    TokenSource::new(move || {
        let asked = ask.call0(&JsValue::NULL);
        async move {
            let token = answered(asked).await?.as_string();
            let token =
                token.ok_or_else(|| CallbackError::new("the page's answer is not a string"))?;
            Token::new(token).map_err(CallbackError::new)
        }
    })
}

/// Asks the page to write participations down.
fn participation_log(record: Function) -> ParticipationLog {
    ParticipationLog::new(move |participations| {
        let asked = record.call1(&JsValue::NULL, &participations.into());
        async move { answered(asked).await.map(drop) }
    })
}

/// Asks the page to store the residual.
fn residual_store(page: PageStore) -> ResidualStore {
    let page = Rc::new(page);
    let keeper = page.clone();
    let load = move || {
        let asked = page.load();
        async move {
            let stored = answered(Ok(asked.into())).await.ok()?.dyn_into::<Uint8Array>().ok()?;
            Some(stored.to_vec())
        }
    };
    ResidualStore::elsewhere(load, move |bytes| {
        let asked = keeper.keep(&Uint8Array::from(&bytes[..]));
        // What the page cannot store is in memory alone.
        async move { drop(answered(Ok(asked.into())).await) }
    })
}

/// The page's answer to a call, once its promise is resolved.
async fn answered(asked: Result<JsValue, JsValue>) -> Result<JsValue, CallbackError> {
    let failed = |thrown: JsValue| CallbackError::new(text_of(&thrown));
    JsFuture::from(Promise::resolve(&asked.map_err(failed)?)).await.map_err(failed)
}

/// Text of a thrown value.
fn text_of(thrown: &JsValue) -> String {
    match thrown.dyn_ref::<js_sys::Error>() {
        Some(error) => String::from(error.message()),
        None => "the page could not be asked".into(),
    }
}

/// Speed of a built-in model: `{model, batch, backend}` with `cpu` or `webgpu`.
///
/// # Errors
///
/// An `Error` with the code `bench-failed`, if this machine has no such device, or it fails.
#[wasm_bindgen]
pub async fn benchmark(config: JsValue) -> Result<JsValue, JsValue> {
    #[derive(Deserialize)]
    struct Case {
        model: String,
        batch: u32,
        backend: String,
    }
    console_error_panic_hook::set_once();
    let case: Case = serde_wasm_bindgen::from_value(config)?;
    let compute = compute(&case.backend).await?;
    let measured = bench::measure(&case.model, case.batch, &compute).await;
    let measured = measured.map_err(|error| coded(CallFault::BenchFailed, &error.to_string()))?;
    Ok(plain(&measured)?)
}

async fn compute(backend: &str) -> Result<Compute, JsValue> {
    match backend {
        "cpu" => Ok(Compute::Cpu),
        "webgpu" => backend::webgpu()
            .await
            .map_err(|error| coded(CallFault::BenchFailed, &error.to_string())),
        other => {
            let message = format!("there is no backend {other:?}");
            Err(coded(CallFault::BenchFailed, &message))
        }
    }
}

/// A value as plain objects and numbers.
fn plain(value: &impl Serialize) -> Result<JsValue, serde_wasm_bindgen::Error> {
    value.serialize(&Serializer::json_compatible())
}

/// An `Error` with a stable `code`.
fn coded(code: impl Into<CallCode>, message: &str) -> JsValue {
    let error: JsValue = JsError::new(message).into();
    // Setting a property of a fresh object does not fail.
    let _ = Reflect::set(&error, &"code".into(), &code.into().as_str().into());
    error
}

/// Speed of protecting an update: `{parameters, clients}`.
///
/// # Errors
///
/// An `Error` with the code `bench-failed`, if no policy has these numbers.
#[wasm_bindgen(js_name = benchmarkPrivacy)]
pub fn benchmark_privacy(config: JsValue) -> Result<JsValue, JsValue> {
    #[derive(Deserialize)]
    struct Case {
        parameters: u32,
        clients: u32,
    }
    console_error_panic_hook::set_once();
    let case: Case = serde_wasm_bindgen::from_value(config)?;
    let measured = bench::privacy::measure(case.parameters as usize, case.clients);
    let measured = measured.map_err(|error| coded(CallFault::BenchFailed, &error.to_string()))?;
    Ok(plain(&measured)?)
}
