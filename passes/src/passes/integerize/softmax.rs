//! A softmax over integers: a table of exponentials, a sum, a division.
//!
//! In: a value with one scale and one zero point over the last axis, of at most 16 bits (other values on a grid are first
//! brought to 16 bits). Out: codes of 16 bits with the scale `2^-16`. With `d = max(x) − x`, `e = ⌊2^16 · exp(−scale · d)⌉`
//! from a table of at most [`MAX_ENTRIES`] entries (behind its end, `e` is 0) and `y = ⌊(2^16 · e + Σe / 2) / Σe⌋`.
//!
//! Both steps are monotone, so no two classes change places; equal codes say that the two are closer than the bound. A
//! result is off by at most [`bound`]. Left alone: logarithms, other axes, more than 2^16 classes.

use super::Integerizer;
use super::function::Func;
use super::lattice::{Base, Lattice};
use crate::report::Fold;
use unfloat_ir::ops::{Binary, Cast, Lookup, Reduce, ReduceFn, Requantize, Softmax, Unary};
use unfloat_ir::{Diagnostic, ElemType, IntType, Layout, Node, Overflow, Rounding, Tensor, TensorType};

/// Bits of an exponential, and of a result.
const BITS: i32 = 16;
/// The greatest number of entries of the table.
const MAX_ENTRIES: i64 = 1 << 16;

/// How far a result of `classes` classes may be from the softmax of the codes: each exponential is off by half a unit of
/// 2^-16, their sum by as much for each, the quotient by half a unit, and the greatest result is a unit too small.
pub fn bound(classes: usize) -> f64 {
    let unit = (-f64::from(BITS)).exp2();
    unit * (1.5 + 0.5 * (classes as f64 + 1.0))
}

