"""Writes pip_only.csv: from an empty environment to a model on an emulated Pico, with nothing but pip, stage by stage.

    python benchmarks/pip_only.py [MODEL.tflite]     # default: the person detector of ../shared, else a small network of noise

A new virtual environment, an empty cache of the compiler, and a PATH that has nothing else on it. CPU seconds are what a stage costs on
any machine like this one; wall seconds include what others did on it, and the package index. pip's own cache is as it was.
"""
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import record

ROOT = Path(__file__).resolve().parent.parent
PERSON = ROOT.parent / "shared/models/tflite_micro/person_detect.tflite"
SMALL = "from mobilenet_keras.tflite.builder import example; example((1, 96, 96, 3)).save('model.tflite')"


def stage(name, command, environment, folder):
    """One row."""
    used, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True)
    now, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - start
    assert not done.returncode, f"{name}: {done.stderr[-2000:]}"
    cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    print(f"{name:10} {wall:6.1f} s, {cpu:5.1f} s of CPU", flush=True)
    return {"stage": name, "wall_s": round(wall, 1), "cpu_s": round(cpu, 1)}, done.stdout


def main(model):
    with tempfile.TemporaryDirectory() as folder:
        bin = Path(folder) / "venv" / ("Scripts" if os.name == "nt" else "bin")
        subprocess.run([sys.executable, "-m", "venv", Path(folder) / "venv"], check=True)
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
        environment |= {"PATH": str(bin), "ZIG_GLOBAL_CACHE_DIR": f"{folder}/zig"}
        install, _ = stage("install", [bin / "pip", "install", "--quiet", f"{ROOT}[mcu]"], environment, folder)
        if model is None:
            subprocess.run([bin / "python", "-c", SMALL], cwd=folder, env=environment, check=True)
            model = Path(folder) / "model.tflite"
        build, _ = stage("build", [bin / "mobilenet", "build", model, "--board", "pico", "-o", "firmware.elf"], environment, folder)
        simulate, said = stage("simulate", [bin / "mobilenet", "simulate", "firmware.elf"], environment, folder)
    print(said)
    rows = [install, build, simulate]
    rows.append({"stage": "together", **{k: round(sum(r[k] for r in rows), 1) for k in ("wall_s", "cpu_s")}})
    print(f"together {rows[-1]['wall_s']} s, {rows[-1]['cpu_s']} s of CPU")
    record(__file__, rows)
    assert rows[-1]["cpu_s"] < 60


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else PERSON if PERSON.exists() else None)
