//! Puts channels last everywhere.
//!
//! In: any graph that verifies. Out: at stage canonical, with the same inputs and outputs in their own layouts.
//! Every convolution, pooling and batch normalisation reads channels last; transpositions remain where the layout
//! of an input or output differs, and where the model itself moves axes and the op behind can't follow.
//!
//! How: each value is made anew, in an order of axes ([`lie::Lie`]) that the ops around it work in, and every op is
//! rewritten for it: axes, per-axis attributes, constants that are broadcast. A transposition of the source becomes
//! a mere note of an order. A reshape carries groups of axes that stay together; a flatten makes an axis with its
//! elements in another order, which a dense layer behind it takes up in the columns of its weight.
//!
//! Sums over reordered operands round differently, so this is not an exact pass.

mod lie;
mod ops;
mod wishes;

use crate::analysis::perm;
use crate::pass::{Change, Claim, Pass, PassCx, PassInfo};
use lie::{Lie, Run, gather_last, order};
use unfloat_ir::arena::Handle;
use unfloat_ir::ops::{Concat, Reshape, Slice, Transpose};
use unfloat_ir::{
    Def, Diagnostic, Diagnostics, Edit, Graph, Layout, Node, NodeId, Op, Origin, Patch, Stage, ValueId,
};
use wishes::Wishes;

/// The pass `canonical-layout`.
pub struct CanonicalLayout;

static INFO: PassInfo = PassInfo {
    name: "canonical-layout",
    summary: "put channels last everywhere, keep the layouts of inputs and outputs",
    details: "Convolutions, poolings and batch normalisations read channels last. Transpositions stay only where an \
              input's or output's own layout differs, or where the model moves axes and the op behind can't follow. \
              A flatten of a moved map costs nothing: the dense layer behind it takes the order up in its weight.",
    options: &[],
    from: Stage::Imported,
    to: Stage::Canonical,
    claim: Claim::Within { abs: 1e-7, rel: 1e-5 },
};

impl Pass for CanonicalLayout {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }
    fn run(&self, graph: &mut Graph, _: &mut PassCx) -> Result<Change, Diagnostics> {
        let mut total = 0;
        // The first round does the work. Others find what it made room for, a transposition that met another; each
        // leaves fewer or equal moves, and the limit ends a dispute between equals.
        for _ in 0..ROUNDS {
            let (edit, count) = rebuild(graph)?;
            if count == 0 {
                break;
            }
            total += count;
            graph.apply(edit);
            *graph = graph.compact();
        }
        Ok(Change::of(total))
    }
}

const ROUNDS: usize = 4;

fn rebuild(graph: &Graph) -> Result<(Edit, usize), Diagnostics> {
    let mut movers = Mover {
        graph,
        patch: Patch::new(graph),
        wishes: Wishes::of(graph),
        places: vec![Vec::new(); graph.num_values()],
        users: graph.users(),
        replaced: vec![false; graph.num_values()],
        count: 0,
    };
    for (id, value) in graph.values() {
        if !matches!(value.def, Def::Node(_)) {
            movers.places[id.index()].push((Lie::still(value.ty.rank()), id));
        }
    }
    let mut found = Diagnostics::new();
    for (_, node) in graph.live_nodes() {
        if let Err(error) = movers.node(node) {
            found.push(error);
            // What reads it goes on with the old value, to find further faults.
            movers.places[node.output.index()].push((Lie::still(graph.ty(node.output).rank()), node.output));
        }
    }
    for output in graph.outputs() {
        let still = Lie::still(graph.ty(output.value).rank());
        match movers.bring(output.value, &still) {
            Ok(value) if value != output.value => found.extend(movers.stand_in(output.value, value).err()),
            Ok(_) => {}
            Err(error) => found.push(error),
        }
    }
    let count = movers.count;
    let edit = movers.patch.finish();
    found.into_result((edit, count))
}

