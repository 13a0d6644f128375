"""What a profile says, against the papers' tables, TFLM itself, and counts made another way."""
import csv
import json
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT, shared
from test_tflite import mutations

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.networks.pretrained import list_models
from mobilenet_keras.tflite import profile as profiles
from mobilenet_keras.tflite.flatbuffer import flatbuffer_bytes
from mobilenet_keras.tflite.inputs import noise_photos
from mobilenet_keras.tflite.interpreters import installed_runtimes
from mobilenet_keras.tflite.intervals import ROUNDINGS, intervals
from mobilenet_keras.tflite.model import Model, one_op_model
from mobilenet_keras.tflite.profile import profile

needs_tflm = pytest.mark.skipif(installed_runtimes()["tflm"] is not True, reason="needs tflite-micro")
VWW, PERSON = "mlperf_tiny/vww_96_int8", "tflite_micro/person_detect"
V1_128, V2_224 = "coral/mobilenet_v1_0.25_128_quant", "coral/mobilenet_v2_1.0_224_quant"


def of(name):
    return profile(shared(f"models/{name}.tflite"))


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


@pytest.mark.parametrize("name, macs", [(VWW, "7.489"), (V1_128, "14"), ("coral/mobilenet_v1_0.5_160_quant", "77"),
                                        (V2_224, "301")])
def test_macs_are_the_papers(name, macs):
    """MLPerf Tiny's table, and slim's: 14 and 77; V2's 300 is 300,775,552, which slim rounds down."""
    found = of(name).macs / 1e6
    assert f"{found:.{len(macs.partition('.')[2])}f}" == macs or int(found * 1000) / 1000 == float(macs)


def test_kernels_params_and_strides_of_v2():
    p = of(V2_224)
    assert [r.kernel for r in p.rows[:4]] == ["3x3/2", "3x3/1", "1x1/1", "1x1/1"]
    assert sum(r.kernel == "3x3/2" for r in p.rows) == 5, "V2 halves its maps five times"
    biases = sum(t.data.size for t in p.model.tensors if t.constant and t.dtype == "int32" and t.scale is not None)
    weights = sum(t.data.size for t in p.model.tensors if t.constant and t.dtype == "uint8")
    assert p.params == weights + biases and p.weight_bytes == weights + 4 * biases
    assert round(p.params / 1e6, 1) == 3.5, "slim: 3.506 M with batch norm"


@pytest.mark.parametrize("name, least", [(VWW, 55_296), (V2_224, 1_505_280), (PERSON, 55_296), (V1_128, 98_304)])
def test_ram_minimum_is_the_published_one(name, least):
    assert of(name).ram_minimum == least


def random_graph(rng):
    """Elementwise ops on tensors of random sizes, each reading what happens to be there."""
    tensors, ops, made = [((int(rng.integers(1, 50)),), 9, .1, 0, None, 0)], [], [0]
    if rng.random() < .3:
        tensors.append(((7,), 9, .1, 0, None, 0))  # nothing writes it: a variable only if it is declared, so an input here
        made.append(1)
    inputs = list(made)
    for _ in range(int(rng.integers(1, 12))):
        ins = [int(t) for t in rng.choice(made, int(rng.integers(1, 3)))]
        if rng.random() < .4:
            tensors.append(((3,), 9, .1, 0, np.zeros(3, np.int8), 0))
            ins.append(len(tensors) - 1)
        outs = []
        for _ in range(int(rng.integers(1, 3))):
            tensors.append(((int(rng.integers(0, 50)), 2), int(rng.choice([9, 2, 0])), None, 0, None, 0))
            outs.append(len(tensors) - 1)
        ops.append((101, ins, outs))
        made += outs
    return graph(tensors, ops, inputs, [int(t) for t in {*rng.choice(made, 2), made[-1]}])


@pytest.mark.parametrize("seed", range(30))
def test_ram_minimum_is_what_a_simulation_holds(seed):
    """An interpreter that keeps a set of tensors: allocate before an op, free after it what nobody wants any more."""
    model = random_graph(np.random.default_rng(seed))
    sizes = {t.index: int(np.prod(t.shape)) * {"int8": 1, "int32": 4, "float32": 4}[t.dtype] for t in model.tensors}
    held, seen = {t.index for t in model.inputs}, []
    for i, op in enumerate(model.ops):
        held |= set(op.outputs)
        seen.append(sum(sizes[t] for t in held))
        wanted = {t for later in model.ops[i + 1:] for t in later.inputs} | {t.index for t in model.outputs}
        held &= wanted
    p = profile(model)
    assert [r.live_bytes for r in p.rows] == seen and p.ram_minimum == max(seen)
    assert p.arena_plan >= p.ram_minimum


