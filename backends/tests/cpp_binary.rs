//! Emitted C++ of binary layers gives, bit for bit, what the reference evaluator gives: by every unit that counts bits.
//!
//! Each test is one graph with many outputs, since compiling takes longer than running.

mod support;

use std::fs;
use support::ints::{Ints, exact, exact_on};
use support::{compilers, emit};
use unfloat_backends::process::TempDir;
use unfloat_exec::{Plan, PlanOptions, reference};
use unfloat_ir::ops::{
    ArgReduce, Binary, Cast, Concat, Conv, Dense, MaxPool, Reshape, Reverse, Threshold, Transpose, Unary,
    Window,
};
use unfloat_ir::ranges::Ranges;
use unfloat_ir::{Data, ElemType, IntType, Layout, Rounding, Tensor, ValueId};
use unfloat_npy::Npz;

/// Flags for each unit that this machine may have, and for none.
const UNITS: [&[&str]; 4] = [
    &["-O3"],
    &["-O2", "-DUNFLOAT_BEST_UNIT=1"],
    &["-O2", "-DUNFLOAT_BEST_UNIT=0"],
    &["-O1", "-DUNFLOAT_PLAIN_ARRAYS"],
];

fn by_units(net: &mut Ints, samples: usize, units: &[usize]) {
    for &i in units {
        let form = ["weights=text", "weights=literals"][i % 2];
        exact(net, samples, &[form], UNITS[i]);
    }
}

/// Calls of a kernel in the header.
fn calls(net: &Ints, kernel: &str) -> usize {
    let path = format!("cpp/{}.hpp", net.graph.name);
    let header = String::from_utf8(emit(&net.graph, &[]).read(&path).unwrap()).unwrap();
    header.matches(&format!("  kernel::{kernel}<")).count()
}

fn signs(net: &mut Ints, shape: &[usize]) -> ValueId {
    net.weight(ElemType::Bipolar, shape)
}

/// Thresholds near the middle of the sums, for each channel or one for all; some that every sum reaches, or none.
fn sign(net: &mut Ints, sums: ValueId, each: bool, name: &str) -> ValueId {
    let shape = net.graph.ty(sums).shape.clone();
    let (lo, hi) = Ranges::of(&net.graph).of_value(sums).unwrap();
    let rows = if each { shape[shape.rank() - 1] } else { 1 };
    let limits = (0..rows)
        .map(|c| match c % 11 {
            7 => i64::MIN,
            8 => i64::MAX,
            _ => net.code(lo as i64 / 6 - 1, hi as i64 / 6 + 1),
        })
        .collect();
    let limits = net.constant(ElemType::signed(64), &[rows, 1], limits);
    let axis = shape.rank() - 1;
    net.node(Threshold { axis, to: ElemType::Bipolar, scale: 2, bias: -1 }, &[sums, limits], name)
}

fn conv(net: &mut Ints, x: ValueId, out: usize, window: Window, bias: bool, name: &str) -> ValueId {
    let channels = *net.graph.ty(x).shape.last().unwrap();
    let shape = [&[out][..], &window.kernel, &[channels]].concat();
    let mut operands = vec![x, signs(net, &shape)];
    if bias {
        operands.push(net.int(IntType::signed(6), &[out]));
    }
    net.node(Conv { window, groups: 1 }, &operands, name)
}

/// A packed map: the signs of a first layer of bytes.
fn map(net: &mut Ints, cells: [usize; 2], channels: usize, name: &str) -> ValueId {
    let x = net.input(ElemType::signed(8), &[cells[0], cells[1], 2], "hwc");
    let s = conv(net, x, channels, Window::new([2, 2]).pads([1, 0], [0, 1]), false, &format!("{name}_first"));
    sign(net, s, true, &format!("{name}_bits"))
}

fn flat(net: &mut Ints, x: ValueId, name: &str) -> ValueId {
    let n = net.graph.ty(x).shape.num_elements();
    net.node(Reshape { shape: [n].into(), layout: Layout::channels_last(0) }, &[x], name)
}

