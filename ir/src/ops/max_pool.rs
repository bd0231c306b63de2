//! Maximum over windows, per channel. Padding cells are −∞: they never win.
//!
//! One operand with a channel axis, of floats or of any integer type; the result has its type but for the
//! extents. A window of padding alone is refused.

use super::{OpDef, OpError, Window, arity, codes, float_or_integer, floats};
use crate::attrs::{AttrReader, AttrWriter};
use crate::tensor::{Data, Tensor, for_each_index};
use crate::types::TensorType;

/// Attributes of a max pooling.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct MaxPool {
    /// Kernel, strides, dilations, padding.
    pub window: Window,
}

impl OpDef for MaxPool {
    const NAMES: &'static [&'static str] = &["max_pool"];

    fn attrs(&self, to: &mut AttrWriter) {
        self.window.attrs(to);
    }
    fn parse(_: &str, from: &mut AttrReader) -> Result<Self, String> {
        Ok(Self { window: Window::parse(from)? })
    }
    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        arity(inputs, 1, 1)?;
        float_or_integer(inputs[0])?;
        pooled_type(&self.window, inputs)
    }
    fn eval(&self, inputs: &[&Tensor], out: &TensorType) -> Result<Data, OpError> {
        if !out.elem.is_float() {
            let x = codes(inputs, 0)?;
            let least = out.elem.code_range().map_or(i64::MIN, |(lo, _)| lo);
            let max = |cells: &[usize]| cells.iter().map(|&c| x[c]).max().unwrap_or(least);
            return Ok(Data::from_codes(&out.elem, pool(&self.window, &inputs[0].ty, out, max)?));
        }
        let x = floats(inputs, 0)?;
        let y = pool(&self.window, &inputs[0].ty, out, |cells| {
            // NaN wins, as in the frameworks: a poisoned input must not look healthy.
            cells
                .iter()
                .map(|&c| x[c])
                .reduce(|a, b| if a.is_nan() || a > b { a } else { b })
                .unwrap_or(f32::NEG_INFINITY)
        })?;
        Ok(Data::F32(y))
    }
}

/// The type after pooling; refuses windows that could lie in the padding alone.
pub(super) fn pooled_type(window: &Window, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
    let x = inputs[0];
    let spatial = window.check(x)?;
    for i in 0..window.rank() {
        let extent = window.extent(i);
        if window.pads_begin[i] >= extent || window.pads_end[i] >= extent {
            return Err(
                format!("spatial axis {i} is padded by as much as the window spans ({extent})").into()
            );
        }
    }
    let extents: Vec<usize> = spatial.iter().map(|&a| x.shape[a]).collect();
    let mut dims = x.shape.to_vec();
    for (i, (&axis, n)) in spatial.iter().zip(window.output(&extents)?).enumerate() {
        dims[axis] = n;
        if skips_all(window, i, extents[i], n) {
            return Err(format!("spatial axis {i}: the taps of a window lie in the padding alone").into());
        }
    }
    Ok(TensorType::new(x.elem.clone(), dims, x.layout))
}

/// Whether a window that begins in the padding steps over all `n` real cells.
fn skips_all(window: &Window, i: usize, n: usize, windows: usize) -> bool {
    let (pad, stride, dilation) = (window.pads_begin[i], window.strides[i], window.dilations[i]);
    // Taps no further apart than there are cells can't miss them all.
    if pad == 0 || dilation <= n {
        return false;
    }
    // Where taps fall repeats after as many windows as the dilation has cells; far fewer occur outside of an attack.
    const MOST: usize = 1 << 12;
    let begins = (0..windows).map_while(|o| pad.checked_sub(o.saturating_mul(stride)));
    let first_cell = |before: usize| before.checked_next_multiple_of(dilation).map_or(n, |at| at - before);
    begins.take(dilation.min(MOST)).any(|before| first_cell(before) >= n) || (dilation > MOST && pad > MOST)
}

/// Applies `f` to the positions of the real cells of every window of every channel.
pub(super) fn pool<T>(
    window: &Window,
    input: &TensorType,
    out: &TensorType,
    mut f: impl FnMut(&[usize]) -> T,
) -> Result<Vec<T>, OpError> {
    let spatial = window.check(input)?;
    let c = input.layout.channel().ok_or("the input has no channel axis")?;
    let strides = input.shape.strides();
    let mut y = Vec::with_capacity(out.shape.num_elements());
    let mut cells = Vec::with_capacity(window.taps());
    for_each_index(&out.shape, |at| {
        cells.clear();
        for_each_index(&window.kernel, |tap| {
            let cell = spatial.iter().enumerate().try_fold(at[c] * strides[c], |sum, (i, &axis)| {
                let source = window.source(i, at[axis], tap[i], input.shape[axis])?;
                Some(sum + source * strides[axis])
            });
            cells.extend(cell);
        });
        y.push(f(&cells));
    });
    Ok(y)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Layout;

    #[test]
    fn padding_never_wins_among_integers() {
        use crate::types::{ElemType, IntType};
        let op = MaxPool { window: Window::new([2]).strides([2]).pads([0], [1]) };
        for (elem, v, want) in [
            (ElemType::signed(8), [-3, -1, -128], [-1, -128]),
            (ElemType::Int(IntType::unsigned(8)), [0, 200, 0], [200, 0]),
            (ElemType::Bipolar, [-1, 1, -1], [1, -1]),
        ] {
            let x = Tensor::codes(TensorType::new(elem, [3, 1], Layout::channels_last(1)), v);
            let y = op.eval(&[&x], &op.infer(&[&x.ty]).unwrap()).unwrap();
            assert_eq!([y.code(0), y.code(1)], want.map(Some));
        }
    }

    #[test]
    fn padding_never_wins() {
        let x = Tensor::f32([3, 1], Layout::channels_last(1), vec![-3., -1., -2.]);
        let op = MaxPool { window: Window::new([2]).strides([2]).pads([0], [1]) };
        let ty = op.infer(&[&x.ty]).unwrap();
        assert_eq!(op.eval(&[&x], &ty).unwrap(), Data::F32(vec![-1., -2.]));
        let op = MaxPool { window: Window::new([2]).pads([2], [0]) };
        assert!(op.infer(&[&x.ty]).is_err());
        let one = TensorType::f32([1, 1], Layout::channels_last(1));
        let over =
            |pads: [usize; 2]| MaxPool { window: Window::new([2]).dilations([2]).pads([pads[0]], [pads[1]]) };
        assert!(over([1, 1]).infer(&[&one]).is_err(), "the taps lie on both sides of the only cell");
        assert!(over([2, 0]).infer(&[&one]).is_ok());
        let huge = Window::new([1 << 40]).dilations([1 << 20]).pads([1 << 59], [0]);
        assert!(MaxPool { window: huge }.infer(&[&one]).is_err());
    }
}
