"""Import times of the light modules beside the packages that they do without, in fresh processes of the same run.

    python benchmarks/import_time.py            # prints a table and writes benchmarks/import_time.csv
"""
import os
import statistics
import subprocess
import sys
import tempfile

from record import record

REPEATS = 7
MODULES = {  # module -> why it is in the table
    "numpy": "what every module needs",
    "mobilenet_keras": "ours",
    "mobilenet_keras.core": "ours",
    "mobilenet_keras.preprocessing": "ours",
    "mobilenet_keras.tflite.model": "ours",
    "mobilenet_keras.tflite.interpreters": "ours",
    "mobilenet_keras.cli": "ours",
    "tflite_runtime.interpreter": "peer",
    "ai_edge_litert.interpreter": "peer",
    "keras": "peer",
    "tensorflow": "peer",
}
CODE = """import sys, time; start = time.perf_counter(); __import__(sys.argv[1])
print(time.perf_counter() - start, len(sys.modules))"""


def once(module, folder):
    """(seconds, modules loaded) of importing `module` in a new process, or None where it can't be."""
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run([sys.executable, "-c", CODE, module], cwd=folder, env=quiet, capture_output=True, text=True)
    if done.returncode:
        return None
    seconds, loaded = done.stdout.split()[-2:]
    return float(seconds), int(loaded)


def measure():
    """One row for each module that is installed; rounds are interleaved, so that a busy moment hits them all."""
    with tempfile.TemporaryDirectory() as folder:  # from elsewhere: the installed package, not this folder
        here = [m for m in MODULES if once(m, folder)]  # fills the file cache, too
        runs = [{m: once(m, folder) for m in here} for _ in range(REPEATS)]
    for module in here:
        times = [run[module][0] * 1000 for run in runs]
        yield {"module": module, "kind": MODULES[module], "median_ms": f"{statistics.median(times):.1f}",
               "min_ms": f"{min(times):.1f}", "max_ms": f"{max(times):.1f}", "modules_loaded": runs[0][module][1],
               "processes": REPEATS, "python": ".".join(map(str, sys.version_info[:2]))}


if __name__ == "__main__":
    rows = list(measure())
    target = record(__file__, rows)
    print(f"{'module':32}{'median':>10}{'min':>10}{'max':>10}   modules loaded")
    for row in rows:
        times = "".join(f"{row[key]:>7} ms" for key in ("median_ms", "min_ms", "max_ms"))
        print(f"{row['module']:32}{times}   {row['modules_loaded']}")
    print(f"Medians of {REPEATS} processes each; written to {target.name}.")
