"""Every command line of README.md, CONTRIBUTING.md and the notebooks' Markdown: run, or named here with what runs it."""
import json
import re
import shlex
import shutil
import zlib

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from mobilenet_keras import cli
from mobilenet_keras.core import MobileNetError

# What is not run here, as it begins, and where it is. A `mobilenet` line that is not run must still parse.
ELSEWHERE = {
    "apt-get": ".ci/run: the README's test command, to the letter",
    "git clone https://github.com/mobilenet-keras/mobilenet-keras": ".ci/run",
    "cd mobilenet-keras": ".ci/run",
    "python3 -m venv .venv": ".ci/run and tests/test_packaging.py",
    ".venv/bin/pip install": ".ci/run and tests/test_packaging.py: every extra, from the wheel and the sdist",
    ".venv/bin/python -m pytest": ".ci/run",
    "mobilenet train my_photos --devices": "tests/test_devices.py::test_from_a_shell; two GPUs are nowhere here",
    "mobilenet demo": "tests/test_demo.py::test_demo",
    "mobilenet sweep": "tests/test_sweeps.py::test_the_command_line",
    "mobilenet flash firmware.uf2": "tests/test_flash.py::test_flash_and_ask, and over a Pico's cable tests/test_flash.py and tests/test_usb.py",
    ".venv/bin/python -c": "tests/test_documented_commands.py::test_the_network_that_comes_with_the_library",
    "mobilenet device selfcheck": "tests/test_selfcheck.py::test_selfcheck_from_a_shell",
    "mobilenet device ask": "tests/test_console.py::test_device_ask_from_a_shell",
    "mobilenet micropython flash": "tests/test_micropython.py::test_whole_path, ::test_weights_uf2 and ::test_weights_in_flash",
    "mpremote mip install --target /": "tests/test_micropython.py::test_mpremotes_mip_installs_it_from_a_folder",
    "mobilenet flash model.tflite": "tests/test_flash.py::test_from_a_model_to_a_board_that_runs_it",
    "mobilenet flash runs/": "tests/test_flash.py::test_from_a_model_to_a_board_that_runs_it",
    "nbdev_install_hooks": "changes .git/config of the clone it is run in: nothing to test without one",
    ". .venv/bin/activate": "needs an interactive shell",
    "python .ci/export.py": ".ci/in_sync.py, in tests/test_repository.py, makes the same in a copy",
    "python .ci/docs.py": "tests/test_docs.py",
    "python -m http.server": "the standard library; tests/test_docs.py serves the site in the same way",
}


def documents():
    """(path, Markdown) of everything that shows commands."""
    for path in (ROOT / "README.md", ROOT / ".github/CONTRIBUTING.md"):
        yield path, path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "nbs").rglob("*.ipynb")):
        if not any(part.startswith((".", "_")) for part in path.relative_to(ROOT).parts):
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            yield path, "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def commands():
    """{command: file that shows it first}, in order: lines of sh blocks, and what follows a $ in others."""
    found = {}
    for path, markdown in documents():
        for language, block in re.findall(r"^ *```(sh|bash|console|text)\n(.*?)^ *```", markdown, re.M | re.S):
            for line in block.replace("\\\n", " ").splitlines():
                line = re.sub(r"\s+#.*", "", line).strip()
                if language in ("console", "text"):
                    line = line[2:] if line.startswith("$ ") else ""
                for command in filter(None, map(str.strip, line.split("&&"))):
                    found.setdefault(re.sub(r"^\.venv/bin/(?=mobilenet )", "", command), path.relative_to(ROOT).as_posix())
    return found


COMMANDS = commands()


def elsewhere(command):
    if command.endswith(" --dry-run"):
        return None
    return next((where for begins, where in ELSEWHERE.items() if command.startswith(begins)), None)


RUN = [c for c in COMMANDS if c.startswith("mobilenet ") and not elsewhere(c)]


def photo(path, colour):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(zlib.crc32(str(path).encode())).normal(colour, 25, (32, 32, 3))
    Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def folder(tensorflow, tmp_path_factory):
    """A folder as a reader's: photos, mine.h5, mine.keras, classifier.keras, a run for each command that trains, and model.tflite."""
    from helpers import write_keras_2

    from mobilenet_keras.examples import example_photos
    from mobilenet_keras.networks.models import MobileNetV1
    home = tmp_path_factory.mktemp("reader")
    for i in range(10):
        for name, colour in (("lemon", (230, 210, 60)), ("lime", (80, 190, 70))):
            photo(home / "my_photos" / name / f"{i}.png", colour)
            photo(home / "trash6" / ("train" if i < 7 else "test") / name / f"{i}.png", colour)
    photo(home / "photo.jpg", (80, 190, 70))
    example_photos("scenes", home).rename(home / "my_scenes")
    write_keras_2(MobileNetV1(.25, (32, 32, 3), classes=5), home / "mine.h5")
    MobileNetV1(.25, (32, 32, 3), classes=2).save(home / "mine.keras")  # says nothing of its photos
    MobileNetV1(.25, (32, 32, 3), classes=2, include_preprocessing=True).save(home / "classifier.keras")
    trains, quantizes = ([c for c in RUN if c.startswith(f"mobilenet {verb}")] for verb in ("train", "quantize"))
    from small_training import eagerly
    with eagerly(), pytest.MonkeyPatch.context() as patch:  # one step is not worth a compilation
        patch.chdir(home)
        for i, train in enumerate(trains, 1):  # as shown, but small, and without a download
            finds = "--head" in train
            small = f"--size 32 --epochs 1 --batch-size 64 --out runs/mobilenet_0.25_96{'_centroid8-1' if finds else f'-{i} --frozen-epochs 1'}"
            weights = "" if "--weights" in train else "--weights none"
            assert cli.main(shlex.split(f"{train} {small} {weights}")[1:]) == 0
        for quantize in quantizes:
            assert cli.main(shlex.split(quantize)[1:]) == 0
    for name in ("model", "theirs", "mine"):
        shutil.copy2(home / "runs/mobilenet_0.25_96-1/model.tflite", home / f"{name}.tflite")
    for name in ("theirs", "mine"):
        (home / f"{name}.txt").write_text("lemon\nlime\n")
    shutil.copytree(home / "my_photos", home / "photos")
    return home


