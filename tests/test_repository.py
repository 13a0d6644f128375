"""The repository itself: its style, what is generated in it, and every notebook, each as a test with a name."""
import ast
import json
import multiprocessing
import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT, shared
from helpers import sample

SLOW = {"api/networks/10_importers", "api/networks/11_original", "tutorials/04_smaller_and_better",
            "tutorials/01_photos_to_pico", "tutorials/02_your_own_photos", "tutorials/03_keras_model_to_board",
            "api/training/01_fine_tune", "api/training/00b_devices", "how_to/several_gpus",
            "api/training/02_quantization", "api/networks/03_models", "explain/mobilenet",
            "how_to/own_weights", "how_to/troubleshooting", "how_to/which_boards", "api/networks/04_heads", "api/networks/12_keras_files",
            "api/08_cli", "api/mcu/01_tflm", "api/mcu/02_fit", "api/tflite/06_verify",
            "tutorials/06_in_your_firmware", "tutorials/07_micropython_and_openmv", "tutorials/09_lesson", "explain/mobilenet_zh",
            "explain/streaming", "explain/proved_by_what", "explain/where_instructions_go", "how_to/build_and_simulate",
            "how_to/other_systems"}  # more than 2 seconds; their modules' tests are not slow
NOTEBOOKS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "nbs").rglob("*.ipynb")
                   if not any(part.startswith((".", "_")) for part in path.relative_to(ROOT).parts))


def run(*command, timeout=600):
    """(exit status, all output) of a command in the repository's root."""
    done = subprocess.run([str(c) for c in command], cwd=ROOT, capture_output=True, text=True, timeout=timeout)
    return done.returncode, done.stdout + done.stderr


def test_ruff():
    status, said = run(sys.executable, "-m", "ruff", "check", "--output-format", "concise", ".")
    assert status == 0, said


def test_notebooks_use_no_name_that_is_not_there():
    """A cell that was moved to another notebook and left a name behind fails here, before it is run."""
    status, said = run(sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821", "--output-format", "concise", "nbs")
    assert status == 0, said


def test_modules_notebooks_and_readme_agree():
    status, said = run(sys.executable, ".ci/in_sync.py")
    assert status == 0, said


# Modules without a test file of their own, and why: this list only shrinks.
ELSEWHERE = {
    "all": "two lines of code; its notebook counts the names",
    "builder": "every model of test_engine.py is built by it, and judged by TensorFlow Lite Micro",
    "names": "a table; test_packaging.py imports what it names",
}


def test_every_module_has_its_test_file():
    modules = {path.stem for path in (ROOT / "mobilenet_keras").rglob("[a-z]*.py")}
    missing = {name for name in modules if not (ROOT / f"tests/test_{name}.py").exists()}
    assert missing == ELSEWHERE.keys(), (f"Write tests/test_<module>.py for {missing - ELSEWHERE.keys()}; "
                                         f"take {ELSEWHERE.keys() - missing} off the list.")


def test_no_test_file_imports_another():
    """What two of them need stands in a module beside them, or is a fixture of conftest.py."""
    for path in (ROOT / "tests").glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = [name for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))
                 for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])]
        assert not [name for name in names if name.startswith("test_")], path.name


BURNS = """
import subprocess, sys, time, pytest
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end: pass
@pytest.fixture(scope="session")
def shared(): burn(.6)
@pytest.fixture
def own(): burn(.6)
def test_quick(shared): pass
def test_itself(): burn(.6)
def test_its_fixture(own): pass
def test_its_process(): subprocess.run([sys.executable, "-c", "import time\\nwhile time.process_time() < .6: pass"])
def test_a_process_that_tells(pytestconfig): pytestconfig.pluginmanager.get_plugin("cpu_limit").tell(.6)
def test_waits(): time.sleep(.6)
@pytest.mark.slow
def test_slow(): burn(.6)
def test_a_little_over(): burn(.35)
"""


def test_a_test_that_takes_too_much_fails(tmp_path):
    """Twice what it may; its fixtures and processes included, those that are set up for several tests apart; slow ones may. Less is told."""
    (tmp_path / "test_burns.py").write_text(BURNS)
    (tmp_path / "conftest.py").write_text(f"import sys\nsys.path.insert(0, {str(ROOT / 'tests')!r})\n"
                                          + (ROOT / "tests/conftest.py").read_text(encoding="utf-8"))
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow\ncpu_limit = .25\n")
    status, said = run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", tmp_path, "-rA", tmp_path)
    result = {outcome: set(re.findall(rf"^{outcome} .*::(\w+)", said, re.M)) for outcome in ("PASSED", "FAILED")}
    assert result == {"PASSED": {"test_quick", "test_waits", "test_slow", "test_a_little_over"},
                      "FAILED": {"test_itself", "test_its_fixture", "test_its_process", "test_a_process_that_tells"}}, said
    assert status == 1 and "and a test may take 0.25" in said
    assert set(re.findall(r"^OVER 0.25 CPU-seconds: 0\S+ .*::(\w+)", said, re.M)) == result["FAILED"] | {"test_a_little_over"}, said


