//! Softmax over the last axis: e^(x - max) / sum of e^(x - max).

use super::error::{KernelError, exactly, product};
use super::isa::{Isa, dispatch};
use super::math::exp;
use super::simd::Vector;

/// Most lanes of any vector type.
const MOST_LANES: usize = 16;

/// Softmax of each of `rows` rows of `classes` values. A NaN in a row makes the whole row NaN.
pub fn softmax(
    isa: Isa,
    (rows, classes): (usize, usize),
    input: &[f32],
    output: &mut [f32],
) -> Result<(), KernelError> {
    let len = product("softmax", &[rows, classes])?;
    exactly("softmax input", input.len(), len)?;
    exactly("softmax output", output.len(), len)?;
    // SAFETY: both are good for rows * classes values.
    unsafe { run(isa, rows, classes, input.as_ptr(), output.as_mut_ptr()) }
    Ok(())
}

/// [`softmax`] that overwrites its argument.
pub fn softmax_in_place(
    isa: Isa,
    (rows, classes): (usize, usize),
    values: &mut [f32],
) -> Result<(), KernelError> {
    exactly("softmax", values.len(), product("softmax", &[rows, classes])?)?;
    let p = values.as_mut_ptr();
    // SAFETY: good for rows * classes values; reading and writing the same place is allowed.
    unsafe { run(isa, rows, classes, p, p) }
    Ok(())
}

/// # Safety
/// `from` must be readable and `to` writable for rows * classes values; the same or disjoint.
unsafe fn run(isa: Isa, rows: usize, classes: usize, from: *const f32, to: *mut f32) {
    if classes == 0 {
        return;
    }
    for r in 0..rows {
        // SAFETY: row r exists in both.
        unsafe {
            let (from, to) = (from.add(r * classes), to.add(r * classes));
            dispatch!(isa, |from: *const f32, to: *mut f32, n: usize|, row, from, to, classes)
        }
    }
}

/// # Safety
/// `from` must be readable and `to` writable for `n` > 0 values; the same or disjoint; features of `V`.
#[inline(always)]
unsafe fn row<V: Vector>(from: *const f32, to: *mut f32, n: usize) {
    let whole = n - n % V::LANES;
    let left = n - whole;
    // SAFETY: offsets are below n.
    unsafe {
        let mut max = V::splat(f32::NEG_INFINITY);
        for i in (0..whole).step_by(V::LANES) {
            max = max.max(V::load(from.add(i)));
        }
        if left > 0 {
            max = max.max(V::load_part(from.add(whole), left, f32::NEG_INFINITY));
        }
        let max = V::splat(fold(max, |a, b| if a > b { a } else { b }));
        let mut sum = V::splat(0.0);
        for i in (0..whole).step_by(V::LANES) {
            let e = exp(V::load(from.add(i)).sub(max));
            sum = sum.add(e);
            e.store(to.add(i));
        }
        if left > 0 {
            // Lanes beyond the row hold -infinity, whose exponential adds nothing.
            let e = exp(V::load_part(from.add(whole), left, f32::NEG_INFINITY).sub(max));
            sum = sum.add(e);
            e.store_part(to.add(whole), left);
        }
        let sum = V::splat(fold(sum, |a, b| a + b));
        for i in (0..whole).step_by(V::LANES) {
            V::load(to.add(i)).div(sum).store(to.add(i));
        }
        if left > 0 {
            let e = V::load_part(to.add(whole), left, 0.0);
            e.div(sum).store_part(to.add(whole), left);
        }
    }
}

/// Combines the lanes from the first to the last.
///
/// # Safety
/// Only inside a function with the target features of `V`.
#[inline(always)]
unsafe fn fold<V: Vector>(v: V, f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; MOST_LANES];
    // SAFETY: no vector type has more than MOST_LANES lanes.
    unsafe { v.store(lanes.as_mut_ptr()) }
    let mut all = lanes[0];
    for &x in &lanes[1..V::LANES] {
        all = f(all, x);
    }
    all
}
