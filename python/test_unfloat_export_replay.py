"""Tests of what unfloat_export.py writes, and refuses to write: python3 python/test_unfloat_export_replay.py

Environment: Python 3.11 or later, torch, numpy. Every exported file is read again and computed by `replay`, which knows the
architecture's rules from docs/pytorch-architecture.md alone, and must give what the model gives.
"""

import json
import os
import sys
import tempfile
import tomllib
import unittest

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

HERE = os.path.dirname(os.path.abspath(__file__))
FIXTURES = os.path.join(HERE, "..", "fixtures", "pytorch")
sys.path[:0] = [HERE, FIXTURES]
import course  # noqa: E402
from unfloat_export import ExportError, export  # noqa: E402


# ---------------------------------------------------------------------------------------------------------------------
# Another reader of the two files

def quantize(kind, p, x):
    if kind == "BinarySign":
        return torch.where(x == 0, float(p["zero"]), torch.where(x > 0, 1.0, -1.0))
    bits = 8 if kind == "Int8Float" else p["bits"]
    return (x * 2.0 ** p["frac"]).round().clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) / 2.0 ** p["frac"]


def padded(layer, x, n, weight):
    """Explicit padding: PyTorch's convolution pads evenly only."""
    pads = layer.get("padding", 0)
    if pads == "same":
        extents = weight.shape[2:], np.broadcast_to(layer.get("dilation", 1), n)
        total = [(int(k) - 1) * int(d) for k, d in zip(*extents)]
        return F.pad(x, [p for t in reversed(total) for p in (t // 2, t - t // 2)])
    return F.pad(x, [int(p) for q in reversed(np.broadcast_to(pads, n)) for p in (q, q)])


def convolution(layer, x, weight, bias):
    n = weight.dim() - 2
    sizes = {k: tuple(int(v) for v in np.broadcast_to(layer.get(k, 1), n)) for k in ("stride", "dilation")}
    conv = F.conv1d if n == 1 else F.conv2d
    y = conv(padded(layer, x, n, weight), weight, None, groups=layer.get("groups", 1), **sizes)
    return y if bias is None else y + bias.view(1, -1, *[1] * n)


SIMPLE = {
    "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Div": torch.div, "Abs": torch.abs, "Neg": torch.neg,
    "Exp": torch.exp, "Log": torch.log, "Sqrt": torch.sqrt, "Sign": torch.sign,
    "Maximum": torch.maximum, "Minimum": torch.minimum, "Round": torch.round, "Floor": torch.floor, "Ceil": torch.ceil,
    "Clone": torch.clone,
}


def layer_result(layer, x, state):
    """The value of one layer; `x` are its operands."""
    kind, module = layer["kind"], layer.get("key", layer["name"])
    p = {k: v for k, v in layer.items() if k not in ("name", "kind", "from", "key", "overwrites_input")}
    get = lambda name: state.get(f"{module}.{name}")
    weight, bias = get("weight"), get("bias")
    if kind in ("Conv1d", "Conv2d", "Linear", "BinarizeConv2d", "BinarizeLinear"):
        assert (bias is None) == (not p.get("bias", True)), module
    if kind.startswith("Quantized"):
        kind, weight = kind.removeprefix("Quantized"), quantize(p["quantizer"], p, weight)
    if kind in ("BinarizeConv2d", "BinarizeLinear"):
        weight = torch.sign(weight)
        real = x[0].shape[1] == (3 if kind == "BinarizeConv2d" else 784)
        x = [x[0] if real else torch.sign(x[0])]
    if kind in ("Conv1d", "Conv2d", "BinarizeConv2d"):
        assert (weight.shape[0], x[0].shape[1]) == (p.get("out_channels", weight.shape[0]), p.get("in_channels", x[0].shape[1]))
        return convolution(p, x[0], weight, bias)
    if kind in ("Linear", "BinarizeLinear"):
        assert list(weight.shape) == [p.get("out_features", len(weight)), p.get("in_features", weight.shape[1])]
        return F.linear(x[0], weight) + (0 if bias is None else bias)
    if kind in ("BinarySign", "Int8Float", "FixedPoint"):
        return quantize(kind, p, x[0])
    if kind == "Constant":
        tensor = state[module]
        while tensor.dim() > p["axes"] and tensor.shape[0] == 1:
            tensor = tensor[0]
        return tensor.reshape([1] * (p["axes"] + 1 - tensor.dim()) + list(tensor.shape))
    if kind in SIMPLE and "value" in p:
        other = torch.tensor(p["value"], dtype=torch.float32)
        return SIMPLE[kind](other, x[0]) if p.get("reverse") else SIMPLE[kind](x[0], other)
    if kind in SIMPLE:
        return SIMPLE[kind](*x)
    if kind == "Cat":
        return torch.cat(x, p["dim"])
    if kind == "View":
        assert p["shape"][0] == -1 and all(d > 0 for d in p["shape"][1:])
        return x[0].reshape(p["shape"])
    if kind in ("Permute", "Transpose", "Mean", "Sum", "Amax", "Clamp"):
        return getattr(torch, kind.lower())(x[0], **p)
    if kind.startswith("BatchNorm"):
        p.setdefault("num_features", len(get("running_mean")))
    if kind == "PReLU":
        p.setdefault("num_parameters", len(weight))
    found = getattr(nn, kind)(**p).eval()
    found.load_state_dict({k: get(k) for k in found.state_dict()})
    return found(x[0])


@torch.no_grad()
def replay(arch, state, inputs):
    """All outputs of an architecture over a state dict."""
    listed = arch["input"] if isinstance(arch["input"][0], dict) else [{"name": "input", "shape": arch["input"]}]
    values, last = {}, None
    for spec, x in zip(listed, inputs, strict=True):
        assert spec["shape"] == list(x.shape[1:])
        values[spec["name"]], last = x, spec["name"]
    for layer in arch["layer"]:
        assert layer["name"] not in values
        names = layer.get("from", [last])
        names = [names] if isinstance(names, str) else names
        values[layer["name"]] = layer_result(layer, [values[n] for n in names], state)
        if layer.get("overwrites_input"):
            values[names[0]] = torch.sign(values[names[0]])
        last = layer["name"]
    return [values[name] for name in arch.get("output", [last])]


def read(stem):
    with open(f"{stem}.toml", "rb") as f:
        arch = tomllib.load(f)
    with np.load(f"{stem}.npz", allow_pickle=False) as arrays:
        return arch, {k: torch.from_numpy(v) for k, v in arrays.items()}


class Case(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(3)
        torch.set_num_threads(1)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder, self.stem = folder.name, os.path.join(folder.name, "net")

    def files(self):
        found = []
        for end in ("toml", "npz"):
            with open(f"{self.stem}.{end}", "rb") as f:
                found.append(f.read())
        return found

    def exported(self, model, *shapes, samples=5, **options):
        """Exports, compares with the model and with a second export, and returns the layers."""
        model.eval()
        state = {k: v.clone() for k, v in model.state_dict().items()}
        export(model, tuple(torch.randn(2, *s) for s in shapes), self.stem, **options)
        for key, value in model.state_dict().items():
            self.assertTrue(torch.equal(value, state[key]), key)
        before = self.files()
        export(model, tuple(torch.zeros(3, *s) for s in shapes), self.stem, **options)
        self.assertEqual(before, self.files())
        arch, arrays = read(self.stem)
        if not options.get("drop_unused"):
            for key, value in state.items():
                self.assertTrue(np.array_equal(arrays[key].numpy(), value.numpy()), key)
                self.assertEqual(arrays[key].numpy().dtype, value.numpy().dtype)
        inputs = [torch.randn(samples, *s) for s in shapes]
        with torch.no_grad():
            want = model(*[x.clone() for x in inputs])
        want = list(want.values()) if isinstance(want, dict) else list(want) if isinstance(want, tuple) else [want]
        found = replay(arch, arrays, inputs)
        self.assertEqual(len(want), len(found))
        for a, b in zip(want, found):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
        return arch["layer"]

    def refused(self, model, *shapes, words=(), count=None, **options):
        with self.assertRaises(ExportError) as caught:
            export(model.eval(), tuple(torch.randn(2, *s) for s in shapes), self.stem, **options)
        for word in words:
            self.assertIn(word, str(caught.exception))
        if count is not None:
            self.assertEqual(len(caught.exception.problems), count, str(caught.exception))
        self.assertEqual(os.listdir(self.folder), [])


def kinds(layers):
    return [layer["kind"] for layer in layers]


class Net(nn.Module):
    """A module made of layers and a function of itself and the input."""

    def __init__(self, body, **layers):
        super().__init__()
        for name, layer in layers.items():
            if isinstance(layer, torch.Tensor):
                self.register_buffer(name, layer)
            else:
                setattr(self, name, layer)
        self.body = body

    def forward(self, x):
        return self.body(self, x)


class Exported(Case):
    def test_sequential(self):
        model = nn.Sequential(
            nn.Conv2d(3, 6, (3, 5), padding=(1, 2), stride=2), nn.BatchNorm2d(6, eps=1e-3), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Dropout(), nn.Linear(54, 4, bias=False), nn.LogSoftmax(dim=-1))
        layers = self.exported(model, (3, 12, 12))
        self.assertEqual([layer["name"] for layer in layers], [str(i) for i in range(8)])
        self.assertEqual(layers[0], {"name": "0", "kind": "Conv2d", "in_channels": 3, "out_channels": 6, "kernel_size": [3, 5],
                                     "stride": 2, "padding": [1, 2]})
        self.assertEqual(layers[1]["eps"], 1e-3)
        self.assertEqual(layers[6]["bias"], False)
        self.assertEqual(layers[7], {"name": "7", "kind": "LogSoftmax", "dim": -1})

    def test_functions_and_shapes(self):
        def body(m, x):
            n, c, h, w = x.size()
            x = F.relu6(m.conv(x), inplace=True)
            x = F.avg_pool2d(x, x.shape[-1] // 2)
            x = x.view(n, c * 2, -1).permute(0, 2, 1)
            x = x.reshape(x.size(0), -1)
            return F.softmax(m.fc(x), 1)
        layers = self.exported(Net(body, conv=nn.Conv2d(2, 4, 3, padding=1), fc=nn.Linear(16, 3)), (2, 8, 8))
        self.assertEqual(kinds(layers), ["Conv2d", "ReLU6", "AvgPool2d", "View", "Permute", "View", "Linear", "Softmax"])
        self.assertEqual(layers[2]["kernel_size"], 4)
        self.assertEqual(layers[3]["shape"], [-1, 4, 4])
        self.assertEqual(layers[5]["shape"], [-1, 16])

    def test_functional_layers(self):
        class Functional(nn.Module):
            def __init__(self):
                super().__init__()
                self.c, self.f, self.b, self.l = nn.Conv2d(2, 4, 3), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.LayerNorm(8)
                self.p = nn.PReLU(8)

            def forward(self, x):
                x = F.conv2d(x, self.c.weight, self.c.bias, stride=2).flatten(1)
                x = F.linear(x, self.f.weight, self.f.bias)
                x = F.batch_norm(x, self.b.running_mean, self.b.running_var, self.b.weight, self.b.bias, self.training)
                return F.prelu(F.layer_norm(x, (8,), self.l.weight, self.l.bias), self.p.weight)
        layers = self.exported(Functional(), (2, 6, 6))
        self.assertEqual([(layer["kind"], layer.get("key")) for layer in layers],
                         [("Conv2d", "c"), ("Flatten", None), ("Linear", "f"), ("BatchNorm1d", "b"), ("LayerNorm", "l"),
                          ("PReLU", "p")])

    def test_residual_in_place(self):
        def body(m, x):
            y = m.relu(m.a(x))
            z = m.b(y)
            z = z + y
            return m.relu(z) + z  # in place: the second z is the ReLU's result
        layers = self.exported(Net(body, a=nn.Linear(4, 4), b=nn.Linear(4, 4), relu=nn.ReLU(inplace=True)), (4,))
        self.assertEqual(kinds(layers), ["Linear", "ReLU", "Linear", "Add", "ReLU", "Add"])
        self.assertEqual(layers[3]["from"], ["b", "relu"])
        self.assertEqual(layers[4]["name"], "relu_1")
        self.assertEqual(layers[5]["from"], ["relu_1", "relu_1"])

    def test_in_place_functions_whose_result_is_dropped(self):
        def relu(m, x):
            y = m.fc(x)
            F.relu(y, inplace=True)
            return y + 1

        def added(m, x):
            y = m.fc(x)
            y.add_(1)
            y.mul_(2).relu_()
            return y
        for body, want in ((relu, ["Linear", "ReLU", "Add"]), (added, ["Linear", "Add", "Mul", "ReLU"])):
            self.assertEqual(kinds(self.exported(Net(body, fc=nn.Linear(4, 4)), (4,))), want)

    def test_modules_called_twice_and_names_that_meet(self):
        def body(m, add):
            return m.add(m.relu(m.add(add))) + 1
        layers = self.exported(Net(body, add=nn.Linear(4, 4), relu=nn.ReLU()), (4,))
        self.assertEqual(len({layer["name"] for layer in layers}), 4)
        self.assertEqual([layer.get("key", layer["name"]) for layer in layers if layer["kind"] == "Linear"], ["add", "add"])

    def test_constants(self):
        layers = self.exported(Net(lambda m, x: m.fc((x - m.mean) * m.scale / m.one), fc=nn.Linear(4, 2), mean=torch.randn(1, 4),
                                   scale=torch.randn(4), one=torch.tensor(2.0)), (4,))
        constants = [layer for layer in layers if layer["kind"] == "Constant"]
        self.assertEqual([(c["name"], c["axes"]) for c in constants], [("mean", 1), ("scale", 1), ("one", 1)])

    def test_tensors_outside_the_state_dict(self):
        model = Net(lambda m, x: m.fc(x) + m.plain, fc=nn.Linear(4, 2))
        model.plain = torch.tensor([1.0, 2.0])
        layers = self.exported(model, (4,))
        self.assertEqual(layers[1], {"name": "plain", "kind": "Constant", "axes": 1})

    def test_outputs(self):
        model = Net(lambda m, x: {"a": m.fc(x), "x": x, "b": [m.fc(x).relu()]}, fc=nn.Linear(4, 2))
        export(model, torch.randn(2, 4), self.stem)
        arch, arrays = read(self.stem)
        self.assertEqual(arch["output"], ["fc", "input.out", "relu"])

    def test_arguments_with_defaults(self):
        class Optional(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(3, 2)

            def forward(self, x, mask=None, log=True):
                x = self.fc(x)
                x = x if mask is None else x * mask
                return F.log_softmax(x, 1) if log else x
        self.assertEqual(kinds(self.exported(Optional(), (3,))), ["Linear", "LogSoftmax"])

    def test_wrappers(self):
        model = nn.Sequential(nn.Linear(3, 2))
        export(nn.DataParallel(model), torch.randn(2, 3), self.stem)
        self.assertEqual(list(read(self.stem)[1]), ["0.weight", "0.bias"])

    def test_training_mode_stays_and_does_not_count(self):
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.9))
        export(model.train(), torch.randn(2, 3), self.stem)
        self.assertTrue(all(m.training for m in model.modules()))
        arch, arrays = read(self.stem)
        self.assertEqual(int(arrays["1.num_batches_tracked"]), 0)
        x = torch.randn(4, 3)
        torch.testing.assert_close(replay(arch, arrays, [x])[0], model.eval()(x))

    def test_unused_tensors_on_demand(self):
        model = Net(lambda m, x: m.fc(x), fc=nn.Linear(3, 2), aux=nn.Linear(3, 5))
        self.refused(model, (3,), words=["aux.weight, aux.bias", "drop_unused"], count=1)
        self.exported(model, (3,), drop_unused=True)
        self.assertEqual(list(read(self.stem)[1]), ["fc.weight", "fc.bias"])

    def test_a_half_written_file_is_never_there(self):
        export(nn.Sequential(nn.Linear(3, 2)), torch.randn(2, 3), self.stem)
        self.assertEqual(sorted(os.listdir(self.folder)), ["net.npz", "net.toml"])
        self.assertNotIn(self.folder.encode(), b"".join(self.files()))


class Courses(Case):
    def test_binary_layers(self):
        model = nn.Sequential(course.BinarizeConv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Hardtanh(), nn.Flatten(),
                              course.BinarizeLinear(64, 3))
        layers = self.exported(model, (1, 4, 4))
        self.assertEqual(kinds(layers), ["BinarizeConv2d", "BatchNorm2d", "Hardtanh", "Flatten", "BinarizeLinear"])
        self.assertEqual(layers[0]["padding"], 1)

    def test_signs_left_behind(self):
        def body(m, x):
            x = m.stem(x)
            return m.a(x) + x
        layers = self.exported(Net(body, stem=nn.Linear(4, 6), a=course.BinarizeLinear(6, 6)), (4,))
        self.assertEqual(kinds(layers), ["Linear", "BinarizeLinear", "Add"])
        self.assertEqual((layers[1]["overwrites_input"], layers[2]["from"]), (True, ["a", "stem"]))

    def test_signs_left_behind_in_one_name_only(self):
        def cloned(m, x):
            x = m.stem(x)
            y = x.clone()
            return m.a(x) + y
        net = lambda body: Net(body, stem=nn.Linear(4, 6), a=course.BinarizeLinear(6, 6))
        layers = self.exported(net(cloned), (4,))
        self.assertEqual(kinds(layers), ["Linear", "Clone", "BinarizeLinear", "Add"])
        self.assertNotIn("overwrites_input", layers[2])
        # A view keeps its numbers: the layer exchanges the memory of the one tensor that it reads.
        layers = self.exported(net(lambda m, x: (lambda y: m.a(y.view(-1, 6)) + y)(m.stem(x))), (4,))
        self.assertEqual(layers[2]["overwrites_input"], False)
        layers = self.exported(net(lambda m, x: (lambda y: (m.a(y.contiguous()), y))(m.stem(x))), (4,))
        self.assertEqual(layers[1]["overwrites_input"], True)

        class BinarizeLinear(nn.Linear):
            def forward(self, x):
                return F.linear(x.sign(), self.weight.sign(), self.bias)
        model = Net(lambda m, x: (lambda y: m.a(y) + y)(m.stem(x)), stem=nn.Linear(4, 6), a=BinarizeLinear(6, 6))
        layers = self.exported(model, (4,))
        self.assertEqual(layers[1]["overwrites_input"], False)

    def test_quantized_weights(self):
        model = nn.Sequential(course.QuantizedLinear(4, 5, quantizer=course.Int8Float(5)), course.BinarySign(),
                              course.QuantizedLinear(5, 5, quantizer=course.BinarySign()), course.FixedPoint(6, 3),
                              course.QuantizedLinear(5, 5), course.Int8Float(4),
                              course.QuantizedLinear(5, 3, quantizer=course.FixedPoint(5, 4)))
        layers = self.exported(model, (4,))
        self.assertEqual(kinds(layers), ["QuantizedLinear", "BinarySign", "QuantizedLinear", "FixedPoint", "Linear", "Int8Float",
                                         "QuantizedLinear"])
        self.assertEqual([(layer.get("quantizer"), layer.get("bits"), layer.get("frac"), layer.get("zero")) for layer in layers],
                         [("Int8Float", None, 5, None), (None, None, None, 1), ("BinarySign", None, None, 1), (None, 6, 3, None),
                          (None,) * 4, (None, None, 4, None), ("FixedPoint", 5, 4, None)])

    def test_own_names(self):
        class MyConv(course.BinarizeConv2d):
            pass
        model = nn.Sequential(nn.Conv2d(3, 4, 3), MyConv(4, 2, 3))
        self.assertEqual(export(model, torch.randn(2, 3, 8, 8), self.stem), ["1 (MyConv)"])
        self.assertEqual(kinds(read(self.stem)[0]["layer"]), ["Conv2d", "MyConv"])
        layers = self.exported(model, (3, 8, 8), kinds={"MyConv": "BinarizeConv2d"})
        self.assertEqual(kinds(layers), ["Conv2d", "BinarizeConv2d"])

    def test_functions_of_modules(self):
        class Scale(nn.Module):
            factor = 3.0

            def forward(self, x):
                return x * self.factor if x.sum() != 1e9 else x
        layers = self.exported(nn.Sequential(nn.Linear(4, 4), Scale()), (4,), kinds={"Scale": lambda m: ("Mul", {"value": m.factor})})
        self.assertEqual(layers[1], {"name": "1", "kind": "Mul", "value": 3.0})

    def test_same_name_other_rule(self):
        class Int8Float(nn.Module):
            frac = 3

            def forward(self, x):
                return torch.floor(x * 8 + 0.5).clamp(-128, 127) / 8

        class BinarySign(nn.Module):
            def forward(self, x):
                return torch.where(x > 0.25, 1.0, -1.0)

        class BinarizeLinear(nn.Linear):
            def forward(self, x):
                return F.linear(torch.where(x >= 0, 1.0, -1.0), self.weight.sign(), self.bias)

        class BinarizeConv2d(nn.Conv2d):
            def forward(self, x):
                return F.conv2d(x.sign(), self.weight.sign() * self.weight.abs().mean(), self.bias)
        model = nn.Sequential(BinarizeConv2d(2, 4, 1), nn.Flatten(), BinarySign(), BinarizeLinear(4, 4), Int8Float())
        self.refused(model, (2, 1, 1), words=["module 0 (BinarizeConv2d)", "module 2 (BinarySign)", "module 3 (BinarizeLinear)",
                                              "module 4 (Int8Float)", "it makes", "understands by Int8Float"], count=4)

    def test_the_sign_of_zero(self):
        class BinarySign(nn.Module):
            def __init__(self, zero):
                super().__init__()
                self.zero = zero

            def forward(self, x):
                return x.sign() + (x == 0) * self.zero
        layers = self.exported(nn.Sequential(BinarySign(-1), nn.Linear(4, 4), BinarySign(0), BinarySign(1)), (4,))
        self.assertEqual([layer.get("zero") for layer in layers], [-1, None, 0, 1])

    def test_fixtures(self):
        """The networks of fixtures/pytorch/nets: what the files say gives PyTorch's answers."""
        folder = os.path.join(FIXTURES, "nets")
        with open(os.path.join(folder, "index.json")) as f:
            index = json.load(f)
        self.assertGreaterEqual(len(index), 15)
        for entry in index:
            if not entry["state"].endswith(".npz"):
                continue
            with self.subTest(entry["name"]), np.load(os.path.join(folder, f"{entry['name']}.io.npz")) as io:
                io = {k: torch.from_numpy(v) for k, v in io.items()}
                found = replay(*read(os.path.join(folder, entry["name"])), [io[k] for k in io if k.startswith("input")])
                want = [io[k] for k in io if k.startswith("output")]
                self.assertEqual(len(want), len(found))
                for a, b in zip(want, found):
                    torch.testing.assert_close(a, b, rtol=entry["tolerance"], atol=entry["tolerance"])


class Refused(Case):
    def test_everything_at_once(self):
        class Weird(nn.Module):
            def forward(self, x):
                return x if x.sum() > 0 else -x

        def body(m, x):
            x = m.weird(m.gru(x)[0])
            x = torch.roll(m.conv(x.unsqueeze(1)), 1)
            return x[:, :1]
        model = Net(body, gru=nn.GRU(4, 4), weird=Weird(), conv=nn.Conv2d(1, 2, 1, padding_mode="circular"))
        self.refused(model, (3, 4), words=["module gru (GRU)", "nn.GRU is not supported", "padding_mode \"circular\"", "roll in the forward of the model", "split the layer"])

    def test_the_batch(self):
        linear = dict(fc=nn.Linear(4, 4))
        for body, words in (
            (lambda m, x: m.fc(x).view(2, 2, 2), ["with 3 samples"]),
            (lambda m, x: m.fc(x).transpose(0, 1), ["along the batch (dim 0)"]),
            (lambda m, x: m.fc(x).mean(), ["without dim mixes the samples"]),
            (lambda m, x: F.softmax(m.fc(x), 0), ["softmax works along the batch"]),
            (lambda m, x: torch.cat([m.fc(x), x]), ["cat works along the batch"]),
            (lambda m, x: m.fc(x) * x.size(0), ["no number that stays the same"]),
            (lambda m, x: torch.flatten(m.fc(x)), ["the first axis must be"]),
            (lambda m, x: m.fc(x).view(2, -1), ["the first axis must be"]),
            (lambda m, x: m.fc(x).squeeze(), ["name the axis"]),
        ):
            with self.subTest(words):
                self.refused(Net(body, **linear), (4,), words=words)

    def test_what_would_be_silently_wrong(self):
        for body, word in [(lambda m, x: F.softplus(m.fc(x), beta=2), "F.softplus(2 * x) / 2"),
                           (lambda m, x: F.softplus(m.fc(x), 1, 10), "threshold = 10")]:
            self.refused(Net(body, fc=nn.Linear(4, 4)), (4,), words=["softplus in the forward of the model", word], count=1)
        self.refused(nn.Sequential(nn.Softplus(beta=3)), (4,), words=["module 0 (Softplus)", "beta = 3"], count=1)
        self.refused(Net(lambda m, x: F.dropout(m.fc(x)), fc=nn.Linear(4, 4)), (4,), words=["training=self.training"], count=1)

        def changed(m, x):
            y = m.fc(x)
            z = y.view(-1, 2, 2)
            torch.relu_(z)
            return y + 1
        self.refused(Net(changed, fc=nn.Linear(4, 4)), (4,), words=["changed in place"])

        def renamed(m, x):
            y = m.fc(x)
            z = y
            y += 1
            return y + z
        self.refused(Net(renamed, fc=nn.Linear(4, 4)), (4,), words=["something else than torch.fx recorded"], count=1)
        hooked = nn.Sequential(nn.Linear(4, 4))
        hooked[0].register_forward_hook(lambda m, i, o: o * 2)
        self.refused(hooked, (4,), words=["forward hooks"], count=1)
        self.refused(nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False)), (4,), words=["no running statistics"], count=1)

    def test_computed_weights(self):
        class Scaled(nn.Conv2d):
            def forward(self, x):
                return F.conv2d(x, self.weight * 2, self.bias)
        self.refused(nn.Sequential(Scaled(1, 2, 3)), (1, 5, 5), words=["conv2d in 0", "weight is computed", "kinds="])

    def test_inputs(self):
        with self.assertRaisesRegex(ExportError, "float32"):
            export(nn.Linear(2, 2), torch.zeros(2, 2, dtype=torch.int64), self.stem)
        with self.assertRaisesRegex(ExportError, "model.float"):
            export(nn.Linear(2, 2).double(), torch.zeros(2, 2), self.stem)
        with self.assertRaisesRegex(ExportError, "1 given, but forward reads"):
            class Two(nn.Module):
                def forward(self, a, b):
                    return a + b
            export(Two(), torch.zeros(2, 2), self.stem)
        with self.assertRaisesRegex(ExportError, "or a function of the module"):
            export(nn.Linear(2, 2), torch.zeros(2, 2), self.stem, kinds={"A": "Conv9d"})
        self.assertEqual(os.listdir(self.folder), [])


if __name__ == "__main__":
    unittest.main()
