// The console is standard output. A board without one defines `extern "C" void BoardPut(const char*)` in a file of its own.
extern "C" __attribute__((weak)) void BoardPut(const char* text) { std::fputs(text, stdout); }

int main() { return Run(); }
