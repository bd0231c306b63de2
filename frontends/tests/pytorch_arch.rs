//! What the architecture of a PyTorch model refuses, what it warns of, and what it takes for granted.

use unfloat_exec::reference::evaluate;
use unfloat_frontends::pytorch::arch::{ArchitectureFile, Assembled, assemble, kinds};
use unfloat_frontends::pytorch::{Entry, StateDict};
use unfloat_ir::{Diagnostics, ElemType, Graph, Layout, OpDef, Tensor, TensorType};

fn state(tensors: &[(&str, &[usize], &[f32])]) -> StateDict {
    let entry = |(key, shape, values): &(&str, &[usize], &[f32])| Entry {
        key: key.to_string(),
        tensor: Tensor::f32(shape.to_vec(), Layout::anonymous(shape.len()), values.to_vec()),
        stored: "float32".to_string(),
        place: format!("{key}.npy"),
    };
    StateDict { label: "net.npz".to_string(), entries: tensors.iter().map(entry).collect() }
}

fn put_together(state: &StateDict, toml: &str) -> Result<Assembled, Diagnostics> {
    let file = ArchitectureFile { label: "net.toml".to_string(), bytes: toml.as_bytes().to_vec() };
    assemble(state, &file, "net")
}

fn refusal(state: &StateDict, toml: &str) -> String {
    match put_together(state, toml) {
        Ok(_) => panic!("was taken: {toml}"),
        Err(found) => found.to_string(),
    }
}

