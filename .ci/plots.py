"""Plots of benchmarks/*.csv as SVG, drawn when the site is built: as wide as a phone, in the colors of the page's scheme."""
import csv
import html
import math
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
OURS, THEIRS, OTHER = "#00897b", "#9e9e9e", "#ef8e19"  # each on white and on black with a contrast of 2.5 or more
WIDTH = 380  # units, about a phone's pixels


def rows(name, **wanted):
    """The rows of a file whose columns are as wanted, numbers as numbers."""
    with (BENCHMARKS / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if all(row[k] == v for k, v in wanted.items()):
                yield {k: float(v) if v.replace(".", "", 1).isdigit() else v for k, v in row.items()}


def text(x, y, words, more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="currentColor" {more}>{html.escape(words)}</text>'


def drawing(height, parts, alt):
    """Parts as a picture; `alt` is for whom can't see it."""
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{html.escape(alt)}" '
            f'font-family="sans-serif" font-size="12">{"".join(parts)}</svg>')


def bars(groups, said, alt, most=None):
    """Horizontal bars: `groups` is [(heading, [(name, value, color)])], `said` writes a value."""
    most = most or max(value for _, found in groups for _, value, _ in found)
    left, room, y, parts = 108, 200, 4, []
    for heading, found in groups:
        parts.append(text(0, y + 12, heading, 'font-weight="bold"'))
        y += 20
        for name, value, color in found:
            parts += [text(left - 6, y + 11, name, 'text-anchor="end"'), text(left + max(1, room * value / most) + 5, y + 11, said(value)),
                      f'<rect x="{left}" y="{y}" width="{max(1, room * value / most):.1f}" height="14" fill="{color}"/>']
            y += 18
        y += 6
    return drawing(y, parts, alt)


def lines(curves, ticks, said, alt):
    """Curves over a logarithmic height: [(name, color, [(x, y)])]; `ticks`: the heights that are written."""
    left, top, width, height = 60, 8, WIDTH - 72, 210
    xs = sorted({x for _, _, points in curves for x, _ in points})
    x_of = lambda x: left + width * (x - xs[0]) / (xs[-1] - xs[0])  # noqa: E731
    y_of = lambda v: top + height * (1 - math.log(v / ticks[0]) / math.log(ticks[-1] / ticks[0]))  # noqa: E731
    parts = [p for v in ticks for p in (f'<path d="M{left} {y_of(v):.1f}h{width}" stroke="currentColor" stroke-opacity=".15"/>',
                                        text(left - 5, y_of(v) + 4, said(v), 'text-anchor="end"'))]
    parts += [text(x_of(x), top + height + 16, f"{x:.0f}", 'text-anchor="middle"') for x in xs]
    for i, (name, color, points) in enumerate(curves):
        at = [(x_of(x), y_of(v)) for x, v in points]
        parts.append(f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in at)}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{color}"/>' for x, y in at]
        y = top + height + 38 + 18 * i
        parts += [f'<rect x="{left}" y="{y - 10}" width="11" height="11" fill="{color}"/>', text(left + 17, y, name)]
    return drawing(top + height + 42 + 18 * len(curves), parts, alt)


def kilobytes(v):
    return f"{v / 1000:,.0f} KB" if v >= 10_000 else f"{v / 1000:.1f} KB"


def percent(v):
    return f"{v:.1f} %"


def millions(v):
    return f"{v / 1e6:,.0f} million"


def ram():
    found = {r["model"]: r for r in rows("ram")}
    kept = [(f"MobileNet{m.removesuffix('x3')}", found[m]) for m in ("V1 0.25 96x96x3", "V2 0.35 96x96x3", "V2 0.35 160x160x3")]
    groups = [(title, [("TFLM", r["tflm_arena_64_bit"], THEIRS), ("layer by layer", r["minimum_layer_by_layer"], OTHER),
                       ("engine", r["streamed"], OURS)]) for title, r in kept]
    times = min(r["tflm_arena_64_bit"] / r["streamed"] for _, r in kept)
    said = (f"The engine streams rows, and takes at least {times:.0f} times less than the arena that TensorFlow Lite Micro reports on a computer; "
            "*layer by layer* is what no runtime that keeps whole maps can go below.")
    return "Memory", said, "ram", bars(groups, kilobytes, alt_of("RAM of an inference", groups, kilobytes))


