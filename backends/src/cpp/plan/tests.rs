use super::*;
use unfloat_ir::ops::{Binary, Concat, Conv, Dense, Reduce, ReduceFn, Reshape, Softmax, Transpose, Window};
use unfloat_ir::{Layout, Origin, Tensor, TensorType};

#[test]
fn cells_that_live_together_do_not_overlap() {
    let items = [(100, 0, 1, ()), (50, 1, 2, ()), (100, 2, 3, ()), (10, 0, 3, ()), (7, 3, 3, ())];
    let (offsets, total) = pack(&items, ALIGN);
    for (i, a) in items.iter().enumerate() {
        for (j, b) in items.iter().enumerate().take(i) {
            let together = a.1 <= b.2 && b.1 <= a.2;
            let apart = offsets[i] + a.0 <= offsets[j] || offsets[j] + b.0 <= offsets[i];
            assert!(!together || apart, "{i} and {j}");
        }
    }
    assert!(offsets.iter().all(|o| o % ALIGN == 0) && total < 250, "{total}");
}

#[test]
fn activations_are_fused_and_elementwise_steps_reuse_their_operand() {
    let mut g = Graph::new("g");
    let o = Origin::default();
    let x = g.add_input("x", TensorType::f32([1, 4], Layout::channels_last(1)));
    let w = g.add_const("w", Tensor::f32([4, 4], Layout::weight(0), vec![1.0; 16]));
    let a = g.add_node(Dense, &[x, w], "a", &o).unwrap();
    let r = g.add_node(Unary::Relu, &[a], "r", &o).unwrap();
    let s = g.add_node(Binary::Add, &[x, r], "s", &o).unwrap();
    let shape = Reshape { shape: [4].into(), layout: Layout::channels_last(0) };
    let flat = g.add_node(shape, &[s], "flat", &o).unwrap();
    let y = g.add_node(Dense, &[flat, w], "y", &o).unwrap();
    g.add_output("y", y);
    g.add_output("again", y);
    g.add_output("x", x);
    let g = g.compact();
    let plan = Plan::new(&g);
    let by_name = |n: &str| g.values().find(|(_, v)| v.name == n).map(|(id, _)| id).unwrap();
    assert_eq!(plan.steps.len(), 3);
    assert_eq!(Plan::activation(&g, &plan.steps[0]), Some(Unary::Relu));
    assert_eq!(plan.at(by_name("flat")), Place::Arena(0));
    assert_eq!(plan.at(by_name("r")), plan.at(by_name("s")), "the sum takes the place of its operand");
    assert_eq!(plan.at(by_name("y")), Place::Output(0));
    assert_eq!(plan.copies, [(by_name("y"), 1), (by_name("x"), 2)]);
    assert_eq!(plan.arena, 4);
}

/// Runs a plan on memory that knows which value each cell holds: every operand must still be there when it is
/// read, and nothing is written over what a step reads unless that is allowed.
fn simulate(graph: &Graph, plan: &Plan) {
    let size = |v: ValueId| graph.ty(v).shape.num_elements();
    let mut arena: Vec<Option<ValueId>> = vec![None; plan.arena];
    let mut outs: Vec<Option<ValueId>> = vec![None; graph.outputs().len()];
    let range = |v: ValueId| match plan.at(v) {
        Place::Arena(at) => at..at + size(v),
        _ => 0..0,
    };
    let holds = |arena: &[Option<ValueId>], outs: &[Option<ValueId>], v: ValueId| match plan.at(v) {
        Place::Arena(_) => arena[range(v)].iter().all(|c| *c == Some(plan.root(v))),
        Place::Output(n) => outs[n] == Some(plan.root(v)),
        Place::Input(_) | Place::Const(_) => true,
    };
    let apart = |a: &std::ops::Range<usize>, b: &std::ops::Range<usize>| a.end <= b.start || b.end <= a.start;
    for step in &plan.steps {
        let node = graph.node(step.node);
        let (to, scratch) = (range(step.output), step.scratch_at..step.scratch_at + step.scratch);
        assert!(apart(&to, &scratch));
        for (i, &v) in node.inputs.iter().enumerate() {
            assert!(holds(&arena, &outs, v), "{} is gone", graph.value(v).name);
            assert!(apart(&range(v), &scratch));
            let same = plan.at(v) == plan.at(step.output);
            assert!(apart(&range(v), &to) || (same && ops::may_overwrite(graph, node, i)));
            assert!(!same || ops::may_overwrite(graph, node, i));
        }
        arena[scratch].fill(None);
        arena[to].fill(Some(step.output));
        if let Place::Output(n) = plan.at(step.output) {
            outs[n] = Some(step.output);
        }
    }
    for (n, output) in graph.outputs().iter().enumerate() {
        assert!(holds(&arena, &outs, output.value), "output {n} is gone");
        let copied = plan.copies.contains(&(output.value, n));
        assert!(copied || plan.at(output.value) == Place::Output(n));
    }
}

