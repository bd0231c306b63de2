//! What an import allocates. A program of its own with one test, so that nothing else allocates meanwhile.

mod counting;

use std::fs;
use std::path::Path;

use unfloat_frontends::keras::{KerasOptions, ModelFile, import};

/// The weights are in memory as the file has them and as the graph has them, and never a third time: most of this
/// model is one kernel, whose axes the import puts in another order.
#[test]
fn importing_holds_the_weights_twice_at_most() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/keras/cifar10_cnn.h5");
    let bytes = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let size = bytes.len();
    let model = ModelFile { label: "cifar10_cnn.h5".to_owned(), bytes };
    let (imported, peak) = counting::peak_of(|| import(model, None, &KerasOptions::default()));
    let graph = imported.expect("an import").graph;
    let constants = graph.values().filter_map(|(value, _)| graph.const_of(value));
    let weights: usize = constants.map(|tensor| tensor.ty.shape.num_elements() * 4).sum();
    assert!(weights > size * 9 / 10, "{weights} bytes of weights in a file of {size}");
    // The file itself was there before.
    assert!(peak < weights + size / 5, "{peak} bytes allocated for {weights} bytes of weights");
}
