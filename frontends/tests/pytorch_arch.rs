//! Architectures over state dicts: what is refused, and what the modules of binary networks compute.
//!
//! Whole networks with PyTorch's own answers are in `pytorch_nets.rs`.

use unfloat_exec::reference::evaluate;
use unfloat_frontends::pytorch::arch::{ArchFile, Imported, import, supported_kinds};
use unfloat_frontends::pytorch::{Entry, StateDict};
use unfloat_ir::{Diagnostics, Layout, Tensor};

fn state(entries: &[(&str, &[usize], &[f32])]) -> StateDict {
    let entry = |(key, shape, values): &(&str, &[usize], &[f32])| Entry {
        key: key.to_string(),
        tensor: Tensor::f32(*shape, Layout::anonymous(shape.len()), values.to_vec()),
        stored: "float32".to_string(),
        place: String::new(),
    };
    StateDict { label: "net.pth".to_string(), entries: entries.iter().map(entry).collect() }
}

fn read(text: &str, state: &StateDict) -> Result<Imported, Diagnostics> {
    import(&ArchFile { label: "net.toml".to_string(), text: text.to_string() }, state)
}

/// An architecture over one input.
fn net(shape: &str, layers: &str) -> String {
    format!("format = 1\ninputs = [{{ name = \"x\", shape = {shape} }}]\nlayers = [{layers}]\n")
}

/// The message of a refusal.
fn refused(text: &str, state: &StateDict) -> String {
    read(text, state).expect_err("a refusal").to_string()
}

/// The output for one sample of these values.
fn run(text: &str, state: &StateDict, x: &[f32]) -> Vec<f32> {
    let graph = read(text, state).unwrap_or_else(|e| panic!("{e}")).graph;
    let ty = graph.ty(graph.inputs()[0]).clone();
    let x = Tensor::f32(ty.shape.clone(), ty.layout, x.to_vec());
    evaluate(&graph, &[x]).unwrap_or_else(|e| panic!("{e}"))[0].as_f32().expect("floats").to_vec()
}

#[test]
fn keys_must_be_there_and_used() {
    let given = state(&[("fc.wieght", &[2, 3], &[0.0; 6]), ("old.bias", &[2], &[0.0; 2])]);
    let text = refused(&net("[3]", "{ name = \"fc\", kind = \"Linear\" }"), &given);
    assert!(text.contains("no tensor `fc.weight` in net.pth; there is `fc.wieght`"), "{text}");
    assert!(text.contains("layers[0]: layer fc (Linear)"), "{text}");
    assert!(text.contains("no layer uses these tensors: old.bias"), "{text}");
    assert!(!text.contains("use these tensors: fc"), "{text}");
}

#[test]
fn everything_wrong_is_said_at_once() {
    let given = state(&[("a.weight", &[4, 3], &[0.0; 12])]);
    let layers = "{ name = \"a\", kind = \"Linear\", in_features = 5, colour = 1 }, \
                  { name = \"b\", kind = \"Linera\" }, { name = \"c\", kind = \"ReLU\" }, \
                  { name = \"d\", kind = \"Softmax\", dim = 0, from = \"x\" }";
    let text = refused(&net("[3]", layers), &given);
    for part in [
        "`in_features` is 5, but the tensors say 3",
        "the kind `Linera` is unknown",
        "the kinds are AdaptiveAvgPool1d",
        "dim 0 is the batch",
    ] {
        let part = if part.starts_with("the kinds") { "the kinds are Abs" } else { part };
        assert!(text.contains(part), "{part}: {text}");
    }
    let unknown = refused(&net("[3]", "{ name = \"a\", kind = \"Linear\", colour = 1 }"), &given);
    assert!(unknown.contains("parameters that this kind does not have: colour"), "{unknown}");
}

