"""Whether the engine computes what TensorFlow Lite Micro computes: models of one op, drawn at random with extreme shapes, scales, zero
points and biases, run by both, byte for byte, in every layout of weights. Those of uint8, whose weights have a zero point, TFLM refuses:
LiteRT's reference kernels are their judge. Dense layers of int4 with a scale for each channel it refuses, too: it judges by the same in int8.

    python benchmarks/conformance.py [MODELS] [OP ...]  # 2000 of each op by default; writes benchmarks/conformance.csv
    python benchmarks/conformance.py 2000 "uint8 CONV_2D" "int4 CONV_2D"

A model depends on its op and number alone, so that one can be looked at again. Both run in a child process, since TFLM aborts where it
checks with an assertion. What TFLM leaves undefined is not drawn; a comment says so where it would have been."""
import collections
import faulthandler
import math
import multiprocessing
import os
import re
import resource
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

from record import record  # noqa: E402

from mobilenet_keras.core import MobileNetError, text_table  # noqa: E402
from mobilenet_keras.engine.engine import Engine  # noqa: E402
from mobilenet_keras.engine.layouts import LAYOUTS  # noqa: E402
from mobilenet_keras.tflite.builder import Builder  # noqa: E402
from mobilenet_keras.tflite.interpreters import load  # noqa: E402

INPUTS, CHANNELS = 8, (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33)
LARGEST = 1 << 31  # of an int32, and one more


class Rng(np.random.Generator):
    bits = 8  # of weights


def chance(rng, p):
    return rng.random() < p


def power(rng, low, high):
    return float(10 ** rng.uniform(low, high))


def zero_point(rng):
    return int(rng.choice([-128, 127, 0])) if chance(rng, .4) else int(rng.integers(-128, 128))


def start(rng, h=9, w=9, channels=None, scale=None):
    """A builder with an input of up to h x w."""
    b = Builder((1, 1, 1, 1))
    b.tensors.clear()
    c = int(channels or rng.choice(CHANNELS))
    b.last = b.tensor((1, int(rng.integers(1, h + 1)), int(rng.integers(1, w + 1)), c), scale or power(rng, -3, 0), zero_point(rng))
    return b


def activation(rng):
    return np.int8(rng.integers(4) if chance(rng, .6) else 0)  # NONE, RELU, RELU_N1_TO_1, RELU6


