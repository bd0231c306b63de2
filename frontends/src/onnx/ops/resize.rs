//! Resize and Upsample. Enlargement by whole factors becomes an `upsample`, which has kernels; the rest a `resize`.

use unfloat_ir::ops::{Coordinates, NearestMode, Resize, ResizeMode, Upsample, UpsampleMode};

use crate::onnx::cx::{Cx, normal_axis};
use crate::onnx::problem::{Fault, Handled};
use crate::onnx::value::Val;

/// What a node says per axis of the model.
struct Spec {
    /// Extents of the result.
    sizes: Vec<usize>,
    /// Factors, where they are given or follow from an aspect ratio; else the quotients of the extents hold.
    scales: Option<Vec<f32>>,
    /// Begin and end of the region.
    roi: Option<(Vec<f32>, Vec<f32>)>,
}

pub(super) fn upsample(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let x = cx.input(0)?;
    let scales = match cx.opset() {
        ..7 => {
            let shape = [cx.float_or("height_scale", 1.0)?, cx.float_or("width_scale", 1.0)?];
            Some(vec![1.0, 1.0, shape[0], shape[1]])
        }
        7..9 => cx.floats("scales")?,
        _ => cx.known_floats(1, "scales")?,
    };
    let scales = scales.ok_or_else(|| Fault::from("the scales are missing"))?;
    old_mode(cx, &x, scales)
}

/// The one rule that Upsample and the first Resize had: coordinates `i / scale`, the next lower cell.
fn old_mode(cx: &mut Cx<'_, '_, '_>, x: &Val, scales: Vec<f32>) -> Handled<Vec<Val>> {
    let mode = match cx.word("mode", "nearest", &["nearest", "linear", "bilinear"])?.as_str() {
        "nearest" => ResizeMode::Nearest(NearestMode::Floor),
        _ => ResizeMode::Linear,
    };
    let shape = cx.shape(x);
    let spec = Spec { sizes: scaled(&shape, &scales)?, scales: Some(scales), roi: None };
    let op = Resize::new([], mode, Coordinates::Asymmetric);
    Ok(vec![apply(cx, x, &shape, spec, op)?])
}

/// Extents times factors, rounded down.
fn scaled(shape: &[usize], scales: &[f32]) -> Handled<Vec<usize>> {
    if scales.len() != shape.len() {
        return Err(format!("{} scales for {} axes", scales.len(), shape.len()).into());
    }
    let one = |(&n, &s): (&usize, &f32)| {
        let size = f64::from(n as f32 * s).floor();
        let usable = s.is_finite() && s > 0.0 && size < 1e9;
        usable.then_some(size as usize).ok_or_else(|| Fault::from(format!("the scales are {scales:?}")))
    };
    shape.iter().zip(scales).map(one).collect()
}

pub(super) fn resize(cx: &mut Cx<'_, '_, '_>) -> Handled<Vec<Val>> {
    let x = cx.input(0)?;
    if cx.opset() < 11 {
        let scales = cx.known_floats(1, "scales")?.ok_or_else(|| Fault::from("the scales are missing"))?;
        return old_mode(cx, &x, scales);
    }
    let mode = match cx.word("mode", "nearest", &["nearest", "linear", "cubic"])?.as_str() {
        "nearest" => {
            let words = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"];
            ResizeMode::Nearest(match cx.word("nearest_mode", words[0], &words)?.as_str() {
                "round_prefer_floor" => NearestMode::RoundPreferFloor,
                "round_prefer_ceil" => NearestMode::RoundPreferCeil,
                "floor" => NearestMode::Floor,
                _ => NearestMode::Ceil,
            })
        }
        "linear" => ResizeMode::Linear,
        _ => ResizeMode::Cubic { a: cx.float_or("cubic_coeff_a", -0.75)? },
    };
    cx.ignore(&["nearest_mode", "cubic_coeff_a"]);
    let words = [
        "half_pixel",
        "half_pixel_symmetric",
        "pytorch_half_pixel",
        "align_corners",
        "asymmetric",
        "tf_crop_and_resize",
        "tf_half_pixel_for_nn",
    ];
    let coordinates = match cx.word("coordinate_transformation_mode", words[0], &words)?.as_str() {
        "half_pixel" => Coordinates::HalfPixel,
        "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "align_corners" => Coordinates::AlignCorners,
        "asymmetric" => Coordinates::Asymmetric,
        "tf_crop_and_resize" => Coordinates::CropAndResize,
        _ => return Err("`tf_half_pixel_for_nn`, which opset 13 took away, is not supported".into()),
    };
    let mut op = Resize::new([], mode, coordinates);
    op.antialias = cx.flag("antialias", false)?;
    op.exclude_outside = cx.flag("exclude_outside", false)?;
    op.extrapolation = cx.float_or("extrapolation_value", 0.0)?;
    let shape = cx.shape(&x);
    let spec = spec(cx, &shape, coordinates)?;
    Ok(vec![apply(cx, &x, &shape, spec, op)?])
}

