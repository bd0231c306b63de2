//! Requantizers of sums, channel by channel, of the plain form that can be computed on several channels at once.

use super::super::plan::Step;
use super::words::{Word, inside, literal};
use super::writer::Writer;
use unfloat_ir::ops::{Op, Requantize, Unary};
use unfloat_ir::{Graph, Node, Overflow, Rounding};

/// A requantizer, and bounds that functions behind it may have made narrower.
struct Row {
    rounding: Rounding,
    multipliers: Vec<i64>,
    addends: Vec<i64>,
    shifts: Vec<i64>,
    low: i64,
    high: i64,
}

/// The function of a step's sums of 32 bits, where the step is of that form: one requantizer that saturates, with or
/// without functions behind it that only cut off; multipliers and quotients of 32 bits, products below 2^61, shifts from
/// 1 to 61.
pub fn function(w: &mut Writer, step: &Step) -> Option<String> {
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
