//! The inputs on which claims are measured: few, the same on every machine, and of every kind.

use std::collections::BTreeMap;
use unfloat_ir::{Data, ElemType, Graph, Node, Op, Tensor, ValueId};

/// Steele, Lea and Flood's SplitMix64 (2014): 64 bits per step, every seed is good.
#[derive(Clone, Debug)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// A generator.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }
    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// Uniform in `0..1`, a multiple of 2^-24.
    pub fn uniform(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1u32 << 24) as f32
    }
    /// Uniform in `0..n`; 0 when `n` is.
    pub fn below(&mut self, n: u64) -> u64 {
        // The high half of the product; the bias of 2^-64·n does not matter here.
        ((u128::from(self.next_u64()) * u128::from(n)) >> 64) as u64
    }
    /// Mean 0, variance 1, in `-3.5..3.5`: the sum of four uniforms, which needs no function whose last bit
    /// differs between machines.
    pub fn normal(&mut self) -> f32 {
        let bits = self.next_u64();
        let sum: u64 = (0..4).map(|i| bits >> (16 * i) & 0xffff).sum();
        // Four uniforms of 0..1 have the mean 2 and the variance 1/3.
        (sum as f32 / 65536.0 - 2.0) * 1.732_050_8
    }
}

/// Sample `n` of a graph: one tensor per input. Kinds take turns: normal numbers, pixels of `0..256`, numbers of
/// large and of hardly any magnitude with exact zeros and ones between, and numbers of `0..1`. Codes are any that the
/// type has; those that are indices are cells that exist.
pub fn sample(graph: &Graph, seed: u64, n: usize) -> Vec<Tensor> {
    let limits = limits(graph);
    let tensor = |i: usize, v: ValueId| {
        let ty = graph.ty(v);
        let limit = limits.get(&v).copied();
        let mut random =
            SplitMix64::new(seed ^ ((n as u64) << 32 | i as u64).wrapping_mul(0x2545_f491_4f6c_dd1d));
        let len = ty.shape.num_elements();
        let data = match &ty.elem {
            ElemType::F32 => Data::F32((0..len).map(|_| element(&mut random, n)).collect()),
            elem => {
                Data::from_codes(elem, (0..len).map(|_| code(&mut random, elem, limit)).collect::<Vec<_>>())
            }
        };
        Tensor { ty: ty.clone(), data }
    };
    graph.inputs().iter().enumerate().map(|(i, &v)| tensor(i, v)).collect()
}

/// How many cells the values choose among that are indices, directly or through ops that only move or cast them.
fn limits(graph: &Graph) -> BTreeMap<ValueId, usize> {
    let mut limits = BTreeMap::new();
    let nodes: Vec<&Node> = graph.live_nodes().map(|(_, n)| n).collect();
    for node in nodes.into_iter().rev() {
        let limit = match &node.op {
            Op::Gather(g) => Some((node.inputs[1], graph.ty(node.inputs[0]).shape[g.axis])),
            Op::Cast(_)
            | Op::Reshape(_)
            | Op::Transpose(_)
            | Op::Slice(_)
            | Op::Expand(_)
            | Op::Reverse(_) => limits.get(&node.output).map(|&n| (node.inputs[0], n)),
            _ => None,
        };
        if let Some((value, n)) = limit {
            let least = limits.entry(value).or_insert(n);
            *least = n.min(*least);
        }
    }
    limits
}

fn element(random: &mut SplitMix64, kind: usize) -> f32 {
    const SPECIAL: [f32; 8] = [0.0, 1.0, -1.0, 255.0, -128.0, 1e-6, -40.0, 0.5];
    match kind % 4 {
        0 => random.normal(),
        1 => random.below(256) as f32,
        2 => SPECIAL[random.below(8) as usize],
        _ => random.uniform(),
    }
}

fn code(random: &mut SplitMix64, elem: &ElemType, limit: Option<usize>) -> i64 {
    if *elem == ElemType::Bipolar {
        return if random.below(2) == 0 { -1 } else { 1 };
    }
    let (mut lo, mut hi) = elem.code_range().unwrap_or((0, 0));
    if let Some(cells) = limit.and_then(|n| i64::try_from(n).ok()) {
        (lo, hi) = (lo.max(-cells), hi.min(cells - 1));
    }
    let count = u64::try_from(i128::from(hi) - i128::from(lo) + 1).unwrap_or(u64::MAX);
    lo.wrapping_add_unsigned(random.below(count))
}

/// The same numbers, each moved by one unit in the last place, up or down by chance.
pub fn nudged(tensor: &Tensor, seed: u64) -> Tensor {
    let mut random = SplitMix64::new(seed);
    match &tensor.data {
        Data::F32(v) => {
            let step = |&x: &f32| {
                let up = random.next_u64() & 1 == 0;
                if x == 0.0 || !x.is_finite() {
                    x
                } else if up {
                    f32::from_bits(x.to_bits() + 1)
                } else {
                    f32::from_bits(x.to_bits() - 1)
                }
            };
            Tensor { ty: tensor.ty.clone(), data: Data::F32(v.iter().map(step).collect()) }
        }
        _ => tensor.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unfloat_ir::ops::{Cast, Gather};
    use unfloat_ir::{IntType, Layout, Origin, TensorType};

    #[test]
    fn the_generator_is_the_published_one() {
        let mut random = SplitMix64::new(1234567);
        assert_eq!(random.next_u64(), 6457827717110365317);
        assert_eq!(random.next_u64(), 3203168211198807973);
    }

    #[test]
    fn normal_numbers_are_normal() {
        let mut random = SplitMix64::new(7);
        let v: Vec<f64> = (0..20000).map(|_| random.normal().into()).collect();
        let mean = v.iter().sum::<f64>() / 2e4;
        let variance = v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 2e4;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
    }

    #[test]
    fn indices_are_cells_that_exist() {
        let mut g = Graph::new("g");
        let o = Origin::default();
        let x = g.add_input("x", TensorType::f32([3, 4], Layout::channels_last(1)));
        let i = g.add_input("i", TensorType::new(ElemType::signed(64), [50], Layout::channels_last(0)));
        let c = g.add_node(Cast { to: ElemType::signed(32) }, &[i], "c", &o).unwrap();
        let y = g.add_node(Gather { axis: 1 }, &[x, c], "y", &o).unwrap();
        g.add_output("y", y);
        let s = sample(&g, 1, 0);
        let codes: Vec<i64> = (0..50).filter_map(|k| s[1].data.code(k)).collect();
        assert!(codes.iter().all(|c| (-4..4).contains(c)), "{codes:?}");
        assert!(codes.contains(&-4) && codes.contains(&3), "{codes:?}");
    }

    #[test]
    fn samples_fit_their_inputs_and_repeat() {
        let mut g = Graph::new("g");
        g.add_input("x", TensorType::f32([3, 4], Layout::channels_last(1)));
        for elem in [ElemType::Bipolar, ElemType::signed(64), ElemType::Int(IntType::unsigned(63))] {
            g.add_input("c", TensorType::new(elem, [50], Layout::channels_last(0)));
        }
        for n in 0..5 {
            let s = sample(&g, 1, n);
            assert_eq!(s.iter().filter_map(Tensor::fault).next(), None);
            assert_eq!(s, sample(&g, 1, n));
        }
        assert_ne!(sample(&g, 1, 0), sample(&g, 1, 4));
        assert_ne!(sample(&g, 1, 0), sample(&g, 2, 0));
    }
}
