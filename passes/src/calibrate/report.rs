//! What a quantization costs, measured: float graph and quantized graph side by side on samples.
//!
//! In: the float graph, the fake-quantized one, the one that ships, the numbers of the recipe, samples, and, if they are
//! known, the classes of the samples. Out: a [`Cost`]. Noise and classes are those of the graph that ships, to the bit, where
//! it has the codes of every value that is compared. Where a pass has left some out, noise is that of the fake-quantized
//! graph, which has every value of the float graph; it runs with its quantizers as float steps ([`super::simulate`]), which
//! can differ from their exact evaluation by a code here and there, and sums in single precision.
//!
//! * Signal to quantization noise is `10 · log10(Σ f² / Σ (f − q)²)` over all elements of all samples, in decibels.
//! * An element is saturated when the float graph's value lies beyond the codes by more than half a step.
//! * The class of a sample is where the first result's greatest element is, the first of several; or it is that result
//!   itself, where the graph that ships gives classes alone.

use super::runner::{Place, Runner, Shipped, Wanted};
use super::simulate::simulated;
use crate::recipe::resolved::{Resolved, Weight};
use crate::recipe::sites::layer_name;
use serde::Serialize;
use unfloat_ir::ops::Unary;
use unfloat_ir::{Data, Diagnostic, Diagnostics, ElemType, Format, Graph, Location, Node, Op, ValueId};

/// What quantizing a weight costs.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct WeightCost {
    /// The layer in the model.
    pub layer: String,
    /// The value that the layer makes.
    pub value: String,
    /// The format.
    pub format: String,
    /// Bytes of the codes, packed.
    pub bytes: u64,
    /// Bytes of the floats.
    pub float_bytes: u64,
    /// Signal to quantization noise in decibels; nothing where there is no noise.
    pub sqnr_db: Option<f64>,
    /// The greatest difference.
    pub max_error: f64,
}

/// What is left of a value.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ValueCost {
    /// The layer in the model; empty for inputs.
    pub layer: String,
    /// The value.
    pub value: String,
    /// The type of the codes; `sum` for results that have no quantizer.
    pub codes: String,
    /// What code 1 stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<f32>,
    /// The least element of the float graph.
    pub min: f32,
    /// The greatest element of the float graph.
    pub max: f32,
    /// How many elements of the float graph lie beyond the codes.
    pub saturated: u64,
    /// How many elements were compared.
    pub elements: u64,
    /// Signal to quantization noise in decibels; nothing where there is no noise.
    pub sqnr_db: Option<f64>,
    /// The greatest difference.
    pub max_error: f64,
}

/// What it costs to take 0 for +1 in a sign.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SignCost {
    /// The layer in the model.
    pub layer: String,
    /// The sign.
    pub value: String,
    /// How many of the float graph's signs are those of 0.
    pub zeros: u64,
    /// How many signs are others than the float graph's, those of 0 among them.
    pub changed: u64,
    /// How many signs were compared.
    pub elements: u64,
}

/// What a quantization costs.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Cost {
    /// The number of samples.
    pub samples: usize,
    /// Weights, in the graph's order.
    pub weights: Vec<WeightCost>,
    /// Quantized values in the graph's order, then the results.
    pub values: Vec<ValueCost>,
    /// Signs in which 0 became +1, in the graph's order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signs: Vec<SignCost>,
    /// How many samples have the same class in the float graph and in the one that ships; nothing where there are no classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same_class: Option<usize>,
    /// How many samples each of the two has right, float first; nothing where labels are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correct: Option<(usize, usize)>,
}

impl Cost {
    /// How many points of accuracy (hundredths of the samples) the quantized graph has lost.
    pub fn drop(&self) -> Option<f64> {
        let (before, after) = self.correct?;
        (self.samples > 0).then(|| 100.0 * (before as f64 - after as f64) / self.samples as f64)
    }
}

/// Sums over elements.
#[derive(Clone, Debug)]
struct Sums {
    signal: f64,
    noise: f64,
    max_error: f64,
    min: f32,
    max: f32,
    saturated: u64,
    elements: u64,
}

