"""Writes a PyTorch model as NAME.npz and NAME.toml, for `unfloat convert NAME.npz --arch NAME.toml`.

Copy this file beside your training script; it needs torch and numpy only.

    from unfloat_export import export
    export(model, torch.zeros(1, 3, 32, 32), "net")

In: a model, and one example of each input with the batch as its first axis. Out: the state dict, keys as they are, and the
layers in the order in which they run, as `model.eval()` runs them. The model itself is not changed.

How: the model is traced with torch.fx and run on the example, on one more sample, and on random numbers. What is written is
held to these runs: the trace gives what the model gives, no layer mixes samples, and modules of the binary and fixed-point
courses (`BinarizeConv2d`, `BinarySign`, `Int8Float`, ...), which are known by the names of their classes, compute what unfloat
understands by these names, exact zeros included.

What cannot be expressed is refused, all of it at once (ExportError), and nothing is written. A module of your own whose inside
cannot be traced is written as a layer of its class' name; `export` returns those names, and `kinds` maps them:

    export(model, x, "net", kinds={"MyBinaryConv": "BinarizeConv2d"})                                  # compared with the rule
    export(model, x, "net", kinds={"MyQuant": lambda m: ("FixedPoint", {"bits": m.bits, "frac": m.frac})})   # taken as it is
"""

import collections
import copy
import inspect
import io
import json
import math
import os
import zipfile

import numpy as np
import torch
import torch.fx
import torch.nn.functional as F
from torch import nn

__all__ = ["export", "ExportError"]


class ExportError(Exception):
    """Everything that keeps a model from being written."""

    def __init__(self, problems):
        self.problems = problems
        lines = "\n".join(f"  {i}. {p}" for i, p in enumerate(problems, 1))
        super().__init__(f"the model was not written, for {len(problems)} reason(s):\n{lines}")


class Refusal(Exception):
    """Why one layer cannot be written."""


def export(model, example_input, path, *, kinds=None, drop_unused=False):
    """Writes `path`.npz and `path`.toml; returns the modules whose kind is to be mended by hand.

    `example_input` is a tensor, or a tuple of them, in the order of the parameters of `forward`. `kinds` maps classes of yours
    to kinds of unfloat's, by name or by a function of the module. With `drop_unused`, tensors of the state dict that no layer
    reads are left out instead of being refused.
    """
    kinds = dict(kinds or {})
    if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        model = model.module
    model = getattr(model, "_orig_mod", model)
    if Tracer(kinds).is_leaf_module(model, ""):
        model = nn.Sequential(model).train(model.training)
    inputs = list(example_input) if isinstance(example_input, (tuple, list)) else [example_input]
    state = {key: tensor.detach().cpu().clone() for key, tensor in model.state_dict().items()}
    problems = first_problems(model, inputs, state, kinds)
    if problems:
        raise ExportError(problems)
    writer = Writer(copy.deepcopy(model).cpu().eval(), [x.detach().cpu().clone() for x in inputs], state, kinds)
    with torch.no_grad():
        text, arrays = writer.run(drop_unused)
    files = {f"{path}.npz": npz(arrays), f"{path}.toml": text.encode("utf-8")}
    for file, data in files.items():
        with open(f"{file}.part", "wb") as f:
            f.write(data)
    for file in files:
        os.replace(f"{file}.part", file)
    if writer.unknown:
        print(f"mend by hand in {path}.toml: {', '.join(writer.unknown)}")
    return writer.unknown


def first_problems(model, inputs, state, custom):
    """What can be seen before anything runs."""
    problems = []
    for i, x in enumerate(inputs):
        if not isinstance(x, torch.Tensor) or x.dtype != torch.float32 or x.dim() < 1 or 0 in x.shape:
            problems.append(f"example input {i}: expected a float32 tensor with the batch as its first axis, at least one sample")
        elif x.shape[0] != inputs[0].shape[0]:
            problems.append(f"example input {i}: has {x.shape[0]} samples, input 0 has {inputs[0].shape[0]}")
    if not inputs:
        problems.append("there is no example input")
    for cls, kind in custom.items():
        if not callable(kind) and kind not in CUSTOM:
            problems.append(f'kinds: "{cls}" is said to be "{kind}"; expected one of {", ".join(CUSTOM)}, or a function of the module')
    for key, tensor in state.items():
        if tensor.is_floating_point() and tensor.dtype != torch.float32 or tensor.is_complex() or tensor.is_quantized:
            problems.append(f"tensor {key}: is {tensor.dtype}, expected torch.float32; call model.float() first")
    for path, module in model.named_modules():
        where = f"module {path or '(the model)'} ({type(module).__name__})"
        if hasattr(module, "parametrizations"):
            problems.append(f"{where}: has parametrizations; bake them in with "
                            "torch.nn.utils.parametrize.remove_parametrizations(module, NAME)")
        if module._forward_hooks or module._forward_pre_hooks:
            problems.append(f"{where}: has forward hooks, which the file cannot express; remove them first")
    return problems


# ---------------------------------------------------------------------------------------------------------------------
# Parameters

def plain(value):
    """A parameter as TOML has it: one number for a list of equal ones."""
    if isinstance(value, (tuple, list, torch.Size)):
        values = [plain(v) for v in value]
        return values[0] if values and all(v == values[0] for v in values) else values
    return value


def given(values, **defaults):
    """The parameters whose values are not PyTorch's defaults."""
    return {k: plain(values[k]) for k, d in defaults.items() if values[k] is not None and plain(values[k]) != plain(d)}


def of(module, *always, **defaults):
    """The attributes of a module: those that are always written, and those that are not the default."""
    values = {k: getattr(module, k) for k in (*always, *defaults)}
    return {**{k: plain(values[k]) for k in always}, **given(values, **defaults)}


def convolution(m, x):
    if m.padding_mode != "zeros":
        raise Refusal(f'padding_mode "{m.padding_mode}" is not supported; pad with zeros')
    found = of(m, "in_channels", "out_channels", "kernel_size", stride=1, padding=0, dilation=1, groups=1)
    if m.transposed:
        found |= of(m, output_padding=0)
    return found | ({} if m.bias is not None else {"bias": False})


