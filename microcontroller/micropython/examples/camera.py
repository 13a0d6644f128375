# Classifies what a camera sees, row by row as the rows come in: no frame is ever held.
# `camera.rows(callback)` stands for your driver: it calls back with each row of an RGB565 picture as the DMA has it.
# Untested on hardware: where rows come faster than the model takes them, lower the camera's clock.
import camera
import mobilenet

model = mobilenet.Model("model.mbn")  # on ROMFS: "/rom/model.mbn", which takes no heap
height, width, channels = model.input_shape
top, left = (camera.height - height) // 2, (camera.width - width) // 2  # the middle of the picture


def on_row(y, row):
    """A camera's row y, 2 bytes a pixel: the part that the model wants."""
    if top <= y < top + height:
        model.push_row(memoryview(row)[2 * left : 2 * (left + width)], mobilenet.RGB565)


def classify():
    """The best class of the next picture, and its score."""
    model.begin()
    camera.rows(on_row)
    model.finish()
    return model.top(1)[0]


print(*classify())