fn spec(cx: &mut Cx<'_, '_, '_>, shape: &[usize], coordinates: Coordinates) -> Handled<Spec> {
    let rank = shape.len();
    let axes = match cx.ints("axes")? {
        Some(axes) => axes.iter().map(|&a| normal_axis(a, rank)).collect::<Handled<Vec<usize>>>()?,
        None => (0..rank).collect(),
    };
    let policy = cx.word("keep_aspect_ratio_policy", "stretch", &["stretch", "not_larger", "not_smaller"])?;
    let given = |list: Option<Vec<f32>>, count: usize, what: &str| match list.filter(|l| !l.is_empty()) {
        Some(list) if list.len() != count => Err(Fault::from(format!("{} {what} for {count}", list.len()))),
        list => Ok(list),
    };
    let roi = given(cx.known_floats(1, "roi")?, 2 * axes.len(), "numbers of the region")?;
    let roi = roi.filter(|_| coordinates == Coordinates::CropAndResize).map(|listed| {
        let (mut begin, mut end) = (vec![0.0; rank], vec![1.0; rank]);
        for (i, &a) in axes.iter().enumerate() {
            (begin[a], end[a]) = (listed[i], listed[i + axes.len()]);
        }
        (begin, end)
    });
    if let Some(listed) = given(cx.known_floats(2, "scales")?, axes.len(), "scales")? {
        let mut scales = vec![1.0; rank];
        axes.iter().zip(listed).for_each(|(&a, s)| scales[a] = s);
        return Ok(Spec { sizes: scaled(shape, &scales)?, scales: Some(scales), roi });
    }
    let listed = cx.known_ints(3, "sizes")?.filter(|l| l.len() == axes.len());
    let listed = listed.ok_or_else(|| format!("expected scales or sizes for {} axes", axes.len()))?;
    let listed = crate::onnx::cx::sizes(&listed, "the sizes")?;
    let mut sizes = shape.to_vec();
    axes.iter().zip(&listed).for_each(|(&a, &n)| sizes[a] = n);
    if policy == "stretch" {
        return Ok(Spec { sizes, scales: None, roi });
    }
    // One factor for all axes; extents are rounded, halves up.
    let factors = axes.iter().map(|&a| sizes[a] as f32 / shape[a] as f32);
    let factor = match policy.as_str() {
        "not_larger" => factors.fold(f32::INFINITY, f32::min),
        _ => factors.fold(0.0, f32::max),
    };
    let mut scales = vec![1.0; rank];
    for &a in &axes {
        scales[a] = factor;
        sizes[a] = (factor * shape[a] as f32 + 0.5).floor() as usize;
    }
    Ok(Spec { sizes, scales: Some(scales), roi })
}

fn apply(cx: &mut Cx<'_, '_, '_>, x: &Val, shape: &[usize], spec: Spec, mut op: Resize) -> Handled<Val> {
    let lead = cx.lead(x);
    let kept = |a: usize| spec.sizes[a] == shape[a] && spec.scales.as_ref().is_none_or(|s| s[a] == 1.0);
    if (0..lead).any(|a| !kept(a)) {
        return Err(Fault::mixes("it resizes the batch"));
    }
    let own = &shape[lead..];
    op.sizes = spec.sizes[lead..].to_vec();
    op.scales = spec.scales.as_ref().map_or(Vec::new(), |s| s[lead..].to_vec());
    if op.coordinates == Coordinates::CropAndResize {
        let (begin, end) = spec.roi.unwrap_or((vec![0.0; shape.len()], vec![1.0; shape.len()]));
        op.roi = [&begin[lead..], &end[lead..]].concat();
    } else {
        op.extrapolation = 0.0;
    }
    // Whole scales that say what the extents say are left out: they would only be one more thing to agree.
    let quotient = |a: usize| op.sizes[a] as f64 / own[a] as f64;
    if (0..own.len()).all(|a| op.scales.get(a).is_none_or(|&s| f64::from(s) == quotient(a))) {
        op.scales.clear();
    }
    let whole = own.iter().zip(&op.sizes).all(|(&n, &m)| n > 0 && m >= n && m.is_multiple_of(n));
    if op.scales.is_empty()
        && whole
        && x.dtype.is_float()
        && let Some(mode) = repeated(&op)
    {
        let factors: Vec<usize> = own.iter().zip(&op.sizes).map(|(n, m)| m / n).collect();
        return cx.apply(Upsample { factors, mode }, &[x]);
    }
    cx.apply(op, &[x])
}

/// The `upsample` that a resizing by whole factors is.
fn repeated(op: &Resize) -> Option<UpsampleMode> {
    let round = |m| matches!(m, NearestMode::RoundPreferFloor | NearestMode::RoundPreferCeil);
    match (op.mode, op.coordinates) {
        (ResizeMode::Nearest(NearestMode::Floor), Coordinates::Asymmetric) => Some(UpsampleMode::Nearest),
        (ResizeMode::Nearest(m), Coordinates::HalfPixel) if round(m) => Some(UpsampleMode::Nearest),
        (ResizeMode::Linear, _) if op.exclude_outside => None,
        (ResizeMode::Linear, Coordinates::HalfPixel) => Some(UpsampleMode::Linear),
        (ResizeMode::Linear, Coordinates::Asymmetric) => Some(UpsampleMode::LinearAsymmetric),
        _ => None,
    }
}