def dense(m, x):
    return of(m, "in_features", "out_features") | ({} if m.bias is not None else {"bias": False})


def batch_norm(m, x):
    if m.running_mean is None:
        raise Refusal("has no running statistics: it normalises by each batch; train with track_running_stats=True")
    return of(m, "num_features", eps=1e-5, affine=True)


def layer_norm(m, x):
    bias = {"bias": False} if m.elementwise_affine and m.bias is None else {}
    return {"normalized_shape": list(m.normalized_shape)} | of(m, eps=1e-5, elementwise_affine=True) | bias


def max_pool(m, x):
    if m.return_indices:
        raise Refusal("return_indices is not supported")
    return of(m, "kernel_size", stride=m.kernel_size, padding=0, dilation=1, ceil_mode=False)


def avg_pool(m, x):
    if getattr(m, "divisor_override", None) is not None:
        raise Refusal("divisor_override is not supported")
    return of(m, "kernel_size", stride=m.kernel_size, padding=0, ceil_mode=False, count_include_pad=True)


def adaptive(size, x, spatial):
    """The output size; None keeps an axis. The input must divide into equal windows."""
    extents = list(x.shape[-spatial:])
    sizes = list(size) if isinstance(size, (tuple, list)) else [size] * spatial
    sizes = [e if s is None else s for s, e in zip(sizes, extents)]
    if any(s < 1 or e % s for s, e in zip(sizes, extents)):
        raise Refusal(f"output_size {sizes} does not divide the input's {extents}, so its windows differ in size; "
                      "choose a size that divides it")
    return {"output_size": plain(sizes)}


def adaptive_pool(m, x):
    if getattr(m, "return_indices", False):
        raise Refusal("return_indices is not supported")
    return adaptive(m.output_size, x, 1 if type(m).__name__.endswith("1d") else 2)


def softmax_dim(dim, x):
    """The axis, by PyTorch's old rule where it is not given."""
    axis(x, (0 if len(x.shape) in (0, 1, 3) else 1) if dim is None else dim, "softmax")
    return {} if dim is None else {"dim": dim}


def check_softplus(beta, threshold):
    """unfloat's Softplus is log(1 + exp(x)), which from 20 on is x in single precision anyway."""
    if beta != 1:
        raise Refusal(f"Softplus with beta = {beta} is not supported, only beta = 1; write F.softplus({beta} * x) / {beta}")
    if threshold < 20:
        raise Refusal(f"Softplus with threshold = {threshold} is not supported; leave it at 20, or use a larger one")


def softplus(m, x):
    check_softplus(m.beta, m.threshold)
    return {}


def no_parameters(m, x):
    return {}


# Kinds of torch.nn: what is written for a module that reads `x`.
MODULES = {
    **dict.fromkeys(("Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d"), convolution),
    "Linear": dense,
    **dict.fromkeys(("BatchNorm1d", "BatchNorm2d", "BatchNorm3d"), batch_norm),
    "LayerNorm": layer_norm,
    **dict.fromkeys(("MaxPool1d", "MaxPool2d"), max_pool),
    **dict.fromkeys(("AvgPool1d", "AvgPool2d"), avg_pool),
    **dict.fromkeys(("AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d"), adaptive_pool),
    **dict.fromkeys(("ReLU", "ReLU6", "SiLU", "Mish", "Hardswish", "Hardsigmoid", "Sigmoid", "LogSigmoid", "Tanh",
                     "Softsign", "Dropout", "Dropout1d", "Dropout2d", "AlphaDropout", "Identity"), no_parameters),
    "Hardtanh": lambda m, x: of(m, min_val=-1, max_val=1),
    "LeakyReLU": lambda m, x: of(m, negative_slope=0.01),
    "PReLU": lambda m, x: of(m, num_parameters=1),
    "ELU": lambda m, x: of(m, alpha=1),
    "GELU": lambda m, x: of(m, approximate="none"),
    "Softplus": softplus,
    "Softmax": lambda m, x: softmax_dim(m.dim, x),
    "LogSoftmax": lambda m, x: softmax_dim(m.dim, x),
    "Flatten": lambda m, x: of(m, start_dim=1, end_dim=-1),
    "ZeroPad2d": lambda m, x: {"padding": list(m.padding)},
}
# Modules that do nothing at inference and have no kind of their own.
NOTHING = {"Dropout3d", "FeatureAlphaDropout"}


# ---------------------------------------------------------------------------------------------------------------------
# Modules of binary and fixed-point courses

def frac_of(m):
    """The digits behind the binary point: an attribute, or the exponent of the scale that the course's module keeps."""
    for name in ("frac", "frac_bits"):
        if isinstance(getattr(m, name, None), int):
            return getattr(m, name)
    scale = getattr(m, "scale_l", None)
    if isinstance(scale, (int, float)) and scale > 0 and math.log2(scale) == round(math.log2(scale)):
        return round(math.log2(scale))
    raise Refusal("the number of digits behind the binary point was not found; keep it as self.frac")


def attribute(m, name, kinds):
    value = getattr(m, name, None)
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise Refusal(f"the parameter `{name}` was not found; keep it as self.{name}")
    return value


def fixed_point(x, bits, frac):
    """Ties to even."""
    return torch.clamp(torch.round(x * 2.0 ** frac), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1) * 2.0 ** -frac


def sign_of_zero(m):
    """What the module makes of 0: the course leaves that to the reader."""
    zero = float(m(torch.zeros(1, 1)))
    if zero not in (-1, 0, 1):
        raise Refusal(f"makes {zero} of 0, expected -1, 0 or 1")
    return {"zero": int(zero)}


def sign(x, zero):
    return torch.where(x == 0, float(zero), torch.where(x > 0, 1.0, -1.0))


# Quantizers: how their parameters are found, and what they compute.
QUANTIZERS = {
    "BinarySign": (sign_of_zero, sign),
    "Int8Float": (lambda m: {"frac": frac_of(m)}, lambda x, frac: fixed_point(x, 8, frac)),
    "FixedPoint": (lambda m: {"bits": attribute(m, "bits", int), "frac": frac_of(m)}, fixed_point),
}


