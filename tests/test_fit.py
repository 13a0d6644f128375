"""Which boards a model fits: one truth with `build`, for our engine and for the other runtimes; broken and foreign files."""
import csv
import dataclasses
import functools
import json
import shlex
import shutil
import sys

import numpy as np
import pytest
from conftest import ROOT, shared
from engine_models import network
from helpers import mobilenet, mutations, sample
from small_firmware import small

from mobilenet_keras import cli
from mobilenet_keras.boards import BOARDS, CYCLES
from mobilenet_keras.core import MobileNetError
from mobilenet_keras.engine.mbn import compile_model
from mobilenet_keras.mcu import fit as module
from mobilenet_keras.mcu.firmware import build
from mobilenet_keras.mcu.fit import available, check_fits, compiled_for, fits, required
from mobilenet_keras.mcu.target import target, targets
from mobilenet_keras.mcu.tflm import export_tflm, lint_tflm
from mobilenet_keras.networks.pretrained import ALPHAS
from mobilenet_keras.tflite import profile as profiles
from mobilenet_keras.tflite.builder import Builder, example
from mobilenet_keras.tflite.folding import folded
from mobilenet_keras.tflite.interpreters import installed_runtimes
from mobilenet_keras.tflite.model import Model, one_op_model
from mobilenet_keras.tflite.profile import profile

sys.path.insert(0, str(ROOT / "benchmarks"))
import fitting  # noqa: E402
import sizes  # noqa: E402

MICRO = installed_runtimes()["tflm"] is True
VWW, PERSON = "mlperf_tiny/vww_96_int8", "tflite_micro/person_detect"
V1_128, V2_224 = "coral/mobilenet_v1_0.25_128_quant", "coral/mobilenet_v2_1.0_224_quant"


def of(name):
    return profile(shared(f"models/{name}.tflite"))


MADE = {"small": small, "V1 .25": lambda: network("V1", .25, 96),
        "V2 .35": lambda: network("V2", .35, 96), "V1 1.0": lambda: network("V1", 1., 224, 1000),
        "wide": lambda: example((1, 640, 640, 3))}


@pytest.mark.parametrize("name", sample(list(MADE), kept=["small", "V1 .25"]))
def test_the_engine_fits_where_build_does_not_refuse(name):
    """The same bytes, the same verdict and the same advice, on every board that has firmware."""
    model, verdicts = MADE[name](), set()
    told = {f.board: f for f in model.boards() if f.runtime == "engine"}
    assert {*targets(), "coral-micro"} == set(told)
    compile = functools.cache(lambda model, layout: compile_model(model, layout=layout))
    for board, found in told.items():
        t = target(board, sdk=True)
        compiled = compiled_for(model, t, compile)
        assert (found.ram, found.flash, found.usable_ram, found.usable_flash) == (*required(compiled, t), *available(t))
        try:
            check_fits(compiled, t)
            assert found.ok and not found.why
        except MobileNetError as e:
            lacks, better = found.why.rsplit("; ", 1)
            assert not found.ok and better in str(e) and all(part in str(e) for part in lacks.split("; "))
        verdicts.add(found.ok)
    assert verdicts == ({True} if model is small() else {True, False})