def window(rng, shape, most, least):
    """(kernel, stride, valid, output) of a sliding window, each for rows and columns."""
    valid, stride = chance(rng, .5 if max(least) == 1 else .9), rng.integers(1, 4, 2).tolist()
    highest = [max(k, min(most, n if valid else n + 2)) for n, k in zip(shape[1:3], least, strict=True)]
    kernel = [int(rng.integers(k, high + 1)) for k, high in zip(least, highest, strict=True)]
    out = [(n - k) // s + 1 if valid else -(-n // s) for n, k, s in zip(shape[1:3], kernel, stride, strict=True)]
    return kernel, stride, np.int8(valid), out


def weights(rng, shape):
    return bytes_of(rng, shape) >> 8 - rng.bits


def bytes_of(rng, shape):
    kind = rng.integers(6)
    if kind == 0:
        return np.full(shape, rng.choice([-127, 127, 1, 0]), np.int8)
    if kind == 1:
        return rng.choice([-127, 127], shape).astype(np.int8)
    return rng.integers(-128 if kind == 2 else -127, 128, shape).astype(np.int8)


def multiply(rng, b, code, shape, axis, out, options, act, per_channel=True):
    """An op with weights. Undefined in TFLM, and so not drawn: a sum or what a shift to the left makes of it that does not fit in an
    int32, a scaled sum that no longer fits when the zero point is added, and (refused there) a bound of the activation that does not."""
    w, n = weights(rng, shape), shape[axis]
    flat = np.moveaxis(w, axis, 0).reshape(n, -1).astype(np.int64)
    size = np.abs(flat).sum(1) * 255  # of the largest sum of products
    most = LARGEST - 1 - size
    centre = flat.sum(1) * b.zero + rng.integers(-2000, 2000, n)  # sums of products are about -zero point * weights
    bias = np.clip(centre, -most, most)
    if chance(rng, .25):
        bias = np.where(rng.random(n) < .5, most, rng.integers(-most, most, endpoint=True)) * rng.choice([-1, 1], n)
    none = chance(rng, .15)
    if none:
        bias = np.zeros(n, np.int64)
    base = power(rng, -3, 0)
    scales = np.float32(base * 2 ** rng.uniform(-4, 0, n) if per_channel else np.full(n, base))
    reals = np.float64(b.scale) * scales
    sums = np.maximum(size + np.abs(bias), 1)
    # most bring the spread of sums to 8 bits, so that outputs are no constants; the others take shifts of any size
    spread = max(1., float(np.median(74 * np.sqrt((flat ** 2).sum(1)) * reals / reals.max())))
    exponent = math.log2(60 / spread) + rng.normal() if chance(rng, .8) else rng.uniform(-36, 12)
    scale = max(float(reals.max()) / 2 ** exponent, 6e-9 if act else 0, float((reals * sums).max()) / (LARGEST - 512))
    scale = float(np.float32(max(scale, float((2 * reals * sums).max()) / LARGEST if (reals > .5 * scale).any() else 0) * 1.001))
    quantized = scales if per_channel else scales[:1]
    inputs = [b.last, b.tensor(shape, quantized, 0, w, axis)]
    if not none:
        inputs.append(b.tensor((n,), np.float32(b.scale) * quantized, 0, bias.astype(np.int32)))
    elif code != 4 and chance(rng, .5):
        inputs.append(-1)  # absent, as converters write it; a DEPTHWISE_CONV_2D of TFLM reads it all the same and crashes
    return b.op(code, inputs, out, scale, zero_point(rng), options)


def conv(rng, b=None, least=(1, 1)):
    b = b or start(rng)
    (kh, kw), (sh, sw), valid, out = window(rng, b.shape, 5, least)
    channels, act = int(rng.choice(CHANNELS)), activation(rng)
    options = {0: valid, 1: np.int32(sw), 2: np.int32(sh), 3: act}
    return multiply(rng, b, 3, (channels, kh, kw, b.shape[3]), 0, (1, *out, channels), (1, options), act, chance(rng, .8))


def depthwise(rng, b=None, least=(1, 1)):
    b = b or start(rng)
    (kh, kw), (sh, sw), valid, out = window(rng, b.shape, 7, least)
    times, act = int(rng.choice([1, 1, 1, 2, 3, 4])), activation(rng)
    channels = b.shape[3] * times
    options = {0: valid, 1: np.int32(sw), 2: np.int32(sh), 3: np.int32(times), 4: act}
    return multiply(rng, b, 4, (1, kh, kw, channels), 3, (1, *out, channels), (2, options), act, chance(rng, .8))


def fully_connected(rng, b=None):
    """Of a whole map, or of each pixel."""
    b = b or start(rng, 4, 4)
    act, each, classes = activation(rng), chance(rng, .3) and len(b.shape) == 4, int(rng.choice([*CHANNELS, 100]))
    fan = b.shape[-1] if each else math.prod(b.shape)
    out, options = ((*b.shape[:-1], classes), {0: act, 2: np.int8(1)}) if each else ((1, classes), {0: act})
    return multiply(rng, b, 9, (classes, fan), 0, out, (8, options), act, chance(rng, .3))


def reshape(rng):
    """A map laid flat, before a FULLY_CONNECTED: alone it is no step."""
    b = start(rng, 5, 5)
    n = math.prod(b.shape)
    b.op(22, [b.last], (1, n), b.scale, b.zero, (17, {0: [np.int32(1), np.int32(n)]}))
    return fully_connected(rng, b)


def add(rng):
    """Of the input and what a 1x1 depthwise convolution makes of it, since a model of one input has no other tensor."""
    b = start(rng)
    first, shape, scale = b.mark()
    options = {1: np.int32(1), 2: np.int32(1), 3: np.int32(1)}
    multiply(rng, b, 4, (1, 1, 1, shape[3]), 3, shape, (2, options), 0)
    if scale / 99 < b.scale and chance(rng, .7):  # a scale that is near, and coarser than what keeps the other op defined
        b.scale = float(np.float32(max(b.scale, scale * 10 ** rng.uniform(-1.5, 1.5))))
        b.tensors[b.last][4][2] = [np.float32(b.scale)]
    larger = max(scale, b.scale)
    # far finer outputs are refused by the engine; TFLM aborts
    out = larger * (2 ** rng.uniform(-3, 3) if chance(rng, .7) else 2 ** rng.uniform(-23, 12))
    act, pair = activation(rng), [first, b.last]
    return b.op(0, pair if chance(rng, .5) else pair[::-1], shape, max(out, 6e-9 if act else 0), zero_point(rng), (11, {0: act}))


def pool(rng, code, b=None, least=(1, 1)):
    b = b or start(rng)
    (kh, kw), (sh, sw), valid, out = window(rng, b.shape, 9 if chance(rng, .05) else 7, least)
    if chance(rng, .15) and code == 1:
        (kh, kw), out, valid = b.shape[1:3], (1, 1), np.int8(1)
    options = {0: valid, **{i: np.int32(v) for i, v in enumerate((sw, sh, kw, kh), 1)}, 5: activation(rng)}
    return b.op(code, [b.last], (1, *out, b.shape[3]), b.scale, b.zero, (5, options))


def mean(rng):
    """Of rows and columns. Undefined in TFLM: scaled sums that do not fit when the zero point is added."""
    b = start(rng, 17, 17)
    _, h, w, c = b.shape
    keep = chance(rng, .5)
    axes = b.tensor((2,), None, 0, np.array(rng.permutation([1, 2]), np.int32))
    scale = b.scale * (2 ** rng.uniform(-4, 4) if chance(rng, .7) else 2 ** rng.uniform(-20, 34))
    return b.op(40, [b.last, axes], (1, 1, 1, c) if keep else (1, c), scale, zero_point(rng), (27, {0: np.bool_(keep)}))


def softmax(rng):
    """Up to 511 classes: TFLM aborts where 512 are equal, since then it would shift by more than 31 bits."""
    classes = int(rng.choice([1, 2, 3, 10, 100, 511])) if chance(rng, .5) else int(rng.integers(1, 60))
    b = start(rng, 3, 3, classes, power(rng, -5, 1.5))
    return b.op(25, [b.last], b.shape, 1 / 256, -128, (9, {0: np.float32(1 if chance(rng, .5) else power(rng, -2, 2))}))


def large_softmax(rng, classes):
    """Exponentials that fall so fast that their sum is less than 512 of the largest, where TFLM aborts: a 256th of the classes is on each step."""
    b = start(rng, 1, 1, classes, -math.log(1 - classes / 256 / 400) * power(rng, 0, 1))
    return b.op(25, [b.last], b.shape, 1 / 256, -128, (9, {0: np.float32(1)}))


def logistic(rng):
    return start(rng, scale=power(rng, -6, 2)).logistic()


def pad(rng):
    """Folded into what follows: a convolution, or a pool, for which PADV2 may pad with any value."""
    b = start(rng, 7, 7)
    above, below, left, right = rng.integers(0, 3, 4).tolist()
    b.pad(above, below, left, right)
    least = [max(above, below) + 1, max(left, right) + 1]  # of a kernel: the engine takes no output that sees only padding
    if chance(rng, .5):
        return (conv if chance(rng, .5) else depthwise)(rng, b, least)
    if chance(rng, .5):  # a PADV2
        code, inputs, y, _ = b.ops.pop()
        value = b.tensor((1,), b.scale, b.tensors[0][4][3][0], np.array([zero_point(rng)], np.int8))
        b.last, b.shape = y, tuple(int(n) for n in b.tensors[y][0])
        b.ops.append((60, [*inputs, value], y, (0, {})))
    return pool(rng, 1 if chance(rng, .5) else 17, b, least)


def dilated(rng):
    """A convolution or a depthwise one whose taps lie apart."""
    b = start(rng, 13, 13)
    _, h, w, c = b.shape
    apart, (kh, kw), valid = rng.integers(1, 5, 2).tolist(), rng.integers(1, 5, 2).tolist(), np.int8(chance(rng, .5))
    spans = [(k - 1) * d + 1 for k, d in zip((kh, kw), apart, strict=True)]
    if valid and (spans[0] > h or spans[1] > w):
        valid = np.int8(0)
    out = [n - k + 1 if valid else n for n, k in zip((h, w), spans, strict=True)]
    if chance(rng, .5):
        channels, act = int(rng.choice(CHANNELS)), activation(rng)
        options = {0: valid, 1: np.int32(1), 2: np.int32(1), 3: act, 4: np.int32(apart[1]), 5: np.int32(apart[0])}
        return multiply(rng, b, 3, (channels, kh, kw, c), 0, (1, *out, channels), (1, options), act, chance(rng, .8))
    times, act = int(rng.choice([1, 1, 2, 3])), activation(rng)
    options = {0: valid, 1: np.int32(1), 2: np.int32(1), 3: np.int32(times), 4: act, 5: np.int32(apart[1]), 6: np.int32(apart[0])}
    return multiply(rng, b, 4, (1, kh, kw, c * times), 3, (1, *out, c * times), (2, options), act, chance(rng, .8))


def resize(rng, bilinear):
    b = start(rng, 17, 17)
    rule = {**[{}, {"align_corners": True}, {"half_pixel_centers": True}][rng.integers(3)]}
    if chance(rng, .4):  # by a power of two, the only way of uint8
        times = 2 ** int(rng.integers(1, 4))
        size = [(n - 1) * times + 1 if rule.get("align_corners") else n * times for n in b.shape[1:3]]
    else:
        size = rng.integers(1, 40, 2).tolist()
    return b.resize(*size, bilinear, **rule)


def two(rng):
    """The input, and what a 1x1 depthwise convolution makes of it or of its mean: the index of both tensors."""
    b = start(rng)
    first, shape, _ = b.mark()
    options = {1: np.int32(1), 2: np.int32(1), 3: np.int32(1)}
    multiply(rng, b, 4, (1, 1, 1, shape[3]), 3, shape, (2, options), 0)
    return b, first, shape


def concatenation(rng):
    b, first, shape = two(rng)
    b.tensors[b.last][4] = b.tensors[first][4]
    again = [first, b.last, *([b.last] if chance(rng, .3) else [])]
    return b.concat([again[i] for i in rng.permutation(len(again))], 3)


def mul(rng):
    """Undefined in TFLM: scaled products that do not fit when the zero point is added."""
    b, first, shape = two(rng)
    scale = float(b.tensors[first][4][2][0]) * b.scale
    act, pair = activation(rng), [first, b.last]
    out = scale * 2 ** (rng.uniform(2, 9) if chance(rng, .7) else rng.uniform(-13, 20))
    return b.op(18, pair if chance(rng, .5) else pair[::-1], shape, max(out, 6e-9 if act else 0), zero_point(rng), (21, {0: act}))


def bytewise(rng, code):
    """QUANTIZE, RELU, HARD_SWISH to any scale; RELU6 keeps it, since TFLM only bounds."""
    b = start(rng)
    same = code == 21
    scale = b.scale if same else max(b.scale * 2 ** (rng.uniform(-3, 3) if chance(rng, .7) else rng.uniform(-8, 12)), 1e-7)
    return b.bytewise(code, scale, b.zero if same else zero_point(rng))


DRAW = {"CONV_2D": conv, "DEPTHWISE_CONV_2D": depthwise, "FULLY_CONNECTED": fully_connected, "ADD": add,
        "AVERAGE_POOL_2D": lambda rng: pool(rng, 1), "MAX_POOL_2D": lambda rng: pool(rng, 17), "MEAN": mean, "SOFTMAX": softmax,
        "LOGISTIC": logistic, "PAD": pad, "RESHAPE": reshape, "dilated": dilated, "RESIZE_BILINEAR": lambda rng: resize(rng, True),
        "RESIZE_NEAREST_NEIGHBOR": lambda rng: resize(rng, False), "CONCATENATION": concatenation, "MUL": mul,
        "QUANTIZE": lambda rng: bytewise(rng, 114), "RELU": lambda rng: bytewise(rng, 19), "RELU6": lambda rng: bytewise(rng, 21),
        "HARD_SWISH": lambda rng: bytewise(rng, 117)}


DRAW_LARGE = {f"SOFTMAX of {classes}": lambda rng, classes=classes: large_softmax(rng, classes) for classes in (5000, 60_000)}
DRAW |= DRAW_LARGE
INT4 = ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "dilated"]
NOT_UINT8 = "CONCATENATION", "QUANTIZE", "HARD_SWISH", *DRAW_LARGE  # LiteRT has no such, or one op is none
EVERY = [*DRAW, *(f"uint8 {op}" for op in DRAW if op not in NOT_UINT8), *(f"int4 {op}" for op in INT4)]


