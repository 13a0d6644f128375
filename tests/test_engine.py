"""The streaming engine against TensorFlow Lite Micro, byte for byte; its memory, its files, its C."""
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, shared
from engine_models import PERSON, SMALL, VWW, WARNINGS, Judge, agree, needs_tflm, photos, some_images, v1
from helpers import sample, script
from PIL import Image

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.engine import engine as engine_module
from mobilenet_keras.engine.engine import Engine, build_engine, engine_sources, engine_stamp
from mobilenet_keras.engine.lowering import graph_ends, lower, reference
from mobilenet_keras.engine.mbn import compile_model
from mobilenet_keras.mcu.toolchain import cross_compiler
from mobilenet_keras.preprocessing import Preprocessing
from mobilenet_keras.tflite.builder import Builder, example
from mobilenet_keras.tflite.interpreters import installed_runtimes, load
from mobilenet_keras.tflite.model import Model


@needs_tflm
@pytest.mark.parametrize("name", sample([VWW, PERSON], kept=[VWW]))
def test_real_models_are_tflm_byte_for_byte(name):
    model = Model.open(shared(f"models/{name}.tflite"))
    shape = lower(model)[0].shape
    outputs = agree(model, np.concatenate([photos(shape, 100), some_images(shape, 100)]))
    assert len({o.tobytes() for o in outputs}) > 40, "the outputs must react to the input"


@needs_tflm
@pytest.mark.parametrize("order", ["map, its reshape, scores", "its reshape, scores", "scores, its reshape, map"])
def test_an_output_may_be_the_reshape_of_an_earlier_map(order):
    """Its bytes are the map's, and its shape its own."""
    b = Builder((1, 12, 10, 3)).conv(8, 3, 2)
    start, found = b.mark(), {"map": b.last}
    found["its reshape"] = b.op(22, [b.last], (1, 240), b.scale, b.zero, (17, {0: [np.int32(1), np.int32(240)]})).last
    found["scores"] = b.back(start).depthwise().mean().dense(5).softmax().last
    names = order.split(", ")
    model = b.model(outputs=[found[name] for name in names])
    engine, tflm = Engine(model), Judge(model)
    assert [o.shape for o in engine.outputs] == [{"map": (6, 5, 8), "its reshape": (240,), "scores": (5,)}[name] for name in names]
    for image in some_images((12, 10, 3), 8):
        assert (np.concatenate([y.ravel() for y in engine.run(image)]) == tflm(image)).all()


@needs_tflm
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("seed", sample([0, 1], kept=[0]))
def test_small_models_are_tflm_byte_for_byte(name, seed):
    """Weights of the size that keeps the spread of activations, so that outputs react; every plan on four images."""
    make, shape = SMALL[name]
    outputs = agree(make(shape, seed), some_images(shape[1:], 28, seed))
    assert len({o.tobytes() for o in outputs}) > 8


@needs_tflm
@pytest.mark.parametrize("scale, zero", [(.1, 3), (.05, -20), (.02, 0), (.3, 10), (1e-3, -128), (2., 127)])
@pytest.mark.parametrize("code", [14, 25])
def test_tables_are_tflm_for_all_inputs(code, scale, zero):
    """LOGISTIC and SOFTMAX of every int8 value; a softmax of two classes for every difference."""
    if code == 14:
        b = Builder((1, 16, 16, 1))
        b.tensors[0][4] |= {2: [np.float32(scale)], 3: [np.int64(zero)]}
        images = np.arange(-128, 128).astype(np.int8).reshape(1, 16, 16, 1)
    else:
        b = Builder((1, 1, 1, 2))
        b.tensors[0][4] |= {2: [np.float32(scale)], 3: [np.int64(zero)]}
        images = np.stack([np.full(256, 127), np.arange(-128, 128)], 1).astype(np.int8).reshape(256, 1, 1, 2)
    model = (b.logistic() if code == 14 else b.softmax()).model()
    judge, steps, engine = Judge(model), lower(model), Engine(model)
    for image in images:
        wanted = judge(image)
        assert (reference(steps, image)[-1].ravel() == wanted).all() and (engine.run(image).ravel() == wanted).all()


