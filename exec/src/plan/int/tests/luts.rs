//! Layers of look-up tables: fused, branching, with computed tables; against the reference evaluator.

use super::*;

impl Build {
    /// A layer of tables, its connections and tables chosen.
    fn lut(&mut self, outputs: usize, pins: usize) -> &mut Self {
        let inputs = self.g.ty(self.last).shape.num_elements() as i64;
        let places: Vec<i64> = (0..outputs * pins).map(|_| self.r.int(0, inputs - 1)).collect();
        let ty = TensorType::new(unsigned(16), [outputs, pins], Layout::anonymous(2));
        let connections = self.g.add_const("connections", Tensor::codes(ty, places));
        let tables = self.constant(ElemType::Bit, &[outputs, 1 << pins]);
        self.op(Lut, &[connections, tables])
    }
}

#[test]
fn chains_are_one_step() {
    for pins in [1, 2, 4, 6, 8, 11] {
        let mut b = Build::new(ElemType::Bit, &[5, 7], 90 + pins as u64);
        b.lut(40, pins).lut(30, 6.min(pins)).lut(20, pins);
        b.op(Reshape { shape: [4, 5].into(), layout: Layout::anonymous(2) }, &[]);
        b.op(Cast { to: unsigned(8) }, &[]);
        b.op(Reduce { f: ReduceFn::Sum, axes: vec![1], keep: false }, &[]);
        b.op(ArgReduce { max: true, axis: 0, keep: false, last: false }, &[]);
        agrees(&mut b);
        let Plan(Kind::Int(plan)) = Plan::new(&b.g, &PlanOptions::default()).unwrap() else { panic!() };
        let luts = plan
            .segments
            .iter()
            .filter(|s| matches!(s, Segment::Together(step) if matches!(step.work, Work::Luts(_))));
        assert_eq!(luts.count(), 1, "three layers are one step");
    }
}

#[test]
fn layers_that_others_read_stay_apart() {
    let mut b = Build::new(ElemType::Bit, &[20], 7);
    b.lut(20, 3);
    let middle = b.last;
    b.lut(20, 5).op(Bitwise::Xor, &[middle]);
    b.g.add_output("middle", middle);
    agrees(&mut b);
}

#[test]
fn tables_that_are_computed() {
    let mut b = Build::new(ElemType::Bit, &[4, 4], 11);
    let x = b.last;
    let ty = TensorType::new(unsigned(8), [4, 2], Layout::anonymous(2));
    let connections = b.g.add_const("connections", Tensor::codes(ty, [0, 5, 15, 3, 2, 2, 7, 9]));
    b.op(Lut, &[connections, x]);
    agrees(&mut b);
}
