//! Reductions over whole axes, ArgMax and ArgMin, TopK of one element.

use unfloat_ir::ops::{ArgReduce, Binary, Reduce, ReduceFn, Unary};

use crate::onnx::cx::Cx;
use crate::onnx::problem::{Fault, Handled};
use crate::onnx::value::Val;

pub(super) fn reduce(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let x = cx.input(0)?;
    let keep = cx.flag("keepdims", true)?;
    // The axes became an operand in opset 18, those of ReduceSum in 13.
    let operand = cx.opset() >= 18 || (cx.op() == "ReduceSum" && cx.opset() >= 13);
    let axes = if operand { cx.known_ints(1, "axes")? } else { cx.ints("axes")? };
    let noop = cx.flag("noop_with_empty_axes", false)?;
    let axes = match axes {
        Some(axes) if !axes.is_empty() => cx.axes(&x, &axes)?,
        // Over no axes each cell is reduced by itself: the sum of squares is its square.
        _ if noop => Vec::new(),
        _ => cx.axes(&x, &(0..cx.rank(&x) as i64).collect::<Vec<_>>())?,
    };
    let itself = ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceLogSumExp"];
    if axes.is_empty() && itself.contains(&cx.op()) {
        return Ok(vec![x]);
    }
    let with = |cx: &mut Cx<'_, '_, '_>, f, x: &Val| cx.apply(Reduce { f, axes: axes.clone(), keep }, &[x]);
    let y = match cx.op() {
        "ReduceSum" => with(cx, ReduceFn::Sum, &x)?,
        "ReduceMean" => with(cx, ReduceFn::Mean, &x)?,
        "ReduceMax" => with(cx, ReduceFn::Max, &x)?,
        "ReduceMin" => with(cx, ReduceFn::Min, &x)?,
        "ReduceProd" => with(cx, ReduceFn::Prod, &x)?,
        "ReduceSumSquare" => with(cx, ReduceFn::SumSquare, &x)?,
        "ReduceL1" => {
            let magnitude = cx.apply(Unary::Abs, &[&x])?;
            with(cx, ReduceFn::Sum, &magnitude)?
        }
        "ReduceL2" => {
            let squares = with(cx, ReduceFn::SumSquare, &x)?;
            cx.apply(Unary::Sqrt, &[&squares])?
        }
        "ReduceLogSum" => {
            let sum = with(cx, ReduceFn::Sum, &x)?;
            cx.apply(Unary::Log, &[&sum])?
        }
        _ => {
            // ReduceLogSumExp, shifted by the greatest so that nothing overflows.
            let shift = cx.apply(Reduce { f: ReduceFn::Max, axes: axes.clone(), keep: true }, &[&x])?;
            let below = cx.apply(Binary::Sub, &[&x, &shift])?;
            let terms = cx.apply(Unary::Exp, &[&below])?;
            let sum = with(cx, ReduceFn::Sum, &terms)?;
            let log = cx.apply(Unary::Log, &[&sum])?;
            let most = with(cx, ReduceFn::Max, &x)?;
            cx.apply(Binary::Add, &[&log, &most])?
        }
    };
    Ok(vec![y])
}

pub(super) fn arg(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let x = cx.input(0)?;
    let axis = cx.int_or("axis", 0)?;
    let axis = cx.axis(&x, axis)?;
    let (keep, last) = (cx.flag("keepdims", true)?, cx.flag("select_last_index", false)?);
    let op = ArgReduce { max: cx.op() == "ArgMax", axis, keep, last };
    Ok(vec![cx.apply(op, &[&x])?])
}

/// TopK of one element: the extreme and where it is. Of equal elements the first one counts.
pub(super) fn top_k(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let x = cx.input(0)?;
    let k = match cx.opset() {
        ..10 => cx.int("k")?,
        _ => cx.known_ints(1, "number of elements")?.and_then(|k| k.first().copied()),
    };
    if k != Some(1) {
        let found = k.map_or("no number".to_string(), |k| k.to_string());
        let help = "one element is a maximum; sort more of them outside of the network";
        return Err(Fault::with_help(format!("expected the 1 greatest element, found {found}"), help));
    }
    cx.ignore(&["sorted"]);
    let (axis, max) = (cx.int_or("axis", -1)?, cx.flag("largest", true)?);
    let axis = cx.axis(&x, axis)?;
    let f = if max { ReduceFn::Max } else { ReduceFn::Min };
    let value = cx.apply(Reduce { f, axes: vec![axis], keep: true }, &[&x])?;
    let place = cx.apply(ArgReduce { max, axis, keep: true, last: false }, &[&x])?;
    Ok(vec![value, place])
}
