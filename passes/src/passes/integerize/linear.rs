//! Layers over codes: exact sums of products.
//!
//! In: a convolution, transposed convolution, dense layer or matrix product of a value with one scale and one zero point
//! and a quantized constant with a scale per output channel (or a second such value, for a matrix product). Out: the node
//! over the codes, and what its sums mean: `scale · sum + bias`. The zero point `z` of the input is part of the bias, `−scale · z · Σw`; where cells are padded, they are padded with `z`. The source's
//! bias stays a number of the base: it needs no grid. Left alone: weights that are floats, scales per input channel.

use super::Integerizer;
use super::function::constant;
use super::lattice::{Base, Lattice, Step, magnitude_bits, significant};
use super::transposed::turned;
use unfloat_ir::accumulator;
use unfloat_ir::ops::{Cast, Conv, Pad, PadMode, Unary};
use unfloat_ir::tensor::for_each_index;
use unfloat_ir::{Diagnostic, ElemType, Graph, IntType, Node, Op, Tensor, ValueId};

/// A constant as integers, with a scale per output channel.
pub struct Weight {
    /// The integers.
    pub codes: Tensor,
    /// Real number per integer, for each output channel.
    pub scale: Vec<f64>,
}

impl Weight {
    /// The constant behind a dequantization; `axis` is that of the output channels.
    pub fn of(graph: &Graph, value: ValueId, axis: usize) -> Option<Weight> {
        let (_, node) = graph.producer(value)?;
        if !matches!(node.op, Op::Dequantize(_)) {
            return None;
        }
        let [q, scale, zero] = node.inputs[..] else { return None };
        let (q, scale, zero) = (graph.const_of(q)?, graph.const_of(scale)?, graph.const_of(zero)?);
        let dims = q.ty.shape.dims();
        // How far a constant that is broadcast to the codes goes with each of their axes.
        let steps = |t: &Tensor| -> Vec<usize> {
            let (shape, strides) = (t.ty.shape.dims(), t.ty.shape.strides());
            let own = shape.iter().zip(strides).map(|(&n, stride)| if n == 1 { 0 } else { stride });
            std::iter::repeat_n(0, dims.len() - shape.len()).chain(own).collect()
        };
        let (scale_steps, zero_steps) = (steps(scale), steps(zero));
        let at =
            |steps: &[usize], index: &[usize]| index.iter().zip(steps).map(|(i, s)| i * s).sum::<usize>();
        let scales = scale.as_f32()?;
        let zero_at = |i: usize| match zero.as_f32() {
            Some(v) => f64::from(v[i]),
            None => zero.data.code(i).unwrap_or(0) as f64,
        };
        if (0..zero.len()).map(zero_at).any(|z| z.fract() != 0.0 || z.abs() >= 1e9) {
            return None;
        }
        // Visits each element: its output channel, its scale, and its code without the zero point, if that is a number.
        let each = |visit: &mut dyn FnMut(usize, f64, Option<i64>)| {
            let mut i = 0;
            for_each_index(dims, |index| {
                let zero = zero_at(at(&zero_steps, index)) as i64;
                let code = q.data.code(i).and_then(|c| c.checked_sub(zero));
                visit(index[axis], f64::from(scales[at(&scale_steps, index)]), code);
                i += 1;
            });
        };
        // Where scales vary within a channel, as those of powers of two do, the least one is the unit.
        let mut unit = vec![f64::INFINITY; *dims.get(axis)?];
        each(&mut |channel, scale, code| {
            if code != Some(0) {
                unit[channel] = unit[channel].min(scale.abs());
            }
        });
        unit.iter_mut().filter(|u| !u.is_finite()).for_each(|u| *u = 1.0);
        let mut codes = Vec::with_capacity(q.len());
        each(&mut |channel, scale, code| {
            let factor = if code == Some(0) { 0.0 } else { scale / unit[channel] };
            let exact = factor.fract() == 0.0 && factor.abs() <= f64::from(1 << 20);
            codes.extend(code.filter(|_| exact).and_then(|c| c.checked_mul(factor as i64)));
        });
        if codes.len() != q.len() {
            return None;
        }
        let same = codes.iter().enumerate().all(|(i, &c)| q.data.code(i) == Some(c));
        let (lo, hi) = codes.iter().fold((0, 0), |(lo, hi), &c| (lo.min(c), hi.max(c)));
        let elem = if same { q.ty.elem.clone() } else { ElemType::Int(IntType::covering(lo, hi)) };
        Some(Weight { codes: Tensor::codes(q.ty.with_elem(elem), codes), scale: unit })
    }

