//! Samples as words of the ports, in hexadecimal, and what the graph's own ops make of them.
//!
//! In: a graph and its ports. Out: a line for each sample, the highest digit first, as `$fscanf("%h")` reads it. Reading
//! refuses lines that are no numbers of that many bits (an `x`, say), naming the line.

use super::lower::PortBits;
use std::collections::BTreeMap;
use unfloat_ir::{
    Data, Diagnostic, Diagnostics, Graph, IntType, Location, OpDef, Tensor, TensorType, ValueId,
};

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Pseudo-random samples, the same every time.
pub fn random(ports: &[PortBits], count: usize) -> Vec<Vec<Tensor>> {
    let mut random = Random(0x756e_666c_6f61_7421);
    let mut one = |port: &PortBits| {
        let code = |r: u64| port.element.wrap((r >> 1) as i64);
        let codes: Vec<i64> = (0..port.ty.shape.num_elements()).map(|_| code(random.next())).collect();
        Tensor::codes(port.ty.clone(), codes)
    };
    (0..count).map(|_| ports.iter().map(&mut one).collect()).collect()
}

/// What the graph gives, by each op's own evaluation.
pub fn evaluate(graph: &Graph, sample: &[Tensor]) -> Result<Vec<Tensor>, Diagnostic> {
    let mut values: BTreeMap<ValueId, Tensor> =
        graph.inputs().iter().copied().zip(sample.iter().cloned()).collect();
    for (_, node) in graph.live_nodes() {
        let operand = |v: &ValueId| values.get(v).or_else(|| graph.const_of(*v).map(|t| &**t));
        let fault = |text: String| Diagnostic::error(&node.origin, format!("{}: {text}", node.op.name()));
        let operands: Option<Vec<&Tensor>> = node.inputs.iter().map(operand).collect();
        let operands = operands.ok_or_else(|| fault("an operand is missing".to_string()))?;
        let ty = graph.ty(node.output).clone();
        let data: Data = node.op.eval(&operands, &ty).map_err(|e| fault(e.to_string()))?;
        values.insert(node.output, Tensor { ty, data });
    }
    let shown = |v: &ValueId| values.get(v).cloned().or_else(|| graph.const_of(*v).map(|t| (**t).clone()));
    let all: Option<Vec<Tensor>> = graph.outputs().iter().map(|o| shown(&o.value)).collect();
    all.ok_or_else(|| Diagnostic::error(Location::default(), "an output is missing"))
}

/// One sample's line.
pub fn line(ports: &[PortBits], tensors: &[Tensor]) -> String {
    let types: Vec<(TensorType, IntType)> = ports.iter().map(|p| (p.ty.clone(), p.element)).collect();
    word(&types, tensors)
}

/// The line of tensors whose elements lie so.
pub fn word(types: &[(TensorType, IntType)], tensors: &[Tensor]) -> String {
    let mut bits: Vec<bool> = Vec::new();
    for ((_, element), tensor) in types.iter().zip(tensors) {
        for i in 0..tensor.len() {
            let code = tensor.data.code(i).unwrap_or_default();
            bits.extend((0..u32::from(element.width)).map(|k| code >> k.min(63) & 1 == 1));
        }
    }
    let digit = |four: &[bool]| four.iter().enumerate().map(|(k, &b)| u32::from(b) << k).sum::<u32>();
    let mut text = String::with_capacity(bits.len() / 4 + 2);
    text.extend(bits.chunks(4).rev().filter_map(|four| char::from_digit(digit(four), 16)));
    text.push('\n');
    text
}

/// The tensors of each line.
pub fn read(
    text: &str,
    ports: &[(TensorType, IntType)],
    file: &str,
) -> Result<Vec<Vec<Tensor>>, Diagnostics> {
    let mut all = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let digits: Option<Vec<u32>> = line.trim().chars().rev().map(|c| c.to_digit(16)).collect();
        let fault = || {
            Diagnostic::error(
                Location::file(file).at(format!("line {}", n + 1)),
                format!("`{line}` is no word of bits"),
            )
        };
        let digits = digits.ok_or_else(fault)?;
        let bit = |i: usize| digits.get(i / 4).is_some_and(|d| d >> (i % 4) & 1 == 1);
        let mut at = 0;
        let mut sample = Vec::new();
        for (ty, element) in ports {
            let width = usize::from(element.width);
            let mut codes = Vec::with_capacity(ty.shape.num_elements());
            for _ in 0..ty.shape.num_elements() {
                let raw: i64 = (0..width).map(|k| i64::from(bit(at + k)) << k).fold(0, |a, b| a | b);
                codes.push(element.wrap(raw));
                at += width;
            }
            sample.push(Tensor::codes(ty.clone(), codes));
        }
        all.push(sample);
    }
    Ok(all)
}
