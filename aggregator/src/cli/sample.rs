//! The first examples of a file as a task's model sees them.

use std::path::PathBuf;

use clap::Args;
use fedra_aggregator::config::{Config, TaskConfig};
use fedra_data::{CsvOptions, Dataset, DecimalSign, Features, ReadOptions, Targets};
use fedra_data_files::{Purpose, Source, load};
use fedra_protocol::data::{Content, TableSpec};
use fedra_protocol::{DataSpec, TaskId};

use super::Failure;
use super::table::table;

/// Examples that are shown.
const SHOWN: usize = 3;
/// Features that are shown of an example without names for them.
const VALUES: usize = 12;

/// Options of a sample.
#[derive(Args)]
pub struct SampleOptions {
    /// Also read this file or folder as a client would, and show its first examples as
    /// the model sees them.
    #[arg(long, value_name = "FILE")]
    sample: Option<PathBuf>,
    /// File of the sample's labels, for arrays.
    #[arg(long, value_name = "FILE", requires = "sample")]
    labels: Option<PathBuf>,
    /// The task that the sample is for, if there are several.
    #[arg(long, value_name = "ID", requires = "sample")]
    task: Option<TaskId>,
    /// Delimiter of a CSV file; by default the one that its header shows.
    #[arg(
        long, value_name = "CHARACTER", requires = "sample",
        value_parser = CsvOptions::delimiter_of
    )]
    delimiter: Option<u8>,
    /// Decimal sign of a CSV file.
    #[arg(long, value_name = "SIGN", default_value = ".")]
    decimal: DecimalSign,
}

impl SampleOptions {
    /// The sample in words, if one is asked for.
    pub fn show(&self, config: &Config) -> Result<Option<String>, Failure> {
        let Some(data) = &self.sample else { return Ok(None) };
        let task = self.task_of(config)?;
        let source =
            Source { data: data.clone(), labels: self.labels.clone(), purpose: Purpose::Training };
        let csv = CsvOptions { delimiter: self.delimiter, decimal: self.decimal };
        let description = task.settings.description();
        let described = task.settings.data_or_bytes();
        let options = ReadOptions { csv, ..ReadOptions::default() };
        let dataset = load(&source, &described, &description.model, options)
            .map_err(|error| Failure::Failed(error.into()))?;
        dataset.check_for_task(&description).map_err(|error| Failure::Failed(error.into()))?;
        Ok(Some(shown(&described, &dataset)))
    }

    fn task_of<'a>(&self, config: &'a Config) -> Result<&'a TaskConfig, Failure> {
        match (&self.task, &config.tasks[..]) {
            (None, [task]) => Ok(task),
            (None, _) => {
                Err(Failure::Usage("there are several tasks; name one with --task".to_owned()))
            }
            (Some(id), tasks) => tasks
                .iter()
                .find(|task| task.settings.id == *id)
                .ok_or_else(|| Failure::Usage(format!("the config has no task {id}"))),
        }
    }
}

/// Shape, number and start of a data set.
fn shown(spec: &DataSpec, data: &Dataset) -> String {
    let count = data.len().min(SHOWN);
    let first: Vec<u32> = (0..count as u32).collect();
    let part = data.select(&first);
    let mut text = format!(
        "sample: {} examples of the shape {:?}, {}\n",
        data.len(),
        data.shape().dims(),
        spec.targets()
    );
    let rows = match spec {
        DataSpec::Table(spec) => columns(spec, &part),
        _ => values(spec, &part),
    };
    let numbers: Vec<String> = (1..=count).map(|number| format!("EXAMPLE {number}")).collect();
    let mut header = vec![match spec {
        DataSpec::Table(_) => "FEATURE",
        _ => "VALUES",
    }];
    header.extend(numbers.iter().map(String::as_str));
    text += &table(&header, &rows);
    text
}

/// A row for each feature and each target of a table.
fn columns(spec: &TableSpec, part: &Dataset) -> Vec<Vec<String>> {
    let Features::Values(values) = part.features() else { return Vec::new() };
    let width = part.shape().len();
    let row = |(index, name): (usize, String)| {
        let cells = values.chunks_exact(width).map(|example| format!("{:.4}", example[index]));
        std::iter::once(name).chain(cells).collect()
    };
    let mut rows: Vec<Vec<String>> =
        spec.feature_names().into_iter().enumerate().map(row).collect();
    for (index, column) in spec.targets().enumerate() {
        let cells =
            targets(part.targets(), index).into_iter().map(|target| match &column.content {
                Content::Category { values, .. } => {
                    values.get(target as usize).cloned().unwrap_or_else(|| "(other)".to_owned())
                }
                _ => format!("{target:.4}"),
            });
        let name = format!("target: {}", column.name);
        rows.push(std::iter::once(name).chain(cells).collect());
    }
    rows
}

/// The `index`-th target of each example.
fn targets(targets: &Targets, index: usize) -> Vec<f32> {
    match targets {
        Targets::Classes(classes) => classes.iter().map(|&class| class as f32).collect(),
        Targets::PositionClasses { classes, positions } => {
            classes.chunks_exact(*positions).map(|example| example[index] as f32).collect()
        }
        Targets::Values { values, width } => {
            values.chunks_exact(*width).map(|example| example[index]).collect()
        }
    }
}

/// Rows of the first values, their range, and the targets.
fn values(spec: &DataSpec, part: &Dataset) -> Vec<Vec<String>> {
    let width = part.shape().len();
    let examples: Vec<Vec<f64>> = match part.features() {
        Features::Values(values) => {
            let wide = |example: &[f32]| example.iter().map(|&value| value.into()).collect();
            values.chunks_exact(width).map(wide).collect()
        }
        Features::Tokens(ids) => {
            let wide = |example: &[u32]| example.iter().map(|&id| id.into()).collect();
            ids.chunks_exact(width).map(wide).collect()
        }
    };
    let row = |name: String, of: &dyn Fn(&[f64]) -> String| {
        let cells = examples.iter().map(|example| of(example));
        std::iter::once(name).chain(cells).collect::<Vec<_>>()
    };
    let number = |value: f64| match part.features() {
        Features::Values(_) => format!("{value:.4}"),
        Features::Tokens(_) => value.to_string(),
    };
    let mut rows: Vec<Vec<String>> = (0..width.min(VALUES))
        .map(|index| row(index.to_string(), &|example| number(example[index])))
        .collect();
    let least = |example: &[f64]| example.iter().copied().fold(f64::INFINITY, f64::min);
    let most = |example: &[f64]| example.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    rows.push(row("least".to_owned(), &|example| number(least(example))));
    rows.push(row("most".to_owned(), &|example| number(most(example))));
    let class = |target: f32| match spec {
        DataSpec::Image(spec) => spec.classes()[target as usize].clone(),
        _ => target.to_string(),
    };
    let cells = targets(part.targets(), 0).into_iter().map(class);
    rows.push(std::iter::once("target".to_owned()).chain(cells).collect());
    rows
}
