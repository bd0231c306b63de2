//! Layers that move elements or name them anew: `Flatten`, `View`, `Permute`, `Transpose`, `Pad`, `Identity`,
//! `Dropout`, `Clone`.
//!
//! Shapes and axes are torch's own, the batch being axis 0, which stays where it is.

use unfloat_ir::ops::{Pad as PadOp, PadMode, Transpose as TransposeOp};
use unfloat_ir::{Layout, ValueId};

use super::{Layer, sample_axis};
use crate::pytorch::arch::lower::Cx;
use crate::pytorch::arch::parameters::Parameters;
use crate::pytorch::arch::problem::{Outcome, show};

/// The layout of a tensor of that rank in torch's habit: channels first.
fn habit(rank: usize) -> Layout {
    match rank {
        0 | 2 => Layout::anonymous(rank),
        rank => Layout::channels_first(rank - 1),
    }
}

/// Nothing at all.
struct Identity;

impl Layer for Identity {
    fn is_view(&self) -> bool {
        true
    }
    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        cx.input()
    }
}

/// Reads an `Identity`.
pub(super) fn identity(_: &mut Parameters<'_>) -> Box<dyn Layer> {
    Box::new(Identity)
}

/// Reads a `Dropout` of any kind, which does nothing after training.
pub(super) fn dropout(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    p.ignore(&["p", "inplace"]);
    Box::new(Identity)
}

/// The same elements in memory of their own, which matters to layers that overwrite.
struct Clone;

/// Reads a `Clone`.
pub(super) fn clone(_: &mut Parameters<'_>) -> Box<dyn Layer> {
    Box::new(Clone)
}

impl Layer for Clone {
    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        cx.same_elements(x)
    }
}

/// Several axes as one.
struct Flatten {
    start: i64,
    end: i64,
}

/// Reads a `Flatten`.
pub(super) fn flatten(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    Box::new(Flatten { start: p.int("start_dim").unwrap_or(1), end: p.int("end_dim").unwrap_or(-1) })
}

impl Layer for Flatten {
    fn is_view(&self) -> bool {
        true
    }
    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        let dims = cx.dims(x);
        let start = sample_axis(cx, "start_dim", self.start, dims.len())?;
        let end = sample_axis(cx, "end_dim", self.end, dims.len())?;
        if start > end {
            return Err(cx.error(format!("`start_dim` {} is behind `end_dim` {}", self.start, self.end)));
        }
        if start == end {
            return Ok(x);
        }
        let whole = dims[start..=end].iter().product();
        let shape = [&dims[..start], &[whole], &dims[end + 1..]].concat();
        cx.reshape(x, &shape, habit(shape.len()))
    }
}

/// Another shape: torch's `view` and `reshape`.
struct View {
    shape: Vec<i64>,
}

/// Reads a `View`.
pub(super) fn view(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    let shape = p.ints("shape");
    if shape.is_none() {
        p.fail("`shape` is missing: torch's own, the batch first, `shape = [-1, 8192]`");
    }
    let shape = shape.unwrap_or_default();
    if shape.is_empty() || shape.len() > 8 {
        p.fail("`shape`: expected one to eight numbers, the batch first");
    }
    if shape.first().is_some_and(|&n| n != -1) {
        p.fail_with("`shape` begins with the batch, which is written -1", "a fixed batch is not supported");
    }
    if shape.iter().skip(1).any(|&n| n == 0 || n < -1) {
        p.fail(format!("`shape`: expected extents from 1, and -1 for one that follows, found {shape:?}"));
    }
    Box::new(View { shape })
}

impl Layer for View {
    fn is_view(&self) -> bool {
        true
    }
    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        let dims = cx.dims(x);
        let all: usize = dims.iter().product();
        let wanted = &self.shape[1..];
        let given = wanted
            .iter()
            .filter(|&&n| n > 0)
            .try_fold(1usize, |n, &d| usize::try_from(d).ok().and_then(|d| n.checked_mul(d)));
        let open = wanted.iter().filter(|&&n| n < 0).count();
        let (Some(given), true) = (given, open <= 1) else {
            return Err(
                cx.error(format!("`shape` {:?}: only one extent can follow from the others", self.shape))
            );
        };
        if !all.is_multiple_of(given) || (open == 0 && given != all) {
            let text =
                format!("`shape` {:?} does not hold the {all} elements of {}", self.shape, show(&dims));
            let batch = if all.is_multiple_of(given) && given > 0 {
                "; torch would split a sample over several rows of the batch"
            } else {
                ""
            };
            return Err(cx.error(format!("{text}{batch}")));
        }
        let one = |&n: &i64| usize::try_from(n).unwrap_or(all / given);
        let shape: Vec<usize> = wanted.iter().map(one).collect();
        cx.reshape(x, &shape, habit(shape.len()))
    }
}