def test_recorded_figures_are_true():
    """Every board with ten networks: what `boards` says is what was linked, and on a board of each core counted."""
    with open(ROOT / "benchmarks/fitting.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    pairs = [(r["board"], r["network"]) for r in rows]
    assert len(fitting.NETWORKS) == 10 and sorted(pairs) == sorted((b, n) for b in targets() for n in fitting.NETWORKS)
    assert sum(bool(r["counted"]) for r in rows) >= 30
    for r in rows:
        assert (r["ram"], r["held"]) == (r["ram_built"], r["held_built"]) and abs(int(r["flash"]) - int(r["flash_built"])) <= 64, r
        assert abs(float(r["error"] or 0)) < .05 and (r["fits"] == "1" or not r["error"]), r
    assert {r["fits"] for r in rows if r["board"] == "microbit"} == {"0", "1"}
    assert {target(b).core for b in fitting.COUNTED} == {t.core for t in targets().values()}


# Every board and every network; all pairs: benchmarks/fitting.py
PAIRS = [(list(fitting.NETWORKS)[i % len(fitting.NETWORKS)], b) for i, b in enumerate(targets())]
KEPT = [("V1 0.1 48x48x1", "mps2-an386"), ("uint8, 45x37x3", "mps3-an547")]
CORES = {t.core: b for b, t in targets().items()}


@pytest.mark.skipif(not shutil.which("qemu-system-arm"), reason="needs qemu-system-arm")
@pytest.mark.parametrize("name, board", sample(list(dict.fromkeys([*PAIRS, *KEPT])), kept=KEPT))
def test_boards_build_and_simulate_agree(name, board):
    row = fitting.measured(name, board)
    assert (row["ram"], row["held"]) == (row["ram_built"], row["held_built"]) and abs(row["flash"] - row["flash_built"]) <= 64
    assert not row["fits"] or abs(float(row["error"])) < .05


@pytest.mark.slow
@pytest.mark.parametrize("board", list(CORES.values()), ids=list(CORES))
def test_sizes_are_what_the_linker_says(board):
    """One variant for each core, linked anew; benchmarks/sizes.py links them all."""
    key, found = sizes.measured(*list(sizes.variants(board))[-1])
    assert module._sizes()[board][key] == found
    assert module._sizes()["finds"][board] == sizes.finding(board)


def test_every_board_has_sizes():
    assert {shortcuts: list(widths) for shortcuts, widths in module._TRAINED.items()} == {False: ALPHAS[1], True: ALPHAS[2]}
    rows, variants = dict(module._sizes()), {b: list(sizes.variants(b)) for b in targets()}
    finds = {b: {module.finds_key(t, layout) for t, layout, _ in some} for b, some in variants.items()}
    assert {b: set(found) for b, found in rows.pop("finds").items()} == finds
    assert {b: set(found) for b, found in rows.items()} == {b: {module.firmware_key(*v) for v in some} for b, some in variants.items()}


def test_the_engine_comes_first():
    """`boards` said of person_detect that 67,578 bytes were lacking on a micro:bit, where `build` succeeds."""
    model = Model.open(shared(f"models/{PERSON}.tflite"))
    rows = model.boards()
    assert [f.runtime for f in rows if f.board == "microbit"] == ["engine", "tflm"] and "19 of 19 boards" in str(rows)
    ours, theirs = fits(model, "microbit"), fits(model, "microbit", "tflm")
    assert ours.ok and not theirs.ok and theirs.ram - theirs.usable_ram == (68_256 if MICRO else 67_578), "measured with a margin, or estimated"
    code, out, err = mobilenet("boards", shared(f"models/{PERSON}.tflite"), "--board", "microbit")
    first, second = out.splitlines()
    assert code == 0 and not err and first.startswith("fits microbit with engine (12,464 of 16,384 bytes of RAM, 14,664 with the photo held, 260,")
    assert second.startswith("does not fit microbit with tflm (") and "mobilenet convert A.tflite -o B.tflite" in second
    assert f"{theirs.ram - theirs.usable_ram:,} bytes of RAM too many" in second


def test_advice_is_a_command_line(tmp_path):
    """A network that is trained as it says is of a size that fits."""
    model = network("V1", .25, 96)
    model.save(tmp_path / "m.tflite")
    code, out, _ = mobilenet("boards", "m.tflite", "--board", "microbit", cwd=tmp_path)
    assert code == 1 and out.splitlines()[0].endswith("mobilenet train PHOTOS --alpha 0.1 --size 96 --weights none")
    for board, large in (("microbit", model), ("microbit", network("V1", .25, 160, channels=1)), ("microbit-v2", network("V1", .75, 96))):
        found = fits(large, board)
        flags = cli.parser().parse_args(shlex.split(found.why.rsplit("mobilenet ", 1)[1]))
        better = network(flags.net.upper(), flags.alpha, int(flags.size), channels=1 if flags.gray else 3)
        assert found.smaller[1:] == (int(flags.size),) * 2 and not found.ok and fits(better, board).ok, found.why
        if board == "microbit":
            assert build(better, board).flash_free > 0
    assert "mobilenet train PHOTOS --net v2 --alpha 0.1" in fits(network("V2", .35, 160), "microbit").why
    assert "mobilenet train PHOTOS --alpha" in fits(network("V1", .5, 224, 10), "microbit-v2", "tflm").why


def test_what_the_picos_sdk_could_not_link_does_not_fit():
    """benchmarks/tflm_real.csv: its linker found 12,320 bytes too much of this network, and room for it with two classes."""
    many, few = (fits(network("V2", .35, 96, n), "pico", "tflm") for n in (1000, 2))
    assert not many.ok and "flash" in many.why and few.ok and few.flash >= 799_240
    oblong = compile_model(example((1, 96, 128, 3)))
    assert module.smaller_advice((.5, None, 48), oblong.steps[0].shape)[1].endswith("0.5 of its channels at 48x64")
    found, words = module.smaller_advice((.5, .25, 48), (96, 128, 1), True)
    assert found == (.5, 48, 64) and words.endswith(": mobilenet train PHOTOS --net v2 --gray --alpha 0.25 --size 48x64 --weights none")


def test_boards_of_real_models():
    v2, vww = of(V2_224), of(VWW)
    assert {f.board for f in vww.boards()} == set(BOARDS)
    assert {f.board for f in vww.boards() if not f.ok} == {"microbit"}, "16 KB of RAM, 256 KB of flash"
    small = fits(vww, "microbit", "tflm")
    assert "bytes of RAM too many" in small.why and "estimated" in small.why
    assert "mobilenet convert A.tflite -o B.tflite makes the file 91,736 bytes smaller" in small.why
    assert small.ram - small.usable_ram == int(small.why.split(" bytes")[0].replace(",", ""))
    pico = fits(v2, "pico", "tflm")
    assert not pico.ok and "takes uint8" in pico.why and pico.ms is None
    assert fits(vww, "nucleo-f446re", "tflm").ms == pytest.approx(24_078_426 * CYCLES["Cortex-M4"] / 180e3, rel=.01), "instructions counted on an M4"
    assert fits(vww, "pico", "tflm").ms == pytest.approx(87_193_979 * CYCLES["Cortex-M0+"] / 125e3, rel=.01), "and on an M0+"
    assert fits(vww, "pico2", "tflm").ms is None, "nothing was measured on an M33"
    assert fits(v2, "pi-zero2").ok and fits(v2, "pi-zero2").runtime == "tflite-runtime"


@pytest.mark.skipif(not MICRO, reason="needs tflite-micro")
@pytest.mark.parametrize("name", sample([*(f"models/{name}" for name in (PERSON, VWW, "mlperf_tiny/vww_96_float", V1_128, f"{V1_128}_edgetpu")),
                                         *(f"cases/files/{name}" for name in ("int16x8", "twosig", "ei_0.1_1_int8"))],
                                        kept=["cases/files/int16x8"]))
def test_tflm_fits_where_export_does_not_refuse(tmp_path, name):
    """The verdict and the figures of the app that `export --runtime tflm` writes, and `lint`'s."""
    model = Model.open(shared(f"{name}.tflite"))
    for board in ("pico", "microbit", "microbit-v2"):
        found = fits(model, board, "tflm")
        try:
            folder = export_tflm(model, tmp_path / board, board=board)
            assert found.ok and f"| arena | {found.ram} bytes" in (folder / "README.md").read_text()
        except MobileNetError:
            assert not found.ok
        judged = lint_tflm(folded(model), board)  # of the file itself lint tells the ops that compute shapes
        assert judged.ok == found.ok or "int16" in name, "TFLM itself runs int16, which our app is not for"


@pytest.mark.skipif(not MICRO, reason="needs tflite-micro")
def test_an_untrained_network_fits_once_it_is_trained(tmp_path):
    """Its scores are next to nothing: the engine and TFLM refuse it as it is, boards tell its sizes."""
    b = Builder((1, 24, 24, 3)).conv(8, 3, 2).mean().dense(4)
    trained = b.softmax().model("net")
    model = Model(trained.data, "net")
    logits = next(op for op in model.ops if op.name == "SOFTMAX").inputs[0]
    model.tensors[logits] = dataclasses.replace(model.tensors[logits], scale=np.float32([7.8e-9]))
    for found in model.boards("pico"):
        wanted = fits(trained, "pico", found.runtime)
        assert found.ok and "once it is trained" in found.why and abs(found.ram - wanted.ram) < 2048
        assert abs(found.flash - wanted.flash) < 64, "equal constants stand in the file once"
    for use in (lambda: compile_model(model), lambda: export_tflm(model, tmp_path / "app")):
        with pytest.raises(MobileNetError, match="isn't trained"):
            use()
    assert any(f.severity == "error" and "isn't trained" in f.what for f in lint_tflm(model).findings)


def test_another_runtime_is_a_row(monkeypatch):
    dream = (lambda board: board.kind == "microcontroller", lambda profile, board: dict(ram=10, flash=10, ms=1))
    monkeypatch.setitem(module.ON_BOARDS, "dream", dream)
    table = Model(one_op_model(), "tiny").boards()
    assert {"engine", "tflm", "dream"} == {f.runtime for f in table if f.board == "microbit"}
    assert fits(Model(one_op_model(), "tiny"), "microbit", "dream").ok


def test_what_cannot_run_does_not_fit():
    compiled, floats = Model.open(shared("models/coral/mobilenet_v1_0.25_128_quant_edgetpu.tflite")), of("mlperf_tiny/vww_96_float")
    assert {f.board for f in compiled.boards() if f.ok} == {"coral-dev", "coral-usb"}
    assert "compiled for an Edge TPU" in fits(compiled, "pico", "tflm").why and not fits(floats, "coral-usb").ok
    assert "compiled for an Edge TPU" in fits(compiled, "pico").why
    for model in (compiled, floats):
        ours = fits(model, "pico")
        assert not ours.ok and ours.runtime == "engine" and ours.ram is None and ours.why
    refused = fits(Model(one_op_model(code=132), "volumes"), "pico", "tflm")
    assert not refused.ok and "has no CONV_3D" in refused.why


def test_a_softmax_without_a_beta_is_refused():
    """Zero is what a file says that leaves it out."""
    data = shared(f"models/{VWW}.tflite").read_bytes()
    model = Model(data)
    softmax = next(op for op in model.ops if op.name == "SOFTMAX")
    for beta in (0., -1., float("nan"), float("inf")):
        softmax.options["beta"] = beta
        assert "its beta is" in fits(model, "pico").why


def test_it_shows_itself_and_is_json():
    table = of(PERSON).boards()
    html, text = table._repr_html_(), str(table)
    assert "<script" not in html and html.count('role="img"') >= 2 * len(BOARDS)
    assert html.index("<details") > html.index("pi-zero2") > html.index("microbit")
    order = [text.index(name) for name in ("microbit ", "pico ", "pi-zero2", "mps2-an385")]
    assert order == sorted(order), "what doesn't fit first; emulated boards last"
    found = json.loads(json.dumps(table.to_dict()))
    assert found["name"] == "person_detect" and [b["board"] for b in found["boards"]] == [f.board for f in table]


def test_bars_of_consoles_that_have_no_blocks(monkeypatch):
    bars = [module.used_bar(n, 100) for n in (0, 1, 54, 99, 100, 101, None)]
    assert bars == ["█░░░░░░░░░"] * 2 + ["█████░░░░░", "██████████", "██████████", "██████████!", ""]
    monkeypatch.setattr(sys, "stdout", type("Ascii", (), dict(encoding="ascii")))
    assert module.used_bar(54, 100) == "#####....."
    cells = [module._cell(*c) for c in ((12_000, 262_144), (500_000, 4 << 20), (300_000, 31 << 20), (7, None), (None, 9))]
    assert cells == ["12.0 of 262 KB", "500 of 4,194 KB", "300 KB of 33 MB", "0.0 KB", "-"]


def test_bad_requests():
    with pytest.raises(MobileNetError, match="There is no board"):
        fits(Model(one_op_model()), "toaster")
    with pytest.raises(MobileNetError, match="Runtimes for pi4 are tflite-runtime"):
        fits(Model(one_op_model()), "pi4", "tflm")
    with pytest.raises(MobileNetError, match="Runtimes for esp32-s3 are tflm. Received: 'engine'"):
        fits(Model(one_op_model()), "esp32-s3", "engine")


@pytest.mark.parametrize("count", sample([15, 60], kept=[15]))
def test_what_can_be_read_can_be_judged(monkeypatch, count):
    """Broken copies of a real model: a table, or a refusal."""
    monkeypatch.setattr(profiles, "installed_runtimes", lambda: {"tflm": "not asked"})
    read = 0
    for data in mutations(shared(f"models/{PERSON}.tflite").read_bytes(), count):
        try:
            read += bool(str(Model(data).boards()))
        except MobileNetError:
            pass
    assert read > (3 if count == 60 else 0)