#[track_caller]
fn refused(state: &StateDict, toml: &str, words: &[&str]) {
    let text = refusal(state, toml);
    for word in words {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
}

fn run(graph: &Graph, x: &[f32]) -> Vec<f32> {
    let ty = graph.ty(graph.inputs()[0]).clone();
    let x = Tensor::f32(ty.shape, ty.layout, x.to_vec());
    evaluate(graph, &[x]).unwrap()[0].as_f32().unwrap().to_vec()
}

#[test]
fn what_is_no_architecture_is_refused_with_its_line() {
    let none = state(&[]);
    refused(&none, "input = [3]\nlayer = [ {", &["net.toml: line 2", "is no TOML"]);
    refused(&none, "", &["`input`, the shape of a sample", "there is no `[[layer]]`"]);
    refused(
        &none,
        "input = [0]\nlayers = 3\nlayer = 4",
        &["line 1", "`layers` means nothing here", "`layer` is a list"],
    );
    refused(&none, "input = [3]\n[[layer]]\nname = 'a'", &["line 2: the layer has no `kind`"]);
    refused(&none, "input = [3]\nlayer = [{ kind = 'ReLU', x = { y = 1 } }]", &["a table is no value"]);
    let twice = "input = [3]\nlayer = [\n{ name = 'a', kind = 'ReLU' },\n{ name = 'a', kind = 'ReLU' } ]";
    refused(&none, twice, &["line 4: the name `a` stands twice", "`key`"]);
    let bytes = ArchitectureFile { label: "net.toml".to_string(), bytes: vec![b'a', 0xff] };
    assert!(assemble(&none, &bytes, "net").unwrap_err().to_string().contains("byte 1: is no text in UTF-8"));
    let many = format!("input = [3]\nlayer = [{}]", "{ kind = 'ReLU' },".repeat(9000));
    refused(&none, &many, &["has 9000 layers"]);
    let deep = format!("input = [3]\nlayer = {}", "[".repeat(100_000));
    refused(&none, &deep, &["is no TOML"]);
}

#[test]
fn all_mistakes_of_parameters_are_said_at_once() {
    let toml = "input = [3, 8, 8]\nlayer = [\n\
        { name = 'c', kind = 'Conv2D', strides = 2 },\n\
        { name = 'b', kind = 'BatchNorm2d', epsilon = 0.1, track_running_stats = false },\n\
        { kind = 'MaxPool2d', kernel_size = 'two', stride = [1, 2, 3] },\n\
        { kind = 'BinarySign' }, { kind = 'Conv2d', padding_mode = 'reflect' } ]";
    refused(
        &state(&[]),
        toml,
        &[
            "line 3: layer c (Conv2D): the kind `Conv2D` is not known",
            "did you mean Conv2d or Conv1d",
            "there is no parameter `epsilon`",
            "the kind has affine, eps, momentum, num_features, track_running_stats",
            "`track_running_stats = false` is not supported",
            "`kernel_size`: expected whole numbers, found \"two\"",
            "`stride`: expected one or 2 numbers from 1",
            "`zero`, the sign of 0, is missing",
            "`padding_mode = \"reflect\"` is not supported",
        ],
    );
    let kinds = kinds();
    assert!(kinds.is_sorted() && kinds.contains(&"BinarizeConv2d"));
}

#[test]
fn missing_and_unused_keys_are_listed_with_what_is_near() {
    let state = state(&[
        ("fc.weight", &[2, 3], &[0.0; 6]),
        ("fc.bias", &[2], &[0.0; 2]),
        ("left.over", &[1], &[0.0]),
        ("bn.num_batches_tracked", &[], &[5.0]),
    ]);
    let toml = "input = [3]\nlayer = [ { name = 'fc1', kind = 'Linear' }, { name = 'bn', kind = 'BatchNorm1d', affine = false } ]";
    refused(
        &state,
        toml,
        &[
            "net.toml: line 2: layer fc1 (Linear): `fc1.weight` is not in net.npz",
            "did you mean `fc.weight`",
            "`fc1.bias` is not in",
            "`bn.running_mean` is not in",
            "`bn.running_var` is not in",
            "net.npz: left.over.npy: no layer of net.toml has the key `left.over`",
            "net.npz: fc.weight.npy: no layer",
            "`fc1.weight` is missing: is it this?",
        ],
    );
    assert!(!refusal(&state, toml).contains("num_batches_tracked"));
    let toml = format!("unused = ['left', 'bn']\n{toml}");
    assert!(!refusal(&state, &toml).contains("no layer of net.toml has the key `left.over`"));
}

#[test]
fn shapes_say_what_was_expected_and_found() {
    let tensors = state(&[("c.weight", &[4, 3, 3, 3], &[0.5; 108]), ("c.bias", &[5], &[0.0; 5])]);
    let toml = |rest: &str| format!("input = [3, 8, 8]\nlayer = [ {{ name = 'c', kind = 'Conv2d'{rest} }} ]");
    refused(&tensors, &toml(""), &["net.npz: c.bias.npy", "`c.bias`: expected [4], found [5]"]);
    refused(
        &tensors,
        &toml(", kernel_size = 5"),
        &["`c.weight`: expected [any, 3, 5, 5], found [4, 3, 3, 3]"],
    );
    refused(&tensors, &toml(", in_channels = 4"), &["the input has 3 channels"]);
    let flat = "input = [3]\nlayer = [ { name = 'c', kind = 'Conv2d' } ]";
    refused(&tensors, flat, &["expected channels, height and width per sample, found [3]"]);
    let nan = state(&[("c.weight", &[1, 1], &[f32::NAN]), ("c.bias", &[1], &[0.0])]);
    refused(
        &nan,
        "input = [1]\nlayer = [ { name = 'c', kind = 'Linear' } ]",
        &["`c.weight` holds NaN (element 0)"],
    );
    let none = state(&[]);
    refused(
        &none,
        "input = [4]\nlayer = [ { kind = 'View', shape = [-1, 3] } ]",
        &["does not hold the 4 elements"],
    );
    refused(
        &none,
        "input = [4]\nlayer = [ { kind = 'View', shape = [-1, 2] } ]",
        &["split a sample over several rows"],
    );
    refused(&none, "input = [4]\nlayer = [ { kind = 'Softmax', dim = 0 } ]", &["`dim = 0` is the batch"]);
    refused(&none, "input = [4, 4]\nlayer = [ { kind = 'LogSoftmax' } ]", &["over the batch"]);
    refused(&none, "input = [4]\nlayer = [ { kind = 'ReLU', from = 'inptu' } ]", &["did you mean `input`?"]);
    refused(
        &none,
        "input = [16777216, 16777216]\nlayer = [ { kind = 'ReLU' } ]",
        &["more than 268435456 elements"],
    );
    let wide = "input = [1, 4096]\nlayer = [ { kind = 'Pad', pad = [0, 16000000, 16000000, 0] } ]";
    refused(&none, wide, &["more than"]);
}

#[test]
fn the_rules_of_binarising_modules_look_at_shapes_alone() {
    let tensors = state(&[("fc.weight", &[1, 2], &[0.3, -0.2]), ("fc.bias", &[1], &[0.5])]);
    let graph = put_together(&tensors, "input = [2]\nlayer = [ { name = 'fc', kind = 'BinarizeLinear' } ]")
        .unwrap()
        .graph;
    // sign(3) − sign(0) + 0.5 and sign(−3) − sign(2) + 0.5.
    assert_eq!((run(&graph, &[3.0, 0.0]), run(&graph, &[-3.0, 2.0])), (vec![1.5], vec![-1.5]));
    let weights = graph.values().find(|(_, v)| v.name == "fc.weight.codes").unwrap().1;
    assert_eq!(weights.ty.elem, ElemType::Bipolar);

    let ones = vec![1.0; 784];
    let tensors = state(&[("fc.weight", &[1, 784], &ones)]);
    let toml = "input = [784]\nlayer = [ { name = 'fc', kind = 'BinarizeLinear', bias = false } ]";
    let graph = put_together(&tensors, toml).unwrap().graph;
    assert_eq!(run(&graph, &vec![0.25; 784]), [196.0]);

    let tensors = state(&[("c.weight", &[1, 1, 1, 1], &[-0.1])]);
    let toml = "input = [1, 1, 1]\nlayer = [ { name = 'c', kind = 'BinarizeConv2d', bias = false } ]";
    assert_eq!(run(&put_together(&tensors, toml).unwrap().graph, &[0.25]), [-1.0]);
    let tensors = state(&[("c.weight", &[1, 3, 1, 1], &[-0.1, 0.1, 0.1])]);
    let toml = "input = [3, 1, 1]\nlayer = [ { name = 'c', kind = 'BinarizeConv2d', bias = false } ]";
    assert_eq!(run(&put_together(&tensors, toml).unwrap().graph, &[0.25, 0.5, 1.0]), [1.25]);
}

#[test]
fn zero_weights_and_latent_weights_are_reported() {
    let toml = "input = [2]\nlayer = [ { name = 'fc', kind = 'BinarizeLinear', bias = false } ]";
    let zero = put_together(&state(&[("fc.weight", &[1, 2], &[0.0, -0.2])]), toml).unwrap();
    let text = Diagnostics(zero.warnings).to_string();
    assert!(text.contains("fc (BinarizeLinear): 1 of 2 elements of `fc.weight` are exactly 0"), "{text}");
    let codes = zero.graph.values().find(|(_, v)| v.name == "fc.weight.codes").unwrap().1;
    assert_eq!(codes.ty.elem, ElemType::Ternary);
    assert_eq!(run(&zero.graph, &[1.0, 1.0]), [-1.0]);

    let both = [("fc.weight", &[1, 2][..], &[1.0, -1.0][..]), ("fc.weight_org", &[1, 2], &[0.5, 0.5])];
    let taken = put_together(&state(&both), toml).unwrap();
    let text = Diagnostics(taken.warnings).to_string();
    assert!(text.contains("1 of 2 signs of `fc.weight` differ from those of `fc.weight_org`"), "{text}");
    assert_eq!(run(&taken.graph, &[1.0, 1.0]), [0.0]);
    let latent = put_together(&state(&both[1..]), toml).unwrap();
    assert_eq!(run(&latent.graph, &[1.0, 1.0]), [2.0]);
}

#[test]
fn who_overwrites_what_must_be_said_where_it_matters() {
    let tensors = state(&[("fc.weight", &[2, 2], &[1.0, 1.0, 1.0, 1.0])]);
    let toml = |more: &str| {
        format!(
            "input = [2]\nlayer = [ {{ name = 'fc', kind = 'BinarizeLinear', bias = false{more} }},\n\
             {{ kind = 'Add', from = ['fc', 'input'] }} ]"
        )
    };
    refused(
        &tensors,
        &toml(""),
        &["binarises its input, which another layer reads later", "overwrites_input = true"],
    );
    let run = |more: &str| run(&put_together(&tensors, &toml(more)).unwrap().graph, &[4.0, -3.0]);
    assert_eq!(run(", overwrites_input = true"), [1.0, -1.0]);
    assert_eq!(run(", overwrites_input = false"), [4.0, -3.0]);
    let in_place = "input = [2, 1]\nlayer = [ { name = 'flat', kind = 'Flatten' },\n\
        { kind = 'ReLU', name = 'relu', inplace = true }, { kind = 'Flatten', name = 'late', from = 'input' } ]";
    refused(&state(&[]), in_place, &["relu (ReLU): overwrites its input in place, whose memory a view"]);
}

#[test]
fn quantizers_have_their_own_ends() {
    for (zero, want) in [(-1, [-1.0, -1.0, 1.0]), (0, [-1.0, 0.0, 1.0]), (1, [-1.0, 1.0, 1.0])] {
        let toml = format!("input = [3]\nlayer = [ {{ kind = 'BinarySign', zero = {zero} }} ]");
        assert_eq!(run(&put_together(&state(&[]), &toml).unwrap().graph, &[-2.0, 0.0, 2.0]), want, "{zero}");
    }
    let toml = "input = [4]\nlayer = [ { kind = 'Int8Float', frac = 1 } ]";
    let graph = put_together(&state(&[]), toml).unwrap().graph;
    assert_eq!(run(&graph, &[0.25, 0.75, 100.0, -100.0]), [0.0, 1.0, 63.5, -64.0]);
}

/// As docs/pytorch-architecture.md says: codes have no NaN.
#[test]
fn nan_becomes_the_lowest_code_or_stays() {
    let of = |layer: &str| {
        let toml = format!("input = [1]\nlayer = [ {{ {layer} }} ]");
        run(&put_together(&state(&[]), &toml).unwrap().graph, &[f32::NAN])[0]
    };
    for (layer, want) in [
        ("kind = 'BinarySign', zero = 1", -1.0),
        ("kind = 'BinarySign', zero = -1", 1.0),
        ("kind = 'Int8Float', frac = 5", -4.0),
        ("kind = 'FixedPoint', bits = 4, frac = 1", -4.0),
    ] {
        assert_eq!(of(layer), want, "{layer}");
    }
    for layer in ["kind = 'Sign'", "kind = 'BinarySign', zero = 0"] {
        assert!(of(layer).is_nan(), "{layer}");
    }
}

#[test]
fn batch_norms_are_torchs_and_integers_are_read() {
    let mut tensors =
        state(&[("bn.weight", &[1], &[0.3]), ("bn.bias", &[1], &[0.0]), ("bn.running_mean", &[1], &[7.0])]);
    tensors.entries.push(Entry {
        key: "bn.running_var".to_string(),
        tensor: Tensor::codes(TensorType::new(ElemType::signed(64), [1], Layout::anonymous(1)), [11]),
        stored: "int64".to_string(),
        place: "running_var".to_string(),
    });
    let graph = put_together(&tensors, "input = [1]\nlayer = [ { name = 'bn', kind = 'BatchNorm1d' } ]")
        .unwrap()
        .graph;
    let a = 1.0 / (11.0f32 + 1e-5).sqrt() * 0.3;
    let want = 7.0f32.mul_add(a, (-7.0f32).mul_add(a, 0.0));
    assert!(want != 0.0);
    assert_eq!(run(&graph, &[7.0]), [want]);
    let (_, node) = graph.live_nodes().next().unwrap();
    assert_eq!(
        (node.op.name(), &*node.origin.format, &*node.origin.layer),
        ("batch_norm", "pytorch", "bn (BatchNorm1d)")
    );
}

/// Files with bytes changed, dropped and doubled are read or refused; nothing panics, hangs or grows without bound.
#[test]
fn mutated_files_are_read_or_refused() {
    let tensors = state(&[("c.weight", &[4, 3, 3, 3], &[0.5; 108]), ("fc.weight", &[2, 64], &[1.0; 128])]);
    let toml = "input = [3, 8, 8]\nlayer = [\n{ name = 'c', kind = 'Conv2d', padding = 1, bias = false },\n\
        { kind = 'MaxPool2d', kernel_size = 2, ceil_mode = true }, { kind = 'ReLU', inplace = true },\n\
        { name = 'f', kind = 'Flatten' }, { kind = 'View', shape = [-1, 4, 16] }, { kind = 'Mean', dim = [1] },\n\
        { name = 'fc', kind = 'BinarizeLinear', from = 'f', bias = false }, { kind = 'Softmax', dim = 1 } ]";
    assert!(put_together(&tensors, toml).is_ok());
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |n: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % n
    };
    let pieces: [&[u8]; 8] = [b"9", b"-1", b"0", b"16777216", b"[", b"]", b"= 'Conv2d'", b"inf"];
    let mut taken = 0;
    for _ in 0..4000 {
        let mut bytes = toml.as_bytes().to_vec();
        for _ in 0..=next(3) {
            let at = next(bytes.len());
            match next(4) {
                0 => bytes[at] = next(128) as u8,
                1 => drop(bytes.remove(at)),
                2 => drop(bytes.splice(at..=at, pieces[next(8)].iter().copied()).collect::<Vec<u8>>()),
                _ => drop(bytes.splice(at..at, pieces[next(8)].iter().copied()).collect::<Vec<u8>>()),
            }
        }
        let file = ArchitectureFile { label: "net.toml".to_string(), bytes };
        taken += usize::from(assemble(&tensors, &file, "net").is_ok());
    }
    assert!(taken > 50 && taken < 3500, "{taken}");
}

