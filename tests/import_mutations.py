"""Small valid weight files of every format, and hostile ones, for tests and benchmarks."""

import io
import json
import struct
import zipfile
from pathlib import Path

import foreign
import numpy as np


def valid(folder, keras=True):
    """{format: path} of small files that the readers accept."""
    from mobilenet_keras.networks.weight_files import write_safetensors

    folder, rng = Path(folder), np.random.default_rng(0)
    arrays = {f"features.{i}.weight": rng.normal(size=(4, 3, 3, 3)) for i in range(3)} | {"bias": rng.normal(size=7)}
    files = {}

    def put(kind, name, data):
        files[kind] = folder / name
        files[kind].write_bytes(data)

    put("torch zip", "zip.pth", foreign.pack_torch_zip(*foreign.pickle_state(arrays)))
    put("torch legacy", "legacy.pth", foreign.pack_torch_legacy(*foreign.pickle_state(arrays)))
    write_safetensors(folder / "a.safetensors", arrays, {"by": "test"})
    files["safetensors"] = folder / "a.safetensors"
    net = foreign.Caffe()
    net.conv("conv1", 3, 4, 3, 2)
    net.norm("conv1/bn", "conv1/scale", "relu1")
    net.head("fc7", 4, 5)
    net.save(folder / "a.caffemodel")
    files["caffemodel"] = folder / "a.caffemodel"
    (folder / "text").mkdir()
    net.save(folder / "text/a.caffemodel")
    put("prototxt", "text/a.prototxt", net.prototxt(64).encode())
    put("frozen graph", "a.pb", b"".join(foreign.field(1, const(n, a)) for n, a in arrays.items()))
    weights = [dict(name=f"{n}/kernel", shape=list(a.shape), dtype="float32") for n, a in arrays.items()]
    (folder / "shard1.bin").write_bytes(b"".join(a.astype("f").tobytes() for a in arrays.values()))
    put("tfjs", "model.json", json.dumps(dict(format="layers-model", weightsManifest=[dict(paths=["shard1.bin"], weights=weights)])).encode())
    if keras:
        import keras as k
        import tensorflow as tf

        model = k.Sequential([k.Input((8, 8, 3)), k.layers.Conv2D(4, 3, name="conv1"), k.layers.BatchNormalization(name="bn")])
        put("tflite", "a.tflite", tf.lite.TFLiteConverter.from_keras_model(model).convert())
        model.save(folder / "a.keras")
        model.save_weights(folder / "a.weights.h5")
        files |= {"keras": folder / "a.keras", "weights.h5": folder / "a.weights.h5"}
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            for n, a in arrays.items():
                tf.compat.v1.get_variable(n, initializer=a.astype("f"))
            session.run(tf.compat.v1.global_variables_initializer())
            tf.compat.v1.train.Saver().save(session, str(folder / "model.ckpt"))
        files["checkpoint"] = folder / "model.ckpt.index"
    return files


def const(name, array, shape=None):
    """A `NodeDef` of a float constant."""
    dims = b"".join(foreign.field(2, foreign.field(1, n)) for n in shape or array.shape)
    value = foreign.field(1, 1) + foreign.field(2, dims) + foreign.field(4, array.astype("<f4").tobytes())
    attribute = foreign.field(1, b"value") + foreign.field(2, foreign.field(8, value))
    return foreign.field(1, name.encode()) + foreign.field(2, b"Const") + foreign.field(5, attribute)


def mutations(data, count, seed=0):
    """`data` cut, stretched, with bytes changed, with numbers blown up."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        broken = bytearray(data)
        for _ in range(rng.integers(1, 5)):
            at, how = int(rng.integers(len(broken))), rng.integers(6)
            if how == 0:
                broken[at] = int(rng.integers(256))
            elif how == 1:
                broken[at] = int(rng.choice([0, 1, 127, 128, 255]))
            elif how == 2:
                broken = broken[: max(at, 1)]
            elif how == 3:
                broken[at : at + 8] = struct.pack("<q", int(rng.choice([-1, 0, 1 << 31, 1 << 40, (1 << 63) - 1])))
            elif how == 4:
                broken[at:at] = broken[at : at + int(rng.integers(1, 200))]
            else:
                del broken[at : at + int(rng.integers(1, 50))]
            if not broken:
                broken = bytearray(b"\0")
        yield bytes(broken)


def bomb(pickled, megabytes=2000):
    """A PyTorch zip whose one storage unpacks to gigabytes of zeros."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("archive/data.pkl", pickled)
        with z.open("archive/data/0", "w", force_zip64=True) as f:
            for _ in range(megabytes):
                f.write(bytes(1 << 20))
    return out.getvalue()


def json_mutations(config, count, seed=0):
    """A configuration with some of its values replaced by others of any type, removed, repeated or taken from elsewhere in it."""
    rng = np.random.default_rng(seed)
    junk = [None, True, -1, 0, 1, 7, 1 << 40, 1e308, float("nan"), "", "Conv2D", "Functional", "x" * 5000]
    junk += [[], {}, [[]], {"class_name": "Add"}, [None, None], [[1, 1], [1]]]
    for _ in range(count):
        broken = json.loads(json.dumps(config))
        for _ in range(rng.integers(1, 4)):
            places, todo = [], [broken]
            while todo:
                v = todo.pop()
                for k in list(v) if isinstance(v, dict) else range(len(v)):
                    places.append((v, k))
                    if isinstance(v[k], (dict, list)):
                        todo.append(v[k])
            if not places:
                break
            where, key = places[int(rng.integers(len(places)))]
            how = rng.integers(4)
            if how == 0:
                del where[key]
            elif how == 1:
                other, k = places[int(rng.integers(len(places)))]
                where[key] = json.loads(json.dumps(other.get(k) if isinstance(other, dict) else other[k] if k < len(other) else None))
            else:
                where[key] = junk[int(rng.integers(len(junk)))]
        yield broken
