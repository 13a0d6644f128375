"""What a profile says, against the papers' tables, TFLM itself, and counts made another way."""
import csv
import json
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT, shared
from helpers import graph, mutations

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.networks.pretrained import list_models
from mobilenet_keras.tflite import profile as profiles
from mobilenet_keras.tflite.interpreters import installed_runtimes
from mobilenet_keras.tflite.intervals import intervals
from mobilenet_keras.tflite.model import Model, one_op_model
from mobilenet_keras.tflite.profile import profile

needs_tflm = pytest.mark.skipif(installed_runtimes()["tflm"] is not True, reason="needs tflite-micro")
VWW, PERSON = "mlperf_tiny/vww_96_int8", "tflite_micro/person_detect"
V1_128, V2_224 = "coral/mobilenet_v1_0.25_128_quant", "coral/mobilenet_v2_1.0_224_quant"


def of(name):
    return profile(shared(f"models/{name}.tflite"))


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
    start = time.process_time()  # of this process: the machine may be busy
    assert profile(path).live_macs
    assert time.process_time() - start < 1.5


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
@pytest.mark.slow
def test_a_published_model_measured_again(tensorflow):
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from published_models import measure
    row = next(r for r in list_models() if r["name"] == "mobilenet_v2_0.35_96")
    found = measure(row)
    assert round(found["tflm_arena"] / 1000) == row["tflm_arena_kb"] and abs(found["int8_bytes"] / 1000 - row["int8_kb"]) <= 2
