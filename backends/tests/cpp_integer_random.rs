//! Random integer graphs, several to a program: bit for bit what the reference evaluator gives, with sanitizers and with
//! the units of another machine.
//!
//! Each seed is a graph of chains: every op takes a value that is there and adds one. With `UNFLOAT_SLOW` there are more.

mod support;

use std::fs;
use support::ints::{Ints, exact, exact_by};
use support::{Random, STRICT, compilers};
use unfloat_backends::cpp::Compiler;
use unfloat_backends::process::{self, TempDir};
use unfloat_ir::ops::{
    ArgReduce, Binary, Cast, Compare, Concat, Conv, Dense, Lookup, MaxPool, Pad, PadMode, Reduce, ReduceFn,
    Requantize, Reshape, Reverse, Select, Slice, Threshold, Transpose, Unary, Window,
};
use unfloat_ir::{ElemType, IntType, Layout, Overflow, Rounding, ValueId};

/// What a value may grow to.
const MOST: usize = 4000;

struct Maker<'a> {
    net: &'a mut Ints,
    values: Vec<ValueId>,
    count: usize,
}

impl Maker<'_> {
    fn pick(&mut self, lo: usize, hi: usize) -> usize {
        self.net.random.pick(lo, hi)
    }
    fn shape(&self, v: ValueId) -> Vec<usize> {
        self.net.graph.ty(v).shape.to_vec()
    }
    fn elem(&self, v: ValueId) -> ElemType {
        self.net.graph.ty(v).elem.clone()
    }
    fn name(&mut self, what: &str) -> String {
        self.count += 1;
        format!("{what}_{}", self.count)
    }
    fn int(&mut self) -> IntType {
        let width = [2, 3, 4, 7, 8, 8, 8, 12, 16][self.pick(0, 8)];
        IntType { signed: self.pick(0, 1) == 0, width }
    }
    fn elem_type(&mut self) -> ElemType {
        match self.pick(0, 7) {
            0 => ElemType::Bipolar,
            1 => ElemType::Ternary,
            _ => ElemType::Int(self.int()),
        }
    }

    /// Brings sums back to few bits, in one of three ways.
    fn narrow(&mut self, v: ValueId) -> ValueId {
        let channels = *self.shape(v).last().unwrap();
        let last = self.shape(v).len() - 1;
        match self.pick(0, 5) {
            0 => {
                let (to, n) = [
                    (ElemType::Bipolar, 1),
                    (ElemType::signed(3), 7),
                    (ElemType::Int(IntType::unsigned(4)), 15),
                ][self.pick(0, 2)]
                .clone();
                let (scale, bias) = match to {
                    ElemType::Bipolar => (2, -1),
                    _ => (1, to.code_range().unwrap().0),
                };
                let rows = if self.pick(0, 1) == 0 { 1 } else { channels };
                let (lo, hi) = unfloat_ir::ranges::Ranges::of(&self.net.graph).of_value(v).unwrap();
                let (lo, hi) = (lo as i64 / 8, hi as i64 / 8);
                let limits = (0..rows * n).map(|_| self.net.code(lo, hi)).collect();
                let limits = self.net.constant(ElemType::signed(64), &[rows, n], limits);
                let name = self.name("threshold");
                self.net.node(Threshold { axis: last, to, scale, bias }, &[v, limits], &name)
            }
            1 => {
                let to = self.int();
                let x = self.net.int(IntType::signed(20), &[]);
                let a = self.net.int(IntType::signed(24), &[channels]);
                let s = self.net.int(IntType::unsigned(5), &[channels]);
                let rounding = Rounding::ALL[self.pick(0, 8)];
                let op = Requantize { to, rounding, overflow: Overflow::ALL[self.pick(0, 3)], narrow: false };
                let name = self.name("odd");
                self.net.node(op, &[v, x, a, s], &name)
            }
            _ => {
                let (to, name) = (self.int(), self.name("quant"));
                let rounding = Rounding::ALL[self.pick(0, 8)];
                let q = self.net.requantize(v, to, rounding, &name);
                let name = self.name("relu");
                if self.count.is_multiple_of(3) { self.net.node(Unary::Relu, &[q], &name) } else { q }
            }
        }
    }

    fn image(&mut self, v: ValueId) -> ValueId {
        let shape = self.shape(v);
        let (h, w, c) = (shape[0], shape[1], shape[2]);
        match self.pick(0, 4) {
            0 if h > 2 && w > 2 => {
                let window = Window::new([2, 2]).strides([1 + h % 2, 2]).pads([0, 1], [1, 0]);
                let name = self.name("pool");
                self.net.node(MaxPool { window }, &[v], &name)
            }
            1 if c > 1 => {
                let window = Window::new([3, 2]).pads([1, 0], [1, 1]);
                let name = self.name("depthwise");
                let y = self.net.product(Conv { window, groups: c }, v, &[c, 3, 2, 1], 8, true, &name);
                self.narrow(y)
            }
            n => {
                let groups = if n == 2 && c % 2 == 0 { 2 } else { 1 };
                let kernel = [1 + self.pick(0, h.min(3) - 1), 1 + self.pick(0, w.min(3) - 1)];
                let strides = [1 + self.pick(0, 1), 1 + self.pick(0, 1)];
                let pads = [self.pick(0, kernel[0] - 1), self.pick(0, kernel[1] - 1)];
                let filters = groups * [1, 3, 8, 12, 18][self.pick(0, 4)];
                let window = Window::new(kernel).strides(strides).pads(pads, [0, 0]);
                let bits = [2, 4, 8, 8, 11][self.pick(0, 4)];
                let bias = self.pick(0, 1) == 0;
                let name = self.name("conv");
                let weight = [filters, kernel[0], kernel[1], c / groups];
                let y = self.net.product(Conv { window, groups }, v, &weight, bits, bias, &name);
                self.narrow(y)
            }
        }
    }

    /// An op that takes values of any rank.
    fn any(&mut self, v: ValueId) -> ValueId {
        let (shape, elem) = (self.shape(v), self.elem(v));
        let rank = shape.len();
        let twin =
            self.values.iter().copied().rfind(|&o| self.net.graph.ty(o) == self.net.graph.ty(v)).unwrap();
        let int = matches!(elem, ElemType::Int(_));
        let axis = self.pick(0, rank - 1);
        let name = self.name("any");
        let mut reversed: Vec<usize> = (0..rank).collect();
        reversed.reverse();
        match self.pick(0, 11) {
            0 if int => {
                let op = [Binary::Add, Binary::Sub, Binary::Mul, Binary::Max, Binary::Div, Binary::Mod]
                    [self.pick(0, 5)];
                self.net.node(op, &[v, twin], &name)
            }
            1 if int => {
                let c = self.net.weight(elem, &[*shape.last().unwrap()]);
                let op = [Binary::Add, Binary::Min, Binary::Mul][self.pick(0, 2)];
                self.net.node(op, &[c, v], &name)
            }
            2 if int => self.net.node(Unary::Clip { lo: 0.0, hi: 1.0 }, &[v], &name),
            3 if elem.bits() <= 8 => {
                let n = Lookup::table_of(&elem).unwrap().1;
                let to = self.elem_type();
                let table = self.net.weight(to, &[n]);
                self.net.node(Lookup, &[v, table], &name)
            }
            4 => {
                let to = self.int();
                self.net.node(Cast { to: ElemType::Int(to) }, &[v], &name)
            }
            5 if shape.iter().product::<usize>() * 2 < MOST => {
                self.net.node(Concat { axis }, &[v, twin], &name)
            }
            6 if rank == 3 => {
                let y = self.net.node(Transpose { perm: vec![1, 0, 2] }, &[v], &name);
                self.net.node(Reverse { axes: vec![axis] }, &[y], &format!("{name}_reversed"))
            }
            7 if elem.has_code(1) && shape.iter().product::<usize>() * 2 < MOST => {
                let mode = [PadMode::Constant(1.0), PadMode::Edge][self.pick(0, 1)];
                let (mut before, after) = (vec![0; rank], vec![0; rank]);
                before[axis] = 1;
                self.net.node(Pad { before, after, mode }, &[v], &name)
            }
            8 if shape[axis] > 1 => {
                let mut begin = vec![0; rank];
                let mut size = shape.clone();
                (begin[axis], size[axis]) = (1, shape[axis] - 1);
                self.net.node(Slice { begin, size, step: vec![1; rank] }, &[v], &name)
            }
            9 => {
                let condition = self.net.node(Compare::Less, &[v, twin], &format!("{name}_less"));
                self.net.node(Select, &[condition, twin, v], &name)
            }
            10 if int && rank > 1 => {
                let f = [ReduceFn::Sum, ReduceFn::Max, ReduceFn::Min][self.pick(0, 2)];
                self.net.node(Reduce { f, axes: vec![axis], keep: true }, &[v], &name)
            }
            _ => {
                let n = shape.iter().product::<usize>();
                let flat = Reshape { shape: [n].into(), layout: Layout::channels_last(0) };
                let flat = self.net.node(flat, &[v], &name);
                let units = [1, 5, 9, 24][self.pick(0, 3)];
                let bits = [3, 8, 16][self.pick(0, 2)];
                let y = self.net.product(Dense, flat, &[units, n], bits, true, &format!("{name}_dense"));
                self.narrow(y)
            }
        }
    }

    fn chain(&mut self, length: usize) {
        let shape = [self.pick(1, 7), self.pick(1, 6), [1, 2, 3, 8, 13][self.pick(0, 4)]];
        let x = if self.pick(0, 2) == 0 {
            let int = self.int();
            self.net.quantized(&shape, "hwc", int)
        } else {
            let elem = self.elem_type();
            self.net.input(elem, &shape, "hwc")
        };
        self.values = vec![x];
        for _ in 0..length {
            let near = self.values.len().saturating_sub(3);
            let last = self.values.len() - 1;
            let at = self.pick(near, last);
            let v = self.values[at];
            let image = self.net.graph.ty(v).layout.is_channels_last() && self.shape(v).len() == 3;
            let wide = self.elem(v).bits() > 16;
            let next = match self.pick(0, 3) {
                _ if wide => self.narrow(v),
                0 | 1 if image => self.image(v),
                _ => self.any(v),
            };
            self.values.push(next);
        }
        for v in self.values.clone().into_iter().rev().take(3) {
            let name = self.name("out");
            if self.count.is_multiple_of(2) {
                self.net.dequantized(v, &name)
            } else {
                self.net.graph.add_output(&name, v)
            }
        }
        let v = *self.values.last().unwrap();
        let name = self.name("best");
        self.net.output(ArgReduce { max: true, axis: 0, keep: true, last: false }, &[v], &name);
    }
}

