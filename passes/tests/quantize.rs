//! Where graphs are quantized, and what the numbers depend on.

use unfloat_exec::reference::evaluate;
use unfloat_ir::ops::{Binary, Concat, Dense, MaxPool, Softmax, Unary, Window};
use unfloat_ir::{Data, Graph, Layout, Node, Op, Origin, Stage, Tensor, TensorType, ValueId};
use unfloat_passes::calibrate::Calibrator;
use unfloat_passes::pipeline::pipeline;
use unfloat_passes::recipe::resolved::Resolved;
use unfloat_passes::recipe::{Method, Recipe, file, spec};
use unfloat_passes::validate::SplitMix64;
use unfloat_passes::{RunOptions, run_pipeline};

struct Net {
    g: Graph,
    random: SplitMix64,
}

impl Net {
    fn new(inputs: usize) -> (Self, ValueId) {
        let mut g = Graph::new("net");
        let x = g.add_input("x", TensorType::f32([inputs], Layout::channels_last(0)));
        (Self { g, random: SplitMix64::new(5) }, x)
    }
    fn node(&mut self, op: impl Into<Op>, inputs: &[ValueId], name: &str) -> ValueId {
        let origin = Origin::new("test", "test", name, &format!("layer_{name} (Test)"));
        self.g.add_node(op, inputs, name, &origin).unwrap()
    }
    fn weight(&mut self, name: &str, dims: &[usize]) -> ValueId {
        let n = dims.iter().product();
        let values = (0..n).map(|_| self.random.normal() * 0.3).collect();
        self.g.add_const(name, Tensor::f32(dims, Layout::anonymous(dims.len()), values))
    }
    fn dense(&mut self, x: ValueId, outputs: usize, name: &str) -> ValueId {
        let inputs = self.g.ty(x).shape[0];
        let w = self.weight(&format!("{name}.w"), &[outputs, inputs]);
        let b = self.weight(&format!("{name}.b"), &[outputs]);
        self.node(Dense, &[x, w, b], name)
    }
    fn finish(mut self, outputs: &[ValueId]) -> Graph {
        for (i, &v) in outputs.iter().enumerate() {
            self.g.add_output(&format!("y{i}"), v);
        }
        self.g.stage = Stage::Folded;
        self.g
    }
}

fn samples(graph: &Graph, count: usize) -> Vec<Data> {
    let mut random = SplitMix64::new(9);
    let one = |v: &ValueId| {
        let n = graph.ty(*v).shape.num_elements() * count;
        Data::F32((0..n).map(|_| random.normal()).collect())
    };
    graph.inputs().iter().map(one).collect()
}

fn resolved(graph: &Graph, recipe: &Recipe, cuts: &[usize], threads: usize) -> Resolved {
    let mut calibrator = Calibrator::new(graph, recipe).unwrap_or_else(|e| panic!("{e}"));
    let all = samples(graph, cuts.iter().sum());
    let mut at = 0;
    for &n in cuts {
        let part = |(v, data): (&ValueId, &Data)| {
            let len = graph.ty(*v).shape.num_elements();
            match data {
                Data::F32(values) => Data::F32(values[at * len..(at + n) * len].to_vec()),
                _ => unreachable!(),
            }
        };
        let part: Vec<Data> = graph.inputs().iter().zip(&all).map(part).collect();
        let seen = std::cell::Cell::new(0);
        calibrator.feed_with(&part, n, threads, |more| seen.set(seen.get() + more)).unwrap();
        assert_eq!(seen.get(), if calibrator.needs_data() { n } else { 0 });
        at += n;
    }
    calibrator.finish().unwrap_or_else(|e| panic!("{e}"))
}

fn quantized(graph: &Graph, numbers: &Resolved) -> Graph {
    let mut out = graph.clone();
    let options = RunOptions { recipe: Some(numbers), ..RunOptions::default() };
    let calls = pipeline("quantize").unwrap();
    let last = calls.iter().position(|c| c.pass.info().name == "quantize").unwrap();
    let calls = &calls[..=last];
    run_pipeline(&mut out, calls, &options, &mut Default::default()).unwrap_or_else(|e| panic!("{e}"));
    out
}

