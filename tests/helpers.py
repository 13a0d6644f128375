"""What several test files call: the command line, small folders of photos, Keras 2's weight files, broken copies of files."""
import importlib.util
import io
import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from conftest import shared
from PIL import Image

from mobilenet_keras.preprocessing import Preprocessing
from mobilenet_keras.tflite.builder import Builder
from mobilenet_keras.tflite.flatbuffer import flatbuffer_bytes
from mobilenet_keras.tflite.model import Model


def script(path):
    """A Python file outside the package as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def mobilenet(*args, cwd=None, **env):
    """Run the installed command; returns (exit code, stdout, stderr)."""
    done = subprocess.run([sys.executable, "-m", "mobilenet_keras.cli", *map(str, args)], capture_output=True, text=True,
                          cwd=cwd, env={**os.environ, **env}, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout, done.stderr


def at_once(capsys, *args):
    """The same in this process, for what needs none of its own."""
    from mobilenet_keras import cli
    capsys.readouterr()
    code = cli.main(list(map(str, args)))
    return code, *capsys.readouterr()


def photos(folder, classes=("banana", "lime"), n=12, size=(40, 30)):
    """A folder of noisy one-coloured photos per class."""
    rng = np.random.default_rng(0)
    colors = [(230, 210, 60), (60, 60, 200), (200, 60, 60)]
    for name, color in zip(classes, colors):
        (folder / name).mkdir(parents=True)
        for i in range(n):
            pixels = np.clip(rng.normal(color, 30, (size[1], size[0], 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{name}{i}.jpg")
    return folder


def one_line(err):
    assert "Traceback" not in err, err
    lines = [line for line in err.splitlines() if line.startswith("mobilenet: ")]
    assert len(lines) == 1, err
    return lines[0]


CLASSES = ["lime", "banana", "plum"]  # not in alphabetical order


def network(preset="torch", head="softmax"):
    b = Builder((1, 24, 28, 3), 6).conv(8, 3, 2).depthwise().conv(16, 1, 2).mean()
    model = (b.dense(3).softmax() if head == "softmax" else b.dense(1).logistic()).model("fruit")
    return model.with_metadata(CLASSES if head == "softmax" else CLASSES[:2], Preprocessing.preset(preset, (24, 28)))


def mutations(data, count):
    """Files cut short, with random bytes, and with random words: offsets, lengths and types."""
    rng = np.random.default_rng(0)
    for i in range(count):
        broken = bytearray(data)
        if i % 3 == 0:
            broken = broken[:rng.integers(len(data))]
        else:
            head = 40_000 if i % 2 else len(data)  # the tables of a real file lie at both of its ends
            for at in rng.integers(8, min(head, len(data)) - 4, 1 + i % 16):
                word = rng.integers(1 << 32) if i % 3 == 1 else rng.choice([0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF])
                broken[at:at + 4] = int(word).to_bytes(4, "little")
        yield bytes(broken)


def randomized(net, seed=0):
    """Weights that keep activations alive in every layer: noise about 1 for scales and variances, about 0 elsewhere."""
    rng = np.random.default_rng(seed)
    for w in net.weights:
        kind = w.path.split("/")[-1]
        if kind in ("gamma", "moving_variance"):
            value = rng.uniform(.5, 1.5, w.shape)
        elif "kernel" in kind:
            fan_in = np.prod(w.shape[:2]) if "dw" in w.path or "depthwise" in w.path else np.prod(w.shape[:-1])
            value = rng.normal(0, np.sqrt(2 / fan_in), w.shape)
        else:
            value = rng.normal(0, .1, w.shape)
        w.assign(value.astype(np.float32))
    return net


def write_keras_2(net, path):
    """`net`'s weights in the layout of the official files, as Keras 2 wrote it."""
    import h5py
    with h5py.File(path, "w") as f:
        f.attrs["layer_names"] = [layer.name.encode() for layer in net.layers]
        for layer in net.layers:
            group, names = f.create_group(layer.name), []
            for w in layer.weights:
                kind = w.path.split("/")[-1]
                if kind == "kernel" and "Depthwise" in type(layer).__name__:
                    kind = "depthwise_kernel"
                names.append(f"{layer.name}/{kind}:0")
                group.create_dataset(names[-1], data=np.asarray(w))
            group.attrs["weight_names"] = [n.encode() for n in names]


def graph(tensors, ops, inputs, outputs):
    """A model: tensors are (shape, type number, scales or None, zero point, data or None, axis), ops (code, ins, outs[, options])."""
    ints = lambda values: [np.int32(v) for v in values]  # noqa: E731
    codes, buffers, tables = sorted({code for code, *_ in ops}), [{}], []
    for i, (shape, kind, scale, zero, data, axis) in enumerate(tensors):
        buffers += [] if data is None else [{0: data.tobytes()}]
        quantization = {} if scale is None else {4: {2: [np.float32(s) for s in np.atleast_1d(scale)], 6: np.int32(axis),
                                                    3: [np.int64(zero)] * np.size(scale)}}
        tables.append({0: ints(shape), 1: np.int8(kind), 2: np.uint32(0 if data is None else len(buffers) - 1),
                       3: f"t{i}", **quantization})
    options = {0: (11, {}), 3: (1, {1: np.int32(1), 2: np.int32(1)}), 9: (8, {}), 22: (17, {}),
               25: (9, {0: np.float32(1)}), 34: (22, {}), 40: (27, {})}
    listed = [{0: np.uint32(codes.index(code)), 1: ints(ins), 2: ints(outs)}
              | ({3: np.uint8(options[code][0]), 4: {**options[code][1], **dict(*more)}} if code in options else {})
              for code, ins, outs, *more in ops]
    table = {0: tables, 1: ints(inputs), 2: ints(outputs), 3: listed, 4: "main"}
    named = [{0: np.int8(code), 2: np.int32(2 if code == 0 else 3), 3: np.int32(code)} for code in codes]
    return Model(flatbuffer_bytes(lambda _: {0: np.uint32(3), 1: named, 2: [table], 4: buffers}, b"TFL3"), "graph")


def sample(cases, kept):
    """All `cases` as parameters of which those not `kept` are slow: a few by default, each in `pytest -m slow` or here."""
    assert all(case in cases for case in kept), kept
    return [case if case in kept else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow) for case in cases]


GRAY = Preprocessing.preset("keras", 96, 1)


def person_detect():
    model = Model.open(shared("models/tflite_micro/person_detect.tflite"))
    return model.with_metadata(["no person", "person"], GRAY)  # index 1 is the person, as in TFLM's own example


DENSE = ("Dense", dict(units=2, activation="softmax"))


def describe(*layers, shape=(8, 8, 3)):
    """The description of a Sequential, as a file has it."""
    first = dict(class_name="InputLayer", config=dict(name="in", batch_shape=[None, *shape]))
    listed = [dict(class_name=kind, config=dict(name=f"l{i}", **config)) for i, (kind, config) in enumerate(layers)]
    return dict(class_name="Sequential", config=dict(name="own", layers=[first, *listed]))


def archive(path, config, weights=None, **more):
    """A `.keras` file of a description, with the arrays {group: [array]}."""
    import h5py
    held = io.BytesIO()
    with h5py.File(held, "w") as f:
        for key, arrays in (weights or {}).items():
            for i, a in enumerate(arrays):
                f[f"layers/{key}/vars/{i}"] = a
    parts = {"config.json": json.dumps(config), "metadata.json": "{}", "model.weights.h5": held.getvalue(), **more}
    with zipfile.ZipFile(path, "w") as z:
        for name, data in parts.items():
            z.writestr(name, data)
    return path
