"""Emulated boards: the bytes of TensorFlow Lite Micro, exact instruction counts, and boards that hang, crash or are damaged."""
import functools
import json
import re
import time

import numpy as np
import pytest
from conftest import shared
from engine_models import photos, some_images
from helpers import mobilenet, one_line
from PIL import Image
from small_finding import finder, written
from small_firmware import NAMES, QEMU, SHAPE, built, on, patched, small, spotter

from mobilenet_keras import cli
from mobilenet_keras.core import MobileNetError
from mobilenet_keras.engine.engine import Engine
from mobilenet_keras.engine.mbn import compile_model
from mobilenet_keras.evaluation import evaluate
from mobilenet_keras.mcu.firmware import build
from mobilenet_keras.mcu.fit import fits, missed_words
from mobilenet_keras.mcu.simulate import run_firmware, simulate, simulate_folder
from mobilenet_keras.mcu.target import targets
from mobilenet_keras.tasks.centroids import Centroids
from mobilenet_keras.tflite.builder import Builder, example
from mobilenet_keras.tflite.inputs import ModelInput
from mobilenet_keras.tflite.interpreters import installed_runtimes, load
from mobilenet_keras.tflite.model import Model

pytest.importorskip("ziglang"), pytest.importorskip("unicorn")
ON = [(b, "qemu") for b, t in targets().items() if t.qemu] + [(b, "unicorn") for b, t in targets().items() if t.core != "cortex_m55"]
person = functools.cache(lambda board: build(Model.open(shared("models/tflite_micro/person_detect.tflite")), board))


@pytest.mark.parametrize("board, emulator", ON)
def test_every_board_says_what_the_engine_says(board, emulator):
    on(board, emulator)
    found, engine = built(board), Engine(small())
    assert run_firmware(found, None, emulator, counted=False).as_built is True
    for image in some_images(SHAPE, 4, seed=1):
        seen = simulate(found, input=image, emulator=emulator, counted=False)
        assert (seen.scores == engine.run(image)).all() and seen.as_built is None and seen.instructions is None


def things(said):
    """What a board printed of what it found: how many things, and (name, percent, x, y) of the surest, in thousandths."""
    after = said.split("found ")[1].split("\n")
    rows = [re.fullmatch(r"(\d+): (.*) (\d+) % at x (\d+), y (\d+) of 1000", line) for line in after[1:]]
    assert [int(r[1]) for r in rows if r] == list(range(1, len(rows) + 1)) or not any(rows)
    return 0 if after[0] == "nothing" else int(after[0]), [(r[2], *map(int, r.groups()[2:])) for r in rows if r]


@pytest.mark.parametrize("board, emulator", [("pico", "unicorn"), ("microbit", "unicorn"), ("mps3-an547", "qemu")])
def test_a_board_prints_what_the_host_finds(board, emulator):
    on(board, emulator)
    firmware, counts, plain = build(spotter(), board), [], Engine(spotter())
    assert fits(spotter(), board).ram == firmware.ram_used and 0 <= fits(spotter(), board).flash - firmware.flash_used <= 64
    for image in some_images((26, 20, 3), 8, seed=2):
        seen = simulate(firmware, input=image, emulator=emulator, counted=False)
        n, printed = things(seen.said)
        found = seen.found
        names = [NAMES[i].replace("\x1b", "?") for i in found.labels]
        wanted = [(name, int(100 * s + .5), round(1000 * x), round(1000 * y)) for name, s, (x, y) in zip(names, found.scores, found.centers)]
        assert n == len(found) and printed == wanted[:10] and len(plain.predict(input=image).found) == n
        counts.append(n)
    assert max(counts) > 10 and any(0 < n < 10 for n in counts), counts
    never = patched(firmware, "app_threshold", (128).to_bytes(2, "little"))
    assert things(simulate(never, input=image, emulator=emulator, counted=False).said) == (0, [])


def test_a_map_that_no_board_reads():
    """A task in a file of anybody: of three classes, where the map has two channels; of a softmax, which has no cells."""
    with pytest.raises(MobileNetError, match="wanted|Received"):
        build(small().with_metadata(["a", "b", "c", "d", "e"], task=Centroids(tuple("abcde"))), "pico")
    made = Builder((1, 8, 8, 3)).conv(2).logistic().model().with_metadata("abc", task=Centroids(tuple("abc")))
    with pytest.raises(MobileNetError, match="3 classes.*Received"):
        build(made, "pico")


@pytest.mark.parametrize("board", ["microbit", "mps3-an547", "pico"])
def test_real_photos_give_the_bytes_of_tflm(board):
    """`benchmarks/boards.py` does this with 20 photos on every board."""
    emulator = "qemu" if targets()[board].qemu else "unicorn"
    on(board, emulator)
    found, images = person(board), photos((96, 96, 1), 3)
    model = Model.open(shared("models/tflite_micro/person_detect.tflite"))
    if installed_runtimes()["tflm"] is not True:
        pytest.skip("needs tflite-micro")
    judge = load(model, "tflm").run(images)[0]
    seen = [simulate(found, input=image, emulator=emulator, counted=False).scores.tolist() for image in images]
    assert seen == judge.tolist() and len({tuple(s) for s in seen}) > 1


