//! Mean over windows, per channel.
//!
//! One operand with a channel axis; the result has its layout. The divisor is the number of real cells, or of
//! all taps when `count_include_pad` is set. A window of padding alone is refused.

use super::max_pool::{pool, pooled_type};
use super::{OpDef, OpError, Window, all_float, arity, floats};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor};
use crate::types::TensorType;

/// Attributes of an average pooling.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct AvgPool {
    /// Kernel, strides, dilations, padding.
    pub window: Window,
    /// Whether padding cells count in the divisor (as zeros in the sum).
    pub count_include_pad: bool,
}

impl OpDef for AvgPool {
    const NAMES: &'static [&'static str] = &["avg_pool"];

    fn attrs(&self, to: &mut AttrWriter) {
        self.window.attrs(to);
        if self.count_include_pad {
            to.bool("count_include_pad", true);
        }
    }
    fn parse(_: &str, from: &mut AttrReader) -> Result<Self, String> {
        let window = Window::parse(from)?;
        let count_include_pad = from.has("count_include_pad") && from.bool("count_include_pad")?;
        Ok(Self { window, count_include_pad })
    }
    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        arity(inputs, 1, 1)?;
        all_float(inputs)?;
        pooled_type(&self.window, inputs)
    }
    fn eval(&self, inputs: &[&Tensor], out: &TensorType) -> Result<Data, OpError> {
        let x = floats(inputs, 0)?;
        let taps = self.window.taps();
        let y = pool(&self.window, &inputs[0].ty, out, |cells| {
            let divisor = if self.count_include_pad { taps } else { cells.len() };
            (cells.iter().map(|&c| f64::from(x[c])).sum::<f64>() / divisor as f64) as f32
        })?;
        Ok(Data::F32(y))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Layout;

    #[test]
    fn the_divisor_counts_what_it_should() {
        let x = Tensor::f32([3, 1], Layout::channels_last(1), vec![2., 4., 6.]);
        let run = |count_include_pad| {
            let op = AvgPool { window: Window::new([2]).strides([2]).pads([0], [1]), count_include_pad };
            op.eval(&[&x], &op.infer(&[&x.ty]).unwrap()).unwrap()
        };
        assert_eq!(run(false), Data::F32(vec![3., 6.]));
        assert_eq!(run(true), Data::F32(vec![3., 3.]));
    }
}
