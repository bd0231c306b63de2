//! Tests of the architecture parser on hand-written JSON; the framework's own files are tested as fixtures.

use serde_json::{Value, json};

use super::*;

fn dense(name: &str, inbound: Value) -> Value {
    json!({"class_name": "Dense", "name": name, "config": {"name": name, "units": 3}, "inbound_nodes": inbound})
}

fn input(name: &str) -> Value {
    let config = json!({"name": name, "batch_input_shape": [null, 3]});
    json!({"class_name": "InputLayer", "name": name, "config": config, "inbound_nodes": []})
}

fn functional(layers: Value, inputs: Value, outputs: Value) -> Value {
    json!({"class_name": "Model", "config":
        {"name": "m", "layers": layers, "input_layers": inputs, "output_layers": outputs}})
}

fn read(json: Value) -> Result<Model, Vec<String>> {
    read_as(json, Generation::Keras2)
}

fn read_as(json: Value, generation: Generation) -> Result<Model, Vec<String>> {
    parse("m.h5", "model_config", json, generation)
        .map_err(|list| list.iter().map(|p| format!("{}: {}", p.at.place, p.message)).collect())
}

#[test]
fn a_sequential_is_a_chain_with_an_input() {
    let config = json!({"name": "a", "units": 3, "batch_input_shape": [null, 7]});
    let layers = json!([{"class_name": "Dense", "config": config}, dense("b", json!([]))]);
    for json in [
        json!({"class_name": "Sequential", "config": layers}),
        json!({"class_name": "Sequential", "config": {"name": "s", "layers": layers}}),
    ] {
        let model = read(json).unwrap();
        let names: Vec<&str> = model.layers.iter().map(|l| l.name.as_str()).collect();
        assert_eq!(names, ["a_input", "a", "b"]);
        assert!(model.layers[0].implied);
        assert_eq!(model.layers[0].config["batch_shape"], json!([null, 7]));
        assert_eq!(model.order, [(0, 0), (1, 0), (2, 0)]);
        assert_eq!(model.outputs, [TensorRef { layer: 2, call: 0, tensor: 0 }]);
    }
}

#[test]
fn a_submodel_of_keras_2_counts_its_calls_from_one() {
    let block = |inbound: Value| {
        let mut block = functional(
            json!([input("bi"), dense("bd", json!([[["bi", 0, 0, {}]]]))]),
            json!([["bi", 0, 0]]),
            json!([["bd", 0, 0]]),
        );
        block["name"] = json!("block");
        block["inbound_nodes"] = inbound;
        block
    };
    let add = |first, second| {
        json!({"class_name": "Add", "name": "add", "config": {"name": "add"},
            "inbound_nodes": [[["block", first, 0, {}], ["block", second, 0, {}]]]})
    };
    let model = |first, second| {
        let calls = json!([[["in", 0, 0, {}]], [["block", first, 0, {}]]]);
        functional(
            json!([input("in"), block(calls), add(first, second)]),
            json!(["in", 0, 0]),
            json!(["add", 0, 0]),
        )
    };
    let call = |call| TensorRef { layer: 1, call, tensor: 0 };
    let old = read(model(1, 2)).unwrap();
    assert_eq!(old.layers[2].calls[0].args, [call(0), call(1)]);
    assert_eq!(old.order, [(0, 0), (1, 0), (1, 1), (2, 0)]);
    let new = read_as(model(0, 1), Generation::Keras3).unwrap();
    assert_eq!(new.layers[2].calls[0].args, [call(0), call(1)]);
    // A Sequential without an InputLayer counts from 0 in Keras 2, too.
    assert_eq!(read(model(0, 1)).unwrap().layers[2].calls[0].args, [call(0), call(1)]);
    // The list of outputs counts a Functional from 1 in Keras 3, too.
    let ends = |node| {
        let mut json = model(0, 1);
        json["config"]["output_layers"] = json!(["block", node, 0]);
        read_as(json, Generation::Keras3).map(|model| model.outputs[0].call)
    };
    assert_eq!([ends(1), ends(2), ends(0)].map(Result::ok), [Some(0), Some(1), Some(0)]);
    let errors = read_as(model(1, 2), Generation::Keras3).unwrap_err();
    assert!(errors[0].contains("call 2 of 'block' does not exist: it is called 2 times"), "{errors:?}");
}

