//! What a handler sees of its node: operands, attributes, and the graph to build on.
//!
//! Operands are [`Val`]s. [`Cx::shape`] is the model's own shape with the batch; [`Cx::ty`] is what the graph has, per
//! sample. [`Cx::axis`] maps an axis of the model to one of the graph and refuses the batch.

use std::collections::BTreeSet;
use std::sync::Arc;

use unfloat_ir::ops::{Concat, Reshape, Slice, Transpose};
use unfloat_ir::{Layout, Op, Origin, Tensor, TensorType, ValueId};

use super::dtype::DType;
use super::lower::Lowering;
use super::model::NodeDef;
use super::problem::{Annotate, Fault, Handled, warning};
use super::proto::AttributeProto;
use super::proto::attribute_proto::AttributeType;
use super::tensor;
use super::value::{Kind, Val};

/// Most samples for which a layer is written out when a graph is kept whole.
const MAX_UNROLLED: usize = 64;

/// One node under one batch size.
pub(crate) struct Cx<'s, 'l, 'n> {
    state: &'s mut Lowering<'l>,
    node: &'n NodeDef,
    inputs: Vec<Option<Val>>,
    size: usize,
    asked: bool,
    used: BTreeSet<&'static str>,
    origin: Origin,
}

impl<'s, 'l, 'n> Cx<'s, 'l, 'n> {
    pub(crate) fn new(
        state: &'s mut Lowering<'l>,
        node: &'n NodeDef,
        inputs: Vec<Option<Val>>,
        size: usize,
    ) -> Self {
        let origin = Origin::new("onnx", state.label, &node.place, &node.title());
        Self { state, node, inputs, size, asked: false, used: BTreeSet::new(), origin }
    }

    /// Whether the handler asked for the batch size, and the attributes that it did not ask for.
    pub(crate) fn finish(self) -> (bool, Vec<String>) {
        let ignored = |a: &&AttributeProto| !self.used.contains(a.name());
        (self.asked, self.node.attributes.iter().filter(ignored).map(|a| format!("`{}`", a.name())).collect())
    }

    /// The operator's name.
    pub(crate) fn op(&self) -> &'n str {
        &self.node.op
    }
    /// The version of its domain.
    pub(crate) fn opset(&self) -> i64 {
        self.node.opset
    }
    /// The number of results that the model names.
    pub(crate) fn results(&self) -> usize {
        self.node.outputs.len()
    }
    /// Whether result `i` is wanted.
    pub(crate) fn wants(&self, i: usize) -> bool {
        self.node.outputs.get(i).is_some_and(|o| !o.is_empty())
    }
    /// Says something about the node.
    pub(crate) fn warn(&mut self, text: impl Into<String>) {
        let found = warning(self.state.label, self.node.place.clone(), text).in_layer(self.node.title());
        self.state.find(*found);
    }
}

