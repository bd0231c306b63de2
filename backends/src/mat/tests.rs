use super::*;
use crate::parameters::packed;
use unfloat_ir::{ElemType, IntType, Layout, TensorType};

fn codes(elem: ElemType, shape: &[usize], codes: impl IntoIterator<Item = i64>) -> Tensor {
    Tensor::codes(TensorType::new(elem, shape, Layout::anonymous(shape.len())), codes)
}

fn body(tensor: &Tensor) -> String {
    let mut bytes = Vec::new();
    (FORMAT.one)(&[("any/key", tensor)], &mut bytes).unwrap();
    assert!(bytes.starts_with(TEXT) && bytes[124..128] == *b"\x00\x01IM" && bytes.len().is_multiple_of(8));
    bytes[128..].iter().map(|b| format!("{b:02x}")).collect()
}

/// What `scipy.io.savemat(f, {'array': v})` of SciPy 1.17.1 writes behind its header.
#[test]
fn a_matrix_has_scipys_bytes() {
    let floats = Tensor::f32([2, 3], Layout::anonymous(2), vec![1., 2., 3., 4., 5., 6.]);
    let empty = Tensor::f32([0, 3], Layout::anonymous(2), vec![]);
    for (tensor, want) in [
        (
            floats,
            "0e0000005000000006000000080000000700000000000000050000000800000002000000030000000100000005000000617272617900000007000000180000000000803f00008040000000400000a040000040400000c040",
        ),
        (
            codes(ElemType::Bipolar, &[3], [1, -1, 1]),
            "0e000000380000000600000008000000080000000000000005000000080000000100000003000000010000000500000061727261790000000100030001ff0100",
        ),
        (
            codes(ElemType::signed(64), &[], [7]),
            "0e0000004000000006000000080000000e0000000000000005000000080000000100000001000000010000000500000061727261790000000c000000080000000700000000000000",
        ),
        (
            codes(ElemType::Bit, &[5], [1, 0, 1, 1, 1]),
            "0e0000004000000006000000080000000902000000000000050000000800000001000000050000000100000005000000617272617900000002000000050000000100010101000000",
        ),
        (
            empty,
            "0e000000380000000600000008000000070000000000000005000000080000000000000003000000010000000500000061727261790000000700000000000000",
        ),
        (
            codes(ElemType::signed(16), &[1, 2, 3], 0..6),
            "0e0000005000000006000000080000000a00000000000000050000000c0000000100000002000000030000000000000001000000050000006172726179000000030000000c00000000000300010004000200050000000000",
        ),
    ] {
        assert_eq!(body(&tensor), want, "{:?}", tensor.ty);
    }
}

#[test]
fn what_is_too_large_is_refused() {
    // Only the type is looked at: nothing of that size is made.
    let wide = codes(ElemType::signed(8), &[0, 1 << 31], []);
    assert!((FORMAT.fault)(&wide).unwrap().contains("axis of 2147483648"));
    assert!((FORMAT.fault)(&codes(ElemType::signed(8), &[0], [])).is_none());
}

#[test]
fn bits_are_packed_the_least_significant_first() {
    let bits = codes(ElemType::Bipolar, &[2, 5], [1, -1, -1, 1, 1, 1, -1, -1, 1, -1]);
    let bytes = packed(&bits).unwrap();
    assert_eq!(bytes, codes(ElemType::Int(IntType::unsigned(8)), &[2], [0b0011_1001, 0b01]));
    assert!(packed(&codes(ElemType::Ternary, &[1], [1])).is_none());
}
