"""Images per second of onnxruntime on a model, for comparison with the native executor.

usage: onnxruntime.py MODEL.onnx [--batch N] [--threads T] [--rounds R] [--serve]
       onnxruntime.py MODEL.onnx --cifar10-cnn WEIGHTS.npz     write the benchmark network first
       onnxruntime.py MODEL.onnx --binary-vgg                  write the binary VGG in floats, random signs as weights
       onnxruntime.py MODEL.onnx --quantize OUT.onnx           quantize it: static QDQ, one scale per channel
       onnxruntime.py MODEL.onnx --run IN.npy OUT.npy          run it once; IN is channels-last

Needs Python packages: onnxruntime==1.31.1 numpy (and onnx for --cifar10-cnn and --binary-vgg).

Each round runs the model for about a fifth of a second. Rounds are measured in CPU seconds of this process, so that
other work on the machine does not count (with more than one thread: in wall-clock seconds). Without --serve, the median
of R rounds is printed. With --serve, "ready" is printed once, then one round is run, and its number printed, for
every line read: a benchmark can take turns with it.
"""

import argparse
import statistics
import sys
import time

# This file is called as the package is: its folder must not come first where Python looks for packages.
sys.path.pop(0)


def write_cifar10_cnn(path, weights_path):
    """The network as PyTorch exports it (NCHW, 1.25 million parameters), with the weights that the benchmark gives:
    arrays w0, b0, w1, ... of the layers in order, convolutions as [out, height, width, in], dense as [out, in] over
    features in height-width-channel order."""
    import numpy as np
    from onnx import helper, numpy_helper

    given = np.load(weights_path)
    weights, nodes, layer = [], [], [0]

    def tensor(name, values):
        weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def parameters(name):
        w, b = given[f"w{layer[0]}"], given[f"b{layer[0]}"]
        layer[0] += 1
        if w.ndim == 4:
            w = w.transpose(0, 3, 1, 2)
        elif w.shape[1] == 6 * 6 * 64:
            w = w.reshape(-1, 6, 6, 64).transpose(0, 3, 1, 2).reshape(w.shape)
        return tensor(name + ".weight", w), tensor(name + ".bias", b)

    def conv(name, source, pad):
        w, b = parameters(name)
        attributes = dict(kernel_shape=[3, 3], pads=[pad] * 4, strides=[1, 1])
        nodes.append(helper.make_node("Conv", [source, w, b], [name + ".sum"], **attributes))
        nodes.append(helper.make_node("Relu", [name + ".sum"], [name]))
        return name

    def pool(name, source):
        attributes = dict(kernel_shape=[2, 2], strides=[2, 2])
        nodes.append(helper.make_node("MaxPool", [source], [name], **attributes))
        return name

    def dense(name, source):
        w, b = parameters(name)
        nodes.append(helper.make_node("Gemm", [source, w, b], [name], transB=1))
        return name

    x = conv("conv1", "input", 1)
    x = pool("pool1", conv("conv2", x, 0))
    x = conv("conv3", x, 1)
    x = pool("pool2", conv("conv4", x, 0))
    nodes.append(helper.make_node("Flatten", [x], ["features"]))
    dense("hidden.sum", "features")
    nodes.append(helper.make_node("Relu", ["hidden.sum"], ["hidden"]))
    dense("logits", "hidden")
    nodes.append(helper.make_node("Softmax", ["logits"], ["output"], axis=-1))

    save(path, "cifar10_cnn", nodes, weights)


def save(path, name, nodes, weights):
    """A classifier of CIFAR-10's images (NCHW), from `input` to `output`."""
    import onnx
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        name,
        [value("input", TensorProto.FLOAT, ["batch", 3, 32, 32])],
        [value("output", TensorProto.FLOAT, ["batch", 10])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)


