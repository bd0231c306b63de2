//! What the records of a pickle hold, as one looks for tensors: mappings, sequences, modules, optimizers, tensors.
//!
//! In: a record. Out: its parts with the steps that lead to them. Nothing here follows a part into its own parts.

use std::collections::BTreeSet;

use super::numpy;
use super::pickle::{Id, Object, Pickle, Record};
use super::rebuild::Tensors;
use super::view::View;

/// Wrappers without meaning that are opened.
const MAX_WRAPPERS: usize = 16;

/// How one gets from a thing to a part of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// A key of a mapping, or an attribute's name: a text or an integer.
    Key(Id),
    /// A place in a sequence.
    Index(usize),
}

/// Parts with the steps that lead to them.
pub(crate) type Parts = Vec<(Step, Id)>;

/// What a record is to someone who looks for tensors.
pub(crate) enum Kind {
    Tensor(Result<View, String>),
    /// Momenta and the like: tensors of a training, and not of a model.
    Optimizer,
    /// A module of PyTorch or TorchScript; `true` if it computes a loss.
    Module(Parts, bool),
    Mapping(Parts),
    Sequence(Parts),
    /// Something of an unknown class, by its arguments and attributes.
    Object(Parts),
    /// A number, a text, a class.
    Other,
}

/// Opens wrappers that add nothing.
pub(crate) fn resolve(pickle: &Pickle, mut id: Id) -> Id {
    for _ in 0..MAX_WRAPPERS {
        let Some(object) = pickle.object(id) else { break };
        if let Some((items, true)) = numpy::objects(pickle, object) {
            id = items[0];
            continue;
        }
        match pickle.class(object.class) {
            Some((module, name))
                if module == "torch.jit._pickle"
                    && matches!(&*name, "restore_type_tag" | "build_tensorlist") =>
            {
                let Some(&first) = pickle.args(object).first() else { break };
                id = first;
            }
            _ => break,
        }
    }
    id
}

/// What a record is. It should be [`resolve`]d.
pub(crate) fn kind(tensors: &mut Tensors<'_>, pickle: &Pickle, id: Id) -> Kind {
    match pickle.get(id) {
        Record::List(items) | Record::Tuple(items) | Record::Set(items) => Kind::Sequence(indexed(items)),
        Record::Dict(pairs) => mapping(pickle, pairs.iter().copied()),
        Record::Object(object) => match tensors.describe(id) {
            Some(tensor) => Kind::Tensor(tensor),
            None => self::object(pickle, object),
        },
        _ => Kind::Other,
    }
}

fn indexed(items: &[Id]) -> Parts {
    items.iter().enumerate().map(|(i, &id)| (Step::Index(i), id)).collect()
}

fn keyed(pickle: &Pickle, pairs: impl Iterator<Item = (Id, Id)>) -> Parts {
    let step = |(i, (key, value)): (usize, (Id, Id))| match pickle.get(key) {
        Record::Text(_) | Record::Bytes(_) | Record::Int(_) | Record::Bool(_) => (Step::Key(key), value),
        _ => (Step::Index(i), value),
    };
    pairs.enumerate().map(step).collect()
}

/// The part under a name.
fn under(pickle: &Pickle, parts: &Parts, name: &str) -> Option<Id> {
    let is = |step: &Step| matches!(step, Step::Key(key) if pickle.is_text(*key, name));
    parts.iter().find(|(step, _)| is(step)).map(|p| p.1)
}

fn mapping(pickle: &Pickle, pairs: impl Iterator<Item = (Id, Id)>) -> Kind {
    let parts = keyed(pickle, pairs);
    if under(pickle, &parts, "param_groups").is_some() && under(pickle, &parts, "state").is_some() {
        return Kind::Optimizer;
    }
    Kind::Mapping(parts)
}

/// The attributes of an object: its states' entries.
fn attributes(pickle: &Pickle, object: &Object) -> Parts {
    let Some(state) = object.states.last() else { return Vec::new() };
    // Classes with slots have two dictionaries.
    let states = match pickle.get(*state) {
        Record::Tuple(pair) if pair.len() == 2 => pair.as_slice(),
        _ => std::slice::from_ref(state),
    };
    let mut parts = Vec::new();
    for &state in states {
        if let Record::Dict(pairs) = pickle.get(state) {
            parts.extend(keyed(pickle, pairs.iter().copied()));
        }
    }
    parts
}