def binarize_conv(m, x):
    x = x if x.size(1) == 3 else x.sign()
    y = F.conv2d(x, m.weight.sign(), None, m.stride, m.padding, m.dilation, m.groups)
    return y if m.bias is None else y + m.bias.view(1, -1, 1, 1)


def binarize_linear(m, x):
    x = x if x.size(1) == 784 else x.sign()
    y = F.linear(x, m.weight.sign())
    return y if m.bias is None else y + m.bias.view(1, -1)


# Kinds outside torch.nn: the base class, what is written, and what is computed.
CUSTOM = {
    "BinarizeConv2d": (nn.Conv2d, convolution, binarize_conv),
    "BinarizeLinear": (nn.Linear, dense, binarize_linear),
    **{kind: (nn.Module, lambda m, x, p=p: p(m), lambda m, x, p=p, f=f: f(x, **p(m))) for kind, (p, f) in QUANTIZERS.items()},
}


def is_torch(module):
    return type(module).__module__.split(".")[:2] in (["torch", "nn"], ["torch", "ao"])


def custom_kind(module, custom):
    """The kind of a module outside torch.nn, if its class is known: a name or a function of the user's, or a name of a course's."""
    name = type(module).__name__
    if name in custom or is_torch(module) or name not in CUSTOM:
        return custom.get(name)
    # A whole network may be called as a quantizer is.
    whole = name in QUANTIZERS and (any(True for _ in module.children()) or any(True for _ in module.parameters()))
    return name if isinstance(module, CUSTOM[name][0]) and not whole else None


QUANTIZED = {"Conv1d": (nn.Conv1d, convolution), "Conv2d": (nn.Conv2d, convolution), "Linear": (nn.Linear, dense)}


def weight_quantizer(module):
    """The base class and the quantizer of a convolution or dense layer that keeps one in an attribute; else None."""
    if is_torch(module):
        return None
    for base, (cls, _) in QUANTIZED.items():
        if isinstance(module, cls):
            for name in ("quantizer", "weight_quantizer", "weight_quant", "quant"):
                if hasattr(module, name):
                    return base, getattr(module, name)
    return None


def quantized_layer(module, custom):
    """Kind, parameters and formula of a layer whose weights go through a quantizer."""
    base, quantizer = weight_quantizer(module)
    if quantizer is None:
        params, formula = {}, lambda w: w
    else:
        kind = custom_kind(quantizer, custom)
        if kind not in QUANTIZERS:
            raise Refusal(f"its quantizer is a {type(quantizer).__name__}; known quantizers are {', '.join(QUANTIZERS)}; "
                          f'if it computes what one of them does, pass kinds={{"{type(quantizer).__name__}": KIND}}')
        found = QUANTIZERS[kind][0](quantizer)
        params, formula = {"quantizer": kind, **found}, lambda w: QUANTIZERS[kind][1](w, **found)

    def compute(m, x):
        if base == "Linear":
            return F.linear(x, formula(m.weight), m.bias)
        conv = F.conv1d if base == "Conv1d" else F.conv2d
        return conv(x, formula(m.weight), m.bias, m.stride, m.padding, m.dilation, m.groups)

    layer = base if quantizer is None else f"Quantized{base}"
    return layer, lambda m, x: QUANTIZED[base][1](m, x) | params, compute


def probes(x):
    """The example and numbers with exact zeros and ties among them: what a module is compared on."""
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(x.shape, generator=generator) * 2
    coarse = torch.round(noise * 4) / 8
    return [x, noise, coarse, torch.zeros_like(x)]


ELEMENTS = torch.cat([torch.arange(-600.0, 601.0) / 128, torch.tensor([0.0, -0.0, 1e-30, -1e-30, 300.0, -300.0, 127.5])])


def check_formula(module, kind, formula, x):
    """Refuses a module that does not compute what its kind does."""
    values = [ELEMENTS.reshape(1, -1).clone()] if kind in QUANTIZERS else probes(x)
    for value in values:
        want, found = formula(module, value.clone()), module(value.clone())
        exact = kind in CUSTOM and (kind in QUANTIZERS or bool((value.frac() == 0).all()) or value.size(1) not in (3, 784))
        same = want.shape == found.shape and (torch.equal(want, found) if exact else close(want, found))
        if not same:
            at = ""
            if kind in QUANTIZERS and want.shape == found.shape:
                i = int((want != found).flatten().nonzero()[0])
                at = f" of {float(value.flatten()[i])} it makes {float(found.flatten()[i])}, expected {float(want.flatten()[i])};"
            raise Refusal(f"does not compute what unfloat understands by {kind}:{at} compare it with the rule in "
                          "docs/pytorch-architecture.md")


def close(a, b):
    return a.shape == b.shape and bool(torch.allclose(a, b, rtol=1e-5, atol=1e-6, equal_nan=True))


# ---------------------------------------------------------------------------------------------------------------------
# Functions and methods: PyTorch's own parameters in, kind, operands and parameters out

class Operand:
    """A tensor that a function reads."""

    def __init__(self, node, tensor):
        self.node, self.shape, self.dtype = node, tensor.shape, tensor.dtype

    def key(self):
        return self.node.target if self.node.op == "get_attr" else None


BATCH = "the batch"


def axis(x, dim, what):
    """An axis that is not the batch."""
    if not isinstance(dim, int) or dim in (0, -len(x.shape)):
        raise Refusal(f"{what} works along the batch (dim {dim}); samples must stay apart")
    return dim


def only(**parameters):
    """Refuses parameters that must keep their defaults."""
    for name, (value, default) in parameters.items():
        if value is not default and value != default:
            raise Refusal(f"{name} = {value} is not supported")


def whole(args):
    """f(x, 1, 2) and f(x, (1, 2)) are the same."""
    return list(args[0]) if len(args) == 1 and isinstance(args[0], (tuple, list, torch.Size)) else list(args)


def binary(kind, swap=False):
    def function(input, other, *, alpha=1, rounding_mode=None):
        only(alpha=(alpha, 1), rounding_mode=(rounding_mode, None))
        a, b = (other, input) if swap else (input, other)
        if isinstance(a, Operand) and isinstance(b, Operand):
            return kind, [a, b], {}
        x, number, reverse = (a, b, False) if isinstance(a, Operand) else (b, a, True)
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise Refusal(f"{number} is no number that stays the same for every batch")
        return kind, [x], {"value": float(number)} | ({"reverse": True} if reverse else {})
    return function


