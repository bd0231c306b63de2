//! The whole file: ports, nodes in the graph's order, outputs, opsets.
//!
//! In: the graph and the dialect. Out: the file's bytes, for the lowest opset that has all that is written. Refused, all
//! at once, each node with its place in the source: what [`Writer::node`] refuses, and ports that are no floats. What reads
//! a refused value is looked at as if that had been written.

use super::Dialect;
use super::proto::{Dim, Model, Opset, ShapeProto, TensorTypeProto, TypeProto, ValueInfo};
use super::writer::{FLOAT, Form, INT64, QONNX_DOMAIN, Refusal, Writer};
use prost::Message;
use unfloat_ir::{Diagnostic, Diagnostics, ElemType, Graph, Location, TensorType};

/// The lowest opset that is written: quantizers per channel, axes of sums as operands.
const LEAST: i64 = 13;

/// The file's bytes.
pub(super) fn model(graph: &Graph, dialect: Dialect) -> Result<Vec<u8>, Diagnostics> {
    let mut opset = LEAST;
    loop {
        let mut w = Writer::new(graph, dialect, opset);
        let found = write(&mut w);
        // Some ops are spelled otherwise in later opsets, so all is written anew.
        if w.needs > opset {
            opset = w.needs;
            continue;
        }
        return found.map(|()| encoded(w));
    }
}

fn write(w: &mut Writer) -> Result<(), Diagnostics> {
    let graph = w.graph;
    let mut found = Diagnostics::new();
    for &id in graph.inputs() {
        let value = graph.value(id);
        if !value.ty.elem.is_float() {
            let text = format!("input `{}`: expected floats, found {}", value.name, value.ty);
            found.push(Diagnostic::error(Location::default(), text));
        }
        let name = w.fresh(&value.name);
        w.to.input.push(port(&name, &value.ty));
        w.set(id, Form::Graph, name);
    }
    // Taken before any value is named: ports keep the names of the source.
    let names: Vec<String> = graph.outputs().iter().map(|o| w.fresh(&o.name)).collect();
    for (_, node) in graph.live_nodes() {
        // An extent of 0 would mean another thing in a `Reshape`.
        let empty = graph.ty(node.output).shape.contains(&0);
        let written = if empty { Err("it has no elements".into()) } else { w.node(node) };
        let Err(refusal) = written else { continue };
        w.refuse(node.output);
        if let Refusal::Because(why) = refusal {
            let dialect = w.dialect.name();
            let text = format!("`{}` cannot be written as {dialect}: {why}", graph.value(node.output).name);
            found.push(
                Diagnostic::error(&node.origin, text)
                    .help("emit `uir` or `cpp`, or quantize this layer in another way"),
            );
        }
    }
    for (output, name) in graph.outputs().iter().zip(names) {
        match w.want(output.value, Form::Graph) {
            Ok(from) => {
                w.show(&from, &name);
                w.to.output.push(port(&name, graph.ty(output.value)));
            }
            Err(Refusal::Follows) => {}
            Err(Refusal::Because(_)) => {
                let text = format!("output `{}` is a constant", output.name);
                found.push(Diagnostic::error(Location::default(), text));
            }
        }
    }
    found.into_result(())
}

fn encoded(w: Writer) -> Vec<u8> {
    let mut opset_import = vec![Opset { domain: String::new(), version: w.opset }];
    if w.dialect == Dialect::Qonnx {
        opset_import.push(Opset { domain: QONNX_DOMAIN.into(), version: 1 });
    }
    let ir_version = match w.opset {
        21.. => 10,
        19.. => 9,
        15.. => 8,
        _ => 7,
    };
    Model { ir_version, producer_name: "unfloat".into(), graph: Some(w.to), opset_import }.encode_to_vec()
}

fn port(name: &str, ty: &TensorType) -> ValueInfo {
    let mut dim = vec![Dim { value: None, param: Some("batch".into()) }];
    dim.extend(ty.shape.iter().map(|&n| Dim { value: Some(n as i64), param: None }));
    let elem_type = if matches!(ty.elem, ElemType::Int(_)) { INT64 } else { FLOAT };
    let tensor = TensorTypeProto { elem_type, shape: Some(ShapeProto { dim }) };
    ValueInfo { name: name.into(), ty: Some(TypeProto { tensor: Some(tensor) }) }
}
