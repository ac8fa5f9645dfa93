//! Plain updates: checked, then folded in any order.

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use fedra_aggregation::{CheckedUpdate, Codec, FixedPointSum, MAX_TOTAL_WEIGHT, UpdateShape};
use fedra_protocol::UpdateRange;

/// Updates and weights: [parameters, range, (weight, bytes)...].
pub fn update(data: &[u8]) {
    // Bytes that are too short for a case are none.
    let _ = several(&mut Unstructured::new(data));
}

fn several(input: &mut Unstructured<'_>) -> Result<()> {
    let parameters: usize = input.int_in_range(0..=40)?;
    let range = UpdateRange::new(1 << input.int_in_range(0..=24)?).expect("at most 2^24");
    let mut taken = Vec::new();
    let mut sum = FixedPointSum::new(parameters, range);
    while !input.is_empty() {
        let weight = weight(input)?;
        // Mostly the right length.
        let length = match input.int_in_range(0..=7)? {
            0 => input.int_in_range(0..=200)?,
            _ => 4 * parameters,
        };
        let bytes = input.bytes(length.min(input.len()))?;
        let Some(update) = checked(bytes, parameters, range) else { continue };
        let before = sum.clone();
        match sum.fold(&update, weight) {
            Ok(()) => taken.push((update, weight)),
            Err(_) => assert_eq!(sum, before, "a refused update leaves no trace"),
        }
    }
    order_does_not_matter(&taken, &sum, range);
    Ok(())
}

fn weight(input: &mut Unstructured<'_>) -> Result<u64> {
    Ok(match input.int_in_range(0..=3)? {
        0 => input.arbitrary()?,
        1 => MAX_TOTAL_WEIGHT - input.arbitrary::<u8>()? as u64,
        _ => input.arbitrary::<u8>()?.into(),
    })
}

fn checked(bytes: &[u8], parameters: usize, range: UpdateRange) -> Option<CheckedUpdate> {
    let values: Vec<f32> =
        bytes.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
    // NaN is in no range.
    let sound = bytes.len() == 4 * parameters
        && values.iter().all(|value| value.abs() <= range.magnitude());
    let codec = Codec::standard(UpdateShape::Values { len: parameters, range });
    let update = CheckedUpdate::parse(Bytes::copy_from_slice(bytes), &codec);
    assert_eq!(update.is_ok(), sound, "{values:?}");
    update.ok()
}

fn order_does_not_matter(taken: &[(CheckedUpdate, u64)], sum: &FixedPointSum, range: UpdateRange) {
    let fold = |updates: &mut dyn Iterator<Item = &(CheckedUpdate, u64)>| {
        let mut sum = FixedPointSum::new(sum.len(), range);
        for (update, weight) in updates {
            sum.fold(update, *weight).expect("it was folded before, and the total is the same");
        }
        sum
    };
    assert_eq!(fold(&mut taken.iter().rev()), *sum);
    let (first, second) = taken.split_at(taken.len() / 2);
    let mut merged = fold(&mut second.iter());
    merged.merge(&fold(&mut first.iter())).expect("the total is the same");
    assert_eq!(merged, *sum);
    let Some(mean) = sum.mean() else { return assert!(taken.is_empty()) };
    let values = |(update, weight): &(CheckedUpdate, u64)| {
        (update.to_vec().expect("values"), *weight as f64)
    };
    let taken: Vec<_> = taken.iter().map(values).collect();
    for (index, mean) in mean.iter().enumerate() {
        let terms = taken.iter().map(|(update, weight)| f64::from(update[index]) * weight);
        let exact = terms.sum::<f64>() / sum.weight() as f64;
        // Half a unit of 2^-30, and what the doubles here lose of values up to the range.
        let error = 1e-9 + f64::from(range.magnitude()) * taken.len() as f64 * 1e-15;
        assert!((mean - exact).abs() < error, "{mean} for {exact}");
    }
}