def unary(kind, **defaults):
    """A function of one operand; `defaults` are its parameters in order."""
    def function(input, *args, **kwargs):
        kwargs.pop("inplace", None)
        names = [n for n in defaults]
        args = args[:len(names)]  # what may follow is `inplace`
        values = {**defaults, **dict(zip(names, args)), **kwargs}
        if set(values) - set(defaults):
            raise Refusal(f"the parameter {sorted(set(values) - set(defaults))[0]} is not supported")
        return kind, [input], given(values, **defaults)
    return function


def softplus_of(input, beta=1, threshold=20):
    check_softplus(beta, threshold)
    return "Softplus", [input], {}


def clamp(input, min=None, max=None):
    if isinstance(min, Operand) or isinstance(max, Operand):
        raise Refusal("bounds that are tensors are not supported")
    return "Clamp", [input], {k: float(v) for k, v in (("min", min), ("max", max)) if v is not None}


def cat(tensors, dim=0):
    if any(len(t.shape) != len(tensors[0].shape) for t in tensors):
        raise Refusal("joins tensors with different numbers of axes")
    return "Cat", list(tensors), {"dim": axis(tensors[0], dim, "cat")}


def view(input, *shape, **kwargs):
    return "View", [input], {"shape": None}  # the shape that came out


def flatten(input, start_dim=0, end_dim=-1):
    return "Flatten", [input], given({"start_dim": start_dim, "end_dim": end_dim}, start_dim=1, end_dim=-1)


def permute(input, *dims):
    rank = len(input.shape)
    dims = [d + rank if d < 0 else d for d in whole(dims)]
    if dims[0] != 0:
        raise Refusal("moves the batch; it must stay the first axis")
    return "Permute", [input], {"dims": dims}


def transpose(input, dim0, dim1):
    return "Transpose", [input], {"dim0": axis(input, dim0, "transpose"), "dim1": axis(input, dim1, "transpose")}


def squeeze(input, dim=None):
    if not isinstance(dim, int):
        raise Refusal("squeeze without one dim removes a batch of 1 too; name the axis")
    return view(input, axis(input, dim, "squeeze"))


def unsqueeze(input, dim):
    if dim in (0, -len(input.shape) - 1):
        raise Refusal("unsqueeze puts an axis in front of the batch")
    return view(input, dim)


def reduction(kind):
    def function(input, *dims, dim=None, keepdim=False, dtype=None):
        only(dtype=(dtype, None))
        if len(dims) == 2 and isinstance(dims[1], bool):
            dims, keepdim = dims[:1], dims[1]
        dim = whole(dims) if dims else dim
        if dim is None:
            raise Refusal(f"{kind.lower()} without dim mixes the samples; name the axes")
        dims = [axis(input, d, kind.lower()) for d in ([dim] if isinstance(dim, int) else dim)]
        return kind, [input], {"dim": dims if len(dims) > 1 else dims[0]} | ({"keepdim": True} if keepdim else {})
    return function


def softmax(kind):
    def function(input, dim=None, _stacklevel=3, dtype=None):
        only(dtype=(dtype, None))
        return kind, [input], softmax_dim(dim, input)
    return function


def dropout(input, p=0.5, training=True, inplace=False):
    if training:
        raise Refusal("drops at inference too; call it with training=self.training")
    return input


def same(input, *args, **kwargs):
    return input


