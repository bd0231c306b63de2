//! Means and sums of codes over windows or axes.
//!
//! In: an average pool, or a reduction, of a value with one scale and one zero point. Out: sums of its codes, and what they mean.
//! Where windows hang over the edge and count only the cells inside, each sum is multiplied so that the least common multiple of
//! the counts divides all of them. Left alone: windows whose counts have one beyond [`MOST`].

use super::Integerizer;
use super::lattice::{Base, Lattice, magnitude_bits, significant};
use unfloat_ir::ops::{AvgPool, Binary, Cast, Conv, Reduce, ReduceFn, Window};
use unfloat_ir::tensor::for_each_index;
use unfloat_ir::{Diagnostic, ElemType, IntType, Layout, Node, Op, Shape, Tensor, TensorType, ValueId};

/// The greatest common divisor of the sums of one pool.
const MOST: i64 = 1 << 20;

/// What sums of windows with different numbers of cells are divided by.
struct Divisor {
    /// The least common multiple of the counts.
    least: i64,
    /// What each window's sum is multiplied by, in the order of the cells of the result.
    factors: Vec<i64>,
}

impl Divisor {
    /// That of a window over cells of that shape, channels last.
    fn of(window: &Window, input: &Shape) -> Option<Divisor> {
        let extents = input.dims().split_last()?.1;
        let out = window.output(extents).ok()?;
        let inside = |axis: usize, o: usize| {
            let taps = 0..window.kernel[axis];
            taps.filter(|&k| window.source(axis, o, k, extents[axis]).is_some()).count() as i64
        };
        let counts: Vec<Vec<i64>> =
            out.iter().enumerate().map(|(axis, &n)| (0..n).map(|o| inside(axis, o)).collect()).collect();
        let mut cells = Vec::new();
        for_each_index(&out, |at| cells.push(at.iter().zip(&counts).map(|(&o, c)| c[o]).product::<i64>()));
        let mut least = 1;
        for &n in &cells {
            least = least / gcd(least, n) * n;
            if n == 0 || least > MOST {
                return None;
            }
        }
        Some(Divisor { least, factors: cells.into_iter().map(|n| least / n).collect() })
    }
}

fn is_power(n: i64) -> bool {
    n.unsigned_abs().is_power_of_two()
}

