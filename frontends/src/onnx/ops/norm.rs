//! BatchNormalization, GroupNormalization, InstanceNormalization, LayerNormalization, LRN.

use unfloat_ir::Layout;
use unfloat_ir::ops::{BatchNorm, Binary, Expand, LayerNorm, Lrn, Reduce, ReduceFn, Unary};

use super::quantize::number;
use crate::onnx::cx::{Cx, normal_axis, sizes};
use crate::onnx::problem::{Fault, Handled};
use crate::onnx::value::Val;

/// One number in every cell of a shape. The shape may be an input's, which takes no bytes of the file, so the
/// constant counts among those that a file implies, and too large a one is refused before it is made.
fn filled(cx: &mut Cx<'_, '_, '_>, shape: &[usize], value: f64) -> Handled<Val> {
    cx.apply(Expand { shape: shape.into() }, &[&number(value)])
}

pub(super) fn batch_norm(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let x = cx.input(0)?;
    let eps = cx.float_or("epsilon", 1e-5)?;
    cx.ignore(&["momentum", "consumed_inputs"]);
    let training = match cx.opset() {
        ..7 => !cx.flag("is_test", false)? && (cx.wants(1) || cx.wants(2)),
        7..14 => cx.wants(1) || cx.wants(2),
        _ => cx.flag("training_mode", false)?,
    };
    if training {
        return Err(Fault::with_help("the node is in training mode", "export the model for inference"));
    }
    let mut operands = vec![x];
    for (i, what) in ["", "scale", "bias", "mean", "variance"].into_iter().enumerate().skip(1) {
        let parameter = cx.input(i)?;
        cx.same_for_all(&parameter, what)?;
        operands.push(parameter);
    }
    if cx.opset() < 9 && !cx.flag("spatial", true)? {
        return per_element(cx, &operands, eps);
    }
    let axis = cx.axis(&operands[0], 1)?;
    let y = cx.apply(BatchNorm::new(axis, eps), &operands.iter().collect::<Vec<_>>())?;
    Ok(vec![y])
}

/// Statistics of every element: the formula written out.
fn per_element(cx: &mut Cx<'_, '_, '_>, operands: &[Val], eps: f32) -> Handled<Vec<Val>> {
    let [x, scale, bias, mean, variance] = operands else { return Err("expected 5 operands".into()) };
    let shifted = cx.apply(Binary::Add, &[variance, &number(eps.into())])?;
    let deviation = cx.apply(Unary::Sqrt, &[&shifted])?;
    let centred = cx.apply(Binary::Sub, &[x, mean])?;
    let scaled = cx.apply(Binary::Mul, &[&centred, scale])?;
    let normal = cx.apply(Binary::Div, &[&scaled, &deviation])?;
    Ok(vec![cx.apply(Binary::Add, &[&normal, bias])?])
}

pub(super) fn instance_norm(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let (x, scale, bias) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let eps = cx.float_or("epsilon", 1e-5)?;
    cx.ignore(&["consumed_inputs"]);
    let rank = cx.rank(&x);
    let axes = (2..rank as i64).map(|a| cx.axis(&x, a)).collect::<Handled<Vec<usize>>>()?;
    let shape = cx.ty(&x).shape;
    let plane: Vec<usize> = axes.iter().map(|&a| shape[a]).collect();
    let plain = [filled(cx, &plane, 1.0)?, filled(cx, &plane, 0.0)?];
    let normal = cx.apply(LayerNorm { axes, eps }, &[&x, &plain[0], &plain[1]])?;
    let column = |cx: &mut Cx<'_, '_, '_>, v: &Val, what| {
        cx.same_for_all(v, what)?;
        let mut dims = cx.ty(v).shape.to_vec();
        dims.resize(dims.len() + rank.saturating_sub(2), 1);
        cx.reshape(v, &dims, Layout::anonymous(dims.len()))
    };
    let (scale, bias) = (column(cx, &scale, "scale")?, column(cx, &bias, "bias")?);
    let scaled = cx.apply(Binary::Mul, &[&normal, &scale])?;
    Ok(vec![cx.apply(Binary::Add, &[&scaled, &bias])?])
}

