//! What convolutions and poolings say about their windows: `kernel_shape`, `strides`, `dilations`, `pads`, `auto_pad`.

use unfloat_ir::ops::Window;

use crate::onnx::cx::{Cx, sizes};
use crate::onnx::problem::Handled;

/// Attributes of a window over `extents`, the spatial extents of the input.
pub(super) struct Spec {
    /// Kernel, strides, dilations, and the padding that is written or follows from `auto_pad`.
    pub(super) window: Window,
    /// How `auto_pad` pads; empty for explicit padding.
    pub(super) same: &'static str,
}

/// Reads a window. `kernel` is the extent of the weight, where there is one.
pub(super) fn read(cx: &mut Cx<'_, '_, '_>, extents: &[usize], kernel: Option<Vec<usize>>) -> Handled<Spec> {
    let n = extents.len();
    let listed = |cx: &mut Cx<'_, '_, '_>, name: &'static str, count: usize| -> Handled<Option<Vec<usize>>> {
        let Some(values) = cx.ints(name)? else { return Ok(None) };
        let values = sizes(&values, &format!("attribute `{name}`"))?;
        if values.len() != count {
            return Err(format!("attribute `{name}`: expected {count} numbers, found {values:?}").into());
        }
        Ok(Some(values))
    };
    let kernel = match (listed(cx, "kernel_shape", n)?, kernel) {
        (Some(said), Some(found)) if said != found => {
            return Err(format!("attribute `kernel_shape` is {said:?}, but the weight has {found:?}").into());
        }
        (Some(kernel), _) | (None, Some(kernel)) => kernel,
        (None, None) => return Err("attribute `kernel_shape` is missing".into()),
    };
    let strides = listed(cx, "strides", n)?.unwrap_or(vec![1; n]);
    let dilations = listed(cx, "dilations", n)?.unwrap_or(vec![1; n]);
    let pads = listed(cx, "pads", 2 * n)?.unwrap_or(vec![0; 2 * n]);
    let auto = cx.word("auto_pad", "NOTSET", &["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"])?;
    if kernel.iter().chain(&strides).chain(&dilations).any(|&v| v == 0) {
        return Err("kernel, strides and dilations must be at least 1".into());
    }
    let window = Window::new(kernel).strides(strides).dilations(dilations);
    let (same, pads) = match auto.as_str() {
        "NOTSET" => ("", pads),
        "VALID" => ("", vec![0; 2 * n]),
        "SAME_UPPER" => ("SAME_UPPER", same(&window, extents, true)),
        _ => ("SAME_LOWER", same(&window, extents, false)),
    };
    Ok(Spec { window: window.pads(&pads[..n], &pads[n..]), same })
}

/// Padding that makes the result as large as the input divided by the stride, rounded up.
fn same(window: &Window, extents: &[usize], upper: bool) -> Vec<usize> {
    let (mut begin, mut end) = (Vec::new(), Vec::new());
    for (i, &n) in extents.iter().enumerate() {
        let windows = n.div_ceil(window.strides[i]);
        let span = windows.saturating_sub(1).saturating_mul(window.strides[i]);
        let total = span.saturating_add(window.extent(i)).saturating_sub(n);
        let (less, more) = (total / 2, total - total / 2);
        begin.push(if upper { less } else { more });
        end.push(if upper { more } else { less });
    }
    [begin, end].concat()
}
