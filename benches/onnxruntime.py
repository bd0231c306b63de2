"""Images per second of onnxruntime on a model, for comparison with the native executor.

usage: onnxruntime.py MODEL.onnx [--batch N] [--threads T] [--rounds R] [--serve]
       onnxruntime.py --cifar10-cnn MODEL.onnx      write the benchmark network first

Needs Python packages: onnxruntime==1.31.1 numpy (and onnx for --cifar10-cnn).

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


def write_cifar10_cnn(path):
    """The network as PyTorch exports it (NCHW, 1.25 million parameters), with seeded random weights."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weights, nodes = [], []

    def tensor(name, shape, scale):
        values = (rng.standard_normal(shape) * scale).astype(np.float32)
        weights.append(numpy_helper.from_array(values, name))
        return name

    def conv(name, source, inputs, outputs, pad):
        w = tensor(name + ".weight", (outputs, inputs, 3, 3), (2 / (9 * inputs)) ** 0.5)
        b = tensor(name + ".bias", (outputs,), 0.1)
        attributes = dict(kernel_shape=[3, 3], pads=[pad] * 4, strides=[1, 1])
        nodes.append(helper.make_node("Conv", [source, w, b], [name + ".sum"], **attributes))
        nodes.append(helper.make_node("Relu", [name + ".sum"], [name]))
        return name

    def pool(name, source):
        attributes = dict(kernel_shape=[2, 2], strides=[2, 2])
        nodes.append(helper.make_node("MaxPool", [source], [name], **attributes))
        return name

    def dense(name, source, inputs, outputs):
        w = tensor(name + ".weight", (outputs, inputs), (2 / inputs) ** 0.5)
        b = tensor(name + ".bias", (outputs,), 0.1)
        nodes.append(helper.make_node("Gemm", [source, w, b], [name], transB=1))
        return name

    x = conv("conv1", "input", 3, 32, 1)
    x = pool("pool1", conv("conv2", x, 32, 32, 0))
    x = conv("conv3", x, 32, 64, 1)
    x = pool("pool2", conv("conv4", x, 64, 64, 0))
    nodes.append(helper.make_node("Flatten", [x], ["features"]))
    dense("hidden.sum", "features", 6 * 6 * 64, 512)
    nodes.append(helper.make_node("Relu", ["hidden.sum"], ["hidden"]))
    dense("logits", "hidden", 512, 10)
    nodes.append(helper.make_node("Softmax", ["logits"], ["output"], axis=-1))

    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "cifar10_cnn",
        [value("input", TensorProto.FLOAT, ["batch", 3, 32, 32])],
        [value("output", TensorProto.FLOAT, ["batch", 10])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)


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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="path of the .onnx file")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--cifar10-cnn", action="store_true", help="write the benchmark network to MODEL and stop")
    args = parser.parse_args()
    if args.cifar10_cnn:
        write_cifar10_cnn(args.model)
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