/// Operands.
impl Cx<'_, '_, '_> {
    /// Operand `i`.
    pub(crate) fn input(&self, i: usize) -> Handled<Val> {
        self.optional(i).ok_or_else(|| Fault::from(format!("input {i} is missing")))
    }
    /// Operand `i`, unless it is left out.
    pub(crate) fn optional(&self, i: usize) -> Option<Val> {
        self.inputs.get(i).cloned().flatten()
    }
    /// Another value for operand `i`, for a handler that works on it in another form.
    pub(crate) fn replace_input(&mut self, i: usize, val: Val) {
        if let Some(operand) = self.inputs.get_mut(i) {
            *operand = Some(val);
        }
    }
    /// All operands of a variadic operator.
    pub(crate) fn all(&self) -> Handled<Vec<Val>> {
        (0..self.inputs.len()).map(|i| self.input(i)).collect()
    }
    /// Operand `i`, which must be known if it is there.
    pub(crate) fn known_optional(&self, i: usize, what: &str) -> Handled<Option<Arc<Tensor>>> {
        match self.optional(i) {
            None => Ok(None),
            Some(val) => match val.known() {
                Some(tensor) => Ok(Some(tensor.clone())),
                None => Err(Fault::with_help(
                    format!("input {i}, the {what}, is computed when the network runs"),
                    "it must be known when the model is read: make it an initializer, or give its value",
                )),
            },
        }
    }
    /// The integers of operand `i`, if it is there.
    pub(crate) fn known_ints(&self, i: usize, what: &str) -> Handled<Option<Vec<i64>>> {
        let Some(tensor) = self.known_optional(i, what)? else { return Ok(None) };
        let ints: Option<Vec<i64>> = (0..tensor.len()).map(|k| tensor.data.code(k)).collect();
        ints.map(Some).ok_or_else(|| format!("input {i}, the {what}, holds no integers").into())
    }
    /// The floats of operand `i`, if it is there.
    pub(crate) fn known_floats(&self, i: usize, what: &str) -> Handled<Option<Vec<f32>>> {
        let Some(tensor) = self.known_optional(i, what)? else { return Ok(None) };
        match tensor.as_f32() {
            Some(values) => Ok(Some(values.to_vec())),
            None => Err(format!("input {i}, the {what}, holds no floats").into()),
        }
    }

    /// 1 for a value without its batch axis, else 0.
    pub(crate) fn lead(&self, val: &Val) -> usize {
        usize::from(val.is_node() && self.state.batch.is_some())
    }
    /// The type in the graph: per sample.
    pub(crate) fn ty(&self, val: &Val) -> TensorType {
        match &val.kind {
            Kind::Const(tensor) => tensor.ty.clone(),
            Kind::Node(id) => self.state.graph.ty(*id).clone(),
            // Handlers see one batch size at a time.
            Kind::PerBatch(all) => all[0].ty.clone(),
        }
    }
    /// The number of axes in the model.
    pub(crate) fn rank(&self, val: &Val) -> usize {
        self.ty(val).rank() + self.lead(val)
    }
    /// The shape in the model, with the batch.
    pub(crate) fn shape(&mut self, val: &Val) -> Vec<usize> {
        let mut dims = self.ty(val).shape.to_vec();
        if self.lead(val) == 1 {
            self.asked = true;
            dims.insert(0, self.size);
        }
        dims
    }
    /// The axis of the graph for an axis of the model, which may count from the end. Refuses the batch.
    pub(crate) fn axis(&self, val: &Val, axis: i64) -> Handled<usize> {
        let lead = self.lead(val);
        match normal_axis(axis, self.rank(val))?.checked_sub(lead) {
            Some(axis) => Ok(axis),
            None => Err(Fault::mixes("it works along the first axis, the batch")),
        }
    }
    /// Several axes, rising, without repetition; all of them when none is given.
    pub(crate) fn axes(&self, val: &Val, axes: &[i64]) -> Handled<Vec<usize>> {
        let mut found = axes.iter().map(|&a| self.axis(val, a)).collect::<Handled<Vec<usize>>>()?;
        found.sort_unstable();
        match found.windows(2).find(|w| w[0] == w[1]) {
            Some(w) => Err(format!("axis {} stands twice in {axes:?}", w[0]).into()),
            None => Ok(found),
        }
    }
    /// Refuses operands that differ from sample to sample where the graph wants the same for all.
    pub(crate) fn same_for_all(&self, val: &Val, what: &str) -> Handled<()> {
        if self.lead(val) == 1 {
            return Err(Fault::mixes(format!("the {what} is computed from the samples")));
        }
        Ok(())
    }
}

