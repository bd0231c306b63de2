//! Layers of look-up tables: the pins' places in the narrowest word, the tables as packed bits.

use super::super::plan::Step;
use super::super::writer::size;
use super::words::Word;
use super::writer::Writer;
use unfloat_ir::{Graph, Node};

/// Why C++ cannot hold the layer; nothing when it can.
pub fn fault(graph: &Graph, node: &Node) -> Option<String> {
    let computed = |i: usize| graph.const_of(node.inputs[i]).is_none();
    let what = [(1, "connections"), (2, "tables")].into_iter().find(|(i, _)| computed(*i))?.1;
    Some(format!("its {what} are computed; C++ needs constants"))
}

/// Writes a layer.
pub fn write(w: &mut Writer, step: &Step, node: &Node) {
    let x = w.read(node.inputs[0]);
    let (name, shape) = (w.name(step), w.graph.ty(node.inputs[1]).shape.clone());
    let (outputs, pins) = (shape[0], shape[1]);
    let entries = 1usize << pins;
    let word = match entries {
        0..=8 => Word::U8,
        9..=16 => Word::U16,
        _ => Word::I64,
    };
    let per_word = 8 * word.bytes();
    let places = w.graph.ty(node.inputs[0]).shape.num_elements() as i128;
    let tables = w.constant(node.inputs[2], "packed", "", word, |codes| {
        let table = |t: &[i64]| t.chunks(per_word).map(packed).collect::<Vec<i64>>();
        codes.chunks(entries).flat_map(table).collect()
    });
    let pin =
        w.constant(node.inputs[1], "places", "", Word::holding((0, places - 1)), |codes| codes.to_vec());
    let words = entries.div_ceil(per_word);
    let text = [size("outputs", outputs), size("pins", pins), size("words", words)].concat();
    let shape = w.shape(&name, text);
    let (call, y) = (w.kernel("lut"), w.target(step));
    w.line(&format!("{call}<{shape}>({x}, {pin}, {tables}, {y});"));
}

/// Bits as a number, the first one lowest.
fn packed(bits: &[i64]) -> i64 {
    bits.iter().rev().fold(0, |word, bit| word << 1 | bit)
}