def as_uint8(rng, b):
    """The same op with bytes that are more by 128, and weights with a zero point, which `b.model` then writes. Undefined in TFLite as well,
    and so avoided here: sums that do not fit."""
    weights = {inputs[1] for code, inputs, *_ in b.ops if code in (3, 4, 9)}
    for i, t in enumerate(b.tensors):
        if t.get(4):
            t[4] |= {2: t[4][2][:1], 3: t[4][3][:1], 6: np.int32(0)}
        if t[1] != 9:
            continue
        t[1] = np.int8(3)
        t[4][3] = [np.int64(z + 128) for z in t[4][3]]
        if t[2]:
            buffer = b.buffers[int(t[2])]
            buffer[0] = (np.frombuffer(buffer[0], np.int8) ^ -128).tobytes()
        if i in weights:
            t[4][3] = [np.int64(rng.integers(256) if chance(rng, .4) else 128 + rng.integers(-40, 40))]
    for code, inputs, y, _ in b.ops:
        if code in (3, 4, 9):
            uint8_sums(rng, b, code, inputs, y)
    return b


def uint8_sums(rng, b, code, inputs, y):
    """A bias and an output's scale that suit what the weights have become."""
    array = lambda i, dtype: np.frombuffer(b.buffers[int(b.tensors[i][2])][0], dtype).reshape([int(n) for n in b.tensors[i][0]])  # noqa: E731
    quantized = lambda i: (np.float64(b.tensors[i][4][2][0]), int(b.tensors[i][4][3][0]))  # noqa: E731
    (x_scale, x_zero), (w_scale, w_zero), (y_scale, _) = quantized(inputs[0]), quantized(inputs[1]), quantized(y)
    w = array(inputs[1], np.uint8).astype(np.int64) - w_zero
    flat = np.moveaxis(w, 3 if code == 4 else 0, 0).reshape(w.shape[3 if code == 4 else 0], -1)
    bias, real = np.zeros(len(flat), np.int64), x_scale * w_scale
    if len(inputs) == 2 or inputs[2] < 0:
        if code == 3:  # which TFLite's kernel needs
            inputs[2:] = [b.tensor((len(flat),), real, 0, bias.astype(np.int32))]
    else:
        bias = (x_zero - 128) * flat.sum(1) + rng.integers(-2000, 2000, len(flat))
        b.buffers[int(b.tensors[inputs[2]][2])][0] = bias.astype(np.int32).tobytes()
    largest = float((np.abs(flat).sum(1) * 255 + np.abs(bias)).max())
    spread = max(1., float(np.median(74 * np.sqrt((flat ** 2).sum(1)))))
    scale = real * spread / 2 ** rng.uniform(4, 7) if chance(rng, .8) else y_scale
    scale = np.float32(max(scale, 6e-9, real * largest / (LARGEST - 512), (2 * real * largest / LARGEST) * (real > .5 * scale)) * 1.001)
    b.tensors[y][4][2] = [scale]
    if any(c == 0 for c, *_ in b.ops):  # an ADD's, whose output's scale suits those that were drawn
        b.tensors[y][4][2] = [np.float32(y_scale)]


