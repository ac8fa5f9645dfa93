//! Known answers, properties and refusals of the fold and of what is made of it.

use proptest::prelude::*;

use super::*;
use crate::{Codec, UpdateShape};

/// The default of a classifier.
fn narrow() -> UpdateRange {
    range(6)
}

fn range(log2: u32) -> UpdateRange {
    UpdateRange::new(1 << log2).expect("at most 2^24")
}

fn checked(values: &[f32], range: UpdateRange) -> CheckedUpdate {
    let codec = Codec::standard(UpdateShape::Values { len: values.len(), range });
    let bytes = codec.values().expect("values").encode(values, &[0; 32]);
    CheckedUpdate::parse(bytes.into(), &codec).expect("valid")
}

fn sum_of(len: usize, updates: &[(Vec<f32>, u64)]) -> FixedPointSum {
    sum_within(narrow(), len, updates)
}

fn sum_within(range: UpdateRange, len: usize, updates: &[(Vec<f32>, u64)]) -> FixedPointSum {
    let mut sum = FixedPointSum::new(len, range);
    for (values, weight) in updates {
        sum.fold(&checked(values, range), *weight).expect("fits");
    }
    sum
}

/// Integers that a sum holds.
fn integers(sum: &FixedPointSum) -> Vec<i128> {
    match &sum.accumulators {
        Accumulators::Narrow(sums) => sums.iter().map(|&sum| sum.into()).collect(),
        Accumulators::Wide(sums) => sums.clone(),
    }
}

#[test]
fn known_answer() {
    let sum = sum_of(3, &[(vec![1.0, -2.0, 0.5], 1), (vec![4.0, 2.0, 0.25], 3)]);
    assert_eq!(sum.weight(), 4);
    assert_eq!(sum.updates(), 2);
    assert_eq!(sum.mean(), Some(vec![3.25, 1.0, 0.3125]));
}

#[test]
fn quantises_to_the_nearest_unit() {
    let unit = 2.0_f32.powi(-30);
    for log2 in [0, 6, 7, 20, 24] {
        for (x, expected) in [
            (0.0, 0),
            (-0.0, 0),
            (unit, 1),
            (-unit, -1),
            (0.4 * unit, 0),
            (0.6 * unit, 1),
            (-0.6 * unit, -1),
            (1.5 * unit, 2),
            (2.5 * unit, 2),
            (1.0, 1 << 30),
            (f32::MIN_POSITIVE / 2.0, 0),
        ] {
            let sum = sum_within(range(log2), 1, &[(vec![x], 1)]);
            assert_eq!(integers(&sum), [expected], "{x} within 2^{log2}");
        }
    }
}

#[test]
fn values_about_the_size_from_which_they_are_whole_units_are_exact() {
    for x in [WHOLE.next_down(), WHOLE, WHOLE.next_up(), 3.5 * WHOLE] {
        let sum = sum_within(range(24), 2, &[(vec![x, -x], 1)]);
        let units = (f64::from(x) * SCALE) as i128;
        assert_eq!(units as f64, f64::from(x) * SCALE, "a whole number");
        assert_eq!(integers(&sum), [units, -units], "{x}");
    }
}

#[test]
fn the_largest_sum_of_every_range_does_not_overflow() {
    for log2 in 0..=24 {
        let range = range(log2);
        for sign in [1, -1] {
            let value = sign as f32 * range.magnitude();
            let sum = sum_within(range, 1, &vec![(vec![value], MAX_TOTAL_WEIGHT / 2); 2]);
            assert_eq!(integers(&sum), [sign << (30 + log2 + 26)], "2^{log2}");
            assert_eq!(sum.mean(), Some(vec![f64::from(value)]));
            let mut half = sum_within(range, 1, &[(vec![value], MAX_TOTAL_WEIGHT / 2)]);
            half.merge(&half.clone()).expect("fits");
            assert_eq!(half, sum);
        }
    }
}

/// Around the weights from which on doubles would round the product.
#[test]
fn products_are_exact_for_every_weight() {
    for log2 in 0..=6 {
        let range = range(log2);
        let most = range.magnitude();
        let values = vec![most, -most, most.next_down(), most / 3.0, -1.7e-9, 2.0_f32.powi(-31)];
        let units: Vec<i128> =
            values.iter().map(|&x| (f64::from(x) * SCALE).round_ties_even() as i128).collect();
        for weight in [1, 2, 3, 1 << 14, 1 << 15, 1 << 21, 1 << 24] {
            for weight in [weight - 1, weight, weight + 1].into_iter().filter(|&weight| weight > 0)
            {
                let sum = sum_within(range, values.len(), &[(values.clone(), weight)]);
                let expected: Vec<i128> = units.iter().map(|x| x * i128::from(weight)).collect();
                assert_eq!(integers(&sum), expected, "2^{log2}, weight {weight}");
            }
        }
    }
}

