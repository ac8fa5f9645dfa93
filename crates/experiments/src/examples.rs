//! Training data of all clients together, and for natural clients who has which examples.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fedra_aggregator::evaluation::{self, EvaluationError};
use fedra_data::{Dataset, DatasetError, Problem, ReadError, ReadOptions};

use crate::RunError;
use crate::config::{Data, Experiment, Source};
use crate::memory::{Division, InMemory, consecutive};
use crate::partition::{Examples, Partition, Share};
use crate::seeds::{Purpose, Seeds};
use crate::style::Style;

impl Experiment {
    /// The training data, all clients together; reads them if they are in files.
    ///
    /// # Errors
    ///
    /// [`RunError`] with the file at fault.
    pub fn examples(&self) -> Result<Examples, RunError> {
        let examples = match &self.source {
            Source::Memory(memory) => whole(Arc::clone(&memory.training)),
            Source::Files(data) => match &data.partition {
                Partition::Files { .. } => self.by_file(data)?,
                Partition::Column { column, .. } => self.by_column(data, column)?,
                _ => whole(self.read(&data.path, data.labels.as_ref())?.into()),
            },
        };
        examples.all.check_for(&self.task.settings.model)?;
        if let Some(style) = self.style() {
            style.size(examples.all.shape()).map_err(RunError::Style)?;
        }
        Ok(examples)
    }

    /// The held-out examples, if there are some.
    pub(crate) fn held_out(&self) -> Result<Option<Arc<Dataset>>, EvaluationError> {
        match &self.source {
            Source::Memory(InMemory { held_out: Some(held_out), .. }) => {
                held_out.check_for(&self.task.settings.model)?;
                Ok(Some(Arc::clone(held_out)))
            }
            Source::Memory(_) | Source::Files(_) => Ok(evaluation::load(&self.task)?.map(Arc::new)),
        }
    }

    /// Changes of each client's images.
    pub(crate) fn style(&self) -> Option<Style> {
        match &self.source {
            Source::Files(data) => data.style,
            Source::Memory(_) => None,
        }
    }

    /// Each client's examples. Natural clients are in the order of their names.
    ///
    /// # Errors
    ///
    /// [`RunError`] if they cannot be shared out so.
    pub fn shares(&self, examples: &Examples) -> Result<Vec<Share>, RunError> {
        let drawn = |partition: &Partition| {
            let mut rng = Seeds(self.simulation.seed).rng(Purpose::Partition);
            let clients = self.simulation.clients.map(|clients| clients as usize);
            partition.shares(examples, clients, &mut rng)
        };
        let shares = match &self.source {
            Source::Files(data) => drawn(&data.partition)?,
            Source::Memory(memory) => match &memory.division {
                Division::Drawn(partition) => drawn(partition)?,
                Division::Given(sizes) => consecutive(sizes),
            },
        };
        self.check_clients(shares.len())?;
        Ok(shares)
    }

    fn read(&self, path: &Path, labels: Option<&PathBuf>) -> Result<Dataset, ReadError> {
        let settings = &self.task.settings;
        let source = fedra_data_files::Source {
            data: path.to_owned(),
            labels: labels.cloned(),
            purpose: fedra_data_files::Purpose::Training,
        };
        let (described, options) = (settings.data_or_bytes(), ReadOptions::default());
        fedra_data_files::load(&source, &described, &settings.model, options)
    }

    fn by_column(&self, data: &Data, column: &str) -> Result<Examples, RunError> {
        let all = self.read(&data.path, data.labels.as_ref())?.into();
        let described = self.task.settings.data_or_bytes();
        let mut groups = BTreeMap::<String, Vec<u32>>::new();
        let (options, mut index) = (ReadOptions::default().csv, 0);
        let take = |value: &str| {
            if let Some(group) = groups.get_mut(value) {
                group.push(index);
            } else if !value.is_empty() {
                groups.insert(value.to_owned(), vec![index]);
            }
            index += 1;
        };
        fedra_data_files::column(&data.path, &described, column, options, take)
            .map_err(RunError::Column)?;
        Ok(Examples { all, groups })
    }

    fn by_file(&self, data: &Data) -> Result<Examples, RunError> {
        let described = self.task.settings.data_or_bytes();
        let (mut all, mut groups) = (None::<Dataset>, BTreeMap::<String, Vec<u32>>::new());
        for path in fedra_data_files::parts(&data.path, &described)? {
            let own = match self.read(&path, data.labels.as_ref()) {
                Err(error) if has_no_example(&error) => continue,
                read => read?,
            };
            let first = all.as_ref().map_or(0, Dataset::len) as u32;
            let indices = first..first + own.len() as u32;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let name = match path.is_dir() {
                true => &name,
                false => name.split('.').next().unwrap_or_default(),
            };
            // A folder and a file of one name are one client's.
            groups.entry(name.to_owned()).or_default().extend(indices);
            match &mut all {
                None => all = Some(own),
                Some(all) => all.append(own)?,
            }
        }
        let all = all.ok_or(DatasetError::Empty)?.into();
        Ok(Examples { all, groups })
    }
}

/// Examples that are not grouped.
fn whole(all: Arc<Dataset>) -> Examples {
    Examples { all, groups: BTreeMap::new() }
}

/// True for a file that is sound and too short for an example.
fn has_no_example(error: &ReadError) -> bool {
    matches!(*error.problem, Problem::ShortText { .. } | Problem::NoRows)
}
