use super::*;
use crate::registry::{FORMATS, format};
use unfloat_ir::ops::Binary;
use unfloat_ir::{Affine, Origin};

fn parameter(key: &str, tensor: Tensor) -> Parameter {
    Parameter { key: key.to_string(), tensor: Arc::new(tensor) }
}

fn codes(elem: ElemType, shape: &[usize], codes: &[i64]) -> Tensor {
    Tensor::codes(TensorType::new(elem, shape, Layout::anonymous(shape.len())), codes.iter().copied())
}

#[test]
fn formats_are_found_by_name() {
    for each in FORMATS {
        assert!(std::ptr::eq(format(each.name).unwrap(), *each) && !each.summary.is_empty());
    }
    assert!(format("cpp").is_none());
}

#[test]
fn codes_with_a_scale_bring_it_along() {
    let affine = Affine { int: IntType::signed(8), axis: Some(0), scale: vec![0.5, 0.25], zero: vec![0, -3] };
    let tensor = codes(ElemType::Quant(Arc::new(affine)), &[2, 1], &[5, -7]);
    let set = Set::new("net", vec![parameter("w", tensor)]).unwrap();
    let lines: Vec<String> = set.lines().collect();
    assert_eq!(lines, ["w,(2, 1)", "w.scale,(2, 1)", "w.zero_point,(2, 1)"]);
    assert_eq!(set.items[1].tensor.as_f32(), Some(&[0.5, 0.25][..]));
    assert_eq!(set.items[2].tensor.data.code(1), Some(-3));
}

#[test]
fn files_are_listed_with_their_true_names() {
    let bits = codes(ElemType::Bipolar, &[3], &[1, -1, 1]);
    let set = Set::new("net", vec![parameter("a/b", bits.clone()), parameter("a_b", bits)]).unwrap();
    let (mut out, mut manifest) = (OutDir::new(), Manifest::of_tensors("net"));
    for name in ["mat", "txt", "mem"] {
        set.emit(format(name).unwrap(), &mut out, &mut manifest).unwrap();
    }
    let paths: Vec<&str> = out.paths().collect();
    let want = [
        "mat/a_b.mat",
        "mat/a_b.packed.mat",
        "mat/a_b_2.mat",
        "mat/a_b.packed_2.mat",
        "mat/net.mat",
        "mem/a_b.mem",
        "mem/a_b_2.mem",
        "txt/a_b.txt",
        "txt/a_b_2.txt",
    ];
    let mut want = want.to_vec();
    want.sort_unstable();
    assert_eq!(paths, want);
    assert_eq!(manifest.formats, ["mat", "txt", "mem"]);
    let first = &manifest.parameters[0];
    assert_eq!((first.key.as_str(), first.file.as_str(), first.elem.as_str()), ("a/b", "a_b_2", "bipolar"));
    assert_eq!(out.read("txt/a_b_2.txt").unwrap(), b"a/b,(3)\n1\n-1\n1\n");
    assert_eq!(out.read("mat/net.mat"), out.read("mat/net.mat"));
}

#[test]
fn all_faults_are_said_at_once() {
    let empty = || codes(ElemType::signed(8), &[0], &[]);
    let set = Set::new("net", vec![parameter("a", empty()), parameter("b\n", empty())]).unwrap();
    let (mut out, mut manifest) = (OutDir::new(), Manifest::of_tensors("net"));
    let error = set.emit(format("coe").unwrap(), &mut out, &mut manifest).unwrap_err().to_string();
    assert!(error.contains("`a` has the shape [0]") && error.contains(r"`b\n` has the shape"), "{error}");
    assert!(out.paths().next().is_none() && manifest.formats.is_empty());
    let bit = codes(ElemType::Bit, &[1], &[1]);
    let twice = Set::new("net", vec![parameter("a", bit.clone()), parameter("a.packed", bit)]);
    assert!(twice.err().unwrap().to_string().contains("`a.packed`"));
    assert!(Set::new("net", Vec::new()).err().unwrap().to_string().contains("no parameters"));
}

#[test]
fn constants_of_a_graph_are_those_that_it_reads() {
    let mut g = Graph::new("g");
    let c = Layout::channels_last(0);
    let x = g.add_input("x", TensorType::f32([2], c));
    let a = g.add_const("k", Tensor::f32([2], c, vec![1.0, 2.0]));
    let b = g.add_const("k", Tensor::f32([2], c, vec![3.0, 4.0]));
    g.add_const("dead", Tensor::f32([2], c, vec![0.0, 0.0]));
    let y = g.add_node(Binary::Add, &[x, a], "y", &Origin::default()).unwrap();
    let z = g.add_node(Binary::Mul, &[y, b], "z", &Origin::default()).unwrap();
    let z = g.add_node(Binary::Mul, &[z, a], "zz", &Origin::default()).unwrap();
    g.add_output("z", z);
    let found = of_graph(&g);
    let names: Vec<&str> = found.iter().map(|p| p.key.as_str()).collect();
    assert_eq!(names, ["k", "k.1"]);
    assert_eq!(found[1].tensor.as_f32(), Some(&[3.0, 4.0][..]));
}