def as_int4(b):
    """The same op, whose weights are drawn small, with two of them in a byte."""
    for code, inputs, *_ in b.ops:
        if code in (3, 4, 9):
            t = b.tensors[inputs[1]]
            w = np.frombuffer(b.buffers[int(t[2])][0], np.uint8) & 15
            w = np.append(w, np.zeros(len(w) % 2, np.uint8))
            b.buffers[int(t[2])][0], t[1] = (w[::2] | w[1::2] << 4).tobytes(), np.int8(17)
    return b


def drawn(op, number, wide=False):
    """(model, inputs): model number so and so of an op; `wide`: its weights of 4 bits as int8."""
    name, uint8, int4 = op.removeprefix("uint8 ").removeprefix("int4 "), op.startswith("uint8 "), op.startswith("int4 ")
    rng = Rng(np.random.PCG64([list(DRAW).index(name), number] + [8] * uint8 + [4] * int4))
    rng.bits = 4 if int4 else 8
    b = DRAW[name](rng)
    model = (as_uint8(rng, b) if uint8 else as_int4(b) if int4 and not wide else b).model(f"{op} {number}")
    shape = (INPUTS, *model.inputs[0].shape[1:])
    images = rng.integers(-128, 128, shape).astype(np.int8)
    if name not in DRAW_LARGE:
        images[0], images[1] = -128, 127
        images[2:4] = rng.choice([-128, 127], images[2:4].shape)
    return model, images


