//! Cost of a private task: the noise multiplier that keeps each person within a
//! budget, and the parameters that follow.
//! `cargo run --example plan -- clients rounds epsilon delta [parameters]`.

use std::{env, error::Error};

use differential_privacy::{
    Delta, DistributedGaussian, DistributedGaussianSettings, Epsilon, NoiseMultiplier,
    accounting::smallest_noise_multiplier,
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let argument = |i: usize, default: &str| arguments.get(i).map_or(default, |a| a).to_owned();
    let clients: u32 = argument(0, "100").parse()?;
    let rounds: u32 = argument(1, "20").parse()?;
    let target = Epsilon::new(argument(2, "8").parse()?)?;
    let delta = Delta::new(argument(3, "1e-5").parse()?)?;
    let parameters = argument(4, "199210").parse()?;

    // Four of five have to survive a round.
    let survivors = (clients * 4 / 5).max(1);
    let derive = |noise_multiplier: NoiseMultiplier| {
        DistributedGaussian::derive(&DistributedGaussianSettings {
            parameters,
            clients,
            survivors,
            noise_multiplier,
            clip_indicator: true,
        })
    };
    let nothing = Epsilon::new(f64::INFINITY)?;
    let noise = smallest_noise_multiplier(target, |noise| match derive(noise) {
        Ok(mechanism) => mechanism.cost().times(rounds).epsilon(delta),
        Err(_) => nothing,
    })
    .ok_or("no amount of noise keeps that promise")?;
    let mechanism = derive(noise)?;

    println!("noise multiplier   {:.4}", noise.value());
    println!("epsilon per round  {:.4}", mechanism.cost().epsilon(delta).value());
    println!(
        "epsilon in all     {:.4} after {rounds} rounds, delta {:e}",
        mechanism.cost().times(rounds).epsilon(delta).value(),
        delta.value()
    );
    println!("survivors needed   {survivors} of {clients}");
    println!("values sent        {} of {} bits", mechanism.len(), mechanism.bits());
    println!("noise per share    {:.2} steps of the grid", mechanism.scale().to_f64());
    Ok(())
}