/// Another order of the axes.
struct Permute {
    dims: Vec<i64>,
}

/// Reads a `Permute`.
pub(super) fn permute(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    let dims = p.ints("dims");
    if dims.is_none() {
        p.fail("`dims` is missing: `dims = [0, 2, 3, 1]`");
    }
    Box::new(Permute { dims: dims.unwrap_or_default() })
}

/// Moves axes; the result keeps their names only where they are torch's habit again.
fn moved(cx: &mut Cx<'_, '_>, x: ValueId, perm: Vec<usize>) -> Outcome<ValueId> {
    let y = cx.node(TransposeOp { perm }, &[x])?;
    let dims = cx.dims(y);
    cx.reshape(y, &dims, habit(dims.len()))
}

impl Layer for Permute {
    fn is_view(&self) -> bool {
        true
    }
    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        let rank = cx.dims(x).len();
        if self.dims.first() != Some(&0) || self.dims.len() != rank + 1 {
            return Err(
                cx.error(format!("`dims`: expected 0, the batch, then {rank} axes, found {:?}", self.dims))
            );
        }
        let perm =
            self.dims[1..].iter().map(|&d| sample_axis(cx, "dims", d, rank)).collect::<Outcome<Vec<_>>>()?;
        moved(cx, x, perm)
    }
}

/// Two axes exchanged.
struct Transpose {
    dims: [i64; 2],
}

/// Reads a `Transpose`.
pub(super) fn transpose(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    let dims = [p.int("dim0"), p.int("dim1")].map(|d| {
        if d.is_none() {
            p.fail("`dim0` and `dim1` are needed");
        }
        d.unwrap_or(1)
    });
    Box::new(Transpose { dims })
}

impl Layer for Transpose {
    fn is_view(&self) -> bool {
        true
    }
    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        let rank = cx.dims(x).len();
        let a = sample_axis(cx, "dim0", self.dims[0], rank)?;
        let b = sample_axis(cx, "dim1", self.dims[1], rank)?;
        let mut perm: Vec<usize> = (0..rank).collect();
        perm.swap(a, b);
        moved(cx, x, perm)
    }
}

/// Cells of one value at the borders.
struct Pad {
    /// Torch's order: the last axis first, begin and end of each.
    pad: Vec<usize>,
    value: f32,
}

/// Reads a `Pad`, torch's functional one in mode `constant`.
pub(super) fn pad(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    let pad = p.ints("pad").unwrap_or_default();
    if pad.is_empty() || !pad.len().is_multiple_of(2) || pad.iter().any(|&n| n < 0) {
        p.fail("`pad`: expected an even number of sizes, the last axis first: `[left, right, top, bottom]`");
    }
    let pad = pad.iter().filter_map(|&n| usize::try_from(n).ok()).collect();
    Box::new(Pad { pad, value: p.float("value", 0.0) })
}

/// Reads a `ZeroPad2d`.
pub(super) fn zero_pad2d(p: &mut Parameters<'_>) -> Box<dyn Layer> {
    if p.decl.parameters.iter().all(|(name, _)| name != "padding") {
        p.fail("`padding` is missing");
    }
    let pad = p.sizes("padding", 4, 0).unwrap_or(vec![0; 4]);
    Box::new(Pad { pad, value: 0.0 })
}

impl Layer for Pad {
    fn lower(&self, cx: &mut Cx<'_, '_>) -> Outcome<ValueId> {
        let x = cx.input()?;
        let rank = cx.dims(x).len();
        if self.pad.len() / 2 > rank {
            return Err(cx.error(format!("pads {} axes, a sample has {rank}", self.pad.len() / 2)));
        }
        let (mut before, mut after) = (vec![0; rank], vec![0; rank]);
        for (i, sides) in self.pad.chunks_exact(2).enumerate() {
            (before[rank - 1 - i], after[rank - 1 - i]) = (sides[0], sides[1]);
        }
        cx.node(PadOp { before, after, mode: PadMode::Constant(self.value) }, &[x])
    }
}