def speed():
    cores = {"cortex-m0plus": "Cortex-M0+ (Pico)", "cortex-m4": "Cortex-M4", "cortex-m55": "Cortex-M55"}
    found = {(r["core"], r["kernels"]): r for r in rows("tflm_real", layout="cmake", model="V2 0.35 96x96x3")}
    groups = [(title, [("TFLM", found[c, "reference"]["instructions"], THEIRS), ("with CMSIS-NN", found[c, "cmsis_nn"]["instructions"], OTHER),
                       ("engine", found[c, "cmsis_nn"]["engine_instructions"], OURS)]) for c, title in cores.items()]
    times = [with_arm[1] / engine[1] for _, (_, with_arm, engine) in groups]
    said = (f"One MobileNetV2 0.35 at 96x96, linked both ways and run on emulated boards: {min(times):.1f} to {max(times):.1f} times fewer "
            "instructions than with Arm's own kernels.")
    return "Instructions", said, "tflm_real", bars(groups, millions, alt_of("instructions of an inference", groups, millions))


def resolution():
    found = list(rows("ram_resolution", network="V2 0.35"))
    ways = {"tflm_arena_64_bit": ("TFLM", THEIRS), "minimum_layer_by_layer": ("least, layer by layer", OTHER),
            "image": ("the photo itself", "#8e6bbf"), "streamed": ("engine, rows streamed in", OURS)}
    curves = [(name, color, [(r["size"], r[key]) for r in found]) for key, (name, color) in ways.items()]
    first, last = found[0], found[-1]
    ends = [f"{name} from {kilobytes(first[key])} to {kilobytes(last[key])}" for key, (name, _) in ways.items()]
    alt = f"Four rising curves, RAM over the side of the photo from {first['size']:.0f} to {last['size']:.0f} pixels: {', '.join(ends)}."
    said = (f"Rings of rows grow with the side of the photo and not with its area: MobileNetV2 0.35 at {last['size']:.0f} pixels takes "
            f"{kilobytes(last['streamed'])}, {last['image'] / last['streamed']:.1f} times less than the photo itself.")
    ticks = 5000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000
    return "Larger photos", said, "ram_resolution", lines(curves, ticks, lambda v: f"{v / 1000:.0f} KB", alt)


def accuracy():
    sets = {"trash6": "Rubbish, 6 classes", "clothing10": "Clothes, 10 classes"}
    found = list(rows("fine_tune_summary", schedule="default"))
    groups = [(f"{sets[r['photos']]}, {r['size']:.0f} pixels",
               [("head alone", 100 * r["frozen"], THEIRS), ("whole network", 100 * r["full"], OTHER), ("int8", 100 * r["int8"], OURS)])
              for r in found]
    gains, lost = [100 * (r["full"] - r["frozen"]) for r in found], 100 * max(r["full"] - r["int8"] for r in found)
    said = (f"MobileNetV1 0.25 fine-tuned, means of three trainings: the whole network gets {min(gains):.0f} to {max(gains):.0f} points more test "
            f"photos right than its head alone, and int8 loses {lost:.1f} points at most.")
    return "Accuracy on small sets", said, "fine_tune_summary", bars(groups, percent, alt_of("test accuracy", groups, percent), 100)


def quantizing():
    ways = {"converter": "TensorFlow's converter", "biases corrected": "Biases corrected",
            "biases corrected, photo's bytes, min-max": "And the input's scale that of a photo's bytes"}
    found = {r["way"]: r for r in rows("quantization")}
    groups = [(title, [("same answer", 100 * found[w]["agreement"], OURS), ("right", 100 * found[w]["accuracy"], THEIRS)])
              for w, title in ways.items()]
    lost = 100 * (found["float"]["accuracy"] - found["converter"]["accuracy"])
    said = (f"TensorFlow's converter alone costs this network {lost:.0f} points of accuracy; with corrected biases int8 gives the float network's "
            f"answer on {100 * found['biases corrected']['agreement']:.0f} % of {found['float']['photos']:.0f} photos.")
    return "What int8 keeps", said, "quantization", bars(groups, percent, alt_of("share of the test photos", groups, percent), 100)


def alt_of(what, groups, said):
    """A sentence with all values: a bar chart has no more than that."""
    return f"Bars, {what}. " + " ".join(f"{heading}: {', '.join(f'{name} {said(v)}' for name, v, _ in found)}." for heading, found in groups)


PLOTS = ram, speed, resolution, accuracy, quantizing
