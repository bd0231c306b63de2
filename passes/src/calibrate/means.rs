//! What coarse weights do to the mean of a layer's sums, and the bias that makes up for it.
//!
//! Rounding a weight to few bits shifts the mean of each output channel by `Σ (w − w′) · E[x]`, which later layers see on
//! every sample. It is known once `E[x]` is, so it goes into the bias (Nagel et al., Data-free quantization through weight
//! equalization and bias correction, 2019; here with means from the calibration samples).
//!
//! In: dense layers and convolutions with a bias, their operand channels-last. Zero padding is not taken into account: at the
//! border the shift is a little smaller.

use unfloat_ir::{Format, Graph, Node, NodeId, Op, ValueId};

/// Sums of a layer's operand over positions and samples, per channel.
#[derive(Clone, Debug)]
pub struct Means {
    /// The layer.
    pub node: NodeId,
    /// What it reads.
    pub operand: ValueId,
    sums: Vec<f64>,
    positions: u64,
}

/// Whether a format is so coarse that means are shifted noticeably.
fn coarse(format: Format) -> bool {
    match format {
        Format::Int { int, .. } => int.width <= 4,
        Format::Ternary | Format::Bipolar | Format::Log2(_) => true,
        Format::Fixed { .. } | Format::Float => false,
    }
}

impl Means {
    /// Nothing seen yet; nothing for layers whose mean is not corrected.
    pub fn of(graph: &Graph, id: NodeId, format: Format) -> Option<Means> {
        let node = graph.node(id);
        let operand = node.inputs[0];
        let ty = graph.ty(operand);
        let suits = match node.op {
            Op::Dense(_) => true,
            Op::Conv(_) => ty.layout.is_channels_last(),
            _ => false,
        };
        let constant = |i: usize| node.inputs.get(i).and_then(|&v| graph.const_of(v)?.as_f32()).is_some();
        let suits = suits && coarse(format) && constant(1) && constant(2) && ty.elem.is_float();
        let channels = *ty.shape.last()?;
        (suits && channels > 0).then(|| Means { node: id, operand, sums: vec![0.0; channels], positions: 0 })
    }

    /// Takes elements of whole samples in, one after another: each element is added to its channel's sum in turn.
    pub fn add(&mut self, values: &[f32]) {
        for position in values.chunks_exact(self.sums.len()) {
            self.sums.iter_mut().zip(position).for_each(|(sum, v)| *sum += f64::from(*v));
            self.positions += 1;
        }
    }

    /// What is to be added to each bias of the layer.
    pub fn correction(&self, graph: &Graph, codes: &[i64], scales: &[f32]) -> Option<Vec<f32>> {
        let node: &Node = graph.node(self.node);
        let weight = graph.const_of(node.inputs[1])?;
        let (floats, outputs) = (weight.as_f32()?, *weight.shape().first()?);
        let groups = match &node.op {
            Op::Conv(conv) => conv.groups,
            _ => 1,
        };
        let (row, per_group) = (floats.len() / outputs.max(1), self.sums.len() / groups.max(1));
        let mean: Vec<f64> = self.sums.iter().map(|s| s / self.positions.max(1) as f64).collect();
        let shift = |o: usize| {
            let scale = f64::from(scales[if scales.len() == 1 { 0 } else { o }]);
            let first = o / (outputs / groups.max(1)).max(1) * per_group;
            let lost = |i: usize| f64::from(floats[o * row + i]) - codes[o * row + i] as f64 * scale;
            (0..row).map(|i| lost(i) * mean[first + i % per_group]).sum::<f64>() as f32
        };
        Some((0..outputs).map(shift).collect())
    }
}