class LiteRT:
    """The reference kernels, of bytes that are more by 128."""

    def __init__(self, model):
        self.interpreter = load(model, "litert-reference")

    def __call__(self, image):
        return (self.interpreter.run((image ^ -128).view(np.uint8)[None])[0] ^ 128).view(np.int8).ravel()


class TFLM:
    def __init__(self, model):
        from tflite_micro import runtime
        self.interpreter = runtime.Interpreter.from_bytes(model.data, arena_size=1 << 20)

    def __call__(self, image):
        self.interpreter.set_input(image[None], 0)
        self.interpreter.invoke()
        return self.interpreter.get_output(0).ravel()


def reason(error):
    """An error without what is different from model to model."""
    text = str(error).split(": ", 1)[-1].split(". ")[0]
    return re.sub(r"-?\d[\d.,e-]*", "#", text).replace(";", ",")


def outcome(op, number):
    """(what, detail): "equal" and whether outputs differ between inputs; "different" and where; "refused" and why."""
    model, images = drawn(op, number)
    try:
        engines = {name: Engine(model, layout=name) for name in LAYOUTS}
    except MobileNetError as e:
        return "refused", reason(e)
    try:
        weights = [model.tensors[o.inputs[1]] for o in model.ops if o.name == "FULLY_CONNECTED"]
        refused = any(w.dtype == "int4" and len(w.scale) > 1 for w in weights)
        judge = LiteRT(model) if op.startswith("uint8") else TFLM(drawn(op, number, True)[0] if refused else model)
    except Exception as e:  # noqa: BLE001
        return "tflm refused", reason(e)
    seen = set()
    for i, image in enumerate(images):
        wanted = judge(image)
        for name, engine in engines.items():
            found = engine.run(image).ravel()
            if not engine.canaries_intact or wanted.shape != found.shape or (wanted != found).any():
                at = int(np.argmax(wanted != found)) if wanted.shape == found.shape else -1
                return "different", f"{op} {number}, input {i}, output {at}: {type(judge).__name__} {wanted[at]}, engine {found[at]} (layout {name})"
        seen.add(wanted.tobytes())
    return "equal", len(seen) > 1


