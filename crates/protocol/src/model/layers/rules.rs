//! Rules that several layers share.

use super::Output;
use crate::limits::MAX_STEPS;
use crate::model::{Init, Shape};

/// A layer and its wire message with the same fields, converted both ways.
macro_rules! same_fields {
    ($layer:ident = $wire:ident { $($field:ident),* }) => {
        impl From<$layer> for crate::wire::$wire {
            fn from(layer: $layer) -> Self {
                let $layer { $($field),* } = layer;
                Self { $($field),* }
            }
        }

        impl From<crate::wire::$wire> for $layer {
            fn from(wire: crate::wire::$wire) -> Self {
                let crate::wire::$wire { $($field),* } = wire;
                Self { $($field),* }
            }
        }
    };
}
pub(super) use same_fields;

/// Default of what a normalisation adds to the variance.
pub(super) fn norm_epsilon() -> f32 {
    1e-5
}

pub(super) fn positive(name: &str, value: u32) -> Result<(), String> {
    if value == 0 { Err(format!("{name} must be at least 1")) } else { Ok(()) }
}

pub(super) fn positive_real(name: &str, value: f32) -> Result<(), String> {
    if value > 0.0 && value.is_finite() {
        Ok(())
    } else {
        Err(format!("{name} must be above 0; it is {value}"))
    }
}

pub(super) fn within(name: &str, value: u32, least: u32, most: u32) -> Result<(), String> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(format!("{name} must be {least} to {most}; it is {value}"))
    }
}

pub(super) fn square(side: u32) -> u64 {
    u64::from(side) * u64::from(side)
}

/// `[channels, height, width]` of an image.
pub(super) fn image(input: Shape) -> Result<[u32; 3], String> {
    match input {
        Shape::Image { channels, height, width } => Ok([channels, height, width]),
        Shape::Features(_) | Shape::Sequence { .. } | Shape::Tokens { .. } => {
            Err("it takes an image, but features come in; give the model an \
                                   input [channels, height, width]"
                .into())
        }
    }
}

/// `[positions, width]` of a sequence.
pub(super) fn sequence(input: Shape) -> Result<[u32; 2], String> {
    let given = match input {
        Shape::Sequence { positions, width } => return Ok([positions, width]),
        Shape::Image { .. } => "an image comes in",
        Shape::Features(_) | Shape::Tokens { .. } => "features come in",
    };
    Err(format!(
        "it takes a sequence, but {given}; put it behind an embedding layer, and before \
         flatten or last_step"
    ))
}

/// Checks the heads of an attention.
pub(super) fn heads(heads: u32, width: u32) -> Result<(), String> {
    positive("heads", heads)?;
    if width.is_multiple_of(heads) {
        Ok(())
    } else {
        Err(format!("heads must divide the width, {width}; it is {heads}"))
    }
}

/// Values that an attention holds: queries, keys and values, and the scores of each head.
pub(super) fn attention_values(input: Shape, heads: u32) -> u64 {
    sequence(input).map_or(0, |[positions, width]| {
        let scores = square(positions).saturating_mul(heads.into());
        scores.saturating_add(3 * u64::from(positions) * u64::from(width))
    })
}

/// Inputs that one output of an attention sums over: of both projections, of the scores and
/// of the values.
pub(super) fn attention_window(input: Shape) -> u64 {
    sequence(input).map_or(1, |[positions, width]| 4 * u64::from(width) + 2 * u64::from(positions))
}

/// Output of a recurrent layer, with its tensors.
pub(super) fn recurrent(input: Shape, units: u32, gates: u32) -> Result<Output, String> {
    let [positions, width] = sequence(input)?;
    positive("units", units)?;
    if positions > MAX_STEPS {
        return Err(format!("it takes at most {MAX_STEPS} positions, not {positions}"));
    }
    let columns = units.checked_mul(gates).ok_or(format!("{units} units are too large"))?;
    let init = Init::Uniform { fan_in: units as usize };
    Ok(Output::of(Shape::Sequence { positions, width: units })
        .trains("input_weight", &[width, columns], init)
        .trains("input_bias", &[columns], init)
        .trains("hidden_weight", &[units, columns], init)
        .trains("hidden_bias", &[columns], init))
}

