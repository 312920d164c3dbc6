// A library that is no plug-in.
extern "C" __attribute__((visibility("default"))) int mm2_something_else() {
  return 1;
}
