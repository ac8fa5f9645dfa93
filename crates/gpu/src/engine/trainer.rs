//! Training of one model on one device: steps, results, gradients.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use fedra_protocol::{LocalTraining, ModelSpec};

use super::memory::{Memory, Sizes};
use super::program::Program;
use super::{Examples, Gpu};
use crate::kernels::{LOSS_RING, ORDER_HEAD, step_words};
use crate::plan::{Plan, Role};
use crate::{GpuError, Preset};

/// Time that a submit is to take: no watchdog runs out, and the screen stays responsive.
const SUBMIT: Duration = Duration::from_millis(50);
/// Most steps of a submit, however short they are.
const MOST_STEPS: u32 = 1024;
/// Most steps of the order that are on the device at once, and most bytes of them.
const WINDOW_STEPS: usize = 4096;
const WINDOW_BYTES: usize = 4 << 20;
/// Learning rate of the step that a gradient is read from. The change of the parameters is
/// so much larger than the parameters that subtracting them loses no digits; a power of two
/// itself loses none.
const GRADIENT_RATE: f32 = (1 << 20) as f32;

/// Steps by which presets are compared.
const STEPS_OF_A_TRIAL: u32 = 4;

/// Description of a training.
#[derive(Clone)]
pub struct Setup {
    /// The model.
    pub spec: ModelSpec,
    /// First layer to run on the device, at most the number of leading fixed layers: those
    /// before it are done already.
    pub first: usize,
    /// Batch size, rates, and the seed of dropout.
    pub training: LocalTraining,
    /// Kernels to use.
    pub preset: Preset,
    /// Time since any fixed moment: submits are capped by it.
    pub now: fn() -> Duration,
}

impl Setup {
    /// The plan of the training on a device.
    ///
    /// # Errors
    ///
    /// [`GpuError::Plan`] where the model has no plan within the device's limits.
    pub fn plan(&self, gpu: &Gpu) -> Result<Plan, GpuError> {
        let Self { spec, first, training, preset, .. } = self;
        Ok(Plan::new(spec, *first, training, *preset, gpu.limits())?)
    }
}

/// A model in training.
///
/// After [`Trainer::set_order`], [`Trainer::run`] takes steps over the batches of the order.
/// Everything else waits for the steps before it.
///
/// A device may never answer: the caller gives a time limit to what it awaits.
pub struct Trainer {
    gpu: Gpu,
    setup: Setup,
    plan: Plan,
    memory: Memory,
    program: Program,
    examples: Arc<Examples>,
    /// Examples, and those of them that the data buffer holds.
    rows: usize,
    resident: usize,
    /// Steps in the form of the order's buffer, and how many of them that buffer holds.
    order: Vec<u32>,
    window: u32,
    /// Steps of the order: taken, and those that are on the device.
    taken: u32,
    loaded: Range<u32>,
    steps: u32,
    steps_a_submit: u32,
}

impl Trainer {
    /// Compiles the kernels and brings parameters and examples onto the device.
    ///
    /// Examples that do not fit into one binding stay in main memory; windows of them are
    /// uploaded during the training.
    ///
    /// # Errors
    ///
    /// [`GpuError`] if the model has no plan, the values do not fit it, or the device fails.
    pub async fn new(
        gpu: &Gpu,
        setup: &Setup,
        parameters: &[f32],
        examples: Arc<Examples>,
    ) -> Result<Self, GpuError> {
        Self::with_plan(gpu, setup, setup.plan(gpu)?, parameters, examples).await
    }

    /// [`Trainer::new`] with a plan of [`Setup::plan`].
    ///
    /// # Errors
    ///
    /// As [`Trainer::new`].
    pub async fn with_plan(
        gpu: &Gpu,
        setup: &Setup,
        plan: Plan,
        parameters: &[f32],
        examples: Arc<Examples>,
    ) -> Result<Self, GpuError> {
        let rows = examples.rows(&plan)?;
        let resident = examples.resident(&plan, gpu.limits().largest_buffer())?;
        let words = step_words(plan.batch) as usize;
        let mut window = (WINDOW_BYTES / 4 / words).clamp(1, WINDOW_STEPS);
        if resident < rows {
            window = window.min(resident / plan.batch as usize);
        }
        let sizes = Sizes {
            data: resident as u64 * plan.row_floats() * 4,
            targets: resident as u64 * plan.target_words() * 4,
            order: (ORDER_HEAD as usize + window * words) as u64 * 4,
        };
        let memory = Memory::new(gpu, &plan, &sizes).await?;
        let program = Program::new(gpu, &plan, &memory).await?;
        let mut trainer = Self {
            gpu: gpu.clone(),
            setup: setup.clone(),
            plan,
            memory,
            program,
            examples,
            rows,
            resident,
            order: Vec::new(),
            window: window as u32,
            taken: 0,
            loaded: 0..0,
            steps: 0,
            steps_a_submit: 1,
        };
        if trainer.is_resident() {
            trainer.upload(&(0..rows as u32).collect::<Vec<_>>());
        }
        trainer.begin(&setup.training, parameters)?;
        // A lost device refuses nothing: it is found lost by waiting.
        gpu.finish().await?;
        Ok(trainer)
    }