@pytest.mark.slow  # each verb is run by test_cli.py, too
@pytest.mark.xdist_group("documented commands")
def test_mobilenet_commands_run(folder, monkeypatch, capsys):
    """In one folder, in the order in which they are shown; training and quantizing made the folder."""
    monkeypatch.chdir(folder)
    for command in RUN:  # no parameters: pytest-xdist would train once for each worker
        if made := {"train": "run.json", "quantize": "model.tflite"}.get(command.split()[1]):
            assert (folder / "runs/mobilenet_0.25_96-1" / made).is_file(), command
        else:
            code = cli.main(shlex.split(command)[1:])
            out, err = capsys.readouterr()
            assert code == 0 and out.strip(), (COMMANDS[command], command, err)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("mobilenet ")])
def test_mobilenet_commands_parse(command):
    cli.parser().parse_args(shlex.split(command)[1:])


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in RUN])
def test_other_commands_are_run_elsewhere(command):
    where = elsewhere(command)
    assert where, f"{COMMANDS[command]} shows {command!r}: run it in this file, or say in ELSEWHERE what does"
    for file in re.findall(r"[\w./]+\.(?:py|ipynb)|\.ci/run", where):
        assert (ROOT / file).is_file(), file
    for file, test in re.findall(r"(tests/\w+\.py)::(\w+)", where):
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), where


def test_nothing_is_listed_that_is_no_longer_shown():
    unused = [begins for begins in ELSEWHERE if not any(c.startswith(begins) for c in COMMANDS)]
    assert not unused


def test_commands_in_running_text_exist():
    """`mobilenet VERB ...` and `pip install "mobilenet-keras[EXTRA]"` between backticks."""
    settings, seen = (ROOT / "settings.ini").read_text(encoding="utf-8"), set()
    for path, markdown in documents():
        for command in re.findall(r"`mobilenet ([a-z][^`]*)`", markdown):
            seen.add(cli._verb_of(re.findall(r"\S+", command)))  # raises where the verb, a sub-verb or a flag doesn't exist
        for extra in re.findall(r"mobilenet-keras\[(\w+)\]|\"\.\[(\w+)\]\"", markdown):
            assert f"\n{''.join(extra)}_requirements =" in settings, (path.name, extra)
            seen.add("".join(extra))
    assert {"boards", "pi", "demo"} <= seen


def test_pages_install_from_the_clone():
    """It is not on PyPI: only README, which says so, may show what adds an extra later."""
    wrong = [path.name for path, markdown in documents()
             if path.name not in ("README.md", "index.ipynb") and re.search(r"pip install \"?mobilenet-keras", markdown)]
    assert not wrong
    assert "It is not on PyPI yet" in (ROOT / "README.md").read_text(encoding="utf-8")


def texts():
    """(path, text) of what people read besides documents: messages of modules, C and templates for boards, benchmarks."""
    for folder, kinds in (("mobilenet_keras", (".py",)), ("microcontroller", (".md", ".c", ".h", ".cc", ".py", ".ld", ".ino")),
                          ("benchmarks", (".py", ".csv"))):
        yield from ((p, p.read_text(encoding="utf-8")) for p in sorted((ROOT / folder).rglob("*")) if p.suffix in kinds)
    yield from ((p, json.dumps(json.loads(p.read_text(encoding="utf-8")), ensure_ascii=False)) for p in sorted((ROOT / "nbs").rglob("*.ipynb")))
    yield ROOT / "CHANGELOG.md", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_commands_in_messages_exist():
    """Verbs that are gone, and flags that a verb doesn't have, stand nowhere: in no hint, remedy, comment or printed output."""
    gone, verbs, wrong = {"profile", "strip", "classify"}, {name.split()[0] for name in cli.VERBS}, []
    for path, text in texts():
        if path.name in ("cli.py", "08_cli.ipynb"):
            continue  # shows mistakes; its examples are parsed below
        for verb, rest in re.findall(r"\bmobilenet ([a-z]+)\b([^`\"'\n.;|)\\]*)", text):
            if verb not in verbs | gone:
                continue  # prose
            words = [verb, *re.findall(r"(?<=\s)(?:--[a-z][a-z0-9-]*|[a-z]+)", rest)]
            words = words[:2 if verb in cli.FAMILIES else 1] + [w for w in words if w.startswith("--")]
            try:
                cli._verb_of(words)
            except MobileNetError as e:
                wrong.append((path.relative_to(ROOT).as_posix(), verb + rest, str(e)))
    assert not wrong


@pytest.mark.parametrize("verb", cli.VERBS)
def test_examples_of_the_help_parse(verb):
    assert cli.parser().parse_args(shlex.split(cli.VERBS[verb][1])[1:]).function is cli.VERBS[verb][0]


def test_the_network_that_comes_with_the_library(tmp_path, monkeypatch):
    """The line of "Try it on your board" that writes one, to the letter."""
    (line,) = [c for c in COMMANDS if c.startswith(".venv/bin/python -c")]
    monkeypatch.chdir(tmp_path)
    exec(shlex.split(line)[2])
    assert cli.main(["build", "model.tflite", "--board", "pico", "-o", "firmware.uf2"]) == 0
