// Runs a firmware for the RP2040 on rp2040js, which emulates the chip but has no boot ROM: it starts at the vector table.
// node rp2040js.mjs MODULE IMAGE ADDRESS VECTORS TICK SECONDS: prints {said, marks}, marks being [instructions, cycles] at each
// reading of the counter at TICK.
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const [module, image, address, vectors, tick, seconds] = process.argv.slice(2);
const { RP2040 } = await import(pathToFileURL(module));
const XIP = 0x10000000, NANOSECONDS = 8; // a cycle at 125 MHz
const chip = new RP2040(), { core, clock } = chip, silent = () => {};
chip.logger = { debug: silent, info: silent, warn: silent, error: silent };
chip.flash.set(readFileSync(image), Number(address) - XIP);

const table = new DataView(chip.flash.buffer, chip.flash.byteOffset + Number(vectors) - XIP);
core.VTOR = Number(vectors);
core.SP = table.getUint32(0, true);
core.PC = table.getUint32(4, true) & ~1;

let said = '', instructions = 0;
const marks = [], read = chip.readUint32.bind(chip), end = Date.now() + 1000 * Number(seconds);
chip.uart[0].onByte = (byte) => { said += String.fromCharCode(byte); };
chip.readUint32 = (at) => {
  if (at === Number(tick)) marks.push([instructions, core.cycles]);
  return read(at);
};
while (!/\n(ready|fault)\n$/.test(said) && Date.now() < end)
  for (let i = 0; i < 4096; i++, instructions++) clock.tick(core.executeInstruction() * NANOSECONDS);
process.stdout.write(JSON.stringify({ said, marks }));
