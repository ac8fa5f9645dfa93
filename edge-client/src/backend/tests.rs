//! The chooser on made-up devices and virtual time: ones that are right, wrong, slow,
//! that fail half-way, and that never answer.

mod virtual_time;

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{self, Either};

use self::virtual_time::VirtualTime;
use super::measuring::{Candidate, Devices, LONGEST_TURN};
use super::*;
use crate::devices::Compute;
use crate::events::ClientEvent;

const STEP: Duration = Duration::from_millis(20);

/// Behaviour of the WebGPU of a test.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Gpu {
    /// Computes right, with this time for a step.
    Works(Duration),
    Absent,
    /// The adapter is never there, and never absent.
    NeverOpens,
    GradientNeverComes,
    WrongGradient,
    /// Steps up to this one work; this one never ends.
    NeverEnds(u32),
    /// Steps up to this one work; this one fails.
    Fails(u32),
}

/// A machine with a CPU that needs [`STEP`] a step, and this WebGPU.
#[derive(Clone)]
struct Machine {
    time: Rc<VirtualTime>,
    gpu: Gpu,
    opened: Rc<Cell<u32>>,
}

struct Device {
    time: Rc<VirtualTime>,
    /// The CPU, if absent.
    gpu: Option<Gpu>,
    steps: u32,
}

impl Devices for Machine {
    type Candidate = Device;

    fn cpu(&self) -> Device {
        Device { time: self.time.clone(), gpu: None, steps: 0 }
    }

    async fn webgpu(&self, _: BackendPreference) -> Result<(Compute, Device), DeviceError> {
        self.opened.set(self.opened.get() + 1);
        match self.gpu {
            Gpu::Absent => return Err(DeviceError::Absent("no adapter".into())),
            Gpu::NeverOpens => future::pending::<()>().await,
            _ => self.time.sleep(Duration::from_millis(700)).await,
        }
        Ok((Compute::Cpu, Device { gpu: Some(self.gpu), ..self.cpu() }))
    }
}

impl Candidate for Device {
    async fn gradient(&mut self) -> Result<Vec<f32>, DeviceError> {
        match self.gpu {
            Some(Gpu::GradientNeverComes) => future::pending().await,
            Some(Gpu::WrongGradient) => Ok(vec![1.0, 2.0]),
            _ => Ok(vec![1.0, -2.0]),
        }
    }

    async fn step(&mut self) -> Result<Option<usize>, DeviceError> {
        self.steps += 1;
        match self.gpu {
            // The thread is busy.
            None => self.time.advance(STEP),
            Some(Gpu::NeverEnds(last)) if self.steps > last => future::pending().await,
            Some(Gpu::Fails(last)) if self.steps > last => {
                return Err(DeviceError::Absent("device lost".into()));
            }
            Some(Gpu::Works(step)) => self.time.sleep(step).await,
            Some(_) => self.time.sleep(STEP / 4).await,
        }
        Ok(Some(10))
    }
}

/// A client whose rounds train on the machine.
struct Bench {
    time: Rc<VirtualTime>,
    chooser: Chooser<Machine>,
    machine: Machine,
    told: RefCell<Vec<ClientEvent>>,
}

impl Bench {
    fn new(preference: BackendPreference, gpu: Gpu) -> Self {
        let time = Rc::new(VirtualTime::default());
        let machine = Machine { time: time.clone(), gpu, opened: Rc::default() };
        let chooser = Chooser::new(preference, None);
        Self { time, chooser, machine, told: RefCell::default() }
    }

    /// Runs `rounds` beside the measuring.
    fn run<T>(&self, rounds: impl Future<Output = T>) -> T {
        let measuring = pin!(self.chooser.measure(&*self.time));
        match self.time.run(future::select(pin!(rounds), measuring)) {
            Either::Left((done, _)) => done,
            Either::Right(_) => unreachable!("measuring never ends"),
        }
    }

    async fn begin_round(&self) {
        let tell = |event| self.told.borrow_mut().push(event);
        self.chooser.for_round(|| self.machine.clone(), tell).await;
    }

    /// Rounds of a second each, for two minutes.
    async fn rounds(&self) {
        for _ in 0..120 {
            self.begin_round().await;
            self.time.sleep(Duration::from_secs(1)).await;
        }
    }

    /// Messages to the owner: the devices with their reasons, and the problems.
    fn told(&self) -> Vec<(String, String)> {
        let told = self.told.take().into_iter();
        told.map(|event| match event {
            ClientEvent::Backend { backend, reason, .. } => (backend.to_string(), reason),
            ClientEvent::Error { code, message, fatal: false } => (code.to_string(), message),
            other => panic!("{other:?}"),
        })
        .collect()
    }
}

