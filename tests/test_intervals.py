"""Bounds of activations: never left, and reached."""
import subprocess
import sys

import numpy as np
import pytest
from conftest import shared
from engine_models import PERSON, VWW, needs_tflm
from helpers import graph

from mobilenet_keras.tflite.inputs import noise_photos
from mobilenet_keras.tflite.interpreters import installed_runtimes
from mobilenet_keras.tflite.intervals import intervals
from mobilenet_keras.tflite.model import Model

WATCH = """import sys, numpy as np
from tflite_micro import runtime
batch = np.load(sys.argv[2])
keep = runtime.InterpreterConfig.kPreserveAllTensors
i = runtime.Interpreter.from_file(sys.argv[1], arena_size=1 << 23, intrepreter_config=keep)
seen = {}
for image in batch:
    i.set_input(image[None], 0); i.invoke()
    for t in map(int, sys.argv[4:]):
        v = i.GetTensor(t, 0)["tensor_data"].astype(int)
        v = v.reshape(-1, v.shape[-1])
        low, high = seen.get(t, (v.min(0), v.max(0)))
        seen[t] = np.minimum(low, v.min(0)), np.maximum(high, v.max(0))
np.savez(sys.argv[3], **{str(t): np.stack(v) for t, v in seen.items()})"""


def watched(model, batch, folder, code=WATCH):
    """{tensor: (least, greatest) of each channel} that an interpreter, TFLM unless told, computes for a batch."""
    (folder / "m.tflite").write_bytes(model.interpretable)
    np.save(folder / "batch.npy", batch)
    wanted = [str(t) for t in intervals(model) if t not in {i.index for i in model.inputs}]
    done = subprocess.run([sys.executable, "-c", code, "m.tflite", "batch.npy", "seen.npz", *wanted], cwd=folder,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with np.load(folder / "seen.npz") as z:
        return {int(k): z[k] for k in z.files}


@needs_tflm
@pytest.mark.parametrize("name", [VWW, PERSON])
def test_every_activation_lies_within_its_interval(name, tmp_path):
    model = Model.open(shared(f"models/{name}.tflite"))
    shape = model.inputs[0].shape[1:]
    rng = np.random.default_rng(1)
    extremes = np.stack([np.full(shape, v) for v in (-128, 127)] + [rng.choice([-128, 127], shape) for _ in range(4)])
    photos = noise_photos(10, *shape).astype(int) - 128
    batch = np.concatenate([extremes, photos, rng.integers(-128, 128, (4, *shape))]).astype(np.int8)
    seen, bound = watched(model, batch, tmp_path), intervals(model)
    assert len(seen) > 25
    for t, (least, greatest) in seen.items():
        assert (bound[t][0] <= least).all() and (greatest <= bound[t][1]).all(), f"{model.tensors[t].name} leaves its bounds"


LITERT = """import sys, numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
i = Interpreter(sys.argv[1], experimental_op_resolver_type=OpResolverType.BUILTIN_REF, experimental_preserve_all_tensors=True)
i.allocate_tensors()
seen = {}
for image in np.load(sys.argv[2]):
    i.set_tensor(i.get_input_details()[0]["index"], image[None]); i.invoke()
    for t in map(int, sys.argv[4:]):
        v = i.get_tensor(t).astype(int)
        v = v.reshape(-1, v.shape[-1])
        low, high = seen.get(t, (v.min(0), v.max(0)))
        seen[t] = np.minimum(low, v.min(0)), np.maximum(high, v.max(0))
np.savez(sys.argv[3], **{str(t): np.stack(v) for t, v in seen.items()})"""


@pytest.mark.skipif(installed_runtimes()["litert-reference"] is not True, reason="needs ai-edge-litert")
@pytest.mark.parametrize("name, images", [("coral/mobilenet_v1_0.25_128_quant", 4), ("coral/mobilenet_v2_1.0_224_quant", 1)])
def test_uint8_activations_lie_within_their_intervals(name, images, tmp_path):
    """Models of TensorFlow 1, with ADD in V2, on LiteRT's reference kernels; TFLM has none for them."""
    model = Model.open(shared(f"models/{name}.tflite"))
    shape = model.inputs[0].shape[1:]
    batch = np.concatenate([noise_photos(images, *shape), np.random.default_rng(0).choice([0, 255], (images, *shape))])
    seen, bound = watched(model, batch.astype(np.uint8), tmp_path, LITERT), intervals(model)
    assert len(seen) > 25
    for t, (least, greatest) in seen.items():
        assert (bound[t][0] <= least).all() and (greatest <= bound[t][1]).all(), f"{model.tensors[t].name} leaves its bounds"


@needs_tflm
def test_bounds_are_reached_and_tflm_rounds_twice(tmp_path):
    """Each channel of a 1x1 layer gets the input that drives it to its bound; in some, the two roundings differ there."""
    n, rng = 400, np.random.default_rng(0)
    weights = rng.integers(-4, 5, (n, 1, 1, 6), np.int8)
    bias = rng.integers(-100, 100, n, np.int32)
    scales = rng.uniform(.2, .5, n).astype(np.float32)
    model = graph([((1, 1, 1, 6), 9, .05, 3, None, 0), ((n, 1, 1, 6), 9, scales, 0, weights, 0),
                   ((n,), 2, scales * np.float32(.05), 0, bias, 0), ((1, 1, 1, n), 9, .6, -7, None, 0)],
                  [(3, [0, 1, 2], [3])], [0], [3])
    drive = np.concatenate([np.where(s * weights[:, 0] > 0, 127, -128) for s in (1, -1)]).astype(np.int8)
    least, greatest = watched(model, drive.reshape(2 * n, 1, 1, 6), tmp_path)[3]
    twice, once, both = (intervals(model, r)[3] for r in (["double"], ["single"], ["double", "single"]))
    assert (twice[0] == least).all() and (twice[1] == greatest).all()
    assert (np.stack(once) != np.stack(twice)).any(), "no channel tells the roundings apart: this showed less than it says"
    assert (both[0] == np.minimum(once[0], twice[0])).all() and (both[1] == np.maximum(once[1], twice[1])).all()


@needs_tflm
def test_bounds_of_add_are_reached(tmp_path):
    """A + A with two scales, through a reshape: both ends of ADD's arithmetic, which TFLM computes, too."""
    model = graph([((1, 1, 1, 6), 9, .05, 3, None, 0), ((1, 1, 1, 6), 9, .031, -5, np.arange(-60, 60, 20, np.int8), 0),
                   ((1, 1, 1, 6), 9, .09, -11, None, 0)], [(0, [0, 1], [2])], [0], [2])
    least, greatest = watched(model, np.array([[-128] * 6, [127] * 6], np.int8).reshape(2, 1, 1, 6), tmp_path)[2]
    low, high = intervals(model, ["double"])[2]
    assert (low == least).all() and (high == greatest).all() and (high < 127).all()


@needs_tflm
def test_bounds_through_padding_and_a_mean_of_another_scale(tmp_path):
    """Three channels that stay above, around and below the zero point, which PAD then brings in; MEAN changes the scale."""
    weights, bias = np.eye(3, dtype=np.int8)[:, None, None], np.array([900, 0, -900], np.int32)
    padding, axes = np.array([[0, 0], [1, 0], [0, 1], [0, 0]], np.int32), np.array([1, 2], np.int32)
    model = graph([((1, 2, 2, 3), 9, .1, 0, None, 0), ((3, 1, 1, 3), 9, [.1] * 3, 0, weights, 0), ((3,), 2, [.01] * 3, 0, bias, 0),
                   ((1, 2, 2, 3), 9, .1, 5, None, 0), ((4, 2), 2, None, 0, padding, 0), ((1, 3, 3, 3), 9, .1, 5, None, 0),
                   ((2,), 2, None, 0, axes, 0), ((1, 3), 9, .02, -3, None, 0)],
                  [(3, [0, 1, 2], [3]), (34, [3, 4], [5]), (40, [5, 6], [7])], [0], [7])
    batch = np.stack([np.full((2, 2, 3), v, np.int8) for v in (-128, -5, 0, 60, 127)])
    seen, bound = watched(model, batch, tmp_path), intervals(model)
    assert (bound[3][0][0] > 5) and (bound[3][1][2] < 5), "no channel excludes the zero point"
    for t, (least, greatest) in seen.items():
        assert (bound[t][0] <= least).all() and (greatest <= bound[t][1]).all(), t


@needs_tflm
def test_bounds_of_a_dense_layer_on_a_map_and_of_relu6(tmp_path):
    """Twelve inputs are four pixels of three channels, of which each has other bounds; 6 / .02395 is 250.52."""
    rng = np.random.default_rng(0)
    dense, weights, bias = (rng.integers(-127, 128, (8, 12), np.int8), np.eye(3, dtype=np.int8)[:, None, None],
                            np.array([900, 0, -900], np.int32))
    model = graph([((1, 2, 2, 3), 9, .1, 0, None, 0), ((3, 1, 1, 3), 9, [.1] * 3, 0, weights, 0), ((3,), 2, [.01] * 3, 0, bias, 0),
                   ((1, 2, 2, 3), 9, .02395, -128, None, 0), ((8, 12), 9, .001, 0, dense, 0), ((1, 8), 9, .02, 0, None, 0)],
                  [(3, [0, 1, 2], [3], {3: np.int8(3)}), (9, [3, 4, -1], [5])], [0], [5])
    drive = np.stack([np.where(s * row > 0, 127, -128).reshape(2, 2, 3) for row in dense for s in (1, -1)]).astype(np.int8)
    seen, bound = watched(model, drive, tmp_path), intervals(model, ["double"])
    assert bound[3][1][0] == 251 - 128 and (bound[5][1] < 127).any()
    for t, (least, greatest) in seen.items():
        assert (bound[t][0] == least).all() and (bound[t][1] == greatest).all(), t
