//! Signs of accumulators: whether 0 is among their values.
//!
//! In: the proved step functions of a quantizer to `ternary`. Out: the type that its codes need: `bipolar` where no channel
//! has a 0 for any value that the accumulator may have, and nothing but dequantizations read the codes; else `ternary`,
//! with a warning that names the channels. Sums of products of −1 and 1 are all odd or all even, where padding does not
//! mix the two: what lies between counts for nothing.

use super::Integerizer;
use super::lattice::Lattice;
use super::steps::Steps;
use unfloat_ir::arena::Handle;
use unfloat_ir::{Diagnostic, ElemType, Graph, Location, Node, Op};

/// The most channels that a warning names.
const NAMED: usize = 12;

impl Integerizer<'_> {
    /// The type of the codes of a quantizer.
    pub fn sign(&mut self, steps: &[Steps], lattice: &Lattice, to: &ElemType, node: &Node) -> ElemType {
        let read_as_numbers = |graph: &Graph| {
            let users = &graph.users()[node.output.index()];
            let dequantized = |user: &Node| {
                matches!(user.op, Op::Dequantize(_)) && !user.inputs[1..].contains(&node.output)
            };
            users.iter().all(|&id| dequantized(graph.node(id))) && !graph.is_output(node.output)
        };
        // Parts that are put side by side are of one type.
        let whole = |graph: &Graph| {
            graph.producer(node.inputs[0]).is_none_or(|(_, front)| !matches!(front.op, Op::Concat(_)))
        };
        let is_sign = *to == ElemType::Ternary && matches!(node.op, Op::Threshold(_));
        if !is_sign || !whole(self.graph) || !read_as_numbers(self.graph) {
            return to.clone();
        }
        let zero = |(c, s): &(usize, &Steps)| s.runs().any(|r| r.2 == 0 && lattice.meets(*c, (r.0, r.1)));
        let channels: Vec<String> =
            steps.iter().enumerate().filter(zero).map(|(c, _)| c.to_string()).collect();
        if channels.is_empty() {
            return ElemType::Bipolar;
        }
        let named = channels[..channels.len().min(NAMED)].join(", ");
        let more = if channels.len() > NAMED { ", ..." } else { "" };
        let text = if steps.len() == 1 {
            "the sign can meet 0, which it gives as 0: a third value, so that the codes are ternary"
                .to_string()
        } else {
            format!(
                "the sign can meet 0 in {} of {} channels ({named}{more}) and gives 0 there: a third value, so that the \
                 codes are ternary",
                channels.len(),
                steps.len()
            )
        };
        self.warnings.push(
            Diagnostic::warning(Location::from(&node.origin), text)
                .help("layers of ternary codes are exact, but do not take the one bit of binary ones"),
        );
        ElemType::Ternary
    }
}
