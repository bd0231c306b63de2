//! Tensors: constants of a graph, and the values that the reference evaluator computes.

use crate::permute::permuted;
use crate::types::{ElemType, Layout, Shape, TensorType};

/// The elements of a tensor, row-major: floats, or integer codes in the narrowest word that the producer chose.
#[derive(Clone, Debug)]
pub enum Data {
    /// Single-precision floats.
    F32(Vec<f32>),
    /// 8-bit codes.
    I8(Vec<i8>),
    /// 16-bit codes.
    I16(Vec<i16>),
    /// 32-bit codes.
    I32(Vec<i32>),
    /// 64-bit codes.
    I64(Vec<i64>),
}

impl Data {
    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            Data::F32(v) => v.len(),
            Data::I8(v) => v.len(),
            Data::I16(v) => v.len(),
            Data::I32(v) => v.len(),
            Data::I64(v) => v.len(),
        }
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The code at `i`; nothing for floats or beyond the end.
    pub fn code(&self, i: usize) -> Option<i64> {
        match self {
            Data::F32(_) => None,
            Data::I8(v) => v.get(i).map(|&x| x.into()),
            Data::I16(v) => v.get(i).map(|&x| x.into()),
            Data::I32(v) => v.get(i).map(|&x| x.into()),
            Data::I64(v) => v.get(i).copied(),
        }
    }
    /// Codes stored in the narrowest word that holds every code of `elem`.
    pub fn from_codes(elem: &ElemType, codes: impl IntoIterator<Item = i64>) -> Self {
        let (lo, hi) = elem.code_range().unwrap_or((i64::MIN, i64::MAX));
        let codes = codes.into_iter();
        // The casts can't lose bits of codes that the type has; others are caught by `Tensor::fault`,
        // which is why they are clamped to the word and not wrapped into the range.
        if lo >= i8::MIN.into() && hi <= i8::MAX.into() {
            Data::I8(codes.map(|c| c.clamp(i8::MIN.into(), i8::MAX.into()) as i8).collect())
        } else if lo >= i16::MIN.into() && hi <= i16::MAX.into() {
            Data::I16(codes.map(|c| c.clamp(i16::MIN.into(), i16::MAX.into()) as i16).collect())
        } else if lo >= i32::MIN.into() && hi <= i32::MAX.into() {
            Data::I32(codes.map(|c| c.clamp(i32::MIN.into(), i32::MAX.into()) as i32).collect())
        } else {
            Data::I64(codes.collect())
        }
    }
    /// The elements at the given positions, in that order.
    pub(crate) fn gather(&self, at: &[usize]) -> Data {
        match self {
            Data::F32(v) => Data::F32(at.iter().map(|&i| v[i]).collect()),
            Data::I8(v) => Data::I8(at.iter().map(|&i| v[i]).collect()),
            Data::I16(v) => Data::I16(at.iter().map(|&i| v[i]).collect()),
            Data::I32(v) => Data::I32(at.iter().map(|&i| v[i]).collect()),
            Data::I64(v) => Data::I64(at.iter().map(|&i| v[i]).collect()),
        }
    }
    /// Bytes of one element.
    pub fn word_bytes(&self) -> usize {
        match self {
            Data::I8(_) => 1,
            Data::I16(_) => 2,
            Data::F32(_) | Data::I32(_) => 4,
            Data::I64(_) => 8,
        }
    }
}

/// Equal when the bits are: NaN equals itself, and −0.0 differs from 0.0. Codes compare by value, so the word
/// that holds them does not matter.
impl PartialEq for Data {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Data::F32(a), Data::F32(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.to_bits() == y.to_bits())
            }
            (Data::F32(_), _) | (_, Data::F32(_)) => false,
            _ => self.len() == other.len() && (0..self.len()).all(|i| self.code(i) == other.code(i)),
        }
    }
}

/// A typed block of elements.
#[derive(Clone, PartialEq, Debug)]
pub struct Tensor {
    /// What the elements mean and how they lie.
    pub ty: TensorType,
    /// The elements, row-major.
    pub data: Data,
}