impl Default for Sums {
    fn default() -> Self {
        let (min, max) = (f32::INFINITY, f32::NEG_INFINITY);
        Self { signal: 0.0, noise: 0.0, max_error: 0.0, min, max, saturated: 0, elements: 0 }
    }
}

impl Sums {
    /// Takes in one sample; numbers beyond `lo..=hi` count as saturated.
    fn add(&mut self, float: &[f32], quantized: &[f32], (lo, hi): (f32, f32)) {
        let (mut signal, mut noise, mut worst) = (0.0f64, 0.0f64, 0.0f32);
        for (&f, &q) in float.iter().zip(quantized) {
            let apart = f - q;
            signal += f64::from(f) * f64::from(f);
            noise += f64::from(apart) * f64::from(apart);
            worst = if apart.abs() > worst { apart.abs() } else { worst };
            self.min = if f < self.min { f } else { self.min };
            self.max = if f > self.max { f } else { self.max };
            self.saturated += u64::from(f < lo || f > hi);
        }
        self.signal += signal;
        self.noise += noise;
        self.max_error = self.max_error.max(f64::from(worst));
        self.elements += float.len() as u64;
    }

    fn sqnr_db(&self) -> Option<f64> {
        let db = 10.0 * (self.signal / self.noise).log10();
        db.is_finite().then_some(db)
    }
}

/// One value that is compared.
struct Probe {
    layer: String,
    value: String,
    codes: String,
    scale: Option<f32>,
    /// What the codes reach.
    reach: (f32, f32),
    len: usize,
    sums: Sums,
}

/// Compares two graphs, batch after batch.
pub struct Meter {
    float: Runner,
    shipped: Shipped,
    /// The fake-quantized graph, where the one that ships does not have every value.
    simulated: Option<Runner>,
    probes: Vec<Probe>,
    /// Where the first result stands among the probes, if it has classes.
    classes: Option<usize>,
    /// What stands behind the probes.
    signs: Vec<SignCost>,
    weights: Vec<WeightCost>,
    samples: usize,
    same: usize,
    correct: (usize, usize),
    labelled: usize,
}

impl Meter {
    /// Prepares the graphs: the folded one, what the pass `quantize` made of it with these numbers, and what all passes
    /// made of that.
    pub fn new(
        float: &Graph,
        quantized: &Graph,
        shipped: &Graph,
        numbers: &Resolved,
    ) -> Result<Self, Diagnostics> {
        let Pairs { probes, mut left, mut right, wanted, first } = pairs(float, quantized, numbers);
        let mut signs = Vec::new();
        for (l, r, sign) in signs_of_zero(float, quantized) {
            left.push(l);
            right.push(r);
            signs.push(sign);
        }
        // What ships may hold signs in another form, or their opposites.
        let all = wanted.len() == probes.len() && signs.is_empty();
        let shipped = Shipped::new(shipped, if all { &wanted } else { &[] })?;
        let simulated = match all && shipped.shows() {
            true => None,
            false => Some(simulation(quantized, &right)?),
        };
        // As many scores, or one class instead.
        let alike = |p: &Probe| p.len > 1 && [1, p.len].contains(&shipped.result_len());
        let classes = first.filter(|&at| probes.get(at).is_some_and(alike));
        let weights = weight_costs(float, numbers);
        let (same, correct, labelled) = (0, (0, 0), 0);
        let float = Runner::new(float, &left)?;
        Ok(Self {
            float,
            shipped,
            simulated,
            probes,
            classes,
            signs,
            weights,
            samples: 0,
            same,
            correct,
            labelled,
        })
    }

    /// Compares on samples: one vector of elements per input of the graph; `labels` has a class for each, or nothing.
    pub fn feed(
        &mut self,
        inputs: &[Data],
        count: usize,
        labels: Option<&[i64]>,
        threads: usize,
    ) -> Result<(), Diagnostics> {
        self.feed_with(inputs, count, labels, threads, |_| ())
    }

