//! Layers of look-up tables: the passes leave what an independent count in numpy (`fixtures/luts/make.py`) says an output
//! depends on, and change no bit.

use std::collections::BTreeMap;
use unfloat_exec::reference::evaluate;
use unfloat_ir::ops::{Lut, Op};
use unfloat_ir::{ElemType, Graph, IntType, Layout, Origin, Tensor, TensorType};
use unfloat_passes::pipeline::pipeline;
use unfloat_passes::validate::SplitMix64;
use unfloat_passes::{RunOptions, run_pipeline};

/// `count` pins from shuffled decks of `inputs` cards.
fn deal(random: &mut SplitMix64, inputs: usize, count: usize) -> Vec<i64> {
    let mut pins = Vec::new();
    while pins.len() < count {
        let mut deck: Vec<i64> = (0..inputs as i64).collect();
        for i in (1..inputs).rev() {
            deck.swap(i, (random.next_u64() % (i as u64 + 1)) as usize);
        }
        pins.extend(deck);
    }
    pins.truncate(count);
    pins
}

/// The network that `seeded` in `make.py` makes.
fn seeded(seed: u64, widths: &[usize], plain: bool) -> Graph {
    let mut random = SplitMix64::new(seed);
    let mut g = Graph::new("seeded");
    let ty = |elem, shape: &[usize]| TensorType::new(elem, shape, Layout::anonymous(shape.len()));
    let mut x = g.add_input("x", TensorType::new(ElemType::Bit, [widths[0]], Layout::channels_last(0)));
    for (i, w) in widths.windows(2).enumerate() {
        let (inputs, outputs) = (w[0], w[1]);
        let connections = deal(&mut random, inputs, outputs * 6);
        let mut tables: Vec<i64> = Vec::new();
        for o in 0..outputs {
            let table: Vec<i64> = (0..64).map(|a| (random.next_u64() >> a & 1) as i64).collect();
            let entry = |a: usize| match (o % 8, o % 64) {
                _ if plain => table[a],
                (_, 0) => table[0],
                (0, _) => table[a % 8],
                _ => table[a],
            };
            tables.extend((0..64).map(entry));
        }
        let c = Tensor::codes(ty(ElemType::Int(IntType::unsigned(16)), &[outputs, 6]), connections);
        let t = Tensor::codes(ty(ElemType::Bit, &[outputs, 64]), tables);
        let (c, t) = (g.add_const("c", c), g.add_const("t", t));
        x = g.add_node(Lut, &[x, c, t], &format!("layer{i}"), &Origin::default()).unwrap();
    }
    g.add_output("y", x);
    g
}

fn widths(graph: &Graph) -> Vec<usize> {
    let layers = graph.live_nodes().filter(|(_, n)| matches!(n.op, Op::Lut(_)));
    layers.map(|(_, n)| graph.ty(n.output).shape[0]).collect()
}

#[test]
fn as_many_tables_stay_as_numpy_counts() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/luts/live.json");
    let text = std::fs::read_to_string(path).unwrap();
    let counts: BTreeMap<String, Vec<usize>> = serde_json::from_str(&text).unwrap();
    assert!(counts.len() >= 4);
    for (seed, want) in &counts {
        let (word, number) = seed.split_once(' ').unwrap();
        let before = seeded(number.parse().unwrap(), &[784, 1024, 512, 10], word == "plain");
        let mut after = before.clone();
        let report = run_pipeline(
            &mut after,
            &pipeline("luts").unwrap(),
            &RunOptions::default(),
            &mut Default::default(),
        )
        .unwrap_or_else(|e| panic!("{e}"));
        assert!(report.passes.iter().any(|p| p.pass == "lut-dead" && p.changes > 1000));
        // Constants that an output shows stay as tables, one each: numpy counts outputs as needed too.
        assert_eq!(widths(&after), *want, "seed {seed}");
        let mut random = SplitMix64::new(5);
        for _ in 0..3 {
            let bits: Vec<i64> = (0..784).map(|_| (random.next_u64() >> 63) as i64).collect();
            let x = Tensor::codes(before.ty(before.inputs()[0]).clone(), bits);
            let [a, b] = [&before, &after].map(|g| evaluate(g, std::slice::from_ref(&x)).unwrap());
            assert_eq!(a, b, "seed {seed}");
        }
        // What is done is done: again changes nothing.
        let again = run_pipeline(
            &mut after.clone(),
            &pipeline("luts").unwrap(),
            &RunOptions::default(),
            &mut Default::default(),
        )
        .unwrap();
        assert!(again.passes.iter().all(|p| p.changes == 0), "{again:?}");
    }
}