#[test]
fn windows_and_odd_channels() {
    let mut net = Ints::new("windows");
    let same = Window::new([3, 3]).pads([1, 1], [1, 1]);
    let windows = [
        same.clone(),
        Window::new([3, 3]).strides([2, 1]).pads([0, 2], [1, 0]),
        Window::new([2, 3]).dilations([3, 2]).pads([3, 1], [2, 4]),
        Window::new([1, 1]),
        Window::new([9, 7]).pads([5, 3], [4, 3]),
        Window::new([1, 1]).strides([2, 3]),
        Window::new([4, 1]).strides([1, 2]).pads([3, 0], [3, 0]),
        Window::new([2, 2]).pads([5, 4], [4, 5]),
    ];
    for (i, &channels) in [1, 3, 63, 64, 65, 127, 130, 7].iter().enumerate() {
        let name = format!("m{channels}");
        let x = map(&mut net, [5, 6], channels, &name);
        let window = windows[i].clone();
        let s = conv(&mut net, x, [70, 64, 9, 130][i % 4], window, i % 2 == 0, &format!("{name}_second"));
        let b = sign(&mut net, s, i % 3 > 0, &format!("{name}_second_bits"));
        let s = conv(&mut net, b, [5, 8, 19][i % 3], same.clone(), i % 2 == 1, &format!("{name}_third"));
        net.graph.add_output(&format!("{name}_sums"), s);
    }
    assert_eq!((calls(&net, "xnor_bits"), calls(&net, "xnor_sums")), (8, 8));
    assert_eq!((calls(&net, "bytes_to_bits"), calls(&net, "pack")), (8, 0));
    by_units(&mut net, 3, &[0, 1, 2, 3]);
}

#[test]
fn poolings_flattening_and_rows() {
    let mut net = Ints::new("pools");
    let pools = [
        Window::new([2, 2]).strides([2, 2]),
        Window::new([3, 3]).strides([2, 2]).pads([1, 0], [1, 1]),
        Window::new([2, 3]).dilations([2, 1]).pads([1, 1], [0, 1]),
    ];
    for (i, &channels) in [64, 65, 20].iter().enumerate() {
        let x = map(&mut net, [6, 7], channels, &format!("p{i}"));
        let p = net.node(MaxPool { window: pools[i].clone() }, &[x], &format!("pool_{i}"));
        let f = flat(&mut net, p, &format!("flat_{i}"));
        let n = net.graph.ty(f).shape[0];
        let w = signs(&mut net, &[40 + i, n]);
        let d = net.node(Dense, &[f, w], &format!("hidden_{i}"));
        let b = sign(&mut net, d, true, &format!("hidden_bits_{i}"));
        let (w, bias) = (signs(&mut net, &[10, 40 + i]), net.int(IntType::signed(9), &[10]));
        let y = net.node(Dense, &[b, w, bias], &format!("logits_{i}"));
        net.graph.add_output(&format!("y_{i}"), y);
        net.output(ArgReduce { max: true, axis: 0, keep: true, last: false }, &[y], &format!("best_{i}"));
    }
    // Rows, each on its own, and a line.
    let x = net.input(ElemType::signed(8), &[5, 9], "wc");
    let w = signs(&mut net, &[70, 9]);
    let d = net.node(Dense, &[x, w], "rows");
    let b = sign(&mut net, d, true, "rows_bits");
    let w = signs(&mut net, &[13, 70]);
    net.output(Dense, &[b, w], "rows_of_sums");
    let window = Window::new([4]).strides([2]).pads([3], [0]);
    let line = conv(&mut net, b, 12, window, true, "line");
    net.graph.add_output("line_sums", line);
    assert_eq!((calls(&net, "or_pool"), calls(&net, "bytes_to_bits"), calls(&net, "pack")), (3, 4, 0));
    assert_eq!((calls(&net, "xnor_bits"), calls(&net, "xnor_sums")), (3, 5));
    by_units(&mut net, 3, &[0, 2]);
}

