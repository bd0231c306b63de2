//! Another size by interpolation, each axis by itself: ONNX Resize in all its modes.
//!
//! One operand, of floats; `nearest` without extrapolation takes any type. Cell `i` of an axis with `n` cells that
//! becomes `size` cells lies at the coordinate that [`Coordinates`] gives. The axes are gone through one after
//! another, in double precision, and rounded once. `super::Upsample` is the case of whole factors.

use super::{OpDef, OpError, all_float, arity, floats};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor};
use crate::types::{Shape, TensorType};

/// How cells are mixed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum ResizeMode {
    /// One cell is taken.
    Nearest(NearestMode),
    /// The two cells around, by their distance.
    Linear,
    /// The four cells around, by Keys' kernel (1981) with the parameter `a`: −0.75 or −0.5.
    Cubic {
        /// The slope of the kernel at distance 1.
        a: f32,
    },
}

/// Which cell is nearest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NearestMode {
    /// The nearest; the lower of two.
    RoundPreferFloor,
    /// The nearest; the upper of two.
    RoundPreferCeil,
    /// The next lower.
    Floor,
    /// The next upper.
    Ceil,
}

/// Where cell `i` of the result lies between the `n` cells of the operand. `length` is `scale · n`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Coordinates {
    /// `(i + ½) / scale − ½`
    HalfPixel,
    /// As `HalfPixel`, moved by `n/2 · (1 − size / length)`: the middle stays the middle.
    HalfPixelSymmetric,
    /// As `HalfPixel`; −½ where `length` is 1.
    PytorchHalfPixel,
    /// `i · (n − 1) / (length − 1)`; 0 where `length` is 1.
    AlignCorners,
    /// `i / scale`
    Asymmetric,
    /// As `AlignCorners`, in the region `roi`; cells outside the operand are the extrapolation value.
    CropAndResize,
}

const COORDINATES: [(Coordinates, &str); 6] = [
    (Coordinates::HalfPixel, "half_pixel"),
    (Coordinates::HalfPixelSymmetric, "half_pixel_symmetric"),
    (Coordinates::PytorchHalfPixel, "pytorch_half_pixel"),
    (Coordinates::AlignCorners, "align_corners"),
    (Coordinates::Asymmetric, "asymmetric"),
    (Coordinates::CropAndResize, "tf_crop_and_resize"),
];

const NEAREST: [(NearestMode, &str); 4] = [
    (NearestMode::RoundPreferFloor, "round_prefer_floor"),
    (NearestMode::RoundPreferCeil, "round_prefer_ceil"),
    (NearestMode::Floor, "floor"),
    (NearestMode::Ceil, "ceil"),
];

