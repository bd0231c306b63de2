//! Weights of the binary and ternary layers that circulate as course code (`BinaryDense`, `TernaryDense`).
//!
//! In: the half range `H`. Out: the grids of BinaryNet's `H · binary_tanh(w / H)`, in which 0 becomes −H, and of
//! `w / H > 1/2 → H`, `w / H ≤ −1/2 → −H`, else 0.

use unfloat_ir::ElemType;
use unfloat_ir::ops::Binary;

use super::array::Scale;
use super::grid::{Back, Coder, Grid, Step};
use super::qkeras::binary_tanh_grid;

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
