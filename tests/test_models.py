"""The networks against things this project did not write: keras.applications, its official weights, the papers' tables."""
import csv
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, shared
from helpers import randomized, sample

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.networks.pretrained import list_models
from mobilenet_keras.preprocessing import Preprocessing

WIDTHS = [(1, a) for a in (.25, .5, .75, 1.0)] + [(2, a) for a in (.35, .5, .75, 1.0, 1.3, 1.4)]
SIZES = (96, 128, 160, 192, 224)


@pytest.fixture(scope="module", autouse=True)
def networks(tensorflow):
    """Imported where the tests run, and not in each process that collects them."""
    global keras, MobileNetV1, MobileNetV2, count_macs, PEERS
    import keras

    from mobilenet_keras.networks.models import MobileNetV1, MobileNetV2, count_macs
    PEERS = {1: (MobileNetV1, keras.applications.MobileNet), 2: (MobileNetV2, keras.applications.MobileNetV2)}


# Each width at two sizes, each size of each version: a width changes channels only, a size only maps.
GRID = [(*width, SIZES[(i + step) % len(SIZES)]) for step in (0, 2) for i, width in enumerate(WIDTHS)]


@pytest.mark.parametrize("version,alpha,size", sample(GRID, kept=GRID[:len(WIDTHS):3]))
def test_equals_keras_applications(version, alpha, size):
    ours, theirs = PEERS[version]
    keras.utils.clear_session(free_memory=False)  # numbers in names begin anew
    a = ours(alpha, (size, size, 3))
    b = theirs(input_shape=(size, size, 3), alpha=alpha, weights=None)

    def fixed(net):  # Keras numbers unnamed layers through the session
        return [layer.name for layer in net.layers if not layer.name.startswith(("input_layer", "global_average"))]

    assert fixed(a) == fixed(b)
    assert a.count_params() == b.count_params()
    randomized(b)
    for layer in b.layers:
        if layer.weights:
            a.get_layer(layer.name).set_weights(layer.get_weights())
    x = np.random.default_rng(size).uniform(-1, 1, (1, size, size, 3)).astype(np.float32)
    ya, yb = (np.asarray(net(x, training=False)) for net in (a, b))
    assert yb.std() > 1e-5, "the peer's output must depend on something"
    np.testing.assert_allclose(ya, yb, atol=1e-5)


@pytest.mark.parametrize("version,size", sample([(1, 97), (2, 97), (1, 65), (2, 65)], kept=[(1, 97), (2, 65)]))
def test_odd_sizes_equal_keras(version, size):
    ours, theirs = PEERS[version]
    a = ours(.5, (size, size + 16, 3), include_top=False, pooling="max")
    b = randomized(theirs(input_shape=(size, size + 16, 3), alpha=.5, weights=None, include_top=False, pooling="max"))
    a.set_weights(b.get_weights())
    x = np.random.default_rng(0).uniform(-1, 1, (1, size, size + 16, 3)).astype(np.float32)
    np.testing.assert_allclose(np.asarray(a(x, training=False)), np.asarray(b(x, training=False)), atol=1e-5)


@pytest.mark.parametrize("name", sample([r["name"] for r in list_models()], kept=[r["name"] for r in list_models()[::7]]))
def test_published_macs(name):
    """The published million is our count with 1001 classes, rounded (most rows) or cut off (most of V2's)."""
    row = next(r for r in list_models() if r["name"] == name)
    net = PEERS[row["version"]][0](row["alpha"], (row["size"], row["size"], 3), classes=1001)
    macs = count_macs(net) / 1e6
    assert row["mmacs"] in (int(macs), round(macs)), f"counted {macs:.2f} M, published {row['mmacs']} M"


@pytest.mark.parametrize("version,alpha", sample(WIDTHS, kept=[(1, .25), (2, .5), (2, 1.4)]))
def test_published_parameters(version, alpha):
    """Trainable parameters with batch normalization and 1001 classes, in millions to three decimals."""
    published = next(r["mparams"] for r in list_models() if (r["version"], r["alpha"]) == (version, alpha))
    net = PEERS[version][0](alpha, classes=1001)
    assert round(sum(np.prod(w.shape) for w in net.trainable_weights) / 1e6, 3) == published


def parameters_by_hand(t):
    """MobileNetV2 at width 1 with another t, written out from table 2 of the paper; each channel's batch normalization is four numbers."""
    total, channels = 3*3*3*32 + 4*32, 32
    for expansion, out, repeats in ((1, 16, 1), (t, 24, 2), (t, 32, 3), (t, 64, 4), (t, 96, 3), (t, 160, 3), (t, 320, 1)):
        for _ in range(repeats):
            hidden = expansion*channels
            if expansion > 1:
                total += channels*hidden + 4*hidden
            total += 3*3*hidden + 4*hidden + hidden*out + 4*out
            channels = out
    return total + 320*1280 + 4*1280 + 1280*1000 + 1000


