//! Exceptions of the package, one for each kind of mistake.

use fedra_experiments::report::ReportError;
use fedra_experiments::{RecordError, RunError};
use pyo3::PyErr;
use pyo3::exceptions::PyOSError;

pyo3::import_exception!(fedra.errors, ConfigError);
pyo3::import_exception!(fedra.errors, DataError);
pyo3::import_exception!(fedra.errors, SimulationError);

/// The exception of a run that has no results.
pub(crate) fn of_run(error: &RecordError) -> PyErr {
    let told = error.to_string();
    match error {
        RecordError::Run(RunError::Experiment(_)) => ConfigError::new_err(told),
        RecordError::Run(
            RunError::Data(_)
            | RunError::Unfit(_)
            | RunError::Style(_)
            | RunError::Column(_)
            | RunError::Evaluation(_)
            | RunError::Partition(_),
        ) => DataError::new_err(told),
        RecordError::Run(RunError::World(_)) | RecordError::Store(_) => {
            SimulationError::new_err(told)
        }
        RecordError::Folder { .. } => PyOSError::new_err(told),
        RecordError::Report(error) => of_report(error),
    }
}

/// The exception of results that cannot be read or written.
pub(crate) fn of_report(error: &ReportError) -> PyErr {
    let told = error.to_string();
    match error {
        ReportError::File { .. } => PyOSError::new_err(told),
        ReportError::Store(_) => SimulationError::new_err(told),
        ReportError::Other(_)
        | ReportError::Line { .. }
        | ReportError::NotStored(_)
        | ReportError::Stored(_)
        | ReportError::NoTable(_) => ConfigError::new_err(told),
    }
}
