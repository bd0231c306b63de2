//! Calibration: from a recipe and samples to the recipe with all numbers filled in.
//!
//! In: a folded graph, a [`Recipe`], and batches of samples, one after another. Out: [`Resolved`].
//! Refused: no samples where a range is to be found from them, values that are not finite.
//!
//! | module | holds |
//! |---|---|
//! | [`weights`] | weights to scales and codes |
//! | [`histogram`] | what was seen of a value, in constant memory |
//! | [`method`] | from that to a range |
//! | [`means`] | the bias that makes up for coarse weights |
//! | [`rounding`] | coarse weights, rounded for what layers compute with them |
//! | [`runner`] | the values of a graph on many samples |
//! | [`simulate`] | quantizers as float steps |
//! | [`report`] | what a quantization costs, measured |
//!
//! One pass over the samples is enough for every method. The result does not depend on the number of threads, nor on how the
//! samples are cut into batches.

pub mod concerns;
pub mod histogram;
pub mod means;
pub mod method;
pub mod report;
pub mod rounding;
pub mod runner;
pub mod simulate;
pub mod weights;

use crate::recipe::resolved::{AccumulatorNumbers, Activation, BiasNumbers, Codes, Resolved, Weight};
use crate::recipe::sites::{ActivationSite, Sites, layer_name};
use crate::recipe::{Bias, Method, Recipe};
use histogram::Observed;
use means::Means;
use rounding::Moments;
use runner::Runner;
use std::collections::BTreeMap;
use unfloat_ir::{Data, Diagnostic, Diagnostics, Format, Graph, Location, Node, NodeId, Op, ValueId};

/// Looks at samples, to say at the end what the numbers of a recipe are.
pub struct Calibrator<'g> {
    graph: &'g Graph,
    recipe: &'g Recipe,
    sites: Sites,
    runner: Option<Runner>,
    /// One for each activation that needs a range, by its index.
    observed: BTreeMap<usize, Observed>,
    /// Operands of layers with coarse weights.
    means: Vec<Means>,
    moments: Vec<Moments>,
    samples: usize,
}

impl<'g> Calibrator<'g> {
    /// Prepares a folded graph. Where nothing needs data, [`Calibrator::feed`] need not be called.
    pub fn new(graph: &'g Graph, recipe: &'g Recipe) -> Result<Self, Diagnostics> {
        let sites = Sites::of(graph, recipe)?;
        let counted = recipe.method != Method::MinMax;
        let mut observed = BTreeMap::new();
        let mut probes = Vec::new();
        for (i, site) in sites.activations.iter().enumerate() {
            if matches!(site.format, Format::Fixed { .. } | Format::Float) {
                continue;
            }
            let mut seen = Observed::new(counted);
            match graph.const_of(site.value).and_then(|t| t.as_f32()) {
                Some(constant) => seen.add(constant),
                None => probes.push(site.value),
            }
            observed.insert(i, seen);
        }
        let means: Vec<Means> = match probes.is_empty() {
            // Nothing else needs samples, so there may be none.
            true => Vec::new(),
            false => sites.weights.iter().filter_map(|w| Means::of(graph, w.node, w.format)).collect(),
        };
        let moments: Vec<Moments> = match probes.is_empty() {
            true => Vec::new(),
            false => sites.weights.iter().filter_map(|w| Moments::of(graph, w.node, w.format)).collect(),
        };
        probes.extend(means.iter().map(|m| m.operand));
        probes.extend(moments.iter().map(|m| m.operand));
        let runner = if probes.is_empty() { None } else { Some(Runner::new(graph, &probes)?) };
        Ok(Self { graph, recipe, sites, runner, observed, means, moments, samples: 0 })
    }

    /// Whether samples are needed.
    pub fn needs_data(&self) -> bool {
        self.runner.is_some()
    }

    /// Where the graph will be quantized.
    pub fn sites(&self) -> &Sites {
        &self.sites
    }

    /// Looks at samples: one vector of elements per input of the graph, samples one after another.
    pub fn feed(&mut self, inputs: &[Data], count: usize, threads: usize) -> Result<(), Diagnostics> {
        self.feed_with(inputs, count, threads, |_| ())
    }