/// `value: codes` of every quantized value.
fn sites(numbers: &Resolved) -> Vec<String> {
    numbers.activations.iter().map(|a| format!("{}: {}", a.value, a.codes)).collect()
}

fn int8() -> Recipe {
    spec::parse("int8").unwrap()
}

fn by_name<'g>(graph: &'g Graph, name: &str) -> &'g Node {
    let value = graph.values().find(|(_, v)| v.name == name).unwrap_or_else(|| panic!("no `{name}`")).0;
    graph.producer(value).unwrap().1
}

#[test]
fn behind_the_last_chain_op_once() {
    let (mut n, x) = Net::new(4);
    let a = n.dense(x, 6, "a");
    let r = n.node(Unary::Relu, &[a], "r");
    let b = n.dense(r, 6, "b");
    let s = n.node(Binary::Add, &[r, b], "s");
    let l = n.node(Unary::LeakyRelu { alpha: 0.1 }, &[s], "l");
    let y = n.dense(l, 3, "y");
    let g = n.finish(&[y]);
    let numbers = resolved(&g, &int8(), &[16], 1);
    // `b` is added to another value, so it has codes of its own; the sum is a chain's beginning; the result is a sum.
    assert_eq!(sites(&numbers), ["x: i8", "r: u8", "b: i8", "l: i8"]);
    let q = quantized(&g, &numbers);
    for (reader, operand) in
        [("b", "r.quantized"), ("s", "r.quantized"), ("y", "l.quantized"), ("a", "x.quantized")]
    {
        assert_eq!(q.value(by_name(&q, reader).inputs[0]).name, operand, "{reader}");
    }
    assert_eq!(q.value(by_name(&q, "l").inputs[0]).name, "s");
    assert_eq!(q.value(q.outputs()[0].value).name, "y");
}

#[test]
fn moves_have_the_quantizer_in_front() {
    let mut g = Graph::new("net");
    let x = g.add_input("x", TensorType::f32([8, 8, 1], Layout::channels_last(2)));
    let o = Origin::default();
    let r = g.add_node(Unary::Relu, &[x], "r", &o).unwrap();
    let window = Window::new([2, 2]).strides([2, 2]);
    let p = g.add_node(MaxPool { window }, &[r], "p", &o).unwrap();
    let m = g.add_node(
        unfloat_ir::ops::AvgPool { window: Window::new([4, 4]), count_include_pad: false },
        &[p],
        "m",
        &o,
    );
    g.add_output("y", m.unwrap());
    g.stage = Stage::Folded;
    let numbers = resolved(&g, &int8(), &[4], 1);
    assert_eq!(sites(&numbers), ["x: i8", "r: u8"]);
}

#[test]
fn tables_have_more_bits_and_softmax_its_own_format() {
    let (mut n, x) = Net::new(4);
    let a = n.dense(x, 6, "a");
    let t = n.node(Unary::Tanh, &[a], "t");
    let b = n.dense(t, 5, "b");
    let y = n.node(Softmax { axes: vec![0], log: false }, &[b], "y");
    let g = n.finish(&[y]);
    assert_eq!(sites(&resolved(&g, &int8(), &[16], 1)), ["x: i8", "a: i12", "t: i8", "b: i12", "y: u16"]);
    let fixed = spec::parse("fixed<16,6>").unwrap();
    let numbers = resolved(&g, &fixed, &[], 1);
    assert_eq!(sites(&numbers), ["x: i16", "a: i16", "t: i16", "b: i16", "y: u16"]);
    assert_eq!((numbers.samples, numbers.method), (0, None));
    // A rule is taken literally.
    let said = file::read("r.toml", "[[layer]]\nname = 'layer_b'\nactivation = 'int6'\n").unwrap();
    assert_eq!(sites(&resolved(&g, &said, &[16], 1))[3], "b: i6");
}