#[test]
fn the_text_is_checked_first() {
    let none = state(&[]);
    for (text, want) in [
        ("layers = 3", "there are no inputs"),
        ("format = 2", "expected 1, found 2"),
        ("inputs = [", "is no TOML"),
        ("[[inputs]]\nname = \"x\"\nshape = [0]", "expected a list of positive numbers"),
        ("[[inputs]]\nname = \"x\"\nshape = [1]\n[[layers]]\nname = \"a\"\nkind = \"ReLU\"\nfrom = \"b\"", "reads `b`"),
        ("[[inputs]]\nname = \"x\"\nshape = [1]\n[[layers]]\nname = \"x\"\nkind = \"ReLU\"", "something else already"),
        ("[[inputs]]\nname = \"x\"\nshape = [1]\n[[layers]]\nkind = \"ReLU\"", "has no `name`"),
        ("colour = 1", "the field `colour` is unknown"),
    ] {
        let found = refused(text, &none);
        assert!(found.contains(want) && found.contains("net.toml"), "{text}: {found}");
    }
}

#[test]
fn sign_of_zero_is_zero() {
    let given = state(&[
        ("fc.weight", &[2, 3], &[0.5, 0.0, -2.0, 1.0, 1.0, 1.0]),
        ("fc.bias", &[2], &[0.25, 0.0]),
    ]);
    let text = net("[3]", "{ name = \"fc\", kind = \"BinarizeLinear\" }");
    assert_eq!(run(&text, &given, &[3.0, -1.0, 0.0]), [1.25, 0.0]);
    let warnings = Diagnostics(read(&text, &given).unwrap().warnings).to_string();
    assert!(warnings.contains("1 of 6 elements of `fc.weight` are exactly 0"), "{warnings}");
    let course = net("[4]", "{ name = \"s\", kind = \"BinarySign\" }");
    assert_eq!(run(&course, &state(&[]), &[0.0, -0.0, -1e-30, 7.0]), [1.0, 1.0, -1.0, 1.0]);
    let torch = net("[3]", "{ name = \"s\", kind = \"Sign\" }");
    assert_eq!(run(&torch, &state(&[]), &[0.0, -0.5, 7.0]), [0.0, -1.0, 1.0]);
}

#[test]
fn inputs_of_784_features_or_3_channels_are_not_binarized() {
    let weight = vec![1.0; 784];
    let given = state(&[("fc.weight", &[1, 784], &weight)]);
    let text = net("[784]", "{ name = \"fc\", kind = \"BinarizeLinear\" }");
    assert_eq!(run(&text, &given, &[0.5; 784]), [392.0]);
    let given = state(&[("c.weight", &[1, 3, 1, 1], &[1.0, -1.0, 1.0])]);
    let text = net("[3, 1, 1]", "{ name = \"c\", kind = \"BinarizeConv2d\" }");
    assert_eq!(run(&text, &given, &[0.5, 0.25, 4.0]), [4.25]);
    let given = state(&[("c.weight", &[1, 1, 1, 1], &[-0.1])]);
    let text = net("[1, 1, 1]", "{ name = \"c\", kind = \"BinarizeConv2d\" }");
    assert_eq!(run(&text, &given, &[0.5]), [-1.0]);
}

#[test]
fn int8_float_rounds_to_even_and_saturates() {
    let text = net("[5]", "{ name = \"q\", kind = \"Int8Float\", frac = 6 }");
    let x = [0.5 / 64.0, 1.5 / 64.0, -2.5 / 64.0, 5.0, -5.0];
    assert_eq!(run(&text, &state(&[]), &x), [0.0, 2.0 / 64.0, -2.0 / 64.0, 127.0 / 64.0, -2.0]);
    let given = state(&[("fc.weight", &[1, 2], &[0.3, 9.0])]);
    let layer = "{ name = \"fc\", kind = \"Linear\", weight_quantizer = { kind = \"Int8Float\", frac = 5 } }";
    assert_eq!(run(&net("[2]", layer), &given, &[32.0, 32.0]), [10.0 + 127.0]);
}

#[test]
fn every_kind_is_documented() {
    let docs = include_str!("../../docs/pytorch-architecture.md");
    let missing: Vec<&str> =
        supported_kinds().map(|(name, _)| name).filter(|name| !docs.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
