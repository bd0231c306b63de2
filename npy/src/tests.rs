use super::*;
use proptest::prelude::*;

/// Bytes of a version 1 file with the given header text and body.
fn file(text: &str, body: &[u8]) -> Vec<u8> {
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(body);
    out
}

fn array(descr: &str, fortran: &str, shape: &str, body: &[u8]) -> Result<Tensor, NpyError> {
    read_npy(&file(
        &format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n"),
        body,
    ))
}

#[test]
fn what_is_written_is_read() {
    for shape in [vec![], vec![0], vec![3], vec![2, 3], vec![1, 2, 3]] {
        let n = shape.iter().product::<usize>();
        let t = Tensor::f32(
            shape.as_slice(),
            Layout::anonymous(shape.len()),
            (0..n).map(|i| i as f32 / 3.0).collect(),
        );
        assert_eq!(read_npy(&write_npy(&t)).unwrap(), t);
        assert_eq!(write_npy(&t).len() % 4, 0);
    }
}

#[test]
fn orders_and_types() {
    let t = array(">i2", "True", "(2, 2)", &[0, 1, 0, 2, 0, 3, 255, 255]).unwrap();
    assert_eq!(t.data, Data::I16(vec![1, 3, 2, -1]));
    assert_eq!(array("|b1", "False", "(2,)", &[0, 1]).unwrap().ty.elem, ElemType::Bit);
    assert_eq!(array("<f8", "False", "()", &0.5f64.to_le_bytes()).unwrap().data, Data::F32(vec![0.5]));
    assert_eq!(array("<f2", "False", "(1L,)", &[0, 0x3c]).unwrap().data, Data::F32(vec![1.0]));
    assert_eq!(array("|u1", "False", "(1,)", &[200]).unwrap().data, Data::I16(vec![200]));
}

#[test]
fn bad_arrays_are_refused() {
    for (descr, shape, body) in [
        ("<f4", "(3,)", &[0; 8][..]),
        ("<f4", "(9223372036854775807, 9223372036854775807)", &[0; 8]),
        ("<f4", "(99999999999999999999999,)", &[0; 8]),
        ("|O", "(1,)", &[0; 8]),
        ("<c8", "(1,)", &[0; 8]),
        ("<U4", "(1,)", &[0; 16]),
        ("|b1", "(1,)", &[2]),
        ("<u8", "(1,)", &[255; 8]),
        ("<f4", "(1", &[0; 8]),
        ("<f4", "(1, 1, 1, 1, 1, 1, 1, 1, 1)", &[0; 8]),
    ] {
        assert!(array(descr, "False", shape, body).is_err(), "{descr} {shape}");
    }
    assert!(read_npy(b"").is_err() && read_npy(b"\x93NUMPY\x02\x00\xff\xff\xff\xff").is_err());
}

#[test]
fn doubles_beyond_single_precision_are_counted() {
    let body: Vec<u8> =
        [1e300, f64::INFINITY, f64::NAN, -1e39].iter().flat_map(|d: &f64| d.to_le_bytes()).collect();
    let error = array("<f8", "False", "(4,)", &body).unwrap_err().to_string();
    assert!(error.contains("2 of 4 elements of float64") && error.contains("1e300"), "{error}");
    let read = array("<f8", "False", "(2,)", &body[8..24]).unwrap();
    let values = read.as_f32().unwrap();
    assert!(values[0] == f32::INFINITY && values[1].is_nan(), "{values:?}");
}

#[test]
fn archives_are_read_back_and_deterministic() {
    let t = Tensor::f32([2], Layout::anonymous(1), vec![1.0, 2.0]);
    let bytes = write_npz([("a/b", &t), ("c", &t)]).unwrap();
    assert_eq!(bytes, write_npz([("a/b", &t), ("c", &t)]).unwrap());
    let mut npz = Npz::open(&bytes).unwrap();
    assert_eq!(npz.names(), ["a/b", "c"]);
    assert_eq!(npz.get("a/b").unwrap(), Some(t));
    assert_eq!(npz.get("d").unwrap(), None);
    assert!(Npz::open(&bytes[..bytes.len() / 2]).is_err());
}

proptest! {
    #[test]
    fn mutated_files_never_panic(at in 0usize..200, bits in 1u8.., cut in 0usize..200) {
        let t = Tensor::f32([2, 3], Layout::anonymous(2), vec![1.0; 6]);
        let mut npy = write_npy(&t);
        let mut npz = write_npz([("x", &t)]).unwrap();
        for bytes in [&mut npy, &mut npz] {
            let n = bytes.len();
            bytes[at % n] ^= bits;
            bytes.truncate(n - cut % n);
        }
        let _ = read_npy(&npy);
        if let Ok(mut archive) = Npz::open(&npz) {
            for name in archive.names() {
                let _ = archive.get(&name);
            }
        }
    }
}
