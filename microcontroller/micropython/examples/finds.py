# Says what is where in a picture, for a model that finds things, as `mobilenet build` lets a board say it.
# `mobilenet micropython flash` and `export` put what begins with LEAST into such a model's main.py, with its threshold.
import mobilenet

model = mobilenet.Model("model.mbn")
height, width, channels = model.input_shape
model.predict(bytearray(height * width * channels))  # a black picture: draw, read or receive yours into it

LEAST = 0  # the least score of a cell in which something is


def peaks(scores, shape, least):
    """(score, row, column, class) of each thing, the surest first: cells that no neighbour exceeds; of equals the first."""
    h, w, c = shape
    best = [max(scores[i : i + c]) for i in range(0, h * w * c, c)]
    found = []
    for i, score in enumerate(best):
        y, x = divmod(i, w)
        if score < least:
            continue
        around = [j * w + k for j in range(max(y - 1, 0), min(y + 2, h)) for k in range(max(x - 1, 0), min(x + 2, w))]
        if all((best[j], -j) <= (score, -i) for j in around):
            found.append((-score, i))
    return [(-s, i // w, i % w, list(scores[i * c : i * c + c]).index(-s)) for s, i in sorted(found)]


def middle(cell, cells):
    """In thousandths of the picture's width or height."""
    return ((2 * cell + 1) * 1000 + cells) // (2 * cells)


found = peaks(model.scores, model.output_shape, LEAST)
print("found", len(found) or "nothing")
for score, y, x, label in found[:10]:
    percent, (h, w, _) = ((score + 128) * 100 + 128) >> 8, model.output_shape
    print(f"{model.labels[label]} {percent} % at x {middle(x, w)}, y {middle(y, h)} of 1000")