/// A graph of `steps` random nodes.
fn random_graph(seed: u64, steps: usize) -> Graph {
    let mut state = seed;
    let mut pick = |n: usize| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        ((state >> 33) as usize) % n
    };
    let o = Origin::default();
    let mut g = Graph::new("g");
    let mut pool = vec![
        g.add_input("x", TensorType::f32([4, 3, 5], Layout::channels_last(2))),
        g.add_input("y", TensorType::f32([4, 3, 5], Layout::channels_last(2))),
        g.add_const("c", Tensor::f32([4, 3, 5], Layout::channels_last(2), vec![1.0; 60])),
    ];
    let weight = g.add_const("w", Tensor::f32([5, 3, 3, 5], Layout::weight(2), vec![1.0; 225]));
    let vector = g.add_const("v", Tensor::f32([5], Layout::channels_last(0), vec![1.0; 5]));
    let hwc = Reshape { shape: [4, 3, 5].into(), layout: Layout::channels_last(2) };
    let turned = Reshape { shape: [3, 4, 5].into(), layout: Layout::channels_last(2) };
    for _ in 0..steps {
        let (a, b) = (pool[pick(pool.len())], pool[pick(pool.len())]);
        let mut add = |op: Op, inputs: &[ValueId]| g.add_node(op, inputs, "n", &o).unwrap();
        let value = match pick(10) {
            0 => add(Unary::Relu.into(), &[a]),
            1 => add(Binary::Add.into(), &[a, b]),
            2 => add(Binary::Mul.into(), &[vector, a]),
            3 => add(Softmax { axes: vec![2], log: false }.into(), &[a]),
            4 => {
                let flat = add(turned.clone().into(), &[a]);
                let moved = add(Transpose { perm: vec![1, 0, 2] }.into(), &[flat]);
                add(hwc.clone().into(), &[moved])
            }
            5 => {
                let op = Conv { window: Window::new([3, 3]).pads([1, 1], [1, 1]), groups: 1 };
                add(op.into(), &[a, weight])
            }
            6 => {
                let both = add(Concat { axis: 0 }.into(), &[a, b]);
                let shape = Reshape { shape: [2, 4, 3, 5].into(), layout: Layout::anonymous(4) };
                let both = add(shape.into(), &[both]);
                let sum = add(Reduce { f: ReduceFn::Sum, axes: vec![0], keep: false }.into(), &[both]);
                add(hwc.clone().into(), &[sum])
            }
            7 => add(hwc.clone().into(), &[a]),
            8 => {
                let moved = add(Transpose { perm: vec![0, 1, 2] }.into(), &[a]);
                add(Unary::Exp.into(), &[moved])
            }
            _ => add(Binary::Sub.into(), &[a, a]),
        };
        pool.push(value);
    }
    for i in 0..1 + pick(4) {
        let value = pool[pool.len() - 1 - pick(pool.len())];
        g.add_output(&format!("o{i}"), value);
    }
    g.compact()
}

#[test]
fn no_plan_loses_a_value() {
    for seed in 0..2000 {
        let graph = random_graph(seed, 1 + seed as usize % 40);
        simulate(&graph, &Plan::new(&graph));
    }
}