    /// Whether every weight is the exact product of its code and its scale in single precision.
    fn is_exact(&self, x: &Lattice, scale: f64) -> bool {
        let codes = (0..self.codes.len()).filter_map(|i| self.codes.data.code(i));
        let (lo, hi) = codes.fold((0, 0), |(lo, hi), c| (lo.min(c), hi.max(c)));
        let bits = magnitude_bits((lo, hi));
        let own = self.scale.iter().all(|&s| significant(s) + bits <= f32::MANTISSA_DIGITS);
        // Both products, and their product, as the formula has it.
        let both = self.scale.iter().map(|s| significant(s * scale)).max().unwrap_or(0);
        own && both + bits + magnitude_bits(x.hull()) <= f64::MANTISSA_DIGITS
    }

    /// The greatest sum of magnitudes of an output channel's weights.
    fn reach(&self, axis: usize) -> f64 {
        let mut sums = vec![0.0; self.scale.len()];
        let mut i = 0;
        for_each_index(self.codes.ty.shape.dims(), |index| {
            sums[index[axis]] += self.codes.data.code(i).unwrap_or(0).unsigned_abs() as f64;
            i += 1;
        });
        sums.iter().zip(&self.scale).map(|(s, w)| s * w.abs()).fold(0.0, f64::max)
    }

    /// Whether the sums of each output channel of a layer over codes −1 and 1 are odd: each product has its weight's parity.
    /// Where a convolution is padded, a border may lack any of the taps, so each of them must be even by itself.
    fn parities(&self, op: &Op) -> Vec<Option<bool>> {
        let padded = match op {
            Op::Conv(conv) => conv.window.is_padded(),
            Op::Dense(_) => false,
            _ => return Vec::new(),
        };
        let [outputs, .., inputs] = self.codes.ty.shape.dims() else { return Vec::new() };
        let code = |i: usize| self.codes.data.code(i).unwrap_or(0);
        let row = self.codes.len().checked_div(*outputs).unwrap_or(0);
        let odd = |from: usize, n: usize| (from..from + n).fold(false, |odd, i| odd ^ (code(i) & 1 == 1));
        let channel = |o: usize| match padded {
            false => Some(odd(o * row, row)),
            true => {
                let mut taps = (o * row..(o + 1) * row).step_by((*inputs).max(1));
                taps.all(|from| !odd(from, *inputs)).then_some(false)
            }
        };
        (0..*outputs).map(channel).collect()
    }

    /// The sum of the integers of each output channel, times the zero point.
    fn sums(&self, axis: usize) -> Vec<f64> {
        let mut sums = vec![0.0; self.scale.len()];
        let mut i = 0;
        for_each_index(self.codes.ty.shape.dims(), |index| {
            sums[index[axis]] += self.codes.data.code(i).unwrap_or(0) as f64;
            i += 1;
        });
        sums
    }
}

/// How far the sums of a product of two matrices may be off where the factors are.
fn matrix_off(x: &Lattice, scale: f64, y: &Lattice, other: f64, inner: Option<usize>) -> f64 {
    let greatest = |l: &Lattice, scale: f64| {
        let (lo, hi) = l.hull();
        lo.unsigned_abs().max(hi.unsigned_abs()) as f64 * scale.abs()
    };
    let each = x.off * greatest(y, other) + y.off * greatest(x, scale) + x.off * y.off;
    if each == 0.0 { 0.0 } else { each * inner.unwrap_or(1) as f64 }
}

/// One entry where all are the same.
fn shortest(v: Vec<f64>) -> Vec<f64> {
    if v.windows(2).all(|w| w[0] == w[1]) { v.into_iter().take(1).collect() } else { v }
}

