//! Area under the receiver operating characteristic.

/// Most scores that are held for an AUC: 64 MiB. With more examples there is none. Up to
/// there it is exact, which a histogram of scores is not, and takes no more memory than
/// one value an example does in the data set.
pub const MAX_SCORES: usize = 1 << 24;

/// Scores of examples by what they are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    positive: Vec<f32>,
    negative: Vec<f32>,
}

impl Scores {
    /// Room for `count` scores; `None` beyond [`MAX_SCORES`].
    pub fn for_at_most(count: usize) -> Option<Self> {
        (count <= MAX_SCORES).then(Self::default)
    }

    /// Adds an example. A greater score speaks for a positive one.
    pub fn add(&mut self, score: f32, is_positive: bool) {
        // Both zeros are one score.
        let score = score + 0.0;
        if is_positive { self.positive.push(score) } else { self.negative.push(score) }
    }

    /// Adds the examples of another data set.
    pub fn merge(&mut self, mut other: Self) {
        self.positive.append(&mut other.positive);
        self.negative.append(&mut other.negative);
    }

    /// Probability that a positive example has a greater score than a negative one; ties
    /// count half (the Mann-Whitney statistic). `None` unless there are both.
    pub fn auc(mut self) -> Option<f64> {
        let pairs = self.positive.len() as u64 * self.negative.len() as u64;
        if pairs == 0 {
            return None;
        }
        self.negative.sort_unstable_by(f32::total_cmp);
        // Twice the negative examples below each score, and those that tie with it.
        let negative = &self.negative;
        let halves = self.positive.iter().map(|score| {
            let below = negative.partition_point(|other| other < score);
            let up_to = negative.partition_point(|other| other <= score);
            (below + up_to) as u64
        });
        Some(halves.sum::<u64>() as f64 / (2 * pairs) as f64)
    }
}