@pytest.mark.parametrize("t,parameters", [(1, 1_879_496), (2, 2_315_432), (4, 2_927_208), (6, 3_538_984)])
def test_expansion(t, parameters):
    assert parameters == parameters_by_hand(t)
    net = MobileNetV2(expansion=t)
    assert net.count_params() == parameters
    assert net.name == "mobilenetv2_1.00_224" + ("" if t == 6 else f"_t{t}")
    assert ("block_1_expand" in [layer.name for layer in net.layers]) == (t > 1)
    assert t == 1 or net.get_layer("block_16_expand").filters == t*160
    macs, side, channels = 112*112*9*3*32, 112, 32
    for expansion, out, repeats, stride in ((1, 16, 1, 1), (t, 24, 2, 2), (t, 32, 3, 2), (t, 64, 4, 2), (t, 96, 3, 1), (t, 160, 3, 2),
                                            (t, 320, 1, 1)):
        for i in range(repeats):
            macs += side*side*channels*expansion*channels*(expansion > 1)
            side //= stride if i == 0 else 1
            macs += side*side*expansion*channels*(9 + out)
            channels = out
    assert count_macs(net) == macs + 7*7*320*1280 + 1280*1000


@pytest.mark.parametrize("value", [0, -1, .5, 2.5, "6"])
def test_expansion_is_a_whole_number(value):
    with pytest.raises(MobileNetError, match=f"expansion is a whole number of at least 1. Received: {value!r}"):
        MobileNetV2(expansion=value)


def test_imagenet_has_one_expansion():
    with pytest.raises(MobileNetError, match="published for expansion=6 only; take weights=None for expansion=4"):
        MobileNetV2(weights="imagenet", expansion=4)


@pytest.mark.slow
def test_expansion_survives_a_file_and_the_engine(tmp_path):
    from mobilenet_keras.engine.engine import Engine
    from mobilenet_keras.engine.lowering import lower, reference
    from mobilenet_keras.networks.importers import export_torch, load, save
    from mobilenet_keras.tflite.model import Model
    from mobilenet_keras.training.quantization import convert
    net = randomized(MobileNetV2(.35, (32, 32, 3), classes=4, expansion=4))
    x = np.random.default_rng(1).uniform(-1, 1, (8, 32, 32, 3)).astype(np.float32)
    for file in (save(net, tmp_path / "net.keras"), export_torch(net, tmp_path / "net.safetensors")):
        again = load(file, input_shape=(32, 32, 3))
        assert [layer.name for layer in again.layers if layer.weights] == [layer.name for layer in net.layers if layer.weights]
        np.testing.assert_allclose(again(x, training=False), net(x, training=False), rtol=1e-5, atol=1e-6)
    model = Model(convert(net, x), "t4")
    engine = Engine(model)
    image = np.random.default_rng(2).integers(-128, 128, (32, 32, 3)).astype(np.int8)
    np.testing.assert_array_equal(engine.run(image), reference(lower(model), image)[-1].ravel())


@pytest.mark.parametrize("every", sample([8, 1], kept=[8]))
def test_real_weights_classify_photos(every):
    """The real file on 250 photos: the same answers as keras.applications, and about the accuracy stated for all 1000 (0.576)."""
    weights, folder = shared("models/keras/mobilenet_v1_0.25_224.h5"), shared("data/imagenet_sample250")
    ours = MobileNetV1(.25, weights=weights)
    theirs = keras.applications.MobileNet(alpha=.25, weights=None)
    theirs.load_weights(weights)
    rows = list(csv.DictReader((folder / "labels.csv").open()))[::every]
    rule = Preprocessing.preset("slim", 224)
    x = rule(np.stack([rule.pixels(folder / r["file"]) for r in rows]))
    a, b = (net.predict(x, batch_size=50, verbose=0) for net in (ours, theirs))
    np.testing.assert_allclose(a, b, atol=1e-5)
    accuracy = np.mean(a.argmax(1) == [int(r["index"]) for r in rows])
    print(f"top-1 on {len(rows)} photos: {accuracy:.3f}")
    assert accuracy == pytest.approx(.576, abs=.06 if every == 1 else .2)


def test_weights_survive_keras_formats(tmp_path):
    net = randomized(MobileNetV2(.1, (32, 32, 3), classes=3, keras_compat=False))
    x = np.ones((1, 32, 32, 3), np.float32)
    for name in ("net.keras", "net.weights.h5"):
        (net.save if name.endswith(".keras") else net.save_weights)(tmp_path / name)
        again = MobileNetV2(.1, (32, 32, 3), classes=3, keras_compat=False, weights=tmp_path / name)
        np.testing.assert_allclose(np.asarray(again(x)), np.asarray(net(x)), atol=1e-6)


def test_no_absolute_paths_in_package():
    """The package never names the folder that it was written in."""
    modules = list(Path(ROOT, "mobilenet_keras").glob("*.py"))
    assert modules and not [p for p in modules if f"{ROOT.parent}/" in p.read_text(encoding="utf-8")]
