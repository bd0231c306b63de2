//! Quantizes a float graph by a recipe whose numbers are known.
//!
//! In: a folded graph, and the [`Resolved`] recipe that was made for it. Out: the same graph, *fake-quantized*: weights and
//! biases are codes in front of a `dequantize`, values that are quantized go through `quantize` and `dequantize`; all else
//! still computes in floats. What the recipe does not name is left as it is. Refused: running without a recipe, or with one
//! that names what the graph has not.
//!
//! A value keeps its name; the codes behind it are called `NAME.codes`, and what its readers see is `NAME.quantized`.

use crate::calibrate::{channels, weights};
use crate::pass::{Change, Claim, Pass, PassCx, PassInfo};
use crate::recipe::resolved::{Codes, Resolved};
use std::borrow::Cow;
use std::collections::BTreeMap;
use unfloat_ir::ops::{Dequantize, Quantize, QuantizeOrder};
use unfloat_ir::{
    Data, Diagnostic, Diagnostics, ElemType, Graph, IntType, Layout, Location, Node, NodeId, Origin, Patch,
    Stage, Tensor, TensorType, ValueId,
};

/// The pass `quantize`.
pub struct QuantizeByRecipe;

static INFO: PassInfo = PassInfo {
    name: "quantize",
    summary: "quantize weights, biases and activations by a recipe",
    details: "Weights and biases become codes behind a dequantize; the values that the recipe names go through a quantizer. \
              Which numbers those are is found by calibration (`--calibrate`), for which the recipe or `--quantize` says \
              the formats. What is quantized already, and what the recipe keeps, stays.",
    options: &[],
    from: Stage::Folded,
    to: Stage::Folded,
    claim: Claim::Lossy {
        metric: Cow::Borrowed("signal to quantization noise per layer, on the calibration samples"),
    },
};

impl Pass for QuantizeByRecipe {
    fn info(&self) -> &'static PassInfo {
        &INFO
    }
    fn run(&self, graph: &mut Graph, cx: &mut PassCx) -> Result<Change, Diagnostics> {
        let Some(recipe) = cx.recipe else {
            return Err(Diagnostic::error(Location::default(), "pass `quantize` needs a recipe with all numbers filled in")
                .help("`unfloat convert --quantize SPEC` or `--recipe FILE` make one, with --calibrate DATA where ranges are needed")
                .into());
        };
        let mut work = Work::new(graph, recipe);
        work.check()?;
        work.inputs()?;
        for id in graph.order().to_vec() {
            work.node(id)?;
        }
        let Work { patch, pairs, changes, .. } = work;
        let edit = patch.finish();
        graph.apply(edit);
        // A replacement takes over the old value's name; here the old value stays, and keeps it.
        for pair in pairs {
            graph.rename(pair.behind, &format!("{}.quantized", pair.name));
            graph.rename(pair.raw, &pair.name);
        }
        Ok(Change::of(changes))
    }
}

/// A value and what its readers see in its place.
struct Pair {
    raw: ValueId,
    behind: ValueId,
    name: String,
}

struct Work<'g> {
    graph: &'g Graph,
    recipe: &'g Resolved,
    patch: Patch<'g>,
    /// What nodes of the patch read in place of a value.
    now: BTreeMap<ValueId, ValueId>,
    /// Weights that several layers share.
    shared: BTreeMap<ValueId, ValueId>,
    pairs: Vec<Pair>,
    changes: usize,
    zero: ValueId,
}

impl<'g> Work<'g> {
    fn new(graph: &'g Graph, recipe: &'g Resolved) -> Self {
        let mut patch = Patch::new(graph);
        let zero = patch.constant("zero", scalar(0.0));
        let (now, shared) = (BTreeMap::new(), BTreeMap::new());
        Self { graph, recipe, patch, now, shared, pairs: Vec::new(), changes: 0, zero }
    }

