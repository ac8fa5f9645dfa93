mod adaptive;

use proptest::prelude::*;

use super::*;

const MOMENTUM: ServerOptimizer = ServerOptimizer::Momentum { learning_rate: 0.5, momentum: 0.5 };

fn velocity(values: &[f32]) -> OptimizerState {
    OptimizerState::Momentum { velocity: values.to_vec() }
}

#[test]
fn averaging_is_model_plus_rate_times_mean_and_has_no_state() {
    let averaging = ServerOptimizer::Averaging { learning_rate: 0.5 };
    let next = averaging.step(&OptimizerState::Empty, &[1.0, 1.0], &[3.25, -1.0]);
    assert_eq!(next, Ok((vec![2.625, 0.5], OptimizerState::Empty)));
}

#[test]
fn momentum_over_three_rounds() {
    let (mut model, mut state) = (vec![1.0, 0.0], OptimizerState::Empty);
    // v = v / 2 + mean; model += v / 2.
    let rounds = [
        ([4.0, -2.0], [4.0, -2.0], [3.0, -1.0]),
        ([2.0, 0.0], [4.0, -1.0], [5.0, -1.5]),
        ([-4.0, 8.0], [-2.0, 7.5], [4.0, 2.25]),
    ];
    for (mean, expected, moved) in rounds {
        (model, state) = MOMENTUM.step(&state, &model, &mean).expect("fits");
        assert_eq!(state, velocity(&expected));
        assert_eq!(model, moved);
    }
}

#[test]
fn the_first_step_of_momentum_is_that_of_averaging() {
    let (model, mean) = ([0.3, -7.0], [0.125, 1e-3]);
    let averaging = ServerOptimizer::Averaging { learning_rate: 0.5 };
    let of = |optimizer: &ServerOptimizer| {
        optimizer.step(&OptimizerState::Empty, &model, &mean).expect("fits").0
    };
    for (with, without) in of(&MOMENTUM).into_iter().zip(of(&averaging)) {
        assert!((with - without).abs() <= f32::EPSILON * without.abs(), "{with} and {without}");
    }
}

#[test]
fn a_step_changes_nothing_that_it_was_given() {
    let state = velocity(&[1.0]);
    let once = MOMENTUM.step(&state, &[1.0], &[1.0]).expect("fits");
    assert_eq!(MOMENTUM.step(&state, &[1.0], &[1.0]).expect("fits"), once);
    assert_eq!(state, velocity(&[1.0]));
}

#[test]
fn a_foreign_state_is_not_used() {
    let averaging = ServerOptimizer::Averaging { learning_rate: 1.0 };
    let state = velocity(&[1.0]);
    assert!(MOMENTUM.takes(&state) && !averaging.takes(&state));
    assert_eq!(averaging.step(&state, &[1.0], &[1.0]), Err(ApplyError::ForeignState));
    assert_eq!(MOMENTUM.step(&state, &[1.0; 2], &[1.0; 2]), Err(ApplyError::ForeignState));
    let short = MOMENTUM.step(&state, &[1.0], &[1.0; 2]);
    assert_eq!(short, Err(ApplyError::WrongLength { expected: 1, actual: 2 }));
}

fn file(values: &[f32]) -> Vec<u8> {
    velocity(values).encode().expect("finite").expect("not empty")
}

#[test]
fn an_empty_state_has_no_file() {
    assert_eq!(OptimizerState::Empty.encode(), Ok(None));
    assert_eq!(OptimizerState::Empty.optimizer(), None);
}

#[test]
fn the_file_of_a_state() {
    let file = file(&[1.5, -2.0]);
    let expected = [
        &b"fedra-optimizer-state\x01\x08momentum\x01\x08velocity\x02\0\0\0\0\0\0\0"[..],
        &1.5_f32.to_le_bytes(),
        &(-2.0_f32).to_le_bytes(),
    ];
    assert_eq!(file, expected.concat());
    assert_eq!(OptimizerState::decode(&file, 2), Ok(velocity(&[1.5, -2.0])));
}

#[test]
fn what_is_no_state_is_refused() {
    let good = file(&[1.5, -2.0]);
    let changed = |at: usize, byte: u8| {
        let mut file = good.clone();
        file[at] = byte;
        OptimizerState::decode(&file, 2)
    };
    assert_eq!(changed(0, b'x'), Err(StateError::Malformed));
    assert_eq!(changed(21, 2), Err(StateError::Version(2)));
    assert_eq!(changed(23, b'M'), Err(StateError::UnknownName("Momentum".to_owned())));
    assert_eq!(changed(31, 2), Err(StateError::Malformed));
    assert_eq!(changed(33, b'V'), Err(StateError::UnknownName("Velocity".to_owned())));
    let wrong = StateError::WrongLength { name: "velocity", expected: 2, actual: 255 };
    assert_eq!(changed(41, 255), Err(wrong));
    let wrong = StateError::WrongLength { name: "velocity", expected: 3, actual: 2 };
    assert_eq!(OptimizerState::decode(&good, 3), Err(wrong));
    let longer = [&good[..], b"x"].concat();
    assert_eq!(OptimizerState::decode(&longer, 2), Err(StateError::Malformed));
    for cut in 0..good.len() {
        assert!(OptimizerState::decode(&good[..cut], 2).is_err(), "{cut}");
    }
    let mut infinite = good.clone();
    infinite[good.len() - 4..].copy_from_slice(&f32::INFINITY.to_le_bytes());
    let not_finite = StateError::NotFinite { name: "velocity", index: 1 };
    assert_eq!(OptimizerState::decode(&infinite, 2), Err(not_finite.clone()));
    assert_eq!(velocity(&[0.0, f32::NAN]).encode(), Err(not_finite));
}

proptest! {
    #[test]
    fn any_bytes_are_judged_without_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..64),
        at in 0..58_usize,
        parameters in 0..4_usize,
    ) {
        let good = file(&[1.0, 2.0, 3.0]);
        let spliced = [&good[..at.min(good.len())], &bytes].concat();
        if let Ok(state) = OptimizerState::decode(&spliced, parameters) {
            prop_assert_eq!(state.encode(), Ok(Some(spliced)));
        }
    }
}
