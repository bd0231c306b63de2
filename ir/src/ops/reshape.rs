//! The same elements, in the same row-major order, under another shape; also how axes are renamed.

use super::{OpDef, OpError, arity};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor};
use crate::types::{Layout, Shape, TensorType};

/// Attributes of a reshape.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Reshape {
    /// The shape of the result, of as many elements as the operand has.
    pub shape: Shape,
    /// The layout of the result.
    pub layout: Layout,
}

impl OpDef for Reshape {
    const NAMES: &'static [&'static str] = &["reshape"];

    fn attrs(&self, to: &mut AttrWriter) {
        to.sizes("shape", &self.shape);
        if self.shape.rank() > 0 {
            to.word("layout", self.layout);
        }
    }
    fn parse(_: &str, from: &mut AttrReader) -> Result<Self, String> {
        let shape = Shape::from(from.sizes("shape")?);
        let layout = if shape.rank() == 0 {
            Layout::anonymous(0)
        } else {
            let word = from.word("layout")?;
            Layout::new(&word).ok_or_else(|| format!("attribute `layout`: `{word}` names no axes"))?
        };
        Ok(Self { shape, layout })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        arity(inputs, 1, 1)?;
        if inputs[0].shape.checked_len() != self.shape.checked_len() {
            return Err(
                format!("{} does not hold as many elements as {}", self.shape, inputs[0].shape).into()
            );
        }
        Ok(TensorType::new(inputs[0].elem.clone(), self.shape.clone(), self.layout))
    }

    fn eval(&self, inputs: &[&Tensor], _: &TensorType) -> Result<Data, OpError> {
        Ok(inputs[0].data.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_elements_stays() {
        let op = Reshape { shape: [6].into(), layout: Layout::channels_last(0) };
        let ty = |s: [usize; 2]| TensorType::f32(s, Layout::anonymous(2));
        assert_eq!(op.infer(&[&ty([2, 3])]).unwrap().to_string(), "f32[6] c");
        assert!(op.infer(&[&ty([2, 4])]).is_err());
    }
}
