//! A policy as a server may send it, and an update encoded under it.

use arbitrary::{Result, Unstructured};
use differential_privacy::{ClippingNorm, distributed};
use fedra_aggregation::codec::{Packed, UpdateCodec};
use fedra_privacy_policy::DerivedPolicy;
use fedra_protocol::limits::{MAX_COHORT, MAX_PARAMETERS, MAX_PARTICIPATIONS};
use fedra_protocol::{BandedNoise, CentralNoise, Mechanism, PrivacyPolicy};
use fedra_secure_aggregation::unpack;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

/// A policy and the size of a model.
pub fn privacy_policy(data: &[u8]) {
    // Bytes that are too short for a case are none.
    let _ = derived(&mut Unstructured::new(data));
}

/// A policy, a small update and a sum that clients made up.
pub fn encoded_update(data: &[u8]) {
    let _ = encoded(&mut Unstructured::new(data));
}

fn derived(input: &mut Unstructured<'_>) -> Result<()> {
    let policy = policy(input)?;
    let parameters = match input.arbitrary::<bool>()? {
        true => input.int_in_range(0..=2 * MAX_PARAMETERS as usize)?,
        false => input.arbitrary::<u16>()?.into(),
    };
    let privacy = match input.int_in_range(0..=15)? {
        0..=3 => DerivedPolicy::within_budget(policy.clone(), parameters),
        // Thirty times as slow as the others.
        4 => DerivedPolicy::with_least_noise(policy.clone(), parameters),
        _ => DerivedPolicy::new(policy.clone(), parameters),
    };
    let privacy = match privacy {
        Ok(privacy) => privacy,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return Ok(());
        }
    };
    let most = privacy.policy().max_participations;
    assert!(most <= policy.max_participations);
    let budget = policy.epsilon;
    assert!(privacy.epsilon_after(most) <= budget, "{} of {budget}", privacy.epsilon_after(most));
    let fewer = input.int_in_range(0..=most)?;
    assert!(privacy.epsilon_after(fewer) <= privacy.epsilon_after(most));
    assert_eq!(privacy.encoding().is_some(), privacy.central().is_none());
    Ok(())
}

fn encoded(input: &mut Unstructured<'_>) -> Result<()> {
    let policy = policy(input)?;
    let parameters = input.int_in_range(1..=64)?;
    let Ok(clip) = ClippingNorm::new(f64_of(input)?) else { return Ok(()) };
    let Ok(privacy) = DerivedPolicy::new(policy, parameters) else { return Ok(()) };
    let update: Vec<f32> = (0..parameters).map(|_| f32_of(input)).collect::<Result<_>>()?;
    if let Some(central) = privacy.central() {
        let contribution = central.encode(&update, clip).expect("of the right length");
        assert!(central.admits(&contribution), "more than one client may add");
        let sum: Vec<i64> = (0..central.len()).map(|_| input.arbitrary()).collect::<Result<_>>()?;
        let mean = central.decode(&sum, input.arbitrary()?, clip).expect("of the right length");
        assert_eq!(mean.mean.len(), parameters);
    }
    if let Some(encoding) = privacy.encoding() {
        let rotation = input.arbitrary()?;
        let mut rng = ChaCha20Rng::from_seed(input.arbitrary()?);
        let words = encoding.encode(&update, clip, &rotation, &mut rng).expect("the right length");
        let codec = Packed::new(encoding.len(), encoding.bits());
        let packed = codec.encode(&words);
        assert!(codec.bounds().bytes.admits(packed.len() as u64));
        assert_eq!(codec.check(&packed), Ok(()));
        assert_eq!(unpack(&packed, encoding.len(), encoding.bits()).as_ref(), Ok(&words));
        let sum: Vec<u32> =
            (0..encoding.len()).map(|_| input.arbitrary()).collect::<Result<_>>()?;
        made_up_sum(encoding, &sum, input.arbitrary()?, clip, &rotation);
        made_up_sum(encoding, &words, encoding.survivors(), clip, &rotation);
    }
    Ok(())
}

fn made_up_sum(
    encoding: &distributed::DistributedGaussian,
    sum: &[u32],
    survivors: u32,
    clip: ClippingNorm,
    rotation: &[u8; 32],
) {
    if let Ok(decoded) = encoding.decode(sum, survivors, clip, rotation) {
        assert_eq!(decoded.mean.len(), encoding.parameters());
        assert!((encoding.survivors()..=encoding.clients()).contains(&survivors));
        // With clips to 1e30 a float32 has room for every decoded value.
        assert!(decoded.mean.iter().all(|value| value.is_finite()), "{:?}", decoded.mean);
        assert!(decoded.within_clip.is_none_or(f64::is_finite));
    }
}

fn policy(input: &mut Unstructured<'_>) -> Result<PrivacyPolicy> {
    let mechanism = match input.int_in_range(0..=4)? {
        0 => Mechanism::Local,
        1 => Mechanism::Central(CentralNoise::Independent),
        2 => Mechanism::Central(CentralNoise::Tree { rounds: whole(input, u32::MAX)? }),
        3 => Mechanism::Central(CentralNoise::Banded(BandedNoise {
            rounds: whole(input, 10_000)?,
            separation: whole(input, 10_000)?,
            band: whole(input, 70)?,
            exponent: whole(input, 110)?,
        })),
        _ => Mechanism::Distributed,
    };
    Ok(PrivacyPolicy {
        mechanism,
        noise_multiplier: f64_of(input)?,
        clipping_norm: f64_of(input)?,
        target_quantile: input.arbitrary::<bool>()?.then(|| f64_of(input)).transpose()?,
        epsilon: f64_of(input)?,
        delta: f64_of(input)?,
        cohort: whole(input, MAX_COHORT)?,
        minimum_survivors: whole(input, MAX_COHORT)?,
        colluders: whole(input, MAX_COHORT)?,
        max_participations: whole(input, MAX_PARTICIPATIONS)?,
    })
}

/// Mostly small, now and then anything.
fn whole(input: &mut Unstructured<'_>, most: u32) -> Result<u32> {
    Ok(match input.arbitrary::<u8>()? {
        255 => input.arbitrary()?,
        254 => most,
        253 => input.int_in_range(0..=most)?,
        small => small.into(),
    })
}

/// Mostly of a size that people use, now and then anything.
fn f64_of(input: &mut Unstructured<'_>) -> Result<f64> {
    let kind: u8 = input.arbitrary()?;
    Ok(match kind {
        255 => f64::from_bits(input.arbitrary()?),
        // 1e-24 to 1e24.
        200..=248 => 10_f64.powi(i32::from(kind) - 224),
        _ => f64::from(input.arbitrary::<u16>()?) / 256.0,
    })
}

fn f32_of(input: &mut Unstructured<'_>) -> Result<f32> {
    Ok(match input.int_in_range(0..=3)? {
        0 => f32::from_bits(input.arbitrary()?),
        _ => f32::from(input.arbitrary::<i16>()?) / 1024.0,
    })
}
