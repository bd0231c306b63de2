"""Writes a PyTorch model as NAME.npz and NAME.toml, for `unfloat convert NAME.npz --arch NAME.toml`.

Copy this file beside your training script; it needs torch and numpy only.

    from unfloat_export import export
    export(model, torch.zeros(1, 3, 32, 32), "net")

The model is traced with torch.fx (in eval mode) and each call becomes a line of the TOML, which is meant to be read and
mended by hand. What cannot be expressed is refused, all of it at once (ExportError). A module of your own whose inside
cannot be traced is written as a layer of its class' name; `export` returns those names, and `kinds` maps them:

    export(model, x, "net", kinds={"MyBinaryConv": "BinarizeConv2d"})
    export(model, x, "net", kinds={"MyQuant": lambda m: ("FixedPoint", {"bits": m.bits, "frac": m.frac})})
"""

import json
import operator
import zipfile

import numpy as np
import torch
import torch.fx
import torch.nn.functional as F

__all__ = ["export", "ExportError"]


class ExportError(Exception):
    """What the model has that the architecture file cannot say."""


class Cannot(Exception):
    """Why one call cannot be expressed."""


# ---------------------------------------------------------------- modules


def keep(module, defaults, **other):
    """The attributes that are not torch's defaults."""
    found = {}
    for name, default in defaults.items():
        value = getattr(module, name)
        value = list(value) if isinstance(value, (tuple, torch.Size)) else value
        if isinstance(value, list) and value and all(v == value[0] for v in value):
            value = value[0]
        if value is not None and value != default:
            found[name] = value
    found.update(other)
    return found


