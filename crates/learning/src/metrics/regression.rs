//! Metrics of values.

/// Metrics of a regression.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RegressionFigures {
    /// Mean absolute error, over all outputs.
    pub mae: f64,
    /// Root of the mean squared error, over all outputs.
    pub rmse: f64,
    /// Coefficient of determination: the mean over the outputs whose targets vary, each
    /// with the same weight, as scikit-learn averages. `None` if none does.
    pub r2: Option<f64>,
}

/// Errors and targets of one output over some rows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Moments {
    absolute: f64,
    squared: f64,
    /// Mean of the targets.
    mean: f64,
    /// Sum of the targets' squared distances from their mean.
    spread: f64,
}

#[derive(Clone, Debug, PartialEq)]
struct Batch {
    rows: f64,
    outputs: Vec<Moments>,
}

/// Metrics of outputs against values. Memory: four numbers an output and batch, of which
/// a data set in memory has many more.
#[derive(Clone, Debug, PartialEq)]
pub struct Regression {
    width: usize,
    batches: Vec<Batch>,
}

impl Regression {
    /// Without rows yet, for `width` outputs a row.
    pub fn new(width: usize) -> Self {
        Self { width, batches: Vec::new() }
    }

    /// Adds a batch, row by row. A batch of no rows is none.
    pub fn add(&mut self, outputs: &[f32], targets: &[f32]) {
        let width = self.width;
        let rows = targets.len() / width;
        if rows == 0 {
            return;
        }
        let rows = rows as f64;
        let mut moments = vec![Moments::default(); width];
        // From the first row on: the mean of equal targets is exact, and their spread 0.
        let first = |at: usize| f64::from(targets[at % width]);
        for (at, &target) in targets.iter().enumerate() {
            moments[at % width].mean += (f64::from(target) - first(at)) / rows;
        }
        moments.iter_mut().enumerate().for_each(|(at, own)| own.mean += first(at));
        for (at, (&output, &target)) in outputs.iter().zip(targets).enumerate() {
            let own = &mut moments[at % width];
            let (output, target) = (f64::from(output), f64::from(target));
            own.absolute += (output - target).abs();
            own.squared += (output - target).powi(2);
            own.spread += (target - own.mean).powi(2);
        }
        self.batches.push(Batch { rows, outputs: moments });
    }

    /// Adds the batches that follow.
    pub fn merge(&mut self, mut later: Self) {
        self.batches.append(&mut later.batches);
    }

    /// The metrics; `None` without rows.
    pub fn figures(&self) -> Option<RegressionFigures> {
        let (first, others) = self.batches.split_first()?;
        let mut all = first.clone();
        others.iter().for_each(|batch| all.append(batch));
        let Batch { rows, outputs } = all;
        let values = rows * self.width as f64;
        let sum = |of: fn(&Moments) -> f64| outputs.iter().map(of).sum::<f64>();
        let varying = outputs.iter().filter(|own| own.spread > 0.0);
        let explained = varying.map(|own| 1.0 - own.squared / own.spread);
        let (total, count) = explained.fold((0.0, 0), |(sum, n), r2| (sum + r2, n + 1));
        let r2 = (count > 0).then(|| total / f64::from(count));
        Some(RegressionFigures {
            mae: sum(|own| own.absolute) / values,
            rmse: (sum(|own| own.squared) / values).sqrt(),
            r2: r2.filter(|r2| r2.is_finite()),
        })
    }
}

impl Batch {
    /// Adds a batch. Means and spreads are joined as in Chan, Golub and LeVeque 1979,
    /// equation 2.1.
    fn append(&mut self, later: &Self) {
        let rows = self.rows + later.rows;
        for (own, other) in self.outputs.iter_mut().zip(&later.outputs) {
            let distance = other.mean - own.mean;
            own.absolute += other.absolute;
            own.squared += other.squared;
            own.spread += other.spread + distance.powi(2) * self.rows * later.rows / rows;
            own.mean += distance * later.rows / rows;
        }
        self.rows = rows;
    }
}
