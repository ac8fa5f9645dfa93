//! Long calls in bounded pieces, and calls that fail without harm.

use std::cell::{Cell, RefCell};
use std::pin::pin;

use fedra_learning::init_parameters;
use fedra_protocol::layers::{AvgPool2d, Conv2d, Embedding, Flatten, Linear};
use fedra_protocol::{Layer, Loss, ModelSpec};
use futures_util::future::{Either, join, select};

use super::*;

/// A model whose pieces are small, so that a call has several: 4 MiB an example.
fn wide() -> ModelSpec {
    let conv = Layer::Conv2d(Conv2d { channels: 1023, kernel: 1, stride: 1, padding: 0 });
    let pool = Layer::AvgPool2d(AvgPool2d { kernel: 32, stride: 32 });
    let layers = vec![conv, pool, Layer::Flatten(Flatten), Layer::Linear(Linear { outputs: 2 })];
    ModelSpec::new(&[1, 32, 32], layers, Loss::SoftmaxCrossEntropy).unwrap()
}

const WIDTH: usize = 32 * 32;

fn predictor() -> Predictor {
    let spec = wide();
    let file = safetensors::write(&spec, &init_parameters(&spec, 1)).unwrap();
    Predictor::new(&file, None).unwrap()
}

fn examples(count: usize) -> Vec<f32> {
    (0..count * WIDTH).map(|i| ((i * 31) % 101) as f32 / 101.0).collect()
}

/// Features that remember who asked for which of them, and when.
struct Watched<'a> {
    values: Vec<f32>,
    name: &'static str,
    ticks: &'a Cell<u64>,
    reads: &'a RefCell<Vec<(&'static str, Range<usize>, u64)>>,
}

impl Features for Watched<'_> {
    fn len(&self) -> usize {
        self.values.len()
    }

    fn read(&self, range: Range<usize>) -> Result<fedra_data::Features, PredictError> {
        self.reads.borrow_mut().push((self.name, range.clone(), self.ticks.get()));
        Features::read(&self.values[..], range)
    }
}

/// Counts how often this thread had time for something else.
async fn count(ticks: &Cell<u64>) {
    loop {
        ticks.set(ticks.get() + 1);
        platform::yield_now().await;
    }
}

#[tokio::test]
async fn a_long_call_is_done_in_pieces_with_other_work_between_them() {
    let (predictor, ticks, reads) = (predictor(), Cell::new(0), RefCell::default());
    let features = Watched { values: examples(10), name: "a", ticks: &ticks, reads: &reads };
    let mut outputs = Vec::new();
    {
        let asking = pin!(predictor.predict_into(&features, &mut outputs));
        let Either::Left((done, _)) = select(asking, pin!(count(&ticks))).await else {
            panic!("counting never ends");
        };
        done.unwrap();
    }

    assert_eq!(examples_a_piece(&wide()), 4);
    let reads = reads.take();
    let pieces = [0..4, 4..8, 8..10].map(|piece| piece.start * WIDTH..piece.end * WIDTH);
    assert!(reads.iter().map(|(_, range, _)| range.clone()).eq(pieces), "{reads:?}");
    assert!(reads.is_sorted_by(|(_, _, earlier), (_, _, later)| earlier < later), "{reads:?}");

    let spec = wide();
    let whole = Inference::new(&spec, &init_parameters(&spec, 1)).unwrap();
    let whole = whole.outputs(examples(10)).unwrap();
    assert_eq!((outputs.len(), whole.len()), (20, 20));
    // Sums may be taken in another order for another number of rows.
    assert!(outputs.iter().zip(&whole).all(|(a, b)| (a - b).abs() <= 1e-6));
}

#[tokio::test]
async fn calls_take_turns_so_that_their_memory_does_not_add_up() {
    let (predictor, ticks, reads) = (predictor(), Cell::new(0), RefCell::default());
    let watched = |name| Watched { values: examples(7), name, ticks: &ticks, reads: &reads };
    let (a, b) = (watched("a"), watched("b"));
    let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
    let (first, second) =
        join(predictor.predict_into(&a, &mut of_a), predictor.predict_into(&b, &mut of_b)).await;
    assert_eq!((first, second), (Ok(()), Ok(())));
    assert_eq!(of_a, of_b);
    let names: Vec<_> = reads.borrow().iter().map(|(name, ..)| *name).collect();
    assert_eq!(names, ["a", "a", "b", "b"]);
}

