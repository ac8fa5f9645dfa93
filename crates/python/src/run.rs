//! Runs of experiments: a table of settings and arrays come in, figures and a model go out.

use std::fmt::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fedra_data::Dataset;
use fedra_experiments::report::{self, Header, Row, Rows};
use fedra_experiments::{Division, Experiment, InMemory, Keep, Outcome, Partition, Recorded};
use fedra_learning::{WeightsView, pytorch, safetensors};
use fedra_protocol::Shape;
use pyo3::exceptions::PyValueError;
use pyo3::types::PyBytes;
use pyo3::{Bound, Py, PyAny, PyErr, PyResult, Python, pyclass, pyfunction, pymethods};
use serde::Deserialize;

use crate::arrays::Arrays;
use crate::error::{ConfigError, SimulationError, of_report, of_run};

/// Figures of a round, in the order of the fields of `fedra.Round`.
type Figures = (u64, f64, u32, u32, u64, u64, u64, Option<f64>, Option<f64>, Option<f64>);

fn figures(row: &Row) -> Figures {
    let Row { round, seconds, cohort, reports, weight, bytes_up, bytes_down, .. } = *row;
    let Row { loss, metric, epsilon, .. } = *row;
    (round, seconds, cohort, reports, weight, bytes_up, bytes_down, loss, metric, epsilon)
}

/// A run that has ended.
#[pyclass(frozen)]
pub(crate) struct Run {
    header: Header,
    rows: Rows,
    outcome: Outcome,
    wall: Duration,
    /// The model as a file for PyTorch.
    model: Vec<u8>,
}

#[pymethods]
impl Run {
    /// Figures of all rounds, oldest first.
    #[getter]
    fn rounds(&self) -> Vec<Figures> {
        self.rows.rows().iter().map(figures).collect()
    }

    /// Name of the metric that the task shows first.
    #[getter]
    fn metric(&self) -> &'static str {
        self.header.metric.name()
    }

    /// True if the target was reached.
    #[getter]
    fn reached(&self) -> bool {
        self.outcome.reached
    }

    /// Hash of the model's file as the server stores it.
    #[getter]
    fn sha256(&self) -> String {
        self.outcome.model.to_string()
    }

    /// The model as a safetensors file for PyTorch.
    #[getter]
    fn safetensors<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.model)
    }

    /// Seconds that the run took.
    #[getter]
    fn wall_seconds(&self) -> f64 {
        self.wall.as_secs_f64()
    }

    /// Writes the files of the results into a folder that is there.
    #[allow(clippy::needless_pass_by_value, reason = "arguments from Python are values")]
    fn report(&self, folder: PathBuf) -> PyResult<PathBuf> {
        let Self { header, rows, outcome, wall, .. } = self;
        let failed = |error| of_report(&error);
        let table = folder.join(report::ROUNDS);
        Rows::begin(Some(&table), header, rows.rows().to_vec()).map_err(failed)?;
        report::write(&folder, header, rows, outcome, *wall).map_err(failed)?;
        Ok(folder.join(report::PAGE))
    }
}

/// Place of the results, and of the store from which a run goes on.
fn kept(out: Option<&PathBuf>, resume: bool) -> PyResult<Keep<'_>> {
    match (out, resume) {
        (None, false) => Ok(Keep::Nothing),
        (None, true) => Err(ConfigError::new_err("resume needs out, the folder of the store")),
        (Some(folder), false) => Ok(Keep::Results(folder)),
        (Some(folder), true) => Ok(Keep::Store(folder)),
    }
}