/// Extents of 0, of a weight or of what an empty weight made, have no neighbours to count.
#[test]
fn a_transposed_convolution_of_nothing_is_refused() {
    let empty = state(&[("t.weight", &[2, 2, 0], &[]), ("t.bias", &[2], &[0.0, 0.0])]);
    let toml = "input = [2, 4]\nlayer = [ { name = 't', kind = 'ConvTranspose1d' } ]";
    refused(&empty, toml, &["layer t (ConvTranspose1d)", "a kernel [0] over a sample [2, 4] has no cells"]);
}

/// Views of views of views: each layer asks whose memory it shows.
#[test]
fn long_chains_of_views_are_quick() {
    let views = "{ kind = 'Permute', dims = [0, 2, 1] },".repeat(8000);
    let start = std::time::Instant::now();
    let toml = format!("input = [2, 3]\nlayer = [{views}]");
    assert_eq!(put_together(&state(&[]), &toml).unwrap().graph.num_values(), 8_001);
    assert!(start.elapsed() < std::time::Duration::from_secs(5), "took {:?}", start.elapsed());
}

/// What no file holds is made, but not more of it than a small constant's worth.
#[test]
fn constants_that_no_file_holds_are_limited() {
    let norm = "{ kind = 'LayerNorm', normalized_shape = [16000, 16000], elementwise_affine = false }";
    refused(
        &state(&[]),
        &format!("input = [16000, 16000]\nlayer = [{norm}]"),
        &["(LayerNorm): would make a constant [16000, 16000]"],
    );
    let small = norm.replace("16000", "2");
    let graph = put_together(&state(&[]), &format!("input = [2, 2]\nlayer = [{small}]")).unwrap().graph;
    let y = run(&graph, &[1.0, 3.0, 1.0, 3.0]);
    assert!(y.iter().zip([-1.0, 1.0, -1.0, 1.0]).all(|(y, want)| (y - want).abs() < 1e-4), "{y:?}");
}
