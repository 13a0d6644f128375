extern "C" void BoardPut(const char* text) { Serial.print(text); }

void setup() {
  Serial.begin(115200);
  for (int i = 0; i < 50 && !Serial; ++i) delay(100);  // five seconds for someone to open the monitor
}

void loop() {
  Run();
  delay(5000);
}
