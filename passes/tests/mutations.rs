//! Passes that are wrong on purpose: the pipeline stops at each and names pass, value and layer. And networks that only
//! look as if a pass were wrong: those go through.

use unfloat_ir::ops::*;
use unfloat_ir::text::parse;
use unfloat_ir::{Diagnostics, Graph, Node, Op, Patch, Severity, Stage, Tensor, ValueId};
use unfloat_passes::analysis::affine::{Affine, Linear, affine_of};
use unfloat_passes::validate::Reference;
use unfloat_passes::{
    Change, Claim, Evidence, Pass, PassCall, PassCx, PassInfo, Report, RunOptions, parse_calls, run_pipeline,
};

type Rewrite = fn(&Graph, &mut Patch, &Node) -> Option<ValueId>;

/// A pass that replaces what its function says.
struct Wrong {
    info: PassInfo,
    rewrite: Rewrite,
}

impl Pass for Wrong {
    // Test passes are leaked once each, as the registry's are static.
    fn info(&self) -> &'static PassInfo {
        Box::leak(Box::new(self.info.clone()))
    }
    fn run(&self, graph: &mut Graph, _: &mut PassCx) -> Result<Change, Diagnostics> {
        let mut patch = Patch::new(graph);
        for (_, node) in graph.live_nodes() {
            if let Some(new) = (self.rewrite)(graph, &mut patch, node) {
                patch.replace_retyped(node.output, new);
            }
        }
        let edit = patch.finish();
        let count = edit.len();
        graph.apply(edit);
        Ok(Change::of(count))
    }
}

const WITHIN: Claim = Claim::Within { abs: 1e-7, rel: 1e-5 };

fn wrong(claim: Claim, rewrite: Rewrite) -> PassCall {
    let (from, to) = (Stage::Imported, Stage::Imported);
    let info = PassInfo { name: "wrong", summary: "", details: "", options: &[], from, to, claim };
    PassCall::new(Box::leak(Box::new(Wrong { info, rewrite })))
}

fn graph(text: &str) -> Graph {
    parse(text, "test.uir", &mut |_| None).unwrap_or_else(|e| panic!("{e}"))
}

fn run_with(
    graph: &mut Graph,
    call: &PassCall,
    options: &RunOptions,
) -> (Result<Report, String>, Diagnostics) {
    let mut warnings = Diagnostics::new();
    let report = run_pipeline(graph, std::slice::from_ref(call), options, &mut warnings);
    (report.map_err(|e| e.to_string()), warnings)
}

/// The error with which the pipeline stops; the graph must be what it was.
fn caught(text: &str, call: &PassCall) -> String {
    let before = graph(text);
    for evaluator in [RunOptions::default(), RunOptions { evaluator: &Reference, ..RunOptions::default() }] {
        let mut after = before.clone();
        let error = run_with(&mut after, call, &evaluator).0.expect_err("a broken claim");
        assert_eq!(after, before, "the graph is restored");
        assert!(error.contains("pass `wrong`"), "{error}");
    }
    let mut after = before.clone();
    let unchecked = RunOptions { validate: false, ..RunOptions::default() };
    let report = run_with(&mut after, call, &unchecked).0.expect("nothing is checked");
    assert!(!report.validated && report.passes[0].evidence == Evidence::Skipped && after != before);
    run_with(&mut before.clone(), call, &RunOptions::default()).0.expect_err("a broken claim")
}

fn layer(
    graph: &Graph,
    patch: &mut Patch,
    linear: &Linear,
    x: ValueId,
    new: (Vec<f32>, Vec<f32>),
) -> ValueId {
    let node = linear.node;
    let ty = graph.ty(node.inputs[1]);
    let w = patch.constant("w", Tensor::f32(ty.shape.clone(), ty.layout, new.0));
    let b = patch.constant("b", Tensor::f32([new.1.len()], unfloat_ir::Layout::channels_last(0), new.1));
    patch.node(node.op.clone(), &[x, w, b], "new", &node.origin).unwrap()
}

const NORM_THEN_CONV: &str = r#"uir 1
graph "g" canonical
input %x : f32[4,1] wc
const %w : f32[1,3,1] owi = [1.0, 2.0, 1.0]
const %gamma : f32[1] c = [0.5]
const %beta : f32[1] c = [0.125]
const %mean : f32[1] c = [0.25]
const %variance : f32[1] c = [2.0]
%bn = batch_norm %x, %gamma, %beta, %mean, %variance {axis=1, eps=0.0} : f32[4,1] wc @keras("m.h5", "", "bn_1 (BatchNormalization)")
%conv = conv %bn, %w {kernel=[3], strides=[1], pads_begin=[1], pads_end=[1]} : f32[4,1] wc @keras("m.h5", "", "conv_1 (Conv1D)")
%flat = reshape %conv {shape=[4], layout=c} : f32[4] c
%s = softmax %flat {axes=[0]} : f32[4] c @keras("m.h5", "", "probabilities (Softmax)")
output "s" %s
"#;