def _child(op, numbers, pipe):
    faulthandler.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # TFLM's remarks
    for number in numbers:
        pipe.send(outcome(op, number))


def outcomes(op, numbers):
    """`outcome` of each; a model at which the child process died is "tflm aborted"."""
    numbers, found = list(numbers), []
    while len(found) < len(numbers):
        here, there = multiprocessing.get_context("fork").Pipe(False)
        child = multiprocessing.get_context("fork").Process(target=_child, args=(op, numbers[len(found):], there))
        child.start()
        there.close()
        try:
            while len(found) < len(numbers):
                found.append(here.recv())
        except EOFError:
            child.join()
            if child.exitcode > 0:
                raise RuntimeError(f"The child process failed at {op} {numbers[len(found)]}; its error is above.") from None
            found.append(("tflm aborted", f"signal {-child.exitcode}"))
        child.join()
    return found


def measure(op, numbers):
    """A row of the table, and what was different."""
    started, found = time.process_time() + _children(), outcomes(op, numbers)
    counts, why = collections.Counter(what for what, _ in found), collections.Counter(d for what, d in found if what == "refused")
    compared = counts["equal"] + counts["different"]
    row = {"op": op, "models": len(found), "inputs": INPUTS * compared, "differences": counts["different"],
           "outputs_vary": sum(d for what, d in found if what == "equal"), "refused": counts["refused"],
           "tflm_refused": counts["tflm refused"], "tflm_aborted": counts["tflm aborted"],
           "seconds": round(time.process_time() + _children() - started, 1),
           "reasons": "; ".join(f"{n} x {text}" for text, n in why.most_common())}
    return row, [d for what, d in found if what == "different"]


def _children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    models = next((int(a) for a in sys.argv[1:] if a.isdigit()), 2000)
    chosen = [a for a in sys.argv[1:] if not a.isdigit()] or EVERY
    rows, wrong = [], []
    for op in chosen:
        row, different = measure(op, range(models))
        rows.append(row)
        wrong += different
        print({k: v for k, v in row.items() if k != "reasons"}, flush=True)
        print("\n".join([*row["reasons"].split("; "), *different[:5]]), flush=True)
    columns = [k for k in rows[0] if k != "reasons"]
    print(text_table(columns, [[row[k] for k in columns] for row in rows]))
    for row in rows:
        print("".join(f"{row['op']} refused: {text}\n" for text in row["reasons"].split("; ") if text), end="")
    if chosen == EVERY:
        print(f"Written to {record(__file__, rows).name}.")
    sys.exit("\n".join(wrong[:50]) if wrong else 0)
