/* The console app: see console.h. No heap, no C library; its RAM is one message, a few words, and little stack. */
#include "console.h"
#include "board.h"

enum { END = 0xC0, ESCAPE = 0xDB, ESCAPED_END = 0xDC, ESCAPED_ESCAPE = 0xDD };
enum { HEAD = 4, CRC = 4 };

static const console_about about = {
    CONSOLE_MAGIC, app_model, &app_model_bytes, app_photo, app_expected, &app_expected_bytes, app_board, app_model_name, app_version};

#define ABOUT (*(const volatile console_about *)&about) /* read where it lies, so that it stays in the image */

static mbn *model;
static int done;                                             /* the outputs lie there, until the next begin */
static uint64_t ticks;                                       /* of the inference so far */
static uint32_t crc;                                         /* of the message that is being sent */

__attribute__((weak)) uint32_t stack_used(void); /* start.c, if it is linked */
__attribute__((weak)) void board_poll(void);     /* of some boards, as the next one */
__attribute__((weak)) void board_boot(void);
__attribute__((weak)) uint32_t board_chip(void);

static uint32_t crc_with(uint32_t sum, uint8_t byte) {
  sum ^= byte;
  for (int i = 0; i < 8; i++) sum = sum >> 1 ^ (0xEDB88320u & (0u - (sum & 1)));
  return sum;
}

/* ---- sending ---- */

static void put_escaped(uint8_t byte) {
  if (byte != END && byte != ESCAPE) { board_put(byte); return; }
  board_put(ESCAPE);
  board_put(byte == END ? ESCAPED_END : ESCAPED_ESCAPE);
}

static void put(uint8_t byte) {
  crc = crc_with(crc, byte);
  put_escaped(byte);
}

static void put_bytes(const void *from, uint32_t n) {
  const uint8_t *p = from;
  while (n--) put(*p++);
}

static uint32_t length_of(const char *text) {
  uint32_t n = 0;
  while (text[n]) n++;
  return n;
}

static const char *sentence_of(uint32_t status) {
#define CONSOLE_SENTENCE(name, sentence) sentence,
  static const char *const sentences[] = {CONSOLE_STATUSES(CONSOLE_SENTENCE)};
  return status > CONSOLE_BEFORE_FIRST && status < CONSOLE_STATUS_END ? sentences[status - CONSOLE_BEFORE_FIRST - 1] : mbn_status_text((mbn_status)status);
}

/* An answer begins; after an error its sentence is all that follows. */
static uint32_t answer(const uint8_t *request, uint32_t status) {
  board_put(END);
  crc = 0xffffffffu;
  put(request[0] | 0x80), put(request[1]), put((uint8_t)status), put(0);
  if (status) put_bytes(sentence_of(status), length_of(sentence_of(status)));
  return status;
}

static void end_answer(void) {
  const uint32_t sum = ~crc;
  for (int i = 0; i < 32; i += 8) put_escaped((uint8_t)(sum >> i));
  board_put(END);
}

/* ---- receiving ---- */

/* Length of the next message without its CRC, or -1 if it is garbled. What is longer than app_message is cut, and one byte too long. */
static int32_t receive(void) {
  uint8_t *to = (uint8_t *)app_message;
  uint32_t n = 0, sum = 0xffffffffu;
  for (int escaped = 0;;) {
    const int got = board_get();
    if (got < 0) continue;
    if (got == END && !n && !escaped) continue; /* END before a message, or behind the last one */
    if (got == END) break;
    if (got == ESCAPE && !escaped) { escaped = 1; continue; }
    const uint8_t byte = (uint8_t)(!escaped ? got : got == ESCAPED_END ? END : got == ESCAPED_ESCAPE ? ESCAPE : got);
    escaped = 0;
    sum = crc_with(sum, byte);
    if (n < app_message_bytes) to[n] = byte;
    if (n <= app_message_bytes) n++; /* one more than fits: too long */
  }
  return n < HEAD + CRC || sum != 0xDEBB20E3u ? -1 : (int32_t)(n - CRC); /* the CRC of all and its own CRC */
}

/* ---- commands ---- */

/* Runs one step of an inference and counts its ticks. */
#define COUNTED(status, step) do { const uint32_t start = board_ticks(); status = (step); ticks += board_ticks() - start; } while (0)

static mbn_status begin(void) {
  mbn_status status;
  done = 0, ticks = 0;
  COUNTED(status, mbn_begin(model));
  return status;
}

static mbn_status finish(void) {
  mbn_status status = MBN_OK;
  const int8_t *output;
  if (done) return MBN_OK; /* asked again */
  COUNTED(status, mbn_finish(model, &output));
  done = !status;
  return status;
}

static uint32_t row_bytes(void) { return (uint32_t)model->file->in_w * model->file->in_c; }

