//! Enlargement by whole factors along each axis.
//!
//! One operand, of floats, or of any type for `nearest`, which only repeats; the result has its type but for the extents.

use super::{OpDef, OpError, all_float, arity, floats};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor, for_each_index};
use crate::types::TensorType;

/// How new cells come about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum UpsampleMode {
    /// Each cell is repeated.
    Nearest,
    /// Linear interpolation at half-pixel centres: `source = (i + ½) / factor − ½`, clamped to the borders
    /// (TensorFlow 2's `bilinear`, ONNX's `half_pixel`).
    Linear,
    /// Linear interpolation at `source = i / factor`, clamped at the end (TensorFlow 1's `resize_bilinear`,
    /// ONNX's `asymmetric`).
    LinearAsymmetric,
}

/// Attributes of an enlargement.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Upsample {
    /// The factor of each axis, at least 1.
    pub factors: Vec<usize>,
    /// How new cells come about.
    pub mode: UpsampleMode,
}

impl Upsample {
    /// The two cells that cell `i` of the result mixes along axis `a` of extent `n`, and the weight of the second.
    pub fn taps(&self, a: usize, i: usize, n: usize) -> (usize, usize, f64) {
        let factor = self.factors[a] as f64;
        let source = match self.mode {
            UpsampleMode::Nearest => return (i / self.factors[a], i / self.factors[a], 0.0),
            UpsampleMode::Linear => (i as f64 + 0.5) / factor - 0.5,
            UpsampleMode::LinearAsymmetric => i as f64 / factor,
        };
        let source = source.clamp(0.0, (n - 1) as f64);
        let low = source.floor() as usize;
        (low, (low + 1).min(n - 1), source - low as f64)
    }

    /// Each cell repeated.
    fn repeated(&self, x: &Tensor, out: &TensorType) -> Data {
        let strides = x.ty.shape.strides();
        let mut from = Vec::with_capacity(out.shape.num_elements());
        for_each_index(&out.shape, |at| {
            from.push((0..at.len()).map(|a| at[a] / self.factors[a] * strides[a]).sum());
        });
        x.data.gather(&from)
    }
}

impl OpDef for Upsample {
    const NAMES: &'static [&'static str] = &["upsample"];

    fn attrs(&self, to: &mut AttrWriter) {
        let mode = match self.mode {
            UpsampleMode::Nearest => "nearest",
            UpsampleMode::Linear => "linear",
            UpsampleMode::LinearAsymmetric => "linear_asymmetric",
        };
        to.sizes("factors", &self.factors).word("mode", mode);
    }
    fn parse(_: &str, from: &mut AttrReader) -> Result<Self, String> {
        let mode = match from.word("mode")?.as_str() {
            "nearest" => UpsampleMode::Nearest,
            "linear" => UpsampleMode::Linear,
            "linear_asymmetric" => UpsampleMode::LinearAsymmetric,
            other => {
                return Err(format!(
                    "attribute `mode`: expected nearest, linear or linear_asymmetric, found {other}"
                ));
            }
        };
        Ok(Self { factors: from.sizes("factors")?, mode })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        arity(inputs, 1, 1)?;
        if self.mode != UpsampleMode::Nearest {
            all_float(inputs)?;
        }
        let x = inputs[0];
        if self.factors.len() != x.rank() || self.factors.contains(&0) {
            return Err(
                format!("expected {} factors of at least 1, found {:?}", x.rank(), self.factors).into()
            );
        }
        let dims: Vec<usize> = x.shape.iter().zip(&self.factors).map(|(n, f)| n.saturating_mul(*f)).collect();
        Ok(TensorType::new(x.elem.clone(), dims, x.layout))
    }

    fn eval(&self, inputs: &[&Tensor], out: &TensorType) -> Result<Data, OpError> {
        if self.mode == UpsampleMode::Nearest {
            return Ok(self.repeated(inputs[0], out));
        }
        let x = floats(inputs, 0)?;
        let shape = &inputs[0].ty.shape;
        let strides = shape.strides();
        let mut y = Vec::with_capacity(out.shape.num_elements());
        for_each_index(&out.shape, |at| {
            // Each axis doubles the corners; corners of weight 0 are left out, so `nearest` reads one cell.
            let mut corners = vec![(0usize, 1.0f64)];
            for a in 0..at.len() {
                let (low, high, weight) = self.taps(a, at[a], shape[a]);
                let low = corners.iter().map(|&(o, w)| (o + low * strides[a], w * (1.0 - weight)));
                let high = corners.iter().map(|&(o, w)| (o + high * strides[a], w * weight));
                corners = low.chain(high).filter(|&(_, w)| w != 0.0).collect();
            }
            y.push(corners.iter().map(|&(o, w)| w * f64::from(x[o])).sum::<f64>() as f32);
        });
        Ok(Data::F32(y))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Layout;

    #[test]
    fn each_mode() {
        let x = Tensor::f32([2, 1], Layout::channels_last(1), vec![0., 4.]);
        let run = |mode| {
            let op = Upsample { factors: vec![2, 1], mode };
            op.eval(&[&x], &op.infer(&[&x.ty]).unwrap()).unwrap()
        };
        assert_eq!(run(UpsampleMode::Nearest), Data::F32(vec![0., 0., 4., 4.]));
        let codes = TensorType::new(crate::types::ElemType::Bipolar, [2, 1], Layout::channels_last(1));
        let codes = Tensor::codes(codes, [-1, 1]);
        let [nearest, linear] =
            [UpsampleMode::Nearest, UpsampleMode::Linear].map(|mode| Upsample { factors: vec![2, 1], mode });
        let ty = nearest.infer(&[&codes.ty]).unwrap();
        assert_eq!(ty.to_string(), "bipolar[4,1] wc");
        assert_eq!(nearest.eval(&[&codes], &ty).unwrap(), Data::I8(vec![-1, -1, 1, 1]));
        assert!(linear.infer(&[&codes.ty]).is_err());
        assert_eq!(run(UpsampleMode::Linear), Data::F32(vec![0., 1., 3., 4.]));
        assert_eq!(run(UpsampleMode::LinearAsymmetric), Data::F32(vec![0., 2., 4., 4.]));
    }
}
