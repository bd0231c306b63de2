//! Binary networks: packed values give the reference's results, and lie packed where that is expected.

use super::*;

fn sign() -> Threshold {
    Threshold { axis: 2, to: ElemType::Bipolar, scale: 2, bias: -1 }
}

impl Build {
    /// A convolution of bipolar weights without a bias, and a threshold for each channel.
    fn binary(&mut self, window: Window, out: usize, limit: u8) -> &mut Self {
        self.sums(window, out).signs(limit)
    }
    fn sums(&mut self, window: Window, out: usize) -> &mut Self {
        let mut shape = vec![out];
        shape.extend_from_slice(&window.kernel);
        shape.push(self.channels());
        let w = self.constant(ElemType::Bipolar, &shape);
        self.op(Conv { window, groups: 1 }, &[w])
    }
    fn signs(&mut self, limit: u8) -> &mut Self {
        let rows = self.r.pick(&[1, self.channels()]);
        let t = self.constant(signed(limit), &[rows, 1]);
        let axis = self.g.ty(self.last).rank() - 1;
        self.op(Threshold { axis, ..sign() }, &[t])
    }
    fn pool(&mut self) -> &mut Self {
        self.op(MaxPool { window: Window::new([2, 2]).strides([2, 2]) }, &[])
    }
}

/// How many steps read bits, and how many pack bytes.
fn steps(b: &Build) -> (usize, usize) {
    let mut g = b.g.clone();
    if g.outputs().is_empty() {
        g.add_output("y", b.last);
    }
    let Plan(Kind::Int(plan)) = Plan::new(&g, &PlanOptions::default()).unwrap() else { panic!() };
    let all = plan.segments.iter().flat_map(|s| match s {
        Segment::Grouped(steps) => steps.iter().collect::<Vec<_>>(),
        Segment::Together(step) => vec![&**step],
    });
    all.fold((0, 0), |(bits, packing), step| match step.work {
        Work::BitConv(_) | Work::BitPool(_) => (bits + 1, packing),
        Work::Packing { .. } => (bits, packing + 1),
        _ => (bits, packing),
    })
}

fn same() -> Window {
    Window::new([3, 3]).pads([1, 1], [1, 1])
}

#[test]
fn a_network_from_bytes_to_logits() {
    let mut b = Build::new(signed(8), &[8, 8, 3], 1);
    b.binary(same(), 70, 9).binary(same(), 64, 5).pool().binary(same(), 33, 5).pool();
    b.flatten();
    let n = b.channels();
    let w = b.constant(ElemType::Bipolar, &[10, n]);
    b.op(Dense, &[w]);
    assert_eq!(steps(&b), (5, 1));
    agrees(&mut b);
}

#[test]
fn random_binary_convolutions() {
    for seed in 0..60 {
        let mut r = Random(seed);
        let rank = r.int(1, 3) as usize;
        let channels = r.pick(&[1, 5, 63, 64, 65, 100, 128, 130]);
        let out = r.pick(&[1, 7, 8, 9, 64, 65, 70]);
        let mut dims = |lo, hi| (0..rank).map(|_| r.int(lo, hi) as usize).collect::<Vec<_>>();
        let window = Window {
            kernel: dims(1, 3),
            strides: dims(1, 2),
            dilations: dims(1, 2),
            pads_begin: dims(0, 3),
            pads_end: dims(0, 3),
        };
        let mut shape = dims(5, 7);
        shape.push(channels);
        let mut b = Build::new(signed(6), &shape, seed);
        b.signs(5);
        match seed % 3 {
            0 => b.sums(window, out),
            1 => b.binary(window, out, 5).sums(Window::new(vec![1; rank]), 3),
            _ => b.conv(window, out, 1, ElemType::Bipolar),
        };
        assert_eq!(steps(&b), (1 + usize::from(seed % 3 == 1), 1), "seed {seed}");
        agrees(&mut b);
    }
}

#[test]
fn poolings_of_bits() {
    for seed in 0..12 {
        let mut b = Build::new(signed(6), &[7, 9, 67], seed);
        let mut n = |lo, hi| b.r.int(lo, hi) as usize;
        let window =
            Window::new([n(2, 3), n(2, 3)]).strides([n(1, 3), n(1, 2)]).pads([1, n(0, 1)], [n(0, 1), 1]);
        b.signs(5).op(MaxPool { window }, &[]).sums(same(), 9);
        assert_eq!(steps(&b), (2, 1));
        agrees(&mut b);
    }
}

#[test]
fn dense_layers_of_rows_and_of_maps() {
    // Rows of a matrix; and vectors behind dense layers.
    let mut b = Build::new(signed(6), &[5, 100], 3);
    b.signs(5);
    for n in [100, 40] {
        let w = b.constant(ElemType::Bipolar, &[40, n]);
        b.op(Dense, &[w]).signs(4);
    }
    let w = b.constant(ElemType::Bipolar, &[3, 40]);
    b.op(Dense, &[w]);
    assert_eq!(steps(&b), (3, 1));
    agrees(&mut b);
    // Numbers that come of bits and a bias, before anything else than a sign.
    let mut b = Build::new(signed(6), &[5, 100], 4);
    b.signs(5).dense(20, ElemType::Bipolar).requantize(I8, Rounding::HalfEven, SAT).signs(6);
    b.dense(4, ElemType::Bipolar);
    assert_eq!(steps(&b), (2, 2));
    agrees(&mut b);
}

/// A value that anything else reads, that is shown, or that no kernel takes, stays in bytes.
#[test]
fn other_readers_keep_bytes() {
    let mut b = Build::new(signed(6), &[6, 6, 66], 5);
    b.signs(5);
    let x = b.last;
    b.binary(same(), 66, 5).op(Concat { axis: 2 }, &[x]);
    assert_eq!(steps(&b), (0, 0));
    agrees(&mut b);
    let mut b = Build::new(signed(6), &[6, 6, 66], 6);
    b.signs(5).output().binary(same(), 66, 5).sums(same(), 4);
    assert_eq!(steps(&b), (1, 1));
    agrees(&mut b);
    let mut b = Build::new(signed(6), &[6, 6, 66], 7);
    b.signs(5).conv(same(), 8, 2, ElemType::Bipolar).signs(5).conv(same(), 8, 1, ElemType::Ternary);
    assert_eq!(steps(&b), (0, 0));
    agrees(&mut b);
    // A pooling that is shown, and a sign that falls.
    let mut b = Build::new(signed(6), &[6, 6, 66], 8);
    b.signs(5).pool();
    assert_eq!(steps(&b), (0, 0));
    agrees(&mut b);
    let mut b = Build::new(signed(6), &[6, 6, 66], 9);
    let t = b.constant(signed(5), &[66, 1]);
    b.op(Threshold { scale: -2, bias: 1, ..sign() }, &[t]).sums(same(), 12);
    let t = b.constant(signed(5), &[12, 1]);
    b.op(Threshold { scale: -2, bias: 1, ..sign() }, &[t]).sums(same(), 4);
    assert_eq!(steps(&b), (2, 2));
    agrees(&mut b);
}