def write_binary_vgg(path):
    """The binary VGG as PyTorch exports it (NCHW), with batch normalizations folded: convolutions, signs, poolings."""
    import numpy as np
    from onnx import helper, numpy_helper

    rng = np.random.default_rng(1)
    weights, nodes = [], []

    def tensor(name, values):
        weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    x, inputs = "input", 3
    for layer, outputs in enumerate([128, 128, 256, 256, 512, 512]):
        w = tensor(f"w{layer}", rng.choice([-1.0, 1.0], (outputs, inputs, 3, 3)))
        b = tensor(f"b{layer}", rng.standard_normal(outputs))
        nodes.append(helper.make_node("Conv", [x, w, b], [f"s{layer}"], kernel_shape=[3, 3], pads=[1] * 4))
        nodes.append(helper.make_node("Sign", [f"s{layer}"], [f"x{layer}"]))
        x, inputs = f"x{layer}", outputs
        if layer % 2:
            nodes.append(helper.make_node("MaxPool", [x], [f"p{layer}"], kernel_shape=[2, 2], strides=[2, 2]))
            x = f"p{layer}"
    nodes.append(helper.make_node("Flatten", [x], ["features"]))
    w = tensor("w", rng.choice([-1.0, 1.0], (10, 8192)))
    nodes.append(helper.make_node("Gemm", ["features", w], ["output"], transB=1))
    save(path, "binary_vgg", nodes, weights)


def quantize(source, target):
    """8-bit weights with a scale per channel and 8-bit activations, calibrated on random images."""
    import numpy as np
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Images(CalibrationDataReader):
        def __init__(self):
            rng = np.random.default_rng(1)
            self.rest = iter([{"input": rng.random((1, 3, 32, 32), dtype=np.float32)} for _ in range(64)])

        def get_next(self):
            return next(self.rest, None)

    types = dict(activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
    quantize_static(source, target, Images(), quant_format=QuantFormat.QDQ, per_channel=True, **types)


def make_round(path, batch, threads):
    """A function that runs one round and returns images per second."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(1)
    feed = {}
    for port in session.get_inputs():
        # The first axis is the batch where it has no fixed extent.
        shape = [n if isinstance(n, int) else (batch if i == 0 else 1) for i, n in enumerate(port.shape)]
        feed[port.name] = rng.random(shape, dtype=np.float32)
    clock = time.process_time if threads == 1 else time.perf_counter

    def run(times):
        start = clock()
        for _ in range(times):
            session.run(None, feed)
        return clock() - start

    run(3)
    times = max(1, round(0.2 / (run(5) / 5)))
    return lambda: times * batch / run(times)


def run_once(path, source, target):
    """Runs channels-last images and writes the outputs."""
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    images = np.ascontiguousarray(np.load(source).transpose(0, 3, 1, 2))
    np.save(target, session.run(None, {session.get_inputs()[0].name: images})[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="path of the .onnx file")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--cifar10-cnn", metavar="WEIGHTS", help="write the benchmark network to MODEL and stop")
    parser.add_argument("--binary-vgg", action="store_true", help="write the binary VGG to MODEL and stop")
    parser.add_argument("--quantize", metavar="OUT", help="write the model quantized to OUT and stop")
    parser.add_argument("--run", nargs=2, metavar=("IN", "OUT"), help="run the model on IN, write OUT and stop")
    args = parser.parse_args()
    if args.cifar10_cnn:
        write_cifar10_cnn(args.model, args.cifar10_cnn)
        return
    if args.binary_vgg:
        write_binary_vgg(args.model)
        return
    if args.quantize:
        quantize(args.model, args.quantize)
        return
    if args.run:
        run_once(args.model, *args.run)
        return
    one_round = make_round(args.model, args.batch, args.threads)
    if args.serve:
        print("ready", flush=True)
        for _ in sys.stdin:
            print(f"{one_round():.1f}", flush=True)
    else:
        print(f"{statistics.median(one_round() for _ in range(args.rounds)):.1f} images/s")


if __name__ == "__main__":
    main()