static mbn_status self_test(void) {
  mbn_status status = begin();
  for (uint32_t y = 0; !status && y < model->file->in_h; y++) {
    if (board_poll) board_poll();
    COUNTED(status, mbn_push_row(model, ABOUT.photo + y * row_bytes()));
  }
  return status ? status : finish();
}

static uint32_t as_built(void) {
  const int8_t *output = mbn_get_output(model, 0);
  if (app_expected_bytes != mbn_outputs(model->file)->bytes) return 0;
  for (uint32_t i = 0; i < app_expected_bytes; i++)
    if (output[i] != ABOUT.expected[i]) return 0;
  return 1;
}

static void put_identity(void) {
  const mbn_header *h = model->file;
  const console_identity id = {CONSOLE_PROTOCOL, MBN_VERSION, h->file_bytes, h->crc, h->in_h, h->in_w, h->in_c, h->flags, h->in_scale, h->in_zero,
                               h->arena_bytes, app_arena_bytes, board_tick_hz(), h->outputs, h->labels};
  const char *const texts[] = {ABOUT.board, ABOUT.model_name, ABOUT.version};
  put_bytes(&id, sizeof id);
  put_bytes(mbn_outputs(h), h->outputs * (uint32_t)sizeof(mbn_output));
  for (uint32_t i = 0; i < 3u + h->labels; i++) {
    const char *const text = i < 3 ? texts[i] : mbn_label(h, i - 3);
    put_bytes(text, length_of(text) + 1);
  }
  put_bytes((const char *)h + h->metadata, h->metadata_bytes);
  put(0);
}

static void put_result(uint32_t verdict) {
  const console_result r = {(uint32_t)ticks, (uint32_t)(ticks >> 32), board_tick_hz(), model->file->arena_bytes, stack_used ? stack_used() : 0, verdict};
  put_bytes(&r, sizeof r);
  for (uint32_t k = 0; k < model->file->outputs; k++) put_bytes(mbn_get_output(model, k), mbn_outputs(model->file)[k].bytes);
}

/* The row before the one that is expected came twice: its answer was lost. */
static uint32_t take_row(uint32_t y, const int8_t *row, uint32_t n) {
  if (n != row_bytes() || HEAD + n + CRC > app_message_bytes) return CONSOLE_LENGTH;
  if (model->begun && y + 1 == model->row) return model->status;
  if (model->begun && y != model->row) return CONSOLE_OUT_OF_ORDER;
  mbn_status status;
  COUNTED(status, mbn_push_row(model, row));
  return status;
}

/* A UART takes 87 us for a byte, a USB host asks for packets every millisecond or so: time for the answer to be on its way. */
static void sent(void) {
  const uint32_t since = board_ticks(), wait = board_tick_hz() / 20;
  while (board_ticks() - since < wait) (void)board_get();
}

static int known(uint8_t command) {
  return command >= CONSOLE_IDENTIFY && command <= CONSOLE_CHIP && (command != CONSOLE_BOOT || board_boot) && (command != CONSOLE_CHIP || board_chip);
}

static void put_chip(void) {
  const uint32_t chip = board_chip();
  put_bytes(&chip, sizeof chip);
}

static void serve(const uint8_t *request, uint32_t n) {
  const uint8_t command = request[0];
  if (command >= 0x80) return; /* an answer: our own, if the line echoes */
  if (!known(command)) answer(request, CONSOLE_UNKNOWN);
  else if (command != CONSOLE_ROW && n != HEAD) answer(request, CONSOLE_LENGTH);
  else if (command == CONSOLE_IDENTIFY) answer(request, MBN_OK), put_identity();
  else if (command == CONSOLE_CHIP) answer(request, MBN_OK), put_chip();
  else if (command == CONSOLE_BEGIN) answer(request, row_bytes() + HEAD + CRC > app_message_bytes ? (uint32_t)CONSOLE_ROW_TOO_LONG : begin());
  else if (command == CONSOLE_ROW) answer(request, take_row(request[2] + 256u * request[3], (const int8_t *)request + HEAD, n - HEAD));
  else if (command == CONSOLE_SELF_TEST) { if (!answer(request, self_test())) put_result(as_built()); }
  else if (command == CONSOLE_FINISH) { if (!answer(request, finish())) put_result(2); }
  else answer(request, MBN_OK);
  end_answer();
  if (command == CONSOLE_LEAVE) board_exit(0);
  if (command == CONSOLE_BOOT && board_boot) sent(), board_boot();
}

void console_run(mbn *m) {
  model = m, done = 0;
  for (;;) {
    static const uint8_t garbled[2] = {0, 0};
    const int32_t n = receive();
    if (n >= 0) serve((const uint8_t *)app_message, (uint32_t)n);
    else answer(garbled, CONSOLE_GARBLED), end_answer();
  }
}