    /// Number of examples.
    pub fn examples(&self) -> usize {
        self.rows
    }

    /// Kernels in use.
    pub fn preset(&self) -> Preset {
        self.setup.preset
    }

    /// True if all examples are on the device; otherwise windows of them are uploaded.
    pub fn is_resident(&self) -> bool {
        self.resident == self.rows
    }

    /// Steps taken since the parameters were set.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// Steps until the end of the order.
    pub fn remaining(&self) -> u32 {
        (self.order.len() / step_words(self.plan.batch) as usize) as u32 - self.taken
    }

    /// Begins anew with these parameters, in the order of the model's layout; velocities are
    /// zero again. Takes effect after the steps so far.
    ///
    /// # Errors
    ///
    /// [`GpuError::ParameterCount`] if the vector is not as long as the model's.
    pub fn set_parameters(&mut self, parameters: &[f32]) -> Result<(), GpuError> {
        let (expected, actual) = (self.plan.parameters, parameters.len());
        if expected != actual {
            return Err(GpuError::ParameterCount { expected, actual });
        }
        for (index, buffer) in self.plan.buffers.iter().enumerate() {
            if !matches!(buffer.role, Role::Parameters | Role::Turned | Role::Velocity) {
                continue;
            }
            let mut values = vec![0.0f32; self.memory.len(index)];
            for tensor in &self.plan.tensors {
                let given = &parameters[tensor.start..][..tensor.len];
                if tensor.buffer == index {
                    for (i, &value) in given.iter().enumerate() {
                        values[tensor.place(i)] = value;
                    }
                } else if tensor.turned == Some(index) {
                    for (i, &value) in given.iter().enumerate() {
                        if let Some(place) = tensor.turned_place(i) {
                            values[place] = value;
                        }
                    }
                }
            }
            self.memory.write(&self.gpu, index, 0, bytemuck::cast_slice(&values));
        }
        self.write_head(1, &[0]);
        self.steps = 0;
        Ok(())
    }

    /// Begins a training with these parameters, and with the rates and the seed of
    /// `training`: of the same kernels, so that batch size, algorithm and use of momentum are as
    /// before.
    ///
    /// # Errors
    ///
    /// [`GpuError::ParameterCount`] if the vector is not as long as the model's.
    pub fn begin(&mut self, training: &LocalTraining, parameters: &[f32]) -> Result<(), GpuError> {
        self.setup.training = training.clone();
        self.set_rates(training);
        let seed = training.seed();
        self.write_head(2, &[(seed ^ (seed >> 32)) as u32, 1]);
        self.set_parameters(parameters)
    }

    /// Sets the examples of the next steps in their order, of any length; examples may come
    /// more than once. The last batch may be smaller.
    ///
    /// # Errors
    ///
    /// [`GpuError::Order`] for an empty order, or one that names an example that is not there.
    pub fn set_order(&mut self, order: &[u32]) -> Result<(), GpuError> {
        let steps = self.steps_of(order)?;
        self.clear_order();
        self.order = steps;
        Ok(())
    }

    /// Adds an order behind the one that is set: its first batch begins where the last batch
    /// before it ends, however small that is. A submit can so take the steps of several epochs.
    ///
    /// # Errors
    ///
    /// As [`Trainer::set_order`].
    pub fn extend_order(&mut self, order: &[u32]) -> Result<(), GpuError> {
        let steps = self.steps_of(order)?;
        self.order.extend(steps);
        Ok(())
    }

    /// The steps of an order as the buffer has them.
    fn steps_of(&self, order: &[u32]) -> Result<Vec<u32>, GpuError> {
        let rows = self.rows as u64;
        if order.is_empty() {
            return Err(GpuError::Order { row: 0, rows });
        }
        if let Some(&row) = order.iter().find(|&&row| u64::from(row) >= rows) {
            return Err(GpuError::Order { row: row.into(), rows });
        }
        let batch = self.plan.batch as usize;
        let mut steps =
            Vec::with_capacity(order.len().div_ceil(batch) * step_words(self.plan.batch) as usize);
        for rows in order.chunks(batch) {
            push_step(&mut steps, rows, batch);
        }
        Ok(steps)
    }

