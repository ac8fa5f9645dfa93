//! Training data of all clients together, and for natural clients who has which examples.

use std::collections::BTreeMap;

use fedra_data::{Dataset, Problem, ReadError, ReadOptions};
use fedra_data_files::{Purpose, Source};

use crate::config::Experiment;
use crate::partition::Partition;
use crate::{RunError, seeds};

/// Training data of all clients together.
#[derive(Clone, Debug)]
pub struct Examples {
    /// The examples.
    pub all: Dataset,
    /// The examples of each natural client, by its name; empty for other partitions.
    pub(crate) groups: BTreeMap<String, Vec<u32>>,
}

/// A client's part of the examples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Name of a natural client: the value of the column, or the name of the file. Of any
    /// other its number, from 0.
    pub name: String,
    /// Indices of its examples, in increasing order.
    pub examples: Vec<u32>,
}

impl Experiment {
    /// Reads the training data, all clients together.
    ///
    /// # Errors
    ///
    /// [`RunError`] with the file at fault.
    pub fn examples(&self) -> Result<Examples, RunError> {
        let examples = match &self.data.partition {
            Partition::Files { .. } => self.by_file()?,
            Partition::Column { column, .. } => self.by_column(column)?,
            _ => Examples { all: self.whole()?, groups: BTreeMap::new() },
        };
        examples.all.check_for(&self.task.settings.model)?;
        if let Some(style) = &self.data.style {
            style.size(examples.all.shape()).map_err(RunError::Style)?;
        }
        Ok(examples)
    }

    /// Each client's examples. Natural clients are in the order of their names.
    ///
    /// # Errors
    ///
    /// [`RunError`] if they cannot be shared out so.
    pub fn shares(&self, examples: &Examples) -> Result<Vec<Share>, RunError> {
        let mut rng = seeds::Seeds(self.simulation.seed).rng(seeds::Purpose::Partition);
        let clients = self.simulation.clients.map(|clients| clients as usize);
        let shares = self.data.partition.shares(examples, clients, &mut rng)?;
        self.check_clients(shares.len())?;
        Ok(shares)
    }

    fn source(&self) -> Source {
        let Self { data, .. } = self;
        let purpose = Purpose::Training;
        Source { data: data.path.clone(), labels: data.labels.clone(), purpose }
    }

    fn read(&self, source: &Source) -> Result<Dataset, ReadError> {
        let settings = &self.task.settings;
        let (described, options) = (settings.data_or_bytes(), ReadOptions::default());
        fedra_data_files::load(source, &described, &settings.model, options)
    }

    fn whole(&self) -> Result<Dataset, RunError> {
        Ok(self.read(&self.source())?)
    }

    fn by_column(&self, column: &str) -> Result<Examples, RunError> {
        let all = self.whole()?;
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
        fedra_data_files::column(&self.data.path, &described, column, options, take)
            .map_err(RunError::Column)?;
        Ok(Examples { all, groups })
    }

    fn by_file(&self) -> Result<Examples, RunError> {
        let described = self.task.settings.data_or_bytes();
        let (mut all, mut groups) = (None::<Dataset>, BTreeMap::<String, Vec<u32>>::new());
        for path in fedra_data_files::parts(&self.data.path, &described)? {
            let data = match self.read(&Source { data: path.clone(), ..self.source() }) {
                Err(error) if has_no_example(&error) => continue,
                read => read?,
            };
            let first = all.as_ref().map_or(0, Dataset::len) as u32;
            let own = first..first + data.len() as u32;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let name = match path.is_dir() {
                true => &name,
                false => name.split('.').next().unwrap_or_default(),
            };
            // A folder and a file of one name are one client's.
            groups.entry(name.to_owned()).or_default().extend(own);
            match &mut all {
                None => all = Some(data),
                Some(all) => all.append(data)?,
            }
        }
        let all = all.ok_or(fedra_data::DatasetError::Empty)?;
        Ok(Examples { all, groups })
    }
}

/// True for a file that is sound and too short for an example.
fn has_no_example(error: &ReadError) -> bool {
    matches!(*error.problem, Problem::ShortText { .. } | Problem::NoRows)
}