#[test]
fn operands_of_a_concatenation_share_a_scale() {
    let (mut n, x) = Net::new(4);
    let a = n.dense(x, 6, "a");
    let r = n.node(Unary::Relu, &[a], "r");
    let b = n.dense(x, 3, "b");
    let k = n.g.add_const("k", Tensor::f32([2], Layout::channels_last(0), vec![0.5, -0.75]));
    let c = n.node(Concat { axis: 0 }, &[r, b, k], "c");
    let y = n.dense(c, 3, "y");
    let g = n.finish(&[y]);
    let numbers = resolved(&g, &int8(), &[16], 1);
    assert_eq!(sites(&numbers), ["x: i8", "r: i8", "b: i8", "k: i8"]);
    let scales: Vec<f32> = numbers.activations[1..].iter().map(|a| a.scale).collect();
    assert!(scales.iter().all(|s| *s == scales[0]), "{scales:?}");
    let most =
        numbers.activations[1..].iter().map(|a| a.max.unwrap().max(-a.min.unwrap())).fold(0.0, f32::max);
    assert_eq!(scales[0], (f64::from(most) / 127.0) as f32);
    let q = quantized(&g, &numbers);
    let names: Vec<&str> = by_name(&q, "c").inputs.iter().map(|v| q.value(*v).name.as_str()).collect();
    assert_eq!(names[..2], ["r.quantized", "b.quantized"]);
    // The constant is codes now.
    let (_, k) = q.producer(by_name(&q, "c").inputs[2]).unwrap();
    assert!(matches!(k.op, Op::Dequantize(_)) && q.const_of(k.inputs[0]).is_some());
    let mixed = file::read("r.toml", "[[layer]]\nname = 'b'\nactivation = 'fixed<8,4>'\n").unwrap();
    let found = Calibrator::new(&g, &mixed).err().unwrap().to_string();
    assert!(found.contains("joined by a concatenation"), "{found}");
}

/// Layers with equal biases share the constant, and have different grids.
#[test]
fn biases_are_on_the_grid_of_their_own_sums() {
    let (mut n, x) = Net::new(4);
    let shared = n.weight("bias", &[4]);
    let (v, w) = (n.weight("v", &[4, 4]), n.weight("w", &[4, 4]));
    let a = n.node(Dense, &[x, v, shared], "a");
    let r = n.node(Unary::Relu, &[a], "r");
    let y = n.node(Dense, &[r, w, shared], "y");
    let g = n.finish(&[y]);
    let numbers = resolved(&g, &int8(), &[16], 1);
    let q = quantized(&g, &numbers);
    for (layer, input) in [("a", "x"), ("y", "r")] {
        let scale = numbers.activations.iter().find(|a| a.value == input).unwrap().scale;
        let node = by_name(&q, layer);
        let constant = |operand: usize, i: usize| {
            let (_, d) = q.producer(node.inputs[operand]).unwrap();
            q.const_of(d.inputs[i]).unwrap().clone()
        };
        let weight: Vec<f32> = constant(1, 1).as_f32().unwrap().to_vec();
        // So few products are summed here that a bias has a finer grid, by a power of two.
        let want: Vec<f32> = constant(2, 1).as_f32().unwrap().to_vec();
        let finer = scale * weight[0] / want[0];
        assert!((1.0..=1024.0).contains(&finer) && finer.log2().fract() == 0.0, "{finer}");
        let grid: Vec<f32> = weight.iter().map(|w| scale * w / finer).collect();
        assert_eq!(want, grid, "{layer}");
        assert_eq!(constant(2, 0).ty.elem.to_string(), "i32");
        assert_eq!(
            (constant(1, 0).ty.elem.to_string(), constant(1, 1).shape().to_string()),
            ("i8".into(), "[4,1]".into())
        );
        let floats = g.const_of(shared).unwrap();
        for (i, bias) in floats.as_f32().unwrap().iter().enumerate() {
            let code = constant(2, 0).data.code(i).unwrap();
            assert_eq!(code, (f64::from(*bias) / f64::from(want[i])).round_ties_even() as i64);
        }
    }
}

