extern "C" void BoardPut(const char* text) { std::fputs(text, stdout); }

extern "C" void app_main(void) {
  for (;;) {
    Run();
    vTaskDelay(pdMS_TO_TICKS(5000));
  }
}
