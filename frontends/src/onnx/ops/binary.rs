//! Functions of two and of any number of elements: arithmetic, comparisons, logic, shifts, Where, Cast.

use unfloat_ir::ops::{Binary, Bitwise, Cast, Compare, Select};
use unfloat_ir::{ElemType, Layout, Tensor};

use crate::onnx::cx::{Cx, normal_axis};
use crate::onnx::dtype::DType;
use crate::onnx::lower::tensor_of;
use crate::onnx::problem::{Fault, Handled};
use crate::onnx::value::Val;

/// Two operands of one element type that broadcast. Up to opset 6 they do only when `broadcast` says so, and `axis`
/// says where the second one begins.
fn pair(cx: &mut Cx<'_, '_, '_>) -> Handled<(Val, Val)> {
    let (a, mut b) = (cx.input(0)?, cx.input(1)?);
    cx.ignore(&["consumed_inputs"]);
    if cx.opset() < 7 {
        let broadcast = cx.flag("broadcast", false)?;
        if let (Some(axis), true) = (cx.int("axis")?, broadcast) {
            let (rank, mut dims) = (cx.rank(&a), cx.ty(&b).shape.to_vec());
            let after = rank.checked_sub(normal_axis(axis, rank)? + dims.len());
            let after = after.ok_or_else(|| Fault::from("the second operand has too many axes"))?;
            cx.same_for_all(&b, "second operand")?;
            dims.resize(dims.len() + after, 1);
            b = cx.reshape(&b, &dims, Layout::anonymous(dims.len()))?;
        }
    }
    let both = cx.aligned(&[a, b])?;
    Ok((both[0].clone(), both[1].clone()))
}

/// An element type for an operand; no change when it has it.
pub(super) fn cast(cx: &mut Cx<'_, '_, '_>, x: &Val, to: DType) -> Handled<Val> {
    if x.dtype.elem() == to.elem() {
        return Ok(x.clone().with_dtype(to));
    }
    Ok(cx.apply(Cast { to: to.elem() }, &[x])?.with_dtype(to))
}

pub(super) fn arithmetic(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let (a, b) = pair(cx)?;
    let f = match cx.op() {
        "Add" => Binary::Add,
        "Sub" => Binary::Sub,
        "Mul" => Binary::Mul,
        "Div" => Binary::Div,
        "Mod" if cx.flag("fmod", false)? => Binary::Fmod,
        _ => Binary::Mod,
    };
    Ok(vec![cx.apply(f, &[&a, &b])?])
}

/// Pow takes operands of two types; the result has the first one's.
pub(super) fn pow(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let (a, b) = pair(cx)?;
    let dtype = a.dtype;
    let y = if dtype.elem() == b.dtype.elem() {
        cx.apply(Binary::Pow, &[&a, &b])?
    } else {
        let (a, b) = (cast(cx, &a, DType::F32)?, cast(cx, &b, DType::F32)?);
        let y = cx.apply(Binary::Pow, &[&a, &b])?;
        cast(cx, &y, dtype)?
    };
    Ok(vec![y])
}

/// Sum, Mean, Max and Min of any number of operands.
pub(super) fn variadic(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let all = cx.all()?;
    cx.ignore(&["consumed_inputs"]);
    let count = all.len();
    let f = match cx.op() {
        "Max" => Binary::Max,
        "Min" => Binary::Min,
        _ => Binary::Add,
    };
    let mean = cx.op() == "Mean";
    let all = cx.aligned(&all)?;
    let mut operands = all.into_iter();
    let mut y = operands.next().ok_or_else(|| Fault::from("has no operands"))?;
    for x in operands {
        // Aligned against one another, since a partial result may have fewer axes than the last operand.
        let both = cx.aligned(&[y, x])?;
        y = cx.apply(f, &[&both[0], &both[1]])?;
    }
    if mean && count > 1 {
        let divisor = Val::constant(tensor_of(y.dtype, &[], [count as f64]), y.dtype);
        y = cx.apply(Binary::Div, &[&y, &divisor])?;
    }
    Ok(vec![y])
}

pub(super) fn compare(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let (a, b) = pair(cx)?;
    let f = match cx.op() {
        "Greater" => Compare::Greater,
        "GreaterOrEqual" => Compare::GreaterEqual,
        "Less" => Compare::Less,
        "LessOrEqual" => Compare::LessEqual,
        _ => Compare::Equal,
    };
    Ok(vec![cx.apply(f, &[&a, &b])?])
}

/// Logic of booleans, bits of integers, and shifts.
pub(super) fn bits(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let (a, b) = pair(cx)?;
    let f = match cx.op() {
        "And" | "BitwiseAnd" => Bitwise::And,
        "Or" | "BitwiseOr" => Bitwise::Or,
        "Xor" | "BitwiseXor" => Bitwise::Xor,
        _ => match cx.word("direction", "", &["LEFT", "RIGHT"])?.as_str() {
            "LEFT" => Bitwise::ShiftLeft,
            _ => Bitwise::ShiftRight,
        },
    };
    Ok(vec![cx.apply(f, &[&a, &b])?])
}

/// Not and BitwiseNot: an exclusive or with ones.
pub(super) fn not(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let x = cx.input(0)?;
    let ty = cx.ty(&x);
    let ones = match &ty.elem {
        ElemType::Bit => 1,
        ElemType::Int(int) if int.signed => -1,
        ElemType::Int(int) => int.max(),
        other => return Err(format!("expected booleans or integers, found {other}").into()),
    };
    let scalar = unfloat_ir::TensorType::new(ty.elem.clone(), [], Layout::anonymous(0));
    let ones = Val::constant(Tensor::codes(scalar, [ones]), x.dtype);
    Ok(vec![cx.apply(Bitwise::Xor, &[&x, &ones])?])
}

pub(super) fn select(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let all = [cx.input(0)?, cx.input(1)?, cx.input(2)?];
    let all = cx.aligned(&all)?;
    let dtype = all[1].dtype;
    Ok(vec![cx.apply(Select, &[&all[0], &all[1], &all[2]])?.with_dtype(dtype)])
}

/// Cast and CastLike. Between floats nothing happens: all are computed in single precision.
pub(super) fn cast_to(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let x = cx.input(0)?;
    cx.ignore(&["saturate", "round_mode"]);
    let to = if cx.op() == "CastLike" {
        cx.input(1)?.dtype
    } else if cx.opset() < 6 {
        let name = cx.text("to")?.unwrap_or_default();
        let code = crate::onnx::proto::tensor_proto::DataType::from_str_name(&name).map_or(-1, |t| t as i32);
        DType::from_code(code).map_err(|e| format!("casts to {e}, which graphs do not have"))?
    } else {
        let code = cx.int("to")?.ok_or_else(|| Fault::from("attribute `to` is missing"))?;
        let code = i32::try_from(code).unwrap_or(-1);
        DType::from_code(code).map_err(|e| format!("casts to {e}, which graphs do not have"))?
    };
    if x.dtype != to && to.is_float() && to != DType::F32 {
        cx.warn(format!("casts to {to}, which is computed in single precision"));
    }
    Ok(vec![cast(cx, &x, to)?])
}