    /// [`Calibrator::feed`], which tells how many samples it has looked at, batch after batch.
    pub fn feed_with(
        &mut self,
        inputs: &[Data],
        count: usize,
        threads: usize,
        seen: impl Fn(usize),
    ) -> Result<(), Diagnostics> {
        self.samples += count;
        let Some(runner) = &self.runner else { return Ok(()) };
        let graph = self.graph;
        let sites = &self.sites;
        let mut watched: Vec<Watcher> = self
            .observed
            .iter_mut()
            .filter(|(i, _)| graph.const_of(sites.activations[**i].value).is_none())
            .map(|(_, o)| Watcher::Range(o))
            .collect();
        watched.extend(self.means.iter_mut().map(Watcher::Mean));
        watched.extend(self.moments.iter_mut().map(Watcher::Moments));
        runner.run(inputs, count, threads, |n, values| {
            // Each value has one watcher, so it does not matter which thread that runs on.
            let share = watched.len().div_ceil(threads.max(1)).max(1);
            std::thread::scope(|scope| {
                for (watchers, values) in watched.chunks_mut(share).zip(values.chunks(share)) {
                    let mut work = move || watchers.iter_mut().zip(values).for_each(|(w, v)| w.add(v));
                    if threads > 1 { drop(scope.spawn(work)) } else { work() }
                }
            });
            seen(n);
            Ok(())
        })
    }

    /// The recipe with all numbers filled in.
    pub fn finish(self) -> Result<Resolved, Diagnostics> {
        if self.runner.is_some() && self.samples == 0 {
            let text = format!(
                "`{}` needs ranges of values, and there are no samples to find them from",
                self.recipe.source
            );
            return Err(Diagnostic::error(Location::default(), text).help(NEED_DATA).into());
        }
        let mut found = Diagnostics::new();
        for (&i, seen) in self.observed.iter().filter(|(_, o)| o.odd) {
            let site = &self.sites.activations[i];
            let name = &self.graph.value(site.value).name;
            let at =
                self.graph.producer(site.value).map(|(_, n)| Location::from(&n.origin)).unwrap_or_default();
            let text = format!("`{name}` is not finite for some sample: its range cannot be found");
            let shown = format!(
                "the others lie between {} and {}; look for NaN and infinity in the samples",
                seen.min, seen.max
            );
            found.push(Diagnostic::error(at, text).help(shown));
        }
        found.into_result(())?;
        let activations = self.activations();
        let mut weights = self.weights();
        self.leave_room_for_biases(&activations, &mut weights);
        let biases = self.biases(&activations, &weights);
        let accumulators = self.accumulators();
        let calibrated = self.runner.is_some();
        Ok(Resolved {
            recipe: self.recipe.source.clone(),
            seed: self.recipe.stochastic.filter(|_| weights.iter().any(|w| w.rounding == "stochastic")),
            method: calibrated.then(|| self.recipe.method.to_string()),
            samples: if calibrated { self.samples } else { 0 },
            weights,
            biases,
            activations,
            accumulators,
        })
    }

    /// The codes of a site. An input has no sign to spare unless a sample was negative.
    fn quantizer(&self, site: &ActivationSite, members: &[usize]) -> Option<Codes> {
        let seen = members.iter().filter_map(|i| self.observed.get(i)).fold(0.0f32, |m, o| m.min(o.min));
        let alone = members.len() == 1 && site.input && seen >= 0.0 && self.samples > 0;
        Codes::of(site.format, site.nonnegative || alone)
    }

    fn activations(&self) -> Vec<Activation> {
        let mut all = Vec::new();
        for (i, site) in self.sites.activations.iter().enumerate() {
            let members: Vec<usize> = (0..self.sites.activations.len())
                .filter(|&j| self.sites.activations[j].group == site.group)
                .collect();
            let Some(quantizer) = self.quantizer(site, &members) else { continue };
            let range = |j: &usize| {
                let seen = self.observed.get(j)?;
                Some(method::range(seen, quantizer.max(), self.recipe.method))
            };
            let scale = site.format.lsb().unwrap_or_else(|| {
                let range = members.iter().filter_map(range).fold(0.0, f64::max);
                if range > 0.0 { range / quantizer.max() as f64 } else { 1.0 }
            });
            let (value, layer) = self.named(site.value);
            let seen = self.observed.get(&i).filter(|o| o.min <= o.max);
            all.push(Activation {
                value,
                layer,
                format: site.format,
                codes: quantizer.int.to_string(),
                quantizer,
                scale: (scale as f32).max(f32::MIN_POSITIVE),
                min: seen.map(|o| o.min),
                max: seen.map(|o| o.max),
            });
        }
        all
    }

    fn named(&self, value: ValueId) -> (String, String) {
        let layer = self.graph.producer(value).map(|(_, n)| layer_name(&n.origin.layer).to_string());
        (self.graph.value(value).name.clone(), layer.unwrap_or_default())
    }

