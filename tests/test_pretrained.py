"""ImageNet's weights: fetched, checked, cached; broken files are refused."""
import http.server
import threading

import numpy as np
import pytest
from helpers import randomized, sample, write_keras_2

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.networks.pretrained import SHA256, official_url


@pytest.fixture(scope="module", autouse=True)
def networks(tensorflow):
    """Imported where the tests run, and not in each process that collects them."""
    global keras, MobileNetV1, MobileNetV2, PEERS
    import keras

    from mobilenet_keras.networks.models import MobileNetV1, MobileNetV2
    PEERS = {1: (MobileNetV1, keras.applications.MobileNet), 2: (MobileNetV2, keras.applications.MobileNetV2)}


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


@pytest.mark.parametrize("version,alpha,size", sample([(1, .25, 128), (2, .35, 96)], kept=[(1, .25, 128)]))
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
