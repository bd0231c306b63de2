//! Windows: kernel extents, strides, dilations, and padding turned into numbers.
//!
//! In: a padding rule and extents. Out: cells before and after. `same` means different cells to TensorFlow and to
//! Theano, and among Theano's layers to convolution and to pooling.

use unfloat_ir::ops::{Pad, PadMode, Window};
use unfloat_ir::{Layout, ValueId};

use crate::keras::config::reader::Config;
use crate::keras::facts::Facts;
use crate::keras::lower::Cx;
use crate::keras::problem::{Outcome, show_shape};
use crate::keras::version::Backend;

/// Which padding a layer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Padding {
    /// None.
    Valid,
    /// As many outputs as `⌈n / stride⌉`.
    Same,
    /// All before the first cell, so that no output sees later ones.
    Causal,
}

/// Who computes `same`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SameRule {
    /// The cells that are needed, the odd one at the end.
    TensorFlow,
    /// Half the kernel before; as many after as the outputs need.
    TheanoConv,
    /// One less than the kernel before, two less where its extent is odd and above 2.
    TheanoPool,
}

impl SameRule {
    /// The rule for convolutions.
    pub fn conv(backend: Backend) -> SameRule {
        if backend == Backend::Theano { SameRule::TheanoConv } else { SameRule::TensorFlow }
    }
    /// The rule for poolings.
    pub fn pool(backend: Backend) -> SameRule {
        if backend == Backend::Theano { SameRule::TheanoPool } else { SameRule::TensorFlow }
    }
}

/// Cells before and after an axis of `n` cells under a kernel of `k` taps, stride `s`, dilation `d`.
pub(crate) fn pads(
    padding: Padding,
    rule: SameRule,
    n: usize,
    k: usize,
    s: usize,
    d: usize,
) -> (usize, usize) {
    let extent = k.saturating_sub(1).saturating_mul(d).saturating_add(1);
    match padding {
        Padding::Valid => (0, 0),
        Padding::Causal => (extent - 1, 0),
        Padding::Same => {
            let outputs = n.div_ceil(s.max(1));
            let reach = outputs.saturating_sub(1).saturating_mul(s).saturating_add(extent);
            let before = match rule {
                SameRule::TensorFlow => reach.saturating_sub(n) / 2,
                SameRule::TheanoConv => extent / 2,
                SameRule::TheanoPool if k > 2 && k % 2 == 1 => k - 2,
                SameRule::TheanoPool => k.saturating_sub(1),
            };
            (before, reach.saturating_sub(n).saturating_sub(before))
        }
    }
}

/// Geometry of a layer with windows.
#[derive(Clone, Debug)]
pub(crate) struct Geometry {
    /// Number of spatial axes.
    pub rank: usize,
    /// Extents of the kernel.
    pub kernel: Vec<usize>,
    /// Steps.
    pub strides: Vec<usize>,
    /// Distances between taps.
    pub dilations: Vec<usize>,
    /// Which padding.
    pub padding: Padding,
    /// Who computes `same`.
    pub rule: SameRule,
    /// Whether channels come first.
    pub channels_first: bool,
}

/// Reads `data_format`; without one, the layer follows the rest of the model in Keras 1, and has channels last elsewhere.
/// Layers along one axis have channels last in Keras 1, which gives them no choice.
pub(crate) fn channels_first(config: &Config<'_>, facts: &Facts, rank: usize) -> Outcome<bool> {
    let default = if facts.channels_first && rank > 1 { "channels_first" } else { "channels_last" };
    let format = config.choice("data_format", default, &["channels_last", "channels_first"])?;
    Ok(format == "channels_first")
}

/// Reads `padding`.
pub(crate) fn padding(config: &Config<'_>, allowed: &[&'static str]) -> Outcome<Padding> {
    Ok(match config.choice("padding", "valid", allowed)? {
        "same" => Padding::Same,
        "causal" => Padding::Causal,
        _ => Padding::Valid,
    })
}