def conv(module):
    if module.padding_mode != "zeros":
        raise Cannot(f"padding_mode {module.padding_mode!r}; only zeros are supported")
    names = {"in_channels": None, "out_channels": None, "kernel_size": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    if module.transposed:
        names["output_padding"] = 0
    return keep(module, names, **({} if module.bias is not None else {"bias": False}))


def linear(module):
    names = {"in_features": None, "out_features": None}
    return keep(module, names, **({} if module.bias is not None else {"bias": False}))


def batch_norm(module):
    if module.running_mean is None:
        raise Cannot("track_running_stats=False: its result depends on the other samples of a batch")
    return keep(module, {"num_features": None, "eps": 1e-5, "affine": True})


def layer_norm(module):
    bias = {"bias": False} if module.elementwise_affine and module.bias is None else {}
    shape = {"normalized_shape": list(module.normalized_shape)}
    return keep(module, {"eps": 1e-5, "elementwise_affine": True}, **shape, **bias)


def pool(module):
    if getattr(module, "return_indices", False):
        raise Cannot("return_indices=True")
    if getattr(module, "divisor_override", None) is not None:
        raise Cannot("divisor_override")
    found = keep(module, {"kernel_size": None, "padding": 0, "ceil_mode": False})
    if module.stride != module.kernel_size:
        found.update(keep(module, {"stride": None}))
    if hasattr(module, "dilation"):
        found.update(keep(module, {"dilation": 1}))
    if hasattr(module, "count_include_pad"):
        found.update(keep(module, {"count_include_pad": True}))
    return found


def adaptive(module):
    size = module.output_size
    sizes = list(size) if isinstance(size, (tuple, list)) else [size]
    if any(s is None for s in sizes):
        raise Cannot("output_size with None")
    return {"output_size": sizes[0] if len(set(sizes)) == 1 else sizes}


def attributes(**defaults):
    return lambda module: keep(module, defaults)


def nothing(_):
    return {}


def gelu(module):
    return {} if module.approximate == "none" else {"approximate": module.approximate}


def softplus(module):
    if module.beta != 1 or module.threshold != 20:
        raise Cannot("Softplus with beta or threshold")
    return {}


IN_PLACE = {"inplace": False}

TORCH = {
    **{f"Conv{n}d": conv for n in (1, 2, 3)},
    **{f"ConvTranspose{n}d": conv for n in (1, 2)},
    "Linear": linear,
    **{f"BatchNorm{n}d": batch_norm for n in (1, 2, 3)},
    "LayerNorm": layer_norm,
    **{f"MaxPool{n}d": pool for n in (1, 2)},
    **{f"AvgPool{n}d": pool for n in (1, 2)},
    **{f"Adaptive{k}Pool{n}d": adaptive for n in (1, 2) for k in ("Avg", "Max")},
    "Hardtanh": attributes(min_val=-1.0, max_val=1.0, **IN_PLACE),
    "ReLU": attributes(**IN_PLACE),
    "ReLU6": attributes(**IN_PLACE),
    "LeakyReLU": attributes(negative_slope=0.01, **IN_PLACE),
    "ELU": attributes(alpha=1.0, **IN_PLACE),
    "SiLU": attributes(**IN_PLACE),
    "Mish": attributes(**IN_PLACE),
    "Hardswish": attributes(**IN_PLACE),
    "Hardsigmoid": attributes(**IN_PLACE),
    "PReLU": attributes(num_parameters=1),
    "GELU": gelu,
    "Softplus": softplus,
    "Sigmoid": nothing,
    "LogSigmoid": nothing,
    "Tanh": nothing,
    "Softsign": nothing,
    "Softmax": attributes(dim=None),
    "LogSoftmax": attributes(dim=None),
    "Flatten": attributes(start_dim=1, end_dim=-1),
    **{name: nothing for name in ("Identity", "Dropout", "Dropout1d", "Dropout2d", "AlphaDropout")},
}


def quantizer(module):
    """What a quantizer computes, told from a few numbers: the name of its kind, and its parameters."""
    name = type(module).__name__
    if name == "BinarySign":
        with torch.no_grad():
            seen = module(torch.tensor([-2.0, -0.25, 0.0, 0.25, 2.0])).tolist()
        if seen[:2] != [-1, -1] or seen[3:] != [1, 1] or seen[2] not in (-1, 0, 1):
            raise Cannot(f"BinarySign gives {seen} for [-2, -0.25, 0, 0.25, 2]")
        return name, {"zero": int(seen[2])}
    if name == "Int8Float":
        frac = int(round(np.log2(module.scale_l)))
        with torch.no_grad():
            x = torch.tensor([0.5, 1.5, -0.5, 2.5, 300.0, -300.0]) * 2.0**-frac
            if module(x).tolist() != (torch.tensor([0.0, 2.0, 0.0, 2.0, 127.0, -128.0]) * 2.0**-frac).tolist():
                raise Cannot("Int8Float does not round halves to even and clamp to -128..127")
        return name, {"frac": frac}
    raise Cannot(f"the quantizer {name} is not known")


def quantized(base):
    def read(module):
        found = base(module)
        if module.quantizer is not None:
            name, parameters = quantizer(module.quantizer)
            found.update({"quantizer": name, **parameters})
        return found

    return read


TUTORIALS = {
    "BinarizeConv2d": conv,
    "BinarizeLinear": linear,
    "BinarySign": lambda m: quantizer(m)[1],
    "Int8Float": lambda m: quantizer(m)[1],
    "QuantizedConv1d": quantized(conv),
    "QuantizedConv2d": quantized(conv),
    "QuantizedLinear": quantized(linear),
}

# ---------------------------------------------------------------- functions


class Arguments:
    """The arguments of a call, by position or by name; what is not taken is refused."""

    def __init__(self, node):
        self.args = list(node.args)
        self.kwargs = dict(node.kwargs)
        self.taken = set()

    def get(self, position, name, default=None):
        self.taken.update([position, name])
        if position < len(self.args):
            return self.args[position]
        return self.kwargs.get(name, default)

    def rest(self, position):
        """All positional arguments from there on, or the list that is the first of them."""
        self.taken.update(range(position, len(self.args)))
        rest = self.args[position:]
        return list(rest[0]) if rest and isinstance(rest[0], (list, tuple)) else list(rest)

    def check(self):
        left = [repr(a) for i, a in enumerate(self.args) if i not in self.taken]
        left += [f"{k}={v!r}" for k, v in self.kwargs.items() if k not in self.taken]
        if left:
            raise Cannot("arguments " + ", ".join(left))


def plain(value):
    """A number, or a list of numbers."""
    if isinstance(value, (tuple, list)):
        value = [plain(v) for v in value]
        return value[0] if len(value) > 1 and all(v == value[0] for v in value) else value
    if isinstance(value, torch.fx.Node):
        raise Cannot(f"an argument that is computed: {value}")
    return value


def some(**values):
    return {k: plain(v) for k, v in values.items() if v is not None and v is not False}


def activation(kind, *names):
    """A function of a tensor and of scalars, with `inplace` at the end."""

    def read(a, _):
        found = some(**{torch_name: a.get(i + 1, torch_name) for i, torch_name in enumerate(names)})
        if a.get(len(names) + 1, "inplace", False):
            found["inplace"] = True
        return kind, [a.get(0, "input")], found

    return read


def simple(kind):
    return lambda a, _: (kind, [a.get(0, "input")], {})


def f_softmax(kind):
    def read(a, _):
        if a.get(9, "dtype") is not None:
            raise Cannot("dtype")
        a.get(2, "_stacklevel")
        dim = a.get(1, "dim")
        return kind, [a.get(0, "input")], {} if dim is None else {"dim": dim}

    return read


def f_pool(kind, average):
    def read(a, _):
        found = some(kernel_size=a.get(1, "kernel_size"), stride=a.get(2, "stride"))
        padding = plain(a.get(3, "padding", 0))
        if padding not in (0, [0]):
            found["padding"] = padding
        if average:
            found.update(some(ceil_mode=a.get(4, "ceil_mode", False)))
            if not a.get(5, "count_include_pad", True):
                found["count_include_pad"] = False
        else:
            dilation = plain(a.get(4, "dilation", 1))
            found.update({} if dilation == 1 else {"dilation": dilation})
            found.update(some(ceil_mode=a.get(5, "ceil_mode", False)))
            if a.get(6, "return_indices", False):
                raise Cannot("return_indices")
        return kind, [a.get(0, "input")], found

    return read


def f_adaptive(kind):
    return lambda a, _: (kind, [a.get(0, "input")], {"output_size": plain(a.get(1, "output_size"))})


def f_dropout(a, _):
    for i, name in enumerate(("p", "training", "inplace")):
        a.get(i + 1, name)
    return "Dropout", [a.get(0, "input")], {}


def f_view(a, shape):
    """Whatever the arguments are, the shape that came out of it."""
    a.rest(1)
    a.taken.update(a.kwargs)
    return "View", [a.get(0, "input")], {"shape": [-1, *shape[1:]]}


def f_flatten(a, shape):
    if a.get(1, "start_dim", 0) == 0:
        return f_view(a, shape)
    found = {"start_dim": a.get(1, "start_dim", 0), "end_dim": a.get(2, "end_dim", -1)}
    return "Flatten", [a.get(0, "input")], {k: v for k, v in found.items() if v != {"start_dim": 1, "end_dim": -1}[k]}


def f_permute(a, _):
    return "Permute", [a.get(0, "input")], {"dims": plain_list(a.rest(1) or a.get(1, "dims"))}


def plain_list(value):
    if any(isinstance(v, torch.fx.Node) for v in value):
        raise Cannot("an argument that is computed")
    return list(value)


def f_transpose(a, _):
    return "Transpose", [a.get(0, "input")], {"dim0": a.get(1, "dim0"), "dim1": a.get(2, "dim1")}


def f_cat(a, _):
    return "Cat", list(a.get(0, "tensors")), {"dim": a.get(1, "dim", 0)}


def f_reduce(kind):
    def read(a, _):
        dim = a.get(1, "dim")
        if dim is None:
            raise Cannot("a reduction of all axes, the batch among them")
        found = {"dim": plain(dim)}
        if a.get(2, "keepdim", False):
            found["keepdim"] = True
        return kind, [a.get(0, "input")], found

    return read


def arithmetic(kind, in_place=False):
    def read(a, _):
        left, right = a.get(0, "input"), a.get(1, "other")
        if a.get(9, "alpha", 1) != 1 or a.get(9, "rounding_mode") is not None:
            raise Cannot("alpha or rounding_mode")
        marks = {"": in_place}
        if not isinstance(right, torch.fx.Node):
            return kind, [left], {"value": float(right), **marks}
        if not isinstance(left, torch.fx.Node):
            return kind, [right], {"value": float(left), "reverse": True, **marks}
        return kind, [left, right], marks

    return read


def f_clamp(a, _):
    return "Clamp", [a.get(0, "input")], some_numbers(min=a.get(1, "min"), max=a.get(2, "max"))


def some_numbers(**values):
    return {k: float(plain(v)) for k, v in values.items() if v is not None}


def f_pad(a, _):
    if a.get(2, "mode", "constant") != "constant":
        raise Cannot("a mode other than constant")
    value = a.get(3, "value", None)
    return "Pad", [a.get(0, "input")], {"pad": plain_list(a.get(1, "pad")), **({"value": float(value)} if value else {})}


def f_gelu(a, _):
    approximate = a.get(1, "approximate", "none")
    return "GELU", [a.get(0, "input")], {} if approximate == "none" else {"approximate": approximate}


def same(a, _):
    """A tensor as it is; its arguments are those of .to(), .float(), .contiguous()."""
    a.rest(1)
    a.taken.update(a.kwargs)
    return "Identity", [a.get(0, "input")], {}


UNARY = {"sign": "Sign", "round": "Round", "floor": "Floor", "ceil": "Ceil", "abs": "Abs", "neg": "Neg", "exp": "Exp",
         "log": "Log", "sqrt": "Sqrt", "sigmoid": "Sigmoid", "tanh": "Tanh"}
REDUCE = {"mean": "Mean", "sum": "Sum", "amax": "Amax"}
ARITHMETIC = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div"}

FUNCTIONS = {
    **{getattr(torch, name): simple(kind) for name, kind in UNARY.items()},
    **{getattr(torch, name): f_reduce(kind) for name, kind in REDUCE.items()},
    **{getattr(torch, name): arithmetic(kind) for name, kind in ARITHMETIC.items()},
    operator.add: arithmetic("Add"), operator.sub: arithmetic("Sub"), operator.mul: arithmetic("Mul"),
    operator.truediv: arithmetic("Div"), operator.iadd: arithmetic("Add", True), operator.isub: arithmetic("Sub", True),
    operator.imul: arithmetic("Mul", True), operator.itruediv: arithmetic("Div", True), operator.neg: simple("Neg"),
    torch.maximum: arithmetic("Maximum"), torch.minimum: arithmetic("Minimum"),
    F.relu: activation("ReLU"), torch.relu: simple("ReLU"), F.relu6: activation("ReLU6"),
    F.hardtanh: activation("Hardtanh", "min_val", "max_val"), F.leaky_relu: activation("LeakyReLU", "negative_slope"),
    F.elu: activation("ELU", "alpha"), F.silu: activation("SiLU"), F.mish: activation("Mish"),
    F.hardswish: activation("Hardswish"), F.hardsigmoid: activation("Hardsigmoid"), F.gelu: f_gelu,
    F.sigmoid: simple("Sigmoid"), F.tanh: simple("Tanh"), F.softsign: simple("Softsign"), F.logsigmoid: simple("LogSigmoid"),
    F.softmax: f_softmax("Softmax"), torch.softmax: f_softmax("Softmax"),
    F.log_softmax: f_softmax("LogSoftmax"), torch.log_softmax: f_softmax("LogSoftmax"),
    F.max_pool1d: f_pool("MaxPool1d", False), F.max_pool2d: f_pool("MaxPool2d", False),
    torch.max_pool1d: f_pool("MaxPool1d", False), torch.max_pool2d: f_pool("MaxPool2d", False),
    F.avg_pool1d: f_pool("AvgPool1d", True), F.avg_pool2d: f_pool("AvgPool2d", True),
    F.adaptive_avg_pool1d: f_adaptive("AdaptiveAvgPool1d"), F.adaptive_avg_pool2d: f_adaptive("AdaptiveAvgPool2d"),
    F.adaptive_max_pool1d: f_adaptive("AdaptiveMaxPool1d"), F.adaptive_max_pool2d: f_adaptive("AdaptiveMaxPool2d"),
    F.dropout: f_dropout, F.dropout2d: f_dropout, torch.flatten: f_flatten, torch.reshape: f_view, torch.squeeze: f_view,
    torch.unsqueeze: f_view, torch.permute: f_permute, torch.transpose: f_transpose, torch.cat: f_cat,
    torch.clamp: f_clamp, F.pad: f_pad, torch.clone: simple("Clone"),
}

METHODS = {
    **{name: simple(kind) for name, kind in UNARY.items()},
    **{name: f_reduce(kind) for name, kind in REDUCE.items()},
    **{name: arithmetic(kind) for name, kind in ARITHMETIC.items()},
    **{name + "_": arithmetic(kind, True) for name, kind in ARITHMETIC.items()},
    "relu": simple("ReLU"), "relu_": lambda a, _: ("ReLU", [a.get(0, "input")], {"inplace": True}),
    "softmax": f_softmax("Softmax"), "log_softmax": f_softmax("LogSoftmax"), "flatten": f_flatten, "view": f_view,
    "reshape": f_view, "squeeze": f_view, "unsqueeze": f_view, "permute": f_permute, "transpose": f_transpose,
    "clamp": f_clamp, "clone": simple("Clone"), "contiguous": same, "detach": same, "float": same,
}

# ---------------------------------------------------------------- tracing


def of_torch(module):
    return type(module).__module__.startswith("torch.nn")


class Tracer(torch.fx.Tracer):
    """Keeps modules whole that are layers, or whose inside cannot be traced."""

    def __init__(self, kinds):
        super().__init__()
        self.kinds = kinds

    def is_leaf_module(self, module, name):
        if type(module).__name__ in self.kinds or (type(module).__name__ in TUTORIALS and not of_torch(module)):
            return True
        if of_torch(module):
            return not isinstance(module, (torch.nn.Sequential, torch.nn.ModuleList, torch.nn.ModuleDict))
        if any(True for _ in module.children()):
            return False
        return not can_be_traced(module)


def can_be_traced(module):
    """Whether all that a module without children does is known here."""
    try:
        nodes = torch.fx.Tracer().trace(module).nodes
    except Exception:  # Whatever tracing trips over.
        return False
    known = {"call_function": FUNCTIONS, "call_method": METHODS}
    shapes = (getattr, operator.getitem, "size")
    return all(n.target in known[n.op] or n.target in shapes for n in nodes if n.op in known)


class Values(torch.fx.Interpreter):
    """Runs a graph and remembers shapes, and numbers that are no tensors."""

    def __init__(self, module):
        super().__init__(module)
        self.shapes = {}
        self.last = None

    def run_node(self, node):
        self.last = node
        value = super().run_node(node)
        self.shapes[node] = tuple(value.shape) if isinstance(value, torch.Tensor) else None
        return value


def run(traced, inputs, batch):
    values = Values(traced)
    repeated = [x[:1].expand(batch, *x.shape[1:]).clone() for x in inputs]
    try:
        with torch.no_grad():
            values.run(*repeated)
    except Exception as error:
        raise ExportError(f"with {batch} samples, `{values.last}` failed: {error}") from error
    return values.shapes


def overwrites(module, shape):
    """Whether a module writes over its input."""
    x = torch.linspace(-1.5, 1.5, int(np.prod(shape))).reshape(shape)
    before = x.clone()
    with torch.no_grad():
        module(x)
    return not torch.equal(x, before)


# ---------------------------------------------------------------- layers


class Exporter:
    def __init__(self, traced, modules, shapes, kinds):
        self.traced, self.modules, self.shapes, self.kinds = traced, modules, shapes, kinds
        self.names = {}
        self.used = set()
        self.layers = []
        self.problems = []
        self.unknown = []
        self.keys = set()
        self.only_input = None

    def unique(self, wanted):
        name, number = wanted, 1
        while name in self.used:
            name, number = f"{wanted}_{number}", number + 1
        self.used.add(name)
        return name

    def read_later(self, tensor, node):
        """Whether another node reads a tensor after `node` did."""
        order = list(self.traced.graph.nodes)
        return any(order.index(user) > order.index(node) for user in tensor.users)

    def layer(self, node, name, kind, inputs, parameters, key=None):
        name = self.unique(name)
        entry = {"name": name, "kind": kind}
        if key is not None and key != name:
            entry["key"] = key
        for tensor in inputs:
            if not isinstance(tensor, torch.fx.Node) or tensor not in self.names:
                raise Cannot(f"reads {tensor}, which is no tensor that was computed")
        sources = [self.names[tensor] for tensor in inputs]
        if self.layers and sources == [self.layers[-1]["name"]] or not self.layers and sources == [self.only_input]:
            sources = []
        if sources:
            entry["from"] = sources[0] if len(sources) == 1 else sources
        entry.update(parameters)
        self.layers.append(entry)
        self.names[node] = name

    def module(self, node):
        module = self.modules[node.target]
        kind = type(module).__name__
        if len(node.args) != 1 or node.kwargs:
            raise Cannot(f"{kind} is called with {len(node.args)} arguments")
        if kind in self.kinds:
            kind, parameters = self.mapped(module, self.kinds[kind])
        elif of_torch(module):
            if kind not in TORCH:
                raise Cannot(f"{kind} is not supported")
            parameters = TORCH[kind](module)
        elif kind in TUTORIALS:
            parameters = TUTORIALS[kind](module)
        else:
            self.unknown.append(f"{node.target} ({kind})")
            parameters = {}
        source = node.args[0]
        if kind.startswith("Binarize") and self.read_later(source, node):
            parameters["overwrites_input"] = overwrites(module, self.shapes[source])
        self.keys.update(f"{node.target}.{part}" for part in module.state_dict())
        self.layer(node, node.target, kind, [source], parameters, key=node.target if module.state_dict() else None)

    @staticmethod
    def mapped(module, to):
        if callable(to):
            return to(module)
        reader = TUTORIALS.get(to) or TORCH.get(to)
        if reader is None:
            raise Cannot(f"kinds maps {type(module).__name__} to {to}: give a function of the module instead")
        return to, reader(module)

    def call(self, node, table):
        reader = table.get(node.target)
        if reader is None:
            name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", node.target)
            raise Cannot(f"{name} is not supported")
        arguments = Arguments(node)
        kind, inputs, parameters = reader(arguments, self.shapes[node])
        arguments.check()
        if parameters.pop("", False) and self.read_later(inputs[0], node):
            raise Cannot(f"writes over {inputs[0]}, which is read later")
        self.layer(node, node.name, kind, inputs, parameters)

    def attribute(self, node):
        shape = self.shapes[node]
        if shape is None:
            return
        readers = [user for user in node.users if self.shapes.get(user) is not None]
        axes = max((len(self.shapes[user]) for user in readers), default=len(shape)) - 1
        self.keys.add(node.target)
        self.layers.append({"name": self.unique(node.target), "kind": "Constant", "axes": axes})
        self.names[node] = self.layers[-1]["name"]

    def node(self, node):
        if node.op == "call_module":
            self.module(node)
        elif self.shapes.get(node) is None and node.op in ("call_function", "call_method"):
            return  # A size, or a number made of sizes: what uses it shows in shapes.
        elif node.op == "call_function":
            self.call(node, FUNCTIONS)
        elif node.op == "call_method":
            self.call(node, METHODS)
        elif node.op == "get_attr":
            self.attribute(node)

    def all(self):
        inputs = [n for n in self.traced.graph.nodes if n.op == "placeholder"]
        for node in inputs:
            self.names[node] = self.unique("input" if len(inputs) == 1 else node.name)
        self.only_input = self.names[inputs[0]] if len(inputs) == 1 else None
        for node in self.traced.graph.nodes:
            try:
                self.node(node)
            except Cannot as why:
                self.problems.append(f"{node.target if node.op == 'call_module' else node.name}: {why}")
                self.names[node] = self.unique(node.name)
        return inputs


# ---------------------------------------------------------------- writing


def toml(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, float):
        return {"inf": "inf", "-inf": "-inf"}.get(repr(value), repr(value))
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(toml, value)) + "]"
    raise ExportError(f"no value of a parameter: {value!r}")


