"""The networks against things this project did not write: keras.applications, its official weights, the papers' tables."""
import csv
import http.server
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, shared

keras = pytest.importorskip("keras", reason="needs the extra [train]")

from mobilenet_keras.core import MobileNetError  # noqa: E402
from mobilenet_keras.networks.models import MobileNetV1, MobileNetV2, count_macs  # noqa: E402
from mobilenet_keras.networks.pretrained import SHA256, list_models, official_url  # noqa: E402
from mobilenet_keras.preprocessing import Preprocessing  # noqa: E402

PEERS = {1: (MobileNetV1, keras.applications.MobileNet), 2: (MobileNetV2, keras.applications.MobileNetV2)}
WIDTHS = [(1, a) for a in (.25, .5, .75, 1.0)] + [(2, a) for a in (.35, .5, .75, 1.0, 1.3, 1.4)]
SIZES = (96, 128, 160, 192, 224)


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


@pytest.mark.parametrize("version,alpha", WIDTHS)
@pytest.mark.parametrize("size", SIZES)
def test_equals_keras_applications(version, alpha, size):
    ours, theirs = PEERS[version]
    keras.backend.clear_session()
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


@pytest.mark.parametrize("version,size", [(1, 97), (2, 97), (1, 65), (2, 65)])
def test_odd_sizes_equal_keras(version, size):
    ours, theirs = PEERS[version]
    a = ours(.5, (size, size + 16, 3), include_top=False, pooling="max")
    b = randomized(theirs(input_shape=(size, size + 16, 3), alpha=.5, weights=None, include_top=False, pooling="max"))
    a.set_weights(b.get_weights())
    x = np.random.default_rng(0).uniform(-1, 1, (1, size, size + 16, 3)).astype(np.float32)
    np.testing.assert_allclose(np.asarray(a(x, training=False)), np.asarray(b(x, training=False)), atol=1e-5)


@pytest.mark.parametrize("row", list_models(), ids=lambda r: r["name"])
def test_published_macs(row):
    """The published million is our count with 1001 classes, rounded (most rows) or cut off (most of V2's)."""
    net = PEERS[row["version"]][0](row["alpha"], (row["size"], row["size"], 3), classes=1001)
    macs = count_macs(net) / 1e6
    assert row["mmacs"] in (int(macs), round(macs)), f"counted {macs:.2f} M, published {row['mmacs']} M"


@pytest.mark.parametrize("version,alpha", WIDTHS)
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


def test_real_weights_classify_photos():
    """The real file on 250 photos: the same answers as keras.applications, and about the accuracy stated for all 1000 (0.576)."""
    weights, folder = shared("models/keras/mobilenet_v1_0.25_224.h5"), shared("data/imagenet_sample250")
    ours = MobileNetV1(.25, weights=weights)
    theirs = keras.applications.MobileNet(alpha=.25, weights=None)
    theirs.load_weights(weights)
    rows = list(csv.DictReader((folder / "labels.csv").open()))
    rule = Preprocessing.preset("slim", 224)
    x = rule(np.stack([rule.pixels(folder / r["file"]) for r in rows]))
    a, b = (net.predict(x, batch_size=50, verbose=0) for net in (ours, theirs))
    np.testing.assert_allclose(a, b, atol=1e-5)
    accuracy = np.mean(a.argmax(1) == [int(r["index"]) for r in rows])
    print(f"top-1 on {len(rows)} photos: {accuracy:.3f}")
    assert accuracy == pytest.approx(.576, abs=.06)