/// Statistics of each group of channels and all their cells; scale and bias per channel, up to opset 20 per group.
pub(super) fn group_norm(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let (x, scale, bias) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let eps = cx.float_or("epsilon", 1e-5)?;
    let groups = cx.int("num_groups")?.ok_or_else(|| Fault::from("attribute `num_groups` is missing"))?;
    let groups = sizes(&[groups], "attribute `num_groups`")?[0];
    cx.ignore(&["stash_type"]);
    let ty = cx.ty(&x);
    let lead = 1 - cx.lead(&x);
    let (batch, image) = ty.shape.split_at(lead.min(ty.rank()));
    let Some((&channels, space)) = image.split_first() else {
        return Err("expected an input [batch, channels, space…]".into());
    };
    if groups == 0 || !channels.is_multiple_of(groups) {
        return Err(format!("{channels} channels do not split into {groups} groups").into());
    }
    let cells = space.iter().fold(channels / groups, |product, &n| product.saturating_mul(n));
    let rows = [batch, &[groups, cells]].concat();
    let rank = rows.len();
    let y = cx.reshape(&x, &rows, Layout::anonymous(rank))?;
    let plain = [filled(cx, &[cells], 1.0)?, filled(cx, &[cells], 0.0)?];
    let y = cx.apply(LayerNorm { axes: vec![rank - 1], eps }, &[&y, &plain[0], &plain[1]])?;
    let mut y = cx.reshape(&y, &ty.shape, ty.layout)?;
    for (parameter, what, f) in [(scale, "scale", Binary::Mul), (bias, "bias", Binary::Add)] {
        cx.same_for_all(&parameter, what)?;
        let mut parameter = parameter;
        if cx.opset() < 21 {
            let column = cx.reshape(&parameter, &[groups, 1], Layout::anonymous(2))?;
            parameter = cx.apply(Expand { shape: [groups, channels / groups].into() }, &[&column])?;
        }
        let mut column = vec![channels];
        column.resize(1 + space.len(), 1);
        let parameter = cx.reshape(&parameter, &column, Layout::anonymous(column.len()))?;
        y = cx.apply(f, &[&y, &parameter])?;
    }
    Ok(vec![y])
}

pub(super) fn layer_norm(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let (x, scale, bias) = (cx.input(0)?, cx.input(1)?, cx.optional(2));
    let eps = cx.float_or("epsilon", 1e-5)?;
    let rank = cx.rank(&x);
    let first = normal_axis(cx.int_or("axis", -1)?, rank)?;
    cx.ignore(&["stash_type"]);
    let axes = (first..rank).map(|a| cx.axis(&x, a as i64)).collect::<Handled<Vec<usize>>>()?;
    let shape = cx.ty(&x).shape;
    let dims: Vec<usize> = axes.iter().map(|&a| shape[a]).collect();
    let whole = |cx: &mut Cx<'_, '_, '_>, v: Val, what| -> Handled<Val> {
        cx.same_for_all(&v, what)?;
        if cx.ty(&v).shape.dims() == dims {
            return Ok(v);
        }
        cx.apply(Expand { shape: dims.clone().into() }, &[&v])
    };
    let gamma = whole(cx, scale, "scale")?;
    let beta = match bias {
        Some(bias) => whole(cx, bias, "bias")?,
        None => filled(cx, &dims, 0.0)?,
    };
    let mut results = vec![cx.apply(LayerNorm { axes: axes.clone(), eps }, &[&x, &gamma, &beta])?];
    if cx.results() > 1 {
        let mean = cx.apply(Reduce { f: ReduceFn::Mean, axes: axes.clone(), keep: true }, &[&x])?;
        let centred = cx.apply(Binary::Sub, &[&x, &mean])?;
        let squared = cx.apply(Unary::Square, &[&centred])?;
        let variance = cx.apply(Reduce { f: ReduceFn::Mean, axes, keep: true }, &[&squared])?;
        let shifted = cx.apply(Binary::Add, &[&variance, &number(eps.into())])?;
        results.extend([mean, cx.apply(Unary::Rsqrt, &[&shifted])?]);
    }
    Ok(results)
}

pub(super) fn lrn(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let x = cx.input(0)?;
    let size = cx.int("size")?.ok_or_else(|| Fault::from("attribute `size` is missing"))?;
    let size = sizes(&[size], "attribute `size`")?[0];
    let (alpha, beta, bias) =
        (cx.float_or("alpha", 1e-4)?, cx.float_or("beta", 0.75)?, cx.float_or("bias", 1.0)?);
    let axis = cx.axis(&x, 1)?;
    Ok(vec![cx.apply(Lrn { axis, size, alpha, beta, bias }, &[&x])?])
}
