"""A model as a library: each tool's form is read by that tool's own code, compiled as C and as C++, and computes TensorFlow Lite Micro's bytes."""
import configparser
import functools
import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from engine_models import Judge
from helpers import mobilenet
from small_firmware import NAMES, spotter

from mobilenet_keras import cli
from mobilenet_keras.boards import board as board_of
from mobilenet_keras.core import MobileNetError, microcontroller_folder
from mobilenet_keras.engine.engine import Engine
from mobilenet_keras.engine.mbn import compile_model
from mobilenet_keras.mcu import libraries
from mobilenet_keras.mcu.firmware import linker_script
from mobilenet_keras.mcu.libraries import LIBRARIES, PLATFORMIO, write_library
from mobilenet_keras.mcu.target import target
from mobilenet_keras.preprocessing import Preprocessing
from mobilenet_keras.tflite.builder import Builder, example
from mobilenet_keras.tflite.interpreters import installed_runtimes
from mobilenet_keras.tflite.model import Model

HOSTILE = '*/ #error "x"\n@ID@ \\'
LABELS = ["apple", "b\x1b[2Jad", "\u732b", 'quote"s', "per%cent"]
WARNINGS = ["-Wall", "-Wextra", "-Werror"]
ARDUINO_H = """#pragma once
#include <stdint.h>
#define ARDUINO 10819
#ifdef __cplusplus
extern "C"
#endif
void delay(unsigned long milliseconds);
struct Port { void begin(unsigned long) {} void print(const char *text); };
extern Port Serial;
void setup();
void loop();
"""
COMPUTER = ('#include <Arduino.h>\n#include <stdio.h>\nPort Serial;\n'
            'void Port::print(const char *t) { fputs(t, stdout); }\nvoid delay(unsigned long) {}\nint main() { setup(); loop(); }\n')
BOARD = ('#include <Arduino.h>\n#include "board.h"\nPort Serial;\nvoid Port::print(const char *t) { while (*t) board_put((uint8_t)*t++); }\n'
         "void delay(unsigned long) {}\nint main() { board_init(); setup(); loop(); return 0; }\n")


@functools.cache
def model():
    return example().with_metadata(LABELS, Preprocessing(33, 31))


def tool(name):
    return shutil.which(name) or pytest.skip(f"needs {name}")


def run(command, folder):
    done = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, (command, done.stdout[-1500:], done.stderr[-3000:])
    return done.stdout


def shown(scores):
    """What the example says of scores: all five, the best first, among equals the first."""
    label = [re.sub("[\x00-\x1f\x7f]", "?", text) for text in LABELS]
    return [f"{label[i]} {scores[i]}, {(scores[i] + 128) * 100 // 256}%" for i in sorted(range(5), key=lambda i: (-scores[i], i))] + ["as expected"]


@functools.cache
def wanted():
    """TensorFlow Lite Micro's own bytes of the photo that is built in."""
    if installed_runtimes()["tflm"] is not True:
        pytest.skip("needs tflite-micro")
    image = compile_model(model()).io.input.prepare(None).one
    return shown([int(v) for v in Judge(model())(image).ravel()])


def by_hand(folder, src, example, language, out, flags=(), cc="gcc", cxx="g++"):
    """A library by a compiler alone: its C as C, the example as what it is."""
    objects = out / "objects"
    objects.mkdir(parents=True)
    run([tool(cc), *WARNINGS, "-std=c99", "-O2", *flags, "-c", *sorted((folder / src).rglob("*.c"))], objects)
    compiler = tool(cxx if language == "c++" else cc)
    run([compiler, *WARNINGS, "-O2", *flags, f"-I{folder / src}", "-x", language, "-c", folder / example, "-o", "example.o"], objects)
    return sorted(objects.glob("*.o"))


