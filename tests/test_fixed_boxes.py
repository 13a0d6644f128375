"""Boxes and middles in integers: mbn_boxes.c under sanitizers says the same as the notebooks, bit for bit, and both what reals say."""
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.tasks.anchors import decode_boxes, grid_anchors, learnt_sizes, ssd_sizes
from mobilenet_keras.tasks.boxes import Boxes
from mobilenet_keras.tasks.centroids import find_centroids
from mobilenet_keras.tasks.fixed_boxes import BOX_ONE, FixedAnchors, c_source, decode_fixed, find_boxes, fixed_anchors, score_levels
from mobilenet_keras.tasks.overlap import iou, nms, take
from mobilenet_keras.tflite.fixedpoint import logistic_table, quantize_multiplier

OK, BROKEN = 0, 1


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    """mbn_boxes.c under the address and undefined-behaviour sanitizers: cases in, numbers out."""
    cc = shutil.which("gcc") or shutil.which("clang")
    if not cc or sys.platform == "win32":
        pytest.skip("needs gcc or clang")
    target = tmp_path_factory.mktemp("c") / "harness"
    flags = "-std=c99 -Wall -Wextra -Wpedantic -Werror -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all".split()
    sources = [ROOT / "tests/boxes_harness.c", ROOT / "microcontroller/engine/mbn_boxes.c"]
    built = subprocess.run([cc, *flags, *sources, "-o", target], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr

    def run(*cases):
        done = subprocess.run([target], input=b"".join(cases), capture_output=True, timeout=300)
        assert done.returncode == 0, done.stderr.decode()
        return np.frombuffer(done.stdout, "<i4").tolist()
    return run


def numbers(*values):
    return np.array(values, "<i4").tobytes()


def boxes_case(maps, threshold=0, overlap=BOX_ONE // 2, per_class=True, skip=0, order_room=200, room=20, claimed=-1,
               missing=0):
    out = numbers(0, len(maps), maps[0][2].shape[1], skip, overlap, threshold, not per_class, order_room, room, missing)
    for a, deltas, scores in maps:
        out += numbers(len(deltas), a.multiplier, a.shift, a.zero, a.levels is not None, claimed)
        out += a.anchors.astype("<i2").tobytes() + a.growth.astype("<u4").tobytes() + (b"" if a.levels is None else a.levels.tobytes())
        out += deltas.tobytes() + scores.tobytes()
    return out


def boxes_said(found, status=OK):
    return [status, found.candidates, len(found), *np.concatenate([found.corners, found.labels[:, None], found.scores[:, None]], 1).ravel().tolist()]


def peaks_case(q, threshold, room, claimed=-1, missing=0):
    return numbers(1, *q.shape, threshold, room, missing, claimed) + q.tobytes()


def peaks_said(q, threshold, room):
    at, scores = find_centroids(q, threshold, q.size)
    return [OK, len(at), min(len(at), room), *np.concatenate([at, scores[:, None]], 1)[:room].ravel().tolist()]


def some_map(rng, n, classes, extreme):
    """Anchors and what a network says of them; extreme: any 16 bits, any scale."""
    if extreme:
        growth = rng.integers(0, 1 << 32, 256, dtype=np.uint64).astype(np.uint32) >> rng.integers(0, 32, 256).astype(np.uint32)
        a = FixedAnchors(rng.integers(-32768, 32768, (n, 4)).astype(np.int16), growth, int(rng.integers(0, 1 << 31)), -int(rng.integers(0, 32)),
                         int(rng.integers(-128, 128)), rng.integers(-128, 128, 256).astype(np.int8) if rng.random() < .5 else None)
    else:
        anchors = np.concatenate([rng.random((max(n, 1), 2)), rng.uniform(.02, 1, (max(n, 1), 2))], 1)
        levels = score_levels(rng.uniform(.02, .2), int(rng.integers(-50, 50))) if rng.random() < .5 else None
        a = fixed_anchors(anchors, rng.uniform(.01, .1), int(rng.integers(-20, 20)), levels=levels)
        a = replace(a, anchors=a.anchors[:n])
    spread = 128 if extreme else int(rng.integers(1, 60))
    scores = rng.integers(-128, 128, (n, classes)) // int(rng.integers(1, 64))  # many ties
    return a, rng.integers(-spread, spread, (n, 4)).astype(np.int8), scores.astype(np.int8)


def rooms(rng):
    return int(rng.choice([0, 1, 50, 400, 400])), int(rng.choice([0, 1, 20, 400, 400]))


def test_boxes_are_the_notebooks(harness):
    rng, cases, wanted, full = np.random.default_rng(0), [], [], 0
    for i in range(400):
        classes = int(rng.integers(1, 5))
        maps = [some_map(rng, int(rng.integers(0, 60)), classes, i % 2) for _ in range(rng.integers(1, 4))]
        order_room, room = rooms(rng)
        how = dict(threshold=int(rng.integers(-128, 5)), overlap=int(rng.choice([0, 1000, 4096, 8192, 65535])), per_class=bool(rng.random() < .5),
                   skip=int(rng.choice([0, 0, 0, 1, classes, 9])), order_room=order_room, room=room)
        found = find_boxes(maps, **how)
        cases.append(boxes_case(maps, **how))
        wanted += boxes_said(found)
        full += found.candidates > order_room > 0 and len(found) > 0
    assert harness(*cases) == wanted and len(wanted) > 5000 and full > 30


def test_peaks_are_those_of_find_centroids(harness):
    """Maps of few values, so with plateaus, of two, and of all; from every threshold on, that of all cells and that of none too."""
    rng, cases, wanted = np.random.default_rng(1), [], []
    for i in range(600):
        shape, levels = (*rng.integers(0, 12, 2), rng.integers(1, 6)), int(rng.choice([1, 2, 4, 256]))
        q = (rng.integers(0, levels, shape) * (256 // levels) - 128).astype(np.int8)
        if i % 3 == 0:  # rectangles of equals, in several classes
            for _ in range(4):
                y, x, h, w = rng.integers(0, 8, 4)
                q[y:y + h, x:x + w, rng.integers(0, shape[2])] = rng.choice([-128, 0, 100, 127])
        how = int(rng.choice([-128, 128, rng.integers(-127, 128)])), int(rng.choice([0, 1, 5, 10, 1000]))
        cases.append(peaks_case(q, *how))
        wanted += peaks_said(q, *how)
    assert harness(*cases) == wanted and len(wanted) > 3000


def test_a_flat_map_has_one_peak_and_the_first_of_equal_classes(harness):
    for value in (-128, 0, 127):
        assert harness(peaks_case(np.full((5, 7, 3), value, np.int8), -128, 10)) == [OK, 1, 1, 0, 0, 0, value]
    q = np.full((3, 3, 3), -128, np.int8)
    q[1, 1, 1:], q[0, 2, 0] = 90, 89
    assert harness(peaks_case(q, 0, 10)) == [OK, 1, 1, 1, 1, 1, 90]  # not 89 beside it, which is the largest of its own class


def test_hostile_numbers(harness):
    """Sizes of 0, missing arrays, more scores than there may be, a shift that C does not define: a status, and nothing found or read."""
    rng = np.random.default_rng(2)
    one, none = some_map(rng, 3, 2, False), some_map(rng, 0, 2, False)
    nothing, broken = [OK, 0, 0], [BROKEN, 0, 0]
    shifts = [(1, 1), (1, -32), (-1, 0), (1, 2**31 - 1), (1, -2**31)]
    shifted = [(FixedAnchors(one[0].anchors, one[0].growth, m, s, 0), *one[1:]) for m, s in shifts]
    wide = none[0], none[1], np.zeros((0, 17_000), np.int8)  # 17,000 classes of 65,535 anchors are too many
    heat = np.zeros((2, 2, 1), np.int8)
    cases = [(numbers(0, 0, 3, 0, 0, 0, 0, 9, 9, 0), nothing), (boxes_case([none]), nothing), (boxes_case([(*one[:2], one[2][:, :0])]), nothing),
             (boxes_case([one], -128, skip=65535), nothing), (boxes_case([none], missing=1 | 2 | 4 | 8), nothing),
             *((boxes_case([one], missing=1 << bit), broken) for bit in range(8)), *((boxes_case([m]), broken) for m in shifted),
             (boxes_case([one], order_room=0, missing=32), [OK, find_boxes([one]).candidates, 0]), (boxes_case([wide], claimed=65535), broken),
             *((peaks_case(heat, 0, 9, claimed=n), wanted) for n, wanted in ((65535, broken), (1025, broken), (0, nothing))),
             *((peaks_case(heat, 0, 9, missing=bit), broken) for bit in (1, 2)), (peaks_case(heat, 0, 0, missing=2), [OK, 1, 0]),
             (peaks_case(heat, 0, 9, claimed=0, missing=1), nothing)]
    assert harness(*(case for case, _ in cases)) == [v for _, wanted in cases for v in wanted]


@pytest.mark.parametrize("scores", [[0], [5, 0], [3, 2, 1], [4, 3]])
def test_more_candidates_than_the_longest_list(harness, scores):
    """131,070 of one score, or of a few: the first 65,535 of the surest are looked at."""
    rng = np.random.default_rng(4)
    a, deltas, _ = some_map(rng, 65535, 1, False)
    some = np.tile(np.array(scores, np.int8), 131_070 // len(scores)).reshape(65535, 2)
    how = dict(threshold=-128, overlap=6000, order_room=65535, room=10)
    flat = a.anchors * np.int16([1, 1, 0, 0])
    flat[[32_766, -1]], deltas[[32_766, -1]] = BOX_ONE // 2, a.zero  # boxes with an area only there
    for fixed in (replace(a, levels=None), replace(a, levels=None, anchors=flat)):
        found = find_boxes([(fixed, deltas, some)], **how)
        assert harness(boxes_case([(fixed, deltas, some)], **how)) == boxes_said(found) and found.candidates == 131_070 and len(found) > 0


SETS = {"ssd 320": grid_anchors([(20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)], ssd_sizes(6)),
        "own": grid_anchors([(12, 12)], [learnt_sizes(Boxes([[0, 0, w, h] for w in (.05, .2, .7) for h in (.06, .3, .9)], [0] * 9), 9)[0]])}


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("scale, zero", [(.02, 0), (.05, -7), (.1, 30)])
def test_within_a_pixel_of_reals(name, scale, zero):
    anchors, rng = SETS[name], np.random.default_rng(0)
    for _ in range(5):
        q = rng.integers(-128, 128, anchors.shape).astype(np.int8)
        reals = np.clip(decode_boxes((q.astype(float) - zero) * scale, anchors), 0, 1)
        assert abs(decode_fixed(q, fixed_anchors(anchors, scale, zero)) / BOX_ONE - reals).max() * 320 < 1


@pytest.mark.parametrize("per_class", [True, False])
def test_found_boxes_are_those_of_reals(per_class):
    """Scores without ties and no overlap near the threshold: the same boxes in the same order."""
    anchors, compared = SETS["ssd 320"], 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        at = rng.permutation(len(anchors))[:50]
        fixed = fixed_anchors(anchors[at], .05, 0)
        q, scores = rng.integers(-60, 60, (50, 4)).astype(np.int8), np.full((50, 3), -128, np.int8)
        scores[np.arange(50), rng.integers(0, 3, 50)] = np.arange(-50, 0)
        boxes = Boxes(np.clip(decode_boxes(q * .05, anchors[at]), 0, 1), scores.argmax(1), scores.max(1))
        overlap = iou(boxes, boxes)
        if ((overlap > .497) & (overlap < .503)).any() or (boxes.sizes < .001).any():
            continue
        wanted, found = take(boxes, nms(boxes, .5, per_class)), find_boxes([(fixed, q, scores)], -127, per_class=per_class, room=300)
        assert found.labels.tolist() == wanted.labels.tolist() and found.scores.tolist() == wanted.scores.tolist()
        assert abs(found.corners / BOX_ONE - wanted.xyxy).max() * 320 < 1 and found.candidates == 50
        compared += 1
    assert compared > 3


def test_constants_are_those_of_the_engine():
    for scale in (.01, .05, .3, 5., 9.99):
        fixed = fixed_anchors(np.array([[.5, .5, .5, .5]]), scale, 0)
        assert (fixed.multiplier, fixed.shift) == tuple(int(v) for v in quantize_multiplier(scale * .1))
    for scale, zero in ((.05, 0), (.1, -20), (.02, 60)):
        assert abs(score_levels(scale, zero).astype(int) - logistic_table(scale, zero)).max() <= 1


@pytest.mark.parametrize("wrong", [
    lambda a, d, s: fixed_anchors(np.full((2, 4), 5.), .05, 0), lambda a, d, s: fixed_anchors(np.full((2, 4), np.nan), .05, 0),
    lambda a, d, s: fixed_anchors(np.zeros((2, 4)), .05, 0), lambda a, d, s: fixed_anchors(np.zeros((0, 4)), .05, 0),
    lambda a, d, s: c_source(a, "a b"),
    lambda a, d, s: fixed_anchors(np.full((2, 4), .5), 0, 0),
    lambda a, d, s: fixed_anchors(np.full((2, 4), .5), .05, 128), lambda a, d, s: find_boxes([(a, d.astype(np.uint8), s)]),
    lambda a, d, s: find_boxes([(a, d[:2], s)]), lambda a, d, s: find_boxes([(a, d, s[:2])]), lambda a, d, s: find_boxes([(a, d, s[0])]),
    lambda a, d, s: find_boxes([(a, d, s), (a, d, s[:, :1])]), lambda a, d, s: find_boxes([(a, d, s)], room=65536)])
def test_wrong_arrays_are_refused(wrong):
    with pytest.raises(MobileNetError, match="Received"):
        wrong(*some_map(np.random.default_rng(0), 3, 2, False))


def test_found_boxes_as_boxes():
    a = fixed_anchors(np.array([[.5, .5, .25, .5]]), .05, 0)
    found = find_boxes([(a, np.zeros((1, 4), np.int8), np.int8([[-128, 64]]))])
    assert len(find_boxes([])) == 0 and found.candidates == 1
    assert found.boxes().xyxy.tolist() == [[.375, .25, .625, .75]] and found.boxes().labels.tolist() == [1]
    assert found.boxes().scores.tolist() == [.75] and found.boxes(.5, 0).scores.tolist() == [32]


MAIN = """#include <stdio.h>
#include "mbn_boxes.h"
extern const mbn_anchors anchors;
static const int8_t *mbn_get_output(const void *m, int k) { return (const int8_t *)m + (k ? 12 * 4 : 0); }
int main(void) {
  static int8_t m[12 * 4 + 12 * 3];
  if (fread(m, 1, sizeof m, stdin) != sizeof m) return 1;
  SNIPPET
  return 0;
}
"""


@pytest.mark.parametrize("levels", [None, score_levels(.1, 3)])
def test_the_readmes_program_runs_with_constants_from_here(levels, tmp_path):
    if not shutil.which("gcc"):
        pytest.skip("needs gcc")
    engine, rng = ROOT / "microcontroller/engine", np.random.default_rng(0)
    snippet = (engine / "README.md").read_text(encoding="utf-8").split("## Boxes and middles")[1].split("```c")[1].split("```")[0]
    fixed = fixed_anchors(grid_anchors([(2, 2)], [rng.uniform(.1, .6, (3, 2))]), .05, -4, levels=levels)
    (tmp_path / "anchors.c").write_text(c_source(fixed))
    (tmp_path / "main.c").write_text(MAIN.replace("SNIPPET", snippet))
    sources = [tmp_path / "main.c", tmp_path / "anchors.c", engine / "mbn_boxes.c"]
    flags = "-std=c99 -Wall -Wextra -Wpedantic -Werror -O1".split()
    built = subprocess.run(["gcc", *flags, "-I", engine, *sources, "-o", tmp_path / "main"], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    deltas, scores = rng.integers(-60, 60, (12, 4)).astype(np.int8), rng.integers(-128, 128, (12, 3)).astype(np.int8)
    said = subprocess.run([tmp_path / "main"], input=deltas.tobytes() + scores.tobytes(), capture_output=True, check=True).stdout.decode()
    found = find_boxes([(fixed, deltas, scores)], room=10)
    assert said == "".join(f"{k}: left edge at {left * 320 // BOX_ONE} px of 320\n" for k, left in zip(found.labels, found.corners[:, 0].astype(int)))
    assert len(found) > 3


CORES = {"cortex-m0": ("microbit", 0x20000000, 0x4000), "cortex-m4": ("mps2-an386", 0x20000000, 0x100000)}  # QEMU's machine, its RAM


@pytest.fixture(scope="module")
def on_this_computer(tmp_path_factory):
    """What tests/kernels/boxes.c says here: a number of all that it found, and how much that was."""
    if not shutil.which("gcc"):
        pytest.skip("needs gcc")
    target = tmp_path_factory.mktemp("here") / "boxes"
    subprocess.run(["gcc", "-std=c99", "-O1", ROOT / "tests/kernels/boxes.c", ROOT / "microcontroller/engine/mbn_boxes.c", "-o", target], check=True)
    said = subprocess.run([target], capture_output=True, text=True, check=True).stdout
    assert int(said.split()[1], 16) > 1500
    return said


@pytest.mark.parametrize("core", CORES)
def test_a_core_finds_the_same(core, on_this_computer, tmp_path):
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm"):
        if not shutil.which(tool):
            pytest.skip(f"needs {tool}")
    machine, ram, ram_bytes = CORES[core]
    kernels, elf = ROOT / "tests/kernels", tmp_path / "boxes.elf"
    command = ["arm-none-eabi-gcc", f"-mcpu={core}", *"-mthumb -mfloat-abi=soft -Os -std=gnu99 -ffreestanding -Wall -Wextra -Werror".split()]
    sources = [kernels / "boxes.c", kernels / "bare.c", ROOT / "microcontroller/engine/mbn_boxes.c"]
    link = ["-nostdlib", f"-Wl,-T,{kernels / 'bare.ld'}", f"-Wl,--defsym=RAM={ram},--defsym=RAM_BYTES={ram_bytes}", "-lgcc", "-o", elf]
    subprocess.run([*command, *sources, *link], check=True)
    done = subprocess.run(["qemu-system-arm", "-M", machine, "-display", "none", "-serial", "none", "-monitor", "none", "-semihosting-config",
                           "enable=on,target=native", "-kernel", elf], capture_output=True, text=True, timeout=300)
    assert done.stdout + done.stderr == on_this_computer + "passed\n"