#[test]
fn folding_through_zero_padding_is_caught() {
    let error = caught(
        NORM_THEN_CONV,
        &wrong(WITHIN, |g, patch, node| {
            let linear = Linear::of(g, node)?;
            let (x, affine) = affine_of(g, g.producer(node.inputs[0])?.1)?;
            let new = linear.behind(&affine)?;
            Some(layer(g, patch, &linear, x, new))
        }),
    );
    assert!(
        error.contains("m.h5: layer conv_1 (Conv1D): pass `wrong` broke its claim: value `conv`"),
        "{error}"
    );
    assert!(error.contains("at [0, 0]"), "{error}");
    assert!(error.contains("1e-5 of the greatest element"), "{error}");
}

const CONV_THEN_NORM: &str = r#"uir 1
graph "g" canonical
input %x : f32[3] c
const %w : f32[2,3] oi = [1.0, 2.0, 1.0, -1.0, 0.5, 0.25]
const %v : f32[1,2] oi = [1.0, 1.0]
const %gamma : f32[2] c = [0.5, -0.25]
const %beta : f32[2] c = [0.1, 0.2]
const %mean : f32[2] c = [0.2, 0.1]
const %variance : f32[2] c = [2.0, 1.0]
%fc = dense %x, %w : f32[2] c @keras("m.h5", "", "fc (Dense)")
%bn = batch_norm %fc, %gamma, %beta, %mean, %variance {axis=0, eps=0.0} : f32[2] c @keras("m.h5", "", "bn_2 (BatchNormalization)")
%r = clip %bn {lo=0.0, hi=1e-6} : f32[2] c
%y = dense %r, %v : f32[1] c
output "y" %y
"#;

#[test]
fn dropping_the_sign_of_gamma_is_caught() {
    let error = caught(
        CONV_THEN_NORM,
        &wrong(WITHIN, |g, patch, node| {
            let (x, affine) = affine_of(g, node)?;
            let linear = Linear::of(g, g.producer(x)?.1)?;
            let affine = Affine { a: affine.a.iter().map(|a| a.abs()).collect(), b: affine.b };
            let new = linear.followed_by(&affine)?;
            Some(layer(g, patch, &linear, linear.node.inputs[0], new))
        }),
    );
    // The clip hides nearly all of it from the output; the value itself is compared.
    assert!(
        error.contains("layer bn_2 (BatchNormalization): pass `wrong` broke its claim: value `bn`"),
        "{error}"
    );
    assert!(error.contains("at [1]"), "only the channel of the negative gamma changes: {error}");
}

#[test]
fn forgetting_epsilon_is_caught() {
    let text = NORM_THEN_CONV.replace("variance : f32[1] c = [2.0]", "variance : f32[1] c = [0.01]");
    let text = text.replace("eps=0.0", "eps=0.00001");
    let error = caught(
        &text,
        &wrong(WITHIN, |_, patch, node| {
            let Op::BatchNorm(op) = &node.op else { return None };
            patch.node(BatchNorm { eps: 0.0, ..op.clone() }, &node.inputs, "bn", &node.origin).ok()
        }),
    );
    assert!(error.contains("bn_1"), "{error}");
}

const FLATTEN: &str = r#"uir 1
graph "g" imported
input %x : f32[2,3] cw
const %w : f32[1,6] oi = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
%pool = max_pool %x {kernel=[1], strides=[1]} : f32[2,3] cw @keras("m.h5", "", "pool (MaxPooling1D)")
%flat = reshape %pool {shape=[6], layout=c} : f32[6] c @keras("m.h5", "", "flatten (Flatten)")
%y = dense %flat, %w : f32[1] c @keras("m.h5", "", "fc (Dense)")
output "y" %y
"#;

