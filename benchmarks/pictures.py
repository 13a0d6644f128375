"""The two pictures of README: what `mobilenet demo` has just done, and the RAM of networks beside that of boards.

    python benchmarks/pictures.py         # runs the demo, some minutes; writes both
    python benchmarks/pictures.py ram     # the second alone, of ram.csv, in a second

Writes nbs/pictures/demo.png (test photos with their answers, the training's curve, float beside int8, what an emulated Pico answers) and
nbs/pictures/ram.svg.
"""
import csv
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PICTURES = HERE.parent / "nbs" / "pictures"
OURS, TFLM, INK, FAINT = "#00897b", "#f4a259", "#37474f", "#90a4ae"
NETWORKS = ("V1 0.25 96x96x3", "V2 0.35 96x96x3", "V2 0.35 160x160x3", "V2 0.35 224x224x3", "V2 1.0 224x224x3")
LIMITS = ("microbit", "nucleo-f446re", "pico", "pico2")  # boards whose RAM is drawn as a line


def strip(target):
    """Four panels of one run of the demo: six test photos, the curve, float beside int8, and what an emulated Pico answers."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    from mobilenet_keras.demo import demo, digits
    from mobilenet_keras.mcu.firmware import build
    from mobilenet_keras.mcu.simulate import simulate
    from mobilenet_keras.run import Run
    from mobilenet_keras.tflite.interpreters import Classifier
    from mobilenet_keras.tflite.model import Model
    with tempfile.TemporaryDirectory() as folder:
        facts, test = demo(Path(folder) / "run"), digits().test
        history, model = Run.open(Path(folder) / "run").history, Model.open(facts["model"])
        said = np.stack([p.probabilities for p in Classifier(model).predict(test.pixels)])
        board = simulate(build(model, "pico", test.pixels[0]))
    wrong = np.flatnonzero(said.argmax(1) != test.labels)[:1]  # one of its mistakes belongs to the picture
    colors = {"text.color": INK, "axes.edgecolor": FAINT, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "font.size": 11}
    with plt.rc_context(colors):
        fig = plt.figure(figsize=(12.8, 3.1), dpi=120, facecolor="white")
        whole = fig.add_gridspec(1, 4, width_ratios=(1.15, 1.25, .75, 1.35), wspace=.3, left=.015, right=.985, top=.8, bottom=.17)
        for x, title in zip((.015, .272, .562, .745), ("your photos", "fine-tuned", "in int8", "on an emulated Pico")):
            fig.text(x, .91, title, fontsize=13, weight="bold")
        photos = whole[0].subgridspec(2, 3, hspace=.45, wspace=.1)
        for cell, i in zip(photos, (*range(6 - len(wrong)), *wrong)):
            ax, right = fig.add_subplot(cell), said[i].argmax() == test.labels[i]
            ax.imshow(test.pixels[i][:, :, 0], cmap="gray_r")
            ax.set_title(f"{said[i].argmax()}  {said[i].max():.0%}", fontsize=10, color=INK if right else "#c62828", pad=3)
            ax.set(xticks=[], yticks=[])
        ax = fig.add_subplot(whole[1])
        for key, label, color in (("accuracy", "training", FAINT), ("validation_accuracy", "validation", OURS)):
            ax.plot(range(1, len(history) + 1), [100 * row[key] for row in history], color=color, label=label, lw=2)
        ax.set(xlabel="epoch", ylabel="% right", ylim=(0, 102))
        ax.legend(frameon=False, loc="lower right")
        ax = fig.add_subplot(whole[2])
        values = [100 * facts["float_accuracy"], 100 * facts["int8_accuracy"]]
        for bar, value in zip(ax.bar(["float", "int8"], values, color=[FAINT, OURS], width=.6), values):
            ax.text(bar.get_x() + bar.get_width() / 2, value + 1.5, f"{value:.1f} %", ha="center")
        ax.set(ylim=(0, 112), yticks=[], xlabel=f"{facts['n']} test photos")
        ax = fig.add_subplot(whole[3])
        ax.barh(range(10), 100 * board.probabilities, color=OURS, height=.7)
        ax.set(yticks=range(10), xlim=(0, 100), xlabel="%")
        ax.invert_yaxis()
        if not board.as_built:
            raise SystemExit("the emulated Pico computes other bytes than the notebook")
        fact = f"{board.arena_bytes / 1000:.1f} KB of RAM\n{board.instructions / 1e6:.1f} M instructions\nthe notebook's bytes"
        ax.text(98, 9.3, fact, ha="right", va="bottom", fontsize=10)
        for ax in fig.axes[6:]:
            ax.spines[["top", "right"]].set_visible(False)
        fig.savefig(target)


def bars(rows, boards):
    """An SVG: for each network, RAM with our engine and with TensorFlow Lite Micro, on a logarithmic scale, and boards' RAM as lines."""
    import math
    left, width, step, top = 200, 500, 44, 56
    height = step * len(rows)
    x = lambda n: left + width * math.log(n / 8e3) / math.log(2.4e6 / 8e3)  # noqa: E731
    halo = 'paint-order="stroke" stroke="white" stroke-width="4"'  # a figure on a line can be read
    text = lambda x, y, s, how="", size=13: f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" {halo} {how}>{s}</text>'  # noqa: E731
    end, middle = 'text-anchor="end"', 'text-anchor="middle"'
    parts = ['<rect width="100%" height="100%" rx="8" fill="white"/>']
    for board in boards:
        at = x(board.usable_ram)
        parts += [f'<path d="M{at:.1f} {top - 8}V{top + height}" stroke="{FAINT}" stroke-dasharray="4 3"/>',
                  text(at, top - 26, board.name.split(" ", 1)[1].removeprefix("Pi "), middle, 11),
                  text(at, top - 13, f"{board.usable_ram / 1000:,.0f} KB", middle, 11)]
    for i, row in enumerate(rows):
        y = top + i * step
        name, kb = row["model"].rsplit("x", 1)[0], lambda key, row=row: int(row[key]) / 1000
        parts.append(text(left - 10, y + 24, f"MobileNet{name}", end))
        for k, (key, color) in enumerate((("streamed", OURS), ("tflm_arena_64_bit", TFLM))):
            wide = x(int(row[key])) - left
            parts += [f'<rect x="{left}" y="{y + 4 + 16 * k}" width="{wide:.1f}" height="14" rx="2" fill="{color}"/>',
                      text(left + wide + 5, y + 15.5 + 16 * k, f"{kb(key):,.1f} KB" if kb(key) < 100 else f"{kb(key):,.0f} KB", size=11)]
    y = top + height + 22
    for i, (label, color) in enumerate((("mobilenet-keras, rows streamed in", OURS), ("TensorFlow Lite Micro, its arena", TFLM))):
        at = left + 260 * i
        parts.append(f'<rect x="{at}" y="{y - 10}" width="11" height="11" fill="{color}"/>' + text(at + 17, y, label, size=12))
    what = "RAM of five MobileNets with mobilenet-keras and with TensorFlow Lite Micro, beside the RAM of four boards; the scale is logarithmic"
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 780 {y + 14}" width="780" role="img" aria-label="{what}" '
            f'font-family="sans-serif" fill="{INK}"><title>{what}</title>{"".join(parts)}</svg>\n')


def ram():
    """`bars` of what ram.csv holds."""
    from mobilenet_keras.boards import BOARDS
    with open(HERE / "ram.csv", newline="", encoding="utf-8") as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    return bars([rows[name] for name in NETWORKS], [BOARDS[name] for name in LIMITS])


def main(what=""):
    PICTURES.mkdir(exist_ok=True)
    (PICTURES / "ram.svg").write_text(ram(), encoding="utf-8")
    print(f"wrote {PICTURES / 'ram.svg'}")
    if what != "ram":
        strip(PICTURES / "demo.png")
        print(f"wrote {PICTURES / 'demo.png'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
