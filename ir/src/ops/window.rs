//! The sliding window that convolutions and poolings share.

use super::OpError;
use crate::attrs::{AttrReader, AttrWriter};
use crate::types::TensorType;
use crate::verify::MAX_ELEMENTS;

/// Kernel extents, strides, dilations and padding along each spatial axis.
///
/// Padding is always explicit: a source's `same` is turned into numbers by its own framework's rule when the
/// model is read, so no later step can take it for another framework's.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Window {
    /// Extent of the kernel, in taps, at least 1.
    pub kernel: Vec<usize>,
    /// Step between neighbouring outputs, at least 1.
    pub strides: Vec<usize>,
    /// Distance between neighbouring taps, at least 1.
    pub dilations: Vec<usize>,
    /// Cells added before the first.
    pub pads_begin: Vec<usize>,
    /// Cells added after the last.
    pub pads_end: Vec<usize>,
}

impl Window {
    /// A window of the given extents with unit strides and dilations and no padding.
    pub fn new(kernel: impl Into<Vec<usize>>) -> Self {
        let kernel = kernel.into();
        let n = kernel.len();
        Self {
            kernel,
            strides: vec![1; n],
            dilations: vec![1; n],
            pads_begin: vec![0; n],
            pads_end: vec![0; n],
        }
    }
    /// The same window with other strides.
    pub fn strides(mut self, strides: impl Into<Vec<usize>>) -> Self {
        self.strides = strides.into();
        self
    }
    /// The same window with other dilations.
    pub fn dilations(mut self, dilations: impl Into<Vec<usize>>) -> Self {
        self.dilations = dilations.into();
        self
    }
    /// The same window with other padding.
    pub fn pads(mut self, begin: impl Into<Vec<usize>>, end: impl Into<Vec<usize>>) -> Self {
        self.pads_begin = begin.into();
        self.pads_end = end.into();
        self
    }
    /// The number of spatial axes.
    pub fn rank(&self) -> usize {
        self.kernel.len()
    }
    /// The number of taps.
    pub fn taps(&self) -> usize {
        self.kernel.iter().product()
    }
    /// Whether any cell is added.
    pub fn is_padded(&self) -> bool {
        self.pads_begin.iter().chain(&self.pads_end).any(|&p| p > 0)
    }
    /// The extent that the taps span along axis `i`: `(kernel − 1) · dilation + 1`.
    pub fn extent(&self, i: usize) -> usize {
        (self.kernel[i].saturating_sub(1)).saturating_mul(self.dilations[i]).saturating_add(1)
    }

    /// Writes the attributes.
    pub fn attrs(&self, to: &mut AttrWriter) {
        to.sizes("kernel", &self.kernel).sizes("strides", &self.strides);
        if self.dilations.iter().any(|&d| d != 1) {
            to.sizes("dilations", &self.dilations);
        }
        if self.is_padded() {
            to.sizes("pads_begin", &self.pads_begin).sizes("pads_end", &self.pads_end);
        }
    }
    /// Reads the attributes.
    pub fn parse(from: &mut AttrReader) -> Result<Self, String> {
        let kernel = from.sizes("kernel")?;
        let n = kernel.len();
        let or = |from: &mut AttrReader, name: &str, default: usize| {
            if from.has(name) { from.sizes(name) } else { Ok(vec![default; n]) }
        };
        Ok(Self {
            strides: from.sizes("strides")?,
            dilations: or(from, "dilations", 1)?,
            pads_begin: or(from, "pads_begin", 0)?,
            pads_end: or(from, "pads_end", 0)?,
            kernel,
        })
    }

    /// Checks the window itself and that `input` has a channel axis and one spatial axis per window axis;
    /// returns the positions of the spatial axes.
    pub fn check(&self, input: &TensorType) -> Result<Vec<usize>, OpError> {
        let n = self.rank();
        let same = [&self.strides, &self.dilations, &self.pads_begin, &self.pads_end];
        if same.iter().any(|v| v.len() != n) {
            return Err(format!(
                "kernel {:?} and its strides, dilations and pads differ in rank",
                self.kernel
            )
            .into());
        }
        if self.kernel.iter().chain(&self.strides).chain(&self.dilations).any(|&v| v == 0) {
            return Err("kernel, strides and dilations must be at least 1".into());
        }
        let pads = self.pads_begin.iter().chain(&self.pads_end);
        let mut sizes = self.kernel.iter().chain(&self.strides).chain(&self.dilations).chain(pads);
        let taps = self.kernel.iter().try_fold(1usize, |n, &k| n.checked_mul(k));
        if sizes.any(|&v| v > MAX_ELEMENTS) || taps.is_none_or(|n| n > MAX_ELEMENTS) {
            return Err(format!("the window {self:?} is larger than any value can be").into());
        }
        let spatial = input
            .layout
            .spatial()
            .ok_or_else(|| format!("expected an input with a channel axis `c`, found {input}"))?;
        if spatial.len() != n {
            return Err(format!("expected {n} spatial axes beside `c`, found {input}").into());
        }
        Ok(spatial)
    }

    /// The spatial extents of the result over an input of the given extents:
    /// `⌊(n + pads − extent) / stride⌋ + 1`.
    pub fn output(&self, input: &[usize]) -> Result<Vec<usize>, OpError> {
        (0..self.rank())
            .map(|i| {
                let room = input[i].saturating_add(self.pads_begin[i]).saturating_add(self.pads_end[i]);
                let extent = self.extent(i);
                if extent > room {
                    return Err(format!(
                        "the window spans {extent} cells, but spatial axis {i} has only {room}, padding included"
                    )
                    .into());
                }
                Ok((room - extent) / self.strides[i] + 1)
            })
            .collect()
    }

    /// The input coordinate that output `out` reads with tap `tap` on axis `i`; nothing in the padding.
    pub fn source(&self, i: usize, out: usize, tap: usize, extent: usize) -> Option<usize> {
        let at = (out * self.strides[i] + tap * self.dilations[i]).checked_sub(self.pads_begin[i])?;
        (at < extent).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Layout;

    #[test]
    fn sizes_whose_products_would_overflow_are_refused() {
        let x = TensorType::f32([4, 4, 1], Layout::channels_last(2));
        let huge = 1 << 40;
        assert!(Window::new([2, 2]).check(&x).is_ok());
        assert!(Window::new([huge, huge]).pads([huge - 1; 2], [huge - 1; 2]).check(&x).is_err());
        assert!(Window::new([1 << 20, 1 << 20]).check(&x).is_err(), "too many taps");
        assert!(Window::new([2, 2]).strides([huge, 1]).check(&x).is_err());
        assert!(Window::new([2, 2]).dilations([1, huge]).check(&x).is_err());
        assert!(Window::new([2, 2]).pads([0, 0], [usize::MAX, 0]).check(&x).is_err());
    }
}
