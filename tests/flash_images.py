"""Images of programs that flash takes, without code, and folders that look like boards' disks."""
import struct

import numpy as np

from mobilenet_keras.engine.engine import Engine
from mobilenet_keras.engine.mbn import compile_model
from mobilenet_keras.mcu.elf import boot2_crc
from mobilenet_keras.tflite.builder import example
from mobilenet_keras.tflite.inputs import noise_photos

RP2040, RP2350 = 0xE48BFF56, 0xE48BFF59


INFO = {"rp2040": "UF2 Bootloader v3.0\nModel: Raspberry Pi RP2\nBoard-ID: RPI-RP2\n",
        "rp2350": "UF2 Bootloader v1.0\nModel: Raspberry Pi RP2350\nBoard-ID: RP2350\n"}


DETAILS = "# DAPLink Firmware - see https://mbed.com/daplink\r\nUnique ID: 9904360249124e45005c600f00000047000000009796990b\r\nHIC ID: 9796990b\r\n"


IMAGE_DEFINITION = struct.pack("<5I", 0xffffded3, 0x10210142, 0x1ff, 0, 0xab123579)  # of an RP2350, as pico-sdk writes it


def contents(board="pico", base=0x10000000, boot=True):
    """The flash of a board with a console app: a second stage, an image definition, the parts, but no code."""
    engine, model = Engine(example()), example()
    mbn, photo = compile_model(model).data, noise(engine)
    parts, places = struct.pack("<II", 0x20001000, base + 9) + IMAGE_DEFINITION + bytes(36), []  # vectors, where there is no second stage
    for part in (mbn, struct.pack("<I", len(mbn)), photo.tobytes(), engine.run(photo).tobytes(), struct.pack("<I", engine.run(photo).size),
                 board.encode() + b"\0", b"example\0", b"0.1.0\0"):
        places.append(base + 256 * boot + len(parts))
        parts += part + bytes(-len(part) % 4)
    stage = bytes(252) + struct.pack("<I", boot2_crc(bytes(252)))
    return stage * boot + parts + b"MBN-APP1" + struct.pack("<8I", *places)


def noise(engine):
    return (noise_photos(1, *engine.shape)[0].astype(np.int16) - 128).astype(np.int8)


def write(path, data):
    path.write_bytes(data)
    return path


def boot_disk(folder, chip="rp2040"):
    """A folder that looks like the disk of a boot loader, and takes notice of nothing."""
    folder.mkdir()
    (folder / "INFO_UF2.TXT").write_text(INFO[chip])
    return folder
