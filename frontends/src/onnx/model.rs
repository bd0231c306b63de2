//! A decoded file as a list of nodes in an order in which they can be run.
//!
//! In: a `ModelProto`. Out: a [`Model`]: functions written out, nodes that no output needs dropped, every name that is
//! read made by exactly one node, input or initializer. Refuses: names that nothing makes or two things make, cycles,
//! calls of functions within themselves; every finding of a run.
//!
//! What real files do and this takes: initializers listed as inputs, empty and duplicate node names, domains without
//! an `opset_import`, nodes out of order.

use std::collections::{BTreeMap, BTreeSet};

use unfloat_ir::Diagnostic;

use super::functions;
use super::problem::{Annotate, clip, error};
use super::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto,
};

/// One operation of the file.
pub(crate) struct NodeDef {
    /// The operator's name.
    pub(crate) op: String,
    /// Its domain; empty for ONNX' own.
    pub(crate) domain: String,
    /// The version of the domain's operators.
    pub(crate) opset: i64,
    /// Where it stands in the file.
    pub(crate) place: String,
    /// Its name, or that of its first result.
    pub(crate) name: String,
    /// What it reads; empty where an optional input is left out.
    pub(crate) inputs: Vec<String>,
    /// What it makes; empty where a result is not wanted.
    pub(crate) outputs: Vec<String>,
    /// The attributes.
    pub(crate) attributes: Vec<AttributeProto>,
}

impl NodeDef {
    /// The node as messages name it.
    pub(crate) fn title(&self) -> String {
        let name = clip(&self.name);
        match self.domain.as_str() {
            "" => format!("{name} ({})", clip(&self.op)),
            domain => format!("{name} ({}::{})", clip(domain), clip(&self.op)),
        }
    }
}

/// A network as a file has it.
pub(crate) struct Model {
    /// The graph's name.
    pub(crate) name: String,
    /// Inputs that are no initializers.
    pub(crate) inputs: Vec<ValueInfoProto>,
    /// Names of the results, in the file's order.
    pub(crate) outputs: Vec<String>,
    /// Tensors of the file, by name.
    pub(crate) initializers: BTreeMap<String, TensorProto>,
    /// The nodes that some result needs, each after what it reads.
    pub(crate) nodes: Vec<NodeDef>,
}

/// Versions of the domains of operators.
pub(crate) struct Opsets(BTreeMap<String, i64>);

impl Opsets {
    pub(crate) fn new(imports: &[OperatorSetIdProto]) -> Self {
        Self(imports.iter().map(|i| (domain(i.domain()).to_string(), i.version())).collect())
    }
    /// The version of a domain; 1 when the file does not say, as users' files with custom domains do not.
    pub(crate) fn version(&self, domain: &str) -> i64 {
        self.0.get(domain).copied().unwrap_or(1)
    }
}

/// ONNX' own operators have two spellings of their domain.
pub(crate) fn domain(name: &str) -> &str {
    if name == "ai.onnx" { "" } else { name }
}

/// Reads the structure of a file. `findings` receives what is wrong.
pub(crate) fn read(label: &str, mut file: ModelProto, findings: &mut Vec<Diagnostic>) -> Option<Model> {
    let Some(mut graph) = file.graph.take() else {
        findings.push(*error(label, "", "holds no graph: the file is empty or no ONNX model"));
        return None;
    };
    let opsets = Opsets::new(&file.opset_import);
    let nodes = std::mem::take(&mut graph.node);
    let nodes = nodes.into_iter().enumerate().map(|(i, node)| node_def(&opsets, format!("node {i}"), node));
    let nodes = match functions::inline(label, nodes.collect(), &file.functions) {
        Ok(nodes) => nodes,
        Err(problem) => {
            findings.push(*problem);
            return None;
        }
    };
    let before = findings.len();
    let initializers = initializers(label, &mut graph, findings);
    let inputs: Vec<ValueInfoProto> =
        graph.input.into_iter().filter(|i| !initializers.contains_key(i.name())).collect();
    let outputs: Vec<String> = graph.output.iter().map(|o| o.name().to_string()).collect();
    if outputs.is_empty() {
        findings.push(*error(label, "graph", "has no outputs"));
    }
    let nodes = order(label, nodes, &inputs, &initializers, &outputs, findings)?;
    let name = graph.name.unwrap_or_default();
    (findings.len() == before).then_some(Model { name, inputs, outputs, initializers, nodes })
}

/// A node with its names filled in.
pub(crate) fn node_def(opsets: &Opsets, place: String, node: NodeProto) -> NodeDef {
    let domain = domain(node.domain()).to_string();
    let name = match node.name() {
        "" => node.output.iter().find(|o| !o.is_empty()).cloned().unwrap_or_default(),
        name => name.to_string(),
    };
    NodeDef {
        opset: opsets.version(&domain),
        op: node.op_type.unwrap_or_default(),
        domain,
        place,
        name,
        inputs: node.input,
        outputs: node.output,
        attributes: node.attribute,
    }
}