    fn clear_order(&mut self) {
        self.order.clear();
        (self.taken, self.loaded) = (0, 0..0);
    }

    /// Takes steps: one submit of at most `most`, as many as take about 50 ms, and waits for
    /// it. Returns the number of steps, which is 0 at the end of the order alone.
    ///
    /// # Errors
    ///
    /// [`GpuError`] if the device has failed. The parameters on it are lost then.
    pub async fn run(&mut self, most: u32) -> Result<u32, GpuError> {
        self.gpu.check()?;
        let steps = most.min(self.remaining());
        if steps == 0 {
            return Ok(0);
        }
        if !self.loaded.contains(&self.taken) {
            self.load();
        }
        let steps = steps.min(self.steps_a_submit).min(self.loaded.end - self.taken);
        let start = (self.setup.now)();
        self.program.submit(&self.gpu, steps);
        self.gpu.finish().await?;
        let elapsed = (self.setup.now)().saturating_sub(start);
        let fitting = SUBMIT.as_secs_f64() / (elapsed.as_secs_f64() / f64::from(steps)).max(1e-9);
        // At most twice as many, because one fast submit may be an exception.
        self.steps_a_submit =
            (fitting as u32).clamp(1, self.steps_a_submit.saturating_mul(2).min(MOST_STEPS));
        self.taken += steps;
        self.steps += steps;
        Ok(steps)
    }

    /// Mean loss of the last step's batch, before that step; NaN before the first step.
    ///
    /// # Errors
    ///
    /// [`GpuError`] if the device has failed.
    pub async fn loss(&self) -> Result<f32, GpuError> {
        Ok(self.losses().await?.last().copied().unwrap_or(f32::NAN))
    }

    /// Mean losses of the last steps since the parameters were set, at most 64, the last at
    /// the end.
    ///
    /// # Errors
    ///
    /// [`GpuError`] if the device has failed.
    pub async fn losses(&self) -> Result<Vec<f32>, GpuError> {
        let ring = self.memory.read(&self.gpu, &[self.plan.shared.ring]).await?;
        let steps = self.steps.saturating_sub(LOSS_RING)..self.steps;
        Ok(steps.map(|step| ring[0][(step % LOSS_RING) as usize]).collect())
    }

    /// The parameters, flat, in the order of the model's layout.
    ///
    /// # Errors
    ///
    /// [`GpuError`] if the device has failed.
    pub async fn parameters(&self) -> Result<Vec<f32>, GpuError> {
        let mut indices: Vec<usize> = self.plan.tensors.iter().map(|one| one.buffer).collect();
        indices.dedup();
        let buffers = self.memory.read(&self.gpu, &indices).await?;
        let mut flat = Vec::with_capacity(self.plan.parameters);
        for tensor in &self.plan.tensors {
            if let Some(place) = indices.iter().position(|&index| index == tensor.buffer) {
                flat.extend((0..tensor.len).map(|i| buffers[place][tensor.place(i)]));
            }
        }
        Ok(flat)
    }

    /// The flat gradient of the mean loss over the examples `batch`, at most a batch of
    /// them, without dropout and weight decay: by one step of the same kernels that train.
    ///
    /// The parameters are as before afterwards; velocities and the order are not.
    ///
    /// # Errors
    ///
    /// [`GpuError`] if the device has failed, or `batch` does not fit.
    pub async fn gradient(&mut self, batch: &[u32]) -> Result<Vec<f32>, GpuError> {
        let before = self.parameters().await?;
        self.set_order(&batch[..batch.len().min(self.plan.batch as usize)])?;
        self.write_rates(&[GRADIENT_RATE, 0.0, 0.0, 0.0]);
        self.write_head(3, &[0]);
        self.set_parameters(&before)?;
        self.run(1).await?;
        let after = self.parameters().await?;
        self.set_rates(&self.setup.training.clone());
        self.write_head(3, &[1]);
        self.set_parameters(&before)?;
        let difference = |(&before, &after): (&f32, &f32)| {
            ((f64::from(before) - f64::from(after)) / f64::from(GRADIENT_RATE)) as f32
        };
        Ok(before.iter().zip(&after).map(difference).collect())
    }

