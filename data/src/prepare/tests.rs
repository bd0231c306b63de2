use super::*;
use std::borrow::Cow;
use unfloat_ir::{ElemType, IntType};

fn layout(text: &str) -> Layout {
    Layout::new(text).unwrap()
}

/// An image of 2×2 pixels in three planes; element n of the sample has the value 10·n.
fn planes() -> Sample<'static> {
    Sample {
        name: "3_7".to_string(),
        label: 3,
        values: Values::Bytes(Cow::Owned((0..12).map(|n| n * 10).collect())),
        shape: vec![3, 2, 2],
        layout: Some(layout("chw")),
    }
}

fn grey(values: &[u8]) -> Sample<'static> {
    let values = Values::Bytes(Cow::Owned(values.to_vec()));
    Sample { name: "0_0".into(), label: 0, values, shape: vec![1, 2, 1], layout: Some(layout("hwc")) }
}

fn prepared(input: &TensorType, normal: Normalisation, sample: &Sample<'_>) -> Result<Data, String> {
    let mut preparer =
        Preparer::new(input.clone(), normal).map_err(|e| format!("{}", unfloat_ir::Diagnostics(e)))?;
    let mut data = if input.elem.is_float() { Data::F32(vec![]) } else { Data::from_codes(&input.elem, []) };
    // Twice, so that the plan is used again.
    for _ in 0..2 {
        preparer.append(sample, &mut data).map_err(|e| e.to_string())?;
    }
    Ok(data)
}

/// The first of the two.
fn floats(input: &TensorType, normal: Normalisation, sample: &Sample<'_>) -> Vec<f32> {
    let Ok(Data::F32(v)) = prepared(input, normal, sample) else { panic!("no floats") };
    let (first, second) = v.split_at(v.len() / 2);
    assert_eq!(first, second);
    first.to_vec()
}

fn raw() -> Normalisation {
    Normalisation { scale: Some(Scale::Times(0.1)), ..Normalisation::default() }
}

#[test]
fn axes_come_in_the_models_order() {
    let whole = |v: Vec<f32>| v.iter().map(|x| x.round() as u8).collect::<Vec<u8>>();
    let first = TensorType::f32([3, 2, 2], layout("chw"));
    assert_eq!(whole(floats(&first, raw(), &planes())), (0..12).collect::<Vec<u8>>());
    let last = TensorType::f32([2, 2, 3], layout("hwc"));
    let want = [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11];
    assert_eq!(whole(floats(&last, raw(), &planes())), want);
    let flat = TensorType::f32([12], layout("c"));
    let order = |text| Normalisation { flat: Some(layout(text)), ..raw() };
    assert_eq!(whole(floats(&flat, order("hwc"), &planes())), want);
    assert_eq!(whole(floats(&flat, order("chw"), &planes())), (0..12).collect::<Vec<u8>>());
    assert!(prepared(&flat, raw(), &planes()).unwrap_err().contains("--flat"));
    let anonymous = TensorType::f32([2, 2, 3], Layout::anonymous(3));
    assert_eq!(whole(floats(&anonymous, raw(), &planes())), want);
    // An array that does not say its axes is taken as it is, or in the other order.
    let mut array = planes();
    array.layout = None;
    assert_eq!(whole(floats(&first, raw(), &array)), (0..12).collect::<Vec<u8>>());
    assert_eq!(whole(floats(&last, raw(), &array)), want);
    let wrong = prepared(&TensorType::f32([3, 2, 4], layout("chw")), raw(), &planes()).unwrap_err();
    assert!(wrong.contains("3_7") && wrong.contains("[3, 2, 2] chw") && wrong.contains("[3,2,4]"), "{wrong}");
}

const TORCH: [u32; 6] = [0xc0078bbd, 0x400fee1d, 0xbff4e299, 0x3e75f5fe, 0xbfe4bcea, 0xbeecbf39];

/// `(torch.tensor([[[0, 255]], [[7, 130]], [[1, 77]]], dtype=torch.uint8).float().div(255) - mean) / std` of PyTorch 2.
#[test]
fn numbers_are_torchvisions() {
    let sample = Sample {
        name: "x".into(),
        label: 0,
        values: Values::Bytes(Cow::Owned(vec![0, 255, 7, 130, 1, 77])),
        shape: vec![3, 1, 2],
        layout: Some(layout("chw")),
    };
    let normal = Normalisation {
        mean: vec![0.485, 0.456, 0.406],
        deviation: vec![0.229, 0.224, 0.225],
        ..Normalisation::default()
    };
    let got = floats(&TensorType::f32([3, 1, 2], layout("chw")), normal, &sample);
    let bits: Vec<u32> = got.iter().map(|v| v.to_bits()).collect();
    assert_eq!(bits, TORCH);
}

#[test]
fn grey_and_colour_meet_where_nothing_is_lost() {
    let color = TensorType::f32([1, 2, 3], layout("hwc"));
    assert_eq!(floats(&color, raw(), &grey(&[10, 20])), [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
    let one = TensorType::f32([1, 2, 1], layout("hwc"));
    let mut three = grey(&[10, 10, 10, 20, 20, 20]);
    three.shape = vec![1, 2, 3];
    assert_eq!(floats(&one, raw(), &three), [1.0, 2.0]);
    assert_eq!(floats(&TensorType::f32([1, 2], layout("wc")), raw(), &three), [1.0, 2.0]);
    three.values = Values::Bytes(Cow::Owned(vec![10, 10, 10, 20, 21, 20]));
    assert!(prepared(&one, raw(), &three).unwrap_err().contains("in colour"));
    assert_eq!(floats(&TensorType::f32([2], layout("c")), raw(), &grey(&[10, 20])), [1.0, 2.0]);
}

#[test]
fn integers_take_pixels_as_they_are() {
    let ty = |elem| TensorType::new(elem, [1, 2, 1], layout("hwc"));
    let bytes = ty(ElemType::Int(IntType::unsigned(8)));
    let got = prepared(&bytes, Normalisation::default(), &grey(&[0, 255])).unwrap();
    assert_eq!((0..2).filter_map(|i| got.code(i)).collect::<Vec<_>>(), [0, 255]);
    let shifted = Normalisation { mean: vec![128.0], ..Normalisation::default() };
    let got = prepared(&ty(ElemType::signed(8)), shifted, &grey(&[0, 255])).unwrap();
    assert_eq!((0..2).filter_map(|i| got.code(i)).collect::<Vec<_>>(), [-128, 127]);
    let wrong = prepared(&ty(ElemType::signed(8)), Normalisation::default(), &grey(&[0, 255])).unwrap_err();
    assert!(wrong.contains("would be 255") && wrong.contains("i8"), "{wrong}");
    let half = Normalisation { scale: Some(Scale::Over(2.0)), ..Normalisation::default() };
    assert!(prepared(&bytes, half, &grey(&[0, 255])).unwrap_err().contains("127.5"));
}

#[test]
fn numbers_that_cannot_be_used_are_refused_all_at_once() {
    let normal = Normalisation { mean: vec![0.5, 0.5], deviation: vec![0.0], ..Normalisation::default() };
    let found = prepared(&TensorType::f32([3, 2, 2], layout("chw")), normal, &planes()).unwrap_err();
    assert!(found.contains("--mean: 2 numbers") && found.contains("--std: 0 cannot"), "{found}");
    assert_eq!(Scale::parse("1/255"), Some(Scale::Over(255.0)));
    assert_eq!(Scale::parse("0.5"), Some(Scale::Times(0.5)));
    assert!(["2/255", "-1", "x", "1/0", "inf"].iter().all(|t| Scale::parse(t).is_none()));
}
