//! What the certificate says of step functions: one entry for each value, also where it is made of two lines.

use std::collections::BTreeSet;
use unfloat_ir::text::parse;
use unfloat_ir::{Diagnostics, OpDef};
use unfloat_passes::{RunOptions, parse_calls, run_pipeline};

/// Leaky slopes on sums of 16 bits: wider than thresholds and tables, so each side of zero has its own multiplication.
const BENT: &str = r#"uir 1
graph "two lines" folded
input %x : f32[3] c
const %in : f32[] = [0.01]
const %out : f32[] = [0.003]
const %zero : f32[] = [0.0]
const %w.codes : i8[2,3] oi = [101, -20, 113, -92, 71, -17]
const %w.scale : f32[2,1] oi = [0.05, 0.025]
%x.codes = quantize %x, %in, %zero {to=i16, rounding=half_even, order=clamp_then_round} : i16[3] c
%xq = dequantize %x.codes, %in, %zero : f32[3] c
%w = dequantize %w.codes, %w.scale, %zero : f32[2,3] oi
%y = dense %xq, %w : f32[2] c
%r = leaky_relu %y {alpha=0.3} : f32[2] c
%r.codes = quantize %r, %out, %zero {to=i16, rounding=half_even, order=clamp_then_round} : i16[2] c
%rq = dequantize %r.codes, %out, %zero : f32[2] c
output "r" %rq
"#;

#[test]
fn a_bent_function_of_two_lines_has_one_entry() {
    let mut graph = parse(BENT, "bent.uir", &mut |_| None).unwrap_or_else(|e| panic!("{e}"));
    let calls = parse_calls("integerize").unwrap();
    let report = run_pipeline(&mut graph, &calls, &RunOptions::default(), &mut Diagnostics::new()).unwrap();
    let folds = &report.passes[0].folds;
    let names: BTreeSet<&str> = folds.iter().map(|f| f.value.as_str()).collect();
    assert_eq!((names.len(), folds.len()), (1, 1), "{folds:?}");
    // Scales like 0.05 are no powers of two: the entry of both lines together may not say more than the weaker one.
    assert!(!folds[0].exact && folds[0].channels == 2, "{:?}", folds[0]);
    let lines = graph.live_nodes().filter(|(_, n)| n.op.name() == "requantize").count();
    assert_eq!(lines, 2, "one multiplication for each side of zero");
}
