//! Limits that figures are held against, and medians, which are the figures.

use std::fmt;

/// Bound of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// The figure is to reach it.
    AtLeast(f64),
    /// The figure is not to be above it.
    AtMost(f64),
}

impl Limit {
    /// True if `figure` keeps to it.
    pub fn holds(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(limit) => figure >= limit,
            Self::AtMost(limit) => figure <= limit,
        }
    }

    /// The limit, and whether `figure` keeps to it, if it was measured.
    pub fn beside(self, figure: Option<f64>) -> String {
        match figure.map(|figure| self.holds(figure)) {
            None => self.to_string(),
            Some(true) => format!("{self} met"),
            Some(false) => format!("{self} MISSED"),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(limit) => write!(f, ">= {limit}"),
            Self::AtMost(limit) => write!(f, "<= {limit}"),
        }
    }
}

/// The words of [`Limit::beside`], or a dash where there is no limit.
pub fn beside(limit: Option<Limit>, figure: Option<f64>) -> String {
    limit.map_or("-".to_owned(), |limit| limit.beside(figure))
}

/// The figure with so many digits after the point, or a dash if it was not measured.
pub fn shown(figure: Option<f64>, digits: usize) -> String {
    figure.map_or("-".to_owned(), |figure| format!("{figure:.digits$}"))
}

/// The middle of `figures`, of an even number the mean of both; nothing of none.
pub fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    let upper = *figures.get(middle)?;
    Some(if figures.len() % 2 == 1 { upper } else { (figures[middle - 1] + upper) / 2.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_kept_at_its_value() {
        assert_eq!(Limit::AtLeast(0.7).beside(Some(0.7)), ">= 0.7 met");
        assert_eq!(Limit::AtLeast(0.7).beside(Some(0.69)), ">= 0.7 MISSED");
        assert_eq!(Limit::AtMost(8.0).beside(Some(8.0)), "<= 8 met");
        assert_eq!(Limit::AtMost(8.0).beside(Some(9.0)), "<= 8 MISSED");
        assert!(!Limit::AtMost(8.0).holds(f64::NAN));
    }

    #[test]
    fn what_was_not_measured_is_neither_met_nor_missed() {
        assert_eq!(beside(Some(Limit::AtLeast(1.5)), None), ">= 1.5");
        assert_eq!(beside(None, Some(1.0)), "-");
        assert_eq!(shown(None, 2), "-");
    }

    #[test]
    fn one_slow_round_does_not_move_the_median() {
        assert_eq!(median(vec![3.0, 1.0, 1000.0]), Some(3.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
    }
}
