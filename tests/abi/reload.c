/* Opens the shared library argv[1] at run time, uses it, closes it: several times, because nothing
 * may stay behind. Prints nothing. */
#include <dlfcn.h>
#include <string.h>

#include "mm2/mm2.h"

typedef mm2_status (*create_fn)(const mm2_sampler_options*, int32_t, mm2_sampler**, mm2_error*);
typedef mm2_status (*sample_fn)(mm2_sampler*, const float*, int32_t*, mm2_token_logprob*,
                                mm2_error*);
typedef void (*destroy_fn)(mm2_sampler*);

/* ISO C has no way from an object pointer to a function pointer but through memory. */
static int find(void* library, const char* name, void* function) {
  void* symbol = dlsym(library, name);
  memcpy(function, &symbol, sizeof symbol);
  return symbol != NULL;
}

static int use(const char* path) {
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  create_fn create;
  sample_fn sample;
  destroy_fn destroy;
  mm2_sampler* sampler = NULL;
  const float logits[4] = {0, 1, 3, 2};
  int32_t token = -1;
  if (library == NULL) return 1;
  if (!find(library, "mm2_sampler_create", &create)) return 2;
  if (!find(library, "mm2_sampler_sample", &sample)) return 3;
  if (!find(library, "mm2_sampler_destroy", &destroy)) return 4;
  if (create(NULL, 4, &sampler, NULL) != MM2_OK) return 5;
  if (sample(sampler, logits, &token, NULL, NULL) != MM2_OK || token != 2) return 6;
  destroy(sampler);
  return dlclose(library) == 0 ? 0 : 7;
}

int main(int argc, char** argv) {
  int round;
  if (argc < 2) return 100;
  for (round = 0; round < 5; round++) {
    const int failed = use(argv[1]);
    if (failed != 0) return failed;
  }
  return 0;
}
