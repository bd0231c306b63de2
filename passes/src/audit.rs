//! Where a float, or a width that nobody proved, still hides in a graph.
//!
//! In: any graph. Out: every node that computes on floats, other than the boundary (a quantizer that reads an input of the
//! graph with constant scale, and a dequantization that an output shows), and what is not what hardware takes it for: zero
//! padding on a map of ±1, arithmetic whose true result its type may not hold (sums beyond 64 bits, additions, products and
//! reductions that may wrap; [`Ranges::may_wrap`]), scales that are computed at run time. Each finding says which layer it
//! came from, and what would remove it. Refuses nothing.

use serde::Serialize;
use unfloat_ir::arena::Handle;
use unfloat_ir::boundary::Boundary;
use unfloat_ir::ranges::Ranges;
use unfloat_ir::{ElemType, Graph, Node, Op, OpDef, ValueId};

/// What kind of thing hides.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A float, or a scale that is computed at run time.
    Float,
    /// A type that may not hold a result.
    Width,
    /// Zero padding on a map of −1 and +1, which makes a third value there. Sums are exact with it, in everything that is
    /// emitted here.
    Padding,
}

/// One place.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// What kind of thing hides there.
    pub kind: Kind,
    /// The value.
    pub value: String,
    /// The op that makes it.
    pub op: String,
    /// The file and the layer that it came from.
    pub origin: String,
    /// What hides there.
    pub what: String,
    /// What would remove it.
    pub remedy: String,
}

/// All places, in the order of the nodes.
pub fn audit(graph: &Graph) -> Vec<Finding> {
    let work = Audit {
        graph,
        boundary: Boundary::of(graph),
        ranges: Ranges::of(graph),
        fed: fed_by_codes(graph),
        layered: behind_layers(graph),
    };
    graph.live_nodes().filter_map(|(_, node)| work.node(node)).chain(work.ports()).collect()
}

/// Whether no float hides: the graph is integers within its boundary.
pub fn is_integer(graph: &Graph) -> bool {
    Boundary::of(graph).holds_integers(graph)
}

fn touches_floats(graph: &Graph, node: &Node) -> bool {
    node.inputs.iter().chain([&node.output]).any(|&v| graph.ty(v).elem.is_float())
}

/// For each value, whether it depends on integers that are no constants.
fn fed_by_codes(graph: &Graph) -> Vec<bool> {
    let mut fed = vec![false; graph.num_values()];
    graph.inputs().iter().for_each(|&v| fed[v.index()] = !graph.ty(v).elem.is_float());
    for (_, node) in graph.live_nodes() {
        let integer = !graph.ty(node.output).elem.is_float();
        fed[node.output.index()] = integer || node.inputs.iter().any(|v| fed[v.index()]);
    }
    fed
}

/// For each value, whether it depends on a layer with weights; else it is an input, changed.
fn behind_layers(graph: &Graph) -> Vec<bool> {
    let mut behind = vec![false; graph.num_values()];
    for (_, node) in graph.live_nodes() {
        let layer = matches!(node.op, Op::Conv(_) | Op::ConvTranspose(_) | Op::Dense(_) | Op::MatMul(_));
        behind[node.output.index()] = layer || node.inputs.iter().any(|v| behind[v.index()]);
    }
    behind
}

struct Audit<'g> {
    graph: &'g Graph,
    boundary: Boundary,
    ranges: Ranges,
    fed: Vec<bool>,
    layered: Vec<bool>,
}

