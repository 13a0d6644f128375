"""Classifiers as people build them, for the tests of the importers and for benchmarks/import_cases.py.

A case is one value of each of FACTORS. `build` makes the Keras model (with Keras 3, or with Keras 2 given as `tf_keras`),
its batch normalization shaken so that every layer counts; `write` puts it into a container, as its own tools do.
"""

import itertools
import json
from pathlib import Path

import numpy as np

FACTORS = {
    "net": ["v1", "v2", "v1 cut", "v2 cut"],
    "head": ["dense", "dropout", "two dense", "sigmoid", "sigmoids", "logit", "flatten", "max pool", "two pools", "map", "norm"],
    "scaling": ["none", "signed", "unit", "operators", "normalization"],
    "nesting": ["flat", "nested", "sequential", "sequentials"],
    "container": ["keras", "h5", "saved_model", "tfjs", "tflite", "float16", "dynamic", "int8"],
    "keras": ["3", "2"],
}
SIZE = 48
CUTS = {"v1": "conv_pw_5_relu", "v2": "block_6_expand_relu"}


def shaken(model, rng):
    "The model with a batch normalization that does something in every layer."
    for layer in leaves(model):
        if type(layer).__name__ == "BatchNormalization":
            g, b, m, v = layer.get_weights()
            layer.set_weights(
                [rng.uniform(0.7, 1.6, g.shape), rng.normal(0, 0.3, b.shape), rng.normal(0, 0.1, m.shape), rng.uniform(0.2, 1, v.shape)]
            )
    return model


def leaves(layer):
    return [one for inner in layer.layers for one in leaves(inner)] if hasattr(layer, "layers") else [layer]


def _base(K, net):
    version, *cut = net.split()
    make, alpha = (K.applications.MobileNet, 0.25) if version == "v1" else (K.applications.MobileNetV2, 0.35)
    base = make(alpha=alpha, input_shape=(SIZE, SIZE, 3), include_top=False, weights=None)
    return K.Model(base.input, base.get_layer(CUTS[version]).output) if cut else base


def _head(K, head):
    L = K.layers

    def end(n=3, act="softmax"):
        return L.Dense(n, activation=act)

    return {
        "dense": [L.GlobalAveragePooling2D(), end()],
        "dropout": [L.GlobalAveragePooling2D(), L.Dropout(0.3), end()],
        "two dense": [L.GlobalAveragePooling2D(), L.Dense(8, activation="relu"), L.Dropout(0.2), end()],
        "sigmoid": [L.GlobalAveragePooling2D(), end(1, "sigmoid")],
        "sigmoids": [L.GlobalAveragePooling2D(), end(4, "sigmoid")],
        "logit": [L.GlobalAveragePooling2D(), end(1, None)],
        "flatten": [L.Flatten(), L.Dense(8, activation="relu"), end(2)],
        "max pool": [L.GlobalMaxPooling2D(), end()],
        "map": [L.Conv2D(16, 1, activation="relu"), L.Conv2D(3, 1), L.Softmax()],
        "norm": [L.GlobalAveragePooling2D(), L.Dense(8, use_bias=False), L.BatchNormalization(), L.ReLU(), end()],
        "two pools": [],
    }[head]


def _scaling(K, scaling):
    L = K.layers
    return {
        "none": [],
        "signed": [L.Rescaling(1 / 127.5, offset=-1)],
        "unit": [L.Rescaling(1 / 255)],
        "operators": [],
        "normalization": [L.Normalization(mean=[120.0, 110.0, 100.0], variance=[3000.0, 3500.0, 4000.0])],
    }[scaling]