def test_cmake(tmp_path):
    """The README's three commands; then a C++ program that adds the folder, without the example."""
    tool("cmake"), tool("g++")
    folder = write_library(model(), "cmake", tmp_path / "library")
    readme = (folder / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^    (cmake .*|build/.*)$", readme, re.M)
    assert len(commands) == 3
    for command in commands:
        said = run(command.split(), folder)
    assert said.splitlines() == wanted()
    own = tmp_path / "own"
    own.mkdir()
    (own / "CMakeLists.txt").write_text("cmake_minimum_required(VERSION 3.13)\nproject(own CXX C)\nadd_subdirectory(../library library)\n"
                                        "add_executable(own own.cc)\ntarget_link_libraries(own PRIVATE mobilenet_example)\n")
    (own / "own.cc").write_text('#include <mobilenet_example.h>\nint main() { mbn *m;\n'
                                "  return mbn_open(&m, mobilenet_example_model, mobilenet_example_model_bytes,\n"
                                "  mobilenet_example_arena, MOBILENET_EXAMPLE_ARENA_BYTES, 0) || MOBILENET_EXAMPLE_OUTPUTS != 5; }\n")
    run(["cmake", "-B", "build"], own), run(["cmake", "--build", "build"], own), run(["build/own"], own)
    assert not list(own.rglob("classify"))


@pytest.mark.parametrize("to, example, language", [("cmake", "example/classify.c", "c"), ("platformio", "examples/classify/src/main.cpp", "c++")])
def test_a_library_that_finds_things(tmp_path, to, example, language):
    """Its example, as C and as C++, says what the host finds."""
    folder = write_library(spotter(), to, tmp_path / "library")
    run([tool("g++"), *by_hand(folder, "src", example, language, tmp_path), "-o", "app"], tmp_path)
    said = run([tmp_path / "app"], tmp_path).splitlines()
    compiled = compile_model(spotter())
    expected = Engine(spotter()).predict(input=compiled.io.input.prepare(None).one)
    things = zip(expected.found.labels, expected.found.scores, expected.found.centers)
    rows = [f"{n}: {NAMES[i]} {int(100 * s + .5)} % at x {round(1000 * x)}, y {round(1000 * y)} of 1000".replace("\x1b", "?")
            for n, (i, s, (x, y)) in enumerate(things, 1)]
    assert said == [f"found {len(rows)}", *rows[:10], "as expected"] and len(rows) > 3


def test_arduino_on_an_emulated_board(tmp_path):
    """A sketch as Arduino compiles it, with a Serial of six lines, on QEMU's Cortex-M4: the weights are laid out for it."""
    qemu = tool("qemu-system-arm")
    folder = write_library(model(), "arduino", tmp_path / "library", board="nano33ble")
    boards, t = microcontroller_folder() / "boards", target("mps2-an386")
    (tmp_path / "Arduino.h").write_text(ARDUINO_H)
    (tmp_path / "main.cpp").write_text(BOARD)
    (tmp_path / "board.ld").write_text(linker_script(t))
    core = "-mcpu=cortex-m4 -mthumb -mfloat-abi=soft -ffunction-sections -fdata-sections".split()
    core += "-fno-exceptions -fno-unwind-tables -fno-asynchronous-unwind-tables".split()
    flags = [*core, "-DARDUINO=10819", f"-I{tmp_path}"]
    objects = by_hand(folder, "src", "examples/Classify/Classify.ino", "c++", tmp_path / "o", flags, "arm-none-eabi-gcc", "arm-none-eabi-g++")
    ours = [boards / name for name in ("start.c", "runtime.c", *t.sources)]
    run(["arm-none-eabi-gcc", *core, "-O2", "-ffreestanding", *(f"-D{d}" for d in t.defines), f"-I{boards}", "-c", *ours], tmp_path)
    run(["arm-none-eabi-g++", *flags, "-O2", f"-I{boards}", "-c", "main.cpp"], tmp_path)
    script = ["-nostdlib", "-Tboard.ld", "-Wl,-e,reset", "-Wl,--gc-sections"]
    run(["arm-none-eabi-g++", *core, *script, *sorted(tmp_path.glob("*.o")), *objects, "-lgcc", "-o", "sketch.elf"], tmp_path)
    machine = f"-M {t.qemu} -display none -monitor none -serial stdio -semihosting-config enable=on,target=native".split()
    said = run([qemu, *machine, "-kernel", "sketch.elf"], tmp_path)
    assert said.splitlines() == wanted()


def test_platformio_with_and_without_arduino(tmp_path):
    folder = write_library(model(), "platformio", tmp_path / "library")
    (tmp_path / "Arduino.h").write_text(ARDUINO_H)
    (tmp_path / "main.cpp").write_text(COMPUTER)
    for name, flags, more in (("native", [], []), ("arduino", ["-DARDUINO=10819", f"-I{tmp_path}"], [tmp_path / "main.cpp"])):
        objects = by_hand(folder, "src", "examples/classify/src/main.cpp", "c++", tmp_path / name, flags)
        run(["g++", *flags, *objects, *more, "-o", name + ".run"], tmp_path)
        assert run([tmp_path / (name + ".run")], tmp_path).splitlines() == wanted()


def test_esp_idf_as_this_computers_c(tmp_path):
    """No ESP-IDF here: its own compiler is not tried; what `ESP_PLATFORM` chooses is."""
    folder = write_library(model(), "esp-idf", tmp_path / "library", board="esp32-s3")
    objects = by_hand(folder, "components/mobilenet_example/src", "main/main.c", "c", tmp_path / "o", ["-DESP_PLATFORM"])
    (tmp_path / "main.c").write_text("void app_main(void);\nint main(void) { app_main(); }\n")
    run(["gcc", "main.c", *objects, "-o", "run"], tmp_path)
    assert run([tmp_path / "run"], tmp_path).splitlines() == wanted()
    listed = re.findall(r"src/\S+\.c", (folder / "components/mobilenet_example/CMakeLists.txt").read_text())
    assert sorted(listed) == sorted(p.relative_to(folder / "components/mobilenet_example").as_posix() for p in folder.rglob("src/**/*.c"))


def test_platformio_reads_both_manifests_and_packs(tmp_path):
    """PlatformIO's own parser, schema, configuration and packer. It is not among the extras, as it brings 70 MB and a web server."""
    pytest.importorskip("platformio", reason="needs platformio")
    from platformio.package.manifest.parser import ManifestParserFactory
    from platformio.package.manifest.schema import ManifestSchema
    from platformio.package.pack import PackagePacker
    from platformio.project.config import ProjectConfig
    for to, name in (("platformio", "library.json"), ("arduino", "library.properties")):
        folder = write_library(model(), to, tmp_path / to)
        found = ManifestSchema().load_manifest(ManifestParserFactory.new_from_file(str(folder / name)).as_dict())
        assert found["name"] == "mobilenet_example" and found["headers"] == ["mobilenet_example.h"]
    packed = PackagePacker(str(tmp_path / "platformio")).pack(str(tmp_path / "library.tar.gz"))
    assert ManifestParserFactory.new_from_archive(packed).as_dict()["name"] == "mobilenet_example"
    config = ProjectConfig(str(tmp_path / "platformio/examples/classify/platformio.ini"))
    assert config.validate() and config.envs() == ["native", *PLATFORMIO]
    for env, (platform, board) in PLATFORMIO.items():
        assert (config.get(f"env:{env}", "platform"), config.get(f"env:{env}", "board")) == (platform, board)


def test_espressifs_component_manager_reads_the_manifest(tmp_path):
    manager = pytest.importorskip("idf_component_tools.manager", reason="needs idf-component-manager")
    folder = write_library(model(), "esp-idf", tmp_path / "library")
    found = manager.ManifestManager(str(folder / "components/mobilenet_example"), "mobilenet_example").load()
    assert str(found.version) == libraries.__version__ and "idf" in str(found.dependencies)


def properties(folder):
    return dict(line.split("=", 1) for line in (folder / "library.properties").read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("to", LIBRARIES)
def test_names_of_strangers(to, tmp_path):
    """A model's name and labels end up in C, CMake, JSON, YAML and properties: nothing leaves its place."""
    hostile = Model(model().data, HOSTILE)
    folder = write_library(hostile, to, tmp_path / "a b")
    texts = {p: p.read_text(encoding="utf-8") for p in folder.rglob("*") if p.is_file()}
    assert not any(re.search("@[A-Z_]+@", text) for p, text in texts.items() if p.name != "NOTICE")
    assert all(p.name.isascii() and re.fullmatch(r"[\w.-]+", p.name) for p in texts)
    id = next(p.stem for p in texts if p.suffix == ".h" and p.name.startswith("mobilenet_"))
    src = next(p.parent for p in texts if p.name == "mbn.h")
    run([tool("gcc"), *WARNINGS, "-std=c99", "-fsyntax-only", src / f"{id}.c"], tmp_path)
    if to == "arduino":  # the rules of Arduino's library specification 1.5
        found = properties(folder)
        assert list(found) == "name version author maintainer sentence paragraph category url architectures includes".split()
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,62}", found["name"]) and re.fullmatch(r"\d+\.\d+\.\d+", found["version"])
        assert found["category"] == "Data Processing" and found["includes"] == f"{id}.h" and (folder / "src" / found["includes"]).exists()
        assert all(p.suffix != ".ino" or p.stem == p.parent.name for p in texts) and not (folder / "utility").exists()
    if to == "platformio":
        assert json.loads(texts[folder / "library.json"])["name"] == id


def test_a_board_chooses_the_layout_and_has_to_hold_it(tmp_path, monkeypatch):
    for board, word in (("nano33ble", "cortex_m4"), ("pico", "cortex_m0plus")):
        assert word in (write_library(model(), "arduino", tmp_path / board, board=board) / "README.md").read_text(encoding="utf-8")
        assert libraries.ARDUINO[board] in (tmp_path / board / "README.md").read_text(encoding="utf-8")
    for board, first in (("pico", "pico"), ("microbit", "microbit"), ("esp32-s3", "native")):  # a computer runs no weights of another core
        folder = write_library(model(), "platformio", tmp_path / f"pio-{board}", board=board)
        ini = configparser.ConfigParser()
        ini.read(folder / "examples/classify/platformio.ini")
        assert ini.sections() == ["platformio", "env", *(f"env:{env}" for env in dict.fromkeys((first, board)))]
        assert ini["platformio"]["default_envs"] == first and f"-e {board} -t upload" in (folder / "README.md").read_text(encoding="utf-8")
    large = Builder((1, 64, 64, 3)).conv(64, 3, 2).depthwise().conv(1024).depthwise(3, 2).conv(256).mean().dense(10).softmax().model("large")
    for board, message in (("microbit", "doesn't fit microbit"), ("picco", "Did you mean pico")):
        with pytest.raises(MobileNetError, match=message):
            write_library(large, "arduino", tmp_path / "large", board=board)
    monkeypatch.setattr(libraries, "board_of", lambda _: replace(board_of("esp32-s3"), usable_ram=10_000))  # which has no firmware of ours
    with pytest.raises(MobileNetError, match=r"doesn't fit Espressif ESP32-S3.*bytes of RAM \(10,000 are usable\).*mobilenet boards"):
        write_library(large, "arduino", tmp_path / "large", board="esp32-s3")
    with pytest.raises(MobileNetError, match="arduino, platformio, esp-idf, cmake. Received: 'avr'"):
        write_library(model(), "avr", tmp_path / "large")
    assert not (tmp_path / "large").exists()


def test_all_or_nothing(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    assert (write_library(model(), "cmake", tmp_path / "empty") / "CMakeLists.txt").exists()
    with pytest.raises(MobileNetError, match="not an empty folder"):
        write_library(model(), "cmake", tmp_path / "empty")
    real, count = Path.write_text, iter(range(100))
    def full(self, *args, **options):  # noqa: E306
        if next(count) == 7:
            raise OSError(28, "No space left on device")
        return real(self, *args, **options)
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(MobileNetError, match="No space left"):
        write_library(model(), "cmake", tmp_path / "full")
    assert os.listdir(tmp_path) == ["empty"]


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model().save("model.tflite")
    for to in LIBRARIES:
        assert cli.main(["export", "model.tflite", "--runtime", "engine", "--to", to, "--json"]) in (None, 0)
        facts = json.loads(capsys.readouterr().out)
        assert facts["folder"] == f"model-engine-{to}" and "README.md" in facts["files"]
        assert any(name.endswith("src/kernels/portable.c") for name in facts["files"])
        readme = (tmp_path / facts["folder"] / "README.md").read_text(encoding="utf-8")
        assert len(re.findall(r"^    (?:arduino-cli|pio|idf\.py|cmake|build/)", readme, re.M)) == 3
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert cli.main(["export", "../model.tflite", "--to", "platformio", "-o", "."]) in (None, 0) and sorted(os.listdir()) == [
        "NOTICE", "README.md", "examples", "library.json", "src"]
    code, out, err = mobilenet("export", "model.tflite", "--to", "platformio", "-o", "model-engine-cmake", cwd=tmp_path)
    assert code == 2 and not out and len(err.splitlines()) == 1 and "not an empty folder" in err


def test_the_readme_names_the_folder_that_was_written(tmp_path):
    write_library(example(), "cmake", tmp_path / "my-lib")
    assert "add_subdirectory(my-lib)" in (tmp_path / "my-lib/README.md").read_text()