/// The rewrite under way.
struct Mover<'g> {
    graph: &'g Graph,
    patch: Patch<'g>,
    wishes: Wishes,
    /// For each old value the new values that hold it and how each lies, the one that was made first in front.
    places: Vec<Vec<(Lie, ValueId)>>,
    /// For each old value, the nodes that read it.
    users: Vec<Vec<NodeId>>,
    replaced: Vec<bool>,
    count: usize,
}

impl<'g> Mover<'g> {
    /// How a value lies now.
    fn lie(&self, old: ValueId) -> Lie {
        self.places[old.index()]
            .first()
            .map_or_else(|| Lie::still(self.graph.ty(old).rank()), |p| p.0.clone())
    }

    /// The order of axes in which an op that works in any order best reads a value.
    fn preferred(&self, old: ValueId) -> Lie {
        match self.lie(old) {
            Lie::Axes(p) => Lie::Axes(self.wishes.axes(self.graph, old).unwrap_or(p)),
            last => last,
        }
    }

    /// Where a value comes from: the layer that makes it, or the first that reads it for an input of the graph.
    fn origin(&self, old: ValueId) -> Origin {
        let reader = || self.users[old.index()].first().map(|&n| self.graph.node(n));
        let node = self.graph.producer(old).map(|(_, n)| n).or_else(reader);
        node.map(|n| n.origin.clone()).unwrap_or_default()
    }

    /// The name of a value that holds `old` otherwise than it did.
    fn moved_name(&self, old: ValueId, lie: &Lie) -> String {
        let value = self.graph.value(old);
        match lie {
            Lie::Axes(p) if perm::is_named(&value.ty.layout) => {
                format!("{}.{}", value.name, value.ty.layout.permuted(p))
            }
            _ => format!("{}.moved", value.name),
        }
    }

    /// Lets `new` stand for `old`, whose type it has.
    fn stand_in(&mut self, old: ValueId, new: ValueId) -> Result<(), Diagnostic> {
        if !std::mem::replace(&mut self.replaced[old.index()], true) {
            self.patch.replace(old, new)?;
            self.count += 1;
        }
        Ok(())
    }

    /// Makes a node in the place of an old one, or keeps the old one when nothing changes.
    fn emit(
        &mut self,
        node: &Node,
        op: impl Into<Op>,
        inputs: Vec<ValueId>,
        lie: Lie,
    ) -> Result<(), Diagnostic> {
        let (old, op) = (node.output, op.into());
        if lie.is_still() && op == node.op && inputs == node.inputs {
            self.places[old.index()].push((lie, old));
            return Ok(());
        }
        self.count += 1;
        let named = match &lie {
            Lie::Axes(_) if lie.is_still() => true,
            Lie::Axes(_) => perm::is_named(&self.graph.ty(old).layout) && !self.graph.is_output(old),
            Lie::Last(_) => false,
        };
        if !named {
            let name = self.moved_name(old, &lie);
            let new = self.patch.node(op, &inputs, &name, &node.origin)?;
            self.places[old.index()].push((lie, new));
            return Ok(());
        }
        let new = self.patch.node(op, &inputs, &self.graph.value(old).name, &node.origin)?;
        self.replaced[old.index()] = true;
        if lie.is_still() {
            self.patch.replace(old, new)?;
        } else {
            self.patch.replace_retyped(old, new);
        }
        self.places[old.index()].push((lie, new));
        Ok(())
    }