/// The tutorial's fault: a flatten whose order the dense layer behind it does not know of.
#[test]
fn a_forgotten_order_of_axes_is_caught() {
    let error = caught(
        FLATTEN,
        &wrong(WITHIN, |g, patch, node| {
            let Op::Reshape(op) = &node.op else { return None };
            let perm = vec![1, 0];
            let moved = patch.node(Transpose { perm }, &node.inputs, "pool.wc", &node.origin).ok()?;
            assert_eq!(g.ty(node.output).shape.dims(), [6]);
            patch.node(op.clone(), &[moved], "flat", &node.origin).ok()
        }),
    );
    assert!(error.contains("value `flat`") && error.contains("flatten (Flatten)"), "{error}");
}

#[test]
fn a_bit_is_too_much_for_an_exact_pass() {
    let nudge: Rewrite = |g, patch, node| {
        let Op::Dense(op) = &node.op else { return None };
        let w = g.const_of(node.inputs[1])?;
        let mut v = w.as_f32()?.to_vec();
        v[5] = f32::from_bits(v[5].to_bits() + 1);
        let w = patch.constant("w", Tensor::f32(w.shape().clone(), w.ty.layout, v));
        patch.node(op.clone(), &[node.inputs[0], w], "y", &node.origin).ok()
    };
    let error = caught(FLATTEN, &wrong(Claim::Exact, nudge));
    assert!(error.contains("value `y`") && error.contains("where the same bits are claimed"), "{error}");
    let mut g = graph(FLATTEN);
    let report = run_with(&mut g, &wrong(WITHIN, nudge), &RunOptions::default()).0.unwrap();
    assert!(matches!(report.passes[0].evidence, Evidence::Sampled { max_rel, .. } if max_rel < 1e-6));
}

#[test]
fn an_exact_pass_may_rename_and_swap() {
    // The operands of the product change places, which pairs by name and position alone would take for a change.
    let text = "uir 1\ngraph \"g\" imported\ninput %x : f32[2] c\n%a = exp %x : f32[2] c\n%b = tanh %x : f32[2] c\n\
                %m = mul %a, %b : f32[2] c\n%y = neg %m : f32[2] c\noutput \"y\" %y\n";
    let mut g = graph(text);
    let swap = wrong(Claim::Exact, |_, patch, node| {
        let Op::Binary(op) = &node.op else { return None };
        patch.node(*op, &[node.inputs[1], node.inputs[0]], "m", &node.origin).ok()
    });
    let report = run_with(&mut g, &swap, &RunOptions::default()).0.unwrap();
    assert!(matches!(report.passes[0].evidence, Evidence::Sampled { max_abs: 0.0, points: 1.., .. }));
}

#[test]
fn a_broken_graph_is_caught() {
    let mut g = graph(FLATTEN);
    let call = wrong(Claim::Exact, |_, patch, node| {
        let Op::Reshape(_) = &node.op else { return None };
        let op = Reshape { shape: [3, 2].into(), layout: unfloat_ir::Layout::channels_last(1) };
        patch.node(op, &node.inputs, "flat", &node.origin).ok()
    });
    let error = run_with(&mut g, &call, &RunOptions::default()).0.unwrap_err();
    assert!(error.contains("fc (Dense): behind pass `wrong`: `y` (dense): expected a weight"), "{error}");
}

#[test]
fn a_changed_interface_is_caught() {
    let mut g =
        graph("uir 1\ngraph \"g\" imported\ninput %x : f32[2] c\n%y = neg %x : f32[2] c\noutput \"y\" %y\n");
    let call = wrong(Claim::Lossy { metric: "none".into() }, |_, patch, node| {
        let op = Reshape { shape: [2, 1].into(), layout: unfloat_ir::Layout::channels_last(1) };
        patch.node(op, &node.inputs, "y", &node.origin).ok()
    });
    let error = run_with(&mut g, &call, &RunOptions::default()).0.unwrap_err();
    assert!(error.contains("pass `wrong` changed the graph's inputs or outputs"), "{error}");
}

/// The mean of the batch normalisation is a million standard deviations away: rounding in front of it moves what is
/// behind it by far more than the claim. Nobody is to blame.
#[test]
fn a_network_that_amplifies_rounding_is_not_held_against_a_pass() {
    let text =
        CONV_THEN_NORM.replace("mean : f32[2] c = [0.2, 0.1]", "mean : f32[2] c = [70000.0, 0.1]").replace(
            "%fc = dense %x, %w :",
            "const %far : f32[2] c = [70000.0, 0.0]\n%fc = dense %x, %w, %far :",
        );
    let mut g = graph(&text);
    let fold = parse_calls("fold-batch-norm").unwrap().remove(0);
    let (report, warnings) = run_with(&mut g, &fold, &RunOptions::default());
    let Evidence::Sampled { noise: Some(noise), max_rel, .. } = report.unwrap().passes[0].evidence.clone()
    else {
        panic!("within the claim without an excuse");
    };
    assert!(noise > 1e-5 && max_rel > 1e-5, "{noise} {max_rel}");
    assert_eq!(warnings.0[0].severity, Severity::Warning);
    assert!(
        warnings.to_string().contains("layer bn_2 (BatchNormalization): `bn` amplifies rounding"),
        "{warnings}"
    );
}

