//! Removes look-up tables that no output needs.
//!
//! In: any graph. Out: every table of a layer is read by a table that is itself needed and does not ignore that pin, or the
//! layer is read by something that is no table (a sum of groups, say), which needs all its bits. A layer that lost tables is
//! called `NAME.live`: it is another tensor. A layer keeps one table even if nothing needs any.

use super::layer::{Layer, layers, write};
use crate::pass::{Change, Claim, Pass, PassCx, PassInfo};
use std::collections::BTreeMap;
use unfloat_ir::arena::Handle;
use unfloat_ir::ops::Op;
use unfloat_ir::{Diagnostics, Graph, NodeId, Patch, Stage, ValueId};

/// The pass `lut-dead`.
pub struct LutDead;

static INFO: PassInfo = PassInfo {
    name: "lut-dead",
    summary: "remove tables that no output needs",
    details: "Each bit of a layer is followed on its own. A bit is needed when a table that is needed reads it and does \
              not ignore it, or when the layer's bits are read by something else than tables or are an output.",
    options: &[],
    from: Stage::Imported,
    to: Stage::Imported,
    claim: Claim::Exact,
};

impl Pass for LutDead {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }
    fn run(&self, graph: &mut Graph, _: &mut PassCx) -> Result<Change, Diagnostics> {
        let mut layers = layers(graph);
        for layer in &mut layers {
            layer.tables.iter_mut().for_each(|t| *t = t.simplified());
        }
        let live = needed(graph, &layers);
        let gone: usize = live.iter().map(|bits| bits.iter().filter(|live| !**live).count()).sum();
        if gone == 0 {
            return Ok(Change::NONE);
        }
        let mut patch = Patch::new(graph);
        // For each value that was made anew: the new one, and the new places of the bits that stayed.
        let mut moved: BTreeMap<ValueId, (ValueId, Vec<usize>)> = BTreeMap::new();
        for (layer, live) in layers.iter().zip(&live) {
            let all = live.iter().all(|&l| l);
            let source = moved.get(&layer.source);
            if all && source.is_none() {
                continue;
            }
            let mut tables = layer.tables.clone();
            let x = source.map_or(layer.node.inputs[0], |(x, places)| {
                let pins = tables.iter_mut().flat_map(|t| t.pins.iter_mut());
                pins.for_each(|pin| *pin = places[*pin]);
                *x
            });
            let mut kept = live.iter();
            tables.retain(|_| kept.next().copied().unwrap_or(true));
            let name = &graph.value(layer.node.output).name;
            let name = if all { name.clone() } else { format!("{name}.live") };
            let Some(new) = write(&mut patch, graph, layer.node, x, &tables, &name)? else { continue };
            if all {
                patch.replace(layer.node.output, new)?;
            }
            // A bit that went has the place of the next one: nothing reads it.
            let places =
                live.iter().scan(0, |n, &l| Some(std::mem::replace(n, *n + usize::from(l)))).collect();
            moved.insert(layer.node.output, (new, places));
        }
        // A layer that lost tables is read by layers alone, and those were made anew: one of them is replaced in the end.
        let edit = patch.finish();
        graph.apply(edit);
        Ok(Change::of(gone))
    }
}

/// Which tables of each layer are needed.
fn needed(graph: &Graph, layers: &[Layer]) -> Vec<Vec<bool>> {
    let users = graph.users();
    let at: BTreeMap<ValueId, usize> = layers.iter().enumerate().map(|(i, l)| (l.node.output, i)).collect();
    let mut live: Vec<Vec<bool>> = layers
        .iter()
        .map(|l| vec![read_otherwise(graph, &users, &at, l.node.output); l.tables.len()])
        .collect();
    for (i, layer) in layers.iter().enumerate().rev() {
        // At least one table stays: a layer has one or more.
        if !live[i].contains(&true) {
            live[i][0] = true;
        }
        let Some(&source) = at.get(&layer.source) else { continue };
        for (table, _) in layer.tables.iter().zip(live[i].clone()).filter(|(_, live)| *live) {
            table.pins.iter().for_each(|&pin| live[source][pin] = true);
        }
    }
    live
}

/// Whether something that is no layer reads the value, or it is an output.
fn read_otherwise(
    graph: &Graph,
    users: &[Vec<NodeId>],
    layers: &BTreeMap<ValueId, usize>,
    value: ValueId,
) -> bool {
    graph.is_output(value)
        || users[value.index()].iter().any(|&id| {
            let node = graph.node(id);
            match node.op {
                Op::Reshape(_) => read_otherwise(graph, users, layers, node.output),
                Op::Lut(_) => !layers.contains_key(&node.output) || node.inputs[1..].contains(&value),
                _ => true,
            }
        })
}
