//! The model's inputs: which axis is the batch, and what each input is.
//!
//! In: a model and the user's options. Out: the batch, and an input of the graph for each of the model's. Refuses:
//! inputs without a type or a shape, element types that graphs do not have, open extents other than the batch.

use std::collections::{BTreeMap, BTreeSet};

use unfloat_ir::{Diagnostic, Layout, TensorType};

use super::dtype::DType;
use super::lower::{Lowering, PROBES};
use super::model::{Model, NodeDef};
use super::ops::registry::LAST;
use super::problem::{Annotate, clip, error, warning};
use super::proto::tensor_shape_proto::dimension;
use super::proto::{ValueInfoProto, type_proto};
use super::value::{Slot, Val};
use super::{BatchAxis, OnnxOptions};

/// How many samples a model takes at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Batch {
    /// Any number.
    Any,
    /// The number that is written in the file.
    Fixed([usize; 1]),
}

impl Batch {
    /// The sizes for which a model is read.
    pub(crate) fn sizes(&self) -> &[usize] {
        match self {
            Batch::Any => &PROBES,
            Batch::Fixed(size) => size,
        }
    }
}

/// An extent of an input.
#[derive(Clone, PartialEq, Debug)]
enum Dim {
    Known(usize),
    /// Open, under its own name or that of its place.
    Open(String),
}

/// The name of an extent that the model gives none: `INPUT.AXIS`.
fn place_of(input: &str, axis: usize) -> String {
    format!("{input}.{axis}")
}

/// Type and shape of an input, as far as they are known.
fn declared(input: &ValueInfoProto, options: &OnnxOptions) -> Result<(DType, Vec<Dim>), String> {
    let value = input.r#type.as_ref().and_then(|t| t.value.as_ref());
    let tensor = match value {
        Some(type_proto::Value::TensorType(tensor)) => tensor,
        Some(_) => return Err("is a sequence, a map or an optional; only tensors are supported".to_string()),
        None => return Err("has no type".to_string()),
    };
    let dtype =
        DType::from_code(tensor.elem_type()).map_err(|e| format!("is of {e}, which graphs do not have"))?;
    let Some(shape) = &tensor.shape else { return Err("has no shape".to_string()) };
    let dim = |(axis, d): (usize, &super::proto::tensor_shape_proto::Dimension)| {
        let name = match &d.value {
            Some(dimension::Value::DimValue(n)) if *n > 0 => {
                return Dim::Known(usize::try_from(*n).unwrap_or(usize::MAX));
            }
            Some(dimension::Value::DimParam(name)) if !name.is_empty() => name.clone(),
            // Old exporters write 0 or -1 for an open extent.
            _ => place_of(input.name(), axis),
        };
        let known = options.dims.get(&name).or_else(|| options.dims.get(&place_of(input.name(), axis)));
        known.map_or(Dim::Open(name), |&n| Dim::Known(n))
    };
    Ok((dtype, shape.dim.iter().enumerate().map(dim).collect()))
}

/// Inputs whose values the user does not give.
fn free<'a>(model: &'a Model, options: &'a OnnxOptions) -> impl Iterator<Item = &'a ValueInfoProto> {
    model.inputs.iter().filter(|i| !options.values.contains_key(i.name()))
}

/// Finds the batch. Nothing at all when an input is unusable.
pub(crate) fn detect(
    label: &str,
    model: &Model,
    options: &OnnxOptions,
    findings: &mut Vec<Diagnostic>,
) -> Option<Option<Batch>> {
    let mut shapes = Vec::new();
    for input in free(model, options) {
        match declared(input, options) {
            Ok((_, dims)) => shapes.push(dims),
            Err(fault) => findings.push(
                *error(label, format!("input {}", clip(input.name())), fault)
                    .with_help("export the model again with a tensor type and a shape for each input"),
            ),
        }
    }
    if shapes.len() != free(model, options).count() {
        return None;
    }
    let firsts: Vec<Option<&Dim>> = shapes.iter().map(|dims| dims.first()).collect();
    let open = firsts.iter().all(|d| matches!(d, Some(Dim::Open(_))));
    let fixed = match firsts.first() {
        Some(Some(Dim::Known(n))) if firsts.iter().all(|d| *d == Some(&Dim::Known(*n))) => Some(*n),
        _ => None,
    };
    let found = match (open && !firsts.is_empty(), fixed) {
        (true, _) => Some(Batch::Any),
        (false, Some(n)) => Some(Batch::Fixed([n])),
        _ => None,
    };
    match options.batch {
        BatchAxis::None => Some(None),
        BatchAxis::First if found.is_none() => {
            let text = "the inputs have no first axis in common that could be the batch";
            findings.push(*error(label, "graph", text).with_help("read it with --batch none"));
            None
        }
        BatchAxis::First => Some(found),
        // A single known axis is more likely the features of one sample.
        BatchAxis::Auto if !open && shapes.iter().any(|dims| dims.len() < 2) => Some(None),
        BatchAxis::Auto => Some(found),
    }
}

/// Adds the inputs to the graph.
pub(crate) fn add(state: &mut Lowering<'_>, model: &Model, options: &OnnxOptions) -> BTreeMap<String, Slot> {
    let mut values = BTreeMap::new();
    for input in &model.inputs {
        let slot = one(state, model, input, options);
        values.insert(input.name().to_string(), slot);
    }
    let known: BTreeSet<&str> = model.inputs.iter().map(|i| i.name()).collect();
    for name in options.values.keys().filter(|n| !known.contains(n.as_str())) {
        let text = format!("the model has no input `{}` to give a value to", clip(name));
        state.find(*error(state.label, "graph", text));
    }
    values
}

