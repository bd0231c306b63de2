//! What is done to sums, channel by channel, where it has a plain form that can be computed on several channels at once:
//! requantizers, and many thresholds that lie evenly.

use super::super::plan::Step;
use super::words::{Word, inside, literal};
use super::writer::Writer;
use unfloat_ir::ops::{Op, Requantize, Threshold, Unary};
use unfloat_ir::staircase::Estimate;
use unfloat_ir::{Graph, Node, Overflow, Rounding, accumulator};

/// A requantizer, and bounds that functions behind it may have made narrower.
struct Row {
    rounding: Rounding,
    multipliers: Vec<i64>,
    addends: Vec<i64>,
    shifts: Vec<i64>,
    low: i64,
    high: i64,
}

/// The function of a step's sums of 32 bits, where the step is of such a form.
pub fn function(w: &mut Writer, step: &Step) -> Option<String> {
    requantizer(w, step).or_else(|| stairs(w, step))
}

/// One requantizer that saturates, with or without functions behind it that only cut off; multipliers and quotients of
/// 32 bits, products below 2^61, shifts from 1 to 61.
fn requantizer(w: &mut Writer, step: &Step) -> Option<String> {
    let row = find(w, step)?;
    let name = w.name(step);
    let tables = [
        w.derived("multipliers", Word::I32, row.multipliers),
        w.derived("addends", Word::I64, row.addends),
        w.derived("shifts", Word::I32, row.shifts),
    ];
    let [m, a, s] = tables.map(|table| format!("{table} + c"));
    w.kernel("rows");
    let text = format!(
        "  static constexpr bool has_rows = true;\n  \
         template <std::size_t N> static void row(const std::int32_t* sum, {}* y, std::size_t c) noexcept {{\n    \
         kernel::requantize_row<kernel::rounding::{}, N>(sum, {m}, {a}, {s}, {}, {}, y);\n  }}\n",
        w.word(step.output).name(),
        row.rounding.name(),
        literal(row.low),
        literal(row.high)
    );
    Some(w.function(&name, text))
}

/// The bounds of a step's results, where a requantizer is followed by nothing but functions that cut off.
fn bounds(graph: &Graph, step: &Step, op: &Requantize) -> Option<(i64, i64)> {
    step.then[1..].iter().try_fold(op.bounds(), |(low, high), &id| match graph.node(id).op {
        Op::Unary(f @ (Unary::Relu | Unary::Clip { .. })) => Some((f.apply_int(low)?, f.apply_int(high)?)),
        _ => None,
    })
}

/// One number for each channel.
fn table(w: &Writer, node: &Node, i: usize, channels: usize) -> Option<Vec<i64>> {
    let codes = w.codes(node.inputs[i])?;
    let all = if codes.len() == 1 { vec![codes[0]; channels] } else { codes };
    (all.len() == channels).then_some(all)
}

fn find(w: &Writer, step: &Step) -> Option<Row> {
    let graph = w.graph;
    let node = graph.node(*step.then.first()?);
    let Op::Requantize(op) = &node.op else { return None };
    if !matches!(op.overflow, Overflow::Saturate | Overflow::SaturateSymmetric) {
        return None;
    }
    let (low, high) = bounds(graph, step, op)?;
    let channels = graph.ty(step.output).shape.last().copied()?;
    let [multipliers, addends, shifts] = [1, 2, 3].map(|i| table(w, node, i, channels));
    let row = Row {
        rounding: op.rounding,
        multipliers: multipliers?,
        addends: addends?,
        shifts: shifts?,
        low,
        high,
    };
    let x = w.range(node.inputs[0]);
    let fits = |c: usize| {
        let (m, a, s) = (i128::from(row.multipliers[c]), i128::from(row.addends[c]), row.shifts[c]);
        (1..=61).contains(&s)
            && i32::try_from(m).is_ok()
            && [x.0, x.1].into_iter().all(|x| {
                let v = x * m + a;
                v.abs() < 1 << 61 && inside(((v >> s) - 1, (v >> s) + 2), Word::I32.range())
            })
    };
    let bounded = [low, high].into_iter().all(|b| i32::try_from(b).is_ok());
    (bounded && (0..channels).all(fits)).then_some(row)
}

