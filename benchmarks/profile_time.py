"""How long a profile takes, file to live MACs, on the models in ../shared/models: medians of repeated reads in one process.

    python benchmarks/profile_time.py           # prints a table and writes benchmarks/profile_time.csv
"""
import statistics
import sys
import time
from pathlib import Path

from record import record

from mobilenet_keras.tflite.profile import profile

REPEATS = 9
MODELS = Path(__file__).resolve().parent.parent.parent / "shared" / "models"
NAMES = ["tflite_micro/person_detect", "mlperf_tiny/vww_96_int8", "coral/mobilenet_v1_0.25_128_quant",
         "coral/mobilenet_v1_0.5_160_quant", "coral/mobilenet_v2_1.0_224_quant"]


def once(path):
    """Milliseconds until (the rows and RAM, the live MACs, TFLM's plan) are there, each after the one before."""
    start = time.perf_counter()
    found = profile(path)
    rows = time.perf_counter()
    assert found.live_macs
    live = time.perf_counter()
    assert found.arena_plan
    return [(t - start) * 1000 for t in (rows, live, time.perf_counter())]


def measure():
    """One row a model."""
    for name in NAMES:
        path = MODELS / f"{name}.tflite"
        once(path)  # imports the schema and fills the file cache
        runs = [once(path) for _ in range(REPEATS)]
        rows, live, plan = (statistics.median(run[i] for run in runs) for i in range(3))
        yield {"model": path.stem, "file_bytes": path.stat().st_size, "rows_ms": f"{rows:.1f}", "with_live_macs_ms": f"{live:.1f}",
               "with_arena_plan_ms": f"{plan:.1f}", "repeats": REPEATS, "python": ".".join(map(str, sys.version_info[:2]))}


if __name__ == "__main__":
    if not MODELS.exists():
        sys.exit(f"This needs the models in {MODELS}.")
    rows = list(measure())
    target = record(__file__, rows)
    for row in rows:
        print(f"{row['model']:32}{row['rows_ms']:>8} ms{row['with_live_macs_ms']:>8} ms{row['with_arena_plan_ms']:>8} ms")
    print(f"Rows, with live MACs, with TFLM's plan: medians of {REPEATS}; written to {target.name}.")
