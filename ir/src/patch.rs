//! How passes change a graph.
//!
//! A [`Patch`] collects new constants, new nodes and replacements while the graph is only read; [`Graph::apply`]
//! then carries them out at once. A replacement may not change a value's type by accident:
//! [`Patch::replace`] refuses it, and [`Patch::replace_retyped`] says that it is meant.

use crate::arena::Handle;
use crate::diag::{Diagnostic, Location};
use crate::graph::{Def, Graph, Node, NodeId, ValueId};
use crate::ops::{Op, OpDef};
use crate::origin::Origin;
use crate::tensor::Tensor;
use crate::types::TensorType;
use std::sync::Arc;

#[derive(Clone, Debug)]
enum New {
    Const { name: String, tensor: Arc<Tensor> },
    Node { name: String, op: Box<Op>, inputs: Vec<ValueId>, ty: TensorType, origin: Origin },
}

impl New {
    fn ty(&self) -> &TensorType {
        match self {
            New::Const { tensor, .. } => &tensor.ty,
            New::Node { ty, .. } => ty,
        }
    }
}

/// Changes under way, over a graph that stays readable.
#[derive(Debug)]
pub struct Patch<'g> {
    graph: &'g Graph,
    edit: Edit,
}

/// Changes ready to be applied to the graph that they were made for.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    base: usize,
    new: Vec<New>,
    replaced: Vec<(ValueId, ValueId)>,
}

impl Edit {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.replaced.is_empty()
    }
    /// How many values it replaces.
    pub fn len(&self) -> usize {
        self.replaced.len()
    }
}

impl<'g> Patch<'g> {
    /// A patch with no changes.
    pub fn new(graph: &'g Graph) -> Self {
        Self { graph, edit: Edit { base: graph.num_values(), ..Edit::default() } }
    }

    /// The type of a value of the graph or of the patch.
    pub fn ty(&self, value: ValueId) -> &TensorType {
        match value.index().checked_sub(self.edit.base) {
            None => self.graph.ty(value),
            Some(i) => self.edit.new[i].ty(),
        }
    }

    fn push(&mut self, new: New) -> ValueId {
        self.edit.new.push(new);
        ValueId::from_index(self.edit.base + self.edit.new.len() - 1)
    }

    /// Adds a constant.
    pub fn constant(&mut self, name: &str, tensor: impl Into<Arc<Tensor>>) -> ValueId {
        self.push(New::Const { name: name.to_string(), tensor: tensor.into() })
    }

    /// Adds a node; its type is inferred.
    pub fn node(
        &mut self,
        op: impl Into<Op>,
        inputs: &[ValueId],
        name: &str,
        origin: &Origin,
    ) -> Result<ValueId, Diagnostic> {
        let op = op.into();
        let types: Vec<&TensorType> = inputs.iter().map(|&v| self.ty(v)).collect();
        let ty = op
            .infer(&types)
            .map_err(|e| Diagnostic::error(Location::from(origin), format!("{}: {e}", op.name())))?;
        let (name, origin) = (name.to_string(), origin.clone());
        Ok(self.push(New::Node { name, op: Box::new(op), inputs: inputs.to_vec(), ty, origin }))
    }

    /// Lets `new` take the place of `old` for every reader and output. If `new` is of this patch it also takes
    /// over `old`'s name. Refuses a change of type.
    pub fn replace(&mut self, old: ValueId, new: ValueId) -> Result<(), Diagnostic> {
        let (from, to) = (self.ty(old), self.ty(new));
        if from == to {
            self.edit.replaced.push((old, new));
            return Ok(());
        }
        let value = self.graph.value(old);
        let at = self.graph.producer(old).map(|(_, n)| Location::from(&n.origin)).unwrap_or_default();
        Err(Diagnostic::error(
            at,
            format!("a pass would change `{}` from {from} to {to} without saying so", value.name),
        )
        .help("this is a defect of the pass, not of the model: please report it"))
    }

    /// As [`Patch::replace`], where the type is meant to change; readers must suit the new type, which the
    /// verifier checks.
    pub fn replace_retyped(&mut self, old: ValueId, new: ValueId) {
        self.edit.replaced.push((old, new));
    }

    /// The changes, for [`Graph::apply`].
    pub fn finish(self) -> Edit {
        self.edit
    }
}

