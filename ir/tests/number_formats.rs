//! Every rounding and overflow mode, over every code of a 16-bit format into 8 bits, against tables that the
//! libraries which define the modes have computed (`fixtures/formats`): `requantize` on the codes, and `quantize` on the
//! numbers that they stand for.

use std::io::Read;
use std::path::PathBuf;
use unfloat_ir::ops::{Quantize, QuantizeOrder, Requantize};
use unfloat_ir::{
    Data, ElemType, Format, IntType, Layout, Op, OpDef, Overflow, Rounding, Tensor, TensorType,
};

const CODES: usize = 1 << 16;
const SIGNED: [bool; 2] = [true, false];

/// The tables of a fixture, as its README.md describes them.
fn tables(name: &str, count: usize) -> Vec<Vec<u8>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/formats").join(name);
    let packed = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut steps = Vec::new();
    let limit = (count * CODES + 1) as u64;
    flate2::read::ZlibDecoder::new(&packed[..]).take(limit).read_to_end(&mut steps).unwrap();
    assert_eq!(steps.len(), count * CODES, "{name}");
    let table = |steps: &[u8]| {
        let mut last = 0u8;
        let mut byte = |step: &u8| {
            last = last.wrapping_add(*step);
            last
        };
        steps.iter().map(&mut byte).collect()
    };
    steps.chunks(CODES).map(table).collect()
}

/// The codes of a 16-bit source, from the least up, and the numbers with 8 fractional bits that they are.
struct Source {
    codes: Tensor,
    numbers: Tensor,
}

impl Source {
    fn new(signed: bool) -> Self {
        let int = IntType { signed, width: 16 };
        let ty = |elem| TensorType::new(elem, [CODES], Layout::anonymous(1));
        let numbers = (int.min()..=int.max()).map(|n| n as f32 / 256.0).collect();
        Self {
            codes: Tensor::codes(ty(ElemType::Int(int)), int.min()..=int.max()),
            numbers: Tensor { ty: ty(ElemType::F32), data: Data::F32(numbers) },
        }
    }
}

fn run(op: impl Into<Op>, inputs: &[&Tensor]) -> Data {
    let op = op.into();
    let types: Vec<&TensorType> = inputs.iter().map(|t| &t.ty).collect();
    let out = op.infer(&types).unwrap();
    let y = Tensor { data: op.eval(inputs, &out).unwrap(), ty: out };
    assert_eq!(y.fault(), None);
    y.data
}

fn integer(elem: ElemType, v: i64) -> Tensor {
    Tensor::codes(TensorType::new(elem, [], Layout::anonymous(0)), [v])
}

/// Codes with 8 fractional bits, made into `op.to` with 4.
fn requantized(source: &Source, op: Requantize) -> Data {
    let (one, zero) = (integer(ElemType::signed(8), 1), integer(ElemType::signed(8), 0));
    let shift = integer(ElemType::Int(IntType::unsigned(6)), 4);
    run(op, &[&source.codes, &one, &zero, &shift])
}

fn quantized(source: &Source, op: Quantize) -> Data {
    let [scale, zero] = [1.0 / 16.0, 0.0].map(|v| Tensor::f32([], Layout::anonymous(0), vec![v]));
    run(op, &[&source.numbers, &scale, &zero])
}

/// Compares every code; a table holds the low 8 bits of each.
fn compare(got: &Data, table: &[u8], int: IntType, what: &str) {
    assert_eq!(got.len(), table.len(), "{what}");
    let want = |i: usize| int.wrap(table[i].into());
    if let Some(i) = (0..table.len()).find(|&i| got.code(i) != Some(want(i))) {
        panic!("{what}: code {i} from the least: {:?}, expected {}", got.code(i), want(i));
    }
}

#[test]
fn every_mode_of_ap_fixed() {
    let tables = tables("ap_fixed.zz", 7 * 4 * 2 * 2);
    let sources = SIGNED.map(Source::new);
    let mut next = tables.iter();
    for q in ["AP_RND", "AP_RND_ZERO", "AP_RND_MIN_INF", "AP_RND_INF", "AP_RND_CONV", "AP_TRN", "AP_TRN_ZERO"]
    {
        for o in ["AP_WRAP", "AP_SAT", "AP_SAT_ZERO", "AP_SAT_SYM"] {
            for (signed, u) in [(true, ""), (false, "u")] {
                let name = format!("ap_{u}fixed<8,4,{q},{o}>");
                let format: Format = name.parse().unwrap();
                let (rounding, overflow) = format.modes().unwrap();
                let to = IntType { signed, width: 8 };
                assert_eq!((format.elem(), format.lsb()), (ElemType::Int(to), Some(1.0 / 16.0)));
                for (source, of) in sources.iter().zip(["ap_fixed<16,8>", "ap_ufixed<16,8>"]) {
                    let table = next.next().unwrap();
                    let what = format!("{of} to {name}");
                    let got = requantized(source, Requantize { to, rounding, overflow, narrow: false });
                    compare(&got, table, to, &format!("requantize, {what}"));
                    let order = QuantizeOrder::RoundThenSaturate;
                    let op = Quantize { to: ElemType::Int(to), narrow: false, rounding, overflow, order };
                    compare(&quantized(source, op), table, to, &format!("quantize, {what}"));
                }
            }
        }
    }
    assert_eq!(next.len(), 0);
}

#[test]
fn every_mode_of_qonnx() {
    let tables = tables("qonnx.zz", 7 * 2 * 2);
    let source = Source::new(true);
    let mut next = tables.iter();
    for mode in ["ROUND", "HALF_UP", "HALF_DOWN", "UP", "DOWN", "CEIL", "FLOOR"] {
        let rounding = Rounding::from_qonnx(mode).unwrap();
        for signed in SIGNED {
            for narrow in [false, true] {
                let table = next.next().unwrap();
                let (to, overflow) = (IntType { signed, width: 8 }, Overflow::Saturate);
                let what = format!("{mode}, {to}, narrow: {narrow}");
                let got = requantized(&source, Requantize { to, rounding, overflow, narrow });
                compare(&got, table, to, &format!("requantize, {what}"));
                for order in [QuantizeOrder::ClampThenRound, QuantizeOrder::RoundThenSaturate] {
                    let op = Quantize { to: ElemType::Int(to), narrow, rounding, overflow, order };
                    compare(&quantized(&source, op), table, to, &format!("quantize, {what}, {order:?}"));
                }
            }
        }
    }
    assert_eq!(next.len(), 0);
}

/// A wrong mode would be found: no two modes have the same tables.
#[test]
fn tables_tell_the_modes_apart() {
    let tables = tables("ap_fixed.zz", 7 * 4 * 2 * 2);
    let modes: Vec<&[Vec<u8>]> = tables.chunks(4).collect();
    assert_eq!(modes.len(), 28);
    for (i, a) in modes.iter().enumerate() {
        assert!(modes[..i].iter().all(|b| a != b), "mode {i}");
    }
}
