//! Predictions in pieces: bounded, and what they are in one.

use fedra_protocol::layers::{Conv2d, Flatten, Linear};
use fedra_protocol::{Layer, Loss, ModelSpec};

use crate::{
    DatasetError, Features, Inference, LearningError, examples_a_piece, examples_in,
    init_parameters,
};

/// In one piece, however many examples there are.
pub fn outputs(spec: &ModelSpec, parameters: &[f32], features: impl Into<Features>) -> Vec<f32> {
    let inference = Inference::new(spec, parameters).unwrap();
    inference.outputs(features).unwrap()
}

#[test]
fn a_piece_is_bounded_in_memory_and_in_work() {
    for name in ModelSpec::BUILTIN {
        let spec = ModelSpec::builtin(name).unwrap();
        let (piece, cost) = (examples_a_piece(&spec) as u64, spec.forward_cost());
        assert!(4 * piece * cost.activations <= 16 << 20, "{name}");
        assert!(piece * cost.operations <= 1 << 28, "{name}");
        let (wider, longer) = (4 * (piece + 1) * cost.activations, (piece + 1) * cost.operations);
        assert!(wider > 16 << 20 || longer > 1 << 28, "{name}: pieces are not too small");
    }
    // One example is beyond both bounds, and there is no smaller piece.
    let large = |layers| ModelSpec::new(&[1 << 13], layers, Loss::MeanSquaredError).unwrap();
    let spec = large(vec![
        Layer::Linear(Linear { outputs: 1 << 12 }),
        Layer::Linear(Linear { outputs: 1 << 12 }),
    ]);
    assert_eq!(examples_a_piece(&spec), 5);
    let conv = Layer::Conv2d(Conv2d { channels: 64, kernel: 3, stride: 1, padding: 1 });
    let layers = vec![conv, Layer::Flatten(Flatten), Layer::Linear(Linear { outputs: 1 })];
    let spec = ModelSpec::new(&[1, 512, 512], layers, Loss::MeanSquaredError).unwrap();
    assert_eq!(examples_a_piece(&spec), 1);
}

#[test]
fn pieces_give_what_one_call_gives() {
    for name in ModelSpec::BUILTIN {
        let spec = ModelSpec::builtin(name).unwrap();
        let (parameters, width) = (init_parameters(&spec, 3), spec.input().len());
        let features: Vec<f32> = (0..13 * width).map(|i| ((i * 31) % 101) as f32 / 101.0).collect();
        let whole = outputs(&spec, &parameters, features.clone());
        for piece in [1, 5] {
            let pieces = features.chunks(piece * width);
            let pieces: Vec<f32> =
                pieces.flat_map(|piece| outputs(&spec, &parameters, piece.to_vec())).collect();
            assert_eq!(pieces.len(), whole.len());
            // Sums may be taken in another order for another number of rows.
            let worst = pieces.iter().zip(&whole).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst <= 1e-6, "{name} in pieces of {piece}: off by {worst:e}");
        }
    }
}

#[test]
fn examples_are_whole_and_at_least_one() {
    let spec = ModelSpec::softmax_regression();
    assert_eq!(examples_in(&spec, 3 * 784), Ok(3));
    assert_eq!(examples_in(&spec, 0), Err(DatasetError::Empty));
    let cut = examples_in(&spec, 3 * 784 - 1);
    assert!(matches!(cut, Err(DatasetError::Features { features: 2351, .. })), "{cut:?}");
    let inference = Inference::new(&spec, &init_parameters(&spec, 1)).unwrap();
    let refused = inference.outputs(vec![0.5; 700]);
    assert!(matches!(refused, Err(LearningError::Dataset(_))), "{refused:?}");
}

#[test]
fn memory_that_is_not_there_is_an_error() {
    use crate::memory::{OutOfMemory, ensure_free, with_room};
    // No address space has as much.
    let bytes = isize::MAX as u64 - 7;
    assert_eq!(ensure_free(bytes), Err(OutOfMemory { bytes }));
    let room = with_room::<f32>(usize::MAX);
    assert_eq!(room, Err(OutOfMemory { bytes: u64::MAX }));
    assert_eq!(with_room::<f32>(3).map(|room| room.capacity()), Ok(3));
}