fn initializers(
    label: &str,
    graph: &mut GraphProto,
    findings: &mut Vec<Diagnostic>,
) -> BTreeMap<String, TensorProto> {
    let mut found = BTreeMap::new();
    for (i, tensor) in std::mem::take(&mut graph.initializer).into_iter().enumerate() {
        let name = tensor.name().to_string();
        if found.insert(name.clone(), tensor).is_some() {
            let text = format!("a second tensor is called `{}`", clip(&name));
            findings.push(*error(label, format!("initializer {i}"), text));
        }
    }
    if let Some(sparse) = graph.sparse_initializer.first() {
        let name = sparse.values.as_ref().map_or("", |v| v.name());
        let text = format!("{} sparse tensors, `{}` first", graph.sparse_initializer.len(), clip(name));
        findings.push(
            *error(label, "sparse_initializer", text).with_help("store the tensors densely in the model"),
        );
    }
    found
}

/// The nodes that the outputs need, each after what it reads, otherwise in the file's order.
fn order(
    label: &str,
    nodes: Vec<NodeDef>,
    inputs: &[ValueInfoProto],
    initializers: &BTreeMap<String, TensorProto>,
    outputs: &[String],
    findings: &mut Vec<Diagnostic>,
) -> Option<Vec<NodeDef>> {
    let given: BTreeSet<&str> =
        inputs.iter().map(|i| i.name()).chain(initializers.keys().map(String::as_str)).collect();
    let mut maker: BTreeMap<&str, usize> = BTreeMap::new();
    let before = findings.len();
    for (i, node) in nodes.iter().enumerate() {
        for name in node.outputs.iter().filter(|n| !n.is_empty()) {
            if given.contains(name.as_str()) || maker.insert(name, i).is_some() {
                let text = format!("makes `{}`, which something else makes too", clip(name));
                findings.push(*error(label, &node.place, text).in_layer(node.title()));
            }
        }
    }
    let unknown = |name: &str| !given.contains(name) && !maker.contains_key(name);
    for name in outputs.iter().filter(|n| unknown(n)) {
        findings.push(*error(label, "graph", format!("nothing makes its output `{}`", clip(name))));
    }
    // Depth first from the outputs, without recursion: a node is placed when all that it reads is.
    let mut sequence = Vec::new();
    let mut state = vec![Visit::New; nodes.len()];
    for start in outputs.iter().filter_map(|n| maker.get(n.as_str()).copied()) {
        let mut stack = vec![start];
        while let Some(&i) = stack.last() {
            let wanted = nodes[i].inputs.iter().filter_map(|n| maker.get(n.as_str()).copied());
            match state[i] {
                Visit::New => {
                    state[i] = Visit::Open;
                    for name in nodes[i].inputs.iter().filter(|n| !n.is_empty() && unknown(n)) {
                        let text = format!("reads `{}`, which nothing makes", clip(name));
                        findings.push(*error(label, &nodes[i].place, text).in_layer(nodes[i].title()));
                    }
                    let wanted: Vec<usize> = wanted.collect();
                    if wanted.iter().any(|&w| state[w] == Visit::Open) {
                        let text = "reads what is computed from its own result";
                        findings.push(*error(label, &nodes[i].place, text).in_layer(nodes[i].title()));
                    }
                    stack.extend(wanted.into_iter().filter(|&w| state[w] == Visit::New));
                }
                Visit::Open => {
                    state[i] = Visit::Done;
                    sequence.push(i);
                    stack.pop();
                }
                Visit::Done => {
                    stack.pop();
                }
            }
        }
    }
    if findings.len() > before {
        return None;
    }
    // In the file's order where that is one; else in the order that was found.
    let mut place = vec![usize::MAX; nodes.len()];
    let mut sorted = sequence.clone();
    sorted.sort_unstable();
    sorted.iter().enumerate().for_each(|(at, &i)| place[i] = at);
    let late = |&i: &usize| {
        let reads = nodes[i].inputs.iter().filter_map(|n| maker.get(n.as_str()));
        reads.into_iter().any(|&w| place[w] > place[i])
    };
    let sequence = if sorted.iter().any(late) { sequence } else { sorted };
    let mut nodes: Vec<Option<NodeDef>> = nodes.into_iter().map(Some).collect();
    Some(sequence.into_iter().filter_map(|i| nodes[i].take()).collect())
}

#[derive(Clone, Copy, PartialEq)]
enum Visit {
    New,
    Open,
    Done,
}
