//! Binary and ternary layers that circulate as course code (`BinaryDense`, `TernaryDense`), and their activations.
//!
//! In: the half range `H`, or the name of an activation. Out: the grids of BinaryNet's `H · binary_tanh(w / H)`, in which 0 becomes −H, and of
//! `w / H > 1/2 → H`, `w / H ≤ −1/2 → −H`, else 0.

use unfloat_ir::ElemType;
use unfloat_ir::ops::{Binary, Unary};

use super::array::Scale;
use super::grid::{Back, Coder, Grid, Step};
use super::qkeras::binary_tanh_grid;
use super::{Around, Entry, Quantizer};
use crate::keras::config::reader::Config;
use crate::keras::problem::Outcome;

/// Name, names of the arguments by position, reader. `binary_tanh` is among QKeras' own.
pub(crate) const QUANTIZERS: &[Entry] = &[("relu1", &[], relu_1), ("ternary_tanh", &[], ternary_tanh)];

/// `min(max(x, 0), 1)`.
fn relu_1(_: &Config<'_>, _: Around) -> Outcome<Quantizer> {
    Ok(Quantizer::Plain(vec![Step::Each(Unary::Clip { lo: 0.0, hi: 1.0 })]))
}

/// The weights' own rule, after a clip to −1 and 1 that changes nothing. Some code rounds instead, which differs at −1/2.
fn ternary_tanh(config: &Config<'_>, _: Around) -> Outcome<Quantizer> {
    config.note(
        "'ternary_tanh' is taken for 1 above 1/2, −1 from −1/2 down, else 0; its code is not in the file",
        "code that rounds instead gives 0 at −1/2: check the outputs against the framework's",
    );
    Ok(Quantizer::Each(ternary(1.0)))
}

/// −H and H.
pub(crate) fn binary(h: f32) -> Grid {
    let grid = binary_tanh_grid();
    let back = Back::Affine { scale: Scale::one(2.0 * h), zero: 0.5 };
    Grid { back, ..grid }.after(divided(h))
}

/// −H, 0 and H.
pub(crate) fn ternary(h: f32) -> Grid {
    let thresholds = vec![(-0.5f32).next_up(), 0.5f32.next_up()];
    let coder = Coder::Count { to: ElemType::Ternary, thresholds, scale: 1, bias: -1 };
    let grid = Grid { before: Vec::new(), coder, back: Back::Affine { scale: Scale::one(h), zero: 0.0 } };
    grid.after(divided(h))
}

fn divided(h: f32) -> Option<Step> {
    (h != 1.0).then(|| Step::With(Binary::Div, Scale::one(h)))
}

#[cfg(test)]
mod tests {
    use super::super::array::Array;
    use super::*;

    #[test]
    fn what_is_on_the_edge_goes_down() {
        let x = Array { shape: vec![6], values: vec![-0.5, -0.49, 0.0, 0.5, 0.51, 1e-9] };
        assert_eq!(ternary(1.0).code(&x).unwrap().values().unwrap(), [-1., 0., 0., 0., 1., 0.]);
        assert_eq!(binary(0.5).code(&x).unwrap().values().unwrap(), [-0.5, -0.5, -0.5, 0.5, 0.5, -0.5]);
    }
}