/// Attributes.
impl Cx<'_, '_, '_> {
    fn attribute(&mut self, name: &'static str, kind: AttributeType) -> Handled<Option<&AttributeProto>> {
        self.used.insert(name);
        let Some(found) = self.node.attributes.iter().find(|a| a.name() == name) else { return Ok(None) };
        // Files of IR version 1 do not say what an attribute is.
        match found.r#type.unwrap_or(0) {
            t if t == kind as i32 || t == 0 => Ok(Some(found)),
            _ => {
                let found = found.r#type().as_str_name();
                Err(format!("attribute `{name}`: expected {}, found {found}", kind.as_str_name()).into())
            }
        }
    }
    /// Whether an attribute is given.
    pub(crate) fn has(&mut self, name: &'static str) -> bool {
        self.used.insert(name);
        self.node.attributes.iter().any(|a| a.name() == name)
    }
    /// An integer, if it is given.
    pub(crate) fn int(&mut self, name: &'static str) -> Handled<Option<i64>> {
        Ok(self.attribute(name, AttributeType::Int)?.map(|a| a.i()))
    }
    /// An integer.
    pub(crate) fn int_or(&mut self, name: &'static str, default: i64) -> Handled<i64> {
        Ok(self.int(name)?.unwrap_or(default))
    }
    /// A flag, 0 or 1.
    pub(crate) fn flag(&mut self, name: &'static str, default: bool) -> Handled<bool> {
        Ok(self.int(name)?.map_or(default, |v| v != 0))
    }
    /// Integers, if they are given.
    pub(crate) fn ints(&mut self, name: &'static str) -> Handled<Option<Vec<i64>>> {
        Ok(self.attribute(name, AttributeType::Ints)?.map(|a| a.ints.clone()))
    }
    /// A number.
    pub(crate) fn float_or(&mut self, name: &'static str, default: f32) -> Handled<f32> {
        Ok(self.attribute(name, AttributeType::Float)?.map_or(default, |a| a.f()))
    }
    /// Numbers, if they are given.
    pub(crate) fn floats(&mut self, name: &'static str) -> Handled<Option<Vec<f32>>> {
        Ok(self.attribute(name, AttributeType::Floats)?.map(|a| a.floats.clone()))
    }
    /// Text, if it is given.
    pub(crate) fn text(&mut self, name: &'static str) -> Handled<Option<String>> {
        let found = self.attribute(name, AttributeType::String)?;
        Ok(found.map(|a| String::from_utf8_lossy(a.s()).into_owned()))
    }
    /// One of several words.
    pub(crate) fn word(&mut self, name: &'static str, default: &str, allowed: &[&str]) -> Handled<String> {
        let found = self.text(name)?.unwrap_or_else(|| default.to_string());
        if allowed.contains(&found.as_str()) {
            return Ok(found);
        }
        Err(format!("attribute `{name}`: expected {}, found `{found}`", allowed.join(", ")).into())
    }
    /// A tensor, if it is given.
    pub(crate) fn tensor(&mut self, name: &'static str) -> Handled<Option<Val>> {
        let Some(found) = self.attribute(name, AttributeType::Tensor)? else { return Ok(None) };
        let Some(mut stored) = found.t.clone() else {
            return Err(format!("attribute `{name}` holds no tensor").into());
        };
        let decoded =
            tensor::decode(&mut stored, self.state.files).map_err(|e| format!("attribute `{name}` {e}"))?;
        if decoded.rounded {
            self.warn("holds doubles that were rounded to single precision");
        }
        Ok(Some(Val::constant(decoded.tensor, decoded.dtype)))
    }
    /// Takes note of attributes that change nothing for inference.
    pub(crate) fn ignore(&mut self, names: &[&'static str]) {
        self.used.extend(names);
    }
}