impl Graph {
    /// Carries out the changes of a patch that was made for this graph in its present state, then brings the
    /// nodes into an order in which they can be run, as near to the old one as that allows.
    ///
    /// A value that is replaced more than once goes to its last replacement; replacements may chain. Nodes that
    /// nothing needs any more stay until [`Graph::compact`].
    pub fn apply(&mut self, edit: Edit) {
        let mut target: Vec<ValueId> = (0..edit.base + edit.new.len()).map(ValueId::from_index).collect();
        for &(old, new) in &edit.replaced {
            target[old.index()] = new;
        }
        let resolve = |mut v: ValueId| {
            // A chain of replacements is as long as the edit at most; a cycle ends there as well.
            for _ in 0..edit.replaced.len() {
                let next = target[v.index()];
                if next == v {
                    break;
                }
                v = next;
            }
            v
        };
        // New nodes may read what is being replaced (a value wrapped in a new op): they keep the old value.
        let old_nodes = self.order.clone();
        for id in &old_nodes {
            let inputs = self.nodes[*id].inputs.iter().map(|&v| resolve(v)).collect();
            self.nodes[*id].inputs = inputs;
        }
        for output in &mut self.outputs {
            output.value = resolve(output.value);
        }
        for new in edit.new {
            match new {
                New::Const { name, tensor } => {
                    self.add_const(&name, tensor);
                }
                New::Node { name, op, inputs, ty, origin } => {
                    let id = NodeId::from_index(self.nodes.len());
                    let output = self.push_value(&name, ty, Def::Node(id));
                    self.nodes.push(Node { op: *op, inputs, output, origin });
                    self.order.push(id);
                }
            }
        }
        for &(old, new) in &edit.replaced {
            if new.index() >= edit.base {
                let name = self.values[old].name.clone();
                self.rename(old, &format!("{name}.old"));
                self.rename(new, &name);
            }
        }
        self.sort();
    }

    /// Orders the live nodes so that each comes after what it reads. Nodes come as early as the old order and
    /// their operands allow, so the order changes no more than it must.
    fn sort(&mut self) {
        let mut done = vec![false; self.values.len()];
        for (id, value) in self.values.iter() {
            done[id.index()] = !matches!(value.def, Def::Node(_));
        }
        let mut sorted = Vec::with_capacity(self.order.len());
        // Depth-first from each node in the old order; an explicit stack, since chains can be long.
        let mut entered = vec![false; self.nodes.len()];
        let mut stack: Vec<NodeId> = Vec::new();
        for &root in &self.order {
            stack.push(root);
            while let Some(&top) = stack.last() {
                let node = &self.nodes[top];
                if done[node.output.index()] {
                    stack.pop();
                    continue;
                }
                let missing = node.inputs.iter().filter(|v| !done[v.index()]).filter_map(|&v| {
                    match self.values[v].def {
                        Def::Node(n) if !entered[n.index()] => Some(n),
                        _ => None,
                    }
                });
                let missing: Vec<NodeId> = missing.collect();
                if missing.is_empty() || entered[top.index()] {
                    done[node.output.index()] = true;
                    sorted.push(top);
                    stack.pop();
                } else {
                    entered[top.index()] = true;
                    stack.extend(missing.into_iter().rev());
                }
            }
        }
        self.order = sorted;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Unary;
    use crate::types::{Layout, TensorType};

    fn chain() -> (Graph, ValueId, ValueId) {
        let mut g = Graph::new("g");
        let x = g.add_input("x", TensorType::f32([2], Layout::channels_last(0)));
        let a = g.add_node(Unary::Relu, &[x], "a", &Origin::default()).unwrap();
        let b = g.add_node(Unary::Tanh, &[a], "b", &Origin::default()).unwrap();
        g.add_output("y", b);
        (g, x, a)
    }

    #[test]
    fn a_replacement_takes_readers_and_name() {
        let (mut g, x, a) = chain();
        let mut p = Patch::new(&g);
        let s = p.node(Unary::Sigmoid, &[x], "s", &Origin::default()).unwrap();
        p.replace(a, s).unwrap();
        let edit = p.finish();
        g.apply(edit);
        let g = g.compact();
        let names: Vec<&str> = g.live_nodes().map(|(_, n)| n.op.name()).collect();
        assert_eq!(names, ["sigmoid", "tanh"]);
        assert_eq!(g.value(g.live_nodes().next().unwrap().1.output).name, "a");
        assert!(crate::verify::verify(&g).is_ok());
    }

    #[test]
    fn a_value_can_be_wrapped() {
        let (mut g, _, a) = chain();
        let mut p = Patch::new(&g);
        let s = p.node(Unary::Sigmoid, &[a], "s", &Origin::default()).unwrap();
        p.replace(a, s).unwrap();
        let edit = p.finish();
        g.apply(edit);
        let names: Vec<&str> = g.live_nodes().map(|(_, n)| n.op.name()).collect();
        assert_eq!(names, ["relu", "sigmoid", "tanh"]);
        assert!(crate::verify::verify(&g).is_ok());
    }

    #[test]
    fn a_change_of_type_must_be_meant() {
        let (g, _, a) = chain();
        let mut p = Patch::new(&g);
        let c = p.constant("c", Tensor::f32([3], Layout::channels_last(0), vec![0.0; 3]));
        assert!(p.replace(a, c).unwrap_err().to_string().contains("from f32[2] c to f32[3] c"));
    }
}
