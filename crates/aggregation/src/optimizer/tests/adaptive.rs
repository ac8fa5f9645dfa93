//! Adaptive steps: known answers of three rounds, and properties.
//!
//! The answers come from the formulas of the paper, computed apart from this crate with
//! values rounded to float32 where they are stored.

use proptest::prelude::*;

use super::super::*;

const MEANS: [[f64; 3]; 3] = [[0.5, -0.25, 0.0], [0.25, 0.5, -0.001], [-1.0, 0.125, 0.002]];
const START: [f32; 3] = [1.0, -2.0, 0.5];

const ADAGRAD: ServerOptimizer =
    ServerOptimizer::Adagrad { learning_rate: 0.1, momentum: 0.0, tau: 0.01 };
const ADAM: ServerOptimizer =
    ServerOptimizer::Adam { learning_rate: 0.1, momentum: 0.9, beta2: 0.99, tau: 0.001 };
const YOGI: ServerOptimizer =
    ServerOptimizer::Yogi { learning_rate: 0.1, momentum: 0.9, beta2: 0.99, tau: 0.001 };

/// Models and moments after each of the rounds.
fn rounds(optimizer: &ServerOptimizer) -> Vec<(Vec<f32>, Moments)> {
    let (mut model, mut state) = (START.to_vec(), OptimizerState::Empty);
    let round = |mean: &[f64; 3]| {
        (model, state) = optimizer.step(&state, &model, mean).expect("fits");
        (model.clone(), state.moments().expect("an adaptive one").clone())
    };
    MEANS.iter().map(round).collect()
}

fn check(optimizer: &ServerOptimizer, expected: [[[f32; 3]; 3]; 3]) {
    for ((model, moments), [x, m, v]) in rounds(optimizer).iter().zip(expected) {
        for (found, expected) in [(model, x), (&moments.first, m), (&moments.second, v)] {
            for (found, expected) in found.iter().zip(expected) {
                let error = (found - expected).abs();
                assert!(error <= 2e-7 * expected.abs(), "{found} for {expected}");
            }
        }
    }
}

#[test]
fn adagrad_over_three_rounds() {
    check(
        &ADAGRAD,
        [
            [[1.098_02, -2.096_08, 0.5], [0.5, -0.25, 0.0], [0.2501, 0.0626, 1e-4]],
            [
                [1.141_948_5, -2.008_223, 0.495_012_43],
                [0.25, 0.5, -0.001],
                [0.3126, 0.3126, 1.01e-4],
            ],
            [
                [1.055_419_9, -1.986_778_9, 0.504_890_44],
                [-1.0, 0.125, 0.002],
                [1.3126, 0.328_225, 1.05e-4],
            ],
        ],
    );
}

#[test]
fn adagrad_with_momentum_over_three_rounds() {
    check(
        &ServerOptimizer::Adagrad { learning_rate: 0.1, momentum: 0.5, tau: 0.01 },
        [
            [[1.049_01, -2.048_04, 0.5], [0.25, -0.125, 0.0], [0.2501, 0.0626, 1e-4]],
            [
                [1.092_938_5, -2.015_093_6, 0.497_506_23],
                [0.25, 0.1875, -5e-4],
                [0.3126, 0.3126, 1.01e-4],
            ],
            [
                [1.060_490_4, -1.988_288_4, 0.501_210_5],
                [-0.375, 0.156_25, 7.5e-4],
                [1.3126, 0.328_225, 1.05e-4],
            ],
        ],
    );
}

#[test]
fn adam_over_three_rounds() {
    check(
        &ADAM,
        [
            [
                [1.098_020_2, -2.096_080_8, 0.5],
                [0.05, -0.025, 0.0],
                [0.002_500_99, 6.2599e-4, 9.9e-7],
            ],
            [
                [1.221_506_5, -2.047_711_8, 0.494_987_58],
                [0.07, 0.0275, -1e-4],
                [0.003_100_98, 0.003_119_730_2, 9.901e-7],
            ],
            [
                [1.189_423, -1.983_446_7, 0.500_460_1],
                [-0.037, 0.037_25, 1.1e-4],
                [0.013_069_971, 0.003_244_782_8, 1.020_199_1e-6],
            ],
        ],
    );
}

#[test]
fn yogi_over_three_rounds() {
    check(
        &YOGI,
        [
            [[1.098_02, -2.096_08, 0.5], [0.05, -0.025, 0.0], [0.002_501, 6.26e-4, 1e-6]],
            [
                [1.221_019_7, -2.047_758_8, 0.495_012_43],
                [0.07, 0.0275, -1e-4],
                [0.003_126, 0.003_126, 1.01e-6],
            ],
            [
                [1.189_004_2, -1.983_855_2, 0.500_445_37],
                [-0.037, 0.037_25, 1.1e-4],
                [0.013_126, 0.003_282_25, 1.05e-6],
            ],
        ],
    );
}

#[test]
fn a_small_square_shrinks_the_second_moment_of_yogi_less_than_that_of_adam() {
    let moments = Moments { first: vec![0.0], second: vec![1.0] };
    let second = |optimizer: &ServerOptimizer, state| {
        let (_, state) = optimizer.step(&state, &[0.0], &[0.1]).expect("fits");
        state.moments().expect("an adaptive one").second[0]
    };
    assert_eq!(second(&ADAM, OptimizerState::Adam(moments.clone())), 0.9901);
    assert_eq!(second(&YOGI, OptimizerState::Yogi(moments)), 0.9999);
}

