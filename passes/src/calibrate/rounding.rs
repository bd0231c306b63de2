//! Coarse weights, rounded for what layers compute with them.
//!
//! Rounding each weight to the nearest code makes the weights' own error least, not that of the sums. With `e` the error of an
//! output channel's weights and `C` the covariance of what they are multiplied with, the sum's variance is `eᵀ C e`: errors
//! of inputs that go together can cancel. Going from the nearest codes, each weight is moved to its other neighbour where that
//! makes this less, a few times over (the objective is that of Nagel et al., Up or down? Adaptive rounding for post-training
//! quantization, 2020; the search is plain coordinate descent). The mean of the error is the bias' business ([`super::means`]).
//!
//! In: dense layers, and convolutions of one group whose operand is channels-last, of up to [`MOST`] weights per output. Of a
//! convolution up to [`PATCHES`] positions per sample are looked at, evenly spread. Weights of four bits or fewer with evenly
//! spaced codes: for others the nearest code is taken.

use super::weights;
use unfloat_ir::ops::Window;
use unfloat_ir::{Format, Graph, NodeId, Op, ValueId};

/// Most weights of an output channel.
pub const MOST: usize = 1024;
/// Positions per sample.
pub const PATCHES: usize = 16;
/// How much of the covariance between inputs is taken for chance, as there are few samples.
const SHRINK: f64 = 0.2;
/// How often all weights are gone through, at most.
const ROUNDS: usize = 6;

/// Sums over what a layer's weights are multiplied with.
#[derive(Clone, Debug)]
pub struct Moments {
    /// The layer.
    pub node: NodeId,
    /// What it reads.
    pub operand: ValueId,
    /// The operand's shape without channels, its channels, and the window over it; none for dense layers.
    window: Option<(Vec<usize>, Window)>,
    channels: usize,
    sums: Vec<f64>,
    /// Products, the upper triangle row by row in a square.
    products: Vec<f64>,
    count: u64,
    patch: Vec<f32>,
}

impl Moments {
    /// Nothing seen yet; nothing for layers whose weights go to the nearest code.
    pub fn of(graph: &Graph, id: NodeId, format: Format) -> Option<Moments> {
        let node = graph.node(id);
        let operand = node.inputs[0];
        let ty = graph.ty(operand);
        let channels = *ty.shape.last()?;
        let (window, len) = match &node.op {
            Op::Dense(_) => (None, channels),
            Op::Conv(conv) if conv.groups == 1 && ty.layout.is_channels_last() => {
                let space = ty.shape[..ty.rank() - 1].to_vec();
                (Some((space, conv.window.clone())), channels.checked_mul(conv.window.taps())?)
            }
            _ => return None,
        };
        let even = match format {
            Format::Int { int, .. } => int.width <= 4,
            Format::Ternary => true,
            _ => false,
        };
        let constant = graph.const_of(*node.inputs.get(1)?)?.as_f32().is_some();
        let fits = even && constant && ty.elem.is_float() && (1..=MOST).contains(&len);
        let (sums, products, patch) =
            if fits { (vec![0.0; len], vec![0.0; len * len], vec![0.0; len]) } else { return None };
        Some(Moments { node: id, operand, window, channels, sums, products, count: 0, patch })
    }

    /// Takes elements of whole samples in.
    pub fn add(&mut self, values: &[f32]) {
        let Some((space, window)) = self.window.clone() else {
            values.chunks_exact(self.channels).for_each(|row| self.one(row));
            return;
        };
        let Ok(extents) = window.output(&space) else { return };
        let positions: usize = extents.iter().product();
        let len = space.iter().product::<usize>() * self.channels;
        let step = positions.div_ceil(PATCHES).max(1);
        let mut patch = std::mem::take(&mut self.patch);
        for sample in values.chunks_exact(len.max(1)) {
            for at in (step / 2..positions).step_by(step) {
                gather(sample, &space, self.channels, &window, &extents, at, &mut patch);
                self.one(&patch);
            }
        }
        self.patch = patch;
    }

