//! Known answers, properties and refusals of the fold and of what is made of it.

use proptest::prelude::*;

use super::*;
use crate::{ApplyError, MAX_MAGNITUDE, ServerOptimizer, UpdateError};

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn sum_of(len: usize, updates: &[(Vec<f32>, u64)]) -> FixedPointSum {
    let mut sum = FixedPointSum::new(len);
    for (values, weight) in updates {
        let bytes = bytes(values);
        let update = CheckedUpdate::parse(&bytes, len).expect("valid");
        sum.fold(&update, *weight).expect("fits");
    }
    sum
}

#[test]
fn known_answer() {
    let sum = sum_of(3, &[(vec![1.0, -2.0, 0.5], 1), (vec![4.0, 2.0, 0.25], 3)]);
    assert_eq!(sum.weight(), 4);
    assert_eq!(sum.updates(), 2);
    assert_eq!(sum.mean(), Some(vec![3.25, 1.0, 0.3125]));

    let mut averaging = ServerOptimizer::Averaging { learning_rate: 0.5 };
    let next = averaging.step(&[1.0, 1.0, 1.0], &sum.mean().unwrap());
    assert_eq!(next, Ok(vec![2.625, 1.5, 1.15625]));
}

#[test]
fn quantises_to_the_nearest_unit() {
    let unit = 2.0_f32.powi(-30);
    for (x, expected) in [
        (0.0, 0),
        (-0.0, 0),
        (unit, 1),
        (-unit, -1),
        (0.4 * unit, 0),
        (0.6 * unit, 1),
        (-0.6 * unit, -1),
        (1.0, 1 << 30),
        (MAX_MAGNITUDE, 1 << 36),
        (-MAX_MAGNITUDE, -(1 << 36)),
        (f32::MIN_POSITIVE / 2.0, 0),
    ] {
        assert_eq!(quantise(x), expected, "{x}");
    }
}

#[test]
fn the_largest_sum_does_not_overflow() {
    for sign in [1.0, -1.0] {
        let value = sign * MAX_MAGNITUDE;
        let sum = sum_of(1, &vec![(vec![value], MAX_TOTAL_WEIGHT / 2); 2]);
        assert_eq!(sum.mean(), Some(vec![f64::from(value)]));
    }
}

#[test]
fn refuses_and_leaves_no_trace() {
    let before = sum_of(2, &[(vec![1.0, 2.0], 5)]);
    let mut sum = before.clone();
    let good = bytes(&[1.0, 1.0]);
    let good = CheckedUpdate::parse(&good, 2).expect("valid");
    let other = bytes(&[1.0]);
    let other = CheckedUpdate::parse(&other, 1).expect("valid");

    assert_eq!(sum.fold(&good, 0), Err(FoldError::ZeroWeight));
    assert_eq!(
        sum.fold(&good, MAX_TOTAL_WEIGHT),
        Err(FoldError::TotalWeight { total: MAX_TOTAL_WEIGHT + 5 })
    );
    assert_eq!(sum.fold(&good, u64::MAX), Err(FoldError::TotalWeight { total: u64::MAX }));
    assert_eq!(sum.fold(&other, 1), Err(FoldError::WrongLength { expected: 2, actual: 1 }));
    assert_eq!(
        sum.merge(&FixedPointSum::new(3)),
        Err(FoldError::WrongLength { expected: 2, actual: 3 })
    );
    assert_eq!(sum, before);
    sum.clear();
    assert_eq!(sum, FixedPointSum::new(2));
}

#[test]
fn parse_names_the_first_fault() {
    let parse = |values: &[f32], len| CheckedUpdate::parse(bytes(values), len).map(|u| u.len());
    assert_eq!(parse(&[1.0; 3], 4), Err(UpdateError::WrongLength { expected: 16, actual: 12 }));
    assert_eq!(
        CheckedUpdate::parse([0; 13], 3).map(|u| u.len()),
        Err(UpdateError::WrongLength { expected: 12, actual: 13 })
    );
    for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut values = vec![0.5; 1000];
        values[700] = bad;
        values[900] = 1e9;
        assert_eq!(parse(&values, 1000), Err(UpdateError::NotFinite { index: 700 }));
    }
    let over = MAX_MAGNITUDE.next_up();
    assert_eq!(
        parse(&[MAX_MAGNITUDE, -over, f32::NAN], 3),
        Err(UpdateError::OutOfRange { index: 1, value: -over })
    );
    assert_eq!(parse(&[-MAX_MAGNITUDE, MAX_MAGNITUDE], 2), Ok(2));
    assert_eq!(parse(&[], 0), Ok(0));
}

#[test]
fn an_empty_sum_has_no_mean_and_a_foreign_one_is_not_applied() {
    let mut averaging = ServerOptimizer::Averaging { learning_rate: 1.0 };
    assert_eq!(FixedPointSum::new(1).mean(), None);
    assert_eq!(
        averaging.step(&[1.0], &[0.5, 0.5]),
        Err(ApplyError::WrongLength { expected: 1, actual: 2 })
    );
}

const LEN: usize = 67;

fn updates() -> impl Strategy<Value = Vec<(Vec<f32>, u64)>> {
    let value = prop_oneof![-64.0_f32..=64.0, -1e-3_f32..1e-3, Just(0.0_f32)];
    let update = (prop::collection::vec(value, LEN), 1_u64..=1_000_000);
    prop::collection::vec(update, 1..20)
}

proptest! {
    #[test]
    fn order_and_partition_do_not_matter(
        (updates, shuffled) in updates().prop_flat_map(|u| (Just(u.clone()), Just(u).prop_shuffle())),
        cut in any::<prop::sample::Index>(),
    ) {
        let whole = sum_of(LEN, &updates);
        prop_assert_eq!(&sum_of(LEN, &shuffled), &whole);
        let (left, right) = shuffled.split_at(cut.index(shuffled.len()));
        let mut merged = sum_of(LEN, left);
        merged.merge(&sum_of(LEN, right)).expect("fits");
        prop_assert_eq!(merged, whole);
    }

    #[test]
    fn equals_the_weighted_mean(updates in updates()) {
        let total: f64 = updates.iter().map(|(_, w)| *w as f64).sum();
        let mean = sum_of(LEN, &updates).mean().expect("not empty");
        for (i, mean) in mean.into_iter().enumerate() {
            let expected = updates.iter().map(|(v, w)| f64::from(v[i]) * *w as f64).sum::<f64>() / total;
            prop_assert!((mean - expected).abs() <= 2.0_f64.powi(-30), "{mean} {expected}");
        }
    }

    #[test]
    fn any_bytes_are_judged_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), len in 0..16_usize) {
        let all_good = bytes.len() == 4 * len
            && bytes.chunks(4).all(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]).abs() <= 64.0);
        prop_assert_eq!(CheckedUpdate::parse(&bytes, len).is_ok(), all_good);
    }
}
