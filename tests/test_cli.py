"""The command line as people and scripts meet it: exit codes, one-line errors, JSON, nothing half-written."""
import itertools
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import shared
from helpers import mobilenet, one_line, photos

from mobilenet_keras import cli
from mobilenet_keras.cli import VERBS
from mobilenet_keras.tflite.model import Model, one_op_model


def test_help_of_every_verb_has_an_example():
    code, out, _ = mobilenet("--help")
    assert code == 0 and all(verb in out for verb in VERBS)
    for verb in VERBS:
        code, out, _ = mobilenet(verb, "--help")
        assert code == 0 and f"example: mobilenet {verb}" in " ".join(out.split())


@pytest.mark.parametrize("args", [[], ["fly"], ["classify"], ["train", "x", "--alpha", "wide"]])
def test_bad_usage(args):
    code, out, err = mobilenet(*args)
    assert (code, out) == (2, "") and "usage:" in err and "Traceback" not in err


def test_models_as_json_and_text():
    code, out, _ = mobilenet("models", "--json")
    rows = json.loads(out)
    assert code == 0 and len(rows) == 38
    assert {"name": "mobilenet_v1_0.25_224", "top1": 49.8, "mmacs": 41}.items() <= next(r for r in rows if r["name"].endswith("v1_0.25_224")).items()
    assert "mobilenet_v2_1.4_224" in mobilenet("models")[1]


