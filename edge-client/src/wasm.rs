//! The binding that JavaScript sees, for use in a dedicated worker.
//!
//! Configuration and events cross by serde-wasm-bindgen, tensors as typed
//! arrays. Nothing is decided here.

mod predictor;

use std::rc::Rc;

use differential_privacy::{ClippingNorm, Delta, NoiseMultiplier, QuantityError};
use fedra_learning::{Compute, Dataset, ExamplePrivacy, Layout};
use fedra_privacy_policy::PrivacyFloors;
use fedra_protocol::{SubjectId, TaskId, Token};
use js_sys::{Float32Array, Function, Promise, Reflect};
use serde::{Deserialize, Serialize};
use serde_wasm_bindgen::Serializer;
use wasm_bindgen::prelude::{JsCast, JsError, JsValue, wasm_bindgen};
use wasm_bindgen_futures::{JsFuture, future_to_promise};

use self::predictor::PageExamples;
use crate::backend::BackendPreference;
use crate::bench;
use crate::client::{Client, ClientConfig};
use crate::events::ClientEvent;
use crate::platform::{TrainingSlots, Trust};
use crate::privacy::{Consent, ParticipationLog, PrivacyConfig};
use crate::token::TokenSource;

/// Argument of the constructor.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    url: String,
    task: String,
    backend: String,
    privacy: Privacy,
}

/// The part of it that privacy needs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Privacy {
    #[serde(default)]
    floors: PrivacyFloors,
    consent: Consent,
    #[serde(default)]
    participations: u32,
    subject: SubjectId,
    examples: Option<Examples>,
}

/// A promise about single examples, by DP-SGD.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Examples {
    clipping_norm: f64,
    noise_multiplier: f64,
    delta: f64,
}

impl Examples {
    fn privacy(&self) -> Result<ExamplePrivacy, QuantityError> {
        Ok(ExamplePrivacy {
            clipping_norm: ClippingNorm::new(self.clipping_norm)?,
            noise_multiplier: NoiseMultiplier::new(self.noise_multiplier)?,
            delta: Delta::new(self.delta)?,
        })
    }
}

/// Takes part in one task.
#[wasm_bindgen]
pub struct EdgeClient {
    client: Rc<Client>,
    on_event: Function,
}

#[wasm_bindgen]
impl EdgeClient {
    /// `config` is `{url, task, backend, privacy: {floors?, consent, participations?,
    /// subject, examples?}}`; `on_event` gets every event as an object; `token` is
    /// called before every connection and gives a promise of what to check in with.
    #[wasm_bindgen(constructor)]
    pub fn new(
        config: JsValue,
        on_event: Function,
        token: Option<Function>,
    ) -> Result<EdgeClient, JsValue> {
        console_error_panic_hook::set_once();
        let bad = |error: &dyn ToString| coded("invalid-options", &error.to_string());
        let config: Config = serde_wasm_bindgen::from_value(config).map_err(|e| bad(&e))?;
        let examples = config.privacy.examples.as_ref().map(Examples::privacy);
        let config = ClientConfig {
            url: config.url.parse().map_err(|e| bad(&e))?,
            trust: Trust,
            task: TaskId::new(config.task).map_err(|e| bad(&e))?,
            token: token_source(token),
            backend: config.backend.parse::<BackendPreference>().map_err(|e| bad(&e))?,
            privacy: PrivacyConfig {
                floors: config.privacy.floors,
                consent: config.privacy.consent,
                subject: config.privacy.subject,
                participations: config.privacy.participations,
            },
            example_privacy: examples.transpose().map_err(|e| bad(&e))?,
            // The page listens to the `privacy` event, which is posted before
            // anything is sent.
            log: ParticipationLog::nowhere(),
            dropouts: None,
        };
        Ok(Self { client: Rc::new(Client::new(config, TrainingSlots::default())), on_event })
    }

