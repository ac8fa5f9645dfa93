//! Local examples of a client, and the description by which files became them.

use std::sync::Arc;

use fedra_data::{Dataset, DatasetError};
use fedra_protocol::{DataSpec, TaskDescription};

/// Examples to train on, and where they come from.
#[derive(Clone, Debug)]
pub struct LocalData {
    examples: Arc<Dataset>,
    read_as: Option<DataSpec>,
}

/// Reason why examples are not to be trained on.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum DataMisfit {
    /// The operator has changed the task since the files were read.
    #[error(
        "the task describes its data in another way than when these were read; give the data \
         again"
    )]
    OtherDescription,
    /// The examples themselves do not fit.
    #[error(transparent)]
    Examples(#[from] DatasetError),
}

impl LocalData {
    /// Examples that were read from files as `spec` describes them. They fit a task only for
    /// as long as it describes its data so.
    pub fn read(examples: Dataset, spec: DataSpec) -> Self {
        Self { examples: Arc::new(examples), read_as: Some(spec) }
    }

    /// The examples.
    pub(crate) fn examples(&self) -> &Arc<Dataset> {
        &self.examples
    }

    /// Checks that a task's model can be trained on these examples.
    pub(crate) fn check_for_task(&self, task: &TaskDescription) -> Result<(), DataMisfit> {
        if self.read_as.as_ref().is_some_and(|spec| *spec != task.data_or_bytes()) {
            return Err(DataMisfit::OtherDescription);
        }
        Ok(self.examples.check_for_task(task)?)
    }
}

/// Examples that their owner has prepared: the description of files is not theirs.
impl From<Dataset> for LocalData {
    fn from(examples: Dataset) -> Self {
        Self { examples: Arc::new(examples), read_as: None }
    }
}