@pytest.fixture
def official_server(tmp_path, monkeypatch):
    """A local HTTP server with files of the official layout, a fresh Keras cache, and the digests of those files."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(keras.src.backend.config, "_KERAS_DIR", str(tmp_path / "cache"))
    served = tmp_path / "served"

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **kw):
            super().__init__(*args, directory=served, **kw)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("MOBILENET_KERAS_WEIGHTS_URL", f"http://127.0.0.1:{server.server_port}")

    def serve(version, alpha, size, top, trusted=True):
        import hashlib
        url = official_url(version, alpha, size, top)
        path = served / "/".join(url.split("/")[3:])
        path.parent.mkdir(parents=True, exist_ok=True)
        net = randomized(PEERS[version][1](input_shape=(size, size, 3), alpha=alpha, weights=None, include_top=top), size)
        write_keras_2(net, path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if trusted else "0" * 64
        monkeypatch.setitem(SHA256, path.name, digest)
        return net

    yield serve
    server.shutdown()
    server.server_close()


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


@pytest.mark.parametrize("version,alpha,size", [(1, .25, 128), (2, .35, 96)])
def test_imagenet_is_fetched_checked_and_cached(official_server, version, alpha, size, capsys):
    theirs = official_server(version, alpha, size, True)
    make = PEERS[version][0]
    ours = make(alpha, (size, size, 3), weights="imagenet")
    x = np.random.default_rng(0).uniform(-1, 1, (1, size, size, 3)).astype(np.float32)
    np.testing.assert_allclose(np.asarray(ours(x, training=False)), np.asarray(theirs(x, training=False)), atol=1e-5)
    capsys.readouterr()
    make(alpha, (size, size, 3), weights="imagenet")
    assert "Downloading" not in capsys.readouterr().out


def test_other_classes_sizes_and_channels(official_server, capsys):
    theirs = official_server(1, .25, 128, False)
    net = MobileNetV1(.25, (112, 112, 1), classes=["cat", "dog"], weights="imagenet")
    said = capsys.readouterr().err
    assert "128x128" in said and "new, for 2 classes" in said and "to 1 input channels" in said
    np.testing.assert_allclose(net.get_layer("conv_pw_13").get_weights()[0], theirs.get_layer("conv_pw_13").get_weights()[0])
    x = np.random.default_rng(0).uniform(-1, 1, (1, 128, 128, 1)).astype(np.float32)
    body = MobileNetV1(.25, (128, 128, 1), include_top=False, weights="imagenet")
    np.testing.assert_allclose(np.asarray(body(x, training=False)), np.asarray(theirs(x.repeat(3, -1), training=False)), atol=1e-4)


def test_wrong_digest_is_refused(official_server, tmp_path):
    official_server(1, .25, 128, True, trusted=False)
    with pytest.raises(MobileNetError, match="not the official file"):
        MobileNetV1(.25, (128, 128, 3), weights="imagenet")
    assert not list((tmp_path / "cache").rglob("*.h5")), "a bad file must not stay in the cache"


def test_no_network_says_what_to_place_where(official_server, tmp_path):
    with pytest.raises(MobileNetError) as e:
        MobileNetV1(.25, (160, 160, 3), weights="imagenet")
    message = str(e.value)
    assert "mobilenet_2_5_160_tf.h5" in message and SHA256["mobilenet_2_5_160_tf.h5"] in message
    assert str(tmp_path / "cache" / "models") in message


@pytest.mark.parametrize("change", ["truncate", "garbage", "empty", "other"])
def test_broken_weight_files(tmp_path, change):
    path = tmp_path / "w.h5"
    write_keras_2(keras.applications.MobileNet(alpha=.25, input_shape=(32, 32, 3), weights=None), path)
    data = path.read_bytes()
    path.write_bytes({"truncate": data[: len(data) // 2], "garbage": bytes(len(data)), "empty": b"", "other": data}[change])
    with pytest.raises(MobileNetError, match="fit|readable"):
        MobileNetV1(.5 if change == "other" else .25, (32, 32, 3), weights=path)


def test_weights_survive_keras_formats(tmp_path):
    net = randomized(MobileNetV2(.1, (32, 32, 3), classes=3, keras_compat=False))
    x = np.ones((1, 32, 32, 3), np.float32)
    for name in ("net.keras", "net.weights.h5"):
        (net.save if name.endswith(".keras") else net.save_weights)(tmp_path / name)
        again = MobileNetV2(.1, (32, 32, 3), classes=3, keras_compat=False, weights=tmp_path / name)
        np.testing.assert_allclose(np.asarray(again(x)), np.asarray(net(x)), atol=1e-6)


@pytest.mark.parametrize("make", [MobileNetV1, MobileNetV2])
def test_head_exports_without_shape_ops(make):
    """Keras's own V1 leaves SHAPE, STRIDED_SLICE and PACK behind; ours must not, converted in the plainest way."""
    import tensorflow as tf

    from mobilenet_keras.tflite.model import Model
    net = make(.35, (32, 32, 3), classes=4)
    data = tf.lite.TFLiteConverter.from_keras_model(net).convert()
    names = {op.name for op in Model(data).ops}
    assert not names & {"SHAPE", "STRIDED_SLICE", "PACK"}, names


def test_jax_backend():
    """The same weights give the same numbers on Keras's JAX backend."""
    pytest.importorskip("jax", reason="needs the extra [dev]")
    code = """
import sys, numpy as np
from mobilenet_keras.networks.layers import keras
from mobilenet_keras.networks.models import MobileNetV1, MobileNetV2
assert keras.backend.backend() == sys.argv[1]
for make in (MobileNetV1, MobileNetV2):
    net, rng = make(.35, (64, 48, 3), classes=7, output_stride=16), np.random.default_rng(0)
    net.set_weights([rng.uniform(.1, .5, w.shape) if w.ndim == 1 else rng.normal(0, .2, w.shape) for w in net.get_weights()])
    print(*np.asarray(net(rng.uniform(-1, 1, (1, 64, 48, 3)).astype("float32"), training=False))[0])
"""
    out = {}
    for backend in ("jax", "tensorflow"):
        import os
        env = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run([sys.executable, "-c", code, backend], cwd=ROOT, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        out[backend] = np.array(done.stdout.split(), float)
    assert out["jax"].size == 14
    np.testing.assert_allclose(out["jax"], out["tensorflow"], atol=1e-5)


def test_preprocessing_equals_keras():
    x = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    ours = Preprocessing.preset("keras", 32)(x)
    np.testing.assert_allclose(ours, keras.applications.mobilenet.preprocess_input(x.astype(np.float32)), atol=1e-6)


def test_include_preprocessing_takes_raw_photos():
    plain, inside = MobileNetV1(.25, (32, 32, 3), classes=3), MobileNetV1(.25, (32, 32, 3), classes=3, include_preprocessing=True)
    randomized(plain)
    inside.set_weights(plain.get_weights())
    x = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    a, b = (np.asarray(net(net.preprocessing(x), training=False)) for net in (plain, inside))
    np.testing.assert_allclose(a, b, atol=1e-5)
    np.testing.assert_allclose(np.asarray(inside(x.astype(np.float32), training=False)), b, atol=1e-6)


def test_no_absolute_paths_in_package():
    """The package never names the folder that it was written in."""
    modules = list(Path(ROOT, "mobilenet_keras").glob("*.py"))
    assert modules and not [p for p in modules if f"{ROOT.parent}/" in p.read_text(encoding="utf-8")]