/// A field of an estimate.
type Field = fn(&Estimate) -> i32;

/// Thresholds up to which each is compared.
const FEW: usize = 16;

/// Many thresholds for each channel, whose number is estimated by a line; nothing behind them.
fn stairs(w: &mut Writer, step: &Step) -> Option<String> {
    let &[only] = &step.then[..] else { return None };
    let node = w.graph.node(only);
    let Op::Threshold(op) = &node.op else { return None };
    let ty = w.graph.ty(step.output);
    let (channels, table) = (*ty.shape.last()?, &w.graph.ty(node.inputs[1]).shape);
    let (rows, count) = (table[0], table[1]);
    let word = w.word(step.output);
    if rows != channels || count <= FEW || op.axis + 1 != ty.rank() || word == Word::I64 {
        return None;
    }
    let [bias, scale] = ends(op, count)?;
    let mut limits = w.codes(node.inputs[1])?;
    limits.chunks_mut(count).for_each(<[i64]>::sort_unstable);
    let ranges = sums(w, step, channels);
    let estimates: Vec<Estimate> = limits
        .chunks(count)
        .zip(&ranges)
        .map(|(row, &range)| Estimate::of(row, range))
        .collect::<Option<_>>()?;
    // Sums lie between the ends of 32 bits: what all or none reach may move there.
    limits.iter_mut().for_each(|t| *t = (*t).clamp(i32::MIN.into(), i32::MAX.into()));
    let slack = estimates.iter().map(|e| e.slack).max()?;
    let fields: [(&str, Field); 5] = [
        ("low", |e| e.low),
        ("high", |e| e.high),
        ("up", |e| e.up.into()),
        ("slope", |e| e.multiplier),
        ("level", |e| e.addend),
    ];
    let name = w.name(step);
    let tables = fields.map(|(field, of)| {
        let values = estimates.iter().map(|e| of(e).into()).collect();
        format!("{} + c", w.derived(&format!("{name}_{field}"), Word::I32, values))
    });
    let limits = w.constant(node.inputs[1], "stairs", "", Word::I32, |_| limits);
    w.kernel("stairs");
    let text = format!(
        "  static constexpr bool has_rows = true;\n  \
         template <std::size_t N> static void row(const std::int32_t* sum, {}* y, std::size_t c) noexcept {{\n    \
         kernel::stairs_row<N, {count}>(sum, {}, {slack}, {limits} + c * {count}, {bias}, {scale}, y);\n  }}\n",
        word.name(),
        tables.join(", "),
    );
    Some(w.function(&name, text))
}

/// Bias and scale where every code has 32 bits.
fn ends(op: &Threshold, count: usize) -> Option<[i32; 2]> {
    let last = i128::from(op.bias) + i128::from(op.scale) * count as i128;
    i32::try_from(last).ok()?;
    Some([i32::try_from(op.bias).ok()?, i32::try_from(op.scale).ok()?])
}

/// The least and the greatest sum of each channel: for the weights that are there, or for all channels together.
fn sums(w: &Writer, step: &Step, channels: usize) -> Vec<(i128, i128)> {
    let node = w.graph.node(step.node);
    let all = w.range(node.output);
    let (lo, hi) = w.range(node.inputs[0]);
    let codes = i64::try_from(lo).ok().zip(i64::try_from(hi).ok());
    let own = codes.and_then(|codes| accumulator::of_node(w.graph, node, Some(&[codes])).ok());
    match own {
        Some(own) if own.channels.len() == channels => own.channels,
        _ => vec![all; channels],
    }
}