impl Integerizer<'_> {
    pub fn softmax(&mut self, node: &Node, op: &Softmax) -> Result<Option<Lattice>, Diagnostic> {
        let ty = self.graph.ty(node.output).clone();
        let classes = ty.shape.last().copied().unwrap_or(0);
        if op.log || op.axes != [ty.rank().saturating_sub(1)] || !(1..=1 << 16).contains(&classes) {
            return Ok(None);
        }
        let Some((x, scale)) = self.codes_for_table(node)? else { return Ok(None) };
        let (lo, hi) = x.range_of(0);
        let apart = hi - lo;
        // exp(−scale · d) · 2^16 is below one half from here on, and the table ends.
        let end = (f64::from(BITS + 1) * std::f64::consts::LN_2 / scale).ceil();
        let last = if end < apart as f64 { end as i64 } else { apart };
        if last >= MAX_ENTRIES {
            return Ok(None);
        }
        let entries = IntType::covering(0, last.max(1));
        let power = f64::from(BITS).exp2();
        let entry = |d: i64| {
            if d > last { 0 } else { (power * (-scale * d as f64).exp()).round() as i64 }
        };
        let wide = ElemType::Int(IntType::covering(lo.min(-apart - 1), hi.max(apart)));
        let product = ElemType::Int(IntType::signed((2 * BITS + 3 + (classes.ilog2() as i32)) as u8));
        let name = self.name(node, "softmax");
        let make = |op: unfloat_ir::Op, inputs: &[unfloat_ir::ValueId], patch: &mut unfloat_ir::Patch| {
            patch.node(op, inputs, &name, &node.origin)
        };
        let axes = op.axes.clone();
        let reduce = |f| unfloat_ir::Op::from(Reduce { f, axes: axes.clone(), keep: true });
        let cast = |to: &ElemType| unfloat_ir::Op::from(Cast { to: to.clone() });
        let patch = &mut self.patch;
        let codes = make(cast(&wide), &[x.code], patch)?;
        let max = make(reduce(ReduceFn::Max), &[codes], patch)?;
        let below = make(Binary::Sub.into(), &[max, codes], patch)?;
        let clip = Unary::Clip { lo: 0.0, hi: last as f32 };
        let below = make(clip.into(), &[below], patch)?;
        let index = ElemType::Int(entries);
        let below = make(cast(&index), &[below], patch)?;
        let table =
            TensorType::new(ElemType::Int(IntType::unsigned(17)), [1 << entries.width], Layout::anonymous(1));
        // The last entry is that of all that lie farther.
        let far = |d: i64| if end < apart as f64 && d >= last { 0 } else { entry(d) };
        let table = Tensor::codes(table, (0..1i64 << entries.width).map(far));
        let table = patch.constant(&format!("{name}.exp"), table);
        let exp = make(Lookup.into(), &[below, table], patch)?;
        let exp = make(cast(&product), &[exp], patch)?;
        let sum = make(reduce(ReduceFn::Sum), &[exp], patch)?;
        let (one, none, by_one) = (
            self.integers(&format!("{name}.one"), &[1]),
            self.integers(&format!("{name}.none"), &[0]),
            self.integers_of(&format!("{name}.half"), &[1], ElemType::Int(IntType::unsigned(6))),
        );
        let power = self.integers_of(&format!("{name}.power"), &[1 << BITS], product.clone());
        let ElemType::Int(int) = product else { return Ok(None) };
        let half =
            Requantize { to: int, rounding: Rounding::Floor, overflow: Overflow::Saturate, narrow: false };
        let patch = &mut self.patch;
        let half = make(half.into(), &[sum, one, none, by_one], patch)?;
        let scaled = make(Binary::Mul.into(), &[exp, power], patch)?;
        let scaled = make(Binary::Add.into(), &[scaled, half], patch)?;
        let quotient = make(Binary::Div.into(), &[scaled, sum], patch)?;
        let most = (1i64 << BITS) - 1;
        let quotient = make(Unary::Clip { lo: 0.0, hi: most as f32 }.into(), &[quotient], patch)?;
        let code = make(cast(&ElemType::Int(IntType::unsigned(BITS as u8))), &[quotient], patch)?;
        self.folds.push(Fold {
            value: self.graph.value(node.output).name.clone(),
            layer: node.origin.layer.to_string(),
            form: "softmax".to_string(),
            channels: 1,
            points: last as u64 + 1,
            enumerated: true,
            bound: bound(classes),
            differs: None,
        });
        let base = Base::Codes { scale: vec![(-BITS as f32).exp2()], zero: vec![0.0] };
        Ok(Some(Lattice { code, range: vec![(0, most)], base, steps: Vec::new() }))
    }

    /// The operand as codes of at most 16 bits with one scale.
    fn codes_for_table(&mut self, node: &Node) -> Result<Option<(Lattice, f64)>, Diagnostic> {
        if let Some((x, scale, _)) = self.plain(node.inputs[0], node)? {
            let (lo, hi) = x.range_of(0);
            if scale > 0.0 && hi - lo < MAX_ENTRIES {
                return Ok(Some((x, scale)));
            }
        }
        let Some(lattice) = self.lattice(node.inputs[0]).cloned() else { return Ok(None) };
        self.narrowed(&lattice, node)
    }

    /// A value on a grid as codes of 16 bits: the scale is the power of two that just holds it. Nothing where its steps
    /// are not known to be monotone.
    pub fn narrowed(&mut self, lattice: &Lattice, node: &Node) -> Result<Option<(Lattice, f64)>, Diagnostic> {
        let channels = lattice.channels();
        let mut greatest = 0f64;
        for c in 0..channels {
            let (lo, hi) = lattice.range_of(c);
            let mut y = [lo, hi].map(|q| {
                let mut x = super::function::block(
                    channels,
                    (0..channels).map(|_| lattice.base.value(q, c)).collect(),
                );
                for func in lattice.funcs() {
                    x = func.eval(x)?;
                }
                x.as_f32().map(|v| f64::from(v[c]))
            });
            if lattice.trends(&lattice.funcs().collect::<Vec<_>>(), channels).is_none() {
                return Ok(None);
            }
            let (Some(a), Some(b)) = (y[0].take(), y[1].take()) else { return Ok(None) };
            greatest = greatest.max(a.abs()).max(b.abs());
        }
        if !greatest.is_finite() {
            return Ok(None);
        }
        let int = IntType::signed(16);
        let scale =
            (greatest.max(f64::MIN_POSITIVE) / int.max() as f64).log2().ceil().max(-100.0).exp2() as f32;
        let Some(func) = Func::to_codes(int, scale) else { return Ok(None) };
        let Some(code) = self.fold(lattice, &func, &ElemType::Int(int), node)? else { return Ok(None) };
        let base = Base::Codes { scale: vec![scale], zero: vec![0.0] };
        Ok(Some((
            Lattice { code, range: vec![(int.min(), int.max())], base, steps: Vec::new() },
            scale.into(),
        )))
    }
}
