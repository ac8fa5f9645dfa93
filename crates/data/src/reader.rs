//! Reader of a task's data: files in pieces, in the order in which they come, as one data
//! set.

use fedra_protocol::{DataSpec, Shape};

use crate::array::{Array, ArrayFile, Part};
use crate::collect::{Collector, Target};
use crate::csv::CsvOptions;
use crate::dataset::Dataset;
use crate::error::DatasetError;
use crate::features::Features;
use crate::image::{Picture, prepared};
use crate::read_error::{Place, Problem, ReadError};
use crate::table::TableFile;
use crate::targets::Targets;
use crate::text::{Predicts, TextFile};

/// Choices of whoever gives data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// Form of CSV files.
    pub csv: CsvOptions,
    /// At most this many examples are kept, each with the same chance.
    pub most: Option<usize>,
    /// Seed of that choice.
    pub seed: u64,
}

/// Reader of the files of one data set.
///
/// A file is opened by [`open`](Self::open), handed over in pieces of any length by
/// [`push`](Self::push), and ended by [`close`](Self::close). Decoded pictures come by
/// [`picture`](Self::picture). Memory grows with the examples, not with the files.
pub struct Reader {
    spec: DataSpec,
    predicts: Predicts,
    options: ReadOptions,
    collector: Collector,
    arrays: [Option<Array>; 2],
    file: Option<File>,
}

enum File {
    Table(TableFile),
    Text(TextFile),
    Array(ArrayFile, Part),
}

impl Reader {
    /// Reader of data as `spec` describes them, for a model with outputs at `positions`
    /// positions ([`ModelSpec::output_positions`](fedra_protocol::ModelSpec)).
    pub fn new(spec: &DataSpec, positions: usize, options: ReadOptions) -> Self {
        let predicts = if positions == 1 { Predicts::Last } else { Predicts::Each };
        let collector = Collector::new(spec.shape(), options.most, options.seed);
        let (spec, arrays) = (spec.clone(), [None, None]);
        Self { spec, predicts, options, collector, arrays, file: None }
    }

    /// Begins a file; `part` is for arrays.
    ///
    /// # Errors
    ///
    /// [`Problem::Kind`] if the task takes pictures.
    pub fn open(&mut self, file: &str, part: Part) -> Result<(), ReadError> {
        let place = || Place::file(file);
        let refused =
            |given| Err(place().error(Problem::Kind { expected: self.spec.kind(), given }));
        if let DataSpec::Array(_) = self.spec {
            // A part that is there already would be lost.
            if self.arrays[part as usize].is_some() {
                return Err(place().error(Problem::SecondArray));
            }
        } else if part == Part::Labels {
            return refused("a file of labels");
        }
        self.file = Some(match &self.spec {
            DataSpec::Table(_) => File::Table(TableFile::new(file, self.options.csv)),
            DataSpec::Text(_) => File::Text(TextFile::new(file, self.predicts)),
            DataSpec::Array(spec) => File::Array(ArrayFile::new(file, part, spec), part),
            DataSpec::Image(_) => return refused("a file without a label"),
        });
        Ok(())
    }

    /// Takes the next bytes of the file. Without an open one they are left aside.
    ///
    /// # Errors
    ///
    /// [`ReadError`] with the place of the first mistake. The reader is of no use then.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), ReadError> {
        match (&mut self.file, &self.spec) {
            (Some(File::Table(file)), DataSpec::Table(spec)) => {
                file.push(bytes, spec, &mut self.collector)
            }
            (Some(File::Text(file)), DataSpec::Text(spec)) => {
                file.push(bytes, spec, &mut self.collector)
            }
            (Some(File::Array(file, _)), DataSpec::Array(spec)) => file.push(bytes, spec),
            _ => Ok(()),
        }
    }

    /// Ends the file.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if it ends too early.
    pub fn close(&mut self) -> Result<(), ReadError> {
        match (self.file.take(), &self.spec) {
            (Some(File::Table(file)), DataSpec::Table(spec)) => file.end(spec, &mut self.collector),
            (Some(File::Text(file)), DataSpec::Text(spec)) => file.end(spec, &mut self.collector),
            (Some(File::Array(file, part)), DataSpec::Array(_)) => {
                self.arrays[part as usize] = Some(file.end()?);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Takes a decoded picture of a class.
    ///
    /// # Errors
    ///
    /// [`ReadError`] for a class that the task does not know.
    pub fn picture(
        &mut self,
        file: &str,
        picture: Picture<'_>,
        class: &str,
    ) -> Result<(), ReadError> {
        let place = || Place::file(file);
        let DataSpec::Image(spec) = &self.spec else {
            let problem = Problem::Kind { expected: self.spec.kind(), given: "a picture" };
            return Err(place().error(problem));
        };
        let class = self.class(class).map_err(|problem| place().error(problem))?;
        let values = prepared(picture, spec).map_err(|problem| place().error(problem))?;
        self.collector.add(&values, Target::Class(class)).map_err(|problem| place().error(problem))
    }

    fn class(&self, name: &str) -> Result<u32, Problem> {
        let DataSpec::Image(spec) = &self.spec else { unreachable!("asked for pictures only") };
        let found = spec.classes().iter().position(|class| class == name);
        found.map(|class| class as u32).ok_or_else(|| Problem::UnknownCategory {
            text: name.to_owned(),
            known: spec.classes().to_vec(),
            near: crate::read_error::nearest(name, spec.classes().iter().map(String::as_str))
                .map(str::to_owned),
        })
    }

    /// Examples that were read so far.
    pub fn examples(&self) -> u64 {
        self.collector.seen()
    }

    /// The data set.
    ///
    /// # Errors
    ///
    /// [`ReadError`] without examples, and for features and labels that do not belong
    /// together.
    pub fn finish(self) -> Result<Dataset, ReadError> {
        let dataset = match self.arrays {
            [None, None] => self.collector.finish(),
            [features, labels] => together(features, labels, self.spec.shape()),
        };
        let dataset = dataset.map_err(|problem| Place::default().error(problem.into()))?;
        match (self.spec, self.options.most) {
            (DataSpec::Array(_), Some(most)) if most < dataset.len() => {
                Ok(dataset.sample(most, self.options.seed))
            }
            _ => Ok(dataset),
        }
    }
}

/// Features and labels as a data set.
fn together(
    features: Option<Array>,
    labels: Option<Array>,
    shape: Shape,
) -> Result<Dataset, DatasetError> {
    let features = features.ok_or(DatasetError::Empty)?;
    let examples = features.shape[0] as usize;
    let labels = match labels.map(|labels| labels.values) {
        Some(Features::Values(labels)) => labels,
        _ => return Err(DatasetError::Targets { targets: 0, examples }),
    };
    Dataset::new(features.values, shape, Targets::from_labels(labels, examples)?)
}