/// Three axes, and functions other than signs behind the sums.
#[test]
fn other_functions_of_sums() {
    let mut net = Ints::new("functions");
    let x = net.input(ElemType::Bipolar, &[3, 4, 5, 17], "dhwc");
    let window = Window::new([2, 3, 2]).pads([1, 1, 0], [0, 1, 1]);
    let s = conv(&mut net, x, 21, window, true, "three_axes");
    let q = net.requantize(s, IntType::signed(8), Rounding::HalfEven, "requantized");
    net.output(Unary::Relu, &[q], "relu");
    let map = map(&mut net, [5, 4], 66, "m");
    let same = Window::new([3, 3]).pads([1, 1], [1, 1]);
    let s = conv(&mut net, map, 70, same.clone(), false, "four_levels");
    let limits = net.constant(ElemType::signed(8), &[1, 3], vec![-40, 3, 50]);
    let to = ElemType::Int(IntType::unsigned(2));
    net.output(Threshold { axis: 2, to, scale: 1, bias: 0 }, &[s, limits], "levels");
    // Signs of what is behind a pooling of sums, and of a clipped sum: packed, but not in the popcount.
    let s = conv(&mut net, map, 33, same.clone(), false, "pooled");
    let p = net.node(MaxPool { window: Window::new([2, 2]) }, &[s], "pool_of_sums");
    let b = sign(&mut net, p, true, "signs_behind_a_pool");
    let s = conv(&mut net, b, 12, same.clone(), false, "behind");
    let c = net.node(Unary::Clip { lo: -30.0, hi: 60.0 }, &[s], "clipped");
    let b = sign(&mut net, c, true, "signs_of_clipped");
    let s = conv(&mut net, b, 6, same, false, "last");
    net.graph.add_output("sums", s);
    assert_eq!((calls(&net, "xnor_bits"), calls(&net, "xnor_sums"), calls(&net, "pack")), (0, 5, 3));
    by_units(&mut net, 3, &[0, 3]);
}

/// Values that something else reads as well stay in bytes, and what reads bits packs its own copy.
#[test]
fn readers_of_both_kinds() {
    let mut net = Ints::new("both");
    let same = Window::new([3, 3]).pads([1, 1], [1, 1]);
    let x = map(&mut net, [4, 5], 40, "m");
    let s = conv(&mut net, x, 40, same.clone(), false, "residual");
    let wide = net.node(Cast { to: ElemType::signed(16) }, &[x], "wide");
    let sum16 = net.node(Cast { to: ElemType::signed(16) }, &[s], "sum16");
    let sum = net.node(Binary::Add, &[sum16, wide], "sum");
    let b = sign(&mut net, sum, true, "sum_bits");
    net.graph.add_output("shown", b);
    let t = net.node(Transpose { perm: vec![1, 0, 2] }, &[b], "turned");
    let both = net.node(Concat { axis: 2 }, &[t, t], "both_maps");
    let s = conv(&mut net, both, 9, same.clone(), false, "behind_concat");
    let b = sign(&mut net, s, true, "behind_concat_bits");
    let p = net.node(MaxPool { window: Window::new([2, 2]) }, &[b], "pool");
    net.graph.add_output("pooled", p);
    // A flat map whose reader wants codes, and groups, which have no kernel for bits.
    let y = map(&mut net, [3, 3], 12, "g");
    let w = signs(&mut net, &[6, 3, 3, 6]);
    let s = net.node(Conv { window: same, groups: 2 }, &[y, w], "groups");
    let b = sign(&mut net, s, true, "groups_bits");
    let f = flat(&mut net, b, "flat");
    let w = signs(&mut net, &[7, 54]);
    let turned = net.node(Reverse { axes: vec![0] }, &[f], "backwards");
    net.output(Dense, &[turned, w], "dense");
    assert_eq!(calls(&net, "xnor_bits") + calls(&net, "xnor_sums"), 3);
    by_units(&mut net, 2, &[0, 1]);
}