    /// [`Meter::feed`], which tells how many samples it has compared, batch after batch.
    pub fn feed_with(
        &mut self,
        inputs: &[Data],
        count: usize,
        labels: Option<&[i64]>,
        threads: usize,
        seen: impl Fn(usize),
    ) -> Result<(), Diagnostics> {
        let Meter {
            float, shipped, simulated, probes, classes, signs, samples, same, correct, labelled, ..
        } = self;
        let most = simulated.as_ref().map_or(usize::MAX, Runner::batch);
        let step = float.batch().min(shipped.batch()).min(most);
        let mut at = 0;
        while at < count {
            let n = step.min(count - at);
            let f = float.batch_of(inputs, at, n, threads)?;
            let (last, q) = match simulated {
                None => shipped.batch_of(inputs, at, n, threads)?,
                Some(runner) => {
                    let own = classes.map(|_| shipped.batch_of(inputs, at, n, threads)).transpose()?;
                    (own.unwrap_or_default().0, runner.batch_of(inputs, at, n, threads)?)
                }
            };
            measure(probes, &f, &q, n, threads);
            for (sign, (f, q)) in signs.iter_mut().zip(f.iter().zip(&q).skip(probes.len())) {
                sign.zeros += f.iter().filter(|v| **v == 0.0).count() as u64;
                sign.changed += f.iter().zip(q).filter(|(f, q)| f != q).count() as u64;
                sign.elements += f.len() as u64;
            }
            if let Some(c) = *classes {
                let len = probes[c].len;
                for (s, b) in last.into_iter().enumerate() {
                    let a = greatest(&f[c][s * len..(s + 1) * len]) as i64;
                    *same += usize::from(a == b);
                    if let Some(&label) = labels.and_then(|l| l.get(at + s)) {
                        *labelled += 1;
                        correct.0 += usize::from(a == label);
                        correct.1 += usize::from(b == label);
                    }
                }
            }
            at += n;
            seen(n);
        }
        *samples += count;
        Ok(())
    }

    /// What was measured. Refused: values that are not finite, which no number describes.
    pub fn finish(self) -> Result<Cost, Diagnostics> {
        let mut found = Diagnostics::new();
        for p in self.probes.iter().filter(|p| !(p.sums.signal + p.sums.noise).is_finite()) {
            let text = format!("`{}` is not finite for some sample", p.value);
            found.push(
                Diagnostic::error(Location::default(), text).help("look for NaN and infinity in the samples"),
            );
        }
        found.into_result(())?;
        let value = |p: Probe| ValueCost {
            layer: p.layer,
            value: p.value,
            codes: p.codes,
            scale: p.scale,
            min: if p.sums.elements > 0 { p.sums.min } else { 0.0 },
            max: if p.sums.elements > 0 { p.sums.max } else { 0.0 },
            saturated: p.sums.saturated,
            elements: p.sums.elements,
            sqnr_db: p.sums.sqnr_db(),
            max_error: p.sums.max_error,
        };
        Ok(Cost {
            samples: self.samples,
            weights: self.weights,
            values: self.probes.into_iter().map(value).collect(),
            signs: self.signs,
            same_class: self.classes.map(|_| self.same),
            correct: (self.labelled > 0 && self.labelled == self.samples).then_some(self.correct),
        })
    }
}

/// The fake-quantized graph, made ready to show values, in floats alone if that can be.
fn simulation(quantized: &Graph, right: &[ValueId]) -> Result<Runner, Diagnostics> {
    let floats = quantized.inputs().iter().all(|&v| quantized.ty(v).elem.is_float());
    match simulated(quantized)?.filter(|_| floats) {
        // The values that are wanted are found under their names: a replacement takes them over.
        Some(graph) => {
            let name = |v: &ValueId| quantized.value(*v).name.as_str();
            let moved: Vec<ValueId> = right.iter().map(|v| find(&graph, name(v)).unwrap_or(*v)).collect();
            Runner::new(&graph, &moved)
        }
        None => Runner::new(quantized, right),
    }
}