impl Geometry {
    /// The value with the layout of this layer, and its spatial extents.
    pub fn input(&self, cx: &mut Cx<'_, '_>, x: ValueId) -> Outcome<(ValueId, Vec<usize>)> {
        let x = image(cx, x, self.rank, self.channels_first)?;
        let dims = cx.dims(x);
        let space = if self.channels_first { dims.get(1..) } else { dims.get(..self.rank) };
        Ok((x, space.unwrap_or_default().to_vec()))
    }

    /// The input and the window over it, when padded cells hold `pad`: where that is not 0, `same` pads before.
    pub fn padded_window(
        &self,
        cx: &mut Cx<'_, '_>,
        x: ValueId,
        space: &[usize],
        pad: f32,
    ) -> Outcome<(ValueId, Window)> {
        let window = self.window(space);
        if pad == 0.0 || self.padding != Padding::Same {
            return Ok((x, window));
        }
        let around = |cells: &[usize]| -> Vec<usize> {
            let (before, after) = if self.channels_first { (Some(0), None) } else { (None, Some(0)) };
            before.into_iter().chain(cells.iter().copied()).chain(after).collect()
        };
        let (before, after) = (around(&window.pads_begin), around(&window.pads_end));
        let x = cx.node(Pad { before, after, mode: PadMode::Constant(pad) }, &[x])?;
        let none = vec![0; self.rank];
        Ok((x, window.pads(none.clone(), none)))
    }

    /// The window over an input of the given spatial extents.
    pub fn window(&self, space: &[usize]) -> Window {
        let axes = space.iter().zip(&self.kernel).zip(&self.strides).zip(&self.dilations);
        let (before, after): (Vec<usize>, Vec<usize>) =
            axes.map(|(((n, k), s), d)| pads(self.padding, self.rule, *n, *k, *s, *d)).unzip();
        Window::new(self.kernel.clone())
            .strides(self.strides.clone())
            .dilations(self.dilations.clone())
            .pads(before, after)
    }
}

/// Checks that a value has `rank` spatial axes and channels, and gives it the layout that the layer reads.
pub(crate) fn image(cx: &mut Cx<'_, '_>, x: ValueId, rank: usize, channels_first: bool) -> Outcome<ValueId> {
    let dims = cx.dims(x);
    if dims.len() != rank + 1 {
        let axes = ["", "time", "height, width", "depth, height, width"].get(rank).unwrap_or(&"space");
        let wanted =
            if channels_first { format!("(channels, {axes})") } else { format!("({axes}, channels)") };
        return Err(cx.error(format!("expected an input {wanted}, found the shape {}", show_shape(&dims))));
    }
    let layout = if channels_first { Layout::channels_first(rank) } else { Layout::channels_last(rank) };
    cx.with_layout(x, layout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_pads_by_the_rule_of_its_framework() {
        let tf = |n, k, s, d| pads(Padding::Same, SameRule::TensorFlow, n, k, s, d);
        assert_eq!(tf(12, 3, 2, 1), (0, 1));
        assert_eq!(tf(13, 3, 2, 1), (1, 1));
        assert_eq!(tf(8, 4, 1, 1), (1, 2));
        assert_eq!(tf(8, 1, 3, 1), (0, 0));
        assert_eq!(tf(8, 3, 1, 2), (2, 2));
        let theano = |n, k, s| pads(Padding::Same, SameRule::TheanoConv, n, k, s, 1);
        assert_eq!(theano(12, 3, 2), (1, 0));
        assert_eq!(theano(8, 4, 1), (2, 1));
        let pool = |n, k, s| pads(Padding::Same, SameRule::TheanoPool, n, k, s, 1);
        assert_eq!(pool(5, 2, 2), (1, 0));
        assert_eq!(pool(7, 3, 2), (1, 1));
        assert_eq!(pool(9, 5, 1), (3, 1));
        assert_eq!(pads(Padding::Causal, SameRule::TensorFlow, 9, 3, 1, 2), (4, 0));
    }
}