/// First layers: bytes with sign and without, at their ends, and operands that are no bytes.
#[test]
fn first_layers() {
    let mut net = Ints::new("first");
    let same = Window::new([3, 3]).pads([1, 1], [1, 1]);
    let inputs = [
        (ElemType::signed(8), 3, 128),
        (ElemType::Int(IntType::unsigned(8)), 3, 20),
        (ElemType::signed(8), 21, 70),
        (ElemType::Int(IntType::unsigned(8)), 29, 9),
        (ElemType::signed(12), 3, 40),
        (ElemType::Ternary, 5, 36),
    ];
    for (i, (elem, channels, outputs)) in inputs.into_iter().enumerate() {
        let x = net.input(elem, &[5, 4 + i, channels], "hwc");
        let s = conv(&mut net, x, outputs, same.clone(), i % 2 == 0, &format!("first_{i}"));
        let b = sign(&mut net, s, i % 3 > 0, &format!("first_bits_{i}"));
        let s = conv(&mut net, b, 3, Window::new([1, 1]), false, &format!("last_{i}"));
        net.graph.add_output(&format!("y_{i}"), s);
    }
    // 29 inputs with 3 by 3 taps are too many for lanes of 16 bits.
    assert_eq!((calls(&net, "bytes_to_bits"), calls(&net, "pack")), (4, 2));
    let mut samples = net.samples(3);
    for (code, sample) in [i64::MAX, i64::MIN].into_iter().zip(&mut samples) {
        for t in sample {
            let (lo, hi) = t.ty.elem.code_range().unwrap();
            *t = Tensor::codes(t.ty.clone(), vec![code.clamp(lo, hi); t.len()]);
        }
    }
    for (i, form) in [(0, "weights=text"), (2, "weights=literals")] {
        exact_on(&net.graph, &samples, &[form], &compilers(UNITS[i]));
    }
}

/// A VGG with the weights and normalizations of a checkpoint of PyTorch: 0 counts as +1, channels that fall are turned
/// round, and poolings stand behind the signs.
fn vgg() -> (Ints, Vec<Vec<Tensor>>) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/pytorch/arch/");
    let [weights, io] = ["vgg.npz", "vgg.io.npz"].map(|file| fs::read(format!("{folder}{file}")).unwrap());
    let mut npz = Npz::open(&weights).unwrap();
    let mut get = |key: String| npz.get(&key).unwrap().unwrap();
    let mut net = Ints::new("vgg");
    let mut x = net.input(ElemType::signed(10), &[32, 32, 3], "hwc");
    let mut unit = 256.0;
    for (conv, norm, pooled) in
        [(0, 1, false), (3, 5, true), (7, 8, false), (10, 12, true), (14, 15, false), (17, 19, true)]
    {
        let floats = |t: &Tensor| t.as_f32().unwrap().iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
        let w = get(format!("features.{conv}.weight"));
        let b = floats(&get(format!("features.{conv}.bias")));
        let [gamma, beta, mean, var] = ["weight", "bias", "running_mean", "running_var"]
            .map(|key| floats(&get(format!("features.{norm}.{key}"))));
        let (outputs, inputs) = (w.shape()[0], w.shape()[1]);
        let turn = |o: usize| if gamma[o] < 0.0 { -1.0 } else { 1.0 };
        let codes = floats(&w.transposed(&[0, 2, 3, 1])).into_iter().enumerate();
        let codes = codes.map(|(i, v)| if v * turn(i / (9 * inputs)) < 0.0 { -1 } else { 1 }).collect();
        let limits = (0..outputs)
            .map(|o| match gamma[o] {
                0.0 if beta[o] >= 0.0 => i64::MIN,
                0.0 => i64::MAX,
                g => {
                    let sigma = (var[o] + 1e-5).sqrt();
                    (turn(o) * unit * (mean[o] - b[o] - beta[o] * sigma / g)).ceil() as i64
                }
            })
            .collect();
        let w = net.constant(ElemType::Bipolar, &[outputs, 3, 3, inputs], codes);
        let limits = net.constant(ElemType::signed(64), &[outputs, 1], limits);
        let window = Window::new([3, 3]).pads([1, 1], [1, 1]);
        let name = format!("features_{conv}");
        let s = net.node(Conv { window, groups: 1 }, &[x, w], &name);
        let sign = Threshold { axis: 2, to: ElemType::Bipolar, scale: 2, bias: -1 };
        x = net.node(sign, &[s, limits], &format!("{name}_sign"));
        if pooled {
            let window = Window::new([2, 2]).strides([2, 2]);
            x = net.node(MaxPool { window }, &[x], &format!("{name}_pool"));
        }
        unit = 1.0;
    }
    let f = flat(&mut net, x, "flat");
    let codes = get("classifier.0.weight".to_string());
    let codes = codes.as_f32().unwrap().iter().map(|&v| if v < 0.0 { -1 } else { 1 }).collect();
    let w = net.constant(ElemType::Bipolar, &[10, 768], codes);
    let d = net.node(Dense, &[f, w], "classifier");
    net.graph.add_output("logits", d);
    let ty = net.graph.ty(net.graph.inputs()[0]).clone();
    let all = Npz::open(&io).unwrap().get("input_0").unwrap().unwrap().transposed(&[0, 2, 3, 1]);
    let images = all.as_f32().unwrap().chunks(3072).map(|image| {
        let codes = image.iter().map(|v| (v * 256.0) as i64).collect::<Vec<_>>();
        vec![Tensor::codes(ty.clone(), codes)]
    });
    let images = images.collect();
    (net, images)
}