    /// Refuses a recipe that was made for another graph.
    fn check(&self) -> Result<(), Diagnostics> {
        let names: BTreeMap<&str, ValueId> =
            self.graph.values().map(|(id, v)| (v.name.as_str(), id)).collect();
        let r = self.recipe;
        let weights = r.weights.iter().map(|w| &w.value);
        let biases = r.biases.iter().map(|b| &b.value);
        let sums = r.accumulators.iter().map(|a| &a.value);
        let all = weights.chain(biases).chain(sums).chain(r.activations.iter().map(|a| &a.value));
        let mut found = Diagnostics::new();
        for name in all.filter(|n| !names.contains_key(n.as_str())) {
            let text = format!("the recipe's numbers are for a value `{name}`, which the graph has not");
            found.push(Diagnostic::error(Location::default(), text).help("calibrate this very graph"));
        }
        found.into_result(())
    }

    /// Quantizers behind inputs and constants.
    fn inputs(&mut self) -> Result<(), Diagnostics> {
        let graph = self.graph;
        let values = graph.values().filter(|(id, _)| graph.producer(*id).is_none());
        for (id, value) in values {
            if let Some(a) = self.recipe.activations.iter().find(|a| a.value == value.name) {
                let reader = self.graph.live_nodes().find(|(_, n)| n.inputs.contains(&id));
                let origin = reader.map(|(_, n)| n.origin.clone()).unwrap_or_default();
                let Some(tensor) = graph.const_of(id) else {
                    let behind = self.quantizer(id, &value.name, a.quantizer, a.scale, &origin)?;
                    self.put(id, id, behind)?;
                    continue;
                };
                // An operand of a concatenation: nobody else needs the floats.
                let op = quantize(a.quantizer);
                let floats = tensor.as_f32().unwrap_or_default();
                let codes = floats.iter().map(|&v| op.apply(v, a.scale, 0.0)).collect();
                let new = self.constant(id, tensor, op.to, codes, &[a.scale], None, &origin)?;
                self.put(id, new, new)?;
            }
        }
        Ok(())
    }

    /// `behind` is what readers of `old` see from now on; `raw` is what makes it.
    fn put(&mut self, old: ValueId, raw: ValueId, behind: ValueId) -> Result<(), Diagnostic> {
        self.patch.replace(old, behind)?;
        self.now.insert(old, behind);
        if behind != raw {
            self.pairs.push(Pair { raw, behind, name: self.graph.value(old).name.clone() });
        }
        self.changes += 1;
        Ok(())
    }

    fn quantizer(
        &mut self,
        x: ValueId,
        name: &str,
        codes: Codes,
        scale: f32,
        origin: &Origin,
    ) -> Result<ValueId, Diagnostic> {
        let op = quantize(codes);
        let scale = self.patch.constant(&format!("{name}.scale"), scalar(scale));
        let q = self.patch.node(op, &[x, scale, self.zero], &format!("{name}.codes"), origin)?;
        self.patch.node(Dequantize, &[q, scale, self.zero], name, origin)
    }

    fn node(&mut self, id: NodeId) -> Result<(), Diagnostics> {
        let node = self.graph.node(id);
        let name = &self.graph.value(node.output).name;
        let mut raw = self.layer(node, name)?;
        let sums = self.recipe.accumulators.iter().find(|a| a.value == *name);
        let activation = self.recipe.activations.iter().find(|a| a.value == *name);
        if raw == node.output && sums.is_none() && activation.is_none() {
            return Ok(());
        }
        let made = raw;
        let mut behind = raw;
        if let Some(a) = sums {
            behind = self.quantizer(raw, &format!("{name}.sum"), a.quantizer, a.scale, &node.origin)?;
            raw = behind;
        }
        if let Some(a) = activation {
            behind = self.quantizer(raw, name, a.quantizer, a.scale, &node.origin)?;
        }
        self.put(node.output, made, behind)?;
        Ok(())
    }

