"""Whole Keras models of strangers: rebuilt they answer as Keras did, and nothing of theirs is run."""
import io
import json
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import shared
from helpers import DENSE, archive, describe, sample

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.networks.keras_files import SCALES, glance, load_keras, rebuilt, scaled_rule
from mobilenet_keras.preprocessing import Preprocessing

HERE = Path(__file__).parent


@pytest.fixture(scope="module", autouse=True)
def networks(tensorflow):
    global keras, KL
    import keras
    KL = keras.layers


def answers(net, pixels):
    """What a rebuilt network says of raw values, prepared as it wants them."""
    mean, std = (np.float32(v) for v in (net.preprocessing.mean, net.preprocessing.std))
    return np.asarray(net((pixels.astype(np.float32) - mean) / std, training=False))


CASES = [("k3_nested.keras", None, (127.5,), (127.5,)), ("k3_flat.keras", "raw", (0.,), (1.,)), ("k3_flat2dense.keras", "raw", (0.,), (1.,)),
         ("k3_resc255_sigmoid.keras", None, (0.,), (255.,)), ("tutorial_k2.h5", None, (127.5,), (127.5,)), ("ei_0.1_1.h5", "raw", (0.,), (1.,))]


@pytest.mark.parametrize("name, scale, mean, std", sample(CASES, kept=[CASES[0], CASES[2], CASES[5]]))
def test_rebuilt_answers_as_keras_did(name, scale, mean, std):
    """Nested bodies, two-layer and sigmoid heads, augmentation, Keras 2's arithmetic: the answers that Keras itself gave."""
    path = shared(f"cases/files/{name}")
    known = np.load(path.with_suffix(".npz"))
    net = load_keras(path, scale)
    np.testing.assert_allclose(answers(net, known["x"]), known["y"], atol=2e-6)
    np.testing.assert_allclose((*net.preprocessing.mean, *net.preprocessing.std), (*mean, *std), rtol=1e-6)
    assert not any(type(layer).__name__.startswith(("Random", "Dropout", "Rescaling")) or hasattr(layer, "layers") for layer in net.layers)
    assert net.preprocessing.shape == net.input_shape[1:] == known["x"].shape[1:]


