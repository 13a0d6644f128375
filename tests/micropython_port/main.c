/* The port: start-up, output and exit by semihosting, files as blobs in memory that QEMU loads, a clock that stands still. */
#include <string.h>
#include "py/builtin.h"
#include "py/compile.h"
#include "py/gc.h"
#include "py/lexer.h"
#include "py/mperrno.h"
#include "py/mphal.h"
#include "py/objarray.h"
#include "py/reader.h"
#include "py/runtime.h"
#include "py/stackctrl.h"
#include "shared/runtime/gchelper.h"

#define HEAP (1 << 20)
static uint64_t heap[HEAP / 8];
extern uint32_t stack_top[], stack_limit[], bss_start[], bss_end[], blobs_start[];

/* ---- the machine ---- */

static int semihosting(int operation, const void *argument) {
  register int r0 __asm__("r0") = operation;
  register const void *r1 __asm__("r1") = argument;
  __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
  return r0;
}

void stop(int status) {
  const uint32_t reason[2] = {0x20026, (uint32_t)status}; /* ADP_Stopped_ApplicationExit */
  for (;;) semihosting(0x20, reason);
}

static void fault(void) { semihosting(4, "\nfault\n"), stop(70); }
int main(void);

void reset(void) {
#if defined(__ARM_FP)
  *(volatile uint32_t *)0xe000ed88 |= 0xf00000;
  __asm__ volatile("dsb\n\tisb" ::: "memory");
#endif
  for (volatile uint32_t *p = bss_start; p < bss_end; p++) *p = 0;
  stop(main());
}

__attribute__((section(".vectors"), used)) const void *const vectors[16] = {
  stack_top, (const void *)reset, (const void *)fault, (const void *)fault, (const void *)fault, (const void *)fault, (const void *)fault};

mp_uint_t mp_hal_stdout_tx_strn(const char *text, size_t n) {
  char line[128];
  for (size_t i = 0; i < n; i += sizeof line - 1) {
    const size_t k = n - i < sizeof line - 1 ? n - i : sizeof line - 1;
    memcpy(line, text + i, k), line[k] = 0;
    semihosting(4, line);
  }
  return n;
}
void mp_hal_stdout_tx_strn_cooked(const char *text, size_t n) { mp_hal_stdout_tx_strn(text, n); }
void mp_hal_stdout_tx_str(const char *text) { mp_hal_stdout_tx_strn(text, strlen(text)); }
mp_uint_t mp_hal_ticks_ms(void) { return 0; }

/* ---- files: (char name[24], uint32 bytes), then the bytes, filled up to a multiple of 16 ---- */

typedef struct { char name[24]; uint32_t bytes, zero; uint8_t data[]; } blob;

static const blob *find(const char *name) {
  const blob *b = (const blob *)blobs_start;
  for (; b->name[0]; b = (const blob *)(b->data + (b->bytes + 15) / 16 * 16)) if (!strcmp(b->name, name)) return b;
  return NULL;
}

mp_import_stat_t mp_import_stat(const char *path) { return find(path) ? MP_IMPORT_STAT_FILE : MP_IMPORT_STAT_NO_EXIST; }

void mp_reader_new_file(mp_reader_t *reader, qstr name) {
  const blob *b = find(qstr_str(name));
  if (!b) mp_raise_OSError(MP_ENOENT);
  mp_reader_new_mem(reader, b->data, b->bytes, MP_READER_IS_ROM);
}

mp_lexer_t *mp_lexer_new_from_file(qstr name) {
  const blob *b = find(qstr_str(name));
  if (!b) mp_raise_OSError(MP_ENOENT);
  return mp_lexer_new_from_str_len(name, (const char *)b->data, b->bytes, 0);
}

/* ---- module qemu: blob(name), and interrupt(), which does what Ctrl-C does; module time: sleep_ms(n) ---- */

static mp_obj_t qemu_blob(mp_obj_t name) {
  const blob *b = find(mp_obj_str_get_str(name));
  if (!b) mp_raise_OSError(MP_ENOENT);
  return mp_obj_new_memoryview('B', b->bytes, (void *)b->data);
}
static MP_DEFINE_CONST_FUN_OBJ_1(qemu_blob_obj, qemu_blob);

static mp_obj_t qemu_interrupt(void) { mp_sched_keyboard_interrupt(); return mp_const_none; }
static MP_DEFINE_CONST_FUN_OBJ_0(qemu_interrupt_obj, qemu_interrupt);

static mp_obj_t time_sleep_ms(mp_obj_t ms) {
  mp_handle_pending(true);
  return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(time_sleep_ms_obj, time_sleep_ms);

static const mp_rom_map_elem_t qemu_table[] = {
  {MP_ROM_QSTR(MP_QSTR_blob), MP_ROM_PTR(&qemu_blob_obj)},
  {MP_ROM_QSTR(MP_QSTR_interrupt), MP_ROM_PTR(&qemu_interrupt_obj)},
};
static MP_DEFINE_CONST_DICT(qemu_globals, qemu_table);
const mp_obj_module_t qemu_module = {.base = {&mp_type_module}, .globals = (mp_obj_dict_t *)&qemu_globals};
MP_REGISTER_MODULE(MP_QSTR_qemu, qemu_module);

static const mp_rom_map_elem_t time_table[] = {{MP_ROM_QSTR(MP_QSTR_sleep_ms), MP_ROM_PTR(&time_sleep_ms_obj)}};
static MP_DEFINE_CONST_DICT(time_globals, time_table);
const mp_obj_module_t time_module = {.base = {&mp_type_module}, .globals = (mp_obj_dict_t *)&time_globals};
MP_REGISTER_MODULE(MP_QSTR_time, time_module);

/* ---- Python ---- */

void gc_collect(void) {
  gc_collect_start();
  gc_helper_collect_regs_and_stack();
  gc_collect_end();
}

void nlr_jump_fail(void *value) { semihosting(4, "\nuncaught\n"), stop(71); }

int main(void) {
  nlr_buf_t nlr;
  int status = 0;
  mp_stack_set_top(stack_top);
  mp_stack_set_limit(((uintptr_t)stack_top - (uintptr_t)stack_limit) - 2048);
  gc_init(heap, (char *)heap + HEAP);
  mp_init();
  if (nlr_push(&nlr) == 0) {
    mp_lexer_t *lexer = mp_lexer_new_from_file(qstr_from_str("main.py"));
    mp_parse_tree_t tree = mp_parse(lexer, MP_PARSE_FILE_INPUT);
    mp_call_function_0(mp_compile(&tree, qstr_from_str("main.py"), false));
    nlr_pop();
  } else {
    mp_obj_print_exception(&mp_plat_print, MP_OBJ_FROM_PTR(nlr.ret_val));
    status = 1;
  }
  return status;
}

/* ---- of C's mathematics, what linking asks for and no test reaches ---- */

#define UNUSED(name, ...) float name(__VA_ARGS__) { stop(72); return 0; }
UNUSED(powf, float x, float y)
UNUSED(fmodf, float x, float y)
UNUSED(floorf, float x)
UNUSED(ceilf, float x)
UNUSED(truncf, float x)
UNUSED(nearbyintf, float x)
UNUSED(nanf, const char *tag)