    fn one(&mut self, row: &[f32]) {
        let n = self.sums.len();
        for (i, &a) in row.iter().enumerate().filter(|(_, a)| **a != 0.0) {
            let a = f64::from(a);
            self.sums[i] += a;
            self.products[i * n + i..(i + 1) * n]
                .iter_mut()
                .zip(&row[i..])
                .for_each(|(p, b)| *p += a * f64::from(*b));
        }
        self.count += 1;
    }

    /// The covariance, a full square.
    fn covariance(&self) -> Vec<f64> {
        let (n, count) = (self.sums.len(), self.count.max(1) as f64);
        let mut c = vec![0.0; n * n];
        for i in 0..n {
            for j in i..n {
                let v = self.products[i * n + j] / count - self.sums[i] / count * (self.sums[j] / count);
                let v = if i == j { v.max(0.0) } else { v * (1.0 - SHRINK) };
                c[i * n + j] = v;
                c[j * n + i] = v;
            }
        }
        c
    }

    /// The codes of the layer's weights.
    pub fn codes(&self, floats: &[f32], scales: &[f32], format: Format) -> Vec<i64> {
        let n = self.sums.len();
        let mut codes = weights::codes(floats, scales, format);
        let c = self.covariance();
        let most = match format {
            Format::Int { int, .. } => int.max(),
            _ => 1,
        };
        for (o, (codes, floats)) in codes.chunks_mut(n).zip(floats.chunks(n)).enumerate() {
            let scale = f64::from(scales[if scales.len() == 1 { 0 } else { o }]);
            descend(codes, floats, scale, most, &c);
        }
        codes
    }
}

/// Moves codes of one output channel to their other neighbours while that makes `eᵀ C e` less.
fn descend(codes: &mut [i64], floats: &[f32], scale: f64, most: i64, c: &[f64]) {
    let n = codes.len();
    let mut error: Vec<f64> =
        codes.iter().zip(floats).map(|(q, w)| f64::from(*w) - *q as f64 * scale).collect();
    let mut pull = vec![0.0; n];
    for (i, e) in error.iter().enumerate() {
        pull.iter_mut().zip(&c[i * n..(i + 1) * n]).for_each(|(p, c)| *p += e * c);
    }
    for _ in 0..ROUNDS {
        let mut moved = false;
        for i in 0..n {
            let way = if pull[i] > 0.0 { 1 } else { -1 };
            let (step, code) = (way as f64 * scale, codes[i] + way);
            let gain = 2.0 * step * pull[i] - scale * scale * c[i * n + i];
            if gain <= 0.0 || code.abs() > most || (error[i] - step).abs() >= scale {
                continue;
            }
            codes[i] = code;
            error[i] -= step;
            pull.iter_mut().zip(&c[i * n..(i + 1) * n]).for_each(|(p, c)| *p -= step * c);
            moved = true;
        }
        if !moved {
            return;
        }
    }
}

