// Classifies the photo that is built in, and says whether the scores are those that this model had on the computer where it was written.
#ifdef ARDUINO
#include <Arduino.h>
static void say(const char *text) { Serial.print(text); }
#else
#include <stdio.h>
static void say(const char *text) { fputs(text, stdout); }
#endif
#include "@ID@.h"

#ifdef @MACRO@_THRESHOLD
#include "mbn_peaks.h"
enum { BEST = 10 }; // so many are shown
#else
enum { BEST = 5 }; // so many are shown
#endif

static void say_number(int32_t value) {
  char digits[12] = {0};
  int i = 11;
  uint32_t rest = value < 0 ? 0u - (uint32_t)value : (uint32_t)value;
  do digits[--i] = (char)('0' + rest % 10); while (rest /= 10);
  if (value < 0) digits[--i] = '-';
  say(digits + i);
}

static void say_label(uint32_t i) {
  char letter[2] = {0, 0};
  const char *label = mbn_label(@ID@_model, i);
  if (!label) { say("output "); say_number((int32_t)i); return; }
  for (; *label; label++) { // a terminal takes control characters for orders
    letter[0] = (unsigned char)*label < 32 || *label == 127 ? '?' : *label;
    say(letter);
  }
}

#ifdef @MACRO@_THRESHOLD
static void say_middle(const char *name, int32_t cell, int32_t cells) { // in thousandths of the photo's width or height
  say(name); say_number(((2 * cell + 1) * 1000 + cells) / (2 * cells));
}

static void say_answer(const int8_t *scores) { // what is where, the surest first
  const mbn_output *output = mbn_outputs(@ID@_model);
  const mbn_heat_map map = {scores, output->h, output->w, output->c, @MACRO@_THRESHOLD};
  mbn_peak peaks[BEST];
  mbn_peak_list list = {peaks, BEST, 0, 0};
  int i;
  if (mbn_find_peaks(&map, &list) != MBN_BOXES_OK || !list.found) { say("found nothing\n"); return; }
  say("found "); say_number((int32_t)list.candidates); say("\n");
  for (i = 0; i < list.found; i++) {
    say_number(i + 1); say(": "); say_label(peaks[i].label); say(" "); say_number(((peaks[i].score + 128) * 100 + 128) / 256);
    say_middle(" % at x ", peaks[i].x, map.w); say_middle(", y ", peaks[i].y, map.h); say(" of 1000\n");
  }
}
#else
static void say_score(uint32_t i, int8_t score) {
  const mbn_output *output = mbn_outputs(@ID@_model);
  say_label(i); say(" "); say_number(score);
  if (output->zero == -128 && output->scale == 0x3b800000u) { // a softmax: 1/256 a step, from 0 on
    say(", "); say_number((score + 128) * 100 / 256); say("%");
  }
  say("\n");
}

static void say_answer(const int8_t *scores) {
  uint32_t i, k, last = 0, best = 0;
  for (k = 0; k < BEST && k < @MACRO@_OUTPUTS; k++, last = best) { // the best that lies behind the last, by score, then by number
    int found = 0;
    for (i = 0; i < @MACRO@_OUTPUTS; i++)
      if ((!k || scores[i] < scores[last] || (scores[i] == scores[last] && i > last)) && (!found || scores[i] > scores[best])) { best = i; found = 1; }
    say_score(best, scores[best]);
  }
}
#endif

static int classify(void) { // 0: as expected
  mbn *m;
  const int8_t *scores;
  uint32_t i, same = 1;
  mbn_status status = mbn_verify(@ID@_model, @ID@_model_bytes);
  if (!status) status = mbn_open(&m, @ID@_model, @ID@_model_bytes, @ID@_arena, @MACRO@_ARENA_BYTES, 0);
  if (!status) status = mbn_run(m, @ID@_photo, &scores); // int8, (height, width, channels); mbn_quantize_row makes a row of it from a photo's
  if (status) { say(mbn_status_text(status)); say("\n"); return 1; }
  say_answer(scores);
  for (i = 0; i < @MACRO@_OUTPUTS; i++) same &= scores[i] == @ID@_expected[i];
  say(same ? "as expected\n" : "different: the board computes other scores than the computer did\n");
  return !same;
}

#if defined(ARDUINO)
void setup() { Serial.begin(115200); }
void loop() { classify(); delay(5000); }
#elif defined(ESP_PLATFORM)
void app_main(void) { classify(); }
#else
int main(void) { return classify(); }
#endif