def test_cycles_of_the_rp2040():
    seen = simulate(built("pico"))
    assert seen.emulator == "unicorn" and seen.instructions < seen.cycles < 2 * seen.instructions
    words = missed_words(built("pico").elf.read("app_model"), built("pico").target)
    assert words > 1000 and seen.estimated_ms == pytest.approx((seen.cycles + 80 * words) / 125e3), "125 MHz, and what its flash costs"
    assert seen.stack_bytes < 2048 and "untested on hardware" in str(seen)


@pytest.mark.parametrize("emulator", ["qemu", "unicorn"])
def test_a_board_that_hangs_is_stopped(emulator):
    on("mps2-an386", emulator)
    hangs, start = patched(built("mps2-an386"), "main", b"\xfe\xe7"), time.monotonic()  # b .
    with pytest.raises(MobileNetError, match="not ready after 1 seconds and was stopped"):
        simulate(hangs, emulator=emulator, seconds=1)
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("emulator", ["qemu", "unicorn"])
@pytest.mark.parametrize("board", ["mps2-an386", "microbit"])
def test_a_crash_is_told(board, emulator):
    on(board, emulator)
    with pytest.raises(MobileNetError, match="crashed|stopped with a fault"):
        simulate(patched(built(board), "mbn_open", b"\x00\xde"), emulator=emulator, seconds=5)  # udf


@pytest.mark.skipif(not QEMU, reason="needs qemu-system-arm")
@pytest.mark.parametrize("board", ["microbit", "mps2-an505", "mps3-an547"])  # QEMU's others swallow what is written below RAM
def test_a_stack_that_overflows_is_told(board):
    """The stack lies lowest in RAM; a handler that went on with its pointer would fault again, which locks up the core."""
    code = b"\xff\xb4\xfd\xe7"  # push {r0-r7}; b .-2
    with pytest.raises(MobileNetError, match=f"The firmware crashed on the emulated {board}. It had said: .*fault"):
        simulate(patched(built(board), "mbn_open", code), emulator="qemu", seconds=5)


@pytest.mark.parametrize("emulator", ["qemu", "unicorn"])
def test_a_cortex_m0_traps_what_is_not_aligned(emulator):
    on("microbit", emulator)
    code = b"\x01\x20\x40\x07\x01\x30\x00\x68"  # movs r0, #1; lsls r0, r0, #29; adds r0, #1; ldr r0, [r0]
    with pytest.raises(MobileNetError, match="crashed|stopped with a fault"):
        simulate(patched(built("microbit"), "mbn_open", code), emulator=emulator, seconds=5)


def test_a_damaged_model_is_found_by_the_board():
    with pytest.raises(MobileNetError, match="The checksum is wrong"):
        simulate(patched(built("mps2-an386"), "app_model", b"\x55", 3000))


def test_what_a_boot_rom_refuses_is_refused():
    with pytest.raises(MobileNetError, match="checksum of its second-stage boot is wrong"):
        simulate(patched(built("pico"), "boot2", b"\x00\x00"))
    with pytest.raises(MobileNetError, match="no image definition"):
        simulate(patched(built("pico2"), "image_definition", b"\x00"))


def test_a_checksum_is_no_negative_number():
    """The app printed it with a sign, half of all models' with a minus."""
    crc = lambda model: Engine(model, layout="dsp").header.crc  # noqa: E731, as built for a Cortex-M4
    large = next(m for n in range(5, 99) if crc(m := example((1, n, n, 3))) >> 31)
    said = simulate(large, "mps2-an386", emulator="unicorn", counted=False).said
    assert f"\ncrc {crc(large)}\n" in said and crc(large) >= 1 << 31


