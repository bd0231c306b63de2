//! Products with a matrix of weights, and of two computed matrices: convolutions of one row of cells.

use super::super::plan::Step;
use super::super::weights::Pack;
use super::super::writer::Writer;
use super::conv::Product;
use super::nests::{self, Loop};
use unfloat_ir::Node;
use unfloat_ir::ops::Unary;

fn product(rows: usize, inputs: usize, outputs: usize) -> Product {
    Product {
        out: [1, 1, rows],
        step: [0, 0, inputs],
        taps: [1; 3],
        reach: [0; 3],
        run: inputs,
        groups: 1,
        group_out: outputs,
        has_bias: false,
        row: 0,
    }
}

/// Writes a dense layer.
pub fn dense(w: &mut Writer, step: &Step, node: &Node, act: Option<Unary>) {
    let x = w.read(node.inputs[0]);
    let weight = w.graph.ty(node.inputs[1]).shape.clone();
    let rows = w.graph.ty(node.output).shape.num_elements() / weight[0];
    let shape = Product { has_bias: node.inputs.len() > 2, ..product(rows, weight[1], weight[0]) };
    let pack = Pack::Blocks { groups: 1, out: weight[0], taps: 1, inputs: weight[1] };
    let matrix = w.constant(node.inputs[1], pack, "");
    let bias = match node.inputs.get(2) {
        Some(&b) => w.constant(b, Pack::Bias { groups: 1, out: weight[0] }, ""),
        None => matrix.clone(),
    };
    let name = w.graph.value(node.output).name.clone();
    let (shape, act) = (w.shape(&name, shape.fields()), w.activation(act));
    let (call, y) = (w.kernel("conv"), w.target(step));
    w.line(&format!("{call}<{shape}, {act}>({x}, {matrix}, {bias}, {y});"));
}

/// Writes a product of two computed matrices, or many of them.
pub fn matmul(w: &mut Writer, step: &Step, node: &Node, act: Option<Unary>) {
    let (x, z) = (w.read(node.inputs[0]), w.read(node.inputs[1]));
    let [a, b] = [0, 1].map(|i| w.graph.ty(node.inputs[i]).shape.clone());
    let out = w.graph.ty(node.output).shape.clone();
    let (rows, columns) = (a[a.rank() - 2], b[b.rank() - 1]);
    let shape = Product { row: columns, ..product(rows, a[a.rank() - 1], columns) };
    // Leading axes that an operand lacks, or has once, are repeated.
    let stride = |s: &unfloat_ir::Shape, axis: usize| {
        let axis = (axis + s.rank()).checked_sub(out.rank());
        axis.map_or(0, |i| if s[i] == 1 { 0 } else { s.strides()[i] })
    };
    let lead = (0..out.rank() - 2).map(|i| Loop { extent: out[i], a: stride(&a, i), b: stride(&b, i) });
    let text = nests::fields(&nests::merge(lead)) + &shape.fields();
    let name = w.graph.value(node.output).name.clone();
    let (shape, act) = (w.shape(&name, text), w.activation(act));
    let (call, y) = (w.kernel("matmul"), w.target(step));
    w.line(&format!("{call}<{shape}, {act}>({x}, {z}, {y});"));
}