    /// The new value that holds `old` as `lie` says; made if it is not there yet. Elements along the last axis
    /// can be put back in order, not out of it: asked for that, this fails.
    fn bring(&mut self, old: ValueId, lie: &Lie) -> Result<ValueId, Diagnostic> {
        let places = &self.places[old.index()];
        if let Some((_, value)) = places.iter().find(|(l, _)| l == lie) {
            return Ok(*value);
        }
        let origin = self.origin(old);
        let fault =
            |text: &str| Diagnostic::error(&origin, format!("`{}`: {text}", self.graph.value(old).name));
        let Some((from, value)) = places.first().cloned() else {
            return Err(fault("is read before it is made"));
        };
        let Lie::Axes(to) = lie else {
            return Err(fault("a pass asked for elements out of order"));
        };
        if let Some(tensor) = self.graph.const_of(old) {
            let new = self.patch.constant(&self.moved_name(old, lie), tensor.transposed(to));
            self.places[old.index()].push((lie.clone(), new));
            return Ok(new);
        }
        let new = match &from {
            Lie::Axes(p) => {
                let step = perm::then(&perm::inverse(p), to);
                let name = self.moved_name(old, lie);
                self.transposed(value, &step, &name, &origin)?
            }
            Lie::Last(runs) => {
                let still = Lie::still(to.len());
                let restored = self.restore(old, value, runs, &origin)?;
                self.places[old.index()].push((still.clone(), restored));
                if *lie == still {
                    return Ok(restored);
                }
                let name = self.moved_name(old, lie);
                self.transposed(restored, to, &name, &origin)?
            }
        };
        self.places[old.index()].push((lie.clone(), new));
        Ok(new)
    }

    /// Transposes a new value; by a reshape where no element moves in memory.
    fn transposed(
        &mut self,
        value: ValueId,
        step: &[usize],
        name: &str,
        origin: &Origin,
    ) -> Result<ValueId, Diagnostic> {
        let ty = self.patch.ty(value).clone();
        if perm::moves_only_units(&ty.shape, step) {
            let op = Reshape { shape: perm::pick(step, &ty.shape).into(), layout: ty.layout.permuted(step) };
            return self.patch.node(op, &[value], name, origin);
        }
        self.patch.node(Transpose { perm: step.to_vec() }, &[value], name, origin)
    }

    /// Puts the elements of the last axis back in order.
    fn restore(
        &mut self,
        old: ValueId,
        value: ValueId,
        runs: &[Run],
        origin: &Origin,
    ) -> Result<ValueId, Diagnostic> {
        let ty = self.graph.ty(old).clone();
        let name = format!("{}.restored", self.graph.value(old).name);
        let last = ty.rank() - 1;
        let mut parts = Vec::new();
        let mut begin = 0;
        for run in runs {
            let n = run.len();
            let mut part = value;
            if runs.len() > 1 {
                let (mut from, mut size) = (vec![0; ty.rank()], ty.shape.to_vec());
                (from[last], size[last]) = (begin, n);
                let slice = Slice { begin: from, size, step: vec![1; ty.rank()] };
                part = self.patch.node(slice, &[part], &name, origin)?;
            }
            begin += n;
            if !perm::is_identity(&run.perm) {
                let lead = &ty.shape[..last];
                let split = [lead, &run.dims[..]].concat();
                let layout = Layout::anonymous(split.len());
                let split = Reshape { shape: split.into(), layout };
                let back: Vec<usize> =
                    (0..last).chain(perm::inverse(&run.perm).iter().map(|i| last + i)).collect();
                let flat = Reshape { shape: [lead, &[n]].concat().into(), layout: ty.layout };
                part = self.patch.node(split, &[part], &name, origin)?;
                part = self.patch.node(Transpose { perm: back }, &[part], &name, origin)?;
                part = self.patch.node(flat, &[part], &name, origin)?;
            }
            parts.push(part);
        }
        match parts[..] {
            [only] => Ok(only),
            _ => self.patch.node(Concat { axis: last }, &parts, &name, origin),
        }
    }

    /// A constant, or the numbers that constant codes mean, with its last axis in another order.
    fn gathered(&mut self, old: ValueId, runs: &[Run]) -> Option<ValueId> {
        if let Some(node) = wishes::decoded(self.graph, old) {
            let codes = self.gathered(node.inputs[0], runs)?;
            let name = format!("{}.moved", self.graph.value(old).name);
            let inputs = [codes, node.inputs[1], node.inputs[2]];
            return self.patch.node(node.op.clone(), &inputs, &name, &node.origin).ok();
        }
        let tensor = self.graph.const_of(old)?;
        let order = order(runs);
        if tensor.ty.shape.last() != Some(&order.len()) {
            return None;
        }
        let name = format!("{}.moved", self.graph.value(old).name);
        Some(self.patch.constant(&name, gather_last(tensor, &order)))
    }
}
