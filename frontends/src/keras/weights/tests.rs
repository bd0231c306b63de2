//! Tests of weight addressing on stores in memory.

use std::rc::Rc;

use super::memory::MemoryStore;
use super::*;
use crate::keras::container::{Scheme, WeightSource};
use crate::keras::version::Metadata;

fn source(store: MemoryStore, scheme: Scheme) -> WeightSource {
    let metadata = Metadata::default();
    WeightSource { label: "w.h5".to_owned(), store: Rc::new(store), root: String::new(), scheme, metadata }
}

fn owner<'a>(path: &[usize], name: &'a str, class: &'a str, content: Content<'a>) -> Owner<'a> {
    let title = format!("{name} ({class})");
    Owner {
        path: path.to_vec(),
        name,
        title,
        class,
        trainable: true,
        inner: "",
        ignored: &[],
        counted: true,
        content,
    }
}

fn dense<'a>(path: &[usize], name: &'a str) -> Owner<'a> {
    let slots = vec![Slot::trainable("kernel"), Slot::trainable("bias")];
    owner(path, name, "Dense", Content::Leaf(Wants::Slots(slots)))
}

fn norm<'a>(path: &[usize], name: &'a str) -> Owner<'a> {
    let slots = vec![Slot::trainable("gamma"), Slot::fixed("moving_mean")];
    owner(path, name, "BatchNormalization", Content::Leaf(Wants::Slots(slots)))
}

fn texts(assigned: &Assigned) -> Vec<String> {
    assigned.findings.iter().map(ToString::to_string).collect()
}

#[test]
fn a_nested_model_files_trainable_weights_first() {
    // No layer names in the array names, so the order has to tell.
    let block = || vec![norm(&[0, 0], "n"), dense(&[0, 1], "d")];
    let names = ["a:0", "b:0", "c:0", "d:0"];
    let store =
        || MemoryStore::default().list("", "layer_names", &["block"]).list("block", "weight_names", &names);
    let model = [owner(&[0], "block", "Model", Content::Model(block()))];
    let found = assign(&source(store(), Scheme::Legacy), &model, true);
    assert_eq!(texts(&found), Vec::<String>::new());
    // gamma, kernel, bias, then moving_mean.
    assert_eq!(found.arrays[&vec![0, 0]], ["block/a:0", "block/d:0"]);
    assert_eq!(found.arrays[&vec![0, 1]], ["block/b:0", "block/c:0"]);
    // A frozen layer's weights all count as untrainable.
    let mut frozen = block();
    frozen[0].trainable = false;
    let model = [owner(&[0], "block", "Model", Content::Model(frozen))];
    let found = assign(&source(store(), Scheme::Legacy), &model, true);
    assert_eq!(found.arrays[&vec![0, 0]], ["block/c:0", "block/d:0"]);
    assert_eq!(found.arrays[&vec![0, 1]], ["block/a:0", "block/b:0"]);
}

#[test]
fn names_decide_where_they_tell_the_layer() {
    let model =
        [owner(&[0], "block", "Model", Content::Model(vec![norm(&[0, 0], "n"), dense(&[0, 1], "d")]))];
    let names = ["block/d/kernel", "block/d/bias", "block/n/gamma", "block/n/moving_mean"];
    let store =
        MemoryStore::default().list("", "layer_names", &["block"]).list("block", "weight_names", &names);
    let found = assign(&source(store, Scheme::Legacy), &model, true);
    assert_eq!(found.arrays[&vec![0, 0]], ["block/block/n/gamma", "block/block/n/moving_mean"]);
    assert_eq!(found.arrays[&vec![0, 1]], ["block/block/d/kernel", "block/block/d/bias"]);
}

/// HGQ2's `.h5`: trainable variables of all quantizers first, so that neither the order nor the last name tells them.
#[test]
fn groups_tell_variables_of_one_name_apart() {
    let slots = vec![
        Slot::trainable("kernel"),
        Slot::fixed("beta"),
        Slot::within("iq/quantizer", "f"),
        Slot::within("iq/quantizer", "k"),
        Slot::within("kq/quantizer", "b"),
        Slot::within("kq/quantizer", "k"),
    ];
    // The layer's own name ends as a group does.
    let model = [owner(&[0], "a_kq", "hgq>QDense", Content::Leaf(Wants::Slots(slots)))];
    let names = [
        "a_kq/kernel",
        "a_kq/a_kq_iq/fixed_1/f",
        "a_kq/a_kq_kq/fixed_2/b",
        "a_kq/beta",
        "a_kq/a_kq_iq/fixed_1/k",
        "a_kq/a_kq_kq/fixed_2/k",
    ];
    let store =
        MemoryStore::default().list("", "layer_names", &["a_kq"]).list("a_kq", "weight_names", &names);
    let found = assign(&source(store, Scheme::Legacy), &model, true);
    assert_eq!(texts(&found), Vec::<String>::new());
    let wanted: Vec<String> = [0, 3, 1, 4, 2, 5].iter().map(|i| format!("a_kq/{}", names[*i])).collect();
    assert_eq!(found.arrays[&vec![0]], wanted);
}