    /// Connects, takes part once there are data, until `close()` or a refusal for good.
    pub fn run(&self) -> Promise {
        let (client, on_event) = (self.client.clone(), self.on_event.clone());
        future_to_promise(async move {
            client
                .run(|event| {
                    if let Ok(event) = event_object(&event) {
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
        let judged =
            dataset(features, labels, shape, layout).map(|data| self.client.set_data(data));
        future_to_promise(async move {
            match judged?.await {
                Ok(()) => Ok(JsValue::UNDEFINED),
                Err(error) => Err(coded(&error.code, &error.message)),
            }
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

fn dataset(
    features: JsValue,
    labels: &Float32Array,
    shape: &[u32],
    layout: &str,
) -> Result<Dataset, JsValue> {
    let bad = |error: &dyn ToString| coded("bad-dataset", &error.to_string());
    let features = PageExamples::of(features).map_err(|error| bad(&error))?;
    let (features, labels) = (features.copied()?, predictor::copied(labels)?);
    let layout = layout.parse::<Layout>();
    layout
        .and_then(|layout| Dataset::from_arrays(features, labels, shape, layout))
        .map_err(|error| bad(&error))
}

/// Asks the page.
fn token_source(ask: Option<Function>) -> TokenSource {
    let Some(ask) = ask else {
        return TokenSource::none();
    };
    TokenSource::new(move || {
        let asked = ask.call0(&JsValue::NULL);
        async move {
            let answer = JsFuture::from(Promise::resolve(&asked.map_err(|e| words(&e))?)).await;
            let token = answer.map_err(|e| words(&e))?.as_string();
            let token = token.ok_or("the page's answer is not a string")?;
            Token::new(token).map_err(|error| error.to_string())
        }
    })
}

/// Text of a thrown value.
fn words(error: &JsValue) -> String {
    match error.dyn_ref::<js_sys::Error>() {
        Some(error) => String::from(error.message()),
        None => "the page could not be asked".into(),
    }
}

/// Version and abilities of this build.
#[wasm_bindgen(js_name = buildInfo)]
pub fn build_info() -> Result<JsValue, JsValue> {
    #[derive(Serialize)]
    struct BuildInfo {
        version: &'static str,
        webgpu: bool,
    }
    let info = BuildInfo { version: env!("CARGO_PKG_VERSION"), webgpu: cfg!(feature = "webgpu") };
    Ok(plain(&info)?)
}

/// Speed of a built-in model: `{model, batch, backend}` with `cpu` or `webgpu`.
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
    let measured = measured.map_err(|error| coded("bench-failed", &error.to_string()))?;
    Ok(plain(&measured)?)
}

async fn compute(backend: &str) -> Result<Compute, JsValue> {
    match backend {
        "cpu" => Ok(Compute::cpu()),
        #[cfg(feature = "webgpu")]
        "webgpu" => Compute::webgpu().await.map_err(|error| coded("no-webgpu", &error.to_string())),
        other => Err(coded("no-webgpu", &format!("this build has no backend {other:?}"))),
    }
}

/// An event as JavaScript gets it. Terms say `null` for what they do not have, because
/// a missing word could be taken for a missing version.
fn event_object(event: &ClientEvent) -> Result<JsValue, serde_wasm_bindgen::Error> {
    match event {
        ClientEvent::Privacy(_) => event.serialize(&Serializer::json_compatible()),
        _ => plain(event),
    }
}

/// A value as plain objects and numbers.
fn plain(value: &impl Serialize) -> Result<JsValue, serde_wasm_bindgen::Error> {
    value.serialize(&Serializer::json_compatible().serialize_missing_as_null(false))
}

/// An `Error` with a stable `code`.
fn coded(code: &str, message: &str) -> JsValue {
    let error: JsValue = JsError::new(message).into();
    // Setting a property of a fresh object does not fail.
    let _ = Reflect::set(&error, &"code".into(), &code.into());
    error
}

/// Speed of protecting an update: `{parameters, clients}`.
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
    let measured = measured.map_err(|error| coded("bench-failed", &error))?;
    Ok(plain(&measured)?)
}
