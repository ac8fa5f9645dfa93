//! Plain SGD, as in FedAvg (McMahan et al. 2017, algorithm 1).

use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{ModuleOptimizer, SgdConfig};
use fedra_protocol::LocalTraining;

/// Momentum is classical (no dampening), weight decay is added to the gradient.
pub(super) fn optimizer(plan: &LocalTraining) -> ModuleOptimizer {
    let mut config = SgdConfig::new();
    if plan.momentum() > 0.0 {
        let momentum =
            MomentumConfig::new().with_momentum(f64::from(plan.momentum())).with_dampening(0.0);
        config = config.with_momentum(Some(momentum));
    }
    if plan.weight_decay() > 0.0 {
        config = config.with_weight_decay(Some(WeightDecayConfig::new(plan.weight_decay())));
    }
    config.init()
}
