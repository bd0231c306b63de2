use super::*;
use crate::ops::{Dense, MatMul, Unary, Window};
use crate::origin::Origin;
use crate::types::{ElemType, Layout};
use proptest::prelude::*;

fn ints(elem: ElemType, shape: &[usize], layout: Layout, v: impl IntoIterator<Item = i64>) -> Tensor {
    Tensor::codes(TensorType::new(elem, shape, layout), v)
}

/// Every input whose element of channel `i` is in `codes[i]`, run through the op itself: the least and the greatest
/// element of each output channel. `axis` is the channels' axis in `x` and in the result.
fn brute_force(
    op: &Op,
    x: &TensorType,
    axis: usize,
    codes: &[(i64, i64)],
    rest: &[&Tensor],
) -> Vec<(i128, i128)> {
    let strides = x.shape.strides();
    let bounds: Vec<(i64, i64)> = (0..x.shape.num_elements())
        .map(|e| codes[if codes.len() == 1 { 0 } else { e / strides[axis] % x.shape[axis] }])
        .collect();
    let types: Vec<&TensorType> = std::iter::once(x).chain(rest.iter().map(|t| &t.ty)).collect();
    let out = op.infer(&types).unwrap();
    let (n, step) = (out.shape[axis], out.shape.strides()[axis]);
    let mut found = vec![(i128::MAX, i128::MIN); n];
    let mut input: Vec<i64> = bounds.iter().map(|b| b.0).collect();
    loop {
        let x = Tensor::codes(x.clone(), input.clone());
        let operands: Vec<&Tensor> = std::iter::once(&x).chain(rest.iter().copied()).collect();
        let y = op.eval(&operands, &out).unwrap();
        for i in 0..y.len() {
            let (range, v) = (&mut found[i / step % n], i128::from(y.code(i).unwrap()));
            *range = (range.0.min(v), range.1.max(v));
        }
        // The next input, as an odometer counts.
        let Some(i) = (0..input.len()).find(|&i| input[i] < bounds[i].1) else { return found };
        input[i] += 1;
        for k in 0..i {
            input[k] = bounds[k].0;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_dense_layer(w in prop::collection::vec(-9i64..9, 12), b in prop::collection::vec(-90i64..90, 3),
                     lo in -3i64..2, per_channel: bool) {
        let x = TensorType::new(ElemType::signed(3), [4], Layout::channels_last(0));
        let w = ints(ElemType::signed(5), &[3, 4], Layout::weight(0), w);
        let b = ints(ElemType::signed(8), &[3], Layout::channels_last(0), b);
        let mut codes = vec![(lo, lo + 2)];
        if per_channel {
            codes.extend([(0, 1), (-4, -3), (2, 2)]);
        }
        let op = Op::from(Dense);
        let got = range(&op, &x, &codes, &w, Some(&b)).unwrap();
        prop_assert_eq!(got.channels, brute_force(&op, &x, 0, &codes, &[&w, &b]));
    }

    /// One spatial axis: strides, dilations, padding on either side, also more than the window covers.
    #[test]
    fn a_convolution_along_one_axis(w in prop::collection::vec(-9i64..9, 6), kernel in 1usize..4, stride in 1usize..4,
                                    dilation in 1usize..3, begin in 0usize..4, end in 0usize..4, lo in -2i64..2) {
        let x = TensorType::new(ElemType::signed(3), [5, 1], Layout::channels_last(1));
        let window = Window::new([kernel]).strides([stride]).dilations([dilation]).pads([begin], [end]);
        let op = Op::from(Conv { window, groups: 1 });
        let w = ints(ElemType::signed(5), &[2, kernel, 1], Layout::weight(1), w.into_iter().take(2 * kernel));
        let codes = [(lo, lo + 1)];
        let got = range(&op, &x, &codes, &w, None).unwrap();
        prop_assert_eq!(got.channels, brute_force(&op, &x, 1, &codes, &[&w]));
    }

    /// Two spatial axes, channels first, two groups, a range for each channel.
    #[test]
    fn a_convolution_over_maps(w in prop::collection::vec(-9i64..9, 32), b in prop::collection::vec(-90i64..90, 4),
                               pads in prop::array::uniform4(0usize..2), a in -3i64..2, c in -3i64..2) {
        let x = TensorType::new(ElemType::signed(3), [2, 2, 3], Layout::channels_first(2));
        let window = Window::new([2, 2]).pads([pads[0], pads[1]], [pads[2], pads[3]]);
        let op = Op::from(Conv { window, groups: 2 });
        let w = ints(ElemType::signed(5), &[4, 2, 2, 1], Layout::weight(2), w.into_iter().take(16));
        let b = ints(ElemType::signed(8), &[4], Layout::channels_last(0), b);
        let codes = [(a, a + 1), (c, c + 1)];
        let got = range(&op, &x, &codes, &w, Some(&b)).unwrap();
        prop_assert_eq!(got.channels, brute_force(&op, &x, 0, &codes, &[&w, &b]));
    }

    #[test]
    fn a_matrix_product(w in prop::collection::vec(-9i64..9, 12), lo in -3i64..2) {
        let x = TensorType::new(ElemType::signed(3), [2, 1, 3], Layout::anonymous(3));
        let w = ints(ElemType::signed(5), &[2, 3, 2], Layout::anonymous(3), w);
        let codes = [(lo, lo + 2), (0, 1), (-1, 0)];
        let op = Op::from(MatMul);
        let got = range(&op, &x, &codes, &w, None).unwrap();
        prop_assert_eq!(got.channels, brute_force(&op, &x, 2, &codes, &[&w]));
    }
}

/// A border can hold more than the middle: with codes from 5 to 7, a missing tap of −1 adds what it does not take.
#[test]
fn padding_can_make_sums_greater() {
    let x = TensorType::new(ElemType::signed(4), [8, 1], Layout::channels_last(1));
    let w = ints(ElemType::signed(2), &[1, 3, 1], Layout::weight(1), [-1, 1, 1]);
    let of = |pad: usize| {
        let op = Op::from(Conv { window: Window::new([3]).pads([pad], [0]), groups: 1 });
        range(&op, &x, &[(5, 7)], &w, None).unwrap()
    };
    assert_eq!(of(0).channels, [(3, 9)]);
    assert_eq!(of(1).channels, [(3, 14)]);
    // All but one tap, or all but two, in the padding.
    assert_eq!(of(3).channels, [(0, 14)]);
    assert_eq!(of(3).int(), Some(IntType::unsigned(4)));
}

#[test]
fn the_narrowest_types() {
    let x = TensorType::new(ElemType::Int(IntType::unsigned(8)), [100], Layout::channels_last(0));
    let w = ints(
        ElemType::signed(8),
        &[3, 100],
        Layout::weight(0),
        (0..300).map(|i| if i < 200 { i / 100 } else { -1 }),
    );
    let got = range(&Dense.into(), &x, &[(0, 255)], &w, None).unwrap();
    assert_eq!(got.channels, [(0, 0), (0, 25_500), (-25_500, 0)]);
    assert_eq!(got.hull(), (-25_500, 25_500));
    let (u1, u15, i16) = (IntType::unsigned(1), IntType::unsigned(15), IntType::signed(16));
    assert_eq!(got.ints(), [Some(u1), Some(u15), Some(i16)]);
    assert_eq!(got.int(), Some(i16));
    // What the op says without a look at the weights is wider.
    assert_eq!(Dense.infer(&[&x, &w.ty]).unwrap().elem, ElemType::signed(23));
    assert_eq!(AccumulatorRange { channels: vec![] }.hull(), (0, 0));
    assert_eq!(narrowest((0, 1 << 64)), None);
}

#[test]
fn in_a_graph() {
    let mut g = Graph::new("g");
    let x = g.add_input("x", TensorType::new(ElemType::Bipolar, [3], Layout::channels_last(0)));
    let w = g.add_const("w", ints(ElemType::Bipolar, &[2, 3], Layout::weight(0), [1, 1, 1, -1, -1, 1]));
    let b = g.add_const("b", ints(ElemType::signed(4), &[2], Layout::channels_last(0), [2, -7]));
    let o = Origin::default();
    let y = g.add_node(Dense, &[x, w, b], "y", &o).unwrap();
    let z = g.add_node(Unary::Abs, &[y], "z", &o).unwrap();
    let of = |v, codes| of_node(&g, g.producer(v).unwrap().1, codes);
    assert_eq!(of(y, None).unwrap().channels, [(-1, 5), (-10, -4)]);
    assert_eq!(of(y, Some(&[(1, 1)])).unwrap().channels, [(5, 5), (-8, -8)]);
    assert_eq!(of(z, None).unwrap_err().0, "expected a constant weight");
}

#[test]
fn what_has_no_range_is_refused() {
    let x = TensorType::new(ElemType::signed(64), [2], Layout::channels_last(0));
    let w = ints(ElemType::signed(64), &[1, 2], Layout::weight(0), [i64::MIN, i64::MIN]);
    let of = |op: Op, x: &TensorType, codes: &[(i64, i64)], w: &Tensor| range(&op, x, codes, w, None);
    let all = [(i64::MIN, i64::MAX)];
    let error = of(Dense.into(), &x, &all, &w).unwrap_err().0;
    assert!(error.contains("2 products of up to") && error.contains("beyond 125 bits"), "{error}");
    let got = of(Dense.into(), &x, &[(-1, 1)], &w).unwrap();
    assert_eq!((got.channels, narrowest((-1 << 64, 0))), (vec![(-1 << 64, 1 << 64)], None));
    for codes in [&[][..], &[(1, 0)], &[(0, 1); 3]] {
        assert!(of(Dense.into(), &x, codes, &w).unwrap_err().0.contains("rising pairs of codes, 1 or 2"));
    }
    let f = TensorType::f32([2], Layout::channels_last(0));
    let floats = Tensor::f32([1, 2], Layout::weight(0), vec![1.0, 2.0]);
    assert!(of(Dense.into(), &f, &[(0, 1)], &floats).unwrap_err().0.contains("expected sums of integers"));
    let op = Op::from(crate::ops::Binary::Mul);
    let pair = ints(ElemType::signed(64), &[2], Layout::channels_last(0), [1, 2]);
    assert!(of(op, &x, &[(0, 1)], &pair).unwrap_err().0.contains("`mul` sums no products"));
    assert!(of(Dense.into(), &x, &[(0, 1)], &pair).is_err());
    let (none, huge) = ([1, 0], [1, 0, usize::MAX]);
    let x = TensorType::new(ElemType::signed(8), none, Layout::anonymous(2));
    let w = ints(ElemType::signed(8), &huge, Layout::anonymous(3), []);
    assert!(of(MatMul.into(), &x, &[(0, 1)], &w).unwrap_err().0.contains("of a weight i8[1,0,"));
}

/// A window far larger than its input takes no longer than its weights.
#[test]
fn large_windows_are_quick() {
    let n = 1 << 16;
    let x = TensorType::new(ElemType::signed(8), [n, 1], Layout::channels_last(1));
    let op = Op::from(Conv { window: Window::new([n]).pads([n - 1], [n - 1]), groups: 1 });
    let w = ints(ElemType::signed(8), &[1, n, 1], Layout::weight(1), (0..n as i64).map(|i| i % 3 - 1));
    let got = range(&op, &x, &[(-128, 127)], &w, None).unwrap();
    // 21845 each of +1, 0 and −1, and one −1 more.
    assert_eq!(got.channels, [(-128 * 21_845 - 127 * 21_846, 127 * 21_845 + 128 * 21_846)]);
}

/// Places of a window cost nothing in a file, so an axis of two thousand million of them takes no longer than its borders.
#[test]
fn long_axes_take_no_longer_than_their_borders() {
    let n = crate::verify::MAX_ELEMENTS;
    let x = TensorType::new(ElemType::signed(3), [n, 1], Layout::channels_last(1));
    let w = ints(ElemType::signed(5), &[1, 3, 1], Layout::weight(1), [1, -2, 4]);
    let window = Window::new([3]).pads([1], [1]);
    let got = range(&Op::from(Conv { window, groups: 1 }), &x, &[(1, 1)], &w, None).unwrap();
    // Whole: 3. Without the first tap 2, without the last -1.
    assert_eq!(got.channels, [(-1, 3)]);
    let lost = Window::new([1]).pads([n / 4], [n / 4]);
    let w = ints(ElemType::signed(5), &[1, 1, 1], Layout::weight(1), [5]);
    let x = TensorType::new(ElemType::signed(3), [n / 4, 1], Layout::channels_last(1));
    let got = range(&Op::from(Conv { window: lost, groups: 1 }), &x, &[(1, 1)], &w, None).unwrap();
    assert_eq!(got.channels, [(0, 5)]);
}
