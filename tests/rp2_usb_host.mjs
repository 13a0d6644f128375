// Runs a Pico's firmware on rp2040js, with rp2040js's own host, USBCDC, at the other end of its cable.
// node rp2_usb_host.mjs MODULE IMAGE ADDRESS VECTORS SECONDS: standard input, which must not block, goes to the board once it is connected; what comes
// over the cable goes to standard output; at the end standard error has {uart, boot}. Signal USR1: 1200 bits a second, then DTR is dropped.
import { readFileSync, readSync, writeSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const [module, image, address, vectors, seconds] = process.argv.slice(2);
const { RP2040, USBCDC } = await import(pathToFileURL(module));
const XIP = 0x10000000, NANOSECONDS = 8, MILLISECOND = 25000; // a cycle at 125 MHz; instructions, about
const chip = new RP2040(), { core, clock, usbCtrl } = chip, silent = () => {};
chip.logger = { debug: silent, info: silent, warn: silent, error: silent };
chip.flash.set(readFileSync(image), Number(address) - XIP);
const table = new DataView(chip.flash.buffer, chip.flash.byteOffset + Number(vectors) - XIP);
core.VTOR = Number(vectors), core.SP = table.getUint32(0, true), core.PC = table.getUint32(4, true) & ~1;

let uart = '', connected = false, over = false, step = Infinity, offered = null, looked = null, boot = null;
const end = Date.now() + 1000 * Number(seconds), input = Buffer.alloc(256), cdc = new USBCDC(usbCtrl);
chip.uart[0].onByte = (byte) => { uart += String.fromCharCode(byte); };
cdc.onDeviceConnected = () => { connected = true; };
cdc.onSerialData = (bytes) => { writeSync(1, bytes); };
process.on('SIGUSR1', () => { step = 0; });

// USBCDC is asked for bytes once, when the board offers a buffer, and would send an empty packet; a real host waits until it has some.
const pull = usbCtrl.onEndpointRead;
usbCtrl.onEndpointRead = (endpoint, size) => { if (endpoint === cdc.outEndpoint) offered = [endpoint, size]; };

// The ROM's table of functions, a lookup that always finds the same, and that one, which stays where it is.
const TABLE = 0x80, LOOKUP = 0x100, FUNCTION = 0x200, rom = new DataView(chip.bootrom.buffer);
rom.setUint16(0x14, TABLE, true), rom.setUint16(0x18, LOOKUP | 1, true);
rom.setUint32(LOOKUP, 0x47704801, true), rom.setUint32(LOOKUP + 8, FUNCTION | 1, true); // ldr r0, [pc, #4]; bx lr
rom.setUint16(FUNCTION, 0xe7fe, true);

const take = () => {
  if (!connected || cdc.txFIFO.itemCount > 200) return;
  try {
    const n = readSync(0, input, 0, input.length, null);
    if (!n) over = true;
    for (let i = 0; i < n; i++) cdc.sendSerialByte(input[i]);
  } catch (e) { if (e.code !== 'EAGAIN') throw e; }
};
const touch = () => {
  if (step === 0) usbCtrl.sendSetupPacket(new Uint8Array([0x21, 0x20, 0, 0, 0, 0, 7, 0]));
  if (step === 4) usbCtrl.endpointReadDone(0, new Uint8Array([1200 & 255, 1200 >> 8, 0, 0, 0, 0, 8]));
  if (step === 8) usbCtrl.sendSetupPacket(new Uint8Array([0x21, 0x22, 2, 0, 0, 0, 0, 0]));
  step++;
};
while (!over && !boot && Date.now() < end) {
  for (let i = 0; i < MILLISECOND && !boot; i++) {
    if (core.PC === LOOKUP) looked = [core.registers[0] === TABLE, core.registers[1]];
    if (core.PC === FUNCTION) boot = [...looked, core.registers[0], core.registers[1]];
    clock.tick(core.executeInstruction() * NANOSECONDS);
  }
  usbCtrl.sofFrameNumber = usbCtrl.sofFrameNumber + 1 & 0x7ff;
  take(), touch();
  if (offered && cdc.txFIFO.itemCount) { const [endpoint, size] = offered; offered = null; pull(endpoint, size); }
  if (chip.clocks) await new Promise(setImmediate); // signals come between
}
process.stderr.write(JSON.stringify({ uart, boot }));
