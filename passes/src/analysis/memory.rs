//! How much memory one sample needs, before it is run.
//!
//! In: a graph. Out: the most bytes that its values take at once when nodes run in order and a value is dropped behind
//! its last reader, and the node at which that is. What depends on constants alone is left out: who evaluates it has a limit
//! of its own. [`check`] refuses graphs that need more than
//! [`MAX_LIVE_BYTES`]: a three-line file can ask for more than any machine has.

use unfloat_ir::arena::Handle;
use unfloat_ir::{Def, Diagnostic, Graph, Location, Node, ValueId};

/// The most bytes that the values of one sample may take at once. A check holds a few such sets: two graphs, their
/// inputs, results that are compared.
pub const MAX_LIVE_BYTES: u64 = 1 << 30;

/// Bytes of one sample's inputs, or of its outputs.
pub fn port_bytes(graph: &Graph) -> (u64, u64) {
    let all = |values: &mut dyn Iterator<Item = ValueId>| {
        values.map(|v| bytes(graph, v)).fold(0, u64::saturating_add)
    };
    (all(&mut graph.inputs().iter().copied()), all(&mut graph.outputs().iter().map(|o| o.value)))
}

/// Bytes of a value as evaluation holds it: integers are widened to 64 bits.
fn bytes(graph: &Graph, value: ValueId) -> u64 {
    let ty = graph.ty(value);
    let each = if ty.elem.is_float() { 4 } else { 8 };
    (ty.shape.num_elements() as u64).saturating_mul(each)
}

/// The most bytes that are live at once, and the node that runs then.
pub fn peak(graph: &Graph) -> (u64, Option<&Node>) {
    let mut readers = vec![0usize; graph.num_values()];
    graph.live_nodes().flat_map(|(_, n)| &n.inputs).for_each(|v| readers[v.index()] += 1);
    graph.outputs().iter().for_each(|o| readers[o.value.index()] += 1);
    let mut constant = vec![false; graph.num_values()];
    for (id, value) in graph.values() {
        constant[id.index()] = matches!(value.def, Def::Const(_));
    }
    let mut live = port_bytes(graph).0;
    let mut most = (live, None);
    for (_, node) in graph.live_nodes() {
        if node.inputs.iter().all(|v| constant[v.index()]) {
            constant[node.output.index()] = true;
            continue;
        }
        live = live.saturating_add(bytes(graph, node.output));
        if live > most.0 {
            most = (live, Some(node));
        }
        for &v in node.inputs.iter().filter(|v| !constant[v.index()]) {
            readers[v.index()] -= 1;
            if readers[v.index()] == 0 {
                live = live.saturating_sub(bytes(graph, v));
            }
        }
        if readers[node.output.index()] == 0 {
            live = live.saturating_sub(bytes(graph, node.output));
        }
    }
    most
}

/// Refuses a graph of which one sample needs too much.
pub fn check(graph: &Graph) -> Result<(), Diagnostic> {
    let (bytes, node) = peak(graph);
    if bytes <= MAX_LIVE_BYTES {
        return Ok(());
    }
    let (at, name) = match node {
        Some(node) => (Location::from(&node.origin), format!("`{}`, ", graph.value(node.output).name)),
        None => (Location::default(), String::new()),
    };
    let ty = node.map_or("the inputs".to_string(), |n| graph.ty(n.output).to_string());
    let gib = |b: u64| b as f64 / (1u64 << 30) as f64;
    let text = format!(
        "{name}{ty}: one sample needs {:.1} GiB at once, more than the {:.0} GiB that are allowed",
        gib(bytes),
        gib(MAX_LIVE_BYTES)
    );
    Err(Diagnostic::error(at, text).help("give the model a smaller input"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use unfloat_ir::ops::{Binary, Unary};
    use unfloat_ir::{Layout, Origin, Tensor, TensorType};

    fn chain(n: usize) -> Graph {
        let mut g = Graph::new("g");
        let o = Origin::default();
        let x = g.add_input("x", TensorType::f32([n], Layout::channels_last(0)));
        let c = g.add_const("c", Tensor::f32([1], Layout::channels_last(0), vec![1.0]));
        let a = g.add_node(Binary::Add, &[x, c], "a", &o).unwrap();
        let b = g.add_node(Unary::Relu, &[a], "b", &o).unwrap();
        let s = g.add_node(Binary::Add, &[b, x], "s", &o).unwrap();
        let t = g.add_node(Unary::Relu, &[s], "t", &o).unwrap();
        g.add_output("t", t);
        g
    }

    #[test]
    fn values_are_dropped_behind_their_last_reader() {
        // x, a and b at the second node; x, b and s at the third; s and t at the last.
        let g = chain(1000);
        let (bytes, node) = peak(&g);
        assert_eq!((bytes, node.map(|n| g.value(n.output).name.as_str())), (12_000, Some("b")));
        assert_eq!(port_bytes(&g), (4000, 4000));
        assert!(check(&g).is_ok());
    }

    #[test]
    fn what_needs_too_much_is_named() {
        let error = check(&chain(1 << 27)).unwrap_err().to_string();
        assert!(error.contains("`b`, f32[134217728] c: one sample needs 1.5 GiB at once"), "{error}");
        assert!(check(&chain(usize::MAX / 8)).is_err());
    }
}
