//! A tensor as a checkpoint describes it: a window on bytes, with strides.
//!
//! In: what a pickle or a header says. Out: a tensor in row-major order. Refuses: windows that reach beyond the bytes,
//! more axes than graphs have, more elements than the file justifies.

use std::sync::Arc;

use unfloat_ir::tensor::for_each_index;
use unfloat_ir::{Affine, ElemType, Layout, Shape, Tensor, TensorType};

use super::element::{self, Element};
use super::limit::Limit;
use super::pickle::Binary;

/// Where the bytes of a tensor are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Source {
    /// A storage of the file, by its key.
    Storage(String),
    /// In the pickle itself.
    Inline(Binary),
}

/// A window on bytes.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct View {
    pub(crate) source: Source,
    pub(crate) element: Element,
    /// The first element, counted from the source's first.
    pub(crate) offset: usize,
    pub(crate) shape: Vec<usize>,
    /// Steps between neighbours of each axis, in elements.
    pub(crate) strides: Vec<usize>,
    /// Whether the pickle says in which order the bytes of a word are; otherwise the file does.
    pub(crate) big_endian: Option<bool>,
    pub(crate) scale: Option<Scale>,
}

/// The scale of quantized elements.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Scale {
    PerTensor { scale: f64, zero: i64 },
    PerChannel { scales: Box<View>, zeros: Box<View>, axis: usize },
}

impl View {
    /// A window on a whole source in row-major order.
    pub(crate) fn plain(source: Source, element: Element, shape: Vec<usize>) -> Self {
        let strides = Shape::from(shape.as_slice()).strides();
        Self { source, element, offset: 0, shape, strides, big_endian: None, scale: None }
    }
    /// Lets the first axis vary fastest.
    pub(crate) fn set_fortran(&mut self) {
        let reversed: Vec<usize> = self.shape.iter().rev().copied().collect();
        self.strides = Shape::from(reversed).strides();
        self.strides.reverse();
    }
    /// The number of elements, saturating.
    pub(crate) fn count(&self) -> usize {
        Shape::from(self.shape.as_slice()).num_elements()
    }
    /// Reads the elements out of the source's bytes. Says whether a double was rounded.
    pub(crate) fn read(
        &self,
        bytes: &[u8],
        big_endian: bool,
        limit: &mut Limit,
    ) -> Result<(Tensor, bool), String> {
        let count = self.check(bytes.len())?;
        limit.take(count, self.element.word())?;
        let big_endian = self.big_endian.unwrap_or(big_endian);
        let (data, rounded) = element::decode(self.element, bytes, big_endian, self.positions(count))?;
        let layout = Layout::anonymous(self.shape.len());
        Ok((Tensor { ty: TensorType::new(self.element.elem(), self.shape.clone(), layout), data }, rounded))
    }
    /// The number of elements, if all of them lie within `len` bytes.
    fn check(&self, len: usize) -> Result<usize, String> {
        let shape = Shape::from(self.shape.as_slice());
        if shape.rank() > Shape::MAX_RANK {
            return Err(format!("has {} axes; at most {} are supported", shape.rank(), Shape::MAX_RANK));
        }
        if self.strides.len() != shape.rank() {
            return Err(format!("has the shape {shape} and {} strides", self.strides.len()));
        }
        let count = shape.checked_len().ok_or_else(|| format!("has the shape {shape}"))?;
        if count == 0 {
            return Ok(0);
        }
        let steps = self.shape.iter().zip(&self.strides);
        let last = steps.into_iter().try_fold(self.offset, |last, (&extent, &stride)| {
            last.checked_add((extent - 1).checked_mul(stride)?)
        });
        let there = len / self.element.size();
        match last {
            Some(last) if last < there => Ok(count),
            _ => Err(format!(
                "of shape {shape} with the strides {:?} from element {} on reaches beyond its data, which has {there} \
                 elements of {}",
                self.strides,
                self.offset,
                self.element.name()
            )),
        }
    }
    fn positions(&self, count: usize) -> Positions<'_> {
        let shape = Shape::from(self.shape.as_slice());
        // The stride of an axis of one entry is never used.
        let plain = shape.strides();
        let mut axes = self.shape.iter().zip(self.strides.iter().zip(&plain));
        if count == 0 || axes.all(|(&extent, (a, b))| extent == 1 || a == b) {
            return Positions::Run { start: self.offset, len: count };
        }
        Positions::Strided(Steps { start: self.offset, shape: &self.shape, strides: &self.strides, count })
    }
}

/// Which elements of a source a view shows, in row-major order.
pub(crate) enum Positions<'a> {
    Run { start: usize, len: usize },
    Strided(Steps<'a>),
}

impl Positions<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Positions::Run { len, .. } => *len,
            Positions::Strided(steps) => steps.count,
        }
    }
}

/// A walk with strides.
pub(crate) struct Steps<'a> {
    start: usize,
    shape: &'a [usize],
    strides: &'a [usize],
    count: usize,
}

impl Steps<'_> {
    pub(crate) fn walk(&self, mut visit: impl FnMut(usize)) {
        for_each_index(self.shape, |index| {
            visit(self.start + index.iter().zip(self.strides).map(|(i, s)| i * s).sum::<usize>());
        });
    }
}

/// Gives a tensor of codes its scale.
pub(crate) fn quantized(
    codes: Tensor,
    element: Element,
    axis: Option<usize>,
    scale: Vec<f32>,
    zero: Vec<i64>,
) -> Result<Tensor, String> {
    let int = element.int().ok_or("has a scale, but no integers")?;
    let elem = ElemType::Quant(Arc::new(Affine { int, axis, scale, zero }));
    let ty = TensorType::new(elem, codes.ty.shape, codes.ty.layout);
    if let Some(fault) = ty.elem.fault().or_else(|| ty.elem.fault_on(&ty.shape)) {
        return Err(format!("is quantized with {fault}"));
    }
    Ok(Tensor { ty, data: codes.data })
}
