//! Adam over the steps of a training (Kingma and Ba 2015, algorithm 1), with decoupled weight
//! decay (Loshchilov and Hutter 2019, algorithm 2).

use fedra_protocol::LocalTraining;

/// Terms of a plan, and the bias correction of the step that is taken.
pub(super) struct Adam {
    kernel: fedra_kernels::Adam,
    rate: f64,
    epsilon: f64,
    /// beta1 and beta2 to the power of the step.
    powers: [f64; 2],
}

impl Adam {
    /// Before the first step.
    pub fn new(plan: &LocalTraining, [beta1, beta2]: [f32; 2], epsilon: f32) -> Self {
        let rate = plan.learning_rate();
        let decay = rate * plan.weight_decay();
        Self {
            kernel: fedra_kernels::Adam { rate, beta1, beta2, epsilon, decay },
            rate: f64::from(rate),
            epsilon: f64::from(epsilon),
            powers: [1.0; 2],
        }
    }

    /// Goes on to the next step. In double precision and by multiplication, so that every
    /// target has the same numbers.
    pub fn advance(&mut self) {
        self.powers[0] *= f64::from(self.kernel.beta1);
        self.powers[1] *= f64::from(self.kernel.beta2);
        let [mean, square] = self.powers.map(|power| 1.0 - power);
        self.kernel.rate = (self.rate * square.sqrt() / mean) as f32;
        self.kernel.epsilon = (self.epsilon * square.sqrt()) as f32;
    }

    /// The step of a tensor.
    pub fn kernel(&self) -> fedra_kernels::Adam {
        self.kernel
    }
}