/// What is compared, and where it is found in both graphs.
#[derive(Default)]
struct Pairs {
    probes: Vec<Probe>,
    left: Vec<ValueId>,
    right: Vec<ValueId>,
    /// The codes of each in the graph that ships; fewer than probes, if some have no codes that tell them.
    wanted: Vec<Wanted>,
    /// The probe of the first result.
    first: Option<usize>,
}

/// Quantized values, and results that have no quantizer.
fn pairs(float: &Graph, quantized: &Graph, numbers: &Resolved) -> Pairs {
    let mut all = Pairs::default();
    for a in &numbers.activations {
        let pair = (find(float, &a.value), find(quantized, &format!("{}.quantized", a.value)));
        let (Some(l), Some(r)) = pair else { continue };
        if float.const_of(l).is_some() {
            continue;
        }
        let (lo, hi) = a.quantizer.bounds();
        all.probes.push(Probe {
            layer: a.layer.clone(),
            value: a.value.clone(),
            codes: a.codes.clone(),
            scale: Some(a.scale),
            reach: ((lo as f32 - 0.5) * a.scale, (hi as f32 + 0.5) * a.scale),
            len: float.ty(l).shape.num_elements(),
            sums: Sums::default(),
        });
        if let Some((_, node)) = quantized.producer(r)
            && let Op::Dequantize(_) = node.op
        {
            let name = quantized.value(node.inputs[0]).name.clone();
            let place = Place::Codes { name, elem: ElemType::Int(a.quantizer.int), scale: a.scale };
            all.wanted.push(Wanted { place, like: float.ty(l).clone() });
        }
        all.left.push(l);
        all.right.push(r);
    }
    for (i, (l, r)) in float.outputs().iter().zip(quantized.outputs()).enumerate() {
        if !float.ty(l.value).elem.is_float() || !quantized.ty(r.value).elem.is_float() {
            continue;
        }
        let known = all.left.iter().position(|&v| v == l.value);
        all.first = all.first.or(Some(known.unwrap_or(all.probes.len())));
        if known.is_some() {
            continue;
        }
        let layer = float.producer(l.value).map(|(_, n)| layer_name(&n.origin.layer));
        all.probes.push(Probe {
            layer: layer.unwrap_or_default().to_string(),
            value: l.name.clone(),
            codes: "sum".to_string(),
            scale: None,
            reach: (f32::NEG_INFINITY, f32::INFINITY),
            len: float.ty(l.value).shape.num_elements(),
            sums: Sums::default(),
        });
        all.left.push(l.value);
        all.right.push(r.value);
        all.wanted.push(Wanted { place: Place::Result(i), like: float.ty(l.value).clone() });
    }
    all
}

/// The signs of the float graph that are thresholds to −1 and +1 in the other one, with what those stand for.
fn signs_of_zero(float: &Graph, quantized: &Graph) -> Vec<(ValueId, ValueId, SignCost)> {
    let one = |node: &Node| {
        let value = float.value(node.output).name.clone();
        let behind = find(quantized, &value).filter(|_| matches!(node.op, Op::Unary(Unary::Sign)))?;
        let (_, numbers) = quantized.producer(behind).filter(|(_, n)| matches!(n.op, Op::Dequantize(_)))?;
        let bits = quantized.ty(numbers.inputs[0]).elem == ElemType::Bipolar;
        let layer = layer_name(&node.origin.layer).to_string();
        let sign = SignCost { layer, value, zeros: 0, changed: 0, elements: 0 };
        bits.then_some((node.output, behind, sign))
    };
    float.live_nodes().filter_map(|(_, node)| one(node)).collect()
}

/// Each probe has its own sums, so threads make no difference to them.
fn measure(probes: &mut [Probe], float: &[Vec<f32>], quantized: &[Vec<f32>], n: usize, threads: usize) {
    let one = |(p, (f, q)): (&mut Probe, (&Vec<f32>, &Vec<f32>))| {
        for s in 0..n {
            let at = s * p.len..(s + 1) * p.len;
            p.sums.add(&f[at.clone()], &q[at], p.reach);
        }
    };
    let share = probes.len().div_ceil(threads.max(1)).max(1);
    std::thread::scope(|scope| {
        for ((p, f), q) in probes.chunks_mut(share).zip(float.chunks(share)).zip(quantized.chunks(share)) {
            let mut work = move || p.iter_mut().zip(f.iter().zip(q)).for_each(one);
            if threads > 1 { drop(scope.spawn(work)) } else { work() }
        }
    });
}