/// A channel that training has switched off still has its bias, however small its weights are.
#[test]
fn a_bias_beside_tiny_weights_keeps_its_value() {
    for tiny in [1e-6f32, 1e-12, 1e-20, 1e-36] {
        let (mut n, x) = Net::new(4);
        let mut constant = |name: &str, dims: &[usize], values: Vec<f32>| {
            n.g.add_const(name, Tensor::f32(dims, Layout::anonymous(dims.len()), values))
        };
        let bias = constant("bias", &[2], vec![0.7, -0.3]);
        let w = constant("w", &[2, 4], vec![0.5, -0.25, 0.125, 1.0, tiny, -tiny, tiny, tiny / 2.0]);
        let y = n.node(Dense, &[x, w, bias], "y");
        let g = n.finish(&[y]);
        let q = quantized(&g, &resolved(&g, &int8(), &[16], 1));
        let run = |g: &Graph, x: f32| {
            let x = Tensor::f32([4], Layout::channels_last(0), vec![x, -x, x, x]);
            evaluate(g, &[x]).unwrap()[0].as_f32().unwrap().to_vec()
        };
        for v in [0.0, 0.5, -1.0] {
            let (float, fake) = (run(&g, v), run(&q, v));
            assert!((float[1] - fake[1]).abs() < 1e-5, "weights of {tiny}: {float:?} {fake:?}");
            assert!((float[0] - fake[0]).abs() < 0.02, "{float:?} {fake:?}");
        }
    }
}

#[test]
fn what_is_kept_stays_as_it_is() {
    let (mut n, x) = Net::new(4);
    let a = n.dense(x, 6, "a");
    let r = n.node(Unary::Relu, &[a], "r");
    let b = n.dense(r, 6, "b");
    let y = n.dense(b, 3, "y");
    let g = n.finish(&[y]);
    let kept = file::read("r.toml", "[[layer]]\nname = 'layer_b'\nkeep = 'float'\n").unwrap();
    let numbers = resolved(&g, &kept, &[16], 1);
    assert_eq!(sites(&numbers), ["x: i8", "b: i8"]);
    let q = quantized(&g, &numbers);
    let b = by_name(&q, "b");
    assert!(q.const_of(b.inputs[1]).is_some_and(|t| t.as_f32().is_some()));
    assert_eq!(q.value(b.inputs[0]).name, "r");
    // What is quantized stays quantized as it is: a second round finds nothing but sums, whose inputs have codes.
    let again = resolved(&q, &int8(), &[4], 1);
    assert_eq!(sites(&again), ["r: u8"]);
    assert_eq!(again.weights.iter().map(|w| w.value.as_str()).collect::<Vec<_>>(), ["b"]);
}

#[test]
fn sums_can_be_brought_to_a_format() {
    let (mut n, x) = Net::new(4);
    let y = n.dense(x, 3, "y");
    let g = n.finish(&[y]);
    let text = "[default]\nweights='fixed<16,6>'\nactivation='fixed<16,6>'\nbias='fixed<16,6>'\naccumulator='fixed<8,4>'\n";
    let numbers = resolved(&g, &file::read("r.toml", text).unwrap(), &[], 1);
    let q = quantized(&g, &numbers);
    let x = Tensor::f32([4], Layout::channels_last(0), vec![0.5, -1.0, 0.25, 2.0]);
    let made = evaluate(&q, &[x]).unwrap();
    assert!(made[0].as_f32().unwrap().iter().all(|v| (v * 16.0).fract() == 0.0 && v.abs() <= 8.0));
}

