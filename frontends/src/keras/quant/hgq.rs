//! HGQ2: fixed point whose widths stand in the file, one per element or per group of elements.
//!
//! In: a `QuantizerConfig` (of which only the kind, the rounding and the overflow count; its widths are those before the
//! training) and the arrays of widths. Out: a [`Grid`] with a scale per width. Refuses: the `float` kind, `WRAP_SM`,
//! scalers, and widths that no integer holds.
//!
//! With `k` the sign, `i` and `f` the bits before and after the point, a code is `round(x · 2^f)`, saturated before the
//! rounding or wrapped after it; what has no bits at all is 0.

use serde_json::Value;
use unfloat_ir::ops::{Binary, Quantize, QuantizeOrder};
use unfloat_ir::{ElemType, IntType, Rounding, ValueId};

use super::array::{Array, Scale};
use super::grid::{Back, Coded, Coder, Grid, Step, pow2};
use super::weights::{self, Placing};
use crate::keras::config::reader::Config;
use crate::keras::lower::Cx;
use crate::keras::problem::{Annotate, Outcome, clip};
use crate::keras::weights::Slot;

/// How a number becomes an integer.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rule {
    rounding: Rounding,
    /// Added before rounding.
    offset: f32,
}

/// What happens to a code that has no place.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Overflow {
    Saturate,
    SaturateSymmetric,
    Wrap,
}

/// A quantizer whose widths stand in the file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    /// Group below the layer.
    group: &'static str,
    /// Place of its first array among the layer's slots.
    first: usize,
    /// Kinds of the arrays in order: `b`, `f`, `i`, `k`.
    arrays: &'static [&'static str],
    rule: Rule,
    overflow: Overflow,
    /// Weights that wrap are rounded only: their widths follow from them.
    rounds_only: bool,
}

/// Reads the configuration under `key`; `None` for a quantizer that is off or does nothing. `first` is the number of
/// slots before its own.
pub(crate) fn read(
    config: &Config<'_>,
    key: &str,
    group: &'static str,
    first: usize,
) -> Outcome<Option<Stored>> {
    let Some(value) = config.get(key) else { return Ok(None) };
    let Some(map) = value.get("config").and_then(Value::as_object) else {
        return Err(config.expected(key, "a QuantizerConfig", value));
    };
    let inner = config.nested(format!("{}, {key}", config.layer()), map);
    let kind = inner.text("q_type")?.unwrap_or("default");
    if kind == "dummy" {
        return Ok(None);
    }
    if kind != "kbi" && kind != "kif" {
        let problem = inner.error(format!("the quantizer kind '{}' is not supported", clip(kind)));
        return Err(problem.with_help("nearest: q_type kbi or kif, fixed point"));
    }
    for key in ["scaler", "affine"] {
        if let Some(value) = inner.get(key) {
            return Err(inner.expected(key, "nothing", value));
        }
    }
    let mode = inner.text("round_mode")?.unwrap_or("RND").to_ascii_uppercase();
    let mode = mode.strip_prefix("S_").unwrap_or(&mode);
    let (rounding, offset) = match mode {
        "TRN" => (Rounding::Floor, 0.0),
        "RND" => (Rounding::Floor, 0.5),
        "RND_CONV" => (Rounding::HalfEven, 0.0),
        "TRN_ZERO" => (Rounding::Down, 0.0),
        "RND_ZERO" => (Rounding::HalfDown, 0.0),
        "RND_MIN_INF" => (Rounding::Ceil, -0.5),
        "RND_INF" => (Rounding::HalfUp, 0.0),
        other => return Err(inner.error(format!("'round_mode': '{}' is not supported", clip(other)))),
    };
    let overflow = match inner.text("overflow_mode")?.unwrap_or("WRAP").to_ascii_uppercase().as_str() {
        "SAT" => Overflow::Saturate,
        "SAT_SYM" | "SYM" => Overflow::SaturateSymmetric,
        "WRAP" => Overflow::Wrap,
        other => return Err(inner.error(format!("'overflow_mode': '{}' is not supported", clip(other)))),
    };
    // The arrays that training changes come first.
    let arrays: &'static [&'static str] = match (kind, overflow) {
        ("kbi", Overflow::Wrap) => &["b", "k", "i", "i_decay_speed"],
        ("kbi", _) => &["b", "i", "k"],
        (_, Overflow::Wrap) => &["f", "k", "i", "i_decay_speed"],
        _ => &["i", "f", "k"],
    };
    let weight = inner.flag("is_weight", false)?;
    let trainable = inner.flag("trainable", true)?;
    let rounds_only = overflow == Overflow::Wrap && weight && trainable && (kind == "kif" || mode == "RND");
    let (rule, arrays) = (Rule { rounding, offset }, arrays);
    Ok(Some(Stored { group, first, arrays, rule, overflow, rounds_only }))
}