def test_a_closed_pipe_is_no_error():
    done = subprocess.run(f"{sys.executable} -m mobilenet_keras.cli models --json | head -1; exit ${{PIPESTATUS[0]}}", shell=True,
                          executable="/bin/bash", capture_output=True, text=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr


@pytest.fixture
def bad(tmp_path):
    """Folders and files that no one can train on."""
    (tmp_path / "empty").mkdir()
    photos(tmp_path / "single", ("only",))
    photos(tmp_path / "cases", ("Cat", "cat") if os.path.normcase("A") == "A" else ("cat", "dog"))
    photos(tmp_path / "hollow")
    (tmp_path / "hollow" / "nothing").mkdir()
    for name in ("a", "b"):
        (tmp_path / "broken" / name).mkdir(parents=True)
        (tmp_path / "broken" / name / "1.jpg").write_bytes(b"\xff\xd8\xff no photo")
    (tmp_path / "file").write_text("hello")
    (tmp_path / "zero.tflite").write_bytes(b"")
    (tmp_path / "text.tflite").write_text("not a model" * 100)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious.txt").write_text("keep me")
    photos(tmp_path / "good")
    for part in ("backup/train", "backup/old", "twice/train", "twice/val", "twice/valid"):
        photos(tmp_path / part)
    (tmp_path / "tiny.tflite").write_bytes(one_op_model())
    return tmp_path


@pytest.mark.parametrize("args,message", [
    (["train", "nowhere"], "No such folder"), (["train", "file"], "No such folder"), (["train", "empty"], "at least two class folders"),
    (["train", "single"], "at least two class folders"), (["train", "cases"], "only in case"), (["train", "hollow"], "'nothing'"),
    (["train", "broken"], "'a'"), (["train", "good", "--size", "huge"], "--size"), (["train", "good", "--size", "0"], "--size"),
    (["train", "good", "--alpha", "0.3"], "alpha=0.3"), (["train", "good", "--alpha", "-1", "--weights", "none"], "above 0"),
    (["train", "good", "--weights", "nowhere.h5"], "No such weight file"), (["train", "good", "--weights", "file"], "not a readable"),
    (["train", "good", "--weights", "none", "--out", "full"], "full"), (["train", "good", "--validation", "2"], "validation"),
    (["quantize", "nowhere"], "not a finished run"), (["quantize", "full"], "not a finished run"),
    (["verify", "nowhere.tflite"], "nowhere.tflite"), (["verify", "zero.tflite"], "zero.tflite"), (["verify", "text.tflite"], "text.tflite"),
    (["verify", "full"], "full"), (["classify", "x.jpg", "--model", "zero.tflite"], "zero.tflite"),
    (["export", "text.tflite"], "For which runtime?"), (["export", "--tflm", "app", "text.tflite"], "text.tflite"),
    (["demo", "--out", "full"], "full"),
    (["inspect", "text.tflite"], "text.tflite"), (["inspect", "full"], "full"), (["profile", "zero.tflite"], "zero.tflite"),
    (["boards", "nowhere.tflite"], "nowhere.tflite"), (["boards", "--board", "picco"], "Did you mean pico"),
    (["strip", "text.tflite", "--out", "small.tflite"], "text.tflite"), (["compile", "text.tflite", "-o", "m.mbn"], "text.tflite"),
    (["train", "good", "--seed", "-1"], "seed"), (["train", "good", "--weights", "none", "--size", "9999999"], "GB"),
    (["train", "backup"], "and old/"), (["train", "twice"], "valid"), (["models", "--max-mmacs", "0"], "11"),
    (["verify", "tiny.tflite", "good", "-n", "0"], "-n is"), (["classify", "x.jpg", "--model", "tiny.tflite", "--top", "0"], "--top"),
], ids=lambda v: "-".join(v) if isinstance(v, list) else None)
def test_bad_input_is_one_line_and_exit_2(tensorflow, bad, args, message, monkeypatch, capsys):
    if args[:2] == ["train", "cases"] and len(list((bad / "cases").iterdir())) < 2:
        pytest.skip("this file system does not tell Cat from cat")
    before = sorted(bad.rglob("*"))
    monkeypatch.chdir(bad)
    code = cli.main(args)  # in this process: importing TensorFlow takes others eight seconds each
    out, err = capsys.readouterr()
    assert code == 2 and out == "" and message in one_line(err), err
    assert sorted(bad.rglob("*")) == before, "nothing may be written on bad input"


STEPS = ["compile", "build --board pico", "flash --board pico", "quantize", "verify", "export --tflm app"]
FILES = ["coral/mobilenet_v1_0.25_128_quant.tflite", "mlperf_tiny/vww_96_float.tflite", "own.keras"]
FINE = [("verify", FILES[0]), ("flash --board pico", FILES[2])]  # uint8 can be verified; flash says that it is no image, and to build one


@pytest.mark.parametrize("verb, name", [step for step in itertools.product(STEPS, FILES) if step not in FINE])
def test_every_step_says_how_a_file_becomes_int8(tmp_path, monkeypatch, capsys, verb, name):
    """A published uint8 or float file, a Keras model of one's own: `tests/test_importers.py` goes the ways that are named."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.keras").write_bytes(b"PK\3\4" + bytes(100))
    before = sorted(tmp_path.iterdir())
    verb, *rest = verb.split()
    code = cli.main([verb, str("own.keras" if name == "own.keras" else shared(f"models/{name}")), *rest])
    out, err = capsys.readouterr()
    assert code == 2 and not out
    ways = "To int8: a MobileNet on photos of your own by mobilenet convert FILE -o weights.h5, mobilenet train PHOTOS --weights weights.h5 "
    assert ways in one_line(err)
    loader = "keras.models.load_model(FILE)" if name == "own.keras" else "load(FILE)"
    assert f'Model(convert({loader}, inputs)).save("model.tflite")' in err and sorted(tmp_path.iterdir()) == before


def test_a_file_of_a_run_names_the_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my run").mkdir()
    for name in ("run.json", "model.keras"):
        (tmp_path / "my run" / name).touch()
    (tmp_path / "cut.tflite").write_bytes(one_op_model()[:90])
    for path, said in (("my run/model.keras", "Give that: mobilenet quantize 'my run'"), ("cut.tflite", "cut short")):
        assert cli.main(["quantize", path]) == 2 and said in one_line(capsys.readouterr().err)


def test_what_is_int8_already_needs_no_quantizing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(shared("models/tflite_micro/person_detect.tflite"), "my model.tflite")
    assert cli.main(["quantize", "my model.tflite"]) == 2
    said = one_line(capsys.readouterr().err)
    assert "my model.tflite is int8 already, so nothing is left to quantize. Next: mobilenet verify 'my model.tflite'" in said


def test_classify_with_real_model(tmp_path):
    model = shared("models/tflite_micro/person_detect.tflite")
    folder = shared("models/tflite_micro")
    code, out, _ = mobilenet("classify", folder / "person.bmp", folder / "no_person.bmp", "--model", model, "--json")
    assert code == 0
    person, nobody = ({c["name"]: c["probability"] for c in row["classes"]}["1"] for row in json.loads(out))  # class 1 is a person
    assert person > nobody + .2
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    code, out, err = mobilenet("classify", folder / "person.bmp", tmp_path / "broken.jpg", "--model", model)
    assert code == 1 and "person.bmp" in out and "broken.jpg" in err and "Traceback" not in err


def test_verify_says_pass_for_a_real_model():
    code, out, err = mobilenet("verify", shared("models/mlperf_tiny/vww_96_int8.tflite"), "-n", "2", "--json")
    facts = json.loads(out)
    assert code == 0 and facts["ok"], err
    assert {r["runtime"]: r["differing"] for r in facts["rows"] if r["runtime"] in ("tflm", "litert-reference")}.get("tflm", 0) == 0


def test_inspect_profile_boards_and_strip(tmp_path):
    model = shared("models/tflite_micro/person_detect.tflite")
    facts = json.loads(mobilenet("inspect", model, "--json")[1])
    assert len(facts["ops"]) == 31 and facts["ops"][0]["options"]["depth_multiplier"] == 8
    assert "DEPTHWISE_CONV_2D" in mobilenet("inspect", model)[1]
    facts = json.loads(mobilenet("profile", model, "--json")[1])
    assert facts["macs"] == 7_157_888 and facts["ram_minimum"] == 55_296 and len(facts["health"]) == 28
    assert (facts["arena"]["total"] is None) == bool(facts["arena"]["reason"])
    text = mobilenet("profile", model)[1]
    assert "7,157,888 MACs" in text and "TFLM's arena" in text
    assert "levels" in mobilenet("profile", model, "--health")[1]
    facts = json.loads(mobilenet("boards", model, "--json")[1])
    fits = {(b["board"], b["runtime"]): b["ok"] for b in facts["boards"]}
    assert fits["pico", "engine"] and fits["pico", "tflm"] and fits["microbit", "engine"] and not fits["microbit", "tflm"]
    assert mobilenet("boards", model, "--board", "pico")[0] == 0
    code, out, err = mobilenet("boards", shared("models/mlperf_tiny/vww_96_float.tflite"), "--board", "microbit")
    assert code == 1 and "does not fit microbit with engine: " in out and "bytes of RAM too many" in out and not err
    assert json.loads(mobilenet("boards", "--json")[1])[0]["id"] == "pico"
    assert json.loads(mobilenet("boards", "--board", "pico", "--json")[1])["ram"] == 264 * 1024
    small = tmp_path / "small.tflite"
    facts = json.loads(mobilenet("strip", model, "--out", small, "--json")[1])
    assert facts["bytes"] == small.stat().st_size < facts["bytes_before"] == model.stat().st_size


def test_compile_says_what_memory_it_takes(tmp_path):
    model, out = shared("models/mlperf_tiny/vww_96_int8.tflite"), tmp_path / "vww.mbn"
    facts = json.loads(mobilenet("compile", model, "-o", out, "--json")[1])
    assert facts["mbn_bytes"] == out.stat().st_size and facts["macs"] == 7_489_664
    assert facts["arena_streamed"] < 16_700 and facts["arena_held"] < 36_000 and (facts["tflm_arena"] or 100_000) > 80_000
    assert 0 < facts["row_macs"] < facts["finish_macs"] < facts["macs"]
    code, out, _ = mobilenet("compile", model, "-o", tmp_path / "m.mbn", "--map", "--picture", tmp_path / "m.svg", "--json")
    assert {b["buffer"] for b in json.loads(out)["buffers"]} == {"context", "states", "ring", "scratch", "sums", "read", "written"}
    assert all(b["at"] + b["bytes"] <= facts["arena_streamed"] for b in json.loads(out)["buffers"]) and "<svg" in (tmp_path / "m.svg").read_text()
    text = mobilenet("compile", model, "--input", "held", cwd=tmp_path)[1]
    assert "held" in text and (tmp_path / "vww_96_int8.mbn").stat().st_size > 208_112
    code, said, err = mobilenet("compile", shared("models/coral/mobilenet_v1_0.25_128_quant.tflite"), cwd=tmp_path)
    assert code == 2 and said == "" and "uint8" in one_line(err)


def test_json_is_ascii_and_has_no_nan(tmp_path):
    """Whatever the console's encoding: a photo's name may hold any letter, a model's option any float."""
    model = Model(one_op_model(), "nan")
    at = model.data.index(np.float32(1).tobytes())  # SOFTMAX's beta
    (tmp_path / "nan.tflite").write_bytes(model.data[:at] + np.float32("nan").tobytes() + model.data[at + 4:])
    code, out, _ = mobilenet("inspect", tmp_path / "nan.tflite", "--json", PYTHONIOENCODING="ascii")
    facts = json.loads(out, parse_constant=pytest.fail)
    assert code == 0 and facts["ops"][0]["options"]["beta"] is None
    person = shared("models/tflite_micro/person.bmp")
    (tmp_path / "ünï 猫.bmp").write_bytes(person.read_bytes())
    code, out, err = mobilenet("classify", tmp_path / "ünï 猫.bmp", "--model", shared("models/tflite_micro/person_detect.tflite"), "--json",
                               PYTHONIOENCODING="ascii")
    assert code == 0 and json.loads(out)[0]["photo"].endswith("ünï 猫.bmp"), err


def test_missing_extra_names_the_pip_command(tmp_path):
    """With TensorFlow hidden, training says what to install and exits with 3."""
    for name in ("keras", "tensorflow"):
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError(\"No module named '{name}'\", name='{name}')")
    code, out, err = mobilenet("train", photos(tmp_path / "p"), PYTHONPATH=str(tmp_path))
    assert code == 3 and 'pip install "mobilenet-keras[train]"' in one_line(err), err


def test_the_end_of_the_path(trained, tmp_path, monkeypatch, capsys):
    """What was trained and quantized is verified, classifies, and is exported; `test_whole_path` types all of it."""
    monkeypatch.chdir(trained)
    app = tmp_path / "app"
    for line, said in (("verify run/model.tflite fruit/banana -n 4", "PASS"),
                       ("classify fruit/banana/banana0.jpg --model run/model.tflite", "banana"),
                       (f"export --tflm {app} run/model.tflite --photo fruit/lime/lime1.jpg", str(app))):
        code = cli.main(line.split())
        out, err = capsys.readouterr()
        assert code == 0 and said in out, err
    assert (app / "main.cc").exists()


@pytest.mark.slow
def test_whole_path(tmp_path):
    """train, quantize, verify, classify and export on a tiny folder, as a new user types them."""
    folder = photos(tmp_path / "fruit", n=16)
    (folder / "lime" / "notes.txt").write_text("bought on Tuesday")
    code, out, err = mobilenet("train", folder, "--weights", "none", "--size", "32", "--epochs", "40", "--batch-size", "8", "--output-stride", "8",
                               "--learning-rate", "0.003", "--out", "run", "--json", cwd=tmp_path)
    assert code == 0, err
    facts = json.loads(out)
    assert facts["run"] == "run" and facts["classes"] == ["banana", "lime"] and "notes.txt" in err
    code, out, err = mobilenet("quantize", "run", "--json", cwd=tmp_path)
    assert code == 0, err
    facts = json.loads(out)
    assert facts["int8_accuracy"] >= .75 and facts["agreement"] >= .75
    code, out, err = mobilenet("verify", "run/model.tflite", "fruit/banana", "-n", "4", cwd=tmp_path)
    assert code == 0 and out.startswith("PASS"), out + err
    code, out, err = mobilenet("verify", "run/model.tflite", "fruit/lime", "-n", "99", cwd=tmp_path)
    assert code == 1 and out.startswith("PASS") and "notes.txt" in err, "a file that is no photo is told, and the rest verified"
    code, out, err = mobilenet("classify", "fruit/banana/banana0.jpg", "--model", "run/model.tflite", "--top", "1", cwd=tmp_path)
    assert code == 0 and "banana" in out and "TensorSpec" not in err
    code, out, err = mobilenet("export", "--tflm", "app", "run/model.tflite", "--photo", "fruit/lime/lime1.jpg", cwd=tmp_path)
    assert code == 0 and (tmp_path / "app" / "main.cc").exists(), err