/// Time that local training has the thread beside the measuring, and its longest wait for
/// a turn.
async fn train(time: &VirtualTime, until: Duration) -> (Duration, Duration) {
    const STRETCH: Duration = Duration::from_millis(30);
    let (mut trained, mut gap) = (Duration::ZERO, Duration::ZERO);
    while time.now() < until {
        let asked = time.now();
        let turn = time.turn().await;
        gap = gap.max(time.now() - asked);
        time.advance(STRETCH);
        trained += STRETCH;
        drop(turn);
        // A message to itself, and whatever else waits.
        time.sleep(Duration::from_micros(10)).await;
    }
    (trained, gap)
}

#[test]
fn the_first_round_begins_at_once_on_the_cpu_and_a_later_one_changes_over() {
    let bench = Bench::new(BackendPreference::Auto, Gpu::Works(STEP / 5));
    bench.run(async {
        bench.begin_round().await;
        assert_eq!(bench.time.now(), Duration::ZERO, "the first round does not wait");
        let told = bench.told();
        assert_eq!(told, [("cpu".into(), "measuring WebGPU beside it".into())]);
        bench.begin_round().await;
        assert_eq!(bench.told(), [], "nothing is decided yet");
        bench.time.sleep(Duration::from_secs(10)).await;
        assert_eq!(bench.told(), [], "no change within a round");
        let before = bench.time.now();
        bench.begin_round().await;
        assert_eq!(bench.time.now(), before);
        let told = bench.told();
        assert_eq!(told, [("webgpu".into(), "5.0 times as fast as the CPU on this model".into())]);
        bench.rounds().await;
        assert_eq!(bench.told(), [], "told once");
    });
}

#[test]
fn whatever_webgpu_does_the_client_trains_on_the_cpu_for_good() {
    for (gpu, reason) in [
        (Gpu::Absent, "no adapter"),
        (Gpu::NeverOpens, "the adapter did not come within 10 s"),
        (Gpu::GradientNeverComes, "the first gradient did not come within 30 s"),
        (Gpu::NeverEnds(0), "a step of training did not come within 10 s"),
        (Gpu::NeverEnds(40), "a step of training did not come within 10 s"),
        (Gpu::Fails(0), "device lost"),
        (Gpu::Fails(40), "device lost"),
        (Gpu::Works(2 * STEP), "2.0 times as fast as WebGPU"),
    ] {
        let bench = Bench::new(BackendPreference::Auto, gpu);
        bench.run(bench.rounds());
        let told = bench.told();
        let [(first, _), (second, words)] = &told[..] else { panic!("{gpu:?}: {told:?}") };
        assert_eq!((&first[..], &second[..]), ("cpu", "cpu"), "{gpu:?}");
        assert!(words.contains(reason), "{gpu:?}: {words}");
        assert_eq!(bench.machine.opened.get(), 1, "{gpu:?}: it is not tried again");
    }
}

#[test]
fn a_wrong_gradient_is_told_to_whoever_did_not_ask_too() {
    for preference in [BackendPreference::Auto, BackendPreference::WebGpu] {
        let bench = Bench::new(preference, Gpu::WrongGradient);
        bench.run(bench.rounds());
        let told = bench.told();
        let codes: Vec<_> = told.iter().map(|(code, _)| &code[..]).collect();
        assert!(codes.ends_with(&["no-webgpu", "cpu"]), "{codes:?}");
    }
}

#[test]
fn webgpu_that_was_asked_for_is_waited_for_and_not_for_ever() {
    for (gpu, codes) in [
        (Gpu::Works(9 * STEP), vec!["webgpu"]),
        (Gpu::NeverOpens, vec!["no-webgpu", "cpu"]),
        (Gpu::GradientNeverComes, vec!["no-webgpu", "cpu"]),
    ] {
        let bench = Bench::new(BackendPreference::WebGpu, gpu);
        bench.run(bench.begin_round());
        assert!(bench.time.now() <= Duration::from_secs(31), "{gpu:?}");
        let told = bench.told();
        assert!(told.iter().map(|(code, _)| &code[..]).eq(codes), "{gpu:?}: {told:?}");
    }
}

#[test]
fn a_round_that_is_aborted_while_it_waits_does_not_begin_the_wait_anew() {
    let bench = Bench::new(BackendPreference::WebGpu, Gpu::NeverOpens);
    bench.run(async {
        for _ in 0..5 {
            let round = pin!(bench.begin_round());
            future::select(round, pin!(bench.time.sleep(Duration::from_secs(3)))).await;
        }
    });
    assert_eq!(bench.machine.opened.get(), 1);
    assert!(bench.told().iter().map(|(code, _)| &code[..]).eq(["no-webgpu", "cpu"]));
}