#[test]
fn the_file_of_two_moments() {
    let state = OptimizerState::Yogi(Moments { first: vec![1.5], second: vec![0.25] });
    let file = state.encode().expect("finite").expect("not empty");
    let one = b"\x01\0\0\0\0\0\0\0";
    let expected = [
        &b"fedra-optimizer-state\x01\x04yogi\x02\x0cfirst_moment"[..],
        one,
        &1.5_f32.to_le_bytes(),
        b"\x0dsecond_moment",
        one,
        &0.25_f32.to_le_bytes(),
    ];
    assert_eq!(file, expected.concat());
    assert_eq!(OptimizerState::decode(&file, 1), Ok(state));
    let mut negative = file;
    negative.pop();
    negative.push(0xbe);
    assert_eq!(OptimizerState::decode(&negative, 1), Err(StateError::Negative { index: 0 }));
}

#[test]
fn the_state_of_another_adaptive_optimizer_is_not_used() {
    let moments = Moments { first: vec![1.0], second: vec![1.0] };
    let states = [
        OptimizerState::Adagrad(moments.clone()),
        OptimizerState::Adam(moments.clone()),
        OptimizerState::Yogi(moments.clone()),
        OptimizerState::Momentum { velocity: vec![1.0] },
    ];
    for (place, optimizer) in [ADAGRAD, ADAM, YOGI].iter().enumerate() {
        for (of, state) in states.iter().enumerate() {
            let step = optimizer.step(state, &[1.0], &[1.0]);
            assert_eq!(optimizer.takes(state), place == of);
            assert_eq!(step == Err(ApplyError::ForeignState), place != of, "{state:?}");
        }
    }
    let longer = OptimizerState::Adam(Moments { second: vec![1.0; 2], ..moments });
    assert_eq!(ADAM.step(&longer, &[1.0], &[1.0]), Err(ApplyError::ForeignState));
}

#[test]
fn a_scaled_optimizer_takes_steps_of_the_scaled_length() {
    for optimizer in [ADAGRAD, ADAM, YOGI] {
        let step = |optimizer: &ServerOptimizer| {
            let (model, state) =
                optimizer.step(&OptimizerState::Empty, &[0.0], &[0.5]).expect("fits");
            (model[0], state)
        };
        let (whole, quarter) = (step(&optimizer), step(&optimizer.scaled(0.25)));
        assert!((quarter.0 - whole.0 / 4.0).abs() <= 1e-7 * whole.0);
        assert_eq!(quarter.1, whole.1, "the moments do not depend on the rate");
    }
}

fn any_optimizer() -> impl Strategy<Value = ServerOptimizer> {
    (0..3, 0.0..0.99_f64, 0.0..0.999_f64, 1e-9..1.0_f64).prop_map(|(kind, momentum, beta2, tau)| {
        let learning_rate = 0.1;
        match kind {
            0 => ServerOptimizer::Adagrad { learning_rate, momentum, tau },
            1 => ServerOptimizer::Adam { learning_rate, momentum, beta2, tau },
            _ => ServerOptimizer::Yogi { learning_rate, momentum, beta2, tau },
        }
    })
}

fn any_mean() -> impl Strategy<Value = [f64; 3]> {
    (-64.0..64.0_f64, -1e-6..1e-6_f64).prop_map(|(large, small)| [large, small, 0.0])
}

proptest! {
    #[test]
    fn rounds_through_a_file_have_the_same_bits(
        optimizer in any_optimizer(),
        means in prop::collection::vec(any_mean(), 1..6),
    ) {
        let (mut model, mut state) = (START.to_vec(), OptimizerState::Empty);
        let (mut again, mut stored) = (model.clone(), None::<Vec<u8>>);
        for mean in means {
            (model, state) = optimizer.step(&state, &model, &mean).expect("fits");
            let before = match &stored {
                None => OptimizerState::Empty,
                Some(file) => OptimizerState::decode(file, 3).expect("a sound file"),
            };
            let (next, after) = optimizer.step(&before, &again, &mean).expect("fits");
            again = next;
            stored = after.encode().expect("finite");
            prop_assert_eq!(&again, &model);
            prop_assert_eq!(&after, &state);
            prop_assert!(model.iter().all(|value| value.is_finite()));
        }
    }

    #[test]
    fn a_first_step_is_bounded_by_the_rate(
        optimizer in any_optimizer(),
        mean in -64.0..64.0_f64,
    ) {
        // |m| <= (1 - beta_1) |D|, and sqrt(v) >= sqrt(1 - beta_2) |D| for each of them.
        let bound = match optimizer {
            ServerOptimizer::Adam { learning_rate, momentum, beta2, .. }
            | ServerOptimizer::Yogi { learning_rate, momentum, beta2, .. } => {
                learning_rate * (1.0 - momentum) / (1.0 - beta2).sqrt()
            }
            _ => 0.1,
        };
        let (model, _) = optimizer.step(&OptimizerState::Empty, &[0.0], &[mean]).expect("fits");
        prop_assert!(f64::from(model[0].abs()) <= bound * (1.0 + 1e-5), "{} {bound}", model[0]);
    }
}