impl Audit<'_> {
    fn finding(&self, node: &Node, what: String, remedy: &str) -> Option<Finding> {
        self.of_kind(Kind::Float, node, what, remedy)
    }

    fn of_kind(&self, kind: Kind, node: &Node, what: String, remedy: &str) -> Option<Finding> {
        Some(Finding {
            kind,
            value: self.graph.value(node.output).name.clone(),
            op: node.op.name().to_string(),
            origin: node.origin.to_string(),
            what,
            remedy: remedy.to_string(),
        })
    }

    fn node(&self, node: &Node) -> Option<Finding> {
        if touches_floats(self.graph, node) {
            return if self.boundary.has(self.graph, node) { None } else { self.float(node) };
        }
        self.integer(node)
    }

    fn float(&self, node: &Node) -> Option<Finding> {
        let graph = self.graph;
        let input = node.inputs.first().copied();
        let fed = |v: ValueId| self.fed[v.index()];
        let weight_is_float =
            || node.inputs.get(1).is_some_and(|&w| graph.const_of(w).is_some_and(|t| t.ty.elem.is_float()));
        match &node.op {
            // Codes behind a dequantization count where they are read.
            Op::Dequantize(_) if node.inputs.iter().all(|&v| graph.const_of(v).is_some()) => None,
            Op::Dequantize(_) if graph.is_output(node.output) => {
                self.finding(node, "codes become floats that another layer reads too".into(), QUANTIZE)
            }
            Op::Dequantize(_) => self.finding(node, "codes become floats again".into(), QUANTIZE),
            Op::Quantize(_) if node.inputs.iter().skip(1).any(|&v| graph.const_of(v).is_none()) => {
                self.finding(node, "a scale is computed at run time".into(), "export the model with static scales")
            }
            Op::Quantize(_) if input.is_some_and(|v| !fed(v)) => self.finding(
                node,
                "the input is changed in floats before it is quantized".into(),
                "let the network read what the sensor gives, and quantize that; or fold the change into the first layer",
            ),
            Op::Quantize(_) => self.finding(node, "a quantizer that still rounds floats".into(), INTEGERIZE),
            Op::BatchNorm(_) => self.finding(
                node,
                "a batch normalisation in floats".into(),
                "quantize the value behind it (--quantize, or a quantizer in training): pass `integerize` then makes \
                 thresholds of both",
            ),
            Op::Conv(_) | Op::ConvTranspose(_) | Op::Dense(_) | Op::MatMul(_) if weight_is_float() => {
                self.finding(node, "a weight in floats".into(), QUANTIZE)
            }
            Op::Conv(_) | Op::ConvTranspose(_) | Op::Dense(_) | Op::MatMul(_) => {
                self.finding(node, "sums of floats: its input has no quantizer".into(), QUANTIZE)
            }
            Op::Softmax(_) => self.finding(
                node,
                "a softmax in floats".into(),
                "quantize its operand: pass `integerize` then makes a table and a division of it",
            ),
            _ if input.is_some_and(|v| !fed(v) && !self.layered[v.index()]) => self.finding(
                node,
                "the input is changed in floats".into(),
                "let the network read what the sensor gives, and quantize that",
            ),
            _ => self.finding(node, format!("`{}` on floats", node.op.name()), QUANTIZE),
        }
    }

    fn integer(&self, node: &Node) -> Option<Finding> {
        let graph = self.graph;
        let padded = matches!(&node.op, Op::Conv(c) if c.window.is_padded());
        if padded && node.inputs.first().is_some_and(|&v| graph.ty(v).elem == ElemType::Bipolar) {
            return self.of_kind(
                Kind::Padding,
                node,
                "zero padding on a map of -1 and +1 makes a third value".into(),
                "pad with -1 or +1 in training, or keep it (--allow-zero-padding): what is emitted has sums that are exact \
                 with a third value",
            );
        }
        if !self.ranges.may_wrap(graph, node) {
            return None;
        }
        let elem = &graph.ty(node.output).elem;
        if matches!(node.op, Op::Conv(_) | Op::ConvTranspose(_) | Op::Dense(_) | Op::MatMul(_)) {
            let what = "sums that 64 bits may not hold".into();
            return self.of_kind(Kind::Width, node, what, "use narrower types for its operands");
        }
        let what = format!("results that {elem} may not hold: of those only the low bits stay");
        self.of_kind(Kind::Width, node, what, "cast its operands to a wider type first, or clamp them")
    }

    /// Outputs that show floats which no node makes of codes.
    fn ports(&self) -> Vec<Finding> {
        let graph = self.graph;
        let float = |v: ValueId| graph.ty(v).elem.is_float();
        let outputs = graph.outputs().iter().filter(|o| float(o.value));
        let bare =
            outputs.filter(|o| graph.producer(o.value).is_none_or(|(_, n)| !self.boundary.has(graph, n)));
        bare.map(|o| Finding {
            kind: Kind::Float,
            value: graph.value(o.value).name.clone(),
            op: "output".to_string(),
            origin: graph.producer(o.value).map_or(String::new(), |(_, n)| n.origin.to_string()),
            what: format!("the output `{}` is made of floats", o.name),
            remedy: QUANTIZE.to_string(),
        })
        .collect()
    }
}

const QUANTIZE: &str = "give it a quantizer: --quantize, a recipe, or quantization-aware training";
const INTEGERIZE: &str = "run pass `integerize`; where it leaves this, the layer in front has a float weight or no quantized input";

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of a graph that have a finding.
    fn found(text: &str) -> Vec<String> {
        let text = format!("uir 1\ngraph \"g\" folded\n{text}");
        audit(&unfloat_ir::text::parse(&text, "g.uir", &mut |_| None).unwrap())
            .into_iter()
            .map(|f| f.value)
            .collect()
    }

    #[test]
    fn sums_beyond_64_bits_are_named() {
        let dense = |w: &str| {
            let weights = format!("const %w : u41[1,2] oi = [{w}, {w}]");
            found(&format!("input %x : u40[2] c\n{weights}\n%y = dense %x, %w : i64[1] c\noutput \"y\" %y\n"))
        };
        assert_eq!(dense("1099511627776"), ["y"]);
        // The type is as wide, but these weights never get there.
        assert_eq!(dense("1024"), Vec::<String>::new());
    }

    #[test]
    fn arithmetic_that_may_wrap_is_named() {
        let text = "input %x : i8[1000] c\n\
                    input %z : i8[1000] c\n\
                    %sum = reduce_sum %x {axes=[0], keep=true} : i8[1] c\n\
                    %product = mul %x, %z : i8[1000] c\n\
                    %negative = neg %x : i8[1000] c\n\
                    %greater = max %x, %z : i8[1000] c\n\
                    %a = cast %x {to=i16} : i16[1000] c\n\
                    %b = cast %z {to=i16} : i16[1000] c\n\
                    %wide = mul %a, %b : i16[1000] c\n\
                    %positive = neg %a : i16[1000] c\n\
                    %low = cast %wide {to=i8} : i8[1000] c\n";
        let names = ["sum", "product", "negative", "greater", "positive", "low"];
        let outputs: String = names.iter().map(|n| format!("output \"{n}\" %{n}\n")).collect();
        assert_eq!(found(&format!("{text}{outputs}")), ["sum", "product", "negative"]);
    }
}