TFLM = """import sys, numpy as np
from tflite_micro import runtime
i = runtime.Interpreter.from_file(sys.argv[1], arena_size=1 << 23)
i.set_input(np.zeros(eval(sys.argv[2]), sys.argv[3]), 0); i.invoke(); i.print_allocations()"""


@needs_tflm
@pytest.mark.parametrize("name", [VWW, PERSON, "mlperf_tiny/vww_96_float"])
def test_arena_is_what_tflm_says(name):
    path = shared(f"models/{name}.tflite")
    p, t = profile(path), Model.open(path).inputs[0]
    said = subprocess.run([sys.executable, "-c", TFLM, str(path), str(t.shape), t.dtype], capture_output=True, text=True)
    lines = [line for line in said.stderr.splitlines() if "Arena allocation" in line]
    assert [int(line.split()[-2]) for line in lines] == [p.arena.total, p.arena.head, p.arena.tail]
    assert p.arena.head == p.arena_plan, "our copy of TFLM's planner and TFLM differ"
    assert len(p.arena.parts) >= 4 and sum(p.arena.parts.values()) < p.arena.tail and not p.arena.reason


@needs_tflm
@pytest.mark.parametrize("seed", range(3))
def test_plan_of_odd_sizes_is_tflms(seed):
    """Chains of fully connected layers whose sizes are no multiples of 16, with a second reader of an early one."""
    rng = np.random.default_rng(seed)
    sizes = [int(n) for n in rng.integers(1, 400, 8)]
    tensors, ops = [((1, sizes[0]), 9, .1, 0, None, 0)], []
    for i, (n, m) in enumerate(zip([*sizes, sizes[1]], [*sizes[1:], sizes[1]][:8])):
        tensors += [((m, n), 9, .01, 0, rng.integers(-9, 9, (m, n), np.int8), 0), ((1, m), 9, .1, 0, None, 0)]
        ops.append((9, [2 * i, 2 * i + 1, -1], [2 * i + 2]))
    tensors.append(((1, sizes[1]), 9, .1, 0, None, 0))
    ops.append((0, [2, 2 * len(ops)], [len(tensors) - 1]))
    p = profile(graph(tensors, ops, [0], [len(tensors) - 1]))
    assert p.arena.head == p.arena_plan and p.arena_plan % 16 == 0 and any(n % 16 for n in sizes)


def test_the_board_estimate_is_near_the_measured_one():
    """The same two nets on a Cortex-M4: 82,292 and 100,724 bytes of arena, CMSIS-NN's scratch included."""
    for name, measured in ((PERSON, 82_292), (VWW, 100_724)):
        assert measured <= of(name).arena_on_board <= measured + 200


def test_dead_macs():
    """The published 3.794 M is what remains if results are rounded once; rounding twice, as TFLM does, leaves one channel more."""
    p = of(VWW)
    once = intervals(p.model, ["single"])
    assert sum(profiles._live_macs(p.model, op, once) for op in p.model.ops) == 3_794_057
    assert p.live_macs == 3_795_065 and p.macs == 7_489_664
    person = of(PERSON)
    assert f"{person.live_macs / person.macs:.1%}" == "98.9%"


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
@pytest.mark.parametrize("name, images", [(V1_128, 4), (V2_224, 1)])
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


def test_rounding_against_exact_integers():
    """The same fixed-point definition in Python's own integers."""
    rng = np.random.default_rng(0)
    xs, reals = rng.integers(-2**24, 2**24, 500), rng.uniform(1e-5, .9, 500)
    for x, real in zip(xs.tolist(), reals.tolist()):
        fraction, exponent = np.frexp(real)
        q, shift = int(round(float(fraction) * 2**31)), -int(exponent)
        doubled = x * q + (2**30 if x * q >= 0 else 1 - 2**30)
        high = abs(doubled) // 2**31 * (1 if doubled >= 0 else -1)
        twice = (abs(high) + (1 << shift >> 1)) // (1 << shift) * (1 if high >= 0 else -1)
        once = (x * q + (1 << (30 + shift))) // (1 << (31 + shift))
        assert (int(ROUNDINGS["double"](x, real)), int(ROUNDINGS["single"](x, real))) == (twice, once)