impl Integerizer<'_> {
    /// A value that is codes with one scale and one zero point, and nothing else; moves that were put off are made.
    pub fn plain(&mut self, value: ValueId, node: &Node) -> Result<Option<(Lattice, f64, i64)>, Diagnostic> {
        let Some(lattice) = self.lattice(value).cloned() else { return Ok(None) };
        self.plain_of(lattice, node)
    }

    /// The same of a lattice.
    pub fn plain_of(
        &mut self,
        mut lattice: Lattice,
        node: &Node,
    ) -> Result<Option<(Lattice, f64, i64)>, Diagnostic> {
        let Some((scale, zero)) = lattice.base.plain().filter(|_| lattice.is_narrow()) else {
            return Ok(None);
        };
        // A ReLU of codes whose 0 is 0 is a ReLU of the codes.
        let fits = |s: &Step| match s {
            Step::Move(op) => scale > 0.0 || !matches!(op, Op::MaxPool(_)),
            Step::Func(f) => f.is_relu() && scale > 0.0 && zero == 0,
        };
        if !lattice.steps.iter().all(fits) {
            return Ok(None);
        }
        // Ranges per channel do not say which element of another order they are of.
        lattice.range = vec![lattice.hull()];
        lattice.odd.clear();
        for step in std::mem::take(&mut lattice.steps) {
            let name = self.name(node, "codes");
            lattice.code = match step {
                Step::Move(op) => self.patch.node(op, &[lattice.code], &name, &node.origin)?,
                Step::Func(_) => {
                    lattice.range.iter_mut().for_each(|r| *r = (r.0.max(0), r.1.max(0)));
                    let code = self.int(lattice.code, &name, node)?;
                    self.patch.node(Unary::Relu, &[code], &name, &node.origin)?
                }
            };
        }
        Ok(Some((lattice, scale, zero)))
    }

    pub fn linear(&mut self, node: &Node) -> Result<Option<Lattice>, Diagnostic> {
        let Some((x, scale, zero)) = self.plain(node.inputs[0], node)? else { return Ok(None) };
        let matmul = matches!(node.op, Op::MatMul(_));
        if matmul && self.lattice(node.inputs[1]).is_some() {
            return self.product(node, x, scale, zero);
        }
        let ty = self.graph.ty(node.inputs[1]);
        let axis = if matmul { ty.rank().saturating_sub(1) } else { 0 };
        let Some(mut weight) = Weight::of(self.graph, node.inputs[1], axis) else { return Ok(None) };
        // Each matrix of several has sums of its own.
        if matmul && zero != 0 && ty.shape.dims().iter().rev().skip(2).any(|&n| n != 1) {
            return Ok(None);
        }
        let bias = match node.inputs.get(2) {
            None => None,
            Some(&v) => match constant(self.graph, v).as_ref().and_then(Tensor::as_f32) {
                Some(v) => Some(v.to_vec()),
                None => return Ok(None),
            },
        };
        let mut op = node.op.clone();
        let (mut code, mut codes) = (x.code, [x.range_of(0)]);
        if let Op::ConvTranspose(transposed) = &node.op {
            let Some((spread, conv)) = self.spread(node, transposed, code, zero)? else { return Ok(None) };
            (code, op) = (spread, conv.into());
            weight.codes = turned(&weight.codes);
            codes = [(codes[0].0.min(zero), codes[0].1.max(zero))];
        }
        if let Op::Conv(conv) = &mut op
            && conv.window.is_padded()
        {
            codes = [(codes[0].0.min(zero), codes[0].1.max(zero))];
            code = match self.padded(node, conv, code, zero)? {
                Some(code) => code,
                None => return Ok(None),
            };
        }
        let held = accumulator::range(&op, self.patch.ty(code), &codes, &weight.codes, None);
        let name = self.name(node, "weight");
        let scales: Vec<f64> = weight.scale.iter().map(|w| scale * w).collect();
        let sums = weight.sums(axis);
        let offset = |c: usize| {
            let own = bias.as_ref().map_or(0.0, |b| f64::from(b[c]));
            own - scales[c] * zero as f64 * sums[c]
        };
        let odd = match self.patch.ty(code).elem {
            ElemType::Bipolar => weight.parities(&op),
            _ => Vec::new(),
        };
        let exact = x.products_are_exact(scale, zero) && weight.is_exact(&x, scale);
        let off = x.off * weight.reach(axis);
        let bias = shortest((0..scales.len()).map(offset).collect());
        let weight = self.patch.constant(&name, weight.codes);
        let sums = self.name(node, "sums");
        let code = self.patch.node(op, &[code, weight], &sums, &node.origin)?;
        let range = match held {
            Ok(range) => range
                .channels
                .iter()
                .map(|&(lo, hi)| Some((lo.try_into().ok()?, hi.try_into().ok()?)))
                .collect(),
            Err(_) => self.patch.ty(code).elem.code_range().map(|r| vec![r]),
        };
        let base = Base::Sum { scale: shortest(scales), bias };
        let exact = |range: &Vec<(i64, i64)>| {
            // What a double holds of the sum and of the bias beside it.
            let bits = range.iter().map(|&r| magnitude_bits(r)).max().unwrap_or(0);
            let scales = (0..base.channels()).map(|c| base.line(c).0);
            exact && scales.map(significant).max().unwrap_or(0) + bits <= f64::MANTISSA_DIGITS
        };
        Ok(range.map(|range| Lattice {
            exact: exact(&range),
            off,
            odd,
            ..Lattice::new(code, range, base.clone())
        }))
    }

    /// The input with cells of the zero point around it, and the convolution without padding; nothing where that is no
    /// number of a padding.
    fn padded(
        &mut self,
        node: &Node,
        conv: &mut Conv,
        code: ValueId,
        zero: i64,
    ) -> Result<Option<ValueId>, Diagnostic> {
        if zero == 0 {
            return Ok(Some(code));
        }
        let Some(code) = self.with_code(node, code, zero)? else { return Ok(None) };
        let name = self.name(node, "padded");
        // Channels are last: the spatial axes come first.
        let ends = |v: &[usize]| [v, &[0]].concat();
        let op = Pad {
            before: ends(&conv.window.pads_begin),
            after: ends(&conv.window.pads_end),
            mode: PadMode::Constant(zero as f32),
        };
        let none = vec![0; conv.window.rank()];
        (conv.window.pads_begin, conv.window.pads_end) = (none.clone(), none);
        self.patch.node(op, &[code], &name, &node.origin).map(Some)
    }

    /// The product of two matrices of codes.
    fn product(
        &mut self,
        node: &Node,
        x: Lattice,
        scale: f64,
        zero: i64,
    ) -> Result<Option<Lattice>, Diagnostic> {
        let Some((y, other, own)) = self.plain(node.inputs[1], node)? else { return Ok(None) };
        let (Some(x), Some(y)) = (self.centred(x, zero, node)?, self.centred(y, own, node)?) else {
            return Ok(None);
        };
        let name = self.name(node, "sums");
        let code = self.patch.node(node.op.clone(), &[x.code, y.code], &name, &node.origin)?;
        let range = self.patch.ty(code).elem.code_range();
        let base = Base::Sum { scale: vec![scale * other], bias: vec![0.0] };
        let products = x.products_are_exact(scale, 0) && y.products_are_exact(other, 0);
        let off = matrix_off(&x, scale, &y, other, self.graph.ty(node.inputs[0]).shape.last().copied());
        let lattice = |r| {
            let exact = products && significant(scale * other) + magnitude_bits(r) <= f64::MANTISSA_DIGITS;
            Lattice { exact, off, ..Lattice::new(code, vec![r], base) }
        };
        Ok(range.map(lattice))
    }

    /// A code as an `Int`, for ops that take no other integers.
    pub fn int(&mut self, code: ValueId, name: &str, node: &Node) -> Result<ValueId, Diagnostic> {
        let elem = self.patch.ty(code).elem.clone();
        if matches!(elem, ElemType::Int(_)) {
            return Ok(code);
        }
        let (lo, hi) = elem.code_range().unwrap_or((0, 0));
        let to = ElemType::Int(IntType::covering(lo, hi));
        self.patch.node(Cast { to }, &[code], name, &node.origin)
    }
}