/// Every layer behind the first counts bits, and the executor gives what C++ gives, a batch at once.
#[test]
fn a_network_of_pytorch() {
    let (net, images) = vgg();
    assert_eq!((calls(&net, "xnor_bits"), calls(&net, "xnor_sums"), calls(&net, "or_pool")), (5, 1, 3));
    exact_on(&net.graph, &images[..6], &["weights=text"], &compilers(UNITS[0]));
    let plan = Plan::new(&net.graph, &PlanOptions::default()).unwrap();
    let codes: Vec<i64> = images.iter().flat_map(|i| (0..3072).filter_map(|n| i[0].data.code(n))).collect();
    let batch = Data::I16(codes.iter().map(|&c| c as i16).collect());
    let got = plan.run_data(&[&batch], images.len(), 2).unwrap();
    for (i, image) in images.iter().enumerate() {
        let want = reference::evaluate(&net.graph, image).unwrap();
        for c in 0..10 {
            assert_eq!(got[0].code(10 * i + c), want[0].data.code(c), "image {i}, class {c}");
        }
    }
}

/// A program compiled with `shim` in front of it, whose compilers find other headers of the test beside it.
fn with_shim(net: &mut Ints, shim: &str, header: &str, flags: &[&str]) {
    let temp = TempDir::new().unwrap();
    let path = temp.join("shim.hpp");
    fs::write(&path, shim).unwrap();
    fs::write(temp.join("arm_neon.h"), header).unwrap();
    let (dir, path) = (temp.join("").display().to_string(), path.display().to_string());
    exact(net, 3, &[], &[flags, &["-O2", "-isystem", &dir, "-include", &path]].concat());
}

/// Layers of both kinds, and channels that fill no word.
fn some_layers(name: &str) -> Ints {
    let mut net = Ints::new(name);
    let same = Window::new([3, 3]).pads([1, 1], [1, 1]);
    for (i, channels) in [64, 37].into_iter().enumerate() {
        let x = map(&mut net, [5, 7 - i], channels, &format!("m{i}"));
        let s = conv(&mut net, x, 100 + i, same.clone(), true, &format!("second_{i}"));
        let b = sign(&mut net, s, true, &format!("second_bits_{i}"));
        let s = conv(&mut net, b, 11, same.clone(), false, &format!("third_{i}"));
        net.graph.add_output(&format!("sums_{i}"), s);
    }
    net
}

/// The unit for AVX-512 on a machine that need not have it: its instructions are spelled out.
#[test]
fn the_unit_for_avx512() {
    if !fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("avx2")) {
        eprintln!("note: this machine has no AVX2, its test is left out");
        return;
    }
    let shim = "#include <bits/stdc++.h>
