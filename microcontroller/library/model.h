/* @NAME@, written by mobilenet-keras @VERSION@: the model, a photo for a test, and what the model makes of it.
 * The engine's functions are in mbn.h. A program with a second model takes the engine once, and this header and its .c file of each. */
#ifndef @MACRO@_H
#define @MACRO@_H
#include "mbn.h"

#define @MACRO@_HEIGHT @HEIGHT@
#define @MACRO@_WIDTH @WIDTH@
#define @MACRO@_CHANNELS @CHANNELS@
#define @MACRO@_OUTPUTS @OUTPUTS@       /* int8 values of the first output */
@THRESHOLD@#define @MACRO@_ARENA_BYTES @ARENA@

#ifdef __cplusplus
extern "C" {
#endif
extern const uint8_t @ID@_model[];   /* the .mbn file, at a multiple of 4 */
extern const uint32_t @ID@_model_bytes;
extern uint32_t @ID@_arena[];        /* all that the engine writes; left out by the linker where nobody names it */
extern const int8_t @ID@_photo[];    /* (height, width, channels), as the model's input */
extern const int8_t @ID@_expected[]; /* (outputs,), of that photo */
#ifdef __cplusplus
}
#endif
#endif
