//! Which tensors of a pickle are the model's.
//!
//! In: a pickle, and the path that a user chose, if any. Out: tensors with their keys. Whatever lies beside them is
//! left alone: optimizers, losses, counters, objects of unknown classes. Refuses: files with several candidates, which
//! are listed; paths that lead nowhere; things nested without end.
//!
//! A candidate is a mapping of names to tensors or a whole module. Lists of tensors, mappings of single numbers, tensors
//! beside a candidate and what optimizers, schedulers and generators of random numbers keep are read only if there is
//! nothing better.

use super::limit::Limit;
use super::pickle::{Id, Pickle};
use super::problem::clip;
use super::rebuild::Tensors;
use super::view::View;
use super::walk::{Kind, Parts, Step, kind, resolve};

/// The deepest nesting of modules and mappings.
const MAX_DEPTH: usize = 64;
/// Candidates that a message lists.
const MAX_LISTED: usize = 20;

/// A tensor with its key.
pub(crate) struct Leaf {
    pub(crate) key: String,
    pub(crate) view: Result<View, String>,
}

/// What was found.
pub(crate) struct Found {
    /// Where it stands: `state_dict`, `models[0]`, or `.` for all of the pickle.
    pub(crate) path: String,
    pub(crate) leaves: Vec<Leaf>,
    /// Paths of tensors that are not taken.
    pub(crate) left_out: Vec<String>,
}

/// Why nothing was taken.
pub(crate) enum Missing {
    /// There is no tensor at all.
    Nothing,
    /// Several candidates, or none of the name: what there is, as lines of text.
    Choose(Vec<String>),
    /// The pickle cannot be walked.
    Broken(String),
}

impl From<String> for Missing {
    fn from(text: String) -> Self {
        Missing::Broken(text)
    }
}

/// Something on the way to a tensor.
struct Node {
    id: Id,
    /// The node that holds it; nothing for the root.
    parent: Option<usize>,
    step: Option<Step>,
    what: What,
    /// Kept by an optimizer or the like.
    weak: bool,
    /// Tensors among its parts that look like a model's parameters.
    good: usize,
    /// Whether some part of a part is a candidate.
    strong_below: bool,
    /// Whether it stands in a mapping that is itself a state dict.
    inside: bool,
}

/// Bytes that a node, a leaf and what becomes of it take.
const NODE: usize = 128;
const LEAF: usize = 384;

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    /// A tensor; whether it has axes.
    Tensor(bool),
    Module,
    Mapping,
    Other,
}

/// Work that may be done: hostile pickles show one list under a million names.
struct Work(usize);

impl Work {
    fn of(pickle: &Pickle) -> Self {
        Self(4 * pickle.len() + 65_536)
    }
    fn take(&mut self, count: usize) -> Result<(), String> {
        self.0 = self.0.checked_sub(count + 1).ok_or("shows the same things under too many names")?;
        Ok(())
    }
}

/// Finds the tensors.
pub(crate) fn find(pickle: &Pickle, chosen: Option<&str>, limit: &mut Limit) -> Result<Found, Missing> {
    let mut tensors = Tensors::new(pickle);
    let nodes = discover(pickle, &mut tensors, limit)?;
    if nodes.is_empty() {
        return Err(Missing::Nothing);
    }
    let candidates: Vec<usize> = (0..nodes.len()).filter(|&i| is_candidate(&nodes, i)).collect();
    let taken = match (chosen, candidates.as_slice()) {
        (Some(chosen), _) => {
            let is_chosen = |&i: &usize| {
                !matches!(nodes[i].what, What::Tensor(_))
                    && path(pickle, &nodes, i).as_deref() == Some(chosen)
            };
            match (0..nodes.len()).find(is_chosen) {
                Some(node) => node,
                None => return Err(choose(pickle, &mut tensors, &nodes, &candidates, limit)),
            }
        }
        (None, [only]) => *only,
        // Nothing looks like a model: everything there is, if anything.
        (None, []) => 0,
        (None, _) => return Err(choose(pickle, &mut tensors, &nodes, &candidates, limit)),
    };
    let leaves = flatten(pickle, &mut tensors, nodes[taken].id, limit)?;
    if leaves.is_empty() {
        let any = nodes.iter().any(|n| matches!(n.what, What::Tensor(_) | What::Module));
        return Err(match any && chosen.is_some() {
            true => choose(pickle, &mut tensors, &nodes, &candidates, limit),
            false => Missing::Nothing,
        });
    }
    let path_of = |i| path(pickle, &nodes, i).unwrap_or_else(|| "…".to_string());
    let outside = |&i: &usize| matches!(nodes[i].what, What::Tensor(_)) && !within(&nodes, i, taken);
    let mut left_out = Vec::new();
    if chosen.is_none() {
        left_out = (0..nodes.len()).filter(outside).take(MAX_LISTED + 1).map(path_of).collect();
    }
    Ok(Found { path: path_of(taken), leaves, left_out })
}

