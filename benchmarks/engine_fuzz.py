"""Hostile `.mbn` files: header, tables and constants of sound ones changed and the checksum repaired, opened and run by the engine
under the address and undefined-behaviour sanitizers, in exactly the memory that the file asks for.

    python benchmarks/engine_fuzz.py [MINUTES]  # 10 by default; prints a table and writes benchmarks/engine_fuzz.csv

Stops at the first file that makes the engine read or write astray, compute what C does not define, or hang.
"""
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from record import record  # noqa: E402
from test_engine import SMALL, WARNINGS  # noqa: E402

from mobilenet_keras.compiler import compile_model, engine_sources  # noqa: E402
from mobilenet_keras.core import text_table  # noqa: E402

MINUTES = float(sys.argv[1]) if len(sys.argv) > 1 else 10
NAMES = ("v2", "strange", "shortcuts", "padded", "yes or no")
BATCH = 2000


def measure(folder):
    """One row a model and kind of input."""
    harness, sources = folder / "harness", [str(p) for p in engine_sources() if p.suffix == ".c"]
    sanitized = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    subprocess.run(["gcc", *WARNINGS, *sanitized, str(ROOT / "tests/engine_harness.c"), *sources, "-o", harness], check=True)
    share = MINUTES * 60 / len(NAMES) / 2
    for name in NAMES:
        make, shape = SMALL[name]
        for kind in ("streamed", "held"):
            file, seen, started, seed = compile_model(make(shape, 0), kind).save(folder / "m.mbn"), {}, time.monotonic(), 1
            while time.monotonic() - started < share:
                done = subprocess.run([harness, "fuzz", file, str(BATCH), str(seed)], capture_output=True, text=True, timeout=600)
                if done.returncode:
                    sys.exit(f"{name}, {kind}, seed {seed}:\n{done.stderr}")
                for line in done.stdout.splitlines():
                    status, count = map(int, line.split()[:2])
                    seen[status] = seen.get(status, 0) + count
                seed += 1
            yield {"model": name, "input": kind, "files": sum(seen.values()), "ran": seen.get(0, 0), "contradictions": seen.get(7, 0),
                   "other_statuses": sum(seen.values()) - seen.get(0, 0) - seen.get(7, 0), "seconds": round(time.monotonic() - started)}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        rows = list(measure(Path(name)))
    target = record(__file__, rows)
    print(text_table(rows[0], [row.values() for row in rows]))
    print(f"Written to {target.name}.")