def test_a_constant_channel_is_found_and_its_macs_are_dead():
    """Two 1x1 layers; a bias far below zero switches one channel of the first off, with ReLU by the output's own range."""
    weights, bias = np.ones((4, 1, 1, 3), np.int8), np.array([0, -10**6, 0, 0], np.int32)
    layers = [((1, 2, 2, 3), 9, .1, 0, None, 0), ((4, 1, 1, 3), 9, [.1] * 4, 0, weights, 0), ((4,), 2, [.01] * 4, 0, bias, 0),
              ((1, 2, 2, 4), 9, .1, -128, None, 0), ((2, 1, 1, 4), 9, [.1] * 2, 0, np.ones((2, 1, 1, 4), np.int8), 0),
              ((2,), 2, [.01] * 2, 0, np.zeros(2, np.int32), 0), ((1, 2, 2, 2), 9, .1, -128, None, 0)]
    p = profile(graph(layers, [(3, [0, 1, 2], [3]), (3, [3, 4, 5], [6])], [0], [6]))
    assert p.macs == 4 * (12 + 8) and p.live_macs_by_op == [4 * 9, 4 * 6]
    assert p.health().rows[0]["constant_channels"] == 1


def test_health_tells_the_two_generations_apart():
    old, new = of(V1_128).health(), of(PERSON).health()
    assert all(r["weights"] == "per tensor" for r in old.rows) and "28 of them with one scale" in str(old)
    assert sum("per channel" in r["note"] for r in old.rows) == 13, "13 depthwise layers"
    assert {r["weights"] for r in new.rows} == {"per channel"} and all(r["largest"] == 127 for r in new.rows)
    assert sum(r["zero_channels"] for r in of(VWW).health().rows) > 900, "training emptied this model"


def test_a_model_scaled_to_itself_costs_the_same():
    """`_scaled` is an estimate of other networks; of the network itself it must be exact."""
    for name in (VWW, PERSON):
        p = of(name)
        assert profiles._scaled(p, 1, 96) == (p.arena_on_board, p.bare_bytes)
    ram, _ = profiles._scaled(of(VWW), 1, 128)
    assert ram == pytest.approx(158_068, abs=200), "V1 .25 at 128x128x3 measured on an M4"


def test_it_shows_itself_and_is_json():
    p = of(PERSON)
    for shown in (p, p.health(), p.arena):
        assert "<script" not in getattr(shown, "_repr_html_", str)() and str(shown)
    assert p._repr_html_().count("<rect") == len(p.model.ops) == len(p.to_dict()["ops"])
    for dictionary in (p.to_dict(), p.health().to_dict()):
        assert json.loads(json.dumps(dictionary))["name"] == "person_detect"
    assert str(p).count("\n") == 3 + len(p.rows) and "55,296" in str(p)


def test_float_and_edge_tpu_models():
    floats = of("mlperf_tiny/vww_96_float")
    assert floats.macs == floats.live_macs == 7_489_664 and floats.intervals == {} and floats.ram_minimum == 4 * 55_296
    assert "nothing is quantized" in str(floats.health())
    compiled = of("coral/mobilenet_v1_0.25_128_quant_edgetpu")
    assert compiled.macs == 0 and compiled.arena.total is None and compiled.arena.reason


def test_arena_without_tflm_says_why(monkeypatch):
    monkeypatch.setattr(profiles, "installed_runtimes", lambda: {"tflm": "not installed: pip install tflite-micro"})
    p = profile(Model(one_op_model(), "tiny"))
    assert p.arena.total is None and "pip install" in str(p.arena) and p.arena_on_board > 0