/// Whether every multiple of the scale in that range is a number in double precision.
fn fits(scale: f64, range: (i64, i64)) -> bool {
    significant(scale) + magnitude_bits(range) <= f64::MANTISSA_DIGITS
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Integerizer<'_> {
    /// Means and sums over windows or axes.
    pub fn mean(&mut self, node: &Node) -> Result<Option<Lattice>, Diagnostic> {
        match &node.op {
            Op::AvgPool(pool) => self.average(node, pool),
            Op::Reduce(reduce) => self.reduced(node, reduce),
            _ => Ok(None),
        }
    }

    /// A mean over windows is a depthwise convolution with ones. Windows that hang over the edge and count fewer cells have
    /// their sums multiplied, so that all have one divisor.
    fn average(&mut self, node: &Node, pool: &AvgPool) -> Result<Option<Lattice>, Diagnostic> {
        let Some((mut x, scale, zero)) = self.plain(node.inputs[0], node)? else { return Ok(None) };
        let padded = pool.window.is_padded();
        let divisor = match padded && !pool.count_include_pad {
            true => match Divisor::of(&pool.window, &self.graph.ty(node.inputs[0]).shape) {
                Some(divisor) => divisor,
                None => return Ok(None),
            },
            false => Divisor { least: pool.window.taps() as i64, factors: Vec::new() },
        };
        if padded && zero != 0 {
            x = match self.centred(x, zero, node)? {
                Some(x) => x,
                None => return Ok(None),
            };
        }
        let offset = if padded { 0.0 } else { -scale * zero as f64 };
        let (lo, hi) = x.range_of(0);
        let ends = (lo.checked_mul(divisor.least), hi.checked_mul(divisor.least));
        let (Some(lo), Some(hi)) = ends else { return Ok(None) };
        let mut code = self.sums(node, &pool.window, x.code)?;
        if !divisor.factors.is_empty() {
            code = self.scaled(node, code, x.range_of(0), &pool.window, &divisor)?;
        }
        let range = if padded { (lo.min(0), hi.max(0)) } else { (lo, hi) };
        let base = Base::Sum { scale: vec![scale / divisor.least as f64], bias: vec![offset] };
        let exact = x.products_are_exact(scale, zero) && is_power(divisor.least) && fits(scale, range);
        Ok(Some(Lattice { exact, off: x.off, ..Lattice::new(code, vec![range], base) }))
    }

    /// The sum of each window.
    fn sums(&mut self, node: &Node, window: &Window, code: ValueId) -> Result<ValueId, Diagnostic> {
        let channels = self.graph.ty(node.output).shape.last().copied().unwrap_or(0);
        let op = Conv { window: window.clone(), groups: channels };
        let shape = [&[channels], &window.kernel[..], &[1]].concat();
        let layout = Layout::weight(window.rank());
        let ones = vec![1; channels * window.taps()];
        let ones = Tensor::codes(TensorType::new(ElemType::Bit, shape, layout), ones);
        let ones = self.patch.constant(&self.name(node, "ones"), ones);
        let name = self.name(node, "sums");
        self.patch.node(op, &[code, ones], &name, &node.origin)
    }

    /// The codes less their zero point: a cell of padding is 0 then.
    pub fn centred(&mut self, x: Lattice, zero: i64, node: &Node) -> Result<Option<Lattice>, Diagnostic> {
        if zero == 0 {
            return Ok(Some(x));
        }
        let (lo, hi) = x.range_of(0);
        let (Some(least), Some(most)) = (lo.checked_sub(zero), hi.checked_sub(zero)) else { return Ok(None) };
        let all = [lo, hi, least, most, zero];
        let fold = all.iter().fold((0, 0), |(a, b), &v| (a.min(v), b.max(v)));
        let to = ElemType::Int(IntType::covering(fold.0, fold.1));
        let name = self.name(node, "centred");
        let zero = self.integers_of(&format!("{name}.zero"), &[zero], to.clone());
        let wide = self.patch.node(Cast { to }, &[x.code], &name, &node.origin)?;
        let code = self.patch.node(Binary::Sub, &[wide, zero], &name, &node.origin)?;
        Ok(Some(Lattice { code, range: vec![(least, most)], ..x }))
    }

    /// Each sum of some codes `x` over a window times the factor of its cell.
    fn scaled(
        &mut self,
        node: &Node,
        sums: ValueId,
        x: (i64, i64),
        window: &Window,
        divisor: &Divisor,
    ) -> Result<ValueId, Diagnostic> {
        let taps = window.taps() as i64;
        let (lo, hi) = (x.0.saturating_mul(divisor.least), x.1.saturating_mul(divisor.least));
        let name = self.name(node, "scaled");
        let ty = self.graph.ty(node.output);
        let held = self.patch.ty(sums).elem.code_range().unwrap_or((lo, hi));
        let most = divisor.factors.iter().copied().max().unwrap_or(1);
        // Wide enough for the sum of a whole window times any factor, though no cell has both: a reader need not know that.
        let whole = |v: i64| v.saturating_mul(taps).saturating_mul(most);
        let (lo, hi) = (lo.min(held.0).min(whole(x.0)), hi.max(held.1).max(whole(x.1)).max(most));
        let to = ElemType::Int(IntType::covering(lo, hi));
        let mut shape = ty.shape.dims().to_vec();
        shape.iter_mut().last().into_iter().for_each(|c| *c = 1);
        let factors = TensorType::new(to.clone(), shape, ty.layout);
        let factors = Tensor::codes(factors, divisor.factors.iter().copied());
        let factors = self.patch.constant(&format!("{name}.factors"), factors);
        let wide = self.patch.node(Cast { to }, &[sums], &name, &node.origin)?;
        self.patch.node(Binary::Mul, &[wide, factors], &name, &node.origin)
    }

    fn reduced(&mut self, node: &Node, reduce: &Reduce) -> Result<Option<Lattice>, Diagnostic> {
        let Some((x, scale, zero)) = self.plain(node.inputs[0], node)? else { return Ok(None) };
        let shape = &self.graph.ty(node.inputs[0]).shape;
        let cells: i64 = reduce.axes.iter().map(|&a| shape[a] as i64).product();
        let (lo, hi) = x.range_of(0);
        let ends = (lo.checked_mul(cells), hi.checked_mul(cells));
        let (Some(lo), Some(hi), true) = (ends.0, ends.1, cells > 0) else { return Ok(None) };
        let (factor, offset) = match reduce.f {
            ReduceFn::Mean => (1.0 / cells as f64, -scale * zero as f64),
            ReduceFn::Sum => (1.0, -scale * zero as f64 * cells as f64),
            ReduceFn::Max | ReduceFn::Min if scale > 0.0 => {
                let name = self.name(node, "codes");
                let code = self.int(x.code, &name, node)?;
                let code = self.patch.node(reduce.clone(), &[code], &name, &node.origin)?;
                return Ok(Some(Lattice { code, ..x }));
            }
            _ => return Ok(None),
        };
        let to = ElemType::Int(IntType::covering(lo.min(x.range_of(0).0), hi.max(x.range_of(0).1)));
        let name = self.name(node, "sums");
        let wide = self.patch.node(Cast { to }, &[x.code], &name, &node.origin)?;
        let op = Reduce { f: ReduceFn::Sum, axes: reduce.axes.clone(), keep: reduce.keep };
        let code = self.patch.node(op, &[wide], &name, &node.origin)?;
        let base = Base::Sum { scale: vec![scale * factor], bias: vec![offset] };
        let power = reduce.f == ReduceFn::Sum || is_power(cells);
        let exact = x.products_are_exact(scale, zero) && power && fits(scale, (lo, hi));
        let off = if reduce.f == ReduceFn::Sum { x.off * cells as f64 } else { x.off };
        Ok(Some(Lattice { exact, off, ..Lattice::new(code, vec![(lo, hi)], base) }))
    }
}
