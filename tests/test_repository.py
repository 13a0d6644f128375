"""The repository itself: its style, what is generated in it, and every notebook, each as a test with a name."""
import multiprocessing
import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT, shared

NOTEBOOKS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "nbs").rglob("*.ipynb")
                   if not any(part.startswith((".", "_")) for part in path.relative_to(ROOT).parts))


def run(*command, timeout=600):
    """(exit status, all output) of a command in the repository's root."""
    done = subprocess.run([str(c) for c in command], cwd=ROOT, capture_output=True, text=True, timeout=timeout)
    return done.returncode, done.stdout + done.stderr


def test_ruff():
    status, said = run(sys.executable, "-m", "ruff", "check", "--output-format", "concise", ".")
    assert status == 0, said


def test_modules_notebooks_and_readme_agree():
    status, said = run(sys.executable, ".ci/in_sync.py")
    assert status == 0, said


def test_readme_holds_the_command_that_ci_runs():
    blocks = re.findall(r"^<!-- test-command -->\n+```sh\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"),
                        re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1, "README.md needs one <!-- test-command --> with a ```sh block right after it"
    for word in ("apt-get", "python3-venv", "git clone https://github.com/mobilenet-keras/", '".[dev]"', "pytest"):
        assert word in blocks[0], f"the test command lacks {word}"


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


@pytest.mark.parametrize("path", NOTEBOOKS)
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