@pytest.mark.parametrize("classes, score", [(511, -127), (512, -128), (1000, -128)])
def test_a_softmax_of_many_equal_classes(classes, score):
    """From 512 on each has half of a 256th or less. There TFLM aborts: it would shift 32 bits by more than 31."""
    model, image = Builder((1, 1, 1, classes)).softmax().model(), np.zeros((1, 1, classes), np.int8)
    assert (Engine(model).run(image) == score).all() and (reference(lower(model), image)[-1] == score).all()


@pytest.mark.parametrize("classes, alike", [(4096, 4095), (4096, 4096), (65_535, 4095), (65_535, 65_535)])
def test_a_softmax_whose_sum_overflows_says_so(classes, alike):
    """4,095 of the largest exponentials fit in 31 bits, and 4,096 don't; of the others there is next to nothing."""
    b = Builder((1, 1, 1, classes))
    b.tensors[0][4] |= {2: [np.float32(2)]}
    model, image = b.softmax().model(), np.full((1, 1, classes), -128, np.int8)
    image[..., :alike] = 127
    engine, steps = Engine(model), lower(model)
    if alike == 4095:
        assert (engine.run(image) == -128).all() and (reference(steps, image)[-1] == -128).all()
        return
    for run in (engine.run, lambda x: reference(steps, x)):
        with pytest.raises(MobileNetError, match="about as likely as the best one that the sum .* exceeds 32 bits"):
            run(image)
    image[..., 0], image[..., 1:] = 127, -128
    assert engine.run(image).argmax() == 0, "the engine goes on with the next image"


@needs_tflm
def test_planes_first():
    """A file from PyTorch takes (channels, height, width); the engine takes that too, and rows of pixels."""
    b = Builder((1, 3, 30, 26), 2)
    perm = b.tensor((4,), None, 0, np.array([0, 2, 3, 1], np.int32))
    model = b.op(39, [0, perm], (1, 30, 26, 3), b.scale, b.zero, (26, {})).conv(8, 3, 2).depthwise().conv(12).mean().dense(4).model()
    images = some_images((30, 26, 3), 12)
    agree(model, np.moveaxis(images, -1, 1))
    engine = Engine(model)
    engine.begin()
    for row in images[0]:
        engine.push_row(row)
    assert (engine.finish() == engine.run(np.moveaxis(images[0], -1, 0))).all()
    with pytest.raises(MobileNetError, match=r"takes int8 .3, 30, 26."):
        engine.run(images[0])


@needs_tflm
def test_average_pool_is_tflm():
    agree(v1((1, 49, 47, 3), 3, "average"), some_images((49, 47, 3), 12))


