# Runs a model in place from ROMFS: `mobilenet micropython flash model.tflite --place romfs` puts it there.
# Only the arena is on the heap, and it can be yours: given once, it is never moved or freed.
import gc

import mobilenet

gc.collect()
before = gc.mem_alloc()
model = mobilenet.Model("/rom/model.mbn")
gc.collect()
print("model:", model.model_bytes, "bytes, arena:", model.arena_bytes, "bytes, heap:", gc.mem_alloc() - before, "bytes")

height, width, channels = model.input_shape
image = bytearray(height * width * channels)  # a black picture: draw, read or receive yours into it
model.predict(image)
print(model.top(1)[0])