    /// The layer with its weights and biases as codes; the layer itself where they stay.
    fn layer(&mut self, node: &Node, name: &str) -> Result<ValueId, Diagnostics> {
        let mut inputs: Vec<ValueId> = node.inputs.iter().map(|v| *self.now.get(v).unwrap_or(v)).collect();
        let mut changed = false;
        for w in self.recipe.weights.iter().filter(|w| w.value == *name) {
            let Some(&v) = node.inputs.get(w.operand) else { continue };
            let new = match self.shared.get(&v) {
                Some(&new) => new,
                None => {
                    let Some(tensor) = self.graph.const_of(v) else { continue };
                    let codes = w.codes.clone();
                    let axis = channels(node, w.format);
                    let new = self.constant(
                        v,
                        tensor,
                        weights::elem(w.format),
                        codes,
                        &w.scale,
                        axis,
                        &node.origin,
                    )?;
                    self.shared.insert(v, new);
                    new
                }
            };
            inputs[w.operand] = new;
            changed = true;
        }
        for b in self.recipe.biases.iter().filter(|b| b.value == *name) {
            let Some(&v) = node.inputs.get(2) else { continue };
            let Some(tensor) = self.graph.const_of(v) else { continue };
            let Some(floats) = tensor.as_f32() else { continue };
            let corrected: Vec<f32> =
                floats.iter().enumerate().map(|(i, f)| f + b.correction.get(i).unwrap_or(&0.0)).collect();
            let floats = corrected.as_slice();
            if b.scale.is_empty() {
                if !b.correction.is_empty() {
                    let data = Data::F32(corrected);
                    inputs[2] = self
                        .patch
                        .constant(&self.graph.value(v).name, Tensor { ty: tensor.ty.clone(), data });
                    changed = true;
                }
                continue;
            }
            let codes = match b.format {
                crate::recipe::Bias::Format(format) => weights::codes(floats, &b.scale, format),
                crate::recipe::Bias::Accumulator => on_grid(floats, &b.scale),
            };
            let elem = match b.format {
                crate::recipe::Bias::Format(format) => format.elem(),
                crate::recipe::Bias::Accumulator => ElemType::Int(wide(&codes)),
            };
            let axis = (b.scale.len() > 1).then_some(0);
            inputs[2] = self.constant(v, tensor, elem, codes, &b.scale, axis, &node.origin)?;
            changed = true;
        }
        if !changed {
            return Ok(node.output);
        }
        Ok(self.patch.node(node.op.clone(), &inputs, name, &node.origin)?)
    }

    /// Codes behind a `dequantize`, in place of a float constant.
    #[allow(clippy::too_many_arguments)]
    fn constant(
        &mut self,
        old: ValueId,
        like: &Tensor,
        elem: ElemType,
        codes: Vec<i64>,
        scales: &[f32],
        axis: Option<usize>,
        origin: &Origin,
    ) -> Result<ValueId, Diagnostic> {
        let name = &self.graph.value(old).name;
        let ty = TensorType { elem, ..like.ty.clone() };
        let rank = ty.rank();
        let codes = self.patch.constant(&format!("{name}.codes"), Tensor::codes(ty, codes));
        let scale = match axis {
            None => scalar(scales.first().copied().unwrap_or(1.0)),
            Some(axis) => {
                let mut dims = vec![1; rank];
                dims[axis] = scales.len();
                Tensor { ty: TensorType::f32(dims, like.ty.layout), data: Data::F32(scales.to_vec()) }
            }
        };
        let scale = self.patch.constant(&format!("{name}.scale"), scale);
        self.patch.node(Dequantize, &[codes, scale, self.zero], &format!("{name}.quantized"), origin)
    }
}

fn quantize(codes: Codes) -> Quantize {
    Quantize {
        to: ElemType::Int(codes.int),
        narrow: codes.narrow,
        rounding: codes.rounding,
        overflow: codes.overflow,
        order: QuantizeOrder::RoundThenSaturate,
    }
}

fn scalar(v: f32) -> Tensor {
    Tensor::f32([], Layout::anonymous(0), vec![v])
}

/// Biases on the grid of the sums, to the nearest, ties to even. Integers of 53 bits are the most: a double holds no more.
fn on_grid(biases: &[f32], scales: &[f32]) -> Vec<i64> {
    const MOST: f64 = (1i64 << 52) as f64;
    let one = |(i, b): (usize, &f32)| {
        let scale = scales.get(if scales.len() == 1 { 0 } else { i }).copied().unwrap_or(1.0);
        (f64::from(*b) / f64::from(scale)).round_ties_even().clamp(-MOST, MOST) as i64
    };
    biases.iter().enumerate().map(one).collect()
}

/// 32 bits, or as many as are needed.
fn wide(codes: &[i64]) -> IntType {
    let (lo, hi) = codes.iter().fold((-1, 0), |(lo, hi), &c| (c.min(lo), c.max(hi)));
    IntType::signed(IntType::covering(lo, hi).width.max(32))
}