def digit_images(shape, n, seed):
    """(float32 images in [-1, 1], labels): handwritten digits (scikit-learn's), moved about, a color for each channel, with noise."""
    data, rng = pytest.importorskip("sklearn.datasets").load_digits(), np.random.default_rng(seed)
    chosen = rng.integers(0, len(data.target), n)
    h, w, c = shape
    rows, columns = (np.clip((np.arange(size) - rng.integers(-1, 2, (n, 1))) * 8 // size, 0, 7) for size in (h, w))
    small = data.images[chosen] / 8 - 1
    images = small[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]][..., None] * rng.uniform(.6, 1, (n, 1, 1, c))
    return (images + rng.normal(0, .05, images.shape)).clip(-1, 1).astype(np.float32), data.target[chosen]


TRAINED = {"V1 .25, gray": ("V1", .25, (32, 32, 1), 10, "softmax"), "V1 .5, odd, logits": ("V1", .5, (27, 35, 3), 10, None),
           "V2 .35": ("V2", .35, (32, 40, 3), 10, "softmax"), "V2 .1, odd, four channels, sigmoid": ("V2", .1, (35, 29, 4), 1, "sigmoid")}


@needs_tflm
def test_a_trained_model_is_tflm(trained):
    """The converter's graph and weights that learned a little, on the photos that they learned from and on others."""
    model = Model.open(trained / "run/model.tflite")
    rule, x = model.preprocessing, model.inputs[0]
    pixels = np.stack([rule.pixels(path) for path in sorted((trained / "fruit").rglob("*.jpg"))[::4]])
    judge, engines = Judge(model), [Engine(compile_model(model, kind)) for kind in ("streamed", "held")]
    for image in np.concatenate([rule.quantize(pixels, x.scale[0], x.zero_point[0]), some_images(x.shape[1:], 12)]):
        assert all((engine.run(image).ravel() == judge(image)).all() for engine in engines)


@pytest.mark.slow
@pytest.mark.xdist_group("trained models")  # beside the other tests of TensorFlow, which take as long together
@needs_tflm
@pytest.mark.parametrize("name", TRAINED)
def test_trained_models_are_tflm(name, tmp_path, tensorflow):
    """The converter's graph, weights that learned something: 200 images each. And their app for TFLM."""
    models, quantization, fine_tune = (pytest.importorskip(f"mobilenet_keras.{n}")
                                       for n in ("networks.models", "training.quantization", "training.fine_tune"))
    version, alpha, shape, classes, head = TRAINED[name]
    models.keras.utils.set_random_seed(5)
    x, labels = digit_images(shape, 640, 0)
    y = labels if classes == 10 else labels < 5
    net = getattr(models, f"MobileNet{version}")(alpha, shape, classes, None, classifier_activation=head, output_stride=16, dilation=False)
    loss = {"softmax": "sparse_categorical_crossentropy", "sigmoid": "binary_crossentropy"}.get(head)
    optimizer = fine_tune._AdamW(1e-2, 0)  # Keras's own Adam takes longer to trace than to train
    net.compile(optimizer, loss or models.keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    net.fit(x, y, batch_size=32, epochs=5, verbose=0)
    seen, wanted = digit_images(shape, 100, 1)
    model = Model(quantization.convert(net, x[:100]), "net")
    end = graph_ends(model).input
    images = (seen / end.scale[0] + end.zero_point[0]).round().clip(-128, 127).astype(np.int8)
    outputs = agree(model, np.concatenate([images, some_images(shape, 100)]), layers=1)
    said = outputs[:100].argmax(1) if classes == 10 else outputs[:100, 0] < 0
    assert (said == (wanted if classes == 10 else wanted >= 5)).mean() > (.3 if classes == 10 else .65), "it learned something"
    assert len({o.tobytes() for o in outputs}) > 40
    if shape[2] in (1, 3) and shutil.which("g++"):
        from tflm_apps import check_app
        check_app(model.with_metadata(map(str, range(10)), Preprocessing.preset("keras", shape[:2], shape[2])), tmp_path / "app")


# ---- files ----

@pytest.fixture(scope="module")
def small():
    return compile_model(example())


def test_limits_of_a_call(small):
    engine = Engine(small)
    address, n, arena = engine._file.ctypes.data, len(small.data), engine.arena.ctypes.data + 64
    said = lambda status: engine.lib.mbn_status_text(status).decode()  # noqa: E731
    opened = lambda file, size, bytes_, work=0: said(engine.lib.mbn_open(engine._m, file, n, size, bytes_, work))  # noqa: E731
    assert "smaller than mbn_arena_bytes" in opened(address, arena, small.arena - 1)
    assert "multiple of its alignment" in opened(address, arena + 2, small.arena)
    assert "multiple of its alignment" in opened(address + 2, arena, small.arena)
    assert "more than the limit" in opened(address, arena, small.arena, small.macs // 2)
    assert opened(address, arena, small.arena, small.macs * 2) == "Done."


def test_rows_are_counted(small):
    engine, image = Engine(small), some_images((33, 31, 3), 2)[0]
    with pytest.raises(MobileNetError, match="More rows"):
        engine.push_row(image[0])
    engine.begin()
    for row in image:
        engine.push_row(row)
    with pytest.raises(MobileNetError, match="More rows"):
        engine.push_row(image[0])
    assert (engine.finish() == engine.run(image)).all()
    with pytest.raises(MobileNetError, match="before all rows"):
        engine.finish()


@pytest.mark.parametrize("kind", ["streamed", "held"])
def test_two_models_interleaved_and_one_begun_again(kind):
    a, b = Engine(example(seed=1), kind), Engine(example(seed=2), kind)
    image = some_images((33, 31, 3), 2)[0]
    wanted = a.run(image), b.run(image)
    a.begin()
    for row in image[:9]:
        a.push_row(row)
    a.begin(), b.begin()
    for row in image:
        a.push_row(row), b.push_row(row)
    assert (a.finish() == wanted[0]).all() and (b.finish() == wanted[1]).all()
    assert not (wanted[0] == wanted[1]).all()


def test_work_of_each_row_is_what_the_plan_says():
    """Multiply-adds that each pushed row sets off, counted."""
    for name in ("v2", "strange", "pools", "padded"):
        make, shape = SMALL[name]
        compiled = compile_model(make(shape, 0))
        engine, image = Engine(compiled), some_images(shape[1:], 2)[0]
        per_pixel = np.array([0 if s.passes else s.macs // (s.out[0] * s.out[1]) for s in compiled.steps])
        engine.begin()
        found, last = [], engine.counts()
        for row in image:
            engine.push_row(row)
            found.append(((engine.counts() - last) * per_pixel).sum())
            last = engine.counts()
        engine.finish()
        assert found == compiled.plan.row_macs().tolist()
        assert ((engine.counts() - last) * per_pixel).sum() == compiled.plan.finish_macs
        assert compile_model(make(shape, 0), "held").plan.finish_macs == compiled.macs


def test_yield(small):
    """Called in the middle of rows; may run another model, not this one; may stop it."""
    engine, other, image = Engine(small), Engine(small), some_images((33, 31, 3), 2)[0]
    wanted, turns, said = engine.run(image), [], []

    def inside():
        turns.append((other.run(image) == wanted).all())
        for call in (engine.begin, lambda: engine.push_row(image[0]), engine.finish, lambda: engine.run(image)):
            try:
                call()
            except MobileNetError as e:
                said.append(str(e))

    engine.on_yield(inside)
    engine.begin()
    for row in image:
        engine.push_row(row)
    in_rows = len(turns)
    assert (engine.finish() == wanted).all() and all(turns)
    assert len(turns) > in_rows > 4 * len(image), "several times a row"
    assert len(said) == 4 * len(turns) and all("called from its own yield function" in text for text in said)
    countdown = iter([0] * 50 + [1])
    engine.on_yield(lambda: next(countdown))
    with pytest.raises(MobileNetError, match="asked to stop"):
        engine.run(image)
    with pytest.raises(MobileNetError, match="asked to stop"):  # until it is begun again
        engine.push_row(image[0])
    for wrong in (5, "f", [], 0):
        with pytest.raises(MobileNetError, match="on_yield takes a function .* Received: "):
            engine.on_yield(wrong)
    engine.on_yield(None)
    assert (engine.run(image) == wanted).all() and engine.canaries_intact


def test_class_names_and_outputs_lie_in_the_file(harness, tmp_path):
    names = ["a b", 'quote"s', "Zebra 🦓", "", "-"]
    engine = Engine(example().with_metadata(names, Preprocessing.preset("caffe", (33, 31))))
    assert engine.labels == names and engine.lib.mbn_label(engine._file.ctypes.data, 5) is None and engine.header.flags == 4
    assert Engine(example()).labels is None
    make, shape = SMALL["branches"]
    model, image = make(shape, 0), some_images(shape[1:], 2)[0]
    engine = Engine(model)
    found = engine.run(image)
    assert [y.shape for y in found] == [o.shape[1:] for o in model.outputs]
    assert [(o.scale, o.zero) for o in engine.outputs] == [(o.scale[0], o.zero_point[0]) for o in model.outputs]
    many = engine.run(np.stack([image, image]))
    assert all((y == two[1]).all() for y, two in zip(found, many, strict=True)) and not engine.lib.mbn_get_output(engine._m, 3)


@pytest.mark.parametrize("wrong", [np.zeros((33, 31, 3), np.uint8), np.zeros((31, 33, 3), np.int8), np.zeros((1, 1, 33, 31, 3), np.int8)])
def test_wrong_images_are_refused(small, wrong):
    with pytest.raises(MobileNetError, match="takes int8"):
        Engine(small).run(wrong)


# ---- the C ----

def compiled_with(command, target, *more):
    sources = [str(p) for p in engine_sources() if p.suffix == ".c"]
    done = subprocess.run([*command, *WARNINGS, *more, *sources, "-o", str(target)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    """The engine under the address and undefined-behaviour sanitizers."""
    cc = shutil.which("gcc") or shutil.which("clang")
    if not cc or sys.platform == "win32":
        pytest.skip("needs gcc or clang")
    target = tmp_path_factory.mktemp("c") / "harness"
    return compiled_with([cc], target, "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", str(ROOT / "tests/engine_harness.c"))


@pytest.mark.parametrize("name", ["v1 odd", "v2", "strange", "shortcuts", "padded"])
@pytest.mark.parametrize("kind", ["streamed", "held"])
def test_sanitized_in_exactly_its_memory(harness, tmp_path, name, kind):
    make, shape = SMALL[name]
    for slack in (0, 10):
        compiled, images = compile_model(make(shape, 1), kind, slack), some_images(shape[1:], 4)
        images.tofile(tmp_path / "images")
        done = subprocess.run([harness, "run", compiled.save(tmp_path / "m.mbn"), tmp_path / "images"], capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        wanted = np.concatenate([reference(compiled.steps, image)[-1].ravel() for image in images])
        assert (np.frombuffer(done.stdout, np.int8) == wanted).all()


def test_hostile_files_give_a_status(tmp_path):
    """What the fuzzer of benchmarks/engine_fuzz.py found worth keeping, sizes and checksum repaired: never a wild access, undefined
    behaviour, a hang, a wrong status, or outputs that depend on what lay in the arena before."""
    cc = shutil.which("gcc") or shutil.which("clang")
    if not cc or sys.platform == "win32":
        pytest.skip("needs gcc or clang")
    sanitized = ["-DREPLAY", "-DMBN_EVERY_LAYOUT", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    replay = compiled_with([cc], tmp_path / "replay", *sanitized, str(ROOT / "tests/engine_fuzzer.c"))
    files = sorted((ROOT / "tests/engine_corpus").iterdir())
    done = subprocess.run([replay, *files], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = [tuple(map(int, line.split()[:2])) for line in done.stdout.splitlines()]
    assert len(found) == len(files) and sum(f.stat().st_size for f in files) < 320_000
    assert sum(ran for _, ran in found) > 8 and {0, 1, 2, 3, 4, 7} <= {status for status, _ in found}, "sound ones, and every kind of broken one"


CORES = ["cortex_m0plus", "cortex_m4", "cortex_m33", "cortex_m7", "cortex_m55"]
FREE = {"memcpy", "memmove", "memset"}  # what any freestanding compiler may call


@pytest.mark.parametrize("compiler", ["ziglang", "gcc"])
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("layouts, minor, most", [("-DMBN_PORTABLE_ONLY", 0, 13), ("-DMBN_FASTEST", 0, 20), ("-DMBN_FASTEST", 1, 23),
                                                  ("-DMBN_FASTEST", 2, 27)])
def test_freestanding_and_at_most_20_kb(core, compiler, layouts, minor, most, tmp_path, capsys):
    """By both compilers, without a warning; 13 KB where the kernels are the portable ones alone, 23 with branches, resizing and uint8,
    27 with weights of 4 bits. mbn_boxes.c, which a linker leaves out where nothing calls it, has up to 1.8 KB more."""
    gcc = shutil.which("arm-none-eabi-gcc")
    if compiler == "ziglang":
        pytest.importorskip("ziglang")
    elif not gcc:
        pytest.skip("needs arm-none-eabi-gcc")
    command = cross_compiler(core, None if compiler == "ziglang" else gcc)[0]
    total, boxes, wanted = 0, 0, set()
    for source in (p for p in engine_sources() if p.suffix == ".c"):
        target = tmp_path / f"{source.stem}.o"
        flags = ["-Os", "-ffreestanding", layouts, f"-DMBN_MINOR={minor}", *WARNINGS]
        done = subprocess.run([*command, *flags, "-c", source, "-o", target], capture_output=True, text=True,
                              env=os.environ | {"ZIG_GLOBAL_CACHE_DIR": str(tmp_path / "zig")})
        assert done.returncode == 0, done.stderr
        size, undefined = elf_facts(target.read_bytes())
        boxes = size if source.name == "mbn_boxes.c" else boxes
        total, wanted = total + size, wanted | undefined
    with capsys.disabled():
        print(f"\n{core}, {compiler}, {layouts}, minor {minor}: {total - boxes:,} bytes of code and constants, mbn_boxes.c {boxes:,} more")
    assert total - boxes <= most * 1024 and 1024 < boxes <= 1.8 * 1024
    ours = {n for n in wanted if n.startswith("mbn_")}
    if compiler == "ziglang":  # which brings no library: what a core lacks, boards/runtime.c has
        arithmetic = {n.rstrip("48") for n in wanted if n.startswith("__aeabi_") and "unwind" not in n}
        assert arithmetic <= set(re.findall(r"__aeabi_\w+", (ROOT / "microcontroller/boards/runtime.c").read_text(encoding="utf-8")))
    assert {n for n in wanted - ours if not n.startswith(("__aeabi_", "__gnu_thumb1_case_"))} <= FREE, wanted


USER = """#include "mbn.h"
#include "../boards/board.h"
#include "../boards/console.h"
#include <cstdio>
#include <fstream>
#include <iterator>
#include <vector>
static std::vector<char> read(const char *path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
int main(int, char **argv) {
  const std::vector<char> model = read(argv[1]), image = read(argv[2]);
  std::vector<uint64_t> arena(mbn_arena_bytes(reinterpret_cast<const mbn_header *>(model.data())) / 8 + 1);
  mbn *m = nullptr;
  const int8_t *out = nullptr;
  const uint32_t bytes = static_cast<uint32_t>(arena.size() * 8);
  mbn_status status = mbn_open(&m, model.data(), static_cast<uint32_t>(model.size()), arena.data(), bytes, 0);
  if (!status) status = mbn_run(m, reinterpret_cast<const int8_t *>(image.data()), &out);
  if (status) return std::puts(mbn_status_text(status)), 1;
  for (uint32_t i = 0; i < mbn_outputs(m->file)->bytes; i++) std::printf("%d ", out[i]);
}
"""


@pytest.mark.skipif(not shutil.which("g++") or not shutil.which("gcc"), reason="needs gcc and g++")
def test_a_cpp_program_calls_the_engine(small, tmp_path):
    """Its headers are C++, too, and name C functions: without a linkage of "C" this would not link."""
    image, folder = some_images((33, 31, 3), 1)[0], ROOT / "microcontroller/engine"
    for name, data in {"user.cc": USER.encode(), "m.mbn": small.data, "image": image.tobytes()}.items():
        (tmp_path / name).write_bytes(data)
    run = lambda *command: subprocess.run([*map(str, command)], cwd=tmp_path, capture_output=True, text=True)  # noqa: E731
    done = run("gcc", "-std=c99", "-O1", "-c", *(p for p in engine_sources() if p.suffix == ".c"))
    for standard in ("c++11", "c++20"):
        flags = f"-std={standard} -Wall -Wextra -pedantic -Werror -I {folder}".split()
        done = run("g++", *flags, "user.cc", *tmp_path.glob("*.o"), "-o", "user")
        assert done.returncode == 0, done.stderr
    done = run("./user", "m.mbn", "image")
    assert list(map(int, done.stdout.split())) == Engine(small).run(image).tolist(), done.stdout


def elf_facts(data):
    """(bytes of code and constants, undefined symbols) of a 32-bit little-endian object file."""
    at, = struct.unpack_from("<I", data, 32)
    width, count = struct.unpack_from("<HH", data, 46)
    sections = [struct.unpack_from("<10I", data, at + i * width) for i in range(count)]  # name type flags addr offset size link ...
    size = sum(s[5] for s in sections if s[1] == 1 and s[2] & 2)
    symbols = next(s for s in sections if s[1] == 2)
    names = data[sections[symbols[6]][4]:]
    entries = [struct.unpack_from("<IIIBBH", data, symbols[4] + i) for i in range(16, symbols[5], 16)]
    return size, {names[e[0]:names.index(b"\0", e[0])].decode() for e in entries if e[5] == 0}


@needs_tflm
@pytest.mark.slow
@pytest.mark.parametrize("minimalistic", [False, True])
def test_a_mobilenet_v3_of_keras(tensorflow, minimalistic):
    """Hard swish, squeeze-and-excite and all: converted by TensorFlow, the same bytes as TFLM after every op."""
    import keras

    from mobilenet_keras.training.quantization import convert
    keras.utils.set_random_seed(0)
    net = keras.applications.MobileNetV3Small(input_shape=(64, 64, 3), weights=None, classes=10, minimalistic=minimalistic,
                                              include_preprocessing=False)
    images = np.random.default_rng(0).uniform(-1, 1, (16, 64, 64, 3)).astype(np.float32)
    for layer in net.layers:  # as after a training, so that maps don't fade
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_variance.assign(np.full(layer.moving_variance.shape, .1, np.float32))
    model = Model(convert(net, images))
    compiled, judge = compile_model(model), Judge(model)
    engine, live = Engine(compiled), 0
    for image in some_images((64, 64, 3), 6):
        assert (engine.run(image) == judge(image)).all()
        for step, found in zip(compiled.steps, reference(compiled.steps, image), strict=True):
            wanted = judge.output_of(step.index)
            if not step.passes and step.op not in ("recall", "concat") and wanted.size == found.size:
                assert (found.ravel() == wanted).all(), (step.op, step.index)
                live += len(np.unique(found)) > 8
    assert live > 3 * len(compiled.steps), "in half of the maps something happens"


def test_a_segmentation_of_513_pixels_is_litert_byte_for_byte():
    """Coral's DeepLabv3 on MobileNetV2 0.5, uint8: dilation, a pooled pixel beside each other, bilinear resizing, ARG_MAX."""
    if installed_runtimes()["litert-reference"] is not True:
        pytest.skip("needs ai-edge-litert")
    model = Model.open(shared("models/coral/deeplabv3_mnv2_dm05_pascal_quant.tflite"))
    compiled = compile_model(model)
    assert compiled.arena < 470_000, "LiteRT takes 7.6 MB"
    engine, judge = Engine(compiled), load(model, "litert-reference")
    photo = np.asarray(Image.open(shared("models/coral/cat.bmp")).convert("RGB").resize((513, 513)))
    wanted = np.asarray(judge.run(photo[None])[0]).reshape(513, 513)
    assert (engine.run((photo ^ 128).view(np.int8)).reshape(513, 513).astype(int) + 128 == wanted).all()
    assert set(np.unique(wanted)) == {0, 8}, "background and cat"


# ---- the shared library: built here, or in the wheel ----

@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The folder of a wheel's library, empty; builds go to a cache of this test's own, by a compiler that copies what was built before."""
    built, folder = build_engine(), tmp_path / "lib"
    folder.mkdir()
    (tmp_path / "cc.py").write_text(f"import shutil, sys\nshutil.copy({str(built)!r}, sys.argv[-1])\n")
    monkeypatch.setattr(engine_module, "_wheels_folder", lambda: folder)
    monkeypatch.setattr(engine_module, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(engine_module, "_compilers", lambda: [[sys.executable, str(tmp_path / "cc.py")]])
    return folder


def test_the_library_of_the_wheel_is_taken(installed, tmp_path, recwarn):
    """By its stamp, without a compiler or a cache."""
    library = installed / f"engine-{engine_stamp()}{engine_module._SUFFIX}"
    shutil.copy(build_engine(), library)
    assert build_engine.__wrapped__() == library and not recwarn.list and not (tmp_path / "cache").exists()


@pytest.mark.parametrize("wrong", ["stamp", "bytes", "nothing"])
def test_another_library_is_not_taken(installed, tmp_path, monkeypatch, wrong, recwarn):
    """Neither one of other C, nor one that doesn't load; a warning says which and why. A pure wheel has none, and nothing to say."""
    library = installed / f"engine-{'0' * 16 if wrong == 'stamp' else engine_stamp()}{engine_module._SUFFIX}"
    if wrong == "stamp":
        shutil.copy(build_engine(), library)
    elif wrong == "bytes":
        library.write_bytes(b"no library")
    found = build_engine.__wrapped__()
    assert found.parent == tmp_path / "cache" and found.read_bytes() == build_engine().read_bytes()
    said = [str(w.message) for w in recwarn.list]
    assert len(said) == (wrong != "nothing")
    assert all(library.name in text and "compiled here instead" in text for text in said)
    assert all(("not made of the C files in" in text) == (wrong == "stamp") for text in said)
    found.unlink()
    monkeypatch.setattr(engine_module, "_compilers", list)
    with pytest.raises(MobileNetError, match="needs a C compiler: there is none"):
        build_engine.__wrapped__()


def test_a_stamp_is_of_flags_names_and_bytes(tmp_path, monkeypatch):
    first = engine_stamp()
    shutil.copytree(ROOT / "microcontroller/engine", tmp_path / "engine")
    monkeypatch.setattr(engine_module, "microcontroller_folder", lambda: tmp_path)
    assert engine_stamp() == first, "where the files lie does not matter"
    source = tmp_path / "engine/mbn_run.c"
    source.write_bytes(source.read_bytes().replace(b"+", b"-", 1))
    changed = engine_stamp()
    renamed = (source.rename(source.with_name("mbn_walk.c")), engine_stamp())[1]
    monkeypatch.setattr(engine_module, "_FLAGS", [*engine_module._FLAGS, "-DMORE"])
    assert len({first, changed, renamed, engine_stamp()}) == 4


@pytest.fixture(scope="module")
def wheels_script():
    """.ci/wheels.py as a module."""
    return script(ROOT / ".ci/wheels.py")


def test_wheels_are_compiled_as_on_first_use(wheels_script, installed, monkeypatch):
    """The same flags and files, whatever comes before them; only those that build_engine has been tested with all along."""
    commands = []

    def compiler(command, **_):
        commands.append(command)
        Path(command[-1]).write_bytes(b"a library")
        return subprocess.CompletedProcess(command, 0, "", "")
    monkeypatch.setattr(engine_module.subprocess, "run", compiler)
    build_engine.__wrapped__()
    assert wheels_script.library(engine_module, ["x86_64-linux-gnu.2.17"], "engine.so") == b"a library"
    here, wheel = (command[command.index("-std=c99"):command.index("-o")] for command in commands)
    assert here == wheel and [p for p in here if p.endswith(".c")] == [str(p) for p in engine_sources() if p.suffix == ".c"]
    assert commands[1][:commands[1].index("-std=c99")][-5:] == ["ziglang", "cc", "-target", "x86_64-linux-gnu.2.17", "-s"]


def test_a_universal_library_holds_each_machines(wheels_script):
    """By the layout of mach-o/fat.h: big-endian, each part where its entry says, at a multiple of arm64's pages."""
    parts = [struct.pack("<3I", 0xFEEDFACF, cpu, sub) + bytes([cpu & 255]) * n for cpu, sub, n in ((0x01000007, 3, 20_000), (0x0100000C, 0, 33))]
    made = wheels_script.universal(parts)
    magic, count, *entries = struct.unpack_from(">2I10I", made)
    assert (magic, count) == (0xCAFEBABE, 2)
    for part, (cpu, sub, at, size, align) in zip(parts, (entries[:5], entries[5:])):
        assert made[at:at + size] == part and (cpu, sub) == struct.unpack_from("<2I", part, 4) and align == 14 and at % 2**align == 0