/// Walks everything once, what stands first first.
fn discover(pickle: &Pickle, tensors: &mut Tensors<'_>, limit: &mut Limit) -> Result<Vec<Node>, String> {
    let mut work = Work::of(pickle);
    let mut seen = vec![false; pickle.len()];
    let mut nodes: Vec<Node> = Vec::new();
    let mut open: Open = vec![(None, None, pickle.root)];
    while let Some((parent, step, id)) = open.pop() {
        let id = resolve(pickle, id);
        if seen[id.index()] {
            continue;
        }
        let kind = kind(tensors, pickle, id);
        let (what, parts) = match kind {
            Kind::Optimizer | Kind::Other => continue,
            Kind::Tensor(view) => (What::Tensor(view.is_ok_and(|v| !v.shape.is_empty())), Parts::new()),
            Kind::Module(_, true) => (What::Other, Parts::new()),
            Kind::Module(_, false) => (What::Module, Parts::new()),
            Kind::Mapping(parts) => (What::Mapping, parts),
            Kind::Sequence(parts) | Kind::Object(parts) => (What::Other, parts),
        };
        // A tensor may have several names; anything else is looked at once.
        seen[id.index()] = !matches!(what, What::Tensor(_));
        work.take(parts.len())?;
        let weak = parent.is_some_and(|p| nodes[p].weak) || step.is_some_and(|s| is_weak(pickle, s));
        limit.take(1, NODE)?;
        let at = nodes.len();
        nodes.push(Node { id, parent, step, what, weak, good: 0, strong_below: false, inside: false });
        push(pickle, &mut open, at, parts, limit)?;
    }
    judge(pickle, &mut nodes);
    Ok(nodes)
}

/// What is to be looked at: what holds it, the step to it, itself.
type Open = Vec<(Option<usize>, Option<Step>, Id)>;

/// Lines up the parts that can hold tensors.
fn push(pickle: &Pickle, open: &mut Open, at: usize, parts: Parts, limit: &mut Limit) -> Result<(), String> {
    let before = open.len();
    let holds = |id: Id| {
        let record = pickle.get(id);
        use super::pickle::Record as R;
        matches!(record, R::List(_) | R::Tuple(_) | R::Set(_) | R::Dict(_) | R::Object(_))
    };
    open.extend(parts.into_iter().rev().filter(|p| holds(p.1)).map(|(step, id)| (Some(at), Some(step), id)));
    limit.take(open.len() - before, size_of::<(Option<usize>, Option<Step>, Id)>())
}

/// Finds out what looks like a model.
fn judge(pickle: &Pickle, nodes: &mut [Node]) {
    // Parts stand behind what holds them.
    for i in (1..nodes.len()).rev() {
        let strong = nodes[i].strong_below || is_candidate(nodes, i);
        let good = match nodes[i].what {
            What::Tensor(true) => 1,
            _ => 0,
        };
        if let Some(parent) = nodes[i].parent {
            nodes[parent].strong_below |= strong;
            nodes[parent].good += good;
        }
    }
    // Tensors beside a candidate count if they are called like parameters. Names of several parts are those of a state
    // dict, and what else stands in it is a part of it.
    let mut is_state = vec![false; nodes.len()];
    for i in 1..nodes.len() {
        let (Some(parent), Some(step)) = (nodes[i].parent, nodes[i].step) else { continue };
        if nodes[i].what != What::Tensor(true) {
            continue;
        }
        let name = name_of(pickle, step);
        is_state[parent] |= name.contains('.') && nodes[parent].what == What::Mapping;
        let is_parameter = name.contains('.') || ["weight", "bias"].contains(&name.as_str());
        if nodes[parent].strong_below && !is_parameter {
            nodes[parent].good -= 1;
        }
    }
    for i in 1..nodes.len() {
        let Some(parent) = nodes[i].parent else { continue };
        nodes[i].inside = nodes[parent].inside || is_state[parent];
    }
}

/// Whether a node looks like a model; its parts must have been counted.
fn is_candidate(nodes: &[Node], i: usize) -> bool {
    let node = &nodes[i];
    match node.what {
        _ if node.weak || node.inside => false,
        What::Module => true,
        What::Mapping => node.good > 0,
        What::Tensor(_) | What::Other => false,
    }
}

/// The name of a step in lower case; none for names that nobody would give.
fn name_of(pickle: &Pickle, step: Step) -> String {
    match step {
        Step::Key(key) => pickle.name(key).map(|t| t.to_ascii_lowercase()).unwrap_or_default(),
        Step::Index(_) => String::new(),
    }
}

/// Names under which trainings keep things of their own.
fn is_weak(pickle: &Pickle, step: Step) -> bool {
    let name = name_of(pickle, step);
    // A key of a state dict may contain such a word.
    let plain = !name.contains('.');
    plain && ["optim", "sched", "rng", "scaler", "criterion"].iter().any(|word| name.contains(word))
}

/// Whether `inner` stands in `outer`.
fn within(nodes: &[Node], inner: usize, outer: usize) -> bool {
    let mut at = Some(inner);
    while let Some(node) = at {
        if node == outer {
            return true;
        }
        // What holds a node stands before it.
        if node < outer {
            return false;
        }
        at = nodes[node].parent;
    }
    false
}

