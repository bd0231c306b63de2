use super::*;
use unfloat_ir::{IntType, Layout, TensorType};

fn text(format: &crate::parameters::Format, tensor: &Tensor) -> String {
    let mut bytes = Vec::new();
    (format.one)(&[("a;b\n.*/c", tensor)], &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn codes(elem: ElemType, codes: &[i64]) -> Tensor {
    let ty = TensorType::new(elem, [codes.len()], Layout::anonymous(1));
    Tensor::codes(ty, codes.iter().copied())
}

#[test]
fn words_are_twos_complement_of_their_width() {
    for (tensor, hex, binary) in [
        (codes(ElemType::signed(4), &[-1, 7, -8]), "f 7 8", "1111 0111 1000"),
        (codes(ElemType::signed(10), &[-1, 511]), "3ff 1ff", "1111111111 0111111111"),
        (codes(ElemType::Bipolar, &[-1, 1]), "0 1", "0 1"),
        (codes(ElemType::Ternary, &[-1, 0, 1]), "3 0 1", "11 00 01"),
        (codes(ElemType::Bit, &[0, 1]), "0 1", "0 1"),
        (codes(ElemType::Int(IntType::unsigned(5)), &[31]), "1f", "11111"),
        (codes(ElemType::signed(64), &[-1]), "ffffffffffffffff", &"1".repeat(64)),
        (Tensor::f32([1], Layout::anonymous(1), vec![-1.5]), "bfc00000", "10111111110000000000000000000000"),
    ] {
        for (format, want) in [(&MEM, hex), (&MEMB, binary)] {
            let text = text(format, &tensor);
            let (comment, words) = text.split_once('\n').unwrap();
            assert!(comment.starts_with(r"// a_b\n.__c,("), "{comment}");
            assert_eq!(words.lines().collect::<Vec<_>>().join(" "), want);
        }
    }
}

#[test]
fn coefficient_files_end_with_a_semicolon() {
    let want = "; a_b\\n.__c,(3), 4 bits, two's complement\nmemory_initialization_radix=16;\n\
                memory_initialization_vector=\nf,\n0,\n7\n;\n";
    assert_eq!(text(&COE, &codes(ElemType::signed(4), &[-1, 0, 7])), want);
}

#[test]
fn initialization_files_tell_width_and_depth() {
    let want = "-- a_b\\n.__c,(2), 1 bit, 0 is -1, 1 is +1\nWIDTH=1;\nDEPTH=2;\nADDRESS_RADIX=HEX;\nDATA_RADIX=HEX;\n\
                CONTENT BEGIN\n0 : 1;\n1 : 0;\nEND;\n";
    assert_eq!(text(&MIF, &codes(ElemType::Bipolar, &[1, -1])), want);
}

#[test]
fn a_memory_has_a_word() {
    assert!(fault(&codes(ElemType::signed(4), &[])).unwrap().contains("[0]"));
    assert!(fault(&codes(ElemType::signed(4), &[1])).is_none());
}
