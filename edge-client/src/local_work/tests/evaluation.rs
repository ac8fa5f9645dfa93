//! Rounds in which the client evaluates: what is held out, and what leaves.

use fedra_learning::evaluate;
use fedra_protocol::ClientEvaluation;

use super::*;
use crate::local_data::HOLD_OUT_SEED;

const BOUND: f64 = 4.0;

fn evaluating(task: TaskDescription) -> TaskDescription {
    TaskDescription { client_evaluation: ClientEvaluation::new(0.25, BOUND).ok(), ..task }
}

/// A client of a task whose models are evaluated by clients.
fn bench(data: Dataset) -> Bench {
    let bench = Bench::new(data.clone());
    bench.local_work.set_data(data.into(), &evaluating(task(&bench.spec, None)));
    bench
}

/// Evaluates; also the examples and the loss that the owner hears of.
async fn work(
    bench: &Bench,
    mechanism: Option<Mechanism>,
) -> (Result<Done, WorkError>, Option<(u64, f64)>) {
    let mut job = bench.job(mechanism, 0.1);
    job.task = Arc::new(evaluating(TaskDescription::clone(&job.task)));
    job.assignment.evaluates = true;
    job.privacy = job.privacy.map(|privacy| Arc::new(privacy.for_evaluation(&bench.spec).unwrap()));
    let (news, told) = std::sync::mpsc::channel();
    let tell = move |item| news.send(item).expect("the test listens");
    let done = bench.local_work.clone().work(job, tell).await;
    let evaluation = |item| match item {
        News::Tell(ClientEvent::Evaluation { examples, loss, .. }) => Some((examples, loss)),
        _ => None,
    };
    (done, told.try_iter().find_map(evaluation))
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (values, rest) = bytes.as_chunks::<4>();
    assert!(rest.is_empty());
    values.iter().map(|value| f32::from_le_bytes(*value)).collect()
}

#[tokio::test]
async fn in_the_clear_the_scores_are_those_of_the_held_out_examples() {
    let bench = bench(data(784));
    let (train, held_out) = data(784).split(0.25, HOLD_OUT_SEED);
    let kept = bench.local_work.data().unwrap();
    assert_eq!((kept.examples().len(), kept.held_out().map(|of| of.len())), (15, Some(5)));
    assert_eq!(**kept.examples(), train);
    let (done, told) = work(&bench, None).await;
    let (bytes, examples) = trained(done);
    let parameters = init_parameters(&bench.spec, 1);
    let expected = evaluate(&bench.spec, &parameters, &held_out, 1).unwrap().quality;
    let values = floats(&bytes);
    assert_eq!((values.len(), examples), (2, 5));
    assert!((f64::from(values[0]) - expected.loss).abs() < 1e-5, "{values:?}, {expected:?}");
    assert!((f64::from(values[1]) - expected.accuracy.unwrap()).abs() < 1e-6);
    let (count, loss) = told.expect("the owner hears of it");
    assert!(count == 5 && (loss - expected.loss).abs() < 1e-5);
}

#[tokio::test]
async fn training_leaves_the_held_out_examples_alone() {
    let (train, _) = data(784).split(0.25, HOLD_OUT_SEED);
    let alone = Bench::new(train);
    let (expected, _) = trained(alone.work(None, 0.1).await.0);
    let (update, examples) = trained(bench(data(784)).work(None, 0.1).await.0);
    assert_eq!((update, examples), (expected, 15));
}

#[tokio::test]
async fn under_a_policy_every_client_answers_alike() {
    // One whose scores are fine, and one whose data do not fit the model.
    for data in [data(784), data(10)] {
        let bench = bench(data);
        let central = trained(work(&bench, Some(CENTRAL)).await.0);
        assert_eq!((central.0.len(), central.1), (8, 1), "two values, whatever the data");
        let values = floats(&central.0);
        assert!(values.iter().all(|value| value.abs() <= 0.5), "{values:?}");
        let local = trained(work(&bench, Some(Mechanism::Local)).await.0);
        assert_eq!(local.1, 1);
        let (done, _) = work(&bench, Some(Mechanism::Distributed)).await;
        assert!(matches!(done, Ok(Done::Secured(SecureReply::Keys(_)))), "{done:?}");
    }
}

#[tokio::test]
async fn a_round_of_evaluation_of_a_task_without_such_rounds_is_refused() {
    let bench = Bench::new(data(784));
    let mut job = bench.job(None, 0.1);
    job.assignment.evaluates = true;
    let error = bench.local_work.clone().work(job, |_| {}).await.expect_err("not announced");
    assert_eq!(error.failure, Failure::PrivacyFailed);
}

#[tokio::test]
async fn examples_that_were_given_before_the_task_asked_are_held_out_from_then_on() {
    let bench = Bench::new(data(784));
    assert!(bench.local_work.data().unwrap().held_out().is_none());
    let (train, held_out) = data(784).split(0.25, HOLD_OUT_SEED);
    assert_eq!(trained(work(&bench, None).await.0).1, held_out.len() as u64);
    let (update, examples) = trained(bench.work(None, 0.1).await.0);
    assert_eq!(examples, train.len() as u64);
    let (expected, _) = trained(Bench::new(train).work(None, 0.1).await.0);
    assert_eq!(update, expected, "what is held out is not trained on");
}
