//! The judgement of a data set against a model and a task.

use fedra_protocol::{Loss, ModelSpec, Shape, TaskDescription, UpdateRange};

use super::{Dataset, DatasetError, Targets, is_class};

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
            Loss::SoftmaxCrossEntropy => Ok(()),
            Loss::MeanSquaredError => self.check_reach(task.update_range),
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
        let outputs = spec.output_len();
        match (spec.loss(), &self.targets) {
            (Loss::SoftmaxCrossEntropy, Targets::Classes(labels)) => {
                match labels.iter().position(|&class| class as usize >= outputs) {
                    None => Ok(()),
                    Some(index) => {
                        let class = labels[index];
                        Err(DatasetError::Class { classes: outputs, index, class })
                    }
                }
            }
            (Loss::SoftmaxCrossEntropy, Targets::Values { values, width }) => {
                Err(match values.iter().position(|&value| !is_class(value)) {
                    Some(index) if *width == 1 => {
                        DatasetError::NotAClass { classes: outputs, index, label: values[index] }
                    }
                    _ => self.target_kind("one class number an example".into()),
                })
            }
            (Loss::MeanSquaredError, Targets::Values { width, .. }) if *width == outputs => Ok(()),
            // Ages, counts: by the numbers they may as well be classes.
            (Loss::MeanSquaredError, Targets::Classes(_)) if outputs == 1 => Ok(()),
            (Loss::MeanSquaredError, _) => {
                Err(self.target_kind(format!("{outputs} values an example")))
            }
        }
    }

    fn check_shape(&self, model: Shape) -> Result<(), DatasetError> {
        let data = self.shape;
        let is_flat = match (data, model) {
            (Shape::Features(_), _) | (Shape::Image { channels: 1, .. }, Shape::Features(_)) => {
                data.len() == model.len()
            }
            (Shape::Image { .. }, _) => false,
        };
        if data == model || is_flat {
            return Ok(());
        }
        let (model, data) = (model.dims(), data.dims());
        Err(match (&model[..], &data[..]) {
            (&[channels, height, width], dims) if *dims == [height, width, channels] => {
                DatasetError::ChannelsLast { model, data }
            }
            _ => DatasetError::Shape { model, data },
        })
    }

    /// The bias of a last layer has to reach the targets, in one round if it must.
    fn check_reach(&self, range: UpdateRange) -> Result<(), DatasetError> {
        let beyond = |target: f32| target.abs() > range.magnitude();
        let found = match &self.targets {
            Targets::Classes(classes) => {
                let mut targets = classes.iter().map(|&class| class as f32).enumerate();
                targets.find(|&(_, target)| beyond(target))
            }
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
        let given = match &self.targets {
            Targets::Classes(_) => "one whole number an example".into(),
            Targets::Values { width, .. } => format!("{width} values an example"),
        };
        DatasetError::TargetKind { needed, given }
    }
}