#[test]
fn refuses_and_leaves_no_trace() {
    let before = sum_of(2, &[(vec![1.0, 2.0], 5)]);
    let mut sum = before.clone();
    let foreign = checked(&[1.0, 1.0], range(7));
    let good = checked(&[1.0, 1.0], narrow());
    let other = checked(&[1.0], narrow());
    let words = Codec::standard(UpdateShape::Words { len: 2, bits: 8 });
    let words = CheckedUpdate::parse(vec![1, 1].into(), &words).expect("valid");

    assert_eq!(sum.fold(&good, 0), Err(FoldError::ZeroWeight));
    assert_eq!(
        sum.fold(&good, MAX_TOTAL_WEIGHT),
        Err(FoldError::TotalWeight { total: MAX_TOTAL_WEIGHT + 5 })
    );
    assert_eq!(sum.fold(&good, u64::MAX), Err(FoldError::TotalWeight { total: u64::MAX }));
    assert_eq!(sum.fold(&other, 1), Err(FoldError::WrongLength { expected: 2, actual: 1 }));
    assert!(matches!(sum.fold(&words, 1), Err(FoldError::Codec(_))));
    let fault = FoldError::Range { expected: narrow(), actual: range(7) };
    assert_eq!(sum.fold(&foreign, 1), Err(fault));
    assert_eq!(sum.merge(&FixedPointSum::new(2, range(7))), Err(fault));
    assert_eq!(
        sum.merge(&FixedPointSum::new(3, narrow())),
        Err(FoldError::WrongLength { expected: 2, actual: 3 })
    );
    assert_eq!(sum, before);
    for range in [narrow(), range(20)] {
        let mut sum = sum_within(range, 2, &[(vec![1.0, 2.0], 5)]);
        sum.clear();
        assert_eq!(sum, FixedPointSum::new(2, range));
    }
}

#[test]
fn an_empty_sum_has_no_mean() {
    assert_eq!(FixedPointSum::new(1, narrow()).mean(), None);
}

const LEN: usize = 67;

/// A range, and updates within it.
fn updates() -> impl Strategy<Value = (UpdateRange, Vec<(Vec<f32>, u64)>)> {
    (0_u32..=24).prop_flat_map(|log2| {
        let range = range(log2);
        let most = range.magnitude();
        let value = prop_oneof![-most..=most, -1e-3_f32..1e-3, Just(0.0_f32), Just(most)];
        let weight = prop_oneof![Just(1_u64), 1_u64..=1_000, 1_u64..=1_000_000];
        let update = (prop::collection::vec(value, LEN), weight);
        (Just(range), prop::collection::vec(update, 1..20))
    })
}

proptest! {
    #[test]
    fn order_and_partition_do_not_matter(
        (range, updates, shuffled) in updates().prop_flat_map(|(range, updates)| {
            (Just(range), Just(updates.clone()), Just(updates).prop_shuffle())
        }),
        cut in any::<prop::sample::Index>(),
    ) {
        let whole = sum_within(range, LEN, &updates);
        prop_assert_eq!(&sum_within(range, LEN, &shuffled), &whole);
        let (left, right) = shuffled.split_at(cut.index(shuffled.len()));
        let mut merged = sum_within(range, LEN, left);
        merged.merge(&sum_within(range, LEN, right)).expect("fits");
        prop_assert_eq!(merged, whole);
    }

    #[test]
    fn holds_exactly_the_weighted_sum_of_rounded_values((range, updates) in updates()) {
        let sum = integers(&sum_within(range, LEN, &updates));
        // Exact as doubles: 24 bits, moved by 30.
        let unit = |x: f32| (f64::from(x) * 2.0_f64.powi(30)).round_ties_even() as i128;
        for (i, sum) in sum.into_iter().enumerate() {
            let expected: i128 = updates.iter().map(|(v, w)| unit(v[i]) * i128::from(*w)).sum();
            prop_assert_eq!(sum, expected);
        }
    }

    #[test]
    fn equals_the_weighted_mean((range, updates) in updates()) {
        let total: f64 = updates.iter().map(|(_, w)| *w as f64).sum();
        let mean = sum_within(range, LEN, &updates).mean().expect("not empty");
        // Half a unit, and what the doubles here lose of values up to the range.
        let error = 2.0_f64.powi(-30) + f64::from(range.magnitude()) * 2.0_f64.powi(-47);
        for (i, mean) in mean.into_iter().enumerate() {
            let expected = updates.iter().map(|(v, w)| f64::from(v[i]) * *w as f64).sum::<f64>() / total;
            prop_assert!((mean - expected).abs() <= error, "{mean} {expected}");
        }
    }
}