/// A number for a sign and the bits before and after the point.
type OfWidths<'a> = &'a dyn Fn(i64, i64, i64) -> f32;

/// Widths as the file has them, rounded: sign, bits before and after the point.
struct Widths {
    shape: Vec<usize>,
    kif: Vec<(i64, i64, i64)>,
}

impl Stored {
    /// The slots of its arrays.
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        let group = self.group;
        self.arrays.iter().map(move |name| Slot::within(group, name))
    }

    fn widths(&self, cx: &mut Cx<'_, '_>) -> Outcome<Widths> {
        let find = |name: &str| self.arrays.iter().position(|own| *own == name).map(|at| self.first + at);
        let mut read = |name: &str| -> Outcome<Option<Array<f32>>> {
            let Some(slot) = find(name) else { return Ok(None) };
            let shape = cx.stored_shape(slot).unwrap_or_default();
            Ok(Some(Array { values: cx.weight(slot, &shape)?, shape }))
        };
        let (b, f, i, k) = (read("b")?, read("f")?, read("i")?, read("k")?);
        let (Some(i), Some(k)) = (i, k) else { return Err(cx.error("the quantizer's widths are missing")) };
        let same = |other: &Option<Array<f32>>| other.as_ref().is_none_or(|other| other.shape == i.shape);
        let len = i.values.len();
        if k.shape != i.shape || !same(&b) || !same(&f) || k.values.len() != len {
            return Err(cx.error(format!("{}: the arrays of widths differ in shape", self.group)));
        }
        let whole = |x: f32| -> Option<i64> {
            let x = x.round_ties_even();
            (x.abs() <= 128.0).then_some(x as i64)
        };
        let mut kif = Vec::with_capacity(len);
        for at in 0..len {
            let number = |array: &Array<f32>| array.values.get(at).copied().and_then(whole);
            let (sign, before) = (number(&k), number(&i));
            let after = match (&f, &b) {
                (Some(f), _) => number(f),
                (None, Some(b)) => number(b).zip(before).map(|(b, i)| b - i),
                (None, None) => None,
            };
            match (sign, before, after) {
                (Some(sign @ 0..=1), Some(before), Some(after)) => kif.push((sign, before, after)),
                _ => {
                    let message = format!("{}: widths at index {at} are no widths", self.group);
                    return Err(cx.error(message));
                }
            }
        }
        Ok(Widths { shape: i.shape, kif })
    }

    /// The quantizer with the widths of the file.
    fn grid(&self, widths: &Widths) -> Result<Grid, String> {
        let each = |f: OfWidths<'_>| -> Scale {
            let values: Vec<f32> = widths.kif.iter().map(|(k, i, f_)| f(*k, *i, *f_)).collect();
            match values.split_first() {
                Some((first, rest)) if rest.iter().all(|other| other.to_bits() == first.to_bits()) => {
                    Scale::one(*first)
                }
                _ => Array { shape: widths.shape.clone(), values },
            }
        };
        let on = |k: i64, i: i64, f: i64| self.rounds_only || k + i + f > 0;
        let step = each(&|_, _, f| pow2(-f));
        // A width of nothing means 0, whatever the code.
        let scale = each(&|k, i, f| if on(k, i, f) { pow2(-f) } else { 0.0 });
        let live = || widths.kif.iter().filter(|(k, i, f)| on(*k, *i, *f));
        let signed = live().any(|(k, ..)| *k == 1);
        let most = live().map(|(_, i, f)| i.max(&-f) + f).max().unwrap_or(0) + i64::from(signed);
        let width = if self.rounds_only { 32 } else { most.max(1) };
        let Some(width) = u8::try_from(width).ok().filter(|width| (1..=32).contains(width)) else {
            return Err(format!("{}: codes of {most} bits, expected at most 32", self.group));
        };
        let signed = signed || self.rounds_only;
        let op = Quantize {
            to: ElemType::Int(IntType { signed, width }),
            narrow: false,
            rounding: self.rule.rounding,
            overflow: unfloat_ir::Overflow::Saturate,
            order: QuantizeOrder::ClampThenRound,
        };
        let high = |_: i64, i: i64, f: i64| pow2(i.max(-f)) - pow2(-f);
        let mut before = Vec::new();
        match self.overflow {
            _ if self.rounds_only => {}
            Overflow::Wrap => return Ok(self.wrapped(op, &each, scale)),
            symmetric => {
                let low = |k: i64, i: i64, f: i64| match symmetric {
                    Overflow::SaturateSymmetric => -high(k, i, f) * k as f32,
                    _ => -pow2(i.max(-f)) * k as f32,
                };
                before.push(Step::With(Binary::Min, each(&high)));
                before.push(Step::With(Binary::Max, each(&low)));
            }
        }
        let coder = Coder::Round { op, scale: step, zero: self.rule.offset };
        Ok(Grid { before, coder, back: Back::Affine { scale, zero: 0.0 } })
    }

    /// Rounded first, then taken modulo the range.
    fn wrapped(&self, op: Quantize, each: &dyn Fn(OfWidths<'_>) -> Scale, scale: Scale) -> Grid {
        let range = |k: i64, i: i64, f: i64| pow2((i.max(-f) + k + f).max(0));
        let half = |k: i64, i: i64, f: i64| if k == 1 { range(k, i, f) / 2.0 } else { 0.0 };
        let wide = IntType::signed(32);
        let rounded = Quantize { to: ElemType::Int(wide), ..op.clone() };
        let before = vec![
            Step::Code(rounded, each(&|_, _, f| pow2(-f)), self.rule.offset),
            Step::With(Binary::Add, each(&half)),
            Step::With(Binary::Mod, each(&range)),
            Step::With(Binary::Sub, each(&half)),
        ];
        let op = Quantize { rounding: Rounding::HalfEven, ..op };
        let coder = Coder::Round { op, scale: Scale::one(1.0), zero: 0.0 };
        Grid { before, coder, back: Back::Affine { scale, zero: 0.0 } }
    }

    /// Adds the quantizer behind a value.
    pub fn emit(&self, cx: &mut Cx<'_, '_>, role: &str, x: ValueId) -> Outcome<ValueId> {
        let widths = self.widths(cx)?;
        let grid = self.grid(&widths).map_err(|message| cx.error(message))?;
        grid.emit(cx, role, x)
    }

    /// Weights behind the quantizer.
    pub fn weights(
        &self,
        cx: &mut Cx<'_, '_>,
        role: &str,
        placing: &Placing,
        array: impl FnOnce(&mut Cx<'_, '_>) -> Outcome<Array<f32>>,
    ) -> Outcome<ValueId> {
        cx.once(role, |cx| {
            let widths = self.widths(cx)?;
            let grid = self.grid(&widths).map_err(|message| cx.error(message))?;
            let array = array(cx)?;
            match grid.code(&array) {
                Some(coded) => weights::constant(cx, role, &narrowed(coded), placing),
                None => Err(weights::unfit(cx, role, &array.shape)),
            }
        })
    }
}

/// Codes in the narrowest type that holds them all, where the type said nothing.
fn narrowed(coded: Coded) -> Coded {
    match &coded.elem {
        ElemType::Int(IntType { signed: true, width: 32 }) => {
            let (lo, hi) = coded.codes.values.iter().fold((0, 0), |(lo, hi), q| (lo.min(*q), hi.max(*q)));
            Coded { elem: ElemType::Int(IntType::covering(lo, hi)), ..coded }
        }
        _ => coded,
    }
}
