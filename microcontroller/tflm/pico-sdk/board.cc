extern "C" void BoardPut(const char* text) { std::fputs(text, stdout); }

int main() {
  stdio_init_all();
  for (;;) {
    Run();
    sleep_ms(5000);
  }
}