/// The value beside a name, or the other way round.
fn named<T: Copy + PartialEq>(table: &[(T, &'static str)], value: T) -> &'static str {
    table.iter().find(|(v, _)| *v == value).map_or("", |(_, name)| name)
}
fn valued<T: Copy>(table: &[(T, &'static str)], name: &str) -> Option<T> {
    table.iter().find(|(_, n)| *n == name).map(|(v, _)| *v)
}

/// Attributes of a resizing; each list has one entry per axis.
#[derive(Clone, PartialEq, Debug)]
pub struct Resize {
    /// The extents of the result.
    pub sizes: Vec<usize>,
    /// The factors that coordinates are reckoned with; empty where they are the quotients of the extents.
    pub scales: Vec<f32>,
    /// How cells are mixed.
    pub mode: ResizeMode,
    /// Where the cells of the result lie.
    pub coordinates: Coordinates,
    /// Whether a kernel spans more cells where an axis shrinks (`linear` and `cubic`).
    pub antialias: bool,
    /// Whether cells beyond the border have no weight; otherwise they are as the border.
    pub exclude_outside: bool,
    /// With [`Coordinates::CropAndResize`], where the region begins on each axis and then where it ends on each,
    /// both as parts of the axis; empty otherwise.
    pub roi: Vec<f32>,
    /// The value of cells outside, with [`Coordinates::CropAndResize`].
    pub extrapolation: f32,
}

impl Resize {
    /// A resizing to `sizes` without any of the finer choices.
    pub fn new(sizes: impl Into<Vec<usize>>, mode: ResizeMode, coordinates: Coordinates) -> Self {
        Self {
            sizes: sizes.into(),
            scales: Vec::new(),
            mode,
            coordinates,
            antialias: false,
            exclude_outside: false,
            roi: Vec::new(),
            extrapolation: 0.0,
        }
    }

    /// The same resizing after the axes moved: axis `i` of the new operand is axis `perm[i]` of the old one.
    pub fn permuted(&self, perm: &[usize]) -> Self {
        fn pick<T: Copy>(perm: &[usize], list: &[T]) -> Vec<T> {
            perm.iter().filter_map(|&p| list.get(p).copied()).collect()
        }
        let (begin, end) = self.roi.split_at(self.roi.len() / 2);
        Self {
            sizes: pick(perm, &self.sizes),
            scales: pick(perm, &self.scales),
            roi: [pick(perm, begin), pick(perm, end)].concat(),
            ..self.clone()
        }
    }

    fn scale(&self, axis: usize, n: usize) -> f64 {
        self.scales.get(axis).map_or(self.sizes[axis] as f64 / n as f64, |&s| f64::from(s))
    }

    /// Whether an axis of `n` cells stays as it is.
    pub fn keeps(&self, axis: usize, n: usize) -> bool {
        let whole =
            self.roi.is_empty() || (self.roi[axis] == 0.0 && self.roi[axis + self.roi.len() / 2] == 1.0);
        self.sizes[axis] == n && self.scale(axis, n) == 1.0 && whole
    }

    /// The cells that cell `i` along an axis of `n` cells mixes, with their weights; nothing for a cell outside.
    pub fn taps(&self, axis: usize, i: usize, n: usize) -> Option<Vec<(usize, f64)>> {
        let at = self.coordinate(axis, i, n)?;
        // The part lies in (0, 1]: a coordinate that is a cell counts as the upper end of the step before it.
        let base = at.ceil() - 1.0;
        let part = at - base;
        let (first, mut weights) = self.kernel(part, self.scale(axis, n));
        let cell = |k: usize| base + first as f64 + k as f64;
        if self.exclude_outside {
            for (k, w) in weights.iter_mut().enumerate() {
                if cell(k) < 0.0 || cell(k) > (n - 1) as f64 {
                    *w = 0.0;
                }
            }
            let sum: f64 = weights.iter().sum();
            if sum != 0.0 {
                weights.iter_mut().for_each(|w| *w /= sum);
            }
        }
        let clamped = |k: usize| cell(k).clamp(0.0, (n - 1) as f64) as usize;
        Some(weights.iter().enumerate().filter(|(_, w)| **w != 0.0).map(|(k, &w)| (clamped(k), w)).collect())
    }

    fn coordinate(&self, axis: usize, i: usize, n: usize) -> Option<f64> {
        let scale = self.scale(axis, n);
        let (i, size, n) = (i as f64, self.sizes[axis] as f64, n as f64);
        let length = scale * n;
        let half_pixel = (i + 0.5) / scale - 0.5;
        Some(match self.coordinates {
            Coordinates::HalfPixel => half_pixel,
            Coordinates::HalfPixelSymmetric => n / 2.0 * (1.0 - size / length) + half_pixel,
            Coordinates::PytorchHalfPixel if length == 1.0 => -0.5,
            Coordinates::PytorchHalfPixel => half_pixel,
            Coordinates::AlignCorners if length == 1.0 => 0.0,
            Coordinates::AlignCorners => i * (n - 1.0) / (length - 1.0),
            Coordinates::Asymmetric => i / scale,
            Coordinates::CropAndResize => {
                let roi = |k: usize| f64::from(self.roi[k]);
                let (begin, end) = (roi(axis), roi(axis + self.roi.len() / 2));
                let step = if length == 1.0 { 0.5 } else { i / (length - 1.0) };
                let at = begin * (n - 1.0) + step * (end - begin) * (n - 1.0);
                return (0.0..=n - 1.0).contains(&at).then_some(at);
            }
        })
    }

    /// The weights of the cells from `base + first` on, for a coordinate `part` beyond `base`.
    fn kernel(&self, part: f64, scale: f64) -> (i64, Vec<f64>) {
        let stretch = if self.antialias { scale.min(1.0) } else { 1.0 };
        let spread = |reach: f64, weight: &dyn Fn(f64) -> f64| {
            let first = (-reach / stretch).floor() as i64 + 1;
            let weights: Vec<f64> =
                (first..2 - first).map(|k| weight(((k as f64 - part) * stretch).abs())).collect();
            let sum: f64 = if self.antialias { weights.iter().sum() } else { 1.0 };
            (first, weights.into_iter().map(|w| w / sum).collect())
        };
        match self.mode {
            ResizeMode::Nearest(mode) => {
                let lower = match mode {
                    _ if part == 1.0 => false,
                    NearestMode::RoundPreferFloor => part <= 0.5,
                    NearestMode::RoundPreferCeil => part < 0.5,
                    NearestMode::Floor => true,
                    NearestMode::Ceil => false,
                };
                (i64::from(!lower), vec![1.0])
            }
            ResizeMode::Linear => spread(1.0, &|x| (1.0 - x).max(0.0)),
            ResizeMode::Cubic { a } => {
                let a = f64::from(a);
                spread(2.0, &|x| match x {
                    x if x <= 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
                    x if x < 2.0 => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
                    _ => 0.0,
                })
            }
        }
    }

    fn takes_any_type(&self) -> bool {
        matches!(self.mode, ResizeMode::Nearest(_)) && self.coordinates != Coordinates::CropAndResize
    }
}

impl OpDef for Resize {
    const NAMES: &'static [&'static str] = &["resize"];

    fn attrs(&self, to: &mut AttrWriter) {
        to.sizes("sizes", &self.sizes);
        if !self.scales.is_empty() {
            to.floats("scales", &self.scales);
        }
        match self.mode {
            ResizeMode::Nearest(mode) => to.word("mode", "nearest").word("nearest", named(&NEAREST, mode)),
            ResizeMode::Linear => to.word("mode", "linear"),
            ResizeMode::Cubic { a } => to.word("mode", "cubic").float("a", a),
        };
        to.word("coordinates", named(&COORDINATES, self.coordinates));
        if self.antialias {
            to.bool("antialias", true);
        }
        if self.exclude_outside {
            to.bool("exclude_outside", true);
        }
        if !self.roi.is_empty() {
            to.floats("roi", &self.roi);
        }
        if self.extrapolation.to_bits() != 0 {
            to.float("extrapolation", self.extrapolation);
        }
    }
    fn parse(_: &str, from: &mut AttrReader) -> Result<Self, String> {
        let list = |from: &mut AttrReader, name: &str| {
            if from.has(name) { from.floats(name) } else { Ok(Vec::new()) }
        };
        let mode = match from.word("mode")?.as_str() {
            "nearest" => {
                let words = "round_prefer_floor, round_prefer_ceil, floor or ceil";
                ResizeMode::Nearest(from.choice("nearest", words, |w| valued(&NEAREST, w))?)
            }
            "linear" => ResizeMode::Linear,
            "cubic" => ResizeMode::Cubic { a: from.float("a")? },
            other => {
                return Err(format!("attribute `mode`: expected nearest, linear or cubic, found {other}"));
            }
        };
        let words = COORDINATES.map(|(_, name)| name).join(", ");
        Ok(Self {
            sizes: from.sizes("sizes")?,
            scales: list(from, "scales")?,
            mode,
            coordinates: from.choice("coordinates", &words, |w| valued(&COORDINATES, w))?,
            antialias: from.flag("antialias")?,
            exclude_outside: from.flag("exclude_outside")?,
            roi: list(from, "roi")?,
            extrapolation: if from.has("extrapolation") { from.float("extrapolation")? } else { 0.0 },
        })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        arity(inputs, 1, 1)?;
        if !self.takes_any_type() {
            all_float(inputs)?;
        }
        let x = inputs[0];
        let rank = x.rank();
        if self.sizes.len() != rank || !(self.scales.is_empty() || self.scales.len() == rank) {
            return Err(format!("sizes and scales need {rank} entries each").into());
        }
        let crops = self.coordinates == Coordinates::CropAndResize;
        if self.roi.len() != if crops { 2 * rank } else { 0 } || self.roi.iter().any(|r| !r.is_finite()) {
            return Err("roi belongs to tf_crop_and_resize and needs two finite entries per axis".into());
        }
        if self.antialias && matches!(self.mode, ResizeMode::Nearest(_)) {
            return Err("antialias has no meaning for nearest".into());
        }
        if matches!(self.mode, ResizeMode::Cubic { a } if !a.is_finite()) {
            return Err("a must be a number".into());
        }
        for (a, (&n, &size)) in x.shape.iter().zip(&self.sizes).enumerate() {
            if n == 0 && size > 0 {
                return Err(format!("axis {a} has no cells to make {size} of").into());
            }
            // A size comes of a scale by rounding, so the two can't be far apart; kernels then stay small as well.
            let length = self.scale(a, n) * n as f64;
            if size > 0 && !(length >= 0.5 && (length - size as f64).abs() <= 1.0) {
                return Err(
                    format!("axis {a}: {n} cells at the scale {} are not {size}", self.scale(a, n)).into()
                );
            }
        }
        Ok(TensorType::new(x.elem.clone(), self.sizes.clone(), x.layout))
    }

    fn eval(&self, inputs: &[&Tensor], out: &TensorType) -> Result<Data, OpError> {
        let mut shape = inputs[0].ty.shape.clone();
        if self.takes_any_type() {
            let mut at: Vec<usize> = (0..inputs[0].len()).collect();
            for a in 0..out.rank() {
                self.along(a, &mut shape, &mut at, |x, taps| {
                    taps.map_or(0, |t| t.first().map_or(0, |&(k, _)| x(k)))
                });
            }
            return Ok(inputs[0].data.gather(&at));
        }
        let mut y: Vec<f64> = floats(inputs, 0)?.iter().map(|&x| f64::from(x)).collect();
        for a in 0..out.rank() {
            self.along(a, &mut shape, &mut y, |x, taps| match taps {
                Some(taps) => taps.iter().map(|&(k, w)| w * x(k)).sum(),
                None => f64::from(self.extrapolation),
            });
        }
        Ok(Data::F32(y.into_iter().map(|v| v as f32).collect()))
    }
}

impl Resize {
    /// Resizes one axis; `mix` makes an element of the elements along the axis and the taps.
    fn along<T: Copy>(
        &self,
        axis: usize,
        shape: &mut Shape,
        x: &mut Vec<T>,
        mix: impl Fn(&dyn Fn(usize) -> T, Option<&[(usize, f64)]>) -> T,
    ) {
        let (n, size) = (shape[axis], self.sizes[axis]);
        if self.keeps(axis, n) {
            return;
        }
        let taps: Vec<Option<Vec<(usize, f64)>>> = (0..size).map(|i| self.taps(axis, i, n)).collect();
        let inner: usize = shape[axis + 1..].iter().product();
        let outer: usize = shape[..axis].iter().product();
        let mut y = Vec::with_capacity(outer * size * inner);
        for block in 0..outer {
            for taps in &taps {
                let from = block * n * inner;
                y.extend((0..inner).map(|i| mix(&|k| x[from + k * inner + i], taps.as_deref())));
            }
        }
        *x = y;
        let mut dims = shape.to_vec();
        dims[axis] = size;
        *shape = dims.into();
    }
}

#[cfg(test)]
#[path = "resize_tests.rs"]
mod tests;
