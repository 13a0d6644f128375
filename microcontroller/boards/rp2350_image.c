/* What the RP2350's ROM looks for in the first 4 KB of the flash: "an executable for Arm, secure, for this chip" (RP2350
 * datasheet, section 5.9.5.1). The vectors stand at the start of the flash. */
#include <stdint.h>

__attribute__((section(".image_definition"), used)) const uint32_t image_definition[5] = {
  0xffffded3, /* begin */
  0x10210142, /* IMAGE_DEF, one word: EXE, secure, Arm, RP2350 */
  0x000001ff, /* last item: one word of items in all */
  0,          /* the next block is this one */
  0xab123579, /* end */
};
