//! Robust estimators: known answers, and that neither the order of arrival nor arbitrary
//! updates move them.
//!
//! Answers that are not plain were computed apart from this crate with the formulas of the
//! papers.

use proptest::prelude::*;

use super::*;

const MOST: usize = 12;

const ALL: [Estimator; 7] = [
    Estimator::Mean,
    Estimator::Median,
    Estimator::TrimmedMean { trim: 1 },
    Estimator::MultiKrum { byzantine: 1 },
    Estimator::GeometricMedian { iterations: 4 },
    Estimator::NormBound { norm: 1.5 },
    Estimator::CentredClipping { norm: 1.5, iterations: 3 },
];

fn estimate_of(estimator: Estimator, updates: &[(Vec<f32>, u64)]) -> Result<Vec<f64>, FinishError> {
    let len = updates.first().map_or(LEN, |(values, _)| values.len());
    let mut round = estimator.accumulator(Plain::new(len, range()), MOST);
    for (number, (values, weight)) in (0..).zip(updates) {
        round.add(Contributor(number), plain(values), Weight::of(*weight)).expect("it fits");
    }
    Ok(round.finish()?.delta)
}

fn estimate(estimator: Estimator, updates: &[[f32; LEN]]) -> Vec<f64> {
    let updates: Vec<_> = updates.iter().map(|values| (values.to_vec(), 1)).collect();
    estimate_of(estimator, &updates).expect("an estimate")
}

fn assert_close(found: &[f64], expected: [f64; LEN]) {
    for (value, expected) in found.iter().zip(expected) {
        assert!((value - expected).abs() < 1e-6, "{found:?} for {expected}");
    }
}

#[test]
fn the_median_of_odd_and_even_numbers_of_updates() {
    let updates = [
        [1.0, -1.0, 0.0, 3.0],
        [2.0, -5.0, 0.5, 3.0],
        [60.0, -9.0, -0.5, -3.0],
        [4.0, 60.0, 9.0, -3.0],
    ];
    assert_eq!(estimate(Estimator::Median, &updates[..1]), [1.0, -1.0, 0.0, 3.0]);
    assert_eq!(estimate(Estimator::Median, &updates[..3]), [2.0, -5.0, 0.0, 3.0]);
    assert_eq!(estimate(Estimator::Median, &updates), [3.0, -3.0, 0.25, 0.0]);
}

#[test]
fn a_trimmed_mean_leaves_out_both_ends_of_each_coordinate() {
    let updates =
        [[1.0, -60.0, 0.0, 0.5], [2.0, 1.0, 0.0, 0.5], [60.0, 2.0, 0.0, 0.5], [6.0, 6.0, 8.0, 0.5]];
    let mean = |trim| estimate(Estimator::TrimmedMean { trim }, &updates);
    assert_eq!(mean(1), [4.0, 1.5, 0.0, 0.5]);
}

#[test]
fn multi_krum_takes_the_mean_of_those_with_near_neighbours() {
    let updates = [
        [1.0, 0.0, 0.0, 0.0],
        [1.0, 1.0, 0.0, 0.0],
        [0.0, 1.0, 0.0, 1.0],
        [2.0, 0.0, 0.0, 0.0],
        [50.0, -50.0, 0.0, 3.0],
    ];
    // The scores are 2, 3, 5, 3 and 9723. Two of them count, and among equals the smaller
    // vector goes first.
    let found = estimate(Estimator::MultiKrum { byzantine: 1 }, &updates);
    assert_eq!(found, [1.0, 0.5, 0.0, 0.0]);
}

#[test]
fn the_geometric_median_after_some_steps() {
    let updates = [[3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, -2.0, 0.0, 0.0]];
    let after = |iterations| estimate(Estimator::GeometricMedian { iterations }, &updates);
    assert_close(&after(1), [0.352_941_176, -0.117_647_059, 0.588_235_294, 0.0]);
    assert_close(&after(3), [0.181_372_056, -0.048_640_868, 0.794_307_510, 0.0]);
    let weights = [2, 1, 1];
    let weighted: Vec<_> = updates.iter().map(|values| values.to_vec()).zip(weights).collect();
    let found = estimate_of(Estimator::GeometricMedian { iterations: 2 }, &weighted);
    let expected = [0.667_916_332, 0.490_890_470, 0.577_528_903, 0.0];
    assert_close(&found.expect("an estimate"), expected);
}

#[test]
fn the_geometric_median_on_a_line_is_the_median() {
    let updates = [[1.0, 0.0, 0.0, 0.0], [2.0, 0.0, 0.0, 0.0], [60.0, 0.0, 0.0, 0.0]];
    let found = estimate(Estimator::GeometricMedian { iterations: 100 }, &updates);
    assert_close(&found, [2.0, 0.0, 0.0, 0.0]);
}