def max_pool_of(kind):
    def function(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
        only(return_indices=(return_indices, False))
        values = {"stride": stride or kernel_size, "padding": padding, "dilation": dilation, "ceil_mode": ceil_mode}
        return kind, [input], {"kernel_size": plain(kernel_size)} | given(values, stride=kernel_size, padding=0, dilation=1,
                                                                         ceil_mode=False)
    return function


def avg_pool_of(kind):
    def function(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
        only(divisor_override=(divisor_override, None))
        values = {"stride": stride or kernel_size, "padding": padding, "ceil_mode": ceil_mode,
                  "count_include_pad": count_include_pad}
        return kind, [input], {"kernel_size": plain(kernel_size)} | given(values, stride=kernel_size, padding=0, ceil_mode=False,
                                                                         count_include_pad=True)
    return function


def adaptive_of(kind, spatial):
    def function(input, output_size, return_indices=False):
        only(return_indices=(return_indices, False))
        return kind, [input], adaptive(output_size, input, spatial)
    return function


def owner(**tensors):
    """The module whose tensors a function reads: {"weight": (operand, may be missing)} to the prefix of their keys."""
    prefixes = set()
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        prefix, _, last = (tensor.key() or "").rpartition(".")
        if last != name or not prefix:
            raise Refusal(f"its {name} is computed, or no tensor `NAME.{name}` of the state dict; if the module is one of "
                          f"{', '.join(CUSTOM)}, pass kinds={{CLASS: KIND}}")
        prefixes.add(prefix)
    if len(prefixes) > 1:
        raise Refusal(f"reads tensors of several modules: {', '.join(sorted(prefixes))}")
    return {"module": prefixes.pop()}


def conv_of(kind):
    def function(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
        values = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        found = owner(weight=weight, bias=bias) | given(values, stride=1, padding=0, dilation=1, groups=1)
        return kind, [input], found | ({"bias": False} if bias is None else {})
    return function


def linear_of(input, weight, bias=None):
    return "Linear", [input], owner(weight=weight, bias=bias) | ({"bias": False} if bias is None else {})


def batch_norm_of(input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    if training:
        raise Refusal("normalises by each batch; call it with training=self.training and running statistics")
    found = owner(running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    kind = "BatchNorm2d" if len(input.shape) == 4 else "BatchNorm1d"
    return kind, [input], found | given({"eps": eps}, eps=1e-5) | ({"affine": False} if weight is None else {})


def layer_norm_of(input, normalized_shape, weight=None, bias=None, eps=1e-5):
    if weight is None:
        raise Refusal("layer_norm without a weight is not supported; use the module nn.LayerNorm")
    return "LayerNorm", [input], owner(weight=weight, bias=bias) | {"normalized_shape": list(normalized_shape)} | given(
        {"eps": eps}, eps=1e-5)


def prelu_of(input, weight):
    return "PReLU", [input], owner(weight=weight)


def pad(input, pad, mode="constant", value=None):
    if mode != "constant" or min(pad) < 0 or len(pad) // 2 >= len(input.shape):
        raise Refusal("only padding with a constant, and not of the batch, is supported")
    return "Pad", [input], {"pad": list(pad)} | ({"value": float(value)} if value else {})


def power(input, exponent):
    if exponent != 2:
        raise Refusal(f"pow({exponent}) is not supported; the square is")
    return "Mul", [input, input], {}


def square(input):
    return "Mul", [input, input], {}


# By name, without the underscores of private and in-place variants.
FUNCTIONS = {
    **dict.fromkeys(("add", "iadd"), binary("Add")), **dict.fromkeys(("sub", "isub", "subtract"), binary("Sub")),
    **dict.fromkeys(("mul", "imul", "multiply"), binary("Mul")),
    **dict.fromkeys(("div", "truediv", "itruediv", "divide", "true_divide"), binary("Div")),
    "rsub": binary("Sub", swap=True),
    "relu": unary("ReLU"), "relu6": unary("ReLU6"), "silu": unary("SiLU"), "mish": unary("Mish"),
    "hardswish": unary("Hardswish"), "hardsigmoid": unary("Hardsigmoid"), "sigmoid": unary("Sigmoid"),
    "logsigmoid": unary("LogSigmoid"), "tanh": unary("Tanh"),
    "softsign": unary("Softsign"), "hardtanh": unary("Hardtanh", min_val=-1, max_val=1),
    "leaky_relu": unary("LeakyReLU", negative_slope=0.01), "elu": unary("ELU", alpha=1),
    "gelu": unary("GELU", approximate="none"), "softplus": softplus_of,
    "round": unary("Round"), "floor": unary("Floor"), "ceil": unary("Ceil"), "maximum": binary("Maximum"),
    "minimum": binary("Minimum"), "amax": reduction("Amax"),
    "abs": unary("Abs"), "absolute": unary("Abs"), "neg": unary("Neg"), "negative": unary("Neg"), "exp": unary("Exp"),
    "log": unary("Log"), "sqrt": unary("Sqrt"), "sign": unary("Sign"), "pow": power, "square": square,
    "clamp": clamp, "clip": clamp, "clamp_min": lambda input, min: clamp(input, min),
    "clamp_max": lambda input, max: clamp(input, None, max),
    **dict.fromkeys(("cat", "concat", "concatenate"), cat),
    **dict.fromkeys(("view", "reshape", "unflatten", "view_as", "reshape_as"), view), "flatten": flatten,
    "permute": permute, **dict.fromkeys(("transpose", "swapaxes", "swapdims"), transpose),
    "squeeze": squeeze, "unsqueeze": unsqueeze, "mean": reduction("Mean"), "sum": reduction("Sum"),
    "softmax": softmax("Softmax"), "log_softmax": softmax("LogSoftmax"),
    **dict.fromkeys(("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"), dropout),
    **dict.fromkeys(("contiguous", "detach", "float"), same), "clone": unary("Clone"),
    **{f"max_pool{n}d": max_pool_of(f"MaxPool{n}d") for n in (1, 2)},
    **{f"avg_pool{n}d": avg_pool_of(f"AvgPool{n}d") for n in (1, 2)},
    **{f"adaptive_{f}_pool{n}d": adaptive_of(f"Adaptive{f.title()}Pool{n}d", n) for f in ("avg", "max") for n in (1, 2)},
    **{f"conv{n}d": conv_of(f"Conv{n}d") for n in (1, 2, 3)}, "linear": linear_of, "batch_norm": batch_norm_of,
    "layer_norm": layer_norm_of, "prelu": prelu_of, "pad": pad,
}
# Functions that change their first operand and do not say so by a `_` at the end of their name.
IN_PLACE = {"iadd", "isub", "imul", "itruediv", "setitem"}
# Kinds whose result shows the memory of what they read.
VIEWS = {"View", "Flatten", "Permute", "Transpose", "Identity", "Dropout", "Dropout1d", "Dropout2d", "AlphaDropout"}
# What to do instead of functions that have no kind.
HINTS = {
    "getitem": "parts of a tensor cannot be taken; split the layer before it in two", "chunk": "use two layers instead",
    "split": "use two layers instead", "matmul": "use nn.Linear", "bmm": "products of two layers are not supported",
    "max": "use torch.amax with dim",
    "zeros": "make it a buffer: self.register_buffer", "ones": "make it a buffer: self.register_buffer",
    "where": "use BinarySign, or a module of torch.nn",
}


# ---------------------------------------------------------------------------------------------------------------------
# Tracing and running

class Tracer(torch.fx.Tracer):
    """Follows modules of the user's own, but for those whose class is a kind. What cannot be followed becomes a leaf."""

    def __init__(self, custom):
        super().__init__()
        self.custom, self.broken = custom, {}

    def is_leaf_module(self, m, qualified_name):
        if custom_kind(m, self.custom) or weight_quantizer(m):
            return True
        return is_torch(m) and not isinstance(m, (nn.Sequential, nn.ModuleList, nn.ModuleDict))

    def call_module(self, m, forward, args, kwargs):
        last, stack = next(reversed(self.graph.nodes), None), self.module_stack.copy()
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception as error:  # whatever the user's code raises on a stand-in for a tensor
            for node in reversed(list(self.graph.nodes)):
                if node is last:
                    break
                self.graph.erase_node(node)
            self.module_stack = stack
            path = self.path_of_module(m)
            self.broken.setdefault(path, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
            return self.create_proxy("call_module", path, args, kwargs)


class Runner(torch.fx.Interpreter):
    """Runs the trace, keeps every value, and finds out which operations change a tensor that stands elsewhere too."""

    def __init__(self, model, graph, probe=None):
        super().__init__(model, garbage_collect_values=False, graph=graph)
        self.values, self.shown, self.read, self.instead, self.probe = {}, {}, {}, {}, probe

    @staticmethod
    def stamp(tensor):
        return tensor._version, tensor.data_ptr()

    def run_node(self, node):
        for source in node.all_input_nodes:
            self.read[node, source] = self.instead.get(source)
        if self.probe is not None:
            self.probe(node, self)
        value = super().run_node(node)
        self.values[node] = value
        for other, stamp in self.shown.items():
            found = self.stamp(self.values[other])
            if found != stamp:
                result = isinstance(value, torch.Tensor) and value.data_ptr() == found[1] and value.shape == self.values[other].shape
                self.instead[other] = ("result", node) if result else ("changed", node)
                self.shown[other] = found
        if isinstance(value, torch.Tensor):
            self.shown[node] = self.stamp(value)
        return value


class Writer:
    """Builds the two files."""

    def __init__(self, model, inputs, state, custom):
        self.model, self.inputs, self.state, self.custom = model, inputs, state, custom
        self.problems, self.layers, self.names, self.taken = [], [], {}, set()
        self.constants, self.extra, self.keys, self.used, self.calls = {}, {}, {}, set(), collections.Counter()
        self.unknown, self.signs_read = [], []

    def refuse(self, where, text):
        problem = f"{where}: {text}"
        if problem not in self.problems:
            self.problems.append(problem)

    def stop_if_refused(self):
        if self.problems:
            raise ExportError(self.problems)

    def run(self, drop_unused):
        graph = self.traced()
        first, second = self.runs(graph)
        for node in graph.nodes:
            self.write(node, first, second)
        outputs = self.outputs(graph, first)
        self.keep_read(outputs)
        self.say_what_is_overwritten(outputs)
        self.check_used(drop_unused)
        self.stop_if_refused()
        self.check_model(graph)
        self.stop_if_refused()
        return self.text(graph, first, outputs), self.arrays(drop_unused)

    def traced(self):
        """The graph of all operations."""
        tracer = Tracer(self.custom)
        parameters = list(inspect.signature(self.model.forward).parameters.values())
        rest = {p.name: p.default for p in parameters[len(self.inputs):]
                if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is not p.empty}
        try:
            graph = tracer.trace(self.model, concrete_args=rest or None)
        except Exception as error:
            self.refuse("the model's forward", f"could not be followed by torch.fx: {type(error).__name__}: {error}; branches and "
                        "loops that depend on a tensor's values or on its batch must go, or into a module of a known kind")
            self.stop_if_refused()
        self.broken = tracer.broken
        for node in reversed(list(graph.nodes)):
            if node.op == "call_function" and node.target is torch._assert:
                graph.erase_node(node)
        for node in reversed(list(graph.nodes)):
            name = self.function_name(node)
            in_place = name.endswith("_") or node.kwargs.get("inplace") or name in IN_PLACE
            if node.op in ("call_function", "call_method", "get_attr") and not node.users and not in_place:
                graph.erase_node(node)
        places = [n for n in graph.nodes if n.op == "placeholder"]
        for node in places[len(self.inputs):]:
            if not node.users:
                graph.erase_node(node)
        places = [n for n in graph.nodes if n.op == "placeholder"]
        if len(places) != len(self.inputs):
            self.refuse("example inputs", f"{len(self.inputs)} given, but forward reads {', '.join(n.name for n in places)}")
            self.stop_if_refused()
        return graph

    def runs(self, graph):
        """The values for the example, and for one sample more."""
        found = []
        for more in (False, True):
            inputs = [torch.cat([x, x[:1]]) if more else x.clone() for x in self.inputs]
            runner = Runner(self.model, graph, None if more else self.probe)
            try:
                runner.run(*inputs)
            except Exception as error:
                what = f"with {inputs[0].shape[0]} samples, one more than the example, which works;" if more else "on the example:"
                text = str(error).splitlines()[0] if str(error) else ""
                help = " write x.size(0) or -1 where the shape has the batch" if more else ""
                self.refuse("the model", f"fails {what} {type(error).__name__}: {text}{help}")
                self.stop_if_refused()
            found.append(runner)
        return found

    def probe(self, node, runner):
        """Compares a module of a course with the rule for its kind, where it stands."""
        if node.op != "call_module" or not node.args:
            return
        module = self.model.get_submodule(node.target)
        if is_torch(module) or not (custom_kind(module, self.custom) or weight_quantizer(module)):
            return
        where = self.where(node)
        try:
            kind, params, formula = self.kind_of(module)
            if formula is not None:
                check_formula(copy.deepcopy(module), kind, formula, runner.values[node.args[0]])
        except Refusal as refusal:
            self.refuse(where, str(refusal))
        except Exception as error:
            self.refuse(where, f"could not be compared with its rule: {type(error).__name__}: {error}")

    def kind_of(self, module):
        """Kind, parameters and formula of a module outside torch.nn."""
        kind = custom_kind(module, self.custom)
        if callable(kind):
            kind, params = kind(module)
            return kind, lambda m, x: dict(params), None
        if kind:
            base, params, formula = CUSTOM[kind]
            if not isinstance(module, base):
                raise Refusal(f"expected a subclass of torch.nn.{base.__name__} for {kind}")
            return kind, params, formula
        return quantized_layer(module, self.custom)

    def where(self, node):
        if node.op == "call_module":
            return f"module {node.target} ({type(self.model.get_submodule(node.target)).__name__})"
        stack = node.meta.get("nn_module_stack") or {}
        path = next(reversed([path for path, _ in stack.values()]), "") if stack else ""
        return f"{self.function_name(node)} in {path or 'the forward of the model'}"

    @staticmethod
    def function_name(node):
        name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
        return "max_pool" if name == "fn" else name

    # -- layers

    def write(self, node, first, second):
        """Writes a node as a layer, or notes which layer stands for it."""
        value = first.values.get(node)
        try:
            if node.op == "placeholder":
                # The name that a single input has in the file.
                self.names[node] = self.unique("input" if len(self.inputs) == 1 else str(node.target))
                self.check_batch(node, first, second)
            elif node.op == "call_module":
                self.write_module(node, first)
                self.check_batch(node, first, second)
            elif node.op in ("call_function", "call_method"):
                tensors = isinstance(value, torch.Tensor) or (isinstance(value, (tuple, list)) and not isinstance(value, torch.Size)
                                                              and any(isinstance(v, torch.Tensor) for v in value))
                if tensors:
                    self.write_function(node, first, second)
                    self.check_batch(node, first, second)
        except Refusal as refusal:
            self.refuse(self.where(node), str(refusal))
            self.names.setdefault(node, self.unique(node.name))

    def check_batch(self, node, first, second):
        """The first axis is the batch, and nothing else changes with it."""
        a, b = first.values[node], second.values[node]
        batch = self.inputs[0].shape[0]
        if not isinstance(a, torch.Tensor):
            raise Refusal(f"returns a {type(a).__name__}, expected one tensor")
        if a.dtype != torch.float32:
            raise Refusal(f"makes {a.dtype}, expected torch.float32")
        fine = a.dim() > 0 and a.shape[0] == batch and b.shape[0] == batch + 1 and a.shape[1:] == b.shape[1:]
        if not fine:
            raise Refusal(f"makes {list(a.shape)} of {batch} sample(s) and {list(b.shape)} of {batch + 1}: the first axis must be "
                          "the batch; write x.size(0) or -1 there")

    def write_module(self, node, first):
        module = self.model.get_submodule(node.target)
        if len(node.args) != 1 or node.kwargs or not isinstance(node.args[0], torch.fx.Node):
            raise Refusal("expected a call with one tensor")
        x = first.values[node.args[0]]
        name = type(module).__name__
        if is_torch(module):
            if name in NOTHING:
                name, module = "Identity", nn.Identity()
            if name not in MODULES:
                raise Refusal(f"nn.{name} is not supported; docs/pytorch-architecture.md lists the modules that are")
            kind, params = name, MODULES[name](module, x)
        elif custom_kind(module, self.custom) or weight_quantizer(module):
            kind, parameters, _ = self.kind_of(module)
            params = parameters(module, x)
        else:  # what could not be followed
            kind, params = name, {}
            self.unknown.append(f"{node.target} ({name})")
        source = self.source(node, node.args[0], first)
        self.calls[node.target] += 1
        count = self.calls[node.target]
        layer = self.unique(node.target if count == 1 else f"{node.target}_{count - 1}")
        self.add(node, layer, kind, [source], params, node.target)

    def write_function(self, node, first, second):
        name = self.function_name(node)
        key = name.strip("_")
        if name == "fn":  # the pooling functions that may return indices
            key = f"max_pool{first.values[node].dim() - 2}d"
        if key not in FUNCTIONS:
            hint = f"; {HINTS[key]}" if key in HINTS else ""
            raise Refusal(f"the function is not supported{hint}")
        args = torch.fx.node.map_arg(node.args, lambda n: self.argument(n, first, second))
        kwargs = dict(torch.fx.node.map_arg(node.kwargs, lambda n: self.argument(n, first, second)))
        if key in ("cat", "concat", "concatenate"):
            kwargs = {("dim" if k == "axis" else k): v for k, v in kwargs.items()}
        try:
            found = FUNCTIONS[key](*args, **kwargs)
        except TypeError as error:
            raise Refusal(f"is called in a way that is not supported: {error}") from None
        if isinstance(found, Operand):
            self.names[node] = self.source(node, found.node, first)
            return
        kind, operands, params = found
        if kind == "View":
            params = {"shape": [-1, *first.values[node].shape[1:]]}
        module = params.pop("module", None)  # the prefix of the tensors of a functional layer
        self.constants_fit(operands, first.values[node])
        sources = [self.source(node, o.node, first, len(first.values[node].shape)) for o in operands]
        self.add(node, self.unique(node.name), kind, sources, params, module)

    def argument(self, node, first, second):
        """A tensor as an operand, a number as itself or as the batch."""
        a, b = first.values[node], second.values[node]
        if isinstance(a, torch.Tensor):
            return Operand(node, a)
        return self.number(a, b)

    def number(self, a, b):
        if isinstance(a, (tuple, list)):
            return [self.number(x, y) for x, y in zip(a, b)]
        if a == b:
            return a
        if (a, b) == (self.inputs[0].shape[0], self.inputs[0].shape[0] + 1):
            return BATCH
        raise Refusal(f"a number changes with the batch: {a} for {self.inputs[0].shape[0]} sample(s), {b} for one more")

    @staticmethod
    def constants_fit(operands, result):
        layers = [o for o in operands if o.key() is None]
        if not layers:
            raise Refusal("computes with constants only; compute the result once and make it a buffer")
        if len({len(o.shape) for o in layers}) > 1:
            raise Refusal("its operands have different numbers of axes, so that the batch of one meets another axis; "
                          "use unsqueeze")

    def source(self, node, source, runner, rank=None):
        """The name of what a node reads, after what may have changed it in place."""
        change = runner.read.get((node, source))
        if change is not None:
            how, by = change
            if how == "result" and by in self.names:
                return self.names[by]
            module = self.model.get_submodule(by.target) if by.op == "call_module" else None
            if module is not None and custom_kind(module, self.custom) in ("BinarizeConv2d", "BinarizeLinear"):
                self.signs_read.append((node, source))
                return self.names[source]  # `overwrites_input` says that it holds signs from there on
            raise Refusal(f"reads a tensor that {self.where(by)} changed in place; let that work on a copy (inplace=False)")
        if source.op == "get_attr":
            return self.constant(source, runner, rank)
        return self.names[source]

    def constant(self, node, runner, rank):
        """A layer for a tensor of the model that a function reads."""
        tensor, key = runner.values[node], node.target
        if tensor.dtype != torch.float32:
            raise Refusal(f"reads {key}, which is {tensor.dtype}, expected torch.float32")
        if rank is None or tensor.dim() > rank or tensor.dim() == rank and tensor.shape[0] != 1:
            raise Refusal(f"reads {key} with the shape {list(tensor.shape)}, which has an axis for the batch that is not 1")
        if (key, rank) not in self.constants:
            name = self.unique(key)
            layer = {"name": name, "kind": "Constant"} | ({"key": key} if key != name else {}) | {"axes": rank - 1}
            self.layers.append(layer)
            self.constants[key, rank] = name
            self.keys[name] = [key]
            if key not in self.state:
                self.extra[key] = tensor.detach().clone()
        return self.constants[key, rank]

    def add(self, node, name, kind, sources, params, module):
        layer = {"name": name, "kind": kind, "from": sources}
        if module is not None:
            owned = [k for k in self.state if k.rpartition(".")[0] == module]
            self.keys[name] = owned
            if module != name and owned:
                layer["key"] = module
        self.layers.append(layer | params)
        self.names[node] = name

    def unique(self, name):
        found, i = name, 2
        while found in self.taken:
            found, i = f"{name}~{i}", i + 1
        self.taken.add(found)
        return found

    # -- the whole

    def outputs(self, graph, first):
        node = next(n for n in graph.nodes if n.op == "output")
        found = []

        def collect(value):
            if isinstance(value, torch.fx.Node):
                found.append(value)
            elif isinstance(value, dict):
                for v in value.values():
                    collect(v)
            elif isinstance(value, (tuple, list)):
                for v in value:
                    collect(v)
            elif value is not None:
                self.refuse("the model's result", f"holds {value!r}, expected tensors")
        collect(node.args[0])
        names = []
        inputs = {self.names.get(n) for n in graph.nodes if n.op == "placeholder"}
        for source in found:
            if not isinstance(first.values[source], torch.Tensor) or source.op == "get_attr":
                self.refuse("the model's result", f"{source.name} is no tensor of the batch")
                continue
            try:
                name = self.source(node, source, first)
            except Refusal as refusal:
                self.refuse("the model's result", str(refusal))
                continue
            if name in names or name in inputs:
                copied = self.unique(f"{name}.out")
                self.layers.append({"name": copied, "kind": "Identity", "from": [name]})
                name = copied
            names.append(name)
        if not names:
            self.refuse("the model's result", "holds no tensor")
        return names

    def keep_read(self, outputs):
        """Drops layers that no output reads, and notes which tensors the others read."""
        needed = set(outputs)
        for layer in reversed(self.layers):
            if layer["name"] in needed:
                needed.update(layer.get("from", []))
        self.layers = [layer for layer in self.layers if layer["name"] in needed]
        self.used = {key for layer in self.layers for key in self.keys.get(layer["name"], [])}
        self.extra = {key: tensor for key, tensor in self.extra.items() if key in self.used}

    def say_what_is_overwritten(self, outputs):
        """Says of binarizing layers whether those that read the same tensor later find signs in it."""
        signs = {(self.names.get(node, "the output"), self.names[source]) for node, source in self.signs_read}
        by_name = {layer["name"]: layer for layer in self.layers}

        def memory(name):
            while name in by_name and by_name[name]["kind"] in VIEWS:
                name = by_name[name]["from"][0]
            return name
        for i, layer in enumerate(self.layers):
            if layer["kind"] not in ("BinarizeConv2d", "BinarizeLinear"):
                continue
            own = memory(layer["from"][0])
            later = [(other["name"], name) for other in self.layers[i + 1:] for name in other.get("from", [])]
            # Whatever is returned is read at the end.
            later += [("the output", name) for name in outputs]
            found = {pair in signs for pair in later if memory(pair[1]) == own}
            if len(found) == 2:
                self.refuse(f"layer {layer['name']} ({layer['kind']})", "leaves signs in a tensor that is read under another name too; "
                            "clone it first in the model")
            elif found:
                layer["overwrites_input"] = found.pop()

    def check_used(self, drop_unused):
        left = [k for k in self.state if k not in self.used and not k.endswith("num_batches_tracked")]
        if left and not drop_unused and not self.problems:
            self.refuse("the state dict", f"no layer reads these tensors: {', '.join(left)}; delete their modules, or pass "
                        "drop_unused=True to leave them out")

    def check_model(self, graph):
        """The model itself gives what the trace gives."""
        generator = torch.Generator().manual_seed(2)
        noise = [torch.randn(x.shape, generator=generator) for x in self.inputs]
        for what, inputs in (("the example", self.inputs), ("random numbers", noise)):
            want = flat(self.model(*[x.clone() for x in inputs]))
            found = flat(torch.fx.Interpreter(self.model, graph=graph).run(*[x.clone() for x in inputs]))
            if len(want) != len(found) or not all(close(a, b) for a, b in zip(want, found)):
                self.refuse("the model", f"computes something else than torch.fx recorded of it, on {what}; operations such as x += y "
                            "on a tensor that has another name too, or random numbers, cause this")
                return

    def text(self, graph, first, outputs):
        inputs = [(self.names[n], list(first.values[n].shape[1:])) for n in graph.nodes if n.op == "placeholder"]
        last = inputs[0][0] if len(inputs) == 1 else None
        lines = [f"input = {toml(inputs[0][1])}"] if len(inputs) == 1 else []
        if outputs != [self.layers[-1]["name"]]:
            lines.append(f"output = {toml(outputs)}")
        lines.append("layer = [")
        for layer in self.layers:
            if layer.get("from") == [last]:
                layer = {k: v for k, v in layer.items() if k != "from"}
            elif len(layer.get("from", [])) == 1:
                layer = layer | {"from": layer["from"][0]}
            lines.append("  { " + ", ".join(f"{key} = {toml(value)}" for key, value in layer.items()) + " },")
            last = layer["name"]
        lines.append("]")
        if len(inputs) > 1:
            for name, shape in inputs:
                lines += ["", "[[input]]", f"name = {toml(name)}", f"shape = {toml(shape)}"]
        return "\n".join(lines) + "\n"

    def arrays(self, drop_unused):
        kept = {k: t for k, t in self.state.items() if not drop_unused or k in self.used or k.endswith("num_batches_tracked")}
        return {k: t.numpy() for k, t in (kept | self.extra).items()}


def flat(value):
    if isinstance(value, torch.Tensor):
        return [value]
    values = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else []
    return [t for v in values for t in flat(v)]


# ---------------------------------------------------------------------------------------------------------------------
# Files

def toml(value):
    """A value as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml(v) for v in value) + "]"
    raise Refusal(f"{value!r} cannot be written")


def npz(arrays):
    """An uncompressed .npz with the same bytes for the same arrays."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.require(array, requirements="C"), allow_pickle=False)
    return out.getvalue()


def save(path, arrays):
    """Writes an .npz."""
    with open(path, "wb") as f:
        f.write(npz(arrays))
