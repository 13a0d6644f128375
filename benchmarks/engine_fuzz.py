"""Hostile `.mbn` files: libFuzzer changes header, tables and constants of sound ones and repairs sizes and checksum, and the engine
checks, opens and runs what comes, under the address and undefined-behaviour sanitizers, in exactly the memory that the file asks for.

    python benchmarks/engine_fuzz.py [MINUTES] [--corpus]  # 10 by default; needs clang; writes benchmarks/engine_fuzz.csv

Stops at the first file that makes the engine read or write astray, compute what C does not define, hang, or answer wrongly, and
prints what the sanitizer says. --corpus also replaces tests/engine_corpus, which the tests replay, by the fewest files that reach all
that was reached; found_*, which once made the engine go astray, stay.
"""
import itertools
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from engine_models import SMALL, WARNINGS  # noqa: E402
from record import record  # noqa: E402

from mobilenet_keras.core import text_table  # noqa: E402
from mobilenet_keras.engine.engine import engine_sources  # noqa: E402
from mobilenet_keras.engine.layouts import LAYOUTS  # noqa: E402
from mobilenet_keras.engine.mbn import compile_model  # noqa: E402
from mobilenet_keras.preprocessing import Preprocessing  # noqa: E402
from mobilenet_keras.tflite.builder import Builder  # noqa: E402

MINUTES = next((float(a) for a in sys.argv[1:] if not a.startswith("-")), 10)
CORPUS = ROOT / "tests/engine_corpus"
KINDS = ("streamed", "held")
LARGEST = 6000  # bytes of a seed: small files are changed where it matters, and run fast
SANITIZED = ["-std=c99", "-g", "-O1", "-DMBN_EVERY_LAYOUT", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def built(folder):
    """The fuzzer. Only the engine is instrumented for coverage, so that edges are the engine's."""
    for source in (ROOT / "tests/engine_fuzzer.c", *(p for p in engine_sources() if p.suffix == ".c")):
        coverage = [] if source.parent.name == "tests" else ["-fsanitize=fuzzer-no-link"]
        subprocess.run(["clang", *WARNINGS, *SANITIZED, *coverage, "-c", source, "-o", folder / f"{source.stem}.o"], check=True)
    subprocess.run(["clang", "-fsanitize=fuzzer,address,undefined", *folder.glob("*.o"), "-o", folder / "fuzzer"], check=True)
    return folder / "fuzzer"


def seeds(folder):
    """Every kind of small model, with maps as small as its kernels allow, and four bytes each of how it is abused."""
    folder.mkdir()
    smaller = lambda name, n: n if n < 4 else n // 8 + (26 if name.startswith(("strange", "dilated")) else 9)  # noqa: E731
    models = [make((1, *(smaller(name, n) for n in shape[1:3]), shape[3]), 0) for name, (make, shape) in SMALL.items()]
    b = Builder((1, 13, 11, 3)).conv(4, 3, 2).inverted_residual(4, 1, 2).inverted_residual(6, 2, 2).inverted_residual(6, 1, 2)
    models.append(b.conv(8).mean().dense(3).softmax().model())
    for preset, channels in (("caffe", 3), ("keras", 1)):  # class names and a table of pixels
        make, rule = SMALL["v1"][0], Preprocessing.preset(preset, 13, channels)
        models.append(make((1, 13, 13, channels), 1).with_metadata([f"class {i}" for i in range(6)] + ["pâté"], rule))
    for number, model in enumerate(models):
        ways = [(kind, slack, "portable") for kind in KINDS for slack in (0, .06, 10)] + [(KINDS[number % 2], .06, name) for name in LAYOUTS]
        for kind, slack, layout in ways:
            data = compile_model(model, kind, slack, layout=layout).data
            if len(data) <= LARGEST:
                (folder / f"{number}_{kind}_{slack}_{layout}").write_bytes(data + bytes([255 if slack else 2, 0 if slack else 3, number, 3]))
    start = lambda: Builder((1, 3, 4, 2))  # noqa: E731
    tiny = [start().conv(2), start().softmax(), start().logistic(), start().depthwise(), start().mean()]
    for number, builder in enumerate(tiny):
        for kind, layout in itertools.product(KINDS, LAYOUTS):
            data = compile_model(builder.model(), kind, layout=layout).data
            (folder / f"tiny_{number}_{kind}_{layout}").write_bytes(data + bytes([1, 0, number, 1]))


def run(fuzzer, *args):
    """(what libFuzzer said, inputs that failed)."""
    limits = ["-cross_over=0", "-len_control=0", "-max_len=8192", "-timeout=10", "-rss_limit_mb=2048"]
    done = subprocess.run([fuzzer, *limits, *map(str, args)], capture_output=True, text=True, errors="replace", cwd=fuzzer.parent)
    return done.stderr, [p for p in fuzzer.parent.iterdir() if p.name.startswith(("crash-", "timeout-", "oom-", "leak-"))]


def measure(folder):
    """One row: what ten minutes did."""
    fuzzer, corpus, least = built(folder), folder / "corpus", folder / "least"
    seeds(corpus)
    for file in CORPUS.glob("*"):
        shutil.copy(file, corpus)
    said, failures = run(fuzzer, f"-max_total_time={round(MINUTES * 60)}", "-print_final_stats=1", "-seed=1", corpus)
    if failures:
        sys.exit(f"{said[-6000:]}\nKept: {[shutil.copy(p, Path.cwd()) for p in failures]}")
    least.mkdir()
    run(fuzzer, "-set_cover_merge=1", "-use_counters=0", least, corpus)
    edges, features = map(int, re.findall(r"cov: (\d+) ft: (\d+)", said)[-1])
    found = dict(re.findall(r"stat::(\w+):\s+(\d+)", said))
    row = {"executions": int(found["number_of_executed_units"]), "seconds": int(re.findall(r"Done \d+ runs in (\d+) second", said)[-1]),
           "edges": edges, "features": features, "files": len(list(corpus.iterdir())), "least_files": len(list(least.iterdir())),
           "least_bytes": sum(p.stat().st_size for p in least.iterdir()), "failures": len(failures),
           "slowest_s": int(found["slowest_unit_time_sec"]), "peak_mb": int(found["peak_rss_mb"])}
    if "--corpus" in sys.argv:
        for file in CORPUS.glob("*"):
            if not file.name.startswith("found_"):
                file.unlink()
        shutil.copytree(least, CORPUS, dirs_exist_ok=True)
    return row


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        row = measure(Path(name))
    target = record(__file__, [row])
    print(text_table(row, [row.values()]))
    print(f"Written to {target.name}.")
