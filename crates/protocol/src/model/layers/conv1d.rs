//! One-dimensional convolution.

use serde::{Deserialize, Serialize};

use super::rules::{positive, same_fields, series, windows};
use super::{LayerRule, Output};
use crate::model::{Init, Shape};

/// Cross-correlation over the positions of a sequence, `W: [channels, in, kernel]`:
/// `[positions, in]` to `[positions', channels]`. A window has `kernel` positions, `dilation`
/// apart.
///
/// An image of one channel counts as a sequence: its rows are the positions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv1d {
    /// Values that come out at each position.
    pub channels: u32,
    /// Positions of the kernel.
    pub kernel: u32,
    /// Step between windows.
    #[serde(default = "one")]
    pub stride: u32,
    /// Zeros added on each side.
    #[serde(default)]
    pub padding: u32,
    /// Step between the positions of a window.
    #[serde(default = "one")]
    pub dilation: u32,
}

fn one() -> u32 {
    1
}

impl LayerRule for Conv1d {
    fn output(&self, input: Shape) -> Result<Output, String> {
        let Self { channels, kernel, stride, padding, dilation } = *self;
        let [positions, inputs] = series(input)?;
        positive("channels", channels)?;
        positive("kernel", kernel)?;
        positive("dilation", dilation)?;
        let span = (kernel - 1).checked_mul(dilation).and_then(|span| span.checked_add(1));
        let span = span.ok_or("its kernel and dilation are too large")?;
        let positions = windows("sequence", positions, span, stride, padding)?;
        let shape = Shape::Sequence { positions, width: channels };
        let fan_in = u64::from(inputs) * u64::from(kernel);
        let init = Init::Uniform { fan_in: fan_in as usize };
        Ok(Output::of(shape).trains("weight", &[channels, inputs, kernel], init).trains(
            "bias",
            &[channels],
            init,
        ))
    }

    fn window(&self, input: Shape) -> u64 {
        let inputs = series(input).map_or(1, |[_, inputs]| u64::from(inputs));
        inputs.saturating_mul(self.kernel.into())
    }

    /// A window is computed at every position, also of a larger stride.
    fn held(&self, input: Shape) -> u64 {
        match (self.dilation, series(input)) {
            (2.., Ok([positions, _])) if self.stride > 1 => (u64::from(positions)
                + 2 * u64::from(self.padding))
            .saturating_mul(self.channels.into()),
            _ => 0,
        }
    }

    fn is_fixed(&self) -> bool {
        false
    }
}

same_fields!(Conv1d = Conv1d { channels, kernel, stride, padding, dilation });

#[cfg(test)]
mod tests {
    use super::Conv1d;
    use crate::layers::{Embedding, GlobalAvgPool, Linear};
    use crate::model::layers::rules::same_bytes;
    use crate::{Init, Layer, Loss, ModelSpec, Shape};

    fn conv(kernel: u32, stride: u32, padding: u32) -> Vec<Layer> {
        let conv = Conv1d { channels: 5, kernel, stride, padding, dilation: 1 };
        vec![conv.into(), GlobalAvgPool.into(), Linear { outputs: 2 }.into()]
    }

    #[test]
    fn the_wire_form_is_what_it_was() {
        let json = r#"{"type":"conv1d","channels":5,"kernel":3}"#;
        let layer = Conv1d { channels: 5, kernel: 3, stride: 1, padding: 0, dilation: 1 };
        same_bytes(json, layer, "e201080805100318012801");
    }

    #[test]
    fn positions_become_windows_and_the_width_channels() {
        let loss = Loss::SoftmaxCrossEntropy;
        let layers = [vec![Embedding { width: 4 }.into()], conv(3, 2, 1)].concat();
        let spec = ModelSpec::of_tokens(8, 9, layers, loss).unwrap();
        assert_eq!(spec.inputs()[2], Shape::Sequence { positions: 4, width: 5 });
        let weight = &spec.layout()[1];
        assert_eq!((&weight.name[..], &weight.shape[..]), ("layers.1.weight", &[5, 4, 3][..]));
        assert_eq!(weight.init, Init::Uniform { fan_in: 12 });
        // A series of 8 steps of 4 values.
        let series = ModelSpec::new(&[8, 4], conv(3, 2, 1), loss).unwrap();
        assert_eq!(series.inputs()[1], Shape::Sequence { positions: 4, width: 5 });
        assert_eq!(series.forward_cost().operations, 4 * 5 * 4 * 3 + 5 * 4 + 5 * 2);
    }

    #[test]
    fn a_window_of_a_dilation_spans_more_positions() {
        let output = |dilation, padding, stride| {
            let conv = Conv1d { channels: 5, kernel: 3, stride, padding, dilation };
            Layer::from(conv).output(Shape::Sequence { positions: 8, width: 4 })
        };
        let of = |positions| Some(Shape::Sequence { positions, width: 5 });
        assert_eq!(output(3, 0, 1), of(2));
        assert_eq!(output(3, 3, 1), of(8));
        assert_eq!(output(2, 4, 3), of(4));
        assert_eq!(output(2, 5, 1), None, "the padding is as long as the window");
        assert_eq!(output(4, 0, 1), None, "it is longer than the sequence");
        assert_eq!(output(0, 0, 1), None);
        assert_eq!(output(u32::MAX, 0, 1), None);
    }

    #[test]
    fn what_is_no_sequence_or_no_window_is_refused() {
        let error = |input: &[u32], kernel, stride, padding| {
            let layers = conv(kernel, stride, padding);
            ModelSpec::new(input, layers, Loss::MeanSquaredError).unwrap_err().to_string()
        };
        for input in [&[8][..], &[2, 8, 4]] {
            assert!(error(input, 3, 1, 0).contains("give the model an input [positions, width]"));
        }
        assert!(error(&[8, 4], 9, 1, 0).contains("kernel 9 is larger than the sequence 8"));
        assert!(error(&[8, 4], 3, 0, 0).contains("stride must be at least 1"));
        assert!(error(&[8, 4], 3, 1, 3).contains("padding 3 must be smaller"));
    }
}
