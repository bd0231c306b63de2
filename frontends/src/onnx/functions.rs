//! Calls of a model's own functions, written out.
//!
//! In: nodes, and the functions of the file (torch's first dynamo exporter writes every operator as one). Out: nodes
//! without such calls; names inside a call begin with the call's. Refuses functions that call themselves, and models
//! that grow beyond [`MAX_NODES`].

use std::collections::BTreeMap;

use prost::Message;

use super::model::{NodeDef, Opsets, domain, node_def};
use super::problem::{Annotate, Outcome, clip, error};
use super::proto::{AttributeProto, FunctionProto};

/// Most nodes of a model; functions that call functions multiply.
const MAX_NODES: usize = 1 << 17;
/// Most bytes that are written out for all calls together.
const MAX_COPIED: usize = 256 << 20;
/// Deepest calls within calls.
const MAX_DEPTH: usize = 32;

/// Writes out every call.
pub(crate) fn inline(label: &str, nodes: Vec<NodeDef>, functions: &[FunctionProto]) -> Outcome<Vec<NodeDef>> {
    if functions.is_empty() {
        return Ok(nodes);
    }
    let known =
        functions.iter().map(|f| ((domain(f.domain()).to_string(), f.name().to_string()), f)).collect();
    let mut inliner = Inliner { label, known, calls: 0, copied: 0, out: Vec::new() };
    for node in nodes {
        inliner.node(node, 0)?;
    }
    Ok(inliner.out)
}

struct Inliner<'a> {
    label: &'a str,
    known: BTreeMap<(String, String), &'a FunctionProto>,
    calls: usize,
    copied: usize,
    out: Vec<NodeDef>,
}

impl Inliner<'_> {
    fn node(&mut self, node: NodeDef, depth: usize) -> Outcome<()> {
        let Some(&function) = self.known.get(&(node.domain.clone(), node.op.clone())) else {
            if self.out.len() >= MAX_NODES {
                return Err(error(self.label, "graph", format!("has more than {MAX_NODES} nodes")));
            }
            self.out.push(node);
            return Ok(());
        };
        if depth >= MAX_DEPTH {
            let text = format!("calls functions {MAX_DEPTH} deep: they call themselves");
            return Err(error(self.label, node.place.clone(), text).in_layer(node.title()));
        }
        self.call(&node, function, depth)
    }

    fn call(&mut self, call: &NodeDef, function: &FunctionProto, depth: usize) -> Outcome<()> {
        self.calls += 1;
        self.copied = self.copied.saturating_add(function.encoded_len());
        if self.calls > MAX_NODES || self.copied > MAX_COPIED {
            let text = "the model's functions, written out, are too large";
            return Err(error(self.label, call.place.clone(), text).in_layer(call.title()));
        }
        let mut names: BTreeMap<&str, String> = BTreeMap::new();
        for (i, formal) in function.input.iter().enumerate() {
            names.insert(formal, call.inputs.get(i).cloned().unwrap_or_default());
        }
        let mut identities = Vec::new();
        for (formal, actual) in function.output.iter().zip(&call.outputs).filter(|(_, a)| !a.is_empty()) {
            // A function that hands an input on has no node to rename.
            match names.get(formal.as_str()) {
                Some(given) => identities.push((given.clone(), actual.clone())),
                None => drop(names.insert(formal, actual.clone())),
            }
        }
        // The first result is unique in the model; the node's name need not be.
        let scope = call.outputs.iter().find(|o| !o.is_empty()).unwrap_or(&call.name);
        let opsets = Opsets::new(&function.opset_import);
        for (i, inner) in function.node.iter().enumerate() {
            let place = format!("{}/{} node {i}", call.place, clip(function.name()));
            let mut inner = node_def(&opsets, place, inner.clone());
            let rename = |name: &mut String| {
                if !name.is_empty() {
                    *name = names.get(name.as_str()).cloned().unwrap_or_else(|| format!("{scope}/{name}"));
                }
            };
            inner.inputs.iter_mut().for_each(rename);
            inner.outputs.iter_mut().for_each(rename);
            inner.name = format!("{}/{}", call.name, inner.name);
            inner.attributes =
                inner.attributes.into_iter().filter_map(|a| bound(a, call, function)).collect();
            self.node(inner, depth + 1)?;
        }
        for (given, made) in identities {
            self.out.push(NodeDef {
                op: "Identity".into(),
                domain: String::new(),
                opset: 13,
                place: call.place.clone(),
                name: call.name.clone(),
                inputs: vec![given],
                outputs: vec![made],
                attributes: Vec::new(),
            });
        }
        Ok(())
    }
}

/// An attribute of a function's node with the call's value, the function's default, or nothing.
fn bound(attribute: AttributeProto, call: &NodeDef, function: &FunctionProto) -> Option<AttributeProto> {
    let Some(formal) = attribute.ref_attr_name.as_deref().filter(|n| !n.is_empty()) else {
        return Some(attribute);
    };
    let given = call.attributes.iter().chain(&function.attribute_proto).find(|a| a.name() == formal)?;
    Some(AttributeProto { name: attribute.name.clone(), ..given.clone() })
}