#[test]
fn split_lists_are_joined() {
    let store = MemoryStore::default()
        .list("", "layer_names0", &["a"])
        .list("", "layer_names1", &["b"])
        .list("a", "weight_names0", &["a/kernel:0"])
        .list("a", "weight_names1", &["a/bias:0"])
        .list("b", "weight_names", &["b/kernel:0", "b/bias:0"]);
    let found = assign(&source(store, Scheme::Legacy), &[dense(&[0], "a"), dense(&[1], "b")], true);
    assert_eq!(texts(&found), Vec::<String>::new());
    assert_eq!(found.arrays[&vec![0]], ["a/a/kernel:0", "a/a/bias:0"]);
}

#[test]
fn other_names_throughout_are_assigned_in_order_with_a_warning() {
    let store = MemoryStore::default()
        .list("", "layer_names", &["x_7", "flat", "x_8"])
        .list("x_7", "weight_names", &["x_7/kernel:0", "x_7/bias:0"])
        .list("flat", "weight_names", &[])
        .list("x_8", "weight_names", &["x_8/kernel:0", "x_8/bias:0"]);
    let found = assign(&source(store, Scheme::Legacy), &[dense(&[0], "x_1"), dense(&[1], "x_2")], false);
    assert_eq!(found.arrays[&vec![1]], ["x_8/x_8/kernel:0", "x_8/x_8/bias:0"]);
    assert!(texts(&found)[0].starts_with("warning: w.h5: 2 layers have other names"), "{:?}", texts(&found));
}

#[test]
fn missing_and_left_over_weights_are_reported_together() {
    let store = MemoryStore::default()
        .list("", "layer_names", &["a", "c", "rng"])
        .list("a", "weight_names", &["a/kernel:0"])
        .list("c", "weight_names", &["c/kernel:0"])
        .list("rng", "weight_names", &["rng/state:0"]);
    let rng = owner(&[2], "rng", "RandomFlip", Content::Leaf(Wants::Anything));
    let found = assign(&source(store, Scheme::Legacy), &[dense(&[0], "a"), dense(&[1], "b"), rng], true);
    let texts = texts(&found);
    assert_eq!(texts.len(), 3, "{texts:?}");
    assert!(texts[0].contains("layer b (Dense): the weights are missing"), "{texts:?}");
    assert!(texts[1].contains("c: 1 weights belong to no layer"), "{texts:?}");
    assert!(texts[2].contains("expected 2 weights (kernel, bias), found 1 (a/kernel:0)"), "{texts:?}");
}

#[test]
fn numbered_groups_count_classes_per_container() {
    let inner = vec![dense(&[1, 0], "in_a"), dense(&[1, 1], "in_b")];
    let model =
        [dense(&[0], "first"), owner(&[1], "sub", "Sequential", Content::Model(inner)), dense(&[2], "last")];
    let mut store = MemoryStore::default();
    for path in [
        "layers/dense",
        "layers/sequential/layers/dense",
        "layers/sequential/layers/dense_1",
        "layers/dense_1",
    ] {
        store = store.array(&format!("{path}/vars/0"), &[1]).array(&format!("{path}/vars/1"), &[1]);
    }
    store = store.list("layers/dense_1/vars", "name", &["last"]);
    let found = assign(&source(store, Scheme::Numbered), &model, true);
    assert_eq!(texts(&found), Vec::<String>::new());
    assert_eq!(
        found.arrays[&vec![1, 1]],
        ["layers/sequential/layers/dense_1/vars/0", "layers/sequential/layers/dense_1/vars/1"]
    );
    assert_eq!(found.arrays[&vec![2]], ["layers/dense_1/vars/0", "layers/dense_1/vars/1"]);
}

#[test]
fn numbered_groups_are_checked_for_names_gaps_and_rests() {
    let store = MemoryStore::default()
        .array("layers/dense/vars/0", &[1])
        .array("layers/dense/vars/2", &[1])
        .array("layers/conv2d/vars/0", &[1])
        .list("layers/dense/vars", "name", &["other"]);
    let found = assign(&source(store, Scheme::Numbered), &[dense(&[0], "a")], true);
    let texts = texts(&found);
    assert!(texts[0].contains("marked as those of layer 'other'"), "{texts:?}");
    assert!(texts[1].contains("array 1 is missing"), "{texts:?}");
    assert!(texts[2].contains("layers/conv2d/vars: 1 weights belong to no layer"), "{texts:?}");
}
