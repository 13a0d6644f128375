/* The console: a model on a serial line.
 *
 *   Messages are SLIP frames (RFC 1055), END before and after, so that garbage ends at the next message:
 *
 *       END | command, sequence, argument (2) | data ... | CRC-32 (4) | END      a request
 *       END | command + 0x80, sequence, status, 0 | data ... | CRC-32 (4) | END  its answer
 *
 *   Numbers are little-endian; the CRC is that of IEEE 802.3, over all that stands before it. A status other than 0 is
 *   followed by a sentence that says why. An answer repeats the sequence number of its request, and every request may be
 *   sent twice with the same effect, so a client that hears nothing sends it again. What is garbled is answered by command
 *   0x80, CONSOLE_GARBLED. Text between frames is for people.
 *
 *       identify   -> console_identity, mbn_output[outputs], then board, model, version, labels and the model's
 *                     metadata, which is JSON, each with a 0 behind it
 *       self-test  -> console_result of the built-in photo, then the outputs, int8, one behind the other
 *       begin      -> nothing
 *       row y, int8 (in_w, in_c)
 *                  -> nothing
 *       finish     -> likewise, of the rows
 *       leave      -> nothing; an emulated board ends
 *       chip       -> uint32: the chip's kind and revision, where the board can tell
 *       boot       -> nothing; then the boot loader waits for an image, where the chip has one
 */
#ifndef CONSOLE_H
#define CONSOLE_H
#include "../engine/mbn.h"
#ifdef __cplusplus
extern "C" {
#endif

#define CONSOLE_PROTOCOL 2

enum { CONSOLE_IDENTIFY = 1, CONSOLE_SELF_TEST, CONSOLE_BEGIN, CONSOLE_ROW, CONSOLE_FINISH, CONSOLE_LEAVE, CONSOLE_BOOT, CONSOLE_CHIP };

/* status: the engine's, or one of these. */
#define CONSOLE_STATUSES(X) \
  X(CONSOLE_GARBLED, "The message was garbled: send it again.") \
  X(CONSOLE_UNKNOWN, "There is no such command.") \
  X(CONSOLE_LENGTH, "The message is longer or shorter than its command needs.") \
  X(CONSOLE_OUT_OF_ORDER, "Another row was expected.") \
  X(CONSOLE_ROW_TOO_LONG, "A row is longer than the console's buffer, app_message: build the app again.")
#define CONSOLE_NAME(name, sentence) name,
enum { CONSOLE_BEFORE_FIRST = 63, CONSOLE_STATUSES(CONSOLE_NAME) CONSOLE_STATUS_END };
#undef CONSOLE_NAME

typedef struct {
  uint16_t protocol, engine;  /* CONSOLE_PROTOCOL, MBN_VERSION */
  uint32_t model_bytes, model_crc;
  uint16_t in_h, in_w, in_c;  /* rows are int8 (in_w, in_c) */
  uint16_t flags;             /* of the model: MBN_NCHW, MBN_BGR */
  uint32_t in_scale;          /* bits of a float32: real = (q - in_zero) * in_scale */
  int32_t in_zero;
  uint32_t arena_bytes;       /* that the model needs */
  uint32_t arena_given;
  uint32_t tick_hz;           /* 0: ticks are instructions */
  uint16_t outputs, labels;   /* how many */
} console_identity; /* 44 bytes */

typedef struct {
  uint32_t ticks_low, ticks_high; /* inside the engine, waiting for rows left out */
  uint32_t tick_hz;
  uint32_t arena_bytes;
  uint32_t stack_bytes;       /* the most that was used; 0: not measured */
  uint32_t verdict;           /* self-test: 1 if output 0 is that of the build, 0 if not; else 2 */
} console_result; /* 24 bytes */

/* Where the parts of an app lie: tools find this in its image by the magic. */
typedef struct {
  char magic[8];              /* CONSOLE_MAGIC */
  const uint8_t *model;
  const uint32_t *model_bytes;
  const int8_t *photo, *expected;
  const uint32_t *expected_bytes;
  const char *board, *model_name, *version;
} console_about;
#define CONSOLE_MAGIC {'M', 'B', 'N', '-', 'A', 'P', 'P', '1'}

void console_run(mbn *m); /* serves for ever; m: the app's model, opened */

#ifdef __cplusplus
}
#endif
#endif
