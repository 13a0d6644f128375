# Classifies a photo from a file: a binary PPM or PGM, a BMP of 24 bits, or the model's own int8 values (.raw), in the
# model's size. A row at a time, so that the photo needs no memory but a row's.
import mobilenet

MODEL, PHOTO = "model.mbn", "photo.ppm"


def numbers(f):
    """The next three numbers of a PPM's header."""
    found = []
    while len(found) < 3:
        line = f.readline()
        if not line:
            raise ValueError("The photo is cut short.")
        found += [int(n) for n in line.split(b"#")[0].split()]
    if found[2] != 255:
        raise ValueError("Wanted a photo of 8 bits a channel.")
    return found


def rows(path, shape):
    """The rows of a photo, in one buffer that is used again."""
    h, w, c = shape
    row, step, start, down, bmp = bytearray(w * c), w * c, 0, True, False
    with open(path, "rb") as f:
        kind = f.read(2)
        if path.endswith(".raw"):
            found = w, h
        elif kind == (b"P6" if c == 3 else b"P5"):
            found = tuple(numbers(f)[:2])
            start = f.tell()
        elif kind == b"BM" and c == 3:
            head = kind + f.read(52)
            if head[28:34] != b"\x18\0\0\0\0\0":
                raise ValueError("Wanted a BMP of 24 bits without compression.")
            start, width, height = (int.from_bytes(head[i : i + 4], "little") for i in (10, 18, 22))
            down, bmp, step = height >> 31 == 1, True, (w * 3 + 3) & ~3
            found = width, (1 << 32) - height if down else height
        else:
            raise ValueError(f"{path} is no {'PPM (P6), BMP or .raw' if c == 3 else 'PGM (P5) or .raw'} file.")
        if found != (w, h):
            raise ValueError(f"{path} has {found[0]}x{found[1]} pixels, and the model takes {w}x{h}.")
        for y in range(h):
            f.seek(start + step * (y if down else h - 1 - y))
            if f.readinto(row) != len(row):
                raise ValueError(path + " is cut short.")
            if bmp:
                for x in range(0, len(row), 3):
                    row[x], row[x + 2] = row[x + 2], row[x]  # blue comes first in a BMP
            yield row


model = mobilenet.Model(MODEL)
model.begin()
for row in rows(PHOTO, model.input_shape):
    if PHOTO.endswith(".raw"):
        model.push_row(row, mobilenet.INT8)
    else:
        model.push_row(row)
model.finish()
for label, score in model.top(3):
    print(label, score)