/// Building.
impl Cx<'_, '_, '_> {
    /// Applies an op to operands as the graph has them. Floats keep the first operand's width.
    pub(crate) fn apply(&mut self, op: impl Into<Op>, operands: &[&Val]) -> Handled<Val> {
        let (kind, ty) = self.state.apply(op.into(), operands, &self.origin)?;
        let dtype = if ty.elem.is_float() {
            operands.iter().map(|v| v.dtype).find(|d| d.is_float()).unwrap_or(DType::F32)
        } else {
            match operands.first() {
                Some(first) if first.dtype.elem() == ty.elem => first.dtype,
                _ => DType::of(&ty.elem),
            }
        };
        // What is made of a weight, its transpose say, is still that weight to the user.
        let known = matches!(kind, Kind::Const(_));
        let name = operands.iter().find_map(|v| v.name.clone()).filter(|_| known);
        Ok(Val { kind, dtype, codes: None, name })
    }
    /// The op that makes a value, and its operands.
    pub(crate) fn made_by(&self, val: &Val) -> Option<(Op, Vec<Val>)> {
        let Kind::Node(id) = val.kind else { return None };
        let (_, node) = self.state.graph.producer(id)?;
        let operand = |id: ValueId| match self.state.graph.const_of(id) {
            Some(tensor) => Val::constant(tensor.clone(), DType::of(&tensor.ty.elem)),
            None => Val::node(id, DType::of(&self.state.graph.ty(id).elem)),
        };
        Some((node.op.clone(), node.inputs.iter().map(|&id| operand(id)).collect()))
    }
    /// The same elements under another shape of the graph.
    pub(crate) fn reshape(&mut self, val: &Val, shape: &[usize], layout: Layout) -> Handled<Val> {
        let ty = self.ty(val);
        if ty.shape.dims() == shape && ty.layout == layout {
            return Ok(val.clone());
        }
        let op = Reshape { shape: shape.into(), layout };
        let same = ty.shape.dims() == shape;
        let result = self.apply(op.clone(), &[val])?;
        // Codes under one scale take any shape; under several only new names for their axes.
        match &val.codes {
            Some([codes, scale, zero]) if same || (scale.len() == 1 && zero.len() == 1) => {
                let codes = self.moved(codes, op)?;
                let [scale, zero] = if same {
                    [scale.clone(), zero.clone()]
                } else {
                    let scalar = Reshape { shape: [].into(), layout: Layout::anonymous(0) };
                    [self.moved(scale, scalar.clone())?, self.moved(zero, scalar)?]
                };
                Ok(result.with_codes([codes, scale, zero]))
            }
            _ => Ok(result),
        }
    }
    /// A known tensor after an op that moves its elements.
    fn moved(&mut self, tensor: &Arc<Tensor>, op: impl Into<Op>) -> Handled<Arc<Tensor>> {
        let val = Val::constant(tensor.clone(), DType::of(&tensor.ty.elem));
        let result = self.apply(op, &[&val])?;
        result.known().cloned().ok_or_else(|| Fault::from("a known tensor is no longer known"))
    }
    /// A matrix as the weight of a `dense`, `[out, in]`; `turned` if it is `[in, out]` now.
    pub(crate) fn weight_matrix(&mut self, val: &Val, turned: bool) -> Handled<Val> {
        match (val.known(), &val.codes) {
            // In one step: weights can be large, and each step makes a copy.
            (Some(tensor), None) if turned && tensor.ty.rank() == 2 => {
                let mut tensor = tensor.transposed(&[1, 0]);
                tensor.ty.layout = Layout::weight(0);
                Ok(Val { kind: Kind::Const(tensor.into()), ..val.clone() })
            }
            _ => {
                let w = if turned { self.transpose(val, &[1, 0])? } else { val.clone() };
                self.relabel(&w, Layout::weight(0))
            }
        }
    }
    /// The same tensor with its axes renamed.
    pub(crate) fn relabel(&mut self, val: &Val, layout: Layout) -> Handled<Val> {
        let shape = self.ty(val).shape;
        self.reshape(val, &shape, layout)
    }
    /// The axes of the graph in another order.
    pub(crate) fn transpose(&mut self, val: &Val, perm: &[usize]) -> Handled<Val> {
        let op = Transpose { perm: perm.to_vec() };
        if op.is_identity() {
            return Ok(val.clone());
        }
        let result = self.apply(op.clone(), &[val])?;
        let Some([codes, scale, zero]) = &val.codes else { return Ok(result) };
        let mut along = [codes.clone(), scale.clone(), zero.clone()];
        for part in &mut along {
            if part.len() == 1 && part.ty.rank() < perm.len() {
                continue;
            }
            // Scales may have fewer axes than the codes that they broadcast to.
            let mut dims = vec![1; perm.len().saturating_sub(part.ty.rank())];
            dims.extend(part.ty.shape.iter());
            let layout = Layout::anonymous(dims.len());
            let whole = if dims.len() == part.ty.rank() {
                part.clone()
            } else {
                self.moved(part, Reshape { shape: dims.into(), layout })?
            };
            *part = self.moved(&whole, op.clone())?;
        }
        Ok(result.with_codes(along))
    }
    /// Cells `begin..begin + size` along one axis of the graph.
    pub(crate) fn narrow(&mut self, val: &Val, axis: usize, begin: usize, size: usize) -> Handled<Val> {
        let shape = self.ty(val).shape;
        if begin == 0 && shape.get(axis) == Some(&size) {
            return Ok(val.clone());
        }
        let (mut from, mut sizes) = (vec![0; shape.rank()], shape.to_vec());
        (from[axis], sizes[axis]) = (begin, size);
        self.apply(Slice { begin: from, size: sizes, step: vec![1; shape.rank()] }, &[val])
    }
    /// Values side by side along one axis of the graph, under the first one's axis names.
    pub(crate) fn concat(&mut self, vals: &[Val], axis: usize) -> Handled<Val> {
        if let [one] = vals {
            return Ok(one.clone());
        }
        let layout = vals.iter().map(|v| self.ty(v).layout).find(|l| *l != Layout::anonymous(l.rank()));
        let layout = layout.or_else(|| vals.first().map(|v| self.ty(v).layout));
        let same = vals
            .iter()
            .map(|v| match layout {
                Some(l) if l.rank() == self.ty(v).rank() => self.relabel(v, l),
                _ => Ok(v.clone()),
            })
            .collect::<Handled<Vec<Val>>>()?;
        self.apply(Concat { axis }, &same.iter().collect::<Vec<_>>())
    }

    /// Runs `f` on one sample at a time, its axes named by `layout`: on the value itself when it has no batch axis,
    /// else on each slice along the first axis.
    pub(crate) fn each_sample(
        &mut self,
        x: &Val,
        layout: Layout,
        mut f: impl FnMut(&mut Self, &Val) -> Handled<Val>,
    ) -> Handled<Val> {
        if self.lead(x) == 1 {
            let x = self.relabel(x, layout)?;
            return f(self, &x);
        }
        let dims = self.ty(x).shape.to_vec();
        let Some((&count, sample)) = dims.split_first() else {
            return Err("expected an input with a batch axis, found a scalar".into());
        };
        if count == 0 || count > MAX_UNROLLED {
            let text = format!("the graph is kept whole, and its layers see {count} samples at once");
            let help = format!("1 to {MAX_UNROLLED} can be written out; export the model with a batch of 1");
            return Err(Fault::with_help(text, help));
        }
        let mut results = Vec::with_capacity(count);
        for i in 0..count {
            let one = self.narrow(x, 0, i, 1)?;
            let one = self.reshape(&one, sample, layout)?;
            let y = f(self, &one)?;
            let mut shape = self.ty(&y).shape.to_vec();
            shape.insert(0, 1);
            let rank = shape.len();
            results.push(self.reshape(&y, &shape, Layout::anonymous(rank))?);
        }
        self.concat(&results, 0)
    }

    /// Operands for an op that broadcasts: known ones lose the axis that stands for the batch.
    pub(crate) fn aligned(&mut self, vals: &[Val]) -> Handled<Vec<Val>> {
        let rank = vals.iter().map(|v| self.rank(v)).max().unwrap_or(0);
        if !vals.iter().any(|v| self.lead(v) == 1) {
            return self.one_layout(vals);
        }
        let mut out = Vec::with_capacity(vals.len());
        for val in vals {
            if self.lead(val) == 1 {
                if self.rank(val) < rank {
                    return Err(Fault::mixes("broadcasting moves the batch from the first axis"));
                }
                out.push(val.clone());
            } else if self.rank(val) == rank {
                out.push(self.without_batch(val)?);
            } else {
                out.push(val.clone());
            }
        }
        self.one_layout(&out)
    }

    /// A known operand that is the same for all samples, without its first axis.
    pub(crate) fn without_batch(&mut self, val: &Val) -> Handled<Val> {
        let dims = self.ty(val).shape.to_vec();
        let Some((&count, rest)) = dims.split_first() else { return Ok(val.clone()) };
        self.asked |= count != 1;
        let Some(tensor) = val.known().cloned() else { return Ok(val.clone()) };
        let row: usize = rest.iter().product();
        let equal = |i: usize| match tensor.as_f32() {
            Some(v) => v[i].to_bits() == v[i % row].to_bits(),
            None => tensor.data.code(i) == tensor.data.code(i % row),
        };
        if count == 0 || (count != 1 && count != self.size) || !(0..tensor.len()).all(equal) {
            return Err(Fault::mixes("a constant differs from sample to sample"));
        }
        let first = self.narrow(val, 0, 0, 1)?;
        self.reshape(&first, rest, Layout::anonymous(rest.len()))
    }

    /// Operands whose axis names agree: by position, as ONNX pairs axes.
    fn one_layout(&mut self, vals: &[Val]) -> Handled<Vec<Val>> {
        let types: Vec<TensorType> = vals.iter().map(|v| self.ty(v)).collect();
        let rank = types.iter().map(TensorType::rank).max().unwrap_or(0);
        let plain = Layout::anonymous(rank);
        let named = types.iter().find(|t| t.rank() == rank && t.layout != plain).map(|t| t.layout);
        let Some(layout) = named else { return Ok(vals.to_vec()) };
        let one = |cx: &mut Self, (val, ty): (&Val, &TensorType)| {
            if ty.rank() == rank && ty.layout != plain { cx.relabel(val, layout) } else { Ok(val.clone()) }
        };
        vals.iter().zip(&types).map(|pair| one(self, pair)).collect()
    }
}

/// An axis that may count from the end, as one from the beginning.
pub(crate) fn normal_axis(axis: i64, rank: usize) -> Handled<usize> {
    let found = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
    match found.and_then(|a| usize::try_from(a).ok()).filter(|&a| a < rank) {
        Some(axis) => Ok(axis),
        None => Err(format!("axis {axis} of a tensor of rank {rank}").into()),
    }
}

/// Numbers that count cells: not negative.
pub(crate) fn sizes(values: &[i64], what: &str) -> Handled<Vec<usize>> {
    let found: Option<Vec<usize>> = values.iter().map(|&v| usize::try_from(v).ok()).collect();
    found.ok_or_else(|| format!("{what}: expected numbers of 0 or more, found {values:?}").into())
}
