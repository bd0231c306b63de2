//! Quantizers as float steps, so that the fast executor runs fake-quantized graphs.
//!
//! In: a graph. Out: one that computes the same values in floats alone: where a `quantize` with one constant scale and zero
//! point 0 is read by `dequantize` nodes with the same scale only, and rounds half to even and saturates, the two become
//! division, clamp, rounding and product, each rounded to single precision as theirs are. Nothing where a quantizer is of
//! another kind.
//!
//! A number of up to 22 bits is rounded to the nearest integer, ties to even, by adding `1.5 · 2^23` and taking it away again:
//! single precision has no room for a fraction in between.

use unfloat_ir::arena::Handle;
use unfloat_ir::ops::{Binary, Quantize, QuantizeOrder, Unary};
use unfloat_ir::{
    Diagnostic, ElemType, Graph, Layout, Node, NodeId, Op, Overflow, Patch, Rounding, Tensor, ValueId,
};

/// The number that leaves no room for a fraction.
const MAGIC: f32 = 12_582_912.0;
/// Codes up to this magnitude are rounded right.
const LARGEST: i64 = 1 << 22;

/// The graph in floats alone, and where each of its values is found there; nothing where that cannot be.
pub fn simulated(graph: &Graph) -> Result<Option<Graph>, Diagnostic> {
    let users = graph.users();
    let mut patch = Patch::new(graph);
    let mut now: Vec<Option<ValueId>> = vec![None; graph.num_values()];
    let mut constants = Constants::default();
    for (_, node) in graph.live_nodes() {
        let Op::Quantize(q) = &node.op else { continue };
        let Some((scale, readers)) = pair(graph, &users, node, q) else { return Ok(None) };
        let x = node.inputs[0];
        let x = now[x.index()].unwrap_or(x);
        let (lo, hi) = q.bounds();
        let name = &graph.value(node.output).name;
        let scale = constants.get(&mut patch, scale);
        let magic = constants.get(&mut patch, MAGIC);
        let mut v = patch.node(Binary::Div, &[x, scale], name, &node.origin)?;
        v = patch.node(Unary::Clip { lo: lo as f32, hi: hi as f32 }, &[v], name, &node.origin)?;
        v = patch.node(Binary::Add, &[v, magic], name, &node.origin)?;
        v = patch.node(Binary::Sub, &[v, magic], name, &node.origin)?;
        v = patch.node(Binary::Mul, &[v, scale], name, &node.origin)?;
        for reader in readers {
            let output = graph.node(reader).output;
            patch.replace(output, v)?;
            now[output.index()] = Some(v);
        }
    }
    let edit = patch.finish();
    let mut out = graph.clone();
    out.apply(edit);
    Ok(Some(out))
}

/// Scalars that several nodes read.
#[derive(Default)]
struct Constants(Vec<(u32, ValueId)>);

impl Constants {
    fn get(&mut self, patch: &mut Patch, v: f32) -> ValueId {
        if let Some((_, id)) = self.0.iter().find(|(bits, _)| *bits == v.to_bits()) {
            return *id;
        }
        let id = patch.constant("scalar", Tensor::f32([], Layout::anonymous(0), vec![v]));
        self.0.push((v.to_bits(), id));
        id
    }
}

/// The scale of a quantizer and the nodes that go back, if it is of the kind that can be simulated.
fn pair(graph: &Graph, users: &[Vec<NodeId>], node: &Node, q: &Quantize) -> Option<(f32, Vec<NodeId>)> {
    // Codes of -1 and 1 have no 0 to round to.
    let plain = matches!(q.to, ElemType::Int(_))
        && q.rounding == Rounding::HalfEven
        && q.overflow == Overflow::Saturate
        && (q.order == QuantizeOrder::RoundThenSaturate || q.order == QuantizeOrder::ClampThenRound);
    let (lo, hi) = q.bounds();
    let scale = only(graph, node.inputs[1])?;
    let fits = plain && lo >= -LARGEST && hi <= LARGEST && only(graph, node.inputs[2])? == 0.0 && scale > 0.0;
    let readers = users[node.output.index()].clone();
    let back = |id: &NodeId| {
        let reader = graph.node(*id);
        matches!(reader.op, Op::Dequantize(_))
            && only(graph, reader.inputs[1]) == Some(scale)
            && only(graph, reader.inputs[2]) == Some(0.0)
    };
    (fits && !graph.is_output(node.output) && readers.iter().all(back)).then_some((scale, readers))
}

/// The number of a constant of one element.
fn only(graph: &Graph, value: ValueId) -> Option<f32> {
    match graph.const_of(value)?.as_f32()? {
        [one] => Some(*one),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unfloat_ir::ops::Dequantize;
    use unfloat_ir::{ElemType, Origin, TensorType};

    /// Ties, both ends, and numbers beyond them: the same numbers as the quantizer's own evaluation.
    #[test]
    fn it_is_the_quantizer_to_the_bit() {
        for (to, narrow) in
            [("i8", false), ("i8", true), ("u8", false), ("i2", true), ("u16", false), ("i22", false)]
        {
            let scale = 0.1f32;
            let mut values: Vec<f32> = (-600..600).map(|i| i as f32 * 0.5 * scale).collect();
            values.extend([0.1234, 32767.5 * scale, 65535.4 * scale, 1e9, -1e9, f32::INFINITY, -0.0, 1e-40]);
            let mut g = Graph::new("g");
            let o = Origin::default();
            let x = g.add_input("x", TensorType::f32([values.len()], Layout::channels_last(0)));
            let s = g.add_const("s", Tensor::f32([], Layout::anonymous(0), vec![scale]));
            let z = g.add_const("z", Tensor::f32([], Layout::anonymous(0), vec![0.0]));
            let op = Quantize {
                to: ElemType::from_name(to).unwrap(),
                narrow,
                rounding: Rounding::HalfEven,
                overflow: Overflow::Saturate,
                order: QuantizeOrder::RoundThenSaturate,
            };
            let q = g.add_node(op, &[x, s, z], "q", &o).unwrap();
            let d = g.add_node(Dequantize, &[q, s, z], "d", &o).unwrap();
            g.add_output("y", d);
            let f = simulated(&g).unwrap().unwrap();
            let input = Tensor::f32([values.len()], Layout::channels_last(0), values.clone());
            let want = unfloat_exec::reference::evaluate(&g, std::slice::from_ref(&input)).unwrap();
            let got = unfloat_exec::reference::evaluate(&f, &[input]).unwrap();
            let (want, got) = (want[0].as_f32().unwrap(), got[0].as_f32().unwrap());
            for ((x, w), g) in values.iter().zip(want).zip(got) {
                assert_eq!(w + 0.0, g + 0.0, "{to} {x}");
            }
            assert!(unfloat_exec::Plan::takes(&f.compact()));
        }
    }
}