/// The pairs of an ordered dictionary and its like.
fn ordered(pickle: &Pickle, object: &Object) -> Option<Vec<(Id, Id)>> {
    let (module, name) = pickle.class(object.class)?;
    if module != "collections" || !matches!(&*name, "OrderedDict" | "defaultdict" | "Counter") {
        return None;
    }
    // Python 2 hands the pairs over as a list of lists.
    let listed = pickle.args(object).first().and_then(|&list| pickle.elements(list)).unwrap_or(&[]);
    let listed = listed.iter().filter_map(|&pair| match pickle.elements(pair) {
        Some(&[key, value]) => Some((key, value)),
        _ => None,
    });
    Some(listed.chain(object.pairs.iter().copied()).collect())
}

fn object(pickle: &Pickle, object: &Object) -> Kind {
    if let Some((items, _)) = numpy::objects(pickle, object) {
        return Kind::Sequence(indexed(items));
    }
    let class = pickle.class(object.class);
    let module = class.as_ref().map_or("", |c| &*c.0);
    if let Some(pairs) = ordered(pickle, object) {
        return mapping(pickle, pairs.into_iter());
    }
    if module.starts_with("torch.optim") {
        return Kind::Optimizer;
    }
    let mut parts = attributes(pickle, object);
    if under(pickle, &parts, "param_groups").is_some() && under(pickle, &parts, "state").is_some() {
        return Kind::Optimizer;
    }
    if let Some(modules) = under(pickle, &parts, "_modules")
        && let Some(parameters) = under(pickle, &parts, "_parameters")
    {
        let buffers = under(pickle, &parts, "_buffers");
        let transient = under(pickle, &parts, "_non_persistent_buffers_set");
        let inside = module_parts(pickle, parameters, buffers, modules, transient);
        return Kind::Module(inside, module == "torch.nn.modules.loss");
    }
    if module.starts_with("__torch__") {
        return Kind::Module(parts, false);
    }
    parts.extend(keyed(pickle, object.pairs.iter().copied()));
    let args = pickle.args(object).iter().chain(&object.kwargs).chain(&object.items);
    let args = args.enumerate().map(|(i, &id)| (Step::Index(i), id));
    match (object.pairs.is_empty(), object.items.is_empty()) {
        (false, true) => Kind::Mapping(parts),
        (true, false) => Kind::Sequence(indexed(&object.items)),
        _ => Kind::Object(args.chain(parts).collect()),
    }
}

/// The parts of a module in the order of its `state_dict`: parameters, persistent buffers, modules.
fn module_parts(
    pickle: &Pickle,
    parameters: Id,
    buffers: Option<Id>,
    modules: Id,
    transient: Option<Id>,
) -> Parts {
    let pairs = |id: Id| match pickle.get(id) {
        Record::Dict(pairs) => keyed(pickle, pairs.iter().copied()),
        Record::Object(object) => keyed(pickle, ordered(pickle, object).unwrap_or_default().into_iter()),
        _ => Vec::new(),
    };
    let buffers = buffers.map(pairs).unwrap_or_default();
    // The set names some of the buffers.
    let most = buffers.len();
    let transient: BTreeSet<_> = match transient.map(|id| pickle.get(id)) {
        Some(Record::Set(names)) => names.iter().take(most).filter_map(|&n| pickle.name(n)).collect(),
        // Protocol 2 writes a set as a call with a list.
        Some(Record::Object(set)) => {
            let list = pickle.args(set).first().and_then(|&list| pickle.elements(list)).unwrap_or(&[]);
            list.iter().take(most).filter_map(|&n| pickle.name(n)).collect()
        }
        _ => BTreeSet::new(),
    };
    let kept = |step: &Step| match step {
        Step::Key(key) => pickle.name(*key).is_none_or(|name| !transient.contains(&name)),
        Step::Index(_) => true,
    };
    let mut parts = pairs(parameters);
    parts.extend(buffers.into_iter().filter(|(step, _)| kept(step)));
    parts.extend(pairs(modules));
    parts
}