def test_a_keras_2_archive():
    """Written by tf_keras 2.21: Normalization, a nested body, SeparableConv2D, a shortcut; its answers lie beside it."""
    known = np.load(HERE / "keras_2.npz")
    net = load_keras(HERE / "keras_2.keras")
    np.testing.assert_allclose(net.preprocessing.mean + net.preprocessing.std, (10, 20, 30, 2, 3, 4), rtol=1e-6)
    np.testing.assert_allclose(answers(net, known["x"]), known["y"], atol=1e-5)
    assert glance(HERE / "keras_2.keras") == dict(scales=True, outputs=2, classes=None)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_arithmetic_and_shared_layers(tmp_path, suffix):
    """Scaling as a program spells it becomes preprocessing; arithmetic further in, and a layer that is used twice, stay in the network."""
    keras.utils.set_random_seed(1)
    photo, conv = keras.Input((16, 16, 3)), KL.Conv2D(3, 3, padding="same", activation="swish")
    x = conv(conv((photo / 127.5) - 1.))
    x = KL.Concatenate()([x, x * 2. + 1.])
    own = keras.Model(photo, KL.Dense(2, "softmax")(KL.GlobalMaxPooling2D()(KL.LeakyReLU(negative_slope=.1)(x))))
    own.save(tmp_path / f"own.{suffix}")
    net, pixels = load_keras(tmp_path / f"own.{suffix}"), np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3))
    np.testing.assert_allclose(net.preprocessing.mean + net.preprocessing.std, (127.5, 127.5), rtol=1e-6)
    np.testing.assert_allclose(answers(net, pixels), np.asarray(own(pixels.astype(np.float32))), atol=1e-6)
    assert sum(type(layer).__name__ == "Conv2D" for layer in net.layers) == 1


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_other_layers_and_models_used_twice(tmp_path, suffix):
    """Layers that no MobileNet has, a number before its operator, and a model and a layer that are used twice with others in between."""
    keras.utils.set_random_seed(2)
    photo = keras.Input((16, 16, 3))
    inner, conv = keras.Input((8, 8, 4)), KL.Conv2D(4, 1, name="twice")
    body = keras.Model(inner, conv(KL.PReLU(shared_axes=[1, 2], alpha_initializer="random_normal")(conv(inner))), name="body")
    x = KL.SeparableConv2D(4, 3, 2, "same", depth_multiplier=2, activation="relu")(1 - photo / 255)
    x = body(KL.ReLU(negative_slope=.2, max_value=4.)(body(x)))
    x = KL.Cropping2D(((0, 0), (1, 1)))(KL.UpSampling2D(2)(KL.Maximum()([x, KL.Multiply()([x, 2 - x])])))
    x = KL.Subtract()([KL.GlobalAveragePooling2D()(x), KL.Flatten()(KL.Permute((3, 1, 2))(KL.MaxPooling2D((16, 14))(KL.ReLU(4.)(x))))])
    own = keras.Model(photo, KL.Dense(2)(x))
    own.save(tmp_path / f"own.{suffix}")
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3))
    wanted = np.asarray(own(pixels.astype(np.float32)))
    for net in (load_keras(tmp_path / f"own.{suffix}"), rebuilt(own)):
        np.testing.assert_allclose(answers(net, pixels), wanted, atol=1e-5)
        np.testing.assert_allclose(net.preprocessing.mean + net.preprocessing.std, (255, -255), rtol=1e-6)
        assert sum(type(layer).__name__ == "Conv2D" for layer in net.layers) == 2  # the pointwise one, and the one that is used four times


