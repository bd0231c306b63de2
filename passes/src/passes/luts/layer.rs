//! The layers of look-up tables of a graph, read and written again.
//!
//! In: any graph. Out: its `lut` nodes whose connections and tables are constants that suit; others are nobody's business.
//! A layer reads the bits of its operand in their flat order, so a reshape in front of it says nothing.

use super::table::Table;
use std::collections::BTreeMap;
use unfloat_ir::ops::{Lut, Op};
use unfloat_ir::{
    Diagnostic, ElemType, Graph, IntType, Layout, Node, OpDef, Patch, Tensor, TensorType, ValueId,
};

/// One layer.
pub struct Layer<'g> {
    /// The node.
    pub node: &'g Node,
    /// The value whose bits it reads, behind any reshapes.
    pub source: ValueId,
    /// Its tables.
    pub tables: Vec<Table>,
}

/// All layers, each behind those that it reads.
pub fn layers(graph: &Graph) -> Vec<Layer<'_>> {
    graph.live_nodes().filter_map(|(_, node)| layer(graph, node)).collect()
}

/// The value that a chain of reshapes shows.
fn behind_reshapes(graph: &Graph, mut value: ValueId) -> ValueId {
    while let Some((_, Node { op: Op::Reshape(_), inputs, .. })) = graph.producer(value) {
        value = inputs[0];
    }
    value
}

fn layer<'g>(graph: &'g Graph, node: &'g Node) -> Option<Layer<'g>> {
    let (Op::Lut(lut), &[x, connections, tables]) = (&node.op, &node.inputs[..]) else { return None };
    let constants = [graph.const_of(connections)?, graph.const_of(tables)?];
    let types = [x, connections, tables].map(|v| graph.ty(v));
    lut.check_constants(&types, &[None, Some(constants[0]), Some(constants[1])]).ok()?;
    let pins = types[1].shape[1];
    let [places, entries] = constants.map(|t| codes(t));
    let table = |(pins, entries): (&[i64], &[i64])| Table {
        pins: pins.iter().map(|&p| p as usize).collect(),
        entries: entries.iter().map(|&e| e != 0).collect(),
    };
    let tables = places.chunks_exact(pins).zip(entries.chunks_exact(1 << pins)).map(table).collect();
    Some(Layer { node, source: behind_reshapes(graph, x), tables })
}

fn codes(t: &Tensor) -> Vec<i64> {
    (0..t.len()).filter_map(|i| t.data.code(i)).collect()
}

/// Connections and tables of a layer in which every table has as many pins as the widest one, at least one: those that a
/// table has too many of read the first one again (or bit 0), and it ignores them.
fn constants(tables: &[Table]) -> [Tensor; 2] {
    let pins = tables.iter().map(|t| t.pins.len()).max().unwrap_or(0).max(1);
    let places = tables.iter().flat_map(|t| {
        let first = t.pins.first().copied().unwrap_or(0);
        (0..pins).map(move |j| t.pins.get(j).copied().unwrap_or(first) as i64)
    });
    let entries =
        tables.iter().flat_map(|t| (0..1 << pins).map(|a| t.entries[a & (t.entries.len() - 1)].into()));
    let ty = |elem, columns: usize| TensorType::new(elem, [tables.len(), columns], Layout::anonymous(2));
    [
        Tensor::codes(ty(ElemType::Int(IntType::unsigned(31)), pins), places),
        Tensor::codes(ty(ElemType::Bit, 1 << pins), entries),
    ]
}

/// A layer of these tables over `x`; nothing when that is what the node is already.
pub fn write(
    patch: &mut Patch,
    graph: &Graph,
    node: &Node,
    x: ValueId,
    tables: &[Table],
    name: &str,
) -> Result<Option<ValueId>, Diagnostic> {
    let [connections, entries] = constants(tables);
    let same =
        |i: usize, new: &Tensor| graph.const_of(node.inputs[i]).is_some_and(|old| old.data == new.data);
    if x == node.inputs[0] && same(1, &connections) && same(2, &entries) {
        return Ok(None);
    }
    let connections = patch.constant(&format!("{name}.connections"), connections);
    let entries = patch.constant(&format!("{name}.tables"), entries);
    patch.node(Lut, &[x, connections, entries], name, &node.origin).map(Some)
}

/// Rewrites the tables of all layers in order, which keep what each of them computes. `change` is given a layer's source, its
/// output and its tables. Returns how many tables became others.
pub fn rewrite(
    graph: &mut Graph,
    mut change: impl FnMut(ValueId, ValueId, &mut Vec<Table>),
) -> Result<usize, Diagnostic> {
    let mut count = 0;
    let mut patch = Patch::new(graph);
    let mut new_of: BTreeMap<ValueId, ValueId> = BTreeMap::new();
    for layer in layers(graph) {
        let mut tables = layer.tables.clone();
        change(layer.source, layer.node.output, &mut tables);
        let changed = tables.iter().zip(&layer.tables).filter(|(new, old)| new != old).count();
        if changed == 0 && !new_of.contains_key(&layer.source) {
            continue;
        }
        let x = new_of.get(&layer.source).copied().unwrap_or(layer.node.inputs[0]);
        let name = &graph.value(layer.node.output).name;
        if let Some(new) = write(&mut patch, graph, layer.node, x, &tables, name)? {
            count += changed;
            patch.replace(layer.node.output, new)?;
            new_of.insert(layer.node.output, new);
        }
    }
    let edit = patch.finish();
    if count == 0 {
        return Ok(0);
    }
    graph.apply(edit);
    Ok(count)
}