/// Values that a recurrent layer holds, `each` of them for a unit at a position.
pub(super) fn recurrent_values(input: Shape, units: u32, each: u64) -> u64 {
    sequence(input)
        .map_or(0, |[positions, _]| (u64::from(positions) * u64::from(units)).saturating_mul(each))
}

/// Inputs that one output of a recurrent layer sums over.
pub(super) fn recurrent_window(input: Shape, units: u32, gates: u32) -> u64 {
    sequence(input).map_or(1, |[_, width]| u64::from(gates) * (u64::from(width) + u64::from(units)))
}

/// `[positions, width]` of a sequence, or of an image of one channel.
pub(super) fn series(input: Shape) -> Result<[u32; 2], String> {
    match input {
        Shape::Sequence { positions, width } => Ok([positions, width]),
        Shape::Image { channels: 1, height, width } => Ok([height, width]),
        Shape::Image { .. } | Shape::Features(_) | Shape::Tokens { .. } => Err(format!(
            "it takes a sequence, but {:?} comes in; give the model an input [positions, width], \
             or token ids and an embedding",
            input.dims()
        )),
    }
}

/// Channels of an image, or values of a sequence at each position.
pub(super) fn channels(input: Shape) -> Result<u32, String> {
    match input {
        Shape::Image { channels, .. } => Ok(channels),
        Shape::Sequence { width, .. } => Ok(width),
        Shape::Features(_) | Shape::Tokens { .. } => {
            Err("it takes an image or a sequence, but features come in; leave this layer out, or \
                 put it before what makes features"
                .into())
        }
    }
}

/// Values of a row: of features, or of a sequence at one position. `takes` is the verb of
/// the layer.
pub(super) fn row_width(input: Shape, takes: &str) -> Result<u32, String> {
    match input {
        Shape::Features(width) | Shape::Sequence { width, .. } => Ok(width),
        Shape::Image { .. } | Shape::Tokens { .. } => Err(format!(
            "it {takes} features, but an image comes in; put a flatten layer before it"
        )),
    }
}

/// The output of a layer that makes one value of each window, channel by channel.
pub(super) fn pooled(input: Shape, kernel: u32, stride: u32) -> Result<Output, String> {
    let [channels, height, width] = image(input)?;
    Ok(Output::of(Shape::Image {
        channels,
        height: windows("image side", height, kernel, stride, 0)?,
        width: windows("image side", width, kernel, stride, 0)?,
    }))
}

/// Number of windows along one side, which is called `what`:
/// floor((size + 2 padding - kernel) / stride) + 1.
pub(super) fn windows(
    what: &str,
    size: u32,
    kernel: u32,
    stride: u32,
    padding: u32,
) -> Result<u32, String> {
    positive("kernel", kernel)?;
    positive("stride", stride)?;
    if padding >= kernel {
        return Err(format!("padding {padding} must be smaller than the kernel {kernel}"));
    }
    let padded = u64::from(size) + 2 * u64::from(padding);
    if u64::from(kernel) > padded {
        return Err(format!("the kernel {kernel} is larger than the {what} {padded}"));
    }
    u32::try_from((padded - u64::from(kernel)) / u64::from(stride) + 1)
        .map_err(|_| format!("the {what} is too large"))
}

/// Holds a layer to its form in a config file and to its bytes on the wire.
#[cfg(test)]
pub(super) fn same_bytes(json: &str, layer: impl Into<super::Layer>, bytes: &str) {
    use prost::Message;

    use crate::wire;

    let layer = layer.into();
    assert_eq!(serde_json::from_str::<super::Layer>(json).unwrap(), layer);
    let encoded = wire::Layer::from(layer.clone()).encode_to_vec();
    assert_eq!(hex::encode(&encoded), bytes);
    let decoded = wire::Layer::decode(encoded.as_slice()).unwrap();
    assert_eq!(super::Layer::try_from(decoded), Ok(layer));
}