/// However the samples are cut, and on however many threads: the same numbers.
#[test]
fn batches_and_threads_make_no_difference() {
    let (mut n, x) = Net::new(8);
    let a = n.dense(x, 16, "a");
    let t = n.node(Unary::Tanh, &[a], "t");
    let y = n.dense(t, 3, "y");
    let z = n.dense(y, 2, "z");
    let g = n.finish(&[z]);
    for method in [Method::MinMax, Method::Percentile(99.0), Method::Mse, Method::Kl] {
        let recipe = Recipe { method, ..int8() };
        let whole = resolved(&g, &recipe, &[200], 1);
        assert_eq!(resolved(&g, &recipe, &[200], 3), whole, "{method}");
        assert_eq!(resolved(&g, &recipe, &[1, 99, 37, 63], 2), whole, "{method}");
    }
}

/// Weights as the recipe's rule makes them, scales of mean magnitudes, and zeros counted.
#[test]
fn weights_become_signs_by_the_recipes_rule() {
    let (mut n, x) = Net::new(8);
    let y = n.dense(x, 16, "y");
    let z = n.dense(y, 3, "z");
    let g = n.finish(&[z]);
    let by_sign = resolved(&g, &spec::parse("wbipolar a8").unwrap(), &[16], 1);
    let read = |seed: u64| {
        let text = format!("[default]\nweights = 'bipolar'\n[bipolar]\nrule = 'stochastic'\nseed = {seed}\n");
        resolved(&g, &unfloat_passes::recipe::file::read("r.toml", &text).unwrap(), &[16], 1)
    };
    let (one, other) = (read(1), read(2));
    assert_eq!((one.seed, by_sign.seed), (Some(1), None));
    assert_eq!(one, read(1));
    for ((w, o), sign) in one.weights.iter().zip(&other.weights).zip(&by_sign.weights) {
        assert_eq!((w.rounding, sign.rounding), ("stochastic", "nearest"));
        assert_eq!(w.scale, sign.scale);
        assert!(w.codes != o.codes && w.codes != sign.codes && w.codes.iter().all(|c| c.abs() == 1));
        let (_, node) = g.producer(g.values().find(|(_, v)| v.name == w.value).unwrap().0).unwrap();
        let floats = g.const_of(node.inputs[1]).unwrap().as_f32().unwrap();
        assert_eq!(w.zeros, floats.iter().filter(|w| **w == 0.0).count());
        let signs: Vec<i64> = floats.iter().map(|w| if *w >= 0.0 { 1 } else { -1 }).collect();
        assert_eq!(sign.codes, signs);
    }
    let fake = quantized(&g, &one);
    assert!(fake.values().any(|(_, v)| v.ty.elem == unfloat_ir::ElemType::Bipolar));
}

#[test]
fn numbers_for_another_graph_are_refused() {
    let (mut n, x) = Net::new(4);
    let y = n.dense(x, 3, "y");
    let g = n.finish(&[y]);
    let mut numbers = resolved(&g, &int8(), &[4], 1);
    numbers.activations[0].value = "elsewhere".to_string();
    let options = RunOptions { recipe: Some(&numbers), ..RunOptions::default() };
    let mut graph = g.clone();
    let found = run_pipeline(&mut graph, &pipeline("quantize").unwrap(), &options, &mut Default::default());
    assert!(found.unwrap_err().to_string().contains("`elsewhere`, which the graph has not"));
    assert_eq!(graph, g);
}

#[test]
fn samples_that_are_not_finite_are_refused() {
    let (mut n, x) = Net::new(2);
    let y = n.dense(x, 3, "y");
    let g = n.finish(&[y]);
    let recipe = int8();
    let mut calibrator = Calibrator::new(&g, &recipe).unwrap();
    calibrator.feed(&[Data::F32(vec![1.0, f32::NAN])], 1, 1).unwrap();
    assert!(calibrator.finish().unwrap_err().to_string().contains("`x` is not finite"));
    assert!(Calibrator::new(&g, &recipe).unwrap().finish().unwrap_err().to_string().contains("--calibrate"));
}
