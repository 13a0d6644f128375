"""20,000 broken `.tflite` files through our reader, and the first of them through LiteRT's interpreter, each in a process.

    python benchmarks/hostile_files.py          # prints a table and writes benchmarks/hostile_files.csv

A file counts as survived when it gives a model or one `MobileNetError`. Needs the real models in ../shared/models.
"""
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from helpers import mutations  # noqa: E402
from record import record  # noqa: E402

from mobilenet_keras.core import MobileNetError  # noqa: E402
from mobilenet_keras.tflite.model import Model, one_op_model  # noqa: E402

COUNTS = {"mlperf_tiny/vww_96_int8": 4000, "tflite_micro/person_detect": 4000, "coral/mobilenet_v1_0.25_128_quant": 3000,
          "coral/mobilenet_v2_1.0_224_quant": 1000, "tiny": 8000}  # 20,000 in all
PEER_COUNT = 100
PEER = """import sys; from ai_edge_litert.interpreter import Interpreter
try: Interpreter(sys.argv[1]).allocate_tensors()
except (ValueError, RuntimeError): sys.exit(3)"""


def ours(data):
    """("model" or "error", seconds) of reading `data` and everything that is said about it."""
    started = time.perf_counter()
    try:
        model = Model(data)
        repr(model), model._repr_html_(), model.metadata, model.classes, model.preprocessing, model.strip()
        outcome = "model"
    except MobileNetError:
        outcome = "error"
    return outcome, time.perf_counter() - started


def peer(data, folder):
    """How a process with LiteRT's interpreter ended: "model", "error" or "killed by signal N"."""
    path = folder / "broken.tflite"
    path.write_bytes(data)
    try:
        status = subprocess.run([sys.executable, "-c", PEER, path], capture_output=True, timeout=60).returncode
    except subprocess.TimeoutExpired:
        return "no answer in 60 s"
    return {0: "model", 3: "error"}.get(status, f"killed by signal {-status}" if status < 0 else f"exit {status}")


def measure():
    """One row for each source."""
    for name, count in COUNTS.items():
        data = Model(one_op_model()).with_metadata(map(str, range(10))).data if name == "tiny" else \
            (ROOT.parent / "shared/models" / f"{name}.tflite").read_bytes()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        results = [ours(broken) for broken in mutations(data, count)]
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        with tempfile.TemporaryDirectory() as folder:
            theirs = [peer(broken, Path(folder)) for broken in mutations(data, PEER_COUNT)]
        crashes = sum(t not in ("model", "error") for t in theirs)
        yield {"source": name, "file_bytes": len(data), "files": count, "models": sum(o == "model" for o, _ in results),
               "errors": sum(o == "error" for o, _ in results), "slowest_ms": round(max(s for _, s in results) * 1000),
               "mean_ms": round(sum(s for _, s in results) / count * 1000, 1), "memory_grown_kb": grown,
               "litert_files": PEER_COUNT, "litert_crashes": crashes}


if __name__ == "__main__":
    rows = list(measure())  # anything but a model or a MobileNetError ends this script with a traceback
    record(__file__, rows)
    for row in rows:
        print(f"{row['source']:36} {row['files']:6,} files: {row['models']:5,} models, {row['errors']:6,} errors, "
              f"mean {row['mean_ms']} ms, slowest {row['slowest_ms']} ms | LiteRT: {row['litert_crashes']} of {row['litert_files']} crashed")
