//! Expected values are those of ONNX 1.23's reference evaluator.

use super::*;
use crate::types::{ElemType, Layout};

const ALL: [Coordinates; 5] = [
    Coordinates::HalfPixel,
    Coordinates::HalfPixelSymmetric,
    Coordinates::PytorchHalfPixel,
    Coordinates::AlignCorners,
    Coordinates::Asymmetric,
];

fn run(op: &Resize) -> Vec<f32> {
    let x = Tensor::f32([6], Layout::channels_last(0), vec![1., 4., 2., 8., 5., 7.]);
    let ty = op.infer(&[&x.ty]).unwrap();
    match op.eval(&[&x], &ty).unwrap() {
        Data::F32(y) if y.len() == ty.shape.num_elements() => y,
        other => panic!("{other:?} for {ty}"),
    }
}

fn close(op: &Resize, want: &[f32]) {
    let y = run(op);
    let near = y.len() == want.len() && y.iter().zip(want).all(|(a, b)| (a - b).abs() < 2e-6);
    assert!(near, "{op:?}: {y:?}, expected {want:?}");
}

#[test]
fn linear_larger_and_smaller() {
    let half = [1., 2.5, 3.6666667, 2.3333333, 5., 7.5, 5.5, 6., 7.];
    let half_less = [1.9999999, 2.0000002, 6.0000005];
    let larger = [
        half,
        half,
        half,
        [1., 2.875, 3.5, 2.25, 5., 7.625, 5.75, 5.75, 7.],
        [1., 3., 3.3333333, 2., 6., 7., 5., 6.3333335, 7.],
    ];
    let smaller = [
        half_less,
        [3.5000002, 5., 5.333333],
        half_less,
        [1., 2.1538463, 5.4615393],
        [1., 2.6666667, 7.0000005],
    ];
    for (coordinates, (larger, smaller)) in ALL.into_iter().zip(larger.iter().zip(&smaller)) {
        close(&Resize::new([9], ResizeMode::Linear, coordinates), larger);
        let scaled = Resize { scales: vec![0.6], ..Resize::new([3], ResizeMode::Linear, coordinates) };
        close(&scaled, smaller);
    }
}

#[test]
fn nearest_in_each_way() {
    use NearestMode::*;
    let half = [[1., 2., 8., 7.], [1., 2., 8., 7.], [1., 4., 8., 5.], [4., 2., 5., 7.]];
    let want = [
        half,
        half,
        half,
        [[1., 2., 8., 7.], [1., 2., 8., 7.], [1., 4., 8., 7.], [1., 2., 5., 7.]],
        [[1., 4., 8., 5.], [1., 2., 8., 7.], [1., 4., 8., 5.], [1., 2., 8., 7.]],
    ];
    for (coordinates, want) in ALL.into_iter().zip(want) {
        for (mode, want) in [RoundPreferFloor, RoundPreferCeil, Floor, Ceil].into_iter().zip(want) {
            close(&Resize::new([4], ResizeMode::Nearest(mode), coordinates), &want);
        }
    }
}

#[test]
fn cubic_and_antialias() {
    let half = |size, mode| Resize::new([size], mode, Coordinates::HalfPixel);
    let cubic = |a| ResizeMode::Cubic { a };
    close(
        &half(8, cubic(-0.75)),
        &[0.784668, 3.138672, 3.213379, 2.5141602, 7.567871, 6.256836, 5.391113, 7.1435547],
    );
    close(
        &Resize { exclude_outside: true, ..half(8, cubic(-0.5)) },
        &[0.8432836, 3.02058, 3.2646484, 2.428711, 7.6259766, 6.154297, 5.536015, 7.1044774],
    );
    let soft = |op| Resize { antialias: true, ..op };
    close(&soft(half(4, ResizeMode::Linear)), &[2., 3.3333333, 6.3333335, 6.3333335]);
    close(&soft(half(4, cubic(-0.75))), &[2.0486112, 3.3171296, 6.4884257, 6.2083335]);
    let scaled = Resize { scales: vec![0.6], ..half(3, ResizeMode::Linear) };
    close(&soft(scaled), &[2.125, 3.7777777, 6.375]);
}

#[test]
fn regions_and_single_cells() {
    let crop = |size, roi: [f32; 2]| Resize {
        roi: roi.to_vec(),
        extrapolation: -1.0,
        ..Resize::new([size], ResizeMode::Linear, Coordinates::CropAndResize)
    };
    close(&crop(5, [0.2, 1.2]), &[4., 3.5, 6.5, 6.5, -1.]);
    close(&crop(1, [0.2, 0.6]), &[2.0000007]);
    for (coordinates, want) in
        [(Coordinates::AlignCorners, 1.), (Coordinates::PytorchHalfPixel, 1.), (Coordinates::HalfPixel, 5.)]
    {
        close(&Resize::new([1], ResizeMode::Linear, coordinates), &[want]);
    }
}

#[test]
fn axes_are_resized_one_by_one_and_move_together() {
    let mut op = Resize::new([2, 3, 1], ResizeMode::Linear, Coordinates::AlignCorners);
    let x = Tensor::f32([2, 2, 1], Layout::channels_last(2), vec![0., 2., 4., 6.]);
    let ty = op.infer(&[&x.ty]).unwrap();
    assert_eq!(ty.to_string(), "f32[2,3,1] hwc");
    let y = op.eval(&[&x], &ty).unwrap();
    assert_eq!(y, Data::F32(vec![0., 1., 2., 4., 5., 6.]));
    op.scales = vec![1.0, 1.5, 1.0];
    let moved = x.transposed(&[2, 0, 1]);
    let moved_op = op.permuted(&[2, 0, 1]);
    let ty = moved_op.infer(&[&moved.ty]).unwrap();
    let data = moved_op.eval(&[&moved], &ty).unwrap();
    assert_eq!(Tensor { ty, data }.transposed(&[1, 2, 0]).data, y);
}

#[test]
fn nearest_takes_any_type() {
    let op = Resize::new([4], ResizeMode::Nearest(NearestMode::Floor), Coordinates::Asymmetric);
    let x = Tensor::codes(TensorType::new(ElemType::Bipolar, [2], Layout::channels_last(0)), [-1, 1]);
    assert_eq!(op.eval(&[&x], &op.infer(&[&x.ty]).unwrap()).unwrap(), Data::I8(vec![-1, -1, 1, 1]));
    let linear = Resize { mode: ResizeMode::Linear, ..op };
    assert!(linear.infer(&[&x.ty]).is_err());
}

#[test]
fn unsuitable_attributes_are_refused() {
    let x = TensorType::f32([6], Layout::channels_last(0));
    let good = Resize::new([3], ResizeMode::Linear, Coordinates::HalfPixel);
    let bad = [
        Resize { sizes: vec![3, 3], ..good.clone() },
        Resize { scales: vec![0.1], ..good.clone() },
        Resize { scales: vec![f32::NAN], ..good.clone() },
        Resize { sizes: vec![1], scales: vec![1e-30], antialias: true, ..good.clone() },
        Resize { roi: vec![0.0, 1.0], ..good.clone() },
        Resize { coordinates: Coordinates::CropAndResize, ..good.clone() },
        Resize { mode: ResizeMode::Nearest(NearestMode::Floor), antialias: true, ..good.clone() },
    ];
    assert!(good.infer(&[&x]).is_ok());
    for op in bad {
        assert!(op.infer(&[&x]).is_err(), "{op:?}");
    }
    assert!(good.infer(&[&TensorType::f32([0], Layout::channels_last(0))]).is_err());
}