#[test]
fn every_bad_connection_is_reported_at_once() {
    let layers = json!([
        input("in"),
        dense("a", json!([[["nobody", 0, 0, {}]]])),
        dense("b", json!([[["in", 1, 0, {}]]])),
        dense("c", json!([[["in", 0, 2, {}]]])),
        dense("d", json!([]))
    ]);
    let errors = read(functional(layers, json!(["in", 0, 0]), json!(["zz", 0, 0]))).unwrap_err();
    let wanted = [
        "config.layers[1].inbound_nodes[0]: there is no layer called 'nobody'",
        "config.layers[2].inbound_nodes[0]: call 1 of 'in' does not exist: it is called 1 times",
        "config.layers[3].inbound_nodes[0]: output 2 of 'in' does not exist: it has 1",
        "config.layers[4]: the layer is connected to nothing",
        "config.output_layers: there is no layer called 'zz'",
    ];
    assert_eq!(errors.len(), wanted.len(), "{errors:?}");
    for (error, wanted) in errors.iter().zip(wanted) {
        assert!(error.ends_with(wanted), "{error} does not end with {wanted}");
    }
}

#[test]
fn duplicates_and_cycles_are_errors() {
    let twice =
        json!([input("in"), dense("a", json!([[["in", 0, 0]]])), dense("a", json!([[["in", 0, 0]]]))]);
    let errors = read(functional(twice, json!(["in", 0, 0]), json!(["a", 0, 0]))).unwrap_err();
    assert!(errors[0].contains("two layers are called 'a'"), "{errors:?}");
    let cycle = json!([input("in"), dense("a", json!([[["b", 0, 0]]])), dense("b", json!([[["a", 0, 0]]]))]);
    let errors = read(functional(cycle, json!(["in", 0, 0]), json!(["b", 0, 0]))).unwrap_err();
    assert!(errors[0].contains("cycle through a, b"), "{errors:?}");
}

#[test]
fn nesting_is_bounded() {
    let mut json = json!({"class_name": "Sequential", "config": [dense("d", json!([]))]});
    for level in 0..MAX_NESTING + 1 {
        let name = format!("s{level}");
        let mut inner = json;
        inner["name"] = json!(name);
        json = json!({"class_name": "Sequential", "config": {"name": name, "layers": [inner]}});
    }
    let errors = read(json).unwrap_err();
    assert!(errors[0].contains("nested more than 16 deep"), "{errors:?}");
}

#[test]
fn malformed_architectures_are_errors() {
    for bad in [
        json!({"class_name": "Sequential", "config": 3}),
        json!({"class_name": "Sequential", "config": [3]}),
        json!({"class_name": "Sequential", "config": [{"config": {}}]}),
        json!({"class_name": "Sequential", "config": [{"class_name": "Dense", "config": []}]}),
        json!({"class_name": "Model", "config": {}}),
        json!({"class_name": "MyModel", "config": {}}),
        functional(json!([]), json!([]), json!([])),
        functional(json!([input("in")]), json!([["in", 0, 0], ["in", 0, 0]]), json!(["in", 0, 0])),
        functional(json!([input("a"), input("b")]), json!(["a", 0, 0]), json!(["b", 0, 0])),
    ] {
        assert!(read(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn an_empty_sequential_is_its_input() {
    let json = json!({"class_name": "Sequential", "config": {"layers": [], "build_input_shape": [null, 2]}});
    let model = read(json).unwrap();
    assert_eq!(model.layers.len(), 1);
    assert_eq!(model.layers[0].config["batch_shape"], json!([null, 2]));
}