    /// Changes to other kernels over the same buffers. Parameters and order stay.
    ///
    /// # Errors
    ///
    /// [`GpuError`] if a kernel is refused or the device fails.
    pub async fn set_preset(&mut self, preset: Preset) -> Result<(), GpuError> {
        let setup = Setup { preset, ..self.setup.clone() };
        let plan = setup.plan(&self.gpu)?;
        self.program = Program::new(&self.gpu, &plan, &self.memory).await?;
        (self.plan, self.setup, self.steps_a_submit) = (plan, setup, 1);
        Ok(())
    }

    /// Times both presets over a few steps and keeps the faster one. Parameters are as
    /// before; velocities and the order are not.
    ///
    /// # Errors
    ///
    /// [`GpuError`] if a kernel is refused or the device fails.
    pub async fn faster_preset(&mut self) -> Result<Preset, GpuError> {
        let before = self.parameters().await?;
        let examples = self.rows as u32;
        let rows = (1 + STEPS_OF_A_TRIAL) * self.plan.batch;
        let order: Vec<u32> = (0..rows).map(|row| row % examples).collect();
        let mut best = (Duration::MAX, self.preset());
        for preset in Preset::ALL {
            self.set_preset(preset).await?;
            self.set_order(&order)?;
            // The first step includes the work that a driver postpones until then.
            self.run(1).await?;
            let start = (self.setup.now)();
            while self.run(self.remaining()).await? > 0 {}
            let elapsed = (self.setup.now)().saturating_sub(start);
            if elapsed < best.0 {
                best = (elapsed, preset);
            }
        }
        self.set_preset(best.1).await?;
        self.clear_order();
        self.set_parameters(&before)?;
        Ok(best.1)
    }

    fn set_rates(&mut self, training: &LocalTraining) {
        let (rate, momentum) = (training.learning_rate(), training.momentum());
        self.write_rates(&[rate, momentum, training.weight_decay(), 0.0]);
    }

    fn write_rates(&self, rates: &[f32; 4]) {
        self.memory.write(&self.gpu, self.plan.shared.rates, 0, bytemuck::cast_slice(rates));
    }

    /// Writes words of the order's head from word `first` on.
    fn write_head(&self, first: u64, words: &[u32]) {
        let bytes = bytemuck::cast_slice(words);
        self.memory.write(&self.gpu, self.plan.shared.order, first * 4, bytes);
    }

    /// Uploads the next steps of the order, and their examples where not all are on the device.
    fn load(&mut self) {
        let words = step_words(self.plan.batch) as usize;
        let steps = self.remaining().min(self.window);
        let part = &self.order[self.taken as usize * words..][..steps as usize * words];
        let windowed = if self.is_resident() { None } else { Some(self.upload_window(part)) };
        self.write_head(0, &[0]);
        self.write_head(ORDER_HEAD.into(), windowed.as_deref().unwrap_or(part));
        self.loaded = self.taken..self.taken + steps;
    }

    /// Uploads the examples of some steps, one after the other; returns the steps with the
    /// places of their examples in that window.
    fn upload_window(&self, steps: &[u32]) -> Vec<u32> {
        let batch = self.plan.batch as usize;
        let (mut rows, mut windowed) = (Vec::new(), Vec::with_capacity(steps.len()));
        for step in steps.chunks(step_words(self.plan.batch) as usize) {
            let count = step[0] as usize;
            let first = rows.len() as u32;
            rows.extend_from_slice(&step[1..=count]);
            let places: Vec<u32> = (first..rows.len() as u32).collect();
            push_step(&mut windowed, &places, batch);
        }
        self.upload(&rows);
        windowed
    }

    /// Writes examples to the start of the data buffer.
    fn upload(&self, rows: &[u32]) {
        let shared = self.plan.shared;
        let write = |first: u64, values: &[f32]| {
            self.memory.write(&self.gpu, shared.data, first * 4, bytemuck::cast_slice(values));
        };
        self.examples.convert(&self.plan, rows.iter().copied(), write);
        let targets = self.examples.target_bytes(&self.plan, rows.iter().copied());
        self.memory.write(&self.gpu, shared.targets, 0, &targets);
    }
}

/// Adds a step over `rows`, at least one, to steps in the form of the order's buffer.
fn push_step(steps: &mut Vec<u32>, rows: &[u32], batch: usize) {
    let end = steps.len() + 1 + batch;
    steps.push(rows.len() as u32);
    steps.extend_from_slice(rows);
    steps.resize(end, rows[rows.len() - 1]);
}
