//! Layers of look-up tables in emitted C++: what the reference evaluator gives, whatever the number of pins.

mod support;

use support::ints::{Ints, exact};
use unfloat_backends::Options;
use unfloat_backends::registry::backend;
use unfloat_ir::ops::{ArgReduce, Cast, Compare, Lut, Reduce, ReduceFn, Reshape};
use unfloat_ir::{ElemType, IntType, Layout, ValueId};

fn lut(net: &mut Ints, x: ValueId, outputs: usize, pins: usize, name: &str) -> ValueId {
    let inputs = net.graph.ty(x).shape.num_elements() as i64;
    let places = (0..outputs * pins).map(|_| net.code(0, inputs - 1)).collect();
    let connections = net.constant(ElemType::signed(64), &[outputs, pins], places);
    let tables = net.weight(ElemType::Bit, &[outputs, 1 << pins]);
    net.node(Lut, &[x, connections, tables], name)
}

#[test]
fn every_number_of_pins() {
    let mut net = Ints::new("luts");
    let x = net.input(ElemType::Int(IntType::unsigned(8)), &[20, 1], "wc");
    let limits = net.int(IntType::unsigned(8), &[20, 3]);
    let bits = net.node(Compare::Greater, &[x, limits], "bits");
    for pins in [1, 2, 3, 4, 5, 6, 7, 9, 16] {
        let a = lut(&mut net, bits, 30, pins, &format!("a{pins}"));
        let b = lut(&mut net, a, 12, pins.min(6), &format!("b{pins}"));
        net.graph.add_output(&format!("y{pins}"), b);
    }
    exact(&mut net, 40, &[], &["-O2"]);
}

#[test]
fn sums_of_groups_and_their_greatest() {
    let mut net = Ints::new("groups");
    let x = net.input(ElemType::Bit, &[7, 9], "wc");
    let a = lut(&mut net, x, 50, 6, "a");
    let b = lut(&mut net, a, 40, 6, "b");
    let groups = net.node(Reshape { shape: [10, 4].into(), layout: Layout::anonymous(2) }, &[b], "groups");
    let wide = net.node(Cast { to: ElemType::Int(IntType::unsigned(3)) }, &[groups], "wide");
    let sums = net.node(Reduce { f: ReduceFn::Sum, axes: vec![1], keep: false }, &[wide], "sums");
    net.graph.add_output("sums", sums);
    net.output(ArgReduce { max: true, axis: 0, keep: false, last: false }, &[sums], "class");
    exact(&mut net, 40, &[], &["-O3", "-march=native"]);
}

#[test]
fn computed_tables_are_refused() {
    let mut net = Ints::new("computed");
    let x = net.input(ElemType::Bit, &[4, 4], "wc");
    let connections = net.constant(ElemType::signed(8), &[4, 2], vec![0, 1, 2, 3, 4, 5, 6, 7]);
    net.output(Lut, &[x, connections, x], "y");
    let cpp = backend("cpp").unwrap();
    let checked = cpp.check(&net.graph, &Options::defaults(cpp.info()));
    let text = checked.err().map(|e| e.to_string()).unwrap_or_default();
    assert!(text.contains("`y` (lut): its tables are computed"), "{text}");
}