impl Tensor {
    /// A float tensor. The data must have as many elements as the shape; [`Tensor::fault`] tells.
    pub fn f32(shape: impl Into<Shape>, layout: Layout, data: Vec<f32>) -> Self {
        Self { ty: TensorType::f32(shape, layout), data: Data::F32(data) }
    }
    /// A tensor of codes.
    pub fn codes(ty: TensorType, codes: impl IntoIterator<Item = i64>) -> Self {
        let data = Data::from_codes(&ty.elem, codes);
        Self { ty, data }
    }
    /// The floats, when it holds floats.
    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.data {
            Data::F32(v) => Some(v),
            _ => None,
        }
    }
    /// The shape.
    pub fn shape(&self) -> &Shape {
        &self.ty.shape
    }
    /// The number of elements.
    pub fn len(&self) -> usize {
        self.data.len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }
    /// The elements under another shape of as many elements.
    pub fn reshaped(self, shape: impl Into<Shape>, layout: Layout) -> Self {
        Self { ty: TensorType::new(self.ty.elem, shape, layout), data: self.data }
    }
    /// The tensor with axis `i` taken from axis `perm[i]`. `perm` must be a permutation of the axes.
    pub fn transposed(&self, perm: &[usize]) -> Self {
        let from = self.ty.shape.strides();
        let dims: Vec<usize> = perm.iter().map(|&p| self.ty.shape[p]).collect();
        let steps: Vec<usize> = perm.iter().map(|&p| from[p]).collect();
        let data = match &self.data {
            Data::F32(v) => Data::F32(permuted(v, &dims, &steps)),
            Data::I8(v) => Data::I8(permuted(v, &dims, &steps)),
            Data::I16(v) => Data::I16(permuted(v, &dims, &steps)),
            Data::I32(v) => Data::I32(permuted(v, &dims, &steps)),
            Data::I64(v) => Data::I64(permuted(v, &dims, &steps)),
        };
        Self { ty: TensorType::new(self.ty.elem.permuted(perm), dims, self.ty.layout.permuted(perm)), data }
    }
    /// The tensor with every axis of `axes` reversed.
    pub fn flipped(&self, axes: &[usize]) -> Self {
        let dims = self.ty.shape.dims();
        let steps = self.ty.shape.strides();
        let mut at = Vec::with_capacity(self.len());
        for_each_index(dims, |index| {
            at.push(
                (0..dims.len())
                    .map(|a| steps[a] * if axes.contains(&a) { dims[a] - 1 - index[a] } else { index[a] })
                    .sum(),
            )
        });
        Self { ty: self.ty.clone(), data: self.data.gather(&at) }
    }
    /// Why this is no tensor that a graph may hold; nothing when it is one.
    pub fn fault(&self) -> Option<String> {
        if let Some(fault) = self.ty.elem.fault() {
            return Some(fault);
        }
        if self.ty.layout.rank() != self.ty.rank() {
            return Some(format!("layout `{}` beside the shape {}", self.ty.layout, self.ty.shape));
        }
        if let Some(fault) = self.ty.elem.fault_on(&self.ty.shape) {
            return Some(fault);
        }
        if self.ty.shape.checked_len() != Some(self.len()) {
            return Some(format!("{} elements for the shape {}", self.len(), self.ty.shape));
        }
        match &self.data {
            Data::F32(_) if self.ty.elem.is_float() => None,
            Data::F32(_) => Some(format!("floats for the type {}", self.ty.elem)),
            _ if self.ty.elem.is_float() => Some("integer codes for the type f32".to_string()),
            codes => {
                // Tensors are long and are looked at often: only what is outside, or 0, is looked up.
                let (lo, hi) = self.ty.elem.code_range().unwrap_or((0, -1));
                (0..codes.len())
                    .filter_map(|i| codes.code(i).map(|c| (i, c)))
                    .find(|&(_, c)| (c < lo || c > hi || c == 0) && !self.ty.elem.has_code(c))
                    .map(|(i, c)| format!("element {i} is {c}, which {} does not have", self.ty.elem))
            }
        }
    }
}

/// Calls `visit` with every index into `dims`, in row-major order.
pub fn for_each_index(dims: &[usize], mut visit: impl FnMut(&[usize])) {
    if dims.contains(&0) {
        return;
    }
    let mut index = vec![0; dims.len()];
    loop {
        visit(&index);
        let mut axis = dims.len();
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            index[axis] += 1;
            if index[axis] < dims[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::IntType;

    fn iota(shape: &[usize]) -> Tensor {
        let n = shape.iter().product::<usize>();
        Tensor::f32(shape, Layout::anonymous(shape.len()), (0..n).map(|i| i as f32).collect())
    }

    #[test]
    fn transposing_moves_axes() {
        let t = iota(&[2, 3]).transposed(&[1, 0]);
        assert_eq!(t.as_f32(), Some(&[0.0, 3.0, 1.0, 4.0, 2.0, 5.0][..]));
        assert_eq!(t.ty.shape.dims(), [3, 2]);
        assert_eq!(t.transposed(&[1, 0]), iota(&[2, 3]));
    }

    #[test]
    fn flipping_reverses_the_named_axes_only() {
        assert_eq!(iota(&[2, 2]).flipped(&[1]).as_f32(), Some(&[1.0, 0.0, 3.0, 2.0][..]));
        assert_eq!(iota(&[2, 2]).flipped(&[0, 1]).as_f32(), Some(&[3.0, 2.0, 1.0, 0.0][..]));
    }

    #[test]
    fn codes_outside_the_type_are_a_fault() {
        let ty = |e| TensorType::new(e, [2], Layout::anonymous(1));
        assert!(Tensor::codes(ty(ElemType::Bipolar), [1, 0]).fault().is_some());
        assert!(Tensor::codes(ty(ElemType::Int(IntType::unsigned(8))), [255, 0]).fault().is_none());
        assert!(Tensor::codes(ty(ElemType::signed(4)), [8, 0]).fault().is_some());
        assert!(Tensor::codes(ty(ElemType::signed(4)), [1]).fault().is_some());
    }
}