def test_readme_holds_the_command_that_ci_runs():
    blocks = re.findall(r"^<!-- test-command -->\n+```sh\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"),
                        re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1, "README.md needs one <!-- test-command --> with a ```sh block right after it"
    for word in ("apt-get", "python3-venv", "git clone https://github.com/mobilenet-keras/", '".[dev]"', "pytest"):
        assert word in blocks[0], f"the test command lacks {word}"


LONGEST = 60  # lines of an exported cell
LONGER: dict = {}  # (notebook, its first name): lines; older cells, of which there may be fewer and no longer ones


def names(tree):
    """What a cell defines, in order."""
    for node in tree.body:
        for target in getattr(node, "targets", [node]):
            yield from (n.id if isinstance(n, ast.Name) else n.name for n in ast.walk(target) if isinstance(n, ast.Name) or hasattr(n, "name"))


def is_table(tree):
    """One assignment of a text, or of rows that are written out."""
    value = tree.body[0].value if len(tree.body) == 1 and isinstance(tree.body[0], (ast.Assign, ast.AnnAssign)) else None
    return isinstance(value, (ast.Constant, ast.Tuple, ast.List, ast.Dict))


def long_cells():
    """{(notebook, the first name in the cell): lines} of exported cells above the limit that are no tables."""
    for path in NOTEBOOKS:
        for cell in json.loads((ROOT / path).read_text(encoding="utf-8"))["cells"]:
            source = "".join(cell["source"]).rstrip("\n")
            if cell["cell_type"] == "code" and re.match(r"#\s*\|\s*exports?\b", source) and source.count("\n") >= LONGEST:
                tree = ast.parse(source)
                if not is_table(tree):
                    yield (path, next(names(tree))), source.count("\n") + 1


def test_exported_cells_are_short():
    """A cell holds one idea and a sentence of why stands before it; the list of older ones only shrinks."""
    found = dict(long_cells())
    grown = [f"{cell}: {lines} lines" for cell, lines in found.items() if lines > LONGER.get(cell, LONGEST)]
    assert not grown, f"Divide these, with a sentence of why between: {'; '.join(grown)}"
    shrunk = [f"{cell}: {found.get(cell, 'short')}" for cell, lines in LONGER.items() if found.get(cell, 0) < lines]
    assert not shrunk, f"LONGER can shrink: {'; '.join(shrunk)}"


def in_notebook(path, told, spent):
    """The body of a process: all cells of a notebook but those flagged notest or slow; what it prints and takes goes to files."""
    with open(told, "w") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    os.chdir(ROOT)
    os.environ["QUICK"] = "1"
    from nbdev.test import nbdev_test
    nbdev_test.__wrapped__(path, n_workers=0, do_print=True)
    spent.write_text(str(sum(os.times()[:4])))


@pytest.fixture(scope="session")
def forked():
    """Processes that begin with the large packages imported: each would take eight seconds for TensorFlow alone."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tflite_runtime.interpreter", "nbdev.test", "matplotlib.pyplot", "tensorflow"])  # in this order: see conftest
    return context


@pytest.mark.parametrize("path", sample(NOTEBOOKS, kept=[n for n in NOTEBOOKS if n[4:-6] not in SLOW]))
def test_notebook(path, forked, tmp_path, pytestconfig):
    """In a process of its own and in the notebook's folder; trainings are short."""
    for needed in sorted(set(re.findall(r"\.\./shared/([\w./-]*\w)", (ROOT / path).read_text(encoding="utf-8")))):
        shared(needed)
    process = forked.Process(target=in_notebook, args=(path, tmp_path / "told", tmp_path / "spent"))
    process.start()
    process.join(600)
    if process.is_alive():
        process.kill()
    said = (tmp_path / "told").read_text(errors="replace")
    if (tmp_path / "spent").exists():
        pytestconfig.pluginmanager.get_plugin("cpu_limit").tell(float((tmp_path / "spent").read_text()))
    assert process.exitcode == 0 and f"Completed {ROOT / path}" in said, said