#[test]
fn measuring_takes_a_quarter_of_the_thread_at_most() {
    let bench = Bench::new(BackendPreference::Auto, Gpu::Works(STEP / 5));
    let (trained, gap) = bench.run(async {
        bench.begin_round().await;
        train(&bench.time, Duration::from_secs(4)).await
    });
    assert!(trained >= Duration::from_secs(3), "{trained:?} of 4 s");
    assert!(gap <= LONGEST_TURN, "{gap:?}");
    bench.run(bench.begin_round());
}

#[test]
fn training_goes_on_while_a_step_on_webgpu_never_ends() {
    let bench = Bench::new(BackendPreference::Auto, Gpu::NeverEnds(0));
    let (trained, gap) = bench.run(async {
        bench.begin_round().await;
        train(&bench.time, Duration::from_secs(4)).await
    });
    assert!(trained >= Duration::from_secs(3), "{trained:?} of 4 s");
    assert!(gap <= LONGEST_TURN, "{gap:?}");
}

#[test]
fn rounds_beside_measuring_do_not_disturb_the_speeds() {
    let bench = Bench::new(BackendPreference::Auto, Gpu::Works(STEP / 5));
    bench.run(async {
        bench.begin_round().await;
        let (trained, _) = train(&bench.time, Duration::from_secs(10)).await;
        assert!(trained >= Duration::from_millis(8_600), "0.7 s at most for a device");
        bench.begin_round().await;
    });
    let speeds = bench.told.take().pop();
    let Some(ClientEvent::Backend { cpu_samples_per_second, webgpu_samples_per_second, .. }) =
        speeds
    else {
        panic!("{speeds:?}");
    };
    assert_eq!((cpu_samples_per_second, webgpu_samples_per_second), (Some(500.0), Some(2_500.0)));
}

#[test]
fn a_new_device_in_the_place_of_a_lost_one_is_checked_too() {
    for (gpu, told) in [
        (Gpu::Works(STEP), ["webgpu", "a new device in the place of a lost one"]),
        (Gpu::Absent, ["cpu", "WebGPU cannot be used: no adapter"]),
        (Gpu::NeverOpens, ["cpu", "WebGPU cannot be used: the adapter did not come within 10 s"]),
        (
            Gpu::WrongGradient,
            ["cpu", "WebGPU computed a wrong gradient here (relative error 1.8e0)"],
        ),
    ] {
        let bench = Bench::new(BackendPreference::Auto, gpu);
        let tell = |event| bench.told.borrow_mut().push(event);
        bench.run(bench.chooser.reopen(bench.machine.clone(), &*bench.time, tell));
        assert_eq!(bench.told(), [(told[0].into(), told[1].into())], "{gpu:?}");
        bench.run(bench.begin_round());
        assert_eq!(bench.told(), [], "{gpu:?}: told once");
    }
}

fn measured(gradient: &[f32], speed: f64) -> Measurement {
    Measurement { gradient: gradient.to_vec(), samples_per_second: Some(speed) }
}

#[test]
fn the_faster_device_wins_when_both_are_right() {
    let cpu = measured(&[1.0, -2.0], 100.0);
    let slow = decide(BackendPreference::Auto, &cpu, &Ok(measured(&[1.0, -2.0], 50.0)));
    assert_eq!(slow.backend, BackendName::Cpu);
    let fast = decide(BackendPreference::Auto, &cpu, &Ok(measured(&[1.0, -2.0], 500.0)));
    assert_eq!(fast.backend, BackendName::WebGpu);
}

#[test]
fn a_wrong_gradient_chooses_the_cpu_however_fast_and_whoever_asked() {
    let cpu = measured(&[1.0, -2.0], 100.0);
    for wrong in [[1.0, -2.01], [f32::NAN, -2.0], [0.0, 0.0]] {
        for preference in [BackendPreference::Auto, BackendPreference::WebGpu] {
            let choice = decide(preference, &cpu, &Ok(measured(&wrong, 1e6)));
            assert_eq!(choice.backend, BackendName::Cpu);
            assert!(choice.problem.is_some());
        }
    }
}

#[test]
fn without_a_device_the_cpu_trains_and_only_who_asked_hears_of_a_problem() {
    let cpu = measured(&[1.0], 100.0);
    let none = Err(DeviceError::Absent("no adapter".into()));
    let auto = decide(BackendPreference::Auto, &cpu, &none);
    assert_eq!((auto.backend, auto.problem), (BackendName::Cpu, None));
    let asked = decide(BackendPreference::WebGpu, &cpu, &none);
    assert_eq!((asked.backend, asked.problem), (BackendName::Cpu, Some("no adapter".into())));
}
