//! Limits on how often one person takes part.

/// Limits of one person's participation in the steps of a task whose noise is not fresh
/// in every step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Participation {
    /// T: steps of the task.
    pub steps: u32,
    /// k: most steps that one person takes part in, at most once in each.
    pub participations: u32,
    /// Fewest steps from one participation of a person to the next: 1 if any two
    /// may follow each other.
    pub separation: u32,
}

impl Participation {
    /// Each person takes part in one step.
    #[must_use]
    pub const fn once(steps: u32) -> Self {
        Self { steps, participations: 1, separation: 1 }
    }
}

/// Every set of steps that one person may take part in, as bits.
#[cfg(test)]
pub(crate) fn patterns(limits: Participation) -> impl Iterator<Item = u32> {
    let Participation { steps, participations, separation } = limits;
    (0..1_u32 << steps)
        .filter(move |set| set.count_ones() <= participations)
        .filter(move |set| (1..separation).all(|gap| set & set >> gap == 0))
}