/// Where a node stands; nothing if that is too long to be typed.
fn path(pickle: &Pickle, nodes: &[Node], node: usize) -> Option<String> {
    let mut steps = Vec::new();
    let mut at = node;
    while let (Some(parent), Some(step)) = (nodes[at].parent, nodes[at].step) {
        if steps.len() == MAX_DEPTH {
            return None;
        }
        steps.push(step);
        at = parent;
    }
    let mut text = String::new();
    for step in steps.into_iter().rev() {
        match step {
            Step::Index(i) => text += &format!("[{i}]"),
            Step::Key(key) => {
                if pickle.text_len(key) + text.len() > 4096 {
                    return None;
                }
                let name = key_text(pickle, key)?;
                if !text.is_empty() {
                    text.push('.');
                }
                text += &name;
            }
        }
    }
    Some(if text.is_empty() { ".".to_string() } else { text })
}

fn key_text(pickle: &Pickle, key: Id) -> Option<String> {
    pickle.text(key).map(|t| t.into_owned()).or_else(|| pickle.int(key).map(|n| n.to_string()))
}

/// The candidates, and everything as one, as lines of text.
fn choose(
    pickle: &Pickle,
    tensors: &mut Tensors<'_>,
    nodes: &[Node],
    candidates: &[usize],
    limit: &Limit,
) -> Missing {
    let mut lines = Vec::new();
    let root = (!candidates.contains(&0)).then_some(0);
    for &node in candidates.iter().take(MAX_LISTED).chain(&root) {
        let Some(path) = path(pickle, nodes, node) else { continue };
        let leaves = match flatten(pickle, tensors, nodes[node].id, &mut limit.clone()) {
            Ok(leaves) => leaves,
            Err(fault) => {
                lines.push(format!("`{}`, which {fault}", clip(&path)));
                continue;
            }
        };
        let parameters: usize = leaves
            .iter()
            .filter_map(|leaf| leaf.view.as_ref().ok())
            .fold(0, |sum, view| sum.saturating_add(view.count()));
        let all = if node == 0 { " (everything)" } else { "" };
        let plural = if leaves.len() == 1 { "" } else { "s" };
        lines.push(format!(
            "`{}`{all}: {} tensor{plural}, {parameters} parameters",
            clip(&path),
            leaves.len()
        ));
    }
    if candidates.len() > MAX_LISTED {
        lines.push(format!("and {} more", candidates.len() - MAX_LISTED));
    }
    Missing::Choose(lines)
}

/// All tensors in a thing, each under the names that lead to it, joined by points.
fn flatten(
    pickle: &Pickle,
    tensors: &mut Tensors<'_>,
    root: Id,
    limit: &mut Limit,
) -> Result<Vec<Leaf>, String> {
    /// A thing on the way, with what holds it.
    struct Way {
        id: Id,
        parent: Option<usize>,
        step: Option<Step>,
        depth: usize,
    }
    let mut work = Work::of(pickle);
    let mut ways: Vec<Way> = Vec::new();
    let mut open: Open = vec![(None, None, root)];
    let mut leaves = Vec::new();
    while let Some((parent, step, id)) = open.pop() {
        let id = resolve(pickle, id);
        let depth = parent.map_or(0, |p: usize| ways[p].depth + 1);
        let parts = match kind(tensors, pickle, id) {
            Kind::Optimizer | Kind::Other => continue,
            Kind::Tensor(view) => {
                work.take(0)?;
                limit.take(1, LEAF)?;
                let mut steps: Vec<Step> = step.into_iter().collect();
                let mut at = parent;
                while let Some(way) = at {
                    steps.extend(ways[way].step);
                    at = ways[way].parent;
                }
                leaves.push(Leaf { key: join(pickle, &steps, limit)?, view });
                continue;
            }
            Kind::Module(parts, _) | Kind::Mapping(parts) | Kind::Sequence(parts) | Kind::Object(parts) => {
                parts
            }
        };
        let mut at = parent;
        let mut cyclic = false;
        while let Some(way) = at {
            cyclic |= ways[way].id == id;
            at = ways[way].parent;
        }
        // An object that refers to what holds it adds nothing.
        if cyclic {
            continue;
        }
        if depth == MAX_DEPTH {
            return Err(format!("is nested more than {MAX_DEPTH} deep"));
        }
        work.take(parts.len())?;
        limit.take(1, NODE)?;
        let at = ways.len();
        ways.push(Way { id, parent, step, depth });
        push(pickle, &mut open, at, parts, limit)?;
    }
    Ok(leaves)
}

/// A key of steps, the innermost first.
fn join(pickle: &Pickle, steps: &[Step], limit: &mut Limit) -> Result<String, String> {
    if steps.is_empty() {
        return Ok("tensor".to_string());
    }
    let mut parts = Vec::with_capacity(steps.len());
    for step in steps.iter().rev() {
        parts.push(match step {
            Step::Index(i) => i.to_string(),
            Step::Key(key) => {
                // Once in its parts, once in the whole.
                limit.take(pickle.text_len(*key), 2)?;
                key_text(pickle, *key).unwrap_or_default()
            }
        });
    }
    Ok(parts.join("."))
}