#[test]
fn a_norm_bound_scales_long_updates_and_weighs_them() {
    let updates = [(vec![3.0, 4.0, 0.0, 0.0], 1), (vec![0.0, 0.0, 1.0, 0.0], 3)];
    let found = estimate_of(Estimator::NormBound { norm: 2.5 }, &updates);
    assert_close(&found.expect("an estimate"), [0.375, 0.5, 0.75, 0.0]);
    // A stale one counts less, as in the plain mean.
    let sum = Plain::buffered(LEN, range(), 100);
    let mut round = Estimator::NormBound { norm: 2.5 }.accumulator(sum, MOST);
    for (values, discount) in [([0.0, 0.0, 1.0, 0.0], 1.0), ([3.0, 4.0, 0.0, 0.0], 0.25)] {
        let weight = Weight { examples: 1, discount };
        round.add(Contributor(1), plain(&values), weight).expect("it fits");
    }
    let found = round.finish().expect("a mean").delta;
    assert_close(&found, [0.187_5, 0.25, 0.5, 0.0]);
}

#[test]
fn centred_clipping_moves_its_centre_by_bounded_differences() {
    let updates = [[3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, -1.0, 0.0, 0.0]];
    let after =
        |iterations| estimate(Estimator::CentredClipping { norm: 1.0, iterations }, &updates);
    assert_close(&after(1), [0.2, -0.066_666_667, 0.333_333_333, 0.0]);
    assert_close(&after(3), [0.274_487_523, -0.070_332_865, 0.452_023_732, 0.0]);
    // With a norm beyond all of them it is the mean.
    let wide = Estimator::CentredClipping { norm: 100.0, iterations: 1 };
    assert_close(&estimate(wide, &updates), [1.0, 1.0, 1.0 / 3.0, 0.0]);
}

#[test]
fn each_estimator_needs_its_updates() {
    for estimator in ALL {
        let least = estimator.least_updates() as usize;
        let updates = |count: usize| vec![(vec![0.5; LEN], 1); count];
        assert_eq!(estimate_of(estimator, &updates(least)).expect("enough"), [0.5; LEN]);
        assert!(matches!(estimate_of(estimator, &[]), Err(FinishError::Empty)));
        if least > 1 {
            let found = estimate_of(estimator, &updates(least - 1));
            let is_so = matches!(found, Err(FinishError::TooFew { there, least: of })
                if (there, of) == (least - 1, least));
            assert!(is_so, "{estimator:?}: {found:?}");
        }
    }
}

#[test]
fn what_an_estimator_turns_down_leaves_no_trace() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    for estimator in ALL {
        let least = estimator.least_updates();
        let mut round = estimator.accumulator(Plain::new(LEN, range()), least as usize);
        let mut add = |update, weight| round.add(Contributor(1), update, Weight::of(weight));
        for _ in 0..least {
            assert!(add(words(&[1.0; LEN], &mut rng), 1).is_err());
            assert!(add(plain(&[1.0; LEN - 1]), 1).is_err());
            assert!(add(plain(&[1.0; LEN]), 0).is_err(), "{estimator:?}");
            add(plain(&[0.5; LEN]), 1).expect("it fits");
        }
        let beyond = add(plain(&[0.5; LEN]), 1);
        let is_full = matches!(beyond, Err(ContributionError::Full { .. }));
        assert_eq!(is_full, estimator.holds_updates());
        assert_eq!(round.finish().expect("an estimate").delta, [0.5; LEN]);
    }
}

#[test]
fn an_estimator_that_holds_updates_has_memory_for_all_of_them() {
    let memory =
        |estimator: Estimator| estimator.accumulator(Plain::new(1000, range()), 10).bounds().memory;
    assert_eq!(memory(Estimator::Mean), 8_000);
    assert_eq!(memory(Estimator::NormBound { norm: 1.0 }), 12_000);
    assert_eq!(memory(Estimator::Median), 40_000);
    assert_eq!(memory(Estimator::TrimmedMean { trim: 1 }), 40_000);
    assert_eq!(memory(Estimator::MultiKrum { byzantine: 1 }), 40_800);
    assert_eq!(memory(Estimator::GeometricMedian { iterations: 1 }), 48_000);
    assert_eq!(memory(Estimator::CentredClipping { norm: 1.0, iterations: 1 }), 48_000);
}

/// Updates of more values than a block and a vector have, with few different ones.
fn any_updates() -> impl Strategy<Value = Vec<(Vec<f32>, u64)>> {
    let value = prop_oneof![-3.0_f32..3.0, Just(0.0), Just(-0.0), Just(1.0)];
    let update = (prop::collection::vec(value, 21), 1..4_u64);
    prop::collection::vec(update, 5..MOST)
}