/// Runs an experiment.
///
/// `settings` is the JSON of an experiment's file, in whose `[data]` is the partition alone;
/// `sizes` are the examples of each client in place of one. `tell` is called with the figures
/// of each round, and ends the run by answering true.
#[pyfunction]
#[allow(clippy::too_many_arguments, reason = "the arguments of fedra.simulate")]
#[allow(clippy::needless_pass_by_value, reason = "arguments from Python are values")]
pub(crate) fn run(
    py: Python<'_>,
    settings: &str,
    folder: PathBuf,
    training: Arrays,
    sizes: Option<Vec<u32>>,
    held_out: Option<Arrays>,
    out: Option<PathBuf>,
    resume: bool,
    tell: Py<PyAny>,
) -> PyResult<Run> {
    let wrong = |error: &dyn std::fmt::Display| ConfigError::new_err(error.to_string());
    let mut table: toml::Table = serde_json::from_str(settings).map_err(|error| wrong(&error))?;
    let mut text = toml::to_string(&table).map_err(|error| wrong(&error))?;
    let model = Experiment::model_of(&table, &folder).map_err(|error| wrong(&error))?;
    let takes_tokens = matches!(model.input(), Shape::Tokens { .. });
    let mut dataset = |name: &str, arrays: &Arrays| -> PyResult<Arc<Dataset>> {
        let (data, hash) = arrays.dataset(py, takes_tokens)?;
        let hash = hash.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        let _ = write!(text, "\n# {name}: {} examples, SHA-256 {hash}\n", data.len());
        Ok(Arc::new(data))
    };
    let (training, held_out) = (
        dataset("training", &training)?,
        held_out.map(|arrays| dataset("held out", &arrays)).transpose()?,
    );
    let division = match (sizes, table.remove("data")) {
        (Some(sizes), _) => Division::Given(sizes),
        (None, Some(data)) => {
            let Data { partition } = data.try_into().map_err(|error| wrong(&error))?;
            Division::Drawn(partition)
        }
        (None, None) => return Err(PyValueError::new_err("neither sizes nor a partition")),
    };
    let examples = InMemory { training, division, held_out };
    let experiment = Experiment::in_memory(table, &folder, examples);
    let experiment = experiment.map_err(|error| wrong(&error))?;
    let header = Header::of(&experiment, &text);
    let keep = kept(out.as_ref(), resume)?;
    py.detach(|| record(&experiment, header, keep, &tell))
}

/// `[data]` of examples in memory.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    partition: Partition,
}

fn record(
    experiment: &Experiment,
    header: Header,
    keep: Keep<'_>,
    tell: &Py<PyAny>,
) -> PyResult<Run> {
    let mut raised: Option<PyErr> = None;
    let recorded = experiment.record(&header, keep, |row| {
        let told = Python::attach(|py| {
            py.check_signals()?;
            tell.call1(py, (figures(row),))?.is_truthy(py)
        });
        match told {
            Ok(false) => ControlFlow::Continue(()),
            Ok(true) => ControlFlow::Break(()),
            Err(error) => {
                raised = Some(error);
                ControlFlow::Break(())
            }
        }
    });
    if let Some(error) = raised {
        return Err(error);
    }
    let recorded = recorded.map_err(|error| of_run(&error))?;
    let model = model(experiment, &recorded)
        .map_err(|problem| SimulationError::new_err(format!("the model: {problem}")))?;
    let Recorded { outcome, rows, wall, .. } = recorded;
    Ok(Run { header, rows, outcome, wall, model })
}

/// The model as a file for PyTorch.
fn model(experiment: &Experiment, recorded: &Recorded) -> Result<Vec<u8>, String> {
    let (settings, storage) = (&experiment.task.settings, &recorded.storage);
    let (task, spec) = (&settings.id, &settings.model);
    let file = storage.model(task, &recorded.outcome.model).map_err(|error| error.to_string())?;
    let file = file.ok_or("it is not kept; raise task.checkpoints.last")?;
    let trained = safetensors::read(spec, &file).map_err(|error| error.to_string())?;
    let frozen = match storage.frozen(task).map_err(|error| error.to_string())? {
        Some((_, file)) => {
            safetensors::read_frozen(spec, &file).map_err(|error| error.to_string())?
        }
        None => Vec::new(),
    };
    let weights = WeightsView { trained: &trained, frozen: &frozen };
    pytorch::write(spec, weights).map_err(|error| error.to_string())
}
