//! The whole ONNX models of `fixtures/onnx`, as `index.json` lists them, with what their frameworks gave.

// Each test file uses its own part.
#![allow(dead_code)]

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;
use unfloat_frontends::onnx::{BatchAxis, Imported, OnnxFile, OnnxOptions, ReadSeek, Siblings, import};
use unfloat_ir::{Diagnostics, ElemType, Layout, Shape, Tensor, TensorType};
use unfloat_npy::Npz;

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/onnx")
}

/// A value that the framework gave: its name, the operator that makes it, and its samples.
pub struct Known {
    pub name: String,
    pub op: String,
    pub tensor: Tensor,
}

/// One line of the index.
pub struct Fixture {
    pub model: String,
    pub entry: Value,
}

/// Files beside a model.
struct Beside(PathBuf);

impl Siblings for Beside {
    fn open(&self, name: &str) -> io::Result<Box<dyn ReadSeek>> {
        Ok(Box::new(File::open(self.0.join(name))?))
    }
}

/// All fixtures that must import, or all that must not.
pub fn fixtures(expect: &str) -> Vec<Fixture> {
    let text = fs::read_to_string(folder().join("index.json")).expect("index.json");
    let index: Value = serde_json::from_str(&text).expect("valid JSON");
    let all = index["fixtures"].as_array().expect("a list").iter().filter(|e| e["expect"] == expect);
    let model = |e: &Value| e["model"].as_str().expect("a model").to_owned();
    all.map(|e| Fixture { model: model(e), entry: e.clone() }).collect()
}

impl Fixture {
    pub fn import(&self) -> Result<Imported, Diagnostics> {
        let path = folder().join(&self.model);
        let label = path.file_name().expect("a file name").to_string_lossy().into_owned();
        let source = File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", self.model));
        let mut options = OnnxOptions::default();
        if self.entry["batch"] == "none" {
            options.batch = BatchAxis::None;
        }
        for (name, size) in self.entry["dims"].as_object().into_iter().flatten() {
            options.dims.insert(name.clone(), size.as_u64().expect("a size") as usize);
        }
        let beside = Beside(path.parent().expect("a folder").to_owned());
        import(OnnxFile { label, source: Box::new(source) }, &beside, &options)
    }

    /// Whether each input, output and value has the samples along its first axis.
    pub fn batched(&self) -> bool {
        self.entry["batched"].as_bool().expect("batched")
    }

    /// The arrays beside the model: inputs, outputs, values behind quantizers, quantized weights.
    pub fn data(&self) -> Data {
        let bytes = fs::read(folder().join(self.entry["io"].as_str().expect("io"))).expect("io");
        let mut npz = Npz::open(&bytes).expect("npz");
        let mut all = |prefix: &str| -> Vec<Tensor> {
            (0..).map_while(|i| npz.get(&format!("{prefix}_{i}")).expect("readable")).collect()
        };
        let [inputs, outputs, values, weights] = ["input", "output", "value", "weight"].map(&mut all);
        let known = |key: &str, tensors: Vec<Tensor>| -> Vec<Known> {
            let names = self.entry[key].as_array().expect("names");
            assert_eq!(names.len(), tensors.len(), "{}: {key}", self.model);
            let text = |v: &Value| v.as_str().expect("text").to_owned();
            let one =
                |(pair, tensor): (&Value, Tensor)| Known { name: text(&pair[0]), op: text(&pair[1]), tensor };
            names.iter().zip(tensors).map(one).collect()
        };
        let values = known("values", values);
        Data { inputs, outputs, values, weights: known("weights", weights) }
    }
}

/// See [`Fixture::data`].
pub struct Data {
    pub inputs: Vec<Tensor>,
    pub outputs: Vec<Tensor>,
    pub values: Vec<Known>,
    pub weights: Vec<Known>,
}

/// Sample `index` of an array, or all of it; floats for floats and codes for codes.
pub fn sample(array: &Tensor, index: Option<usize>, elem: &ElemType, layout: Layout) -> Tensor {
    let shape: Shape = match index {
        Some(_) => array.ty.shape[1..].into(),
        None => array.ty.shape.clone(),
    };
    let count = shape.num_elements();
    let start = index.unwrap_or(0) * count;
    let layout = if layout.rank() == shape.rank() { layout } else { Layout::anonymous(shape.rank()) };
    let at = start..start + count;
    let codes = |at: std::ops::Range<usize>| at.map(|i| array.data.code(i).expect("codes"));
    match (array.as_f32(), elem.is_float()) {
        (Some(values), true) => Tensor::f32(shape, layout, values[at].to_vec()),
        // The archive holds whole numbers as integers.
        (None, true) => Tensor::f32(shape, layout, codes(at).map(|c| c as f32).collect()),
        (None, false) => Tensor::codes(TensorType::new(elem.clone(), shape, layout), codes(at)),
        (Some(_), false) => panic!("the archive has floats where the graph has {elem}"),
    }
}