fn length(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>().sqrt()
}

fn apart(one: &[f64], other: &[f64]) -> f64 {
    length(&one.iter().zip(other).map(|(one, other)| one - other).collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn the_order_of_arrival_does_not_matter_to_the_bit(
        (updates, shuffled) in any_updates()
            .prop_flat_map(|updates| (Just(updates.clone()), Just(updates).prop_shuffle())),
    ) {
        for estimator in ALL {
            let bits = |updates: &[_]| {
                let found = estimate_of(estimator, updates).expect("enough");
                found.into_iter().map(f64::to_bits).collect::<Vec<_>>()
            };
            prop_assert_eq!(bits(&updates), bits(&shuffled), "{:?}", estimator);
        }
    }

    #[test]
    fn all_that_see_every_update_alike_agree_on_equal_ones(
        update in prop::collection::vec(-0.3_f32..0.3, 21),
        count in 5..MOST,
    ) {
        let updates = vec![(update.clone(), 1); count];
        for estimator in ALL {
            let found = estimate_of(estimator, &updates).expect("enough");
            for (found, value) in found.iter().zip(&update) {
                prop_assert!((found - f64::from(*value)).abs() < 1e-6, "{:?}", estimator);
            }
        }
    }

    #[test]
    fn arbitrary_updates_do_not_move_an_estimate_beyond_the_honest(
        honest in prop::collection::vec(prop::collection::vec(-1.0_f32..1.0, 21), 7),
        arbitrary in prop::collection::vec(prop::collection::vec(-64.0_f32..64.0, 21), 2),
    ) {
        let updates: Vec<_> =
            honest.iter().chain(&arbitrary).map(|values| (values.clone(), 1)).collect();
        let of = |estimator| estimate_of(estimator, &updates).expect("enough");
        // By coordinate, no farther than the honest themselves.
        for estimator in [Estimator::Median, Estimator::TrimmedMean { trim: 2 }] {
            for (at, value) in of(estimator).into_iter().enumerate() {
                let column = || honest.iter().map(|values| f64::from(values[at]));
                let (low, high) = (column().fold(1.0, f64::min), column().fold(-1.0, f64::max));
                prop_assert!((low - 1e-12..=high + 1e-12).contains(&value), "{:?}", estimator);
            }
        }
        let lengths = honest.iter().map(|values| {
            length(&values.iter().copied().map(f64::from).collect::<Vec<_>>())
        });
        let longest = lengths.fold(0.0, f64::max);
        // 2 (1 - s) / (1 - 2 s) with s = 2/9.
        for iterations in [1, 2, 5, 20] {
            let found = of(Estimator::GeometricMedian { iterations });
            prop_assert!(length(&found) <= 2.8 * longest + 1e-3, "{}", length(&found));
        }
    }

    #[test]
    fn multi_krum_leaves_out_what_is_far_from_all_honest_updates(
        honest in prop::collection::vec(prop::collection::vec(-1.0_f32..1.0, 21), 7),
        direction in prop::collection::vec(prop_oneof![Just(-1.0_f32), Just(1.0)], 21),
        far in 20.0_f32..64.0,
    ) {
        let outlier: Vec<f32> = direction.iter().map(|sign| sign * far).collect();
        let updates = honest.iter().cloned().chain([outlier.clone(), outlier]);
        let updates: Vec<_> = updates.map(|values| (values, 1)).collect();
        let found = estimate_of(Estimator::MultiKrum { byzantine: 2 }, &updates).expect("enough");
        prop_assert!(found.iter().all(|value| value.abs() <= 1.0), "{found:?}");
    }

    #[test]
    fn clipped_updates_have_a_bounded_influence(
        honest in prop::collection::vec(prop::collection::vec(-1.0_f32..1.0, 21), 6),
        one in prop::collection::vec(prop::collection::vec(-64.0_f32..64.0, 21), 2),
        other in prop::collection::vec(prop::collection::vec(-64.0_f32..64.0, 21), 2),
        norm in 0.1..5.0_f64,
        iterations in 1..6_u32,
    ) {
        let of = |estimator, arbitrary: &[Vec<f32>]| {
            let updates = honest.iter().chain(arbitrary).map(|values| (values.clone(), 1));
            estimate_of(estimator, &updates.collect::<Vec<_>>()).expect("enough")
        };
        let moved = |estimator| apart(&of(estimator, &one), &of(estimator, &other));
        // 2 f / n times the norm, for each step.
        let bound = 0.5 * norm;
        let bounded = moved(Estimator::NormBound { norm });
        prop_assert!(bounded <= bound + 1e-4);
        let centred = moved(Estimator::CentredClipping { norm, iterations });
        prop_assert!(centred <= bound * f64::from(iterations) + 1e-9);
    }
}