/// What the weights of an output position are multiplied with: taps in the weight's order, channels last; padding is 0.
fn gather(
    sample: &[f32],
    space: &[usize],
    channels: usize,
    window: &Window,
    extents: &[usize],
    position: usize,
    patch: &mut [f32],
) {
    let rank = space.len();
    let mut corner = vec![0usize; rank];
    let mut rest = position;
    for axis in (0..rank).rev() {
        corner[axis] = rest % extents[axis] * window.strides[axis];
        rest /= extents[axis];
    }
    for (tap, cell) in patch.chunks_exact_mut(channels).enumerate() {
        let (mut rest, mut at, mut stride, mut inside) = (tap, 0, channels, true);
        for axis in (0..rank).rev() {
            let offset = rest % window.kernel[axis] * window.dilations[axis];
            rest /= window.kernel[axis];
            match (corner[axis] + offset).checked_sub(window.pads_begin[axis]) {
                Some(i) if i < space[axis] => at += i * stride,
                _ => inside = false,
            }
            stride *= space[axis];
        }
        match sample.get(at..at + channels).filter(|_| inside) {
            Some(found) => cell.copy_from_slice(found),
            None => cell.fill(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::SplitMix64;
    use unfloat_ir::ops::Conv;
    use unfloat_ir::{Data, Layout, Origin, Tensor, TensorType};

    /// A patch times a weight is the convolution itself, padding, strides and dilations included.
    #[test]
    fn patches_are_what_a_convolution_reads() {
        let mut random = SplitMix64::new(2);
        let window = Window::new([3, 2]).strides([2, 1]).dilations([1, 2]).pads([1, 0], [1, 2]);
        let mut g = Graph::new("g");
        let x = g.add_input("x", TensorType::f32([7, 5, 3], Layout::channels_last(2)));
        let w: Vec<f32> = (0..18).map(|_| random.normal()).collect();
        let w = g.add_const("w", Tensor::f32([1, 3, 2, 3], Layout::weight(2), w));
        let y =
            g.add_node(Conv { window: window.clone(), groups: 1 }, &[x, w], "y", &Origin::default()).unwrap();
        g.add_output("y", y);
        let values: Vec<f32> = (0..105).map(|_| random.normal()).collect();
        let input = Tensor { ty: g.ty(x).clone(), data: Data::F32(values.clone()) };
        let want = unfloat_exec::reference::evaluate(&g, &[input]).unwrap();
        let want = want[0].as_f32().unwrap();
        let extents = window.output(&[7, 5]).unwrap();
        let mut patch = vec![0.0; 18];
        for (at, want) in want.iter().enumerate() {
            gather(&values, &[7, 5], 3, &window, &extents, at, &mut patch);
            let weight = g.const_of(w).unwrap();
            let got: f32 = patch.iter().zip(weight.as_f32().unwrap()).map(|(a, b)| a * b).sum();
            assert!((got - want).abs() < 1e-4, "{at}: {got} {want}");
        }
    }

    /// On inputs that go together, the sums' error is far less than with the nearest codes, on samples not seen before.
    #[test]
    fn errors_of_inputs_that_go_together_cancel() {
        let format = crate::recipe::format::weights("int4").unwrap();
        let mut random = SplitMix64::new(4);
        let n = 40;
        let mut g = Graph::new("g");
        let x = g.add_input("x", TensorType::f32([n], Layout::channels_last(0)));
        let floats: Vec<f32> = (0..n * 3).map(|_| random.normal()).collect();
        let w = g.add_const("w", Tensor::f32([3, n], Layout::weight(0), floats.clone()));
        let y = g.add_node(unfloat_ir::ops::Dense, &[x, w], "y", &Origin::default()).unwrap();
        let (id, _) = g.producer(y).unwrap();
        let mut moments = Moments::of(&g, id, format).unwrap();
        let mut sample = || {
            let common = [random.normal(), random.normal()];
            (0..n).map(|i| common[i % 2] + 0.3 * random.normal()).collect::<Vec<f32>>()
        };
        (0..400).for_each(|_| moments.add(&sample()));
        let scales = weights::scales(&floats, 3, format);
        let noise = |codes: &[i64], samples: &[Vec<f32>]| -> f64 {
            let apart = |i: usize| f64::from(floats[i]) - codes[i] as f64 * f64::from(scales[i / n]);
            let one = |s: &Vec<f32>, o: usize| {
                (0..n).map(|i| apart(o * n + i) * f64::from(s[i])).sum::<f64>().powi(2)
            };
            samples.iter().map(|s| (0..3).map(|o| one(s, o)).sum::<f64>()).sum()
        };
        let fresh: Vec<Vec<f32>> = (0..200).map(|_| sample()).collect();
        let nearest = noise(&weights::codes(&floats, &scales, format), &fresh);
        let own = noise(&moments.codes(&floats, &scales, format), &fresh);
        assert!(own < nearest / 2.0, "{own} where the nearest codes have {nearest}");
        assert!(Moments::of(&g, id, crate::recipe::format::weights("int8").unwrap()).is_none());
    }
}