    fn weights(&self) -> Vec<Weight> {
        let one = |site: &crate::recipe::sites::WeightSite| {
            let node = self.graph.node(site.node);
            let tensor = self.graph.const_of(node.inputs[site.operand])?;
            let channels = channels(node, site.format).map_or(1, |axis| tensor.shape()[axis]);
            let (value, layer) = self.named(node.output);
            let scale = weights::scales(tensor.as_f32()?, channels, site.format);
            let moments = self.moments.iter().find(|m| m.node == site.node && site.operand == 1);
            let floats = tensor.as_f32()?;
            let bipolar = site.format == Format::Bipolar;
            let seed = self.recipe.stochastic.filter(|_| bipolar);
            let (codes, rounding) = match (moments, seed) {
                (_, Some(seed)) => (weights::stochastic(floats, seed, &value), "stochastic"),
                (Some(moments), _) => (moments.codes(floats, &scale, site.format), "least output error"),
                (None, None) => (weights::codes(floats, &scale, site.format), "nearest"),
            };
            let zeros = if bipolar { floats.iter().filter(|w| **w == 0.0).count() } else { 0 };
            let (operand, format) = (site.operand, site.format);
            Some(Weight { value, layer, operand, format, rounding, zeros, scale, codes })
        };
        self.sites.weights.iter().filter_map(one).collect()
    }

    fn biases(&self, activations: &[Activation], weights: &[Weight]) -> Vec<BiasNumbers> {
        let scales = scales(activations);
        let one = |site: &crate::recipe::sites::BiasSite| {
            let node = self.graph.node(site.node);
            let (value, layer) = self.named(node.output);
            let scale = match site.bias {
                Bias::Format(format) => format.lsb().map(|s| vec![s as f32]).unwrap_or_default(),
                Bias::Accumulator => self.sums(site.node, &scales, weights).unwrap_or_default(),
            };
            let weight = weights.iter().find(|w| w.value == value && w.operand == 1);
            let means = self.means.iter().find(|m| m.node == site.node);
            let correction =
                means.zip(weight).and_then(|(m, w)| m.correction(self.graph, &w.codes, &w.scale));
            let correction = correction.unwrap_or_default();
            BiasNumbers { value, layer, format: site.bias, scale, correction }
        };
        self.sites.biases.iter().map(one).collect()
    }

    /// Weights that are next to nothing beside the bias of their channel get a scale on which the bias is an integer that
    /// registers hold: their own error then is a fraction of the bias that nobody sees.
    fn leave_room_for_biases(&self, activations: &[Activation], weights: &mut [Weight]) {
        let scales = scales(activations);
        for site in self.sites.biases.iter().filter(|s| s.bias == Bias::Accumulator) {
            let node = self.graph.node(site.node);
            let name = &self.graph.value(node.output).name;
            let bias = node.inputs.get(2).and_then(|&v| self.graph.const_of(v)).and_then(|t| t.as_f32());
            let tensor = self.graph.const_of(node.inputs[1]).and_then(|t| t.as_f32());
            let weight = weights.iter_mut().find(|w| w.value == *name && w.operand == 1);
            let (Some(bias), Some(floats), Some(weight)) = (bias, tensor, weight) else { continue };
            let Some((x, _)) = self.scale_of(node.inputs[0], &scales) else { continue };
            if weight.scale.len() != bias.len() || weight.codes.len() != floats.len() {
                continue;
            }
            let len = floats.len() / bias.len().max(1);
            for (c, b) in bias.iter().enumerate() {
                let least = f64::from(b.abs()) / MOST_BIAS / f64::from(x);
                if f64::from(weight.scale[c]) < least && least < f64::from(f32::MAX) {
                    weight.scale[c] = least as f32;
                    let part = c * len..(c + 1) * len;
                    let codes = weights::codes(&floats[part.clone()], &weight.scale[c..=c], weight.format);
                    weight.codes.splice(part, codes);
                }
            }
        }
    }