def test_adapted_normalization_and_an_open_size(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 12, 3)).astype(np.float32)
    norm = KL.Normalization()
    norm.adapt(pixels)
    own = keras.Sequential([keras.Input((None, None, 3)), norm, KL.Conv2D(4, 3), KL.GlobalAveragePooling2D(), KL.Dense(2)])
    own.save(tmp_path / "own.keras")
    with pytest.raises(MobileNetError, match="--size 96"):
        load_keras(tmp_path / "own.keras")
    net = load_keras(tmp_path / "own.keras", size=12)
    np.testing.assert_allclose(net.preprocessing.mean, pixels.mean((0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(net.preprocessing.std, pixels.std((0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(answers(net, pixels), np.asarray(own(pixels)), atol=1e-5)
    own = keras.Sequential([keras.Input((12, 12, 3)), KL.Conv2D(4, 3), KL.Flatten(), KL.Dense(2)])
    own.save(tmp_path / "fixed.keras")
    with pytest.raises(MobileNetError, match="takes photos of 12x12; another size, 24x24, .* Leave out --size"):
        load_keras(tmp_path / "fixed.keras", scale="unit", size=24)
    np.testing.assert_allclose(answers(rebuilt(own, scale="unit"), pixels), np.asarray(own(pixels / 255)), atol=1e-5)


# --- what isn't taken -------------------------------------------------------------------------------------------------------

RAN = "globals().update(ran=True)"


@pytest.mark.parametrize("kind, config, said", [
    ("Lambda", dict(function=dict(class_name="__lambda__", config=dict(code=RAN))), "(Lambda) is none of the built-in layers"),
    ("TFSMLayer", dict(filepath="/etc/passwd"), "TFSMLayer"), ("MyLayer", dict(units=3), "MyLayer"), ("TorchModuleWrapper", {}, "TorchModuleWrapper"),
    ("TFOpLambda", dict(function="io.read_file"), "io.read_file"), ("Dense", dict(units=2, activation="my_act"), "my_act"),
    ("Dense", dict(units=10**9), "GiB of weights"), ("ZeroPadding2D", dict(padding=10**6), "a map of more than"),
    ("Conv2D", dict(filters=4, kernel_size=3, data_format="channels_first"), "channels first"),
    ("Dense", dict(units=-3), "can't be built"), ("Normalization", dict(mean=[1.], variance=[1.], invert=True), "inverted")])
def test_refused_by_name(tmp_path, kind, config, said):
    """Strangers' code, whatever it is called, and sizes that nobody means: one sentence, and none of it happens."""
    arrays = [np.zeros((192, 2), "f4"), np.zeros(2, "f4")]
    path = archive(tmp_path / "own.keras", describe((kind, config), ("Flatten", {}), DENSE), dict(dense=arrays))
    with pytest.raises(MobileNetError) as e:
        load_keras(path, "unit")
    assert said in str(e.value) and "\n" not in str(e.value) and "ran" not in globals()


def test_other_ends_are_refused(tmp_path):
    photo = keras.Input((8, 8, 3))
    x = KL.Flatten()(photo)
    for name, net, said in [("two", keras.Model(photo, [KL.Dense(2)(x), KL.Dense(2)(x)]), "outputs"),
                            ("map", keras.Model(photo, KL.Conv2D(2, 1)(photo)), "8x8x2"),
                            ("rows", keras.Sequential([keras.Input((5,)), KL.Dense(2)]), "no photos"),
                            ("pair", keras.Model([photo, y := keras.Input((8, 8, 3))], KL.Dense(2)(KL.Flatten()(KL.Add()([photo, y])))), "inputs")]:
        net.save(tmp_path / f"{name}.keras")
        with pytest.raises(MobileNetError, match=said):
            load_keras(tmp_path / f"{name}.keras", "unit")
    twice = keras.Model(photo, KL.Dense(2)(KL.Flatten()(KL.Add()([KL.Rescaling(2.)(photo), KL.Rescaling(3.)(photo)]))))
    twice.save(tmp_path / "twice.keras")
    with pytest.raises(MobileNetError, match="two scalings"):
        load_keras(tmp_path / "twice.keras")
    keras.Sequential([keras.Input((8, 8, 3)), KL.Flatten(), KL.Dense(2)]).save_weights(tmp_path / "w.weights.h5")
    with pytest.raises(MobileNetError, match="without a description"):
        load_keras(tmp_path / "w.weights.h5")


def test_arrays_must_fit(tmp_path):
    """Missing, of another shape, not finite, or a link to another file."""
    import h5py
    config = describe(("Flatten", {}), DENSE)
    for arrays, said in [([np.zeros((192, 2), "f4")], "no bias"), ([np.zeros((191, 2), "f4"), np.zeros(2, "f4")], r"\(191, 2\)"),
                         ([np.full((192, 2), np.nan, "f4"), np.zeros(2, "f4")], "not finite"),
                         ([np.zeros((192, 2), "S3"), np.zeros(2, "f4")], "plain array")]:
        with pytest.raises(MobileNetError, match=said):
            load_keras(archive(tmp_path / "own.keras", config, dict(dense=arrays)), "unit")
    assert load_keras(archive(tmp_path / "own.keras", config, dict(dense=[np.zeros((192, 2), "f4"), np.zeros(2, "f4")])),
                      "unit").count_params() == 386
    held = io.BytesIO()
    with h5py.File(held, "w") as f:
        f["layers/dense/vars/0"] = h5py.ExternalLink("/etc/passwd", "/x")
    with pytest.raises(MobileNetError, match="is a link"):
        load_keras(archive(tmp_path / "own.keras", config, **{"model.weights.h5": held.getvalue()}), "unit")
    with h5py.File(tmp_path / "own.h5", "w") as f:  # a description as one Keras writes it, arrays as the other does
        f["layers/dense/vars/0"], f.attrs["model_config"] = np.zeros((192, 2), "f4"), json.dumps(config)
    with pytest.raises(MobileNetError, match="in another order"):
        load_keras(tmp_path / "own.h5", "unit")


def test_broken_files(tmp_path):
    """Cut, flipped or with other values in the description: a sentence, or a network that was built."""
    draw, whole = random.Random(0), (HERE / "keras_2.keras").read_bytes()
    parts = {name: zipfile.ZipFile(io.BytesIO(whole)).read(name) for name in zipfile.ZipFile(io.BytesIO(whole)).namelist()}
    refused = 0
    for i in range(30):
        path = tmp_path / "own.keras"
        if i % 3:
            config, spots = json.loads(parts["config.json"]), []
            todo = [config]
            while todo:
                node = todo.pop()
                spots += [(node, k) for k in (node if isinstance(node, dict) else range(len(node)))]
                todo += [v for v in (node.values() if isinstance(node, dict) else node) if isinstance(v, (dict, list))]
            node, k = draw.choice(spots)
            node[k] = draw.choice([None, -1, 10**9, "x", [], {}, [1, 2, 3], 1e30, True])
            archive(path, config, **{"model.weights.h5": parts["model.weights.h5"]})
        else:
            cut = bytearray(whole)
            cut[draw.randrange(len(cut))] ^= 1 << draw.randrange(8)
            path.write_bytes(cut[:draw.randrange(len(cut))] if i % 2 else cut)
        for read in (glance, load_keras):
            try:
                read(path)
            except MobileNetError as e:
                refused += 1
                assert "\n" not in str(e) and len(str(e)) < 1000
    assert refused > 15


# --- how photos are scaled --------------------------------------------------------------------------------------------------

def test_scales_by_name_and_from_inside():
    shape, ones = (8, 8, 3), lambda a, b: (np.array([a]), np.array([b]))
    for scale, (low, high) in dict(signed=(-1, 1), unit=(0, 1), raw=(0, 255)).items():
        rule = scaled_rule("x", shape, scale=scale)
        ends = rule(np.stack([np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8)]))
        np.testing.assert_allclose((ends.min(), ends.max()), (low, high), atol=1e-6)
    imagenet = scaled_rule("x", shape, scale="imagenet")
    torch = Preprocessing.preset("torch")
    assert (imagenet.mean, imagenet.std) == (torch.mean, torch.std) and set(SCALES) == {"signed", "unit", "imagenet", "raw"}
    both = scaled_rule("x", shape, Preprocessing(8, 8, mean=0, std=255, resize="crop"), ones(2., -1.))  # 0..1 by the file's notes, then 2x - 1
    np.testing.assert_allclose((*both.mean, *both.std), (127.5, 127.5))
    assert both.resize == "crop"
    for arguments, said in [((None, None, None), "Say it with --scale"), ((None, ones(2., 0.), "unit"), "scales its photos itself"),
                            ((None, None, "half"), "Scales are")]:
        with pytest.raises(MobileNetError, match=said):
            scaled_rule("x", shape, *arguments)


def test_a_glance_takes_no_keras(tmp_path):
    """What can't be is told before TensorFlow takes its seconds to start."""
    code = ("import sys, time\nfrom mobilenet_keras.networks.keras_files import glance\nprint(glance(sys.argv[1]))\n"
            "assert not {'keras', 'tensorflow'} & set(sys.modules)")
    path = archive(tmp_path / "own.keras", describe(("Flatten", {}), DENSE))
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert done.stdout.strip() == "{'scales': False, 'outputs': 2, 'classes': None}", done.stderr


def test_every_listed_layer_exists():
    from mobilenet_keras.networks.graph import LAYERS
    from mobilenet_keras.networks.keras_files import ACTIVATIONS
    assert all(hasattr(KL, name) for name in LAYERS) and all(keras.activations.get(name) for name in ACTIVATIONS)