def build(K, case, seed=0):
    "The Keras model of a case."
    rng, L, nesting = np.random.default_rng(seed), K.layers, case["nesting"]
    K.utils.set_random_seed(seed)
    base, before, behind = _base(K, case["net"]), _scaling(K, case["scaling"]), _head(K, case["head"])
    functional = case["head"] == "two pools" or case["scaling"] == "operators" or nesting in ("flat", "nested")
    if not functional:
        if nesting == "sequential":
            model = K.Sequential([L.InputLayer((SIZE, SIZE, 3)), *before, base, *behind])
        else:
            model = K.Sequential([K.Sequential([L.InputLayer((SIZE, SIZE, 3)), *(before or [L.Rescaling(1.0)]), base]), K.Sequential(behind)])
        model.build((None, SIZE, SIZE, 3))
        model(np.zeros((1, SIZE, SIZE, 3), "f4"))
        return shaken(model, rng)
    if nesting == "flat" and not before and case["scaling"] == "none":
        x, inputs = base.output, base.input
    else:
        x = inputs = K.Input((SIZE, SIZE, 3))
        if nesting == "nested":
            x = L.RandomFlip()(x)
        for layer in before:
            x = layer(x)
        if case["scaling"] == "operators":
            x = x / 127.5 - 1.0
        x = base(x, training=False)
    if case["head"] == "two pools":
        x = L.Dense(3, activation="softmax")(L.Concatenate()([L.GlobalAveragePooling2D()(x), L.GlobalMaxPooling2D()(x)]))
    for layer in behind:
        x = layer(x)
    return shaken(K.Model(inputs, x), rng)


def inputs_of(case, n=3, seed=1):
    "Photos as the model of a case takes them."
    pixels = np.random.default_rng(seed).integers(0, 256, (n, SIZE // 8, SIZE // 8, 3)).repeat(8, 1).repeat(8, 2).astype("f4")
    return pixels / 127.5 - 1 if case["scaling"] == "none" else pixels


def write(K, model, case, folder, x):
    "The model in its container; the path to give to `load`."
    folder, container = Path(folder), case["container"]
    if container == "keras":
        model.save(folder / "m.keras")
        return folder / "m.keras"
    if container == "h5":
        model.save(folder / "m.h5")
        return folder / "m.h5"
    if container == "saved_model":
        model.export(str(folder / "sm")) if hasattr(K, "version") or K.__name__ == "keras" else model.save(str(folder / "sm"), save_format="tf")
        return folder / "sm"
    if container == "tfjs":
        return write_tfjs(K, model, folder)
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if container != "tflite":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if container == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if container == "int8":
        converter.representative_dataset = lambda: ([one[None]] for one in x)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    (folder / "m.tflite").write_bytes(converter.convert())
    return folder / "m.tflite"


def write_tfjs(K, model, folder, metadata=None):
    "model.json and its weights, as tensorflowjs_converter and Teachable Machine write a layers model."
    import h5py

    model.save(folder / "for_tfjs.h5")
    with h5py.File(folder / "for_tfjs.h5") as f:
        config, weights = json.loads(f.attrs["model_config"]), []
        for layer in f["model_weights"].attrs["layer_names"]:
            group = f["model_weights"][layer]
            for name in group.attrs["weight_names"]:
                name = name.decode() if isinstance(name, bytes) else name
                weights.append((name.split(":")[0], np.asarray(group[name], "<f4")))
    (folder / "for_tfjs.h5").unlink()
    spec = [dict(name=n, shape=list(a.shape), dtype="float32") for n, a in weights]
    (folder / "weights.bin").write_bytes(b"".join(a.tobytes() for _, a in weights))
    (folder / "model.json").write_text(
        json.dumps(dict(modelTopology=dict(model_config=config), format="layers-model", weightsManifest=[dict(paths=["weights.bin"], weights=spec)]))
    )
    if metadata:
        (folder / "metadata.json").write_text(json.dumps(metadata))
    return folder / "model.json"


def pairwise(factors, seed=0, tries=60):
    "Cases in which every two values of two factors meet at least once (greedy)."
    rng, names = np.random.default_rng(seed), list(factors)

    def pairs(case):
        return {(a, case[a], b, case[b]) for a, b in itertools.combinations(names, 2)}

    left = {(a, v, b, w) for a, b in itertools.combinations(names, 2) for v in factors[a] for w in factors[b]}
    while left:
        a, v, b, w = sorted(left)[int(rng.integers(len(left)))]
        options = [{n: factors[n][int(rng.integers(len(factors[n])))] for n in names} | {a: v, b: w} for _ in range(tries)]
        best = max(options, key=lambda c: len(pairs(c) & left))
        left -= pairs(best)
        yield best