fn one(state: &mut Lowering<'_>, model: &Model, input: &ValueInfoProto, options: &OnnxOptions) -> Slot {
    let place = format!("input {}", clip(input.name()));
    let Ok((dtype, dims)) = declared(input, options) else { return Slot::Broken };
    if let Some(value) = options.values.get(input.name()) {
        let layout = Layout::anonymous(value.ty.rank());
        let tensor = value.clone();
        let shape = tensor.ty.shape.clone();
        return Slot::Val(Val::constant(tensor.reshaped(shape, layout), dtype));
    }
    if dtype.is_float() && dtype != DType::F32 {
        state.find(*warning(state.label, place.clone(), format!("{dtype} is computed in single precision")));
    }
    if dtype.to_string() == "uint64" {
        let text = "uint64 is held in 63 bits: values from 2^63 on cannot be given";
        state.find(*warning(state.label, place.clone(), text));
    }
    let lead = usize::from(state.batch.is_some());
    let mut shape = Vec::new();
    for (axis, dim) in dims.iter().enumerate().skip(lead) {
        match dim {
            Dim::Known(n) => shape.push(*n),
            Dim::Open(name) if axis == 0 => {
                let text = format!("the open extent `{}` of axis 0 is taken as 1", clip(name));
                state.find(*warning(state.label, place.clone(), text));
                shape.push(1);
            }
            Dim::Open(name) => {
                let text = format!("the extent `{}` of axis {axis} is open", clip(name));
                let own = place_of(input.name(), axis);
                let help = match *name == own {
                    true => format!("say how large it is, with --dim {own}=N"),
                    false => format!("say how large it is, with --dim {name}=N or --dim {own}=N"),
                };
                state.find(*error(state.label, place, text).with_help(help));
                return Slot::Broken;
            }
        }
    }
    let layout =
        if lead == 1 { layout(model, input.name(), shape.len()) } else { Layout::anonymous(shape.len()) };
    if layout.rank() != shape.len() {
        let text = format!("has {} axes; at most {} are supported", shape.len(), layout.rank());
        state.find(*error(state.label, place, text));
        return Slot::Broken;
    }
    let id = state.graph.add_input(input.name(), TensorType::new(dtype.elem(), shape, layout));
    Slot::Val(Val::node(id, dtype))
}

/// Operators that work on an image, channels first, in operand 0.
const IMAGE: [&str; 17] = [
    "Conv",
    "ConvTranspose",
    "ConvInteger",
    "QLinearConv",
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "BatchNormalization",
    "InstanceNormalization",
    "LRN",
    "DepthToSpace",
    "SpaceToDepth",
    "Resize",
    "Upsample",
    "QuantAvgPool2d",
    "MultiThreshold",
];
/// Operators that leave the axes as they are.
const PLAIN: [&str; 16] = [
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Relu",
    "Clip",
    "Cast",
    "Pad",
    "Identity",
    "Quant",
    "IntQuant",
    "BipolarQuant",
    "QuantizeLinear",
    "DequantizeLinear",
    "Floor",
    "Sign",
];

/// The names of the axes, per sample, of the image that a node reads, if it reads one.
fn image(node: &NodeDef, rank: usize) -> Option<Layout> {
    let op = node.op.as_str();
    let layout = node.attributes.iter().find(|a| a.name() == "data_layout");
    let said_last = layout.is_some_and(|a| a.s().ends_with(b"C") && a.s().len() == rank + 1);
    if op == "MaxPoolNHWC"
        || (node.domain == LAST && IMAGE.contains(&op))
        || (IMAGE.contains(&op) && said_last)
    {
        return Some(Layout::channels_last(rank - 1));
    }
    IMAGE.contains(&op).then(|| Layout::channels_first(rank - 1))
}

/// The names of an input's axes per sample, by what reads it: an image that is transposed first was channels-last.
fn layout(model: &Model, name: &str, rank: usize) -> Layout {
    if rank <= 1 {
        return if rank == 1 { Layout::channels_first(0) } else { Layout::anonymous(0) };
    }
    let start: Vec<usize> = (0..=rank).collect();
    let mut open: Vec<(&str, Vec<usize>)> = vec![(name, start)];
    let mut at = 0;
    // Few steps suffice: what reads an input stands near it.
    while at < open.len() && at < 32 {
        let (name, axes) = open[at].clone();
        at += 1;
        for node in model.nodes.iter().filter(|n| n.inputs.first().is_some_and(|i| i == name)) {
            let reads = if rank <= 4 { image(node, rank) } else { None };
            if let Some(layout) = reads {
                let inverse: Option<Vec<usize>> =
                    (1..=rank).map(|axis| axes.iter().position(|&a| a == axis)?.checked_sub(1)).collect();
                if let Some(inverse) = inverse {
                    return layout.permuted(&inverse);
                }
            }
            let Some(output) = node.outputs.first() else { continue };
            if PLAIN.contains(&node.op.as_str()) {
                open.push((output, axes.clone()));
            } else if node.op == "Transpose" {
                let perm = node.attributes.iter().find(|a| a.name() == "perm").map(|a| a.ints.as_slice());
                let moved = perm.unwrap_or(&[]).iter().map(|&p| axes.get(usize::try_from(p).ok()?).copied());
                if let Some(moved) = moved.collect::<Option<Vec<usize>>>().filter(|m| m.len() == axes.len()) {
                    open.push((output, moved));
                }
            }
        }
    }
    Layout::anonymous(rank)
}
