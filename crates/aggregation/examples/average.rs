//! Federated averaging of three clients on paper: each moves from the global model
//! towards its own data, and the mean is weighted by their examples.
//! `cargo run -p fedra-aggregation --example average`.

use std::error::Error;

use fedra_aggregation::{
    CheckedUpdate, Codec, FixedPointSum, OptimizerState, ServerOptimizer, UpdateShape,
};
use fedra_protocol::{Loss, UpdateRange};

fn main() -> Result<(), Box<dyn Error>> {
    // A model with one parameter: the mean of all values, none of which is sent.
    let clients: [&[f32]; 3] = [&[1.0, 2.0, 3.0], &[10.0], &[4.0, 4.0]];
    let range = UpdateRange::default_for(Loss::SoftmaxCrossEntropy);
    let codec = Codec::standard(UpdateShape::Values { len: 1, range });
    let averaging = ServerOptimizer::Averaging { learning_rate: 1.0 };
    let mut model = vec![0.0_f32];
    for round in 1..=4 {
        let mut sum = FixedPointSum::new(1, range);
        for values in clients {
            let mean = values.iter().sum::<f32>() / values.len() as f32;
            // Halfway, as a few steps of training would go.
            let update = (mean - model[0]) / 2.0;
            let bytes = codec.values()?.encode(&[update], &[0; 32]);
            sum.fold(&CheckedUpdate::parse(bytes.into(), &codec)?, values.len() as u64)?;
        }
        let mean = sum.mean().ok_or("nothing was folded")?;
        (model, _) = averaging.step(&OptimizerState::Empty, &model, &mean)?;
        println!("round {round}: model {:.4} after {} updates", model[0], sum.updates());
    }
    println!("the mean of all values is {:.4}", 24.0 / 6.0);
    Ok(())
}
