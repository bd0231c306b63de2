//! Transposed convolutions as convolutions.
//!
//! In: codes with channels last, and their zero point. Out: the same codes with cells of the zero point between and around
//! them, so that the convolution with the kernel turned round makes the sums of the transposed one, cell by cell. Left alone:
//! zero points that no padding can have.

use super::Integerizer;
use unfloat_ir::ops::{Cast, Conv, ConvTranspose, Pad, PadMode, Reshape, Slice, Window};
use unfloat_ir::tensor::for_each_index;
use unfloat_ir::{Diagnostic, ElemType, IntType, Layout, Node, Tensor, ValueId};

impl Integerizer<'_> {
    /// The codes spread out, and the convolution.
    pub fn spread(
        &mut self,
        node: &Node,
        op: &ConvTranspose,
        code: ValueId,
        zero: i64,
    ) -> Result<Option<(ValueId, Conv)>, Diagnostic> {
        let Some(mut code) = self.with_code(node, code, zero)? else { return Ok(None) };
        let rank = op.kernel.len();
        let name = self.name(node, "spread");
        let (shape, layout) = (self.patch.ty(code).shape.to_vec(), self.patch.ty(code).layout);
        let mut extents = shape[..rank].to_vec();
        if op.strides.iter().any(|&s| s > 1) {
            // Each cell gets an axis of its own, is padded there, and the two become one.
            let apart: Vec<usize> = extents.iter().flat_map(|&n| [n, 1]).chain([shape[rank]]).collect();
            let gaps = op.strides.iter().flat_map(|&s| [0, s - 1]).chain([0]).collect();
            let anonymous = Layout::anonymous(apart.len());
            let before = vec![0; apart.len()];
            extents.iter_mut().zip(&op.strides).for_each(|(n, s)| *n *= s);
            let joined = [&extents[..], &[shape[rank]]].concat();
            let mode = PadMode::Constant(zero as f32);
            let origin = &node.origin;
            code = self.patch.node(
                Reshape { shape: apart.into(), layout: anonymous },
                &[code],
                &name,
                origin,
            )?;
            code = self.patch.node(Pad { before, after: gaps, mode }, &[code], &name, origin)?;
            code = self.patch.node(Reshape { shape: joined.into(), layout }, &[code], &name, origin)?;
        }
        // Output cell `q` is cell `q + crop` of the plane, which the last tap of the turned kernel reads at its own place.
        let reach = |i: usize| ((op.kernel[i] - 1) * op.dilations[i]) as i64;
        let begin: Vec<i64> = (0..rank).map(|i| reach(i) - op.crop[i] as i64).collect();
        let end: Vec<i64> =
            (0..rank).map(|i| op.output[i] as i64 - extents[i] as i64 - begin[i] + reach(i)).collect();
        if begin.iter().chain(&end).any(|&p| p < 0) {
            let cut = |p: i64| p.min(0).unsigned_abs() as usize;
            let from: Vec<usize> = begin.iter().map(|&p| cut(p)).chain([0]).collect();
            let mut size = vec![shape[rank]; rank + 1];
            for i in 0..rank {
                let Some(left) = extents[i].checked_sub(cut(begin[i]) + cut(end[i])).filter(|&n| n > 0)
                else {
                    return Ok(None);
                };
                size[i] = left;
            }
            let slice = Slice { begin: from, size, step: vec![1; rank + 1] };
            code = self.patch.node(slice, &[code], &name, &node.origin)?;
        }
        let pads = |v: &[i64]| v.iter().map(|&p| p.max(0) as usize).collect::<Vec<usize>>();
        let window =
            Window::new(op.kernel.clone()).dilations(op.dilations.clone()).pads(pads(&begin), pads(&end));
        Ok(Some((code, Conv { window, groups: op.groups })))
    }

    /// The codes in a type that has this one too; nothing where it is no number of a padding.
    pub fn with_code(
        &mut self,
        node: &Node,
        code: ValueId,
        value: i64,
    ) -> Result<Option<ValueId>, Diagnostic> {
        let elem = self.patch.ty(code).elem.clone();
        let Some((lo, hi)) = elem.code_range() else { return Ok(None) };
        if (value as f32) as i64 != value {
            return Ok(None);
        }
        if elem.has_code(value) {
            return Ok(Some(code));
        }
        let to = ElemType::Int(IntType::covering(lo.min(value), hi.max(value)));
        let name = self.name(node, "padded");
        self.patch.node(Cast { to }, &[code], &name, &node.origin).map(Some)
    }
}

/// The kernel with its taps in the opposite order along every spatial axis.
pub fn turned(kernel: &Tensor) -> Tensor {
    let dims = kernel.ty.shape.dims();
    let strides = kernel.ty.shape.strides();
    let last = dims.len().saturating_sub(1);
    let mut codes = Vec::with_capacity(kernel.len());
    for_each_index(dims, |at| {
        let spatial = |i: usize| i > 0 && i < last;
        let from = at.iter().enumerate().map(|(i, &x)| if spatial(i) { dims[i] - 1 - x } else { x });
        let offset: usize = from.zip(&strides).map(|(x, s)| x * s).sum();
        codes.push(kernel.data.code(offset).unwrap_or(0));
    });
    Tensor::codes(kernel.ty.clone(), codes)
}
