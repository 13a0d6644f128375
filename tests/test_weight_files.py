"""Forged, broken and exploding weight files: one sentence each, in bounded time and memory, and nothing is executed."""
import io
import json
import pickle
import struct
import subprocess
import sys
import time
import zipfile

import foreign
import numpy as np
import pytest
from import_mutations import bomb, const, mutations, valid

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.networks import weight_files as readers
from mobilenet_keras.networks.weight_files import read_weights, unpickle

HUGE = 10**12


@pytest.fixture(scope="module")
def files(tensorflow, tmp_path_factory):
    return valid(tmp_path_factory.mktemp("valid"))


def refused(path, data, message="."):
    """`data` at `path` is refused with a sentence, in a second and a few megabytes."""
    import tracemalloc
    path.write_bytes(data)
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(MobileNetError, match=message) as caught:
        read_weights(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.process_time() - start < 5 and peak < 20 * len(data) + (50 << 20)
    assert len(str(caught.value)) < 1200 and "Traceback" not in str(caught.value)


class Runs:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("function", ["os.system", "builtins.eval", "builtins.exec", "subprocess.Popen", "builtins.getattr", "shutil.rmtree",
                                      "importlib.import_module"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_runs_code_runs_nothing(tmp_path, function, protocol):
    import importlib
    module, attribute = function.rsplit(".", 1)
    victim = tmp_path / "victim"
    victim.touch()
    raw = pickle.dumps({"weight": Runs(getattr(importlib.import_module(module), attribute), f"rm {victim}")}, protocol=protocol)
    head = b"".join(pickle.dumps(v, protocol=2) for v in (0x1950a86a20f9469cfc6c, 1001, {}))
    refused(tmp_path / "evil.pth", foreign.pack_torch_zip(raw, {}), f"calls '[^']*{attribute}'.*nothing was executed")
    refused(tmp_path / "old.pth", head + raw + pickle.dumps([], protocol=2), f"calls '[^']*{attribute}'")
    assert victim.exists()


def test_every_opcode_that_could_call_is_refused():
    import io
    for code in (b"(S'x'\nios\nsystem\n.", b"(cos\nsystem\nS'x'\no.", b"cos\nsystem\n(S'x'\ntR.", b"\x80\x02cos\nsystem\n)\x81.",
                 b"\x80\x04\x8c\x02os\x8c\x06system\x93.", b"\x80\x02\x82\x01.", b"Pname\n.", b"\x80\x04\x8c\x02os\x8c\x06system\x93)}\x92."):
        with pytest.raises((MobileNetError, ValueError)):
            unpickle(io.BytesIO(code))


def test_declared_sizes_are_not_believed(tmp_path, files):
    a = {"features.0.weight": np.zeros((4, 4), "f")}
    pickled, storages = foreign.pickle_state(a)
    forged = pickled.replace(b"J" + struct.pack("<i", 16) + b"tQ", b"J" + struct.pack("<i", 2**31 - 1) + b"tQ")
    refused(tmp_path / "count.pth", foreign.pack_torch_zip(forged, storages), "declare")
    shape = b"(J" + struct.pack("<i", 4) + b"J" + struct.pack("<i", 4) + b"t"
    forged = pickled.replace(shape, b"(\x8a\x06" + struct.pack("<q", HUGE)[:6] + b"K\x01t", 1)
    refused(tmp_path / "shape.pth", foreign.pack_torch_zip(forged, storages), "declares 1,000,000,000,000")
    header = json.dumps({"w": dict(dtype="F32", shape=[HUGE], data_offsets=[0, 16])}).encode()
    refused(tmp_path / "w.safetensors", struct.pack("<Q", len(header)) + header + bytes(16), "declares the shape")
    refused(tmp_path / "h.safetensors", struct.pack("<Q", HUGE) + b"{}" + bytes(16))
    refused(tmp_path / "w.pb", foreign.field(1, const("w", np.zeros(4), (HUGE,))), "declares the shape")
    layer = foreign.field(1, b"conv1") + foreign.field(2, b"Convolution")
    layer += foreign.field(7, foreign.field(7, foreign.field(1, foreign.varint(HUGE))) + foreign.field(5, bytes(16)))
    refused(tmp_path / "w.caffemodel", foreign.field(100, layer), "declares the shape")
    model = json.loads(files["tfjs"].read_text())
    model["weightsManifest"][0]["weights"][0]["shape"] = [HUGE]
    (tmp_path / "shard1.bin").write_bytes((files["tfjs"].parent / "shard1.bin").read_bytes())
    refused(tmp_path / "model.json", json.dumps(model).encode(), "declares the shape")
    import h5py
    with h5py.File(tmp_path / "huge.h5", "w") as f:
        f.create_dataset("layers/conv2d/vars/0", (10**6, 10**6), "f4", chunks=(1000, 1000))
    refused(tmp_path / "huge.h5", (tmp_path / "huge.h5").read_bytes(), "larger than the file|cut short")


def test_a_model_json_can_not_multiply_its_files(files, tmp_path, monkeypatch):
    """One file that was named 400 times took 834 MB; many files, or bytes that become floats, are bounded in sum."""
    model = json.loads(files["tfjs"].read_text())
    shard = (files["tfjs"].parent / "shard1.bin").read_bytes()
    (tmp_path / "shard1.bin").write_bytes(shard)
    group = model["weightsManifest"][0]
    for manifest in ([group | dict(paths=["shard1.bin"] * 400)], [group] * 400):
        refused(tmp_path / "model.json", json.dumps(model | dict(weightsManifest=manifest)).encode(), "names 'shard1.bin' 400 times")
    monkeypatch.setattr(readers, "MAX_BYTES", 2 * len(shard) - 1)
    assert readers.read_weights(files["tfjs"]).arrays
    (tmp_path / "shard2.bin").write_bytes(shard)
    both = [group, group | dict(paths=["shard2.bin"])]
    refused(tmp_path / "model.json", json.dumps(model | dict(weightsManifest=both)).encode(), "names more than")
    small = [dict(w, shape=[len(shard)], quantization=dict(dtype="uint8", scale=1., min=0.)) for w in group["weights"][:1]]
    refused(tmp_path / "model.json", json.dumps(model | dict(weightsManifest=[group | dict(weights=small)])).encode(), "holds more than")


def test_bombs_and_loops(tmp_path):
    pickled, _ = foreign.pickle_state({"w": np.zeros((4, 4), "f")})
    refused(tmp_path / "bomb.pth", bomb(pickled, 60), "zip bomb")
    lists = b"".join(b"]q" + bytes([i + 1]) + b"(" + (b"h" + bytes([i])) * 10 + b"e" for i in range(30))
    lists = b"\x80\x02]q\x00" + lists + b"."
    refused(tmp_path / "laughs.pth", foreign.pack_torch_zip(lists, {}), "no arrays")
    ten = lambda i: b"".join(b"K" + bytes([k]) + b"h" + bytes([i]) for k in range(10))  # noqa: E731
    dicts = b"\x80\x02}q\x00" + b"".join(b"}q" + bytes([i + 1]) + b"(" + ten(i) + b"u" for i in range(7)) + b"."
    refused(tmp_path / "laughing.pth", foreign.pack_torch_zip(dicts, {}), "entries|no arrays")
    refused(tmp_path / "itself.pth", foreign.pack_torch_zip(b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.", {}), "no arrays")
    nested = b""
    for _ in range(3000):
        nested = foreign.field(1, nested[:60000])
    refused(tmp_path / "nested.pb", nested, "no arrays|cut short|broken")
    refused(tmp_path / "deep.pth", foreign.pack_torch_zip(b"\x80\x02" + b"(" * 30_000 + b"t" * 30_000 + b".", {}), "no arrays|broken")
    key = b"\x80\x02}" + b"(" * 30_000 + b"t" * 30_000 + b"K\x01s."
    refused(tmp_path / "key.pth", foreign.pack_torch_zip(key, {}), "neither text nor a number|broken")
    refused(tmp_path / "deep.json", b'{"weightsManifest":' + b"[" * 100_000, "broken")
    refused(tmp_path / "fields.caffemodel", b"\x08\x01" * 300_000, "200,000 fields")


def test_wrong_kinds(tmp_path, files):
    for kind, path in files.items():
        if kind in ("checkpoint", "tfjs"):
            continue
        data = path.read_bytes()
        for n in (0, 1, 9, len(data) // 2, len(data) - 1):
            (tmp_path / path.name).write_bytes(data[:n])
            try:
                read_weights(tmp_path / path.name)
            except MobileNetError as e:
                assert str(tmp_path) in str(e) or kind == "tflite"
    (tmp_path / "model.json").write_text(json.dumps(dict(weightsManifest=[dict(paths=["../../etc/passwd"], weights=[])])))
    with pytest.raises(MobileNetError, match="only files beside it are read"):
        read_weights(tmp_path / "model.json")
    header = json.dumps({"w": dict(dtype="I64", shape=[2], data_offsets=[0, 16])}).encode()
    (tmp_path / "ints.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))
    from mobilenet_keras.networks.importers import load
    with pytest.raises(MobileNetError, match="no MobileNet of a known system"):
        load(tmp_path / "ints.safetensors")


FORMATS = ["torch zip", "torch legacy", "safetensors", "caffemodel", "prototxt", "frozen graph", "tflite", "tfjs", "keras", "weights.h5",
           "checkpoint"]
BESIDE = dict(tfjs="shard1.bin", checkpoint="model.ckpt.data*", prototxt="a.caffemodel")


def fuzz(kind, path, count, seed, folder):
    """(accepted, refused) of `count` mutations of a file."""
    data, outcomes, opened = path.read_bytes(), [0, 0], folder / path.name
    for beside in path.parent.glob(BESIDE.get(kind, "nothing")):
        (folder / beside.name).write_bytes(beside.read_bytes())
    if kind == "prototxt":
        opened = folder / "a.caffemodel"
    for broken in mutations(data, count, seed):
        (folder / path.name).write_bytes(broken)
        start = time.process_time()
        try:
            read_weights(opened)
            outcomes[0] += 1
        except MobileNetError:
            outcomes[1] += 1
        assert time.process_time() - start < 2, broken
    (folder / path.name).unlink()
    return outcomes


@pytest.mark.parametrize("kind", FORMATS)
def test_mutations(kind, files, tmp_path):
    """In a process of its own, so that a crash in a C library is a failure and not the end of the tests."""
    code = (f"import sys; sys.path.insert(0, {str(__file__.rsplit('/', 1)[0])!r})\nfrom pathlib import Path\nfrom test_weight_files import fuzz\n"
            f"print(*fuzz({kind!r}, Path({str(files[kind])!r}), 300, 0, Path({str(tmp_path)!r})))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    accepted, broken = map(int, done.stdout.split()[-2:])
    assert accepted + broken == 300 and broken > 30


def test_what_a_file_says_of_itself_is_checked(tmp_path):
    """Notes that ask for another network, vectors of another length: refused, or not believed, before anything is built."""
    pytest.importorskip("keras", reason="needs the extra [train]")
    from mobilenet_keras.networks.importers import _flags, detect, load
    from mobilenet_keras.networks.weight_files import write_safetensors
    state = foreign.torch_state(json.loads(str(foreign.recorded("torchvision shapes"))))
    path = tmp_path / "w.safetensors"
    wanted = dict(alpha=9, weights="x", bn_epsilon=7, padding="tf", stage_strides=[9] * 7)
    write_safetensors(path, state, dict(by="mobilenet-keras", flags=json.dumps(wanted)))
    file = read_weights(path)
    assert _flags(file, detect(file)) == dict(bn_epsilon=1e-5, padding="tf")
    for flags in ("[" * 100_000, "{", "NaN,"):
        write_safetensors(path, state, dict(by="mobilenet-keras", flags=flags))
        with pytest.raises(MobileNetError, match="note on flags is broken"):
            load(path)
    for name, array in (("features.0.1.weight", np.ones(3)), ("features.0.1.running_mean", np.zeros(0)), ("features.0.1.bias", np.full(16, np.nan))):
        write_safetensors(path, state | {name: array.astype("f")}, {})
        with pytest.raises(MobileNetError, match="features.0.0 has 16 channels, but|not finite in bn_Conv1/beta"):
            load(path)


def test_what_is_no_weight_file_is_called_what_it_is(tmp_path):
    data = io.BytesIO()
    np.savez(data, x=np.zeros(3), y=np.zeros(2))
    one = io.BytesIO()
    np.save(one, np.zeros(3))
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as z:
        z.writestr("report.txt", "x")
    cut = data.getvalue()[:200]
    broken = "is a zip archive, .* cut short or broken"
    for name, content, said in (("a.npz", data.getvalue(), r"an archive of NumPy's arrays \(.npz\): x, y"),
                                ("a.npy", one.getvalue(), "one array of NumPy's"), ("cut.keras", cut, broken), ("cut.pth", cut, broken),
                                ("a.zip", other.getvalue(), "a zip archive of report.txt, and no file of weights")):
        refused(tmp_path / name, content, said)
    (tmp_path / "empty.keras").write_bytes(b"")
    with pytest.raises(MobileNetError, match="is empty: 0 bytes"):
        readers.keras_description(tmp_path / "empty.keras")
