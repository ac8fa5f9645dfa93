//! Local examples of a client, and the description by which files became them.

use std::sync::Arc;

use fedra_data::{Dataset, DatasetError};
use fedra_protocol::{EncodedDataSpec, TaskDescription};

/// Seed of the choice of the examples that are held out. It is the same for all: the choice
/// depends on the examples, which are nobody else's.
pub const HOLD_OUT_SEED: u64 = 1;

/// Examples to train on, those that are held out from it, and where they come from.
#[derive(Clone, Debug)]
pub struct LocalData {
    examples: Arc<Dataset>,
    held_out: Option<Arc<Dataset>>,
    origin: Origin,
}

/// Origin of examples.
#[derive(Clone, Debug, PartialEq)]
enum Origin {
    /// Their owner has prepared them.
    Owner,
    /// Files, read as the task described its data; `None` as bytes in the model's shape.
    Files(Option<EncodedDataSpec>),
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
    /// Examples that were read from files as a task described them. They fit it only for as
    /// long as it does.
    pub fn read(examples: Dataset, described: Option<EncodedDataSpec>) -> Self {
        Self { origin: Origin::Files(described), ..Self::from(examples) }
    }

    /// The same, with the share held out that the task asks for. Examples that are held out
    /// already stay so, whatever the task says later.
    pub(crate) fn held_out_for(self, task: &TaskDescription) -> Self {
        let (Some(evaluation), None) = (&task.client_evaluation, &self.held_out) else {
            return self;
        };
        let examples = Arc::unwrap_or_clone(self.examples);
        let (examples, held_out) = examples.split(evaluation.held_out(), HOLD_OUT_SEED);
        let held_out = Some(Arc::new(held_out));
        Self { examples: Arc::new(examples), held_out, origin: self.origin }
    }

    /// The examples that are held out, if there are any.
    pub(crate) fn held_out(&self) -> Option<&Arc<Dataset>> {
        self.held_out.as_ref()
    }

    /// Examples to train on and examples to judge by, for a model of this device's own. Where
    /// the task has nothing held out, a fifth is, from this alone.
    pub(crate) fn divided(&self) -> (Arc<Dataset>, Arc<Dataset>) {
        match &self.held_out {
            Some(held_out) => (self.examples.clone(), held_out.clone()),
            None => {
                let (train, held_out) = self.examples.as_ref().clone().split(0.2, HOLD_OUT_SEED);
                (Arc::new(train), Arc::new(held_out))
            }
        }
    }

    /// The examples to train on.
    pub(crate) fn examples(&self) -> &Arc<Dataset> {
        &self.examples
    }

    /// Checks that a task's model can be trained and evaluated on these examples.
    pub(crate) fn check_for_task(&self, task: &TaskDescription) -> Result<(), DataMisfit> {
        if let Origin::Files(described) = &self.origin
            && *described != task.data
        {
            return Err(DataMisfit::OtherDescription);
        }
        let held_out = self.held_out.iter();
        Ok(held_out.chain([&self.examples]).try_for_each(|part| part.check_for_task(task))?)
    }
}

/// Examples that their owner has prepared: the description of files is not theirs.
impl From<Dataset> for LocalData {
    fn from(examples: Dataset) -> Self {
        Self { examples: Arc::new(examples), held_out: None, origin: Origin::Owner }
    }
}