#[test]
fn reports_survive_json() {
    let mut g = graph(NORM_THEN_CONV);
    let calls = parse_calls("fold-constants{limit=5},common-subexpressions,fold-batch-norm").unwrap();
    let report = run_pipeline(&mut g, &calls, &RunOptions::default(), &mut Diagnostics::new()).unwrap();
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    assert!(text.contains(r#""options":{"limit":"5","steps":"1000000000"}"#), "{text}");
    assert!(
        text.contains(r#""claim":{"within":{"abs":"#) && text.contains(r#""evidence":"unchanged""#),
        "{text}"
    );
}

#[test]
fn calls_are_read_or_refused_as_a_whole() {
    let calls = parse_calls(" clean-up , fold-constants { limit = 3 , steps=4},dead-code").unwrap();
    let shown: Vec<String> = calls.iter().map(|c| c.pass.info().name.to_string()).collect();
    assert_eq!(shown, ["clean-up", "fold-constants", "dead-code"]);
    assert_eq!(calls[1].options()["limit"], "3");
    let errors = parse_calls("clean-upp,fold-constants{limit,limit=x},dead-code{a=1}").unwrap_err();
    assert_eq!(errors.0.len(), 4, "{errors}");
    assert!(errors.to_string().contains("the passes are clean-up, canonical-layout"), "{errors}");
    assert!(parse_calls("clean-up{").is_err() && parse_calls("clean-up{}dead-code").is_err());
}

/// A convolution behind a ReLU that no sample wakes, and one that is NaN whatever the sample.
const BLIND: &str = r#"uir 1
graph "g" canonical
input %x : f32[4,1] wc
const %w : f32[1,1,1] owi = [1.0]
const %low : f32[1] c = [-1e9]
const %half : f32[1] c = [0.5]
%shifted = add %x, %low : f32[4,1] wc
%dead = relu %shifted : f32[4,1] wc
%conv = conv %dead, %w {kernel=[1], strides=[1]} : f32[4,1] wc
%scaled = mul %conv, %half : f32[4,1] wc @keras("m.h5", "", "scale (Rescaling)")
%root = sqrt %shifted : f32[4,1] wc
%poisoned = conv %root, %w {kernel=[1], strides=[1]} : f32[4,1] wc
%halved = mul %poisoned, %half : f32[4,1] wc @keras("m.h5", "", "half (Rescaling)")
output "a" %scaled
output "b" %halved
"#;

#[test]
fn what_samples_cannot_see_is_said() {
    let call = parse_calls("fold-batch-norm").unwrap().remove(0);
    let (report, warnings) = run_with(&mut graph(BLIND), &call, &RunOptions::default());
    let Evidence::Sampled { blind, .. } = report.unwrap().passes[0].evidence.clone() else { panic!() };
    assert_eq!(blind, ["halved", "scaled"]);
    let text = warnings.to_string();
    assert!(text.contains("m.h5: layer scale (Rescaling): `scaled` was not finite, or the same"), "{text}");
    assert!(
        text.contains("layer half (Rescaling)") && warnings.0.iter().all(|w| w.severity == Severity::Warning)
    );
    let (report, warnings) = run_with(&mut graph(NORM_THEN_CONV), &call, &RunOptions::default());
    assert!(report.is_ok() && warnings.0.is_empty());
}

#[test]
fn an_output_whose_axes_lose_their_names_is_caught() {
    let error = caught(
        "uir 1\ngraph \"g\" imported\ninput %x : f32[2] c\n%y = relu %x : f32[2] c\noutput \"y\" %y\n",
        &wrong(WITHIN, |_, patch, node| {
            let tanh = patch.node(Unary::Tanh, &node.inputs, "t", &node.origin).ok()?;
            let nameless = Reshape { shape: [2].into(), layout: unfloat_ir::Layout::anonymous(1) };
            matches!(node.op, Op::Unary(_)).then(|| patch.node(nameless, &[tanh], "r", &node.origin).unwrap())
        }),
    );
    assert!(error.contains("changed the graph's inputs or outputs"), "{error}");
}
