"""What int8 costs a trained network, and which step of the quantization brings it back.

    python benchmarks/quantization.py RUN [RUN ...]    # folders of `mobilenet train`

writes quantization.csv, a row for each run and way to quantize, and quantization_layers.csv, the noise of each layer of the
first run. Accuracy and agreement are on the test photos, the signal-to-noise of the class scores on test photos too;
nothing is chosen by them. The interpreter's plain kernels without XNNPACK compute int8.
"""
import sys

import numpy as np
from record import record

from mobilenet_keras.photos import Photos
from mobilenet_keras.run import Run
from mobilenet_keras.tflite.model import Model
from mobilenet_keras.training import quantization as q


def ways(real, converted, inputs, rule):
    "Yields (name, model, its rule)."
    folded, seen = q.fold_input(rule), q.observe(real, inputs)
    yield "float", real, rule
    yield "converter", converted, rule
    yield "our numbers, no correction", q.requantize(real, converted, seen), rule
    yield "biases corrected", q.requantize(real, converted, seen, inputs=inputs), rule
    for method in q.CALIBRATORS:
        yield f"biases corrected, photo's bytes, {method}", q.requantize(real, converted, seen, method, inputs, folded), folded[3]
    for n in (30, 100):
        few = q._some(inputs, n)
        yield f"the same, min-max, {n} photos", q.requantize(real, converted, q.observe(real, few), "min-max", few, folded), folded[3]
    equal = q.equalize(real, seen)
    yield "equalized float", equal, rule
    yield "equalized, the same, min-max", q.requantize(equal, converted, q.observe(equal, inputs), "min-max", inputs, folded), folded[3]


def main():
    rows = []
    for folder in sys.argv[1:]:
        run = Run.open(folder)
        photos, rule = Photos.from_folder(**run.photos), run.preprocessing
        inputs = rule(photos.train.pixels[q.representative_photos(photos.train)])
        real, converted = Model(q.convert(run.net)), Model(q.convert(run.net, inputs))
        part, made = photos.test, {}
        truth = q._logits(real, part.pixels, rule)
        for name, model, own in ways(real, converted, inputs, rule):
            made[name], scores = (model, own), q._logits(model, part.pixels, own)
            noise = np.square(scores - truth).sum()
            rows.append(dict(network=run.net.name, seed=run.settings["seed"], way=name, photos=len(part),
                             db=round(float(10*np.log10(np.square(truth).sum()/noise)), 1) if noise else "",
                             accuracy=round(float((scores.argmax(1) == part.labels).mean()), 4),
                             agreement=round(float((scores.argmax(1) == truth.argmax(1)).mean()), 4)))
            print(rows[-1], flush=True)
            record(__file__, rows)
        if folder == sys.argv[1]:
            some = q._some(photos.validation.pixels, 60)
            before, after = (q.layer_sqnr(real, made[k][0].with_metadata(preprocessing=made[k][1]), some, rule)
                             for k in ("converter", "biases corrected, photo's bytes, min-max"))
            rows_of = (dict(op=a["op"], name=a["name"], converter_db=round(b["db"], 1), corrected_db=round(a["db"], 1),
                            converter_bias=round(b["bias"], 3), corrected_bias=round(a["bias"], 3)) for b, a in zip(before, after, strict=True))
            record(__file__, list(rows_of), "quantization_layers")


if __name__ == "__main__":
    main()