def text(exporter, inputs, shapes, outputs):
    lines = []
    if len(inputs) == 1:
        lines.append(f"input = {toml(shapes[inputs[0]][1:])}")
    last = exporter.layers[-1]["name"] if exporter.layers else None
    if outputs != [last]:
        lines.append(f"output = {toml(outputs)}")
    lines.append("layer = [")
    for layer in exporter.layers:
        lines.append("  { " + ", ".join(f"{k} = {toml(v)}" for k, v in layer.items()) + " },")
    lines.append("]")
    if len(inputs) > 1:
        for node in inputs:
            lines += ["", "[[input]]", f"name = {toml(exporter.names[node])}", f"shape = {toml(shapes[node][1:])}"]
    return "\n".join(lines) + "\n"


def save(path, arrays):
    """Writes an .npz whose bytes depend on the arrays alone: numpy's own has the time in it."""
    with zipfile.ZipFile(path, "w") as archive:
        for key, array in arrays.items():
            with archive.open(zipfile.ZipInfo(key + ".npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(array).reshape(array.shape), allow_pickle=False)


def flattened(value):
    if isinstance(value, torch.fx.Node):
        return [value]
    if isinstance(value, (list, tuple)):
        return [n for v in value for n in flattened(v)]
    raise ExportError(f"the model returns {value!r}; tensors, and lists of them, are supported")


def export(model, example_input, path, *, kinds=None):
    """Writes `path`.npz and `path`.toml; returns the modules whose kind is to be mended by hand.

    `example_input` is a tensor, or a tuple of them, with the batch as the first axis.
    """
    kinds = kinds or {}
    inputs = list(example_input) if isinstance(example_input, (tuple, list)) else [example_input]
    training = model.training
    model.eval()
    try:
        state = {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}
        tracer = Tracer(kinds)
        root = model if not tracer.is_leaf_module(model, "") else torch.nn.Sequential(model)
        try:
            graph = tracer.trace(root)
        except Exception as error:
            raise ExportError(f"torch.fx cannot trace the model: {error}") from error
        traced = torch.fx.GraphModule(root, graph)
        shapes, other = run(traced, inputs, 2), run(traced, inputs, 3)
        modules = dict(traced.named_modules())
        exporter = Exporter(traced, modules, shapes, kinds)
        nodes = exporter.all()
        for node, shape in shapes.items():
            attribute = node.op in ("get_attr", "output")
            if shape and not attribute and (shape[0], other[node][0]) != (2, 3):
                exporter.problems.append(f"{node.name}: its first axis is not the batch: {list(shape)}")
            elif shape and not attribute and shape[1:] != other[node][1:]:
                exporter.problems.append(f"{node.name}: its shape depends on the batch")
        result = next(n for n in graph.nodes if n.op == "output").args[0]
        outputs = [exporter.names[n] for n in flattened(result)]
    finally:
        model.train(training)
    if exporter.problems:
        raise ExportError("cannot be expressed:\n  " + "\n  ".join(exporter.problems))
    if root is not model:
        state = {f"0.{key}": value for key, value in state.items()}
    left = sorted(key for key in state if key not in exporter.keys)
    save(f"{path}.npz", {key: value.numpy() for key, value in state.items() if key in exporter.keys})
    with open(f"{path}.toml", "w", encoding="utf-8", newline="\n") as file:
        file.write(text(exporter, nodes, shapes, outputs))
    if left:
        print(f"{path}.npz leaves out what the model does not use: {', '.join(left)}")
    if exporter.unknown:
        print(f"mend by hand in {path}.toml: {', '.join(exporter.unknown)}")
    return exporter.unknown