/// Features that are gone after the first piece.
struct Detached;

impl Features for Detached {
    fn len(&self) -> usize {
        7 * WIDTH
    }

    fn read(&self, range: Range<usize>) -> Result<fedra_data::Features, PredictError> {
        if range.start > 0 {
            return Err(PredictError::new(CallFault::BadFeatures, "gone"));
        }
        Features::read(&examples(7)[..], range)
    }
}

/// Outputs that there is no memory for.
struct NoRoom;

impl Outputs for NoRoom {
    fn reserve(&mut self, values: usize) -> Result<(), PredictError> {
        Err(OutOfMemory { bytes: 4 * values as u64 }.into())
    }

    fn extend(&mut self, _: &[f32]) {
        unreachable!("there was no room");
    }
}

#[tokio::test]
async fn a_call_that_fails_is_an_error_and_the_next_one_works() {
    let predictor = predictor();
    let code = |done: Result<(), PredictError>| done.map_err(|error| error.code.as_str());
    let mut outputs = Vec::new();
    for bad in [0, 1, WIDTH + 1] {
        let done = predictor.predict_into(&vec![0.5; bad][..], &mut outputs).await;
        assert_eq!(code(done), Err("bad-features"), "{bad} values");
    }
    assert_eq!(code(predictor.predict_into(&Detached, &mut outputs).await), Err("bad-features"));
    let done = predictor.predict_into(&examples(1)[..], &mut NoRoom).await;
    assert_eq!(code(done), Err("out-of-memory"));
    assert_eq!(predictor.predict(&examples(5)).await.unwrap().len(), 10);
}

#[test]
fn a_predictor_says_what_its_model_takes_and_gives() {
    let predictor = predictor();
    assert_eq!((predictor.input_shape(), predictor.outputs()), (vec![1, 32, 32], 2));
}

#[test]
fn what_is_no_model_file_is_bad_model() {
    let spec = ModelSpec::softmax_regression();
    let file = safetensors::write(&spec, &init_parameters(&spec, 1)).unwrap();
    let not_finite = [&file[..file.len() - 4], &f32::NAN.to_le_bytes()].concat();
    let text = String::from_utf8_lossy(&file[..400]).into_owned();
    assert!(text.contains("linear") && text.contains("fedra"), "{text}");
    let patched = |from: &str, to: &str| {
        let at = text.find(from).expect("it is there");
        [&file[..at], to.as_bytes(), &file[at + to.len()..]].concat()
    };
    for (bytes, words) in [
        (file[..file.len() - 1].to_vec(), "not all of it"),
        (Vec::new(), "not a safetensors file"),
        (b"<!doctype html><title>404</title>".to_vec(), "not a safetensors file"),
        (not_finite, "is not finite"),
        (patched("linear", "kernel"), "newer version"),
        (patched("fedra", "other"), "no metadata `fedra`"),
    ] {
        let error = Predictor::new(&bytes, None).err().expect("it is no model file");
        assert_eq!(error.code, CallFault::BadModel.into());
        assert!(error.message.contains(words), "{words:?} in {error}");
    }
}

#[tokio::test]
async fn a_model_of_token_ids_is_asked_with_token_ids() {
    let layers = vec![Embedding { width: 3 }.into(), Linear { outputs: 4 }.into()];
    let spec = ModelSpec::of_tokens(2, 5, layers, Loss::SoftmaxCrossEntropy).unwrap();
    let file = safetensors::write(&spec, &init_parameters(&spec, 1)).unwrap();
    let predictor = Predictor::new(&file, None).unwrap();
    assert_eq!((predictor.input_shape(), predictor.outputs()), (vec![2], 8));
    let probabilities = predictor.predict(&[0u32, 4, 4, 0]).await.unwrap();
    let rows: Vec<&[f32]> = probabilities.chunks(4).collect();
    assert_eq!((rows.len(), rows[0], rows[1]), (4, rows[3], rows[2]));
    let beyond = predictor.predict(&[0u32, 5]).await.unwrap_err();
    assert_eq!(beyond.code.as_str(), "bad-features");
    assert!(beyond.message.contains("token ids 0 to 4"), "{beyond}");
    let values = predictor.predict(&[0.0f32, 1.0]).await.unwrap_err();
    assert_eq!(values.code.as_str(), "bad-features");
    assert!(values.message.contains("takes token ids"), "{values}");
}