#include <immintrin.h>
namespace spelled {
struct words {
  std::uint64_t lane[8];
};
template <class F> words each(F f) {
  words r;
  for (std::size_t i = 0; i < 8; ++i) r.lane[i] = f(i);
  return r;
}
inline words zero() { return each([](std::size_t) { return std::uint64_t{0}; }); }
inline words set1(long long x) { return each([=](std::size_t) { return static_cast<std::uint64_t>(x); }); }
inline words load(const void* p) {
  words r;
  std::memcpy(&r, p, sizeof r);
  return r;
}
inline void store(void* p, words a) { std::memcpy(p, &a, sizeof a); }
inline words either(words a, words b) { return each([=](std::size_t i) { return a.lane[i] ^ b.lane[i]; }); }
inline words sum(words a, words b) { return each([=](std::size_t i) { return a.lane[i] + b.lane[i]; }); }
inline words ones(words a) {
  return each([=](std::size_t i) { return static_cast<std::uint64_t>(__builtin_popcountll(a.lane[i])); });
}
inline words widened(__m256i a) {
  std::int32_t four[8];
  std::memcpy(four, &a, sizeof four);
  return each([&](std::size_t i) { return static_cast<std::uint64_t>(std::int64_t{four[i]}); });
}
inline unsigned at_most(words a, words b) {
  unsigned mask = 0;
  for (std::size_t i = 0; i < 8; ++i)
    mask |= static_cast<std::int64_t>(a.lane[i]) <= static_cast<std::int64_t>(b.lane[i]) ? 1u << i : 0u;
  return mask;
}
}
#define __m512i spelled::words
#define _mm512_setzero_si512 spelled::zero
#define _mm512_set1_epi64 spelled::set1
#define _mm512_loadu_si512 spelled::load
#define _mm512_storeu_si512 spelled::store
#define _mm512_xor_si512 spelled::either
#define _mm512_add_epi64 spelled::sum
#define _mm512_popcnt_epi64 spelled::ones
#define _mm512_maskz_cvtepi32_epi64(mask, x) spelled::widened(x)
#undef _mm512_cmple_epi64_mask
#define _mm512_cmple_epi64_mask spelled::at_most
#define __builtin_cpu_supports(feature) true
#define target(features) unused
";
    with_shim(&mut some_layers("avx512"), shim, "", &["-mavx2"]);
}

/// The unit for NEON, likewise.
#[test]
fn the_unit_for_neon() {
    let shim = "#include <bits/stdc++.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif
#undef __x86_64__
#undef __aarch64__
#define __aarch64__ 1
";
    let header = "#pragma once
template <class T, std::size_t N> struct lanes {
  T lane[N];
};
using uint8x16_t = lanes<std::uint8_t, 16>;
using uint16x8_t = lanes<std::uint16_t, 8>;
using uint32x4_t = lanes<std::uint32_t, 4>;
using uint64x2_t = lanes<std::uint64_t, 2>;
inline uint64x2_t vdupq_n_u64(std::uint64_t x) { return {{x, x}}; }
inline uint8x16_t vdupq_n_u8(std::uint8_t x) {
  uint8x16_t r;
  for (auto& lane : r.lane) lane = x;
  return r;
}
inline uint64x2_t vld1q_u64(const std::uint64_t* p) { return {{p[0], p[1]}}; }
inline void vst1q_u64(std::uint64_t* p, uint64x2_t a) { p[0] = a.lane[0], p[1] = a.lane[1]; }
inline uint64x2_t veorq_u64(uint64x2_t a, uint64x2_t b) { return {{a.lane[0] ^ b.lane[0], a.lane[1] ^ b.lane[1]}}; }
inline uint8x16_t vreinterpretq_u8_u64(uint64x2_t a) {
  uint8x16_t r;
  std::memcpy(&r, &a, sizeof r);
  return r;
}
inline uint8x16_t vcntq_u8(uint8x16_t a) {
  for (auto& lane : a.lane) lane = static_cast<std::uint8_t>(__builtin_popcount(lane));
  return a;
}
inline uint8x16_t vaddq_u8(uint8x16_t a, uint8x16_t b) {
  for (std::size_t i = 0; i < 16; ++i) a.lane[i] = static_cast<std::uint8_t>(a.lane[i] + b.lane[i]);
  return a;
}
template <class R, class T, std::size_t N> lanes<R, N / 2> pairs(lanes<T, N> a) {
  lanes<R, N / 2> r;
  for (std::size_t i = 0; i < N / 2; ++i) r.lane[i] = static_cast<R>(R{a.lane[2 * i]} + R{a.lane[2 * i + 1]});
  return r;
}
inline uint16x8_t vpaddlq_u8(uint8x16_t a) { return pairs<std::uint16_t>(a); }
inline uint32x4_t vpaddlq_u16(uint16x8_t a) { return pairs<std::uint32_t>(a); }
inline uint64x2_t vpadalq_u32(uint64x2_t a, uint32x4_t b) {
  const uint64x2_t c = pairs<std::uint64_t>(b);
  return {{a.lane[0] + c.lane[0], a.lane[1] + c.lane[1]}};
}
";
    with_shim(&mut some_layers("neon"), shim, header, &[]);
}
