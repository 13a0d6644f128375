"""Two cores: every order of the hand-over, kernel calls in parts, and whole firmware on two emulated cores that stop anywhere."""
import ctypes
import itertools
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from conftest import ROOT, shared
from engine_models import VWW, network
from helpers import mobilenet, one_line, sample
from small_firmware import SHAPE, built, small

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.engine import engine as engine_module
from mobilenet_keras.engine.engine import Engine, engine_sources
from mobilenet_keras.engine.mbn import compile_model
from mobilenet_keras.mcu import emulators
from mobilenet_keras.mcu.firmware import Firmware, build, data_source, link, write_sources
from mobilenet_keras.mcu.fit import check_fits, required, second_scratch
from mobilenet_keras.mcu.simulate import run_firmware, simulate
from mobilenet_keras.mcu.target import target
from mobilenet_keras.tflite.model import Model

sys.path.insert(0, str(ROOT / "benchmarks"))
import conformance  # noqa: E402
import flash_cache  # noqa: E402

HEADER = ROOT / "microcontroller/engine/mbn_cores.h"
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="coroutines are glibc's, and their registers those of x86-64")


def explored(text, folder, *defines):
    """(exit status, what it said) of tests/kernels/cores.c on a mbn_cores.h of that text."""
    (folder / "mbn_cores.h").write_text(text)
    command = ["gcc", "-O1", "-std=gnu99", "-w", f"-I{folder}", f"-I{HEADER.parent}", "-DMBN_CORES=2", *defines]
    subprocess.run([*command, ROOT / "tests/kernels/cores.c", "-o", folder / "cores"], check=True)
    done = subprocess.run([folder / "cores"], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout


@linux
def test_every_order_of_the_hand_over(tmp_path):
    """All states of three jobs, in a memory in which stores are seen late and in any order, and loads find old values."""
    text = HEADER.read_text()
    for first in (0, 0xffffffff):  # numbers of jobs begin anew
        status, said = explored(text, tmp_path, "-DJOBS=3", f"-DFIRST={first}u")
        states, ends = map(int, re.fullmatch(r"(\d+) states (\d+) ends\n", said).groups())
        assert status == 0 and states > 10_000 and ends > 10, said


# Lines of mbn_cores.h without which, or in another order, the hand-over is wrong
STEPS = [i for i, line in enumerate(HEADER.read_text().splitlines()) if re.match(r"  MBN_(BARRIER|SIGNAL)\(\);", line)]
SWAPS = [("  MBN_STORE(b->call, *call);\n  MBN_BARRIER(); /* the job, and what it reads, before its number */\n"
          "  MBN_STORE(b->posted, MBN_LOAD(b->posted) + 1);\n",
          "  MBN_STORE(b->posted, MBN_LOAD(b->posted) + 1);\n  MBN_BARRIER();\n  MBN_STORE(b->call, *call);\n"),
         ("  MBN_STORE(b->room, room);\n  MBN_BARRIER();\n  MBN_STORE(b->here, 1);\n",
          "  MBN_STORE(b->here, 1);\n  MBN_BARRIER();\n  MBN_STORE(b->room, room);\n"),
         ("  while (MBN_LOAD(b->posted) != number) MBN_WAIT();\n", "  if (MBN_LOAD(b->posted) != number) MBN_WAIT();\n"),
         ("  while (MBN_LOAD(b->done) != MBN_LOAD(b->posted)) MBN_WAIT();\n", "")]


@linux
def test_each_step_of_the_hand_over_is_needed(tmp_path):
    """Without any one of its barriers and signals, or with two lines swapped, some order goes wrong, and is found."""
    text = HEADER.read_text()
    lines = text.splitlines(keepends=True)
    wrong = ["".join(lines[:i] + lines[i + 1:]) for i in STEPS]
    for old, new in SWAPS:
        assert old in text
        wrong.append(text.replace(old, new))
    assert len(STEPS) == 8
    for i, one in enumerate(wrong):
        status, said = explored(one, tmp_path)
        assert status != 0, (i, said)


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """The engine of this computer with a second core that takes turns with the first."""
    path = tmp_path_factory.mktemp("halves") / "engine.so"
    sources = [p for p in engine_sources() if p.suffix == ".c" and p.name != "mbn_run.c"]
    subprocess.run(["gcc", "-std=gnu99", "-O2", "-w", "-fPIC", "-shared", "-DMBN_COUNT", "-DMBN_EVERY_LAYOUT", "-DMBN_CORES=2",
                    f"-I{HEADER.parent}", *sources, ROOT / "tests/kernels/second_core.c", "-o", path], check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_module, "build_engine", lambda: path)
        return engine_module._library.__wrapped__()


@linux
@pytest.mark.parametrize("layout", ["portable", "v6m", "dsp"])
def test_parts_of_kernel_calls_are_independent(halves, layout, monkeypatch):
    """Models of one op with extreme shapes, and a network: whichever core makes its part first, the bytes are one core's."""
    room, rows = np.zeros(1 << 17, np.uint8), (ctypes.c_uint32 * 24).in_dll(halves, "divided")
    ctypes.memset(rows, 0, ctypes.sizeof(rows))
    cases = [conformance.drawn(op, n) for op in ("CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MAX_POOL_2D", "AVERAGE_POOL_2D") for n in range(12)]
    some = [(kind, op, n) for kind in ("uint8", "int4") for op in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED") for n in range(6)]
    cases += [conformance.drawn(f"{kind} {op}", n) for kind, op, n in some]
    for model, images in [*cases, (network("V2", .35, 32, 3), [np.random.default_rng(0).integers(-128, 128, (32, 32, 3)).astype(np.int8)])]:
        try:
            compiled = compile_model(model, layout=layout)
        except MobileNetError:
            continue  # refused, as for one core
        one = [Engine(compiled).run(x) for x in images[:2]]
        monkeypatch.setattr(engine_module, "_library", lambda: halves)
        for second_first in (0, 1):
            halves.second_core(second_first, room.ctypes.data_as(ctypes.c_void_p), room.size)
            two = Engine(compiled)
            for x, wanted in zip(images, one):
                assert np.array_equal(two.run(x), wanted), (model, second_first)
        assert halves.mbn_second_core_scratch(two._file.ctypes.data_as(ctypes.c_void_p)) == second_scratch(compiled)
        monkeypatch.undo()
    by_pixels, by_outputs = np.array(rows).reshape(12, 2).T
    assert (by_pixels[:5] > 0).all(), "each of these ops was divided"
    assert (by_outputs[0] > 0) == (layout != "portable") and not by_outputs[1:].any()


@linux
def test_a_step_without_scratch_runs_on_one_core(halves, monkeypatch):
    compiled = compile_model(network("V1", .25, 32), layout="v6m")
    image = np.zeros((32, 32, 3), np.int8)
    wanted = Engine(compiled).run(image)
    monkeypatch.setattr(engine_module, "_library", lambda: halves)
    jobs = []
    for room in (0, second_scratch(compiled)):
        halves.second_core(1, None, room)  # the kernels of this computer work without
        before = halves.mbn_second_core_jobs()
        assert (Engine(compiled).run(image) == wanted).all()
        jobs.append(halves.mbn_second_core_jobs() - before)
    assert 0 <= jobs[0] < jobs[1]


@linux
def test_a_stopped_inference_leaves_no_job_under_way(halves, monkeypatch):
    """Whenever `yield` runs, all that was posted is done; what is stopped there begins again as if nothing had happened."""
    compiled, image = compile_model(network("V1", .25, 32), layout="v6m"), np.zeros((32, 32, 3), np.int8)
    wanted = Engine(compiled).run(image)
    monkeypatch.setattr(engine_module, "_library", lambda: halves)
    halves.second_core(0, None, 1 << 16)
    engine, calls, left = Engine(compiled), [], [0]

    def stop():
        calls.append(halves.jobs_under_way())
        left[0] -= 1
        return left[0] == 0
    engine.on_yield(stop)
    for left[0] in (1, 7, 60):
        with pytest.raises(MobileNetError, match="asked to stop"):
            engine.run(image)
        assert halves.jobs_under_way() == 0
    left[0] = -1
    assert (engine.run(image) == wanted).all() and len(calls) > 68 and not any(calls)


def turns(seed, most):
    rng = np.random.default_rng(seed)
    while True:
        yield from rng.integers(1, most, 1000).tolist()


def told(firmware, seed, most):
    """What a board says whose cores stop after random numbers of instructions."""
    board = emulators.TwoCores(firmware, counted=False, turns=turns(seed, most))
    return emulators.console_facts(firmware, board.run(120)), board


two = cache(lambda board: build(small(), board, cores=2))


@pytest.mark.parametrize("board, seed", sample([(b, s) for b in ("pico", "pico2") for s in range(12)], kept=[("pico", 0), ("pico", 1), ("pico2", 2)]))
def test_two_emulated_cores_stop_anywhere(board, seed):
    """The firmware itself, each core on a unicorn of its own, both on one memory; turns of 1 to 16 or 2,000 instructions."""
    facts, emulated = told(two(board), seed, (17, 200, 2000)[seed % 3])
    one = run_firmware(built(board), None)
    assert facts["photo"] == "as expected" and facts["cores"] == "2" and facts["output"] == one.said.split("output ")[1].split("\n")[0]
    assert len(emulated.cores) == 2 and int(facts["second_core_jobs"]) > 50 and 0 < int(facts["second_stack_bytes"]) <= 512


@pytest.mark.slow
@pytest.mark.parametrize("board", ["pico", "pico2"])
@pytest.mark.parametrize("name", ["V1", "V2"])
def test_whole_networks_on_two_cores(board, name):
    model = Model.open(shared(f"models/{VWW}.tflite")) if name == "V1" else network("V2", .35, 96, 2)
    one, firmware = run_firmware(build(model, board, keep_dead=True), None, "unicorn"), build(model, board, cores=2, keep_dead=True)
    both = run_firmware(firmware, None)
    assert both == one and both.as_built and both.second_instructions > .4 * one.instructions
    assert both.instructions < .6 * one.instructions and both.estimated_ms < one.estimated_ms
    for seed in range(2):
        facts, _ = told(firmware, seed, 50_000)
        assert facts["photo"] == "as expected"


@pytest.mark.parametrize("board, how", sample([(b, h) for b in ("pico", "pico2") for h in ("ram", "gcc", "portable")], kept=[("pico", "ram")]))
def test_other_builds_for_two_cores(board, how):
    model = compile_model(small()) if how == "portable" else small()
    if how == "gcc" and not shutil.which("arm-none-eabi-gcc"):
        pytest.skip("needs arm-none-eabi-gcc")
    firmware = build(model, board, hot="ram" if how == "ram" else None, cc="arm-none-eabi-gcc" if how == "gcc" else None, cores=2)
    facts, _ = told(firmware, 5, 500)
    assert facts["photo"] == "as expected" and int(facts["second_core_jobs"]) > 40  # of 43 in portable C


def test_two_cores_behind_one_cache():
    """What the benchmark measures: all that one core misses, and little more."""
    one, both = flash_cache.missed(built("pico")), flash_cache.missed(two("pico"), counted=False, turns=turns(0, 300))
    assert .9 * sum(one[:2]) < sum(both[:2]) < 1.5 * sum(one[:2])


def test_the_emulated_cores_notice_a_core_that_does_not_wait():
    """WFE of the first core replaced by a return: it goes on before the second has made its part."""
    t = target("pico", cores=2)
    broken = replace(t, defines=(*t.defines, "MBN_BARRIER()=(void)0", '''MBN_SIGNAL()=__asm__ volatile("sev" ::: "memory")''', "MBN_WAIT()=return"))
    compiled = compile_model(small(), layout="v6m")
    image, firmware = np.frombuffer(two("pico").elf.read("app_photo"), np.int8).reshape(SHAPE), two("pico")
    elf = link(broken, data_source(compiled, "pico", image, np.frombuffer(firmware.elf.read("app_expected"), np.int8), 2), layout="v6m")
    facts, _ = told(replace(firmware, elf=elf), 0, 50)
    assert facts["photo"] == "different"


def test_a_second_core_that_does_not_answer(monkeypatch):
    """The board says so, and makes the same bytes on one core."""
    monkeypatch.setattr(emulators.TwoCores, "_fifo_write", lambda self, uc, offset, size, value, core: None)
    facts, board = told(two("pico"), 0, 5000)
    assert facts["cores"] == "1" and facts["second_core_jobs"] == "0" and facts["photo"] == "as expected" and len(board.cores) == 1


def test_the_rom_wants_its_six_words_in_order(monkeypatch):
    """An echo that is lost: the first core begins anew, and the second starts all the same."""
    write, lost = emulators.TwoCores._fifo_write, iter([False, False, True])

    def once(self, uc, offset, size, value, core):
        write(self, uc, offset, size, value, core)
        if offset == 0x54 and next(lost, False):
            self.echoes[-1] ^= 1
    monkeypatch.setattr(emulators.TwoCores, "_fifo_write", once)
    facts, board = told(two("pico"), 0, 5000)
    assert facts["cores"] == "2" and len(board.cores) == 2 and facts["photo"] == "as expected"


def test_what_two_cores_save_and_cost():
    one, both = run_firmware(built("pico"), None, "unicorn"), run_firmware(two("pico"), None)
    assert both == one and both.as_built and both.cycles < .85 * one.cycles and both.estimated_ms < .85 * one.estimated_ms
    assert one.second_instructions is None and one.instructions < both.instructions + both.second_instructions < 1.15 * one.instructions
    assert "on the second core" in str(both) and both.to_dict()["second_instructions"] == both.second_instructions
    firmware, compiled, t = two("pico"), compile_model(small(), layout="v6m"), target("pico", cores=2)
    assert firmware.second_bytes == t.second_stack + second_scratch(compiled)
    assert (firmware.ram_used, built("pico").ram_used) == (required(compiled, t)[0], required(compiled, target("pico"))[0])
    assert firmware.second_bytes < firmware.ram_used - built("pico").ram_used < firmware.second_bytes + 256, "the mailbox"
    assert sum(r[2] or 0 for r in firmware.rows() if r[0] not in ("used", "free")) == firmware.ram_used
    assert "; two cores; untested on hardware" in repr(firmware) and firmware.to_dict()["cores"] == 2
    with pytest.raises(MobileNetError, match="leave out --cores 2"):
        check_fits(compiled, replace(t, ram=(t.ram[0], required(compiled, t)[0] - 1)))


def test_cores_on_the_command_line_and_of_files(tmp_path):
    small().save(tmp_path / "m.tflite")
    for verb in ("build", "simulate"):
        code, _, err = mobilenet(verb, "m.tflite", "--board", "nano33ble", "--cores", 2, cwd=tmp_path)
        assert code == 2 and "runs on one core. With two: pico, pico2" in one_line(err) and len(list(tmp_path.iterdir())) == 1
    path = two("pico").save(tmp_path / "two.elf")
    assert Firmware.open(path).target.cores == 2 and simulate(str(path)).as_built
    with pytest.raises(MobileNetError, match="built for 2 cores, not for 1"):
        simulate(str(path), cores=1)
    with pytest.raises(MobileNetError, match="runs on two cores, and rp2040js emulates one of pico"):
        simulate(str(path), emulator="rp2040js")
    project = write_sources(small(), "pico", tmp_path / "project", cores=2)
    assert "-DMBN_CORES=2" in (project / "CMakeLists.txt").read_text() and "app_second_scratch[" in (project / "boards/data.c").read_text()


def test_without_the_option_nothing_is_there(tmp_path):
    """-DMBN_CORES=1 is the default: the same object code, without a mailbox."""
    assert not any("second" in name and "second_" not in name for name in built("pico").elf.symbols)
    assert not {"mbn_second_core", "app_second_scratch"} & set(built("pico").elf.symbols) and built("pico").second_bytes == 0
    objects = []
    for more, out in itertools.product(([], ["-DMBN_CORES=1"]), ["run.o"]):
        subprocess.run(["gcc", "-std=c99", "-O2", "-c", HEADER.parent / "mbn_run.c", *more, "-o", tmp_path / out], check=True)
        objects.append((tmp_path / out).read_bytes())
    assert objects[0] == objects[1] and b"mailbox" not in objects[0]
