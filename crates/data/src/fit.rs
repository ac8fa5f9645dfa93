//! The judgement of a data set against a model and a task.

use fedra_protocol::{Loss, ModelSpec, Shape, TaskDescription, UpdateRange};

use super::dataset::Dataset;
use super::error::DatasetError;
use super::features::{Features, check_tokens};
use super::targets::{Targets, is_class};

impl Dataset {
    /// Checks that this can be trained on for `task`: that it [fits the
    /// model](Self::check_for), and that the targets of a regression are within what
    /// updates can reach.
    ///
    /// # Errors
    ///
    /// [`DatasetError`] says what does not fit, and what to do.
    pub fn check_for_task(&self, task: &TaskDescription) -> Result<(), DatasetError> {
        self.check_for(&task.model)?;
        match task.model.loss() {
            Loss::SoftmaxCrossEntropy | Loss::BinaryCrossEntropy => Ok(()),
            Loss::MeanSquaredError | Loss::Huber => self.check_reach(task.update_range),
        }
    }

    /// Checks that a model can train on this.
    ///
    /// The examples have the model's shape, or are flat with as many values. A model of
    /// flat features also takes images of one channel: their rows are in that order.
    ///
    /// All targets of a data set may be alike: a device may have seen only one class.
    ///
    /// # Errors
    ///
    /// [`DatasetError`] says what does not fit, and what to do.
    pub fn check_for(&self, spec: &ModelSpec) -> Result<(), DatasetError> {
        self.check_shape(spec.input())?;
        self.features.check_categories(spec)?;
        match spec.loss() {
            Loss::SoftmaxCrossEntropy => self.check_classes(spec),
            Loss::MeanSquaredError | Loss::Huber => self.check_values(spec.output_len()),
            Loss::BinaryCrossEntropy => self.check_answers(spec),
        }
    }

    /// Checks for a class that the model has at each position.
    fn check_classes(&self, spec: &ModelSpec) -> Result<(), DatasetError> {
        let (positions, classes) = (spec.output_positions(), spec.output_width());
        let known = |numbers: &[u32]| match numbers.iter().position(|&n| n as usize >= classes) {
            None => Ok(()),
            Some(at) => {
                let (index, class) = (at / positions, numbers[at]);
                Err(DatasetError::Class { classes, index, class })
            }
        };
        match &self.targets {
            Targets::Classes(numbers) if positions == 1 => known(numbers),
            Targets::PositionClasses { classes: numbers, positions: own } if *own == positions => {
                known(numbers)
            }
            Targets::Values { values, width } if *width == positions => {
                match values.iter().position(|&value| !is_class(value)) {
                    Some(at) => {
                        let (index, label) = (at / positions, values[at]);
                        Err(DatasetError::NotAClass { classes, index, label })
                    }
                    // Labels from an array of numbers do not say whether they are classes.
                    None => known(&values.iter().map(|&value| value as u32).collect::<Vec<_>>()),
                }
            }
            _ if positions == 1 => Err(self.target_kind("one class number an example".into())),
            _ => Err(self.target_kind(format!("a class number at each of {positions} positions"))),
        }
    }

    /// Checks for `outputs` values an example.
    fn check_values(&self, outputs: usize) -> Result<(), DatasetError> {
        match &self.targets {
            Targets::Values { width, .. } if *width == outputs => Ok(()),
            // Ages, counts: by the numbers they may as well be classes.
            Targets::Classes(_) if outputs == 1 => Ok(()),
            _ => Err(self.target_kind(format!("{outputs} values an example"))),
        }
    }

    /// Checks for a 0 or a 1 for each output.
    fn check_answers(&self, spec: &ModelSpec) -> Result<(), DatasetError> {
        let (outputs, positions) = (spec.output_len(), spec.output_positions());
        let wrong = match &self.targets {
            Targets::Values { values, width } if *width == outputs => {
                let mut values = values.iter().copied().enumerate();
                values.find(|&(_, value)| value != 0.0 && value != 1.0)
            }
            Targets::Classes(classes) if outputs == 1 => wrong_answer(classes),
            Targets::PositionClasses { classes, positions: own }
                if *own == positions && outputs == positions =>
            {
                wrong_answer(classes)
            }
            _ => return Err(self.target_kind(format!("{outputs} values of 0 or 1 an example"))),
        };
        match wrong {
            None => Ok(()),
            Some((at, target)) => {
                Err(DatasetError::Answer { index: at / outputs, output: at % outputs, target })
            }
        }
    }

    fn check_shape(&self, model: Shape) -> Result<(), DatasetError> {
        self.features.check_kind(model)?;
        let data = self.shape;
        let fits = match (data, model) {
            (Shape::Tokens { positions: own, .. }, Shape::Tokens { positions, .. }) => {
                own == positions
            }
            _ => data.fits(model),
        };
        if !fits {
            return Err(misfit(model.dims(), data.dims()));
        }
        match (&self.features, model) {
            (Features::Tokens(tokens), Shape::Tokens { vocabulary, .. }) => {
                check_tokens(tokens, model.len(), vocabulary)
            }
            _ => Ok(()),
        }
    }

    /// The bias of a last layer has to reach the targets, in one round if it must.
    fn check_reach(&self, range: UpdateRange) -> Result<(), DatasetError> {
        let beyond = |target: f32| target.abs() > range.magnitude();
        let found = match &self.targets {
            Targets::Classes(classes) => {
                let mut targets = classes.iter().map(|&class| class as f32).enumerate();
                targets.find(|&(_, target)| beyond(target))
            }
            Targets::PositionClasses { .. } => None,
            Targets::Values { values, width } => {
                let mut targets = values.iter().enumerate().map(|(at, &value)| (at / width, value));
                targets.find(|&(_, target)| beyond(target))
            }
        };
        match found {
            None => Ok(()),
            Some((index, target)) => Err(DatasetError::TargetRange { index, target, range }),
        }
    }

    fn target_kind(&self, needed: String) -> DatasetError {
        DatasetError::TargetKind { needed, given: self.targets.description() }
    }
}

/// The first of the class numbers that is not 0 or 1, and its place.
fn wrong_answer(classes: &[u32]) -> Option<(usize, f32)> {
    let (at, &class) = classes.iter().enumerate().find(|&(_, &class)| class > 1)?;
    Some((at, class as f32))
}

/// Examples of the shape `data` for a model that takes `model`.
fn misfit(model: Vec<u32>, data: Vec<u32>) -> DatasetError {
    match (&model[..], &data[..]) {
        (&[channels, height, width], dims) if *dims == [height, width, channels] => {
            DatasetError::ChannelsLast { model, data }
        }
        _ => DatasetError::Shape { model, data },
    }
}