/// A graph of `chains` chains.
fn random(seed: u64, chains: usize) -> Ints {
    let mut net = Ints::new(&format!("random_{seed}"));
    net.random = Random(seed);
    let mut maker = Maker { net: &mut net, values: Vec::new(), count: 0 };
    for _ in 0..chains {
        maker.chain(7);
    }
    net
}

fn seeds() -> u64 {
    if std::env::var_os("UNFLOAT_SLOW").is_some() { 30 } else { 1 }
}

#[test]
fn random_graphs() {
    for seed in 0..2 * seeds() {
        exact(&mut random(seed, 6), 3, &[], &["-O2", "-march=native"]);
    }
}

/// A compiler with flags of its own.
fn only(name: &str, flags: &[&str]) -> Option<Compiler> {
    let program = process::find(name)?;
    Some(Compiler { program, arguments: STRICT.iter().chain(flags).map(|f| f.to_string()).collect() })
}

/// No overflow, no shift beyond a width, no element outside an array.
#[test]
fn sanitizers_find_nothing() {
    let flags = ["-O1", "-march=native", "-fsanitize=undefined,address", "-fno-sanitize-recover=all"];
    let found: Vec<Compiler> = only("g++", &flags).into_iter().collect();
    assert!(!found.is_empty() || !compilers(&[]).is_empty());
    for seed in 100..100 + seeds() {
        exact_by(&mut random(seed, 5), 2, &["weights=text"], &found);
    }
}

/// Units that multiply four bytes at once, on a machine that need not have them: the instruction is spelled out.
#[test]
fn units_for_bytes() {
    let temp = TempDir::new().unwrap();
    let shim = temp.join("shim.hpp");
    let text = "#include <immintrin.h>
inline __m256i spelled(__m256i sum, __m256i x, __m256i w) noexcept {
  unsigned char a[32];
  signed char b[32];
  int s[8];
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(a), x);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(b), w);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(s), sum);
  for (int i = 0; i < 32; ++i) s[i / 4] += a[i] * b[i];
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(s));
}
#undef _mm256_dpbusd_epi32
#define __AVX512VNNI__ 1
#define __AVX512VL__ 1
#define _mm256_dpbusd_epi32 spelled
";
    fs::write(&shim, text).unwrap();
    let shim = shim.display().to_string();
    let found: Vec<Compiler> = only("g++", &["-O2", "-mavx2", "-include", &shim]).into_iter().collect();
    if !std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("avx2")) {
        eprintln!("note: this machine has no AVX2, its test is left out");
        return;
    }
    assert!(!found.is_empty() || !compilers(&[]).is_empty());
    for seed in 200..200 + seeds() {
        exact_by(&mut random(seed, 6), 2, &[], &found);
    }
}