ODD = {
    "scalar": graph([((), 9, .1, 0, None, 0), ((), 9, .1, 0, None, 0)], [(101, [0], [1])], [0], [1]),
    "no size": graph([((1, 0, 4, 3), 9, .1, 0, None, 0), ((1, 0, 4, 3), 9, .1, 0, None, 0)], [(17, [0], [1])], [0], [1]),
    "no inputs": graph([((1, 4, 4, 3), 9, .1, 0, None, 0), ((1, 1, 1, 3), 9, .1, 0, None, 0)], [(17, [], [1])], [0], [1]),
    "lone conv": graph([((1, 4, 4, 3), 9, .1, 0, None, 0), ((1, 4, 4, 3), 9, .1, 0, None, 0)], [(3, [0], [1])], [0], [1]),
    "unlike shapes": graph([((1, 4, 4, 3), 9, .1, 0, None, 0), ((5, 3, 3, 7), 9, .1, 0, np.ones((5, 3, 3, 7), np.int8), 0),
                            ((1, 4, 4, 4), 9, .1, 0, None, 0)], [(3, [0, 1, -1], [2])], [0], [2]),
    "no scales": graph([((1, 4, 4, 3), 9, None, 0, None, 0), ((5, 1, 1, 3), 9, None, 0, np.ones((5, 1, 1, 3), np.int8), 0),
                        ((1, 4, 4, 5), 9, None, 0, None, 0)], [(3, [0, 1, -1], [2])], [0], [2]),
    "zero scale": graph([((1, 4, 4, 3), 9, .0, 0, None, 0), ((1, 4, 4, 3), 9, .0, 0, None, 0)], [(0, [0, 0], [1])], [0], [1]),
    "huge scales": graph([((1, 1, 1, 3), 9, 3e38, 0, None, 0), ((5, 1, 1, 3), 9, 3e38, 0, np.ones((5, 1, 1, 3), np.int8), 0),
                          ((1, 1, 1, 5), 9, 1e-38, 0, None, 0)], [(3, [0, 1, -1], [2])], [0], [2]),
    "many channels": graph([((1, 1, 1, 2**30), 9, .1, 0, None, 0), ((1, 1, 1, 2**30), 9, .1, 0, None, 0)],
                           [(101, [0], [1])], [0], [1]),
    "large map": graph([((1, 2**29, 1, 3), 9, .1, 0, None, 0), ((3, 1, 1, 3), 9, .1, 0, np.ones((3, 1, 1, 3), np.int8), 0),
                        ((1, 2**28, 1, 3), 9, .1, 0, None, 0)], [(3, [0, 1, -1], [2])], [0], [2]),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_models_are_profiled_in_no_time(name, monkeypatch):
    monkeypatch.setattr(profiles, "installed_runtimes", lambda: {"tflm": "not asked"})  # an interpreter may die of these
    start = time.perf_counter()
    p = profile(ODD[name])
    assert str(p) and p._repr_html_() and json.dumps(p.to_dict()) and str(p.health())
    assert 0 <= p.live_macs <= p.macs and p.ram_minimum >= 0
    if name == "huge scales":
        assert (p.intervals[2][0] == -128).all() and (p.intervals[2][1] == 127).all(), "overflow may give anything"
    assert time.perf_counter() - start < 5


def test_what_can_be_read_can_be_profiled(monkeypatch):
    """Broken copies of a real model: where `Model` lets one through, all that is said of it is still said, or refused."""
    monkeypatch.setattr(profiles, "installed_runtimes", lambda: {"tflm": "not asked"})
    read = 0
    for data in mutations(shared(f"models/{PERSON}.tflite").read_bytes(), 90):
        try:
            p = profile(Model(data))
            read += bool(str(p) and p._repr_html_() and json.dumps(p.to_dict()) and str(p.health()))
        except MobileNetError:
            pass
    assert read > 5


def test_bad_requests():
    with pytest.raises(MobileNetError, match="No such model"):
        profile("nowhere.tflite")


def test_v2_is_profiled_quickly():
    """0.25 s on a quiet machine; see benchmarks/profile_time.csv."""
    path = shared(f"models/{V2_224}.tflite")
    profile(path)  # imports the schema
    start = time.perf_counter()
    assert profile(path).live_macs
    assert time.perf_counter() - start < 1.5


def test_the_import_is_light():
    code = "import sys, mobilenet_keras.tflite.profile; print([m for m in sys.modules if m.split('.')[0] in sys.argv[1:]])"
    heavy = ["tensorflow", "keras", "matplotlib", "tflite", "tflite_runtime", "ai_edge_litert", "tflite_micro", "rich"]
    done = subprocess.run([sys.executable, "-c", code, *heavy], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_list_models_quotes_the_benchmark():
    """The figures of `benchmarks/published_models.csv`, rounded to KB; the exported files' own test covers how they come about."""
    with open(ROOT / "benchmarks/published_models.csv", encoding="utf-8", newline="") as file:
        measured = {row["name"]: row for row in csv.DictReader(file)}
    assert measured.keys() == {row["name"] for row in list_models()}
    for row in list_models():
        found = measured[row["name"]]
        assert row["tflm_arena_kb"] == round(int(found["tflm_arena"]) / 1000)
        assert abs(row["int8_kb"] - int(found["int8_bytes"]) / 1000) <= 1
    peers = {"v1_0.25_224": 301_056, "v2_0.35_96": 138_240, "v2_0.35_160": 384_000, "v2_0.35_224": 752_640, "v2_1.0_224": 1_505_280}
    for name, minimum in peers.items():
        assert int(measured[f"mobilenet_{name}"]["ram_minimum"]) == minimum


@pytest.mark.skipif(installed_runtimes()["tflm"] is not True, reason="needs tflite-micro (Linux x86-64)")
def test_a_published_model_measured_again():
    pytest.importorskip("tensorflow", reason="needs the extra [train]")
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from published_models import measure
    row = next(r for r in list_models() if r["name"] == "mobilenet_v2_0.35_96")
    found = measure(row)
    assert round(found["tflm_arena"] / 1000) == row["tflm_arena_kb"] and abs(found["int8_bytes"] / 1000 - row["int8_kb"]) <= 2
