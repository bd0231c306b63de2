//! Poolings: `MaxPool`, `AvgPool`, and the adaptive forms to extents that divide the input's.
//!
//! `ceil_mode` becomes padding at the end, by torch's rule: a last window counts only if it begins before the end of
//! the input and its own padding. Cells that `ceil_mode` adds are never counted by `count_include_pad`.

use unfloat_ir::ValueId;
use unfloat_ir::ops::{AvgPool, MaxPool, Pad, PadMode, Reduce, ReduceFn, Window};

use super::Layer;
use crate::pytorch::arch::lower::Cx;
use crate::pytorch::arch::parameters::Parameters;
use crate::pytorch::arch::problem::{Outcome, show};

/// What is taken of a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Max,
    Mean { count_include_pad: bool },
}

/// A pooling over windows.
struct Pool {
    kind: Kind,
    kernel: Vec<usize>,
    stride: Vec<usize>,
    padding: Vec<usize>,
    dilation: Vec<usize>,
    ceil: bool,
}

fn read(p: &mut Parameters<'_>, spatial: usize, max: bool) -> Box<dyn Layer> {
    let kernel = p.sizes("kernel_size", spatial, 1);
    if kernel.is_none() && !p.decl.parameters.iter().any(|(name, _)| name == "kernel_size") {
        p.fail("`kernel_size` is missing");
    }
    let kernel = kernel.unwrap_or(vec![1; spatial]);
    let stride = p.sizes("stride", spatial, 1).unwrap_or(kernel.clone());
    let padding = p.sizes("padding", spatial, 0).unwrap_or(vec![0; spatial]);
    if padding.iter().zip(&kernel).any(|(&p, &k)| p > k / 2) {
        p.fail("torch takes a `padding` of half the kernel at most");
    }
    let mut dilation = vec![1; spatial];
    let kind = if max {
        dilation = p.sizes("dilation", spatial, 1).unwrap_or(dilation);
        p.only_flag("return_indices", false, "unpooling is not supported");
        Kind::Max
    } else {
        Kind::Mean { count_include_pad: p.flag("count_include_pad").unwrap_or(true) }
    };
    Box::new(Pool { kind, kernel, stride, padding, dilation, ceil: p.flag("ceil_mode").unwrap_or(false) })
}

/// Reads a `MaxPool1d`.
pub(super) fn max1d(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    read(p, 1, true)
}

/// Reads a `MaxPool2d`.
pub(super) fn max2d(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    read(p, 2, true)
}

/// Reads an `AvgPool1d`.
pub(super) fn avg1d(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    read(p, 1, false)
}

/// Reads an `AvgPool2d`.
pub(super) fn avg2d(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    read(p, 2, false)
}

impl Pool {
    /// How many cells `ceil_mode` adds at the end of each axis.
    fn added(&self, window: &Window, extents: &[usize]) -> Vec<usize> {
        let one = |(i, &n): (usize, &usize)| {
            let (stride, before) = (self.stride[i], n + self.padding[i]);
            let spare = (before + self.padding[i]).checked_sub(window.extent(i)).filter(|_| self.ceil)?;
            let mut steps = spare.div_ceil(stride);
            if steps * stride >= before {
                steps -= 1;
            }
            Some((steps * stride).saturating_sub(spare))
        };
        extents.iter().enumerate().map(|at| one(at).unwrap_or(0)).collect()
    }
}

impl Layer for Pool {
    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        let x = cx.channels(x, self.kernel.len())?;
        let extents = cx.dims(x)[1..].to_vec();
        let window =
            Window::new(self.kernel.clone()).strides(self.stride.clone()).dilations(self.dilation.clone());
        let added = self.added(&window, &extents);
        let end: Vec<usize> = self.padding.iter().zip(&added).map(|(p, a)| p + a).collect();
        let whole = window.clone().pads(self.padding.clone(), end);
        let grows = added.iter().any(|&a| a > 0);
        let padded = self.padding.iter().any(|&p| p > 0);
        match self.kind {
            Kind::Max => cx.node(MaxPool { window: whole }, &[x]),
            // What `ceil_mode` adds is never counted, the padding is: that makes two steps.
            Kind::Mean { count_include_pad: true } if grows && padded => {
                let pads = [&[0], &self.padding[..]].concat();
                let x =
                    cx.node(Pad { before: pads.clone(), after: pads, mode: PadMode::Constant(0.0) }, &[x])?;
                let window = window.pads(vec![0; added.len()], added);
                cx.node(AvgPool { window, count_include_pad: false }, &[x])
            }
            Kind::Mean { count_include_pad } => {
                cx.node(AvgPool { window: whole, count_include_pad: count_include_pad && padded }, &[x])
            }
        }
    }
}

/// An adaptive pooling.
struct Adaptive {
    kind: Kind,
    spatial: usize,
    /// One extent per axis.
    output: Vec<usize>,
}

fn adaptive(p: &mut Parameters<'_>, spatial: usize, max: bool) -> Box<dyn Layer> {
    let output = p.sizes("output_size", spatial, 1);
    if output.is_none() && !p.decl.parameters.iter().any(|(name, _)| name == "output_size") {
        p.fail("`output_size` is missing");
    }
    if max {
        p.only_flag("return_indices", false, "unpooling is not supported");
    }
    let kind = if max { Kind::Max } else { Kind::Mean { count_include_pad: false } };
    Box::new(Adaptive { kind, spatial, output: output.unwrap_or(vec![1; spatial]) })
}

/// Reads an `AdaptiveAvgPool1d`.
pub(super) fn adaptive_avg1d(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    adaptive(p, 1, false)
}

/// Reads an `AdaptiveAvgPool2d`.
pub(super) fn adaptive_avg2d(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    adaptive(p, 2, false)
}

/// Reads an `AdaptiveMaxPool1d`.
pub(super) fn adaptive_max1d(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    adaptive(p, 1, true)
}

/// Reads an `AdaptiveMaxPool2d`.
pub(super) fn adaptive_max2d(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    adaptive(p, 2, true)
}

impl Layer for Adaptive {
    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        let x = cx.channels(x, self.spatial)?;
        let extents = cx.dims(x)[1..].to_vec();
        if extents == self.output {
            return Ok(x);
        }
        if self.output.iter().all(|&n| n == 1) {
            let f = if self.kind == Kind::Max { ReduceFn::Max } else { ReduceFn::Mean };
            return cx.node(Reduce { f, axes: (1..=self.spatial).collect(), keep: true }, &[x]);
        }
        if extents.iter().zip(&self.output).any(|(e, o)| !e.is_multiple_of(*o)) {
            return Err(cx.error(format!(
                "`output_size` {} does not divide the extents {}: the windows would have several sizes",
                show(&self.output),
                show(&extents)
            )));
        }
        let kernel: Vec<usize> = extents.iter().zip(&self.output).map(|(e, o)| e / o).collect();
        let window = Window::new(kernel.clone()).strides(kernel);
        match self.kind {
            Kind::Max => cx.node(MaxPool { window }, &[x]),
            Kind::Mean { .. } => cx.node(AvgPool { window, count_include_pad: false }, &[x]),
        }
    }
}