    /// The grid of a layer's biases, one or one per output channel: the scale of its operand times that of its weight, by a
    /// power of two finer where so few sums there are that rounding a bias to one of them would show. Nothing where either has
    /// no scale.
    fn sums(&self, id: NodeId, scales: &BTreeMap<&str, (f32, i64)>, weights: &[Weight]) -> Option<Vec<f32>> {
        let node = self.graph.node(id);
        let (x, greatest) = self.scale_of(node.inputs[0], scales)?;
        let name = &self.graph.value(node.output).name;
        let own;
        let (weight, codes) = match weights.iter().find(|w| w.value == *name && w.operand == 1) {
            Some(weight) => (weight.scale.clone(), &weight.codes),
            None => {
                let (_, source) = self.graph.producer(node.inputs[1])?;
                let scale = dequantized(self.graph, source)?;
                let outputs = self.graph.ty(node.inputs[1]).shape[0];
                let codes = self.graph.const_of(source.inputs[0])?;
                own = (0..codes.len()).filter_map(|i| codes.data.code(i)).collect();
                ((scale.len() == 1 || scale.len() == outputs).then(|| scale.to_vec())?, &own)
            }
        };
        let outputs = self.graph.ty(node.inputs[2]).shape.num_elements().max(1);
        let reach = |part: &[i64]| part.iter().fold(0.0, |sum, c| sum + c.unsigned_abs() as f64);
        let parts = codes.chunks((codes.len() / outputs).max(1)).map(reach);
        let reach = parts.fold(1.0, f64::max) * greatest.max(1) as f64;
        let finer = (FINEST_BIAS / reach).log2().ceil().max(0.0).exp2() as f32;
        Some(weight.iter().map(|w| (x * w / finer).max(f32::MIN_POSITIVE)).collect())
    }

    /// The scale of a quantized value, and its greatest code, through moves.
    fn scale_of(&self, value: ValueId, scales: &BTreeMap<&str, (f32, i64)>) -> Option<(f32, i64)> {
        let mut at = value;
        loop {
            if let Some(&scale) = scales.get(self.graph.value(at).name.as_str()) {
                return Some(scale);
            }
            let (_, node) = self.graph.producer(at)?;
            if let Op::Dequantize(_) = node.op {
                let greatest = self.graph.ty(node.inputs[0]).elem.code_range().map_or(1, |(_, hi)| hi);
                return match dequantized(self.graph, node)? {
                    [one] => Some((*one, greatest)),
                    _ => None,
                };
            }
            let varies = |v: &ValueId| self.graph.const_of(*v).is_none() && self.graph.ty(*v).elem.is_float();
            at = node.inputs.iter().copied().find(varies)?;
            let moves = matches!(
                node.op,
                Op::MaxPool(_)
                    | Op::Reshape(_)
                    | Op::Transpose(_)
                    | Op::Slice(_)
                    | Op::Reverse(_)
                    | Op::Expand(_)
                    | Op::Upsample(_)
                    | Op::Gather(_)
                    | Op::Pad(_)
                    | Op::Concat(_)
                    | Op::Reduce(_)
            );
            if !moves {
                return None;
            }
        }
    }

    fn accumulators(&self) -> Vec<AccumulatorNumbers> {
        let one = |(node, format): &(NodeId, Format)| {
            let (value, layer) = self.named(self.graph.node(*node).output);
            let (quantizer, scale) = (Codes::of(*format, false)?, format.lsb()? as f32);
            Some(AccumulatorNumbers { value, layer, format: *format, quantizer, scale })
        };
        self.sites.accumulators.iter().filter_map(one).collect()
    }
}

/// Who looks at a value.
enum Watcher<'a> {
    Range(&'a mut Observed),
    Mean(&'a mut Means),
    Moments(&'a mut Moments),
}

impl Watcher<'_> {
    fn add(&mut self, values: &[f32]) {
        match self {
            Watcher::Range(observed) => observed.add(values),
            Watcher::Mean(means) => means.add(values),
            Watcher::Moments(moments) => moments.add(values),
        }
    }
}

/// The axis of a weight along which its scales vary; nothing where there is one for all.
pub fn channels(node: &Node, format: Format) -> Option<usize> {
    let rows = matches!(node.op, Op::Conv(_) | Op::ConvTranspose(_) | Op::Dense(_));
    (rows && weights::per_channel(format)).then_some(0)
}

/// The greatest integer that a bias becomes.
const MOST_BIAS: f64 = (1i64 << 40) as f64;
/// A bias is rounded to this part of the greatest sum, or to less. Products of bytes reach it: their biases have the grid of the
/// sums, which onnxruntime takes for granted.
const FINEST_BIAS: f64 = (1i64 << 13) as f64;

/// Scale and greatest code of every value that is quantized.
fn scales(activations: &[Activation]) -> BTreeMap<&str, (f32, i64)> {
    activations.iter().map(|a| (a.value.as_str(), (a.scale, a.quantizer.max()))).collect()
}

/// The constant scales of a dequantization.
fn dequantized<'g>(graph: &'g Graph, node: &Node) -> Option<&'g [f32]> {
    match node.op {
        Op::Dequantize(_) => graph.const_of(*node.inputs.get(1)?)?.as_f32(),
        _ => None,
    }
}

/// What an error about missing samples advises.
pub const NEED_DATA: &str =
    "give typical inputs: --calibrate DATA.npz (or .npy), 100 to 1000 samples; fixed<W,I> needs none";
