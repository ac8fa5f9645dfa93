//! Failures of planning and of the device.

/// Part of a model or of a training plan without a kernel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} has no WebGPU kernel")]
pub struct Unsupported {
    /// The part, as text.
    pub what: String,
}

impl Unsupported {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into() }
    }
}

/// Reason why there is no plan for a model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Something has no kernel.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The plan needs more than the device has.
    #[error("the model needs {needed} {what}; the device has {available}")]
    Limit {
        /// The resource.
        what: &'static str,
        /// Amount that is needed.
        needed: u64,
        /// Amount that there is.
        available: u64,
    },
    /// The first layer lies behind a layer that trains or is random.
    #[error("training can begin at layers 0 to {most}, not at {first}")]
    FirstLayer {
        /// The layer that was asked for.
        first: usize,
        /// Number of leading fixed layers.
        most: usize,
    },
}

/// Failure of a device, or of what it was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GpuError {
    /// There is no adapter, or none of the kind that was asked for.
    #[error("no graphics adapter: {0}")]
    NoAdapter(String),
    /// The adapter gives no device with these limits.
    #[error("the graphics adapter gives no device: {0}")]
    NoDevice(String),
    /// The adapter has less than the least limits of WebGPU.
    #[error("the graphics adapter has {available} {what}; WebGPU needs {needed}")]
    WeakAdapter {
        /// The resource.
        what: &'static str,
        /// Least amount.
        needed: u64,
        /// Amount that there is.
        available: u64,
    },
    /// The device was lost with all that was on it.
    #[error("the graphics device was lost: {0}")]
    Lost(String),
    /// The driver or the browser refused a command.
    #[error("the graphics device refused a command: {0}")]
    Refused(String),
    /// A kernel did not become a pipeline.
    #[error("the kernel {kernel} was refused: {message}")]
    Kernel {
        /// Name of the kernel.
        kernel: String,
        /// Message of the compiler.
        message: String,
    },
    /// The device has too little memory.
    #[error("the graphics device is out of memory: {0}")]
    OutOfMemory(String),
    /// Results could not be read.
    #[error("the graphics device's memory could not be read: {0}")]
    Unreadable(String),
    /// There is no plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A parameter vector of another length.
    #[error("the model has {expected} parameters, not {actual}")]
    ParameterCount {
        /// Parameters of the model.
        expected: usize,
        /// Length that was given.
        actual: usize,
    },
    /// Examples that do not fit the model.
    #[error("the examples do not fit the model: {0}")]
    Examples(String),
    /// An order that names an example that is not there, or that is empty.
    #[error("the order names example {row}; there are {rows}")]
    Order {
        /// Number of the example.
        row: u64,
        /// Examples.
        rows: u64,
    },
}