fn find(graph: &Graph, name: &str) -> Option<ValueId> {
    graph.values().find(|(_, v)| v.name == name).map(|(id, _)| id)
}

/// Where the greatest element is, the first of several.
pub(super) fn greatest<T: PartialOrd>(values: &[T]) -> usize {
    let better = |best: usize, i: usize| if values[i] > values[best] { i } else { best };
    (0..values.len()).fold(0, better)
}

/// What the weights alone cost, which takes no samples.
pub fn weight_costs(float: &Graph, numbers: &Resolved) -> Vec<WeightCost> {
    let one = |w: &Weight| {
        let (_, node) = float.producer(find(float, &w.value)?)?;
        let floats = float.const_of(*node.inputs.get(w.operand)?)?.as_f32()?;
        let len = (floats.len() / w.scale.len().max(1)).max(1);
        let back = |(i, c): (usize, &i64)| *c as f32 * w.scale.get(i / len).copied().unwrap_or(1.0);
        let quantized: Vec<f32> = w.codes.iter().enumerate().map(back).collect();
        let mut sums = Sums::default();
        sums.add(floats, &quantized, (f32::NEG_INFINITY, f32::INFINITY));
        let bits = (floats.len() as u64).saturating_mul(u64::from(Format::bits(&w.format)));
        Some(WeightCost {
            layer: w.layer.clone(),
            value: w.value.clone(),
            format: w.format.to_string(),
            bytes: bits.div_ceil(8),
            float_bytes: floats.len() as u64 * 4,
            sqnr_db: sums.sqnr_db(),
            max_error: sums.max_error,
        })
    };
    numbers.weights.iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::resolved::{Activation, Codes};
    use unfloat_ir::Origin;
    use unfloat_ir::ops::{ArgReduce, Cast, Dequantize, Quantize, QuantizeOrder, Threshold};
    use unfloat_ir::{IntType, Layout, Overflow, Rounding, Tensor, TensorType};

    /// A graph of three scores: the input through functions, one after another.
    fn scores(functions: &[unfloat_ir::Op]) -> Graph {
        let mut g = Graph::new("g");
        let mut v = g.add_input("x", TensorType::f32([3], Layout::channels_last(0)));
        for (i, f) in functions.iter().enumerate() {
            v = g.add_node(f.clone(), &[v], &format!("v{i}"), &Origin::default()).unwrap();
        }
        g.add_output("y", v);
        g
    }

    /// A sign of 0 that is +1 behind the quantization is counted.
    #[test]
    fn signs_of_zero_are_counted() {
        let float = scores(&[Unary::Sign.into()]);
        let mut bits = Graph::new("g");
        let o = Origin::default();
        let x = bits.add_input("x", TensorType::f32([3], Layout::channels_last(0)));
        let level = bits.add_const("level", Tensor::f32([1, 1], Layout::anonymous(2), vec![0.0]));
        let number = |v| Tensor::f32([], Layout::anonymous(0), vec![v]);
        let (one, zero) = (bits.add_const("one", number(1.0)), bits.add_const("zero", number(0.0)));
        let op = Threshold { axis: 0, to: ElemType::Bipolar, scale: 2, bias: -1 };
        let codes = bits.add_node(op, &[x, level], "codes", &o).unwrap();
        let signs = bits.add_node(Dequantize, &[codes, one, zero], "v0", &o).unwrap();
        bits.add_output("y", signs);
        let mut meter = Meter::new(&float, &bits, &bits, &Resolved::default()).unwrap();
        meter.feed(&[Data::F32(vec![0.5, 0.0, -1.0, -0.0, 1.0, 2.0])], 2, None, 1).unwrap();
        let cost = meter.finish().unwrap();
        let sign = &cost.signs[0];
        assert_eq!((sign.value.as_str(), sign.zeros, sign.changed, sign.elements), ("v0", 2, 2, 6));
    }

    /// What counts is the class that ships, whatever the simulation says.
    #[test]
    fn classes_are_those_of_the_graph_that_ships() {
        let same = scores(&[Unary::Relu.into()]);
        let other = scores(&[Unary::Relu.into(), Unary::Neg.into()]);
        // Codes of three bits: what is more than 3 wraps, and cannot be told from the float graph's own numbers.
        let codes = scores(&[Unary::Relu.into(), Cast { to: ElemType::signed(3) }.into()]);
        let arg = |max| ArgReduce { max, axis: 0, keep: false, last: false };
        let class = scores(&[Unary::Relu.into(), arg(true).into()]);
        let least = scores(&[Unary::Relu.into(), arg(false).into()]);
        let numbers = Resolved::default();
        let samples = [Data::F32(vec![0.5, 3.0, 1.0, 2.0, 1.0, 4.0, 1.0, 0.0, 0.0])];
        for (shipped, right) in [(&same, 3), (&other, 0), (&codes, 2), (&class, 3), (&least, 0)] {
            let mut meter = Meter::new(&same, &same, shipped, &numbers).unwrap();
            let seen = std::cell::Cell::new(0);
            meter.feed_with(&samples, 3, Some(&[1, 2, 0]), 1, |n| seen.set(seen.get() + n)).unwrap();
            assert_eq!(seen.get(), 3);
            let cost = meter.finish().unwrap();
            assert_eq!((cost.same_class, cost.correct), (Some(right), Some((3, right))));
        }
    }
    /// Codes of 8 bits without a sign, and back.
    fn coded(codes: &str, scale: f32) -> Graph {
        let mut g = Graph::new("g");
        let o = Origin::default();
        let v = g.add_input("x", TensorType::f32([3], Layout::channels_last(0)));
        let scalar = |v| Tensor::f32([], Layout::anonymous(0), vec![v]);
        let (s, z) = (g.add_const("s", scalar(scale)), g.add_const("z", scalar(0.0)));
        let op = Quantize {
            to: ElemType::Int(IntType::unsigned(8)),
            narrow: false,
            rounding: Rounding::HalfEven,
            overflow: Overflow::Saturate,
            order: QuantizeOrder::RoundThenSaturate,
        };
        let q = g.add_node(op, &[v, s, z], codes, &o).unwrap();
        let d = g.add_node(Dequantize, &[q, s, z], "v0.quantized", &o).unwrap();
        g.add_output("y", d);
        g
    }

    /// The noise is that of the graph that ships where its codes are found, and of the simulation elsewhere.
    #[test]
    fn noise_is_that_of_the_graph_that_ships() {
        let float = scores(&[Unary::Relu.into()]);
        let quantized = coded("v0.codes", 0.5);
        let codes = Codes {
            int: IntType::unsigned(8),
            rounding: Rounding::HalfEven,
            overflow: Overflow::Saturate,
            narrow: false,
        };
        let activation = Activation {
            value: "v0".to_string(),
            layer: String::new(),
            format: Format::Int { int: codes.int, rounding: codes.rounding, overflow: codes.overflow },
            codes: "u8".to_string(),
            quantizer: codes,
            scale: 0.5,
            min: None,
            max: None,
        };
        let numbers = Resolved { activations: vec![activation], ..Resolved::default() };
        let samples = [Data::F32(vec![4.0, 1.25, -1.0, 16.0, 0.0, 9.0])];
        for (shipped, error) in [(coded("v0.codes", 1.0), 8.0), (coded("other", 1.0), 0.25)] {
            let mut meter = Meter::new(&float, &quantized, &shipped, &numbers).unwrap();
            meter.feed(&samples, 2, None, 2).unwrap();
            let cost = meter.finish().unwrap();
            assert_eq!(cost.values.len(), 1);
            assert_eq!((cost.values[0].max_error, cost.values[0].elements), (error, 6));
            assert_eq!(cost.same_class, Some(2));
        }
    }
}
