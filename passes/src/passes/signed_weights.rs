//! Float weights that are signs with a scale: −s, 0 and s in each output channel.
//!
//! In: a convolution, dense layer or matrix product with a float constant. Out: its codes, `bipolar`, or `ternary` where one
//! is 0, and the scale of each channel; product of the two is the weight, bit for bit (a weight of −0 becomes 0). Refused:
//! channels with other numbers, and channels of a single weight, which says nothing.

use unfloat_ir::ops::Dequantize;
use unfloat_ir::tensor::for_each_index;
use unfloat_ir::{Data, Diagnostic, ElemType, Graph, Layout, Node, Op, Patch, Tensor, TensorType, ValueId};

/// A weight as signs and scales.
pub struct SignedWeight {
    codes: Tensor,
    scale: Tensor,
}

impl SignedWeight {
    /// The weight of a layer.
    pub fn of(graph: &Graph, node: &Node) -> Option<SignedWeight> {
        let tensor = graph.const_of(*node.inputs.get(1)?)?;
        let axis = match &node.op {
            Op::Conv(_) | Op::Dense(_) => 0,
            Op::MatMul(_) if tensor.ty.rank() == 2 => 1,
            _ => return None,
        };
        let (floats, channels) = (tensor.as_f32()?, *tensor.ty.shape.get(axis)?);
        if floats.len() <= channels {
            return None;
        }
        let mut owner = Vec::with_capacity(floats.len());
        for_each_index(tensor.ty.shape.dims(), |index| owner.push(index[axis]));
        let mut scale = vec![0.0f32; channels];
        floats.iter().zip(&owner).for_each(|(w, &c)| scale[c] = scale[c].max(w.abs()));
        let code = |(w, &c): (&f32, &usize)| match *w {
            0.0 => Some(0),
            w if w == scale[c] && w.is_finite() => Some(1),
            w if w == -scale[c] && w.is_finite() => Some(-1),
            _ => None,
        };
        let codes: Vec<i64> = floats.iter().zip(&owner).map(code).collect::<Option<_>>()?;
        let elem = if codes.contains(&0) { ElemType::Ternary } else { ElemType::Bipolar };
        // A channel of zeros has any scale.
        scale.iter_mut().filter(|s| **s == 0.0).for_each(|s| *s = 1.0);
        let same = scale.windows(2).all(|s| s[0] == s[1]);
        let scale = if same {
            Tensor::f32([], Layout::anonymous(0), vec![scale[0]])
        } else {
            let mut dims = vec![1; tensor.ty.rank()];
            dims[axis] = channels;
            Tensor { ty: TensorType::f32(dims, tensor.ty.layout), data: Data::F32(scale) }
        };
        Some(SignedWeight { codes: Tensor::codes(tensor.ty.with_elem(elem), codes), scale })
    }

    /// The weight again, as codes and what they stand for.
    pub fn dequantized(self, graph: &Graph, patch: &mut Patch, node: &Node) -> Result<ValueId, Diagnostic> {
        let name = &graph.value(node.inputs[1]).name;
        let codes = patch.constant(&format!("{name}.codes"), self.codes);
        let scale = patch.constant(&format!("{name}.scale"), self.scale);
        let zero = patch.constant(&format!("{name}.zero"), Tensor::f32([], Layout::anonymous(0), vec![0.0]));
        patch.node(Dequantize, &[codes, scale, zero], &format!("{name}.signs"), &node.origin)
    }
}