def test_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "example.tflite").write_bytes(small().data)
    image = some_images(SHAPE, 2, seed=2)[0]
    np.save("x.npy", image)
    assert cli.main(["simulate", "example.tflite", "--board", "pico", "--input", "x.npy", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    wanted = {"label": str, "scores": list, "instructions": int, "cycles": int, "stack_bytes": int, "arena_bytes": int, "estimated_ms": float}
    assert {k: type(found[k]) for k in wanted} == wanted and found["scores"] == Engine(small()).run(image).tolist()
    assert cli.main(["build", "example.tflite", "--board", "mps2-an386", "-o", "x.elf"]) == 0
    assert cli.main(["simulate", "x.elf"]) == 0
    assert "instructions" in capsys.readouterr().out
    np.save("wrong.npy", image[:5])
    (tmp_path / "no.elf").write_bytes(b"no program")
    for line, said in (("example.tflite", "On which board?"), ("example.tflite --board picco", "Did you mean pico"),
                       ("no.elf", "no linked 32-bit Arm program"), ("x.elf --board pico", "for mps2-an386, not for pico"),
                       ("x.elf --input wrong.npy", "Received: int8 (5, 15, 3)"), ("x.elf --input no.elf", "no .npy file"),
                       ("gone.elf", "can't be read"), ("x.elf --seconds 0", "Received: 0.0"),
                       ("x.elf --photos . --photo x.npy", "leave out --photo"), ("x.elf --part test", "give --photos DIR, too"),
                       ("x.elf --input x.npy --photo x.npy", "not both"), ("x.elf --photo no.elf", "not an image")):
        assert cli.main(["simulate", *line.split()]) == 2
        out, err = capsys.readouterr()
        assert said in err and len(err.splitlines()) == 1 and not out, err


@pytest.mark.parametrize("board, emulator", [("mps2-an386", "qemu"), ("pico", "unicorn")])
def test_a_folder_of_photos_is_judged_as_by_evaluate(board, emulator, tmp_path, capsys):
    on(board, emulator)
    for i, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (10, 20, 20, 3)).astype(np.uint8)):
        (tmp_path / f"photos/class{i % 5}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / f"photos/class{i % 5}/{i}.png")
    theirs = evaluate(compile_model(small()), tmp_path / "photos", alphabetical=True)
    ours = simulate_folder(built(board), None, tmp_path / "photos", emulator=emulator, alphabetical=True)
    assert ours.scores.tolist() == theirs.scores.tolist() and ours.accuracy == theirs.accuracy and len(ours) == 10
    (tmp_path / "photos/class0/broken.png").write_bytes(b"no photo")
    (tmp_path / "x.elf").write_bytes(built(board).elf.data)
    told = ["--photos", str(tmp_path / "photos"), "--alphabetical", "--emulator", emulator, "--json"]
    assert cli.main(["simulate", str(tmp_path / "x.elf"), *told]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["accuracy"] == theirs.accuracy and len(found["skipped"]) == 1


def test_a_folder_of_things_is_judged_as_by_evaluate(tmp_path, capsys):
    """What an emulated board finds is what the engine finds, photo by photo; the photos may lack a class, and have others."""
    path, folder = finder().save(tmp_path / "finder.tflite"), written(tmp_path / "squares", 5)
    table = folder / "test/boxes.csv"
    table.write_text(table.read_text().replace("bright", "grey"))
    theirs, ours = evaluate(compile_model(finder()), folder), simulate_folder(path, "pico", folder, emulator="unicorn")
    assert 0 < len(ours) == len(theirs) == 5 and sum(map(len, ours.truth)) == table.read_text().count("dark") and ours.value == theirs.value > 0
    assert all((a.xyxy == b.xyxy).all() and (a.scores == b.scores).all() for a, b in zip(ours.found, theirs.found, strict=True))
    assert cli.main(["simulate", str(path), "--board", "pico", "--photos", str(folder), "--part", "train", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metric"] == "f1"
    for more, said in ((["--alphabetical"], "alphabetical is for photos in classes"), (["--part", "validation"], "has no validation photos")):
        assert cli.main(["simulate", str(path), "--board", "pico", "--photos", str(folder), *more]) == 2
        assert said in one_line(capsys.readouterr().err)


@pytest.mark.skipif(installed_runtimes()["tflm"] is not True, reason="needs tflite-micro")
def test_tflm_beside_the_engine(tmp_path):
    """`simulate --runtime tflm`: the judge's scores and arena; ours beside them."""
    path = example().with_metadata(list("abcde")).save(tmp_path / "m.tflite")
    image = np.random.default_rng(0).integers(-128, 128, (33, 31, 3)).astype(np.int8)
    np.save(tmp_path / "x.npy", image)
    code, out, err = mobilenet("simulate", path, "--runtime", "tflm", "--input", tmp_path / "x.npy", "--json")
    facts = json.loads(out)
    assert code == 0 and facts["scores"] == Engine(path).run(image).tolist() and facts["label"] == "abcde"[int(np.argmax(facts["scores"]))]
    assert facts["engine_agrees"] and facts["arena"]["total"] == facts["arena"]["head"] + facts["arena"]["tail"] > facts["engine_arena_bytes"]
    (tmp_path / "empty.npy").touch()
    for more, message in ((["--board", "pico"], "leave out --board"), (["--input", tmp_path / "empty.npy"], "no .npy file"),
                          (["--photo", path], "not an image")):
        code, _, err = mobilenet("simulate", path, "--runtime", "tflm", *more)
        assert code == 2 and message in one_line(err)


@pytest.mark.slow
def test_corals_v1_on_a_pico_as_it_is():
    """A uint8 file of TensorFlow 1, built and run on the emulated board: the bytes of LiteRT's reference."""
    pytest.importorskip("ai_edge_litert")
    model = Model.open(shared("models/coral/mobilenet_v1_0.25_128_quant.tflite"))
    firmware = build(model, "pico")
    for name in ("cat.jpg", "parrot.jpg"):
        photo = shared("data/coral_photos/images") / name
        image = ModelInput.of(model).prepare(photo).values
        found = simulate(firmware, photo=photo, seconds=900)
        assert (found.scores.view(np.uint8) ^ 128 == load(model, "litert-reference").run(image)[0].ravel()).all()
        assert abs(compile_model(model, layout="v6m").instructions("cortex_m0plus") / found.instructions - 1) < .05
