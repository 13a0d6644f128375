"""Photos for whoever has none: from packages, and from a server that behaves, breaks off, lies or is not there."""
import hashlib
import http.server
import io
import re
import sys
import tarfile
import threading
import types

import numpy as np
import pytest
from PIL import Image

from mobilenet_keras import examples
from mobilenet_keras.core import MissingExtra, MobileNetError
from mobilenet_keras.examples import Archive, example_photos, fetch_archive, unpack_photos
from mobilenet_keras.photos import Photos


def jpeg(color):
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(color).integers(0, 256, (40, 50, 3), np.uint8)).save(out, "JPEG", quality=95)
    return out.getvalue()


def tar_of(members):
    """A .tar.gz of (name, bytes, type) each."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, data, kind in members:
            member = tarfile.TarInfo(name)
            member.type, member.size, member.linkname = kind, len(data) if kind == tarfile.REGTYPE else 0, "/etc/passwd"
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


CLASSES = examples.FLOWERS.classes
FILE = tarfile.REGTYPE
GOOD = [(f"flower_photos/{c}/{i}.jpg", jpeg(9 * k + i), FILE) for k, c in enumerate(CLASSES) for i in range(9)]
GOOD += [("flower_photos/LICENSE.txt", b"CC BY", FILE)]
ROSES = "flower_photos/roses/"
BAD = [("flower_photos/../../out.jpg", b"", FILE), ("/flower_photos/roses/0.jpg", b"x", FILE), ("flower_photos/weeds/0.jpg", b"x", FILE)]
BAD += [(ROSES + name, b"x", FILE) for name in ("..\\up.jpg", ".x.jpg", "run.sh", "deep/0.jpg", "../0.jpg")]
BAD += [(f"{ROSES}kind{i}.jpg", b"", kind) for i, kind in enumerate((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE))]
TAR = tar_of(GOOD + BAD)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server of TAR as the published flowers; `.breaks` is after how many bytes it hangs up, `.asked` the ranges."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            start = int(asked[1]) if asked and web.ranges else 0
            web.asked.append(int(asked[1]) if asked else None)
            self.send_response(206 if start else 200)
            if web.length:
                self.send_header("Content-Length", str(len(web.data) - start))
            self.end_headers()
            self.wfile.write(web.data[start:web.breaks])

        def log_message(self, *args):
            pass

    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.data, web.breaks, web.ranges, web.length, web.asked = TAR, None, True, True, []
    threading.Thread(target=web.serve_forever, daemon=True).start()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    url = f"http://127.0.0.1:{web.server_port}/flower_photos.tgz"
    monkeypatch.setattr(examples, "FLOWERS", Archive(url, len(TAR), hashlib.sha256(TAR).hexdigest(), "flower_photos", CLASSES))
    yield web
    web.shutdown()
    web.server_close()


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir())


def test_flowers(server, tmp_path):
    path = example_photos("flowers")
    assert files(path) == sorted(name.removeprefix("flower_photos/") for name, *_ in GOOD), "and nothing else"
    assert (path / "roses/3.jpg").read_bytes() == dict((n, d) for n, d, _ in GOOD)["flower_photos/roses/3.jpg"]
    photos = Photos.from_folder(path, 32)
    assert tuple(photos.classes) == CLASSES and not photos.skipped
    assert example_photos("flowers") == path and server.asked == [None], "once"
    assert files(tmp_path) == [f"cache/mobilenet-keras/examples/flowers/{f}" for f in files(path)], "neither archive nor temporary folder is left"
    assert files(example_photos("flowers", tmp_path / "here")) == files(path)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_goes_on(server, ranges):
    server.breaks, server.ranges = len(TAR) // 2, ranges
    with pytest.raises(MobileNetError, match=r"ended after .* goes on from there|could not be fetched.* goes on from there"):
        example_photos("flowers")
    assert not (examples.cache_folder() / "examples/flowers").exists()
    server.breaks = None
    assert len(files(example_photos("flowers"))) == len(GOOD)
    assert server.asked == [None, len(TAR) // 2], "only the rest is asked for"


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("data,complaint", [
    (TAR[:-9] + b"123456789", "not the published file.*deleted"),
    (b"<html>Log in</html>", "another file|ended after"),
    (TAR + b"more", "another file")], ids=["changed", "login", "longer"])
def test_a_wrong_file(server, data, complaint, length):
    """Also where the server doesn't say how long it is; more than the file's bytes are never read."""
    server.data, server.length = data, length
    if data[:len(TAR)] == TAR and not length:
        assert len(files(example_photos("flowers"))) == len(GOOD)
        return
    with pytest.raises(MobileNetError, match=complaint):
        example_photos("flowers")
    server.data = TAR
    if not length and data[:5] == b"<html":  # its beginning was kept
        with pytest.raises(MobileNetError, match="not the published file"):
            example_photos("flowers")
    assert len(files(example_photos("flowers"))) == len(GOOD)


def test_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(examples, "FLOWERS", examples.FLOWERS._replace(url="http://127.0.0.1:9/flower_photos.tgz"))
    with pytest.raises(MobileNetError, match=r"could not be fetched: .*by hand and save it as .*flower_photos\.tgz"):
        example_photos("flowers")


def test_a_bomb(tmp_path):
    """Zeros shrink to a thousandth; a broken archive is told."""
    data = tar_of([("flower_photos/roses/0.jpg", bytes(1 << 23), FILE)])
    (path := tmp_path / "a.tgz").write_bytes(data)
    with pytest.raises(MobileNetError, match="far more"):
        unpack_photos(path, Archive("", len(data), "", "flower_photos", CLASSES), tmp_path)
    for broken in (data[:-2000], b"", b"\x1f\x8b" + bytes(99)):
        path.write_bytes(broken)
        with pytest.raises(MobileNetError, match="no readable|no photos of"):
            unpack_photos(path, Archive("", 1 << 30, "", "flower_photos", CLASSES), tmp_path)
    assert fetch_archive(Archive("", 0, hashlib.sha256(path.read_bytes()).hexdigest(), "", ()), path) == path, "placed by hand"


def test_digits(tmp_path):
    path = example_photos("digits", tmp_path)
    photos = Photos.from_folder(path, 8, channels=1, augment_scale=1)
    from sklearn.datasets import load_digits
    data = load_digits()
    assert len(photos.test) == 450 and photos.classes == list("0123456789")
    seen = {int(p.stem) + 1347: (pixels, label) for p, pixels, label in zip(photos.test.paths, photos.test.pixels, photos.test.labels)}
    for i in (1347, 1500, 1796):
        assert (seen[i][0][..., 0] == np.rint(data.images[i] * 255 / 16)).all() and seen[i][1] == data.target[i]


def test_faces(tmp_path, monkeypatch):
    """scikit-image where it is installed, and something of its shape where not."""
    monkeypatch.setitem(sys.modules, "skimage.data", None)
    with pytest.raises(MissingExtra, match="pip install scikit-image"):
        example_photos("faces", tmp_path)
    assert not list(tmp_path.iterdir()), "nothing half-made"
    monkeypatch.delitem(sys.modules, "skimage.data")
    try:
        import skimage.data  # noqa: F401
    except ImportError:
        stand_in = types.ModuleType("skimage.data")
        stand_in.lfw_subset = lambda: np.random.default_rng(0).random((200, 25, 25))
        monkeypatch.setitem(sys.modules, "skimage", types.ModuleType("skimage"))
        monkeypatch.setitem(sys.modules, "skimage.data", stand_in)
    photos = Photos.from_folder(example_photos("faces", tmp_path), 24, channels=1)
    assert photos.classes == ["face", "other"] and sum(map(len, (photos.train, photos.validation, photos.test))) == 200


def test_what_is_there_stays(tmp_path):
    (tmp_path / "digits/cat").mkdir(parents=True)
    with pytest.raises(MobileNetError, match="there already"):
        example_photos("digits", tmp_path)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(MobileNetError, match="can't be written"):
        example_photos("digits", tmp_path / "file")
    for wrong in ("cats", None, 3):
        with pytest.raises(MobileNetError, match="digits, faces, flowers"):
            example_photos(wrong, tmp_path)
