/* What every consumer runs: the header and the library that was found agree, and a call comes back
 * with a reason. */
#include <mm2/mm2.h>
#include <stdio.h>
#include <string.h>

int main(void) {
  mm2_buffer* json = NULL;
  mm2_model* model = NULL;
  mm2_error error;
  mm2_status status;
  if (mm2_abi_version() != MM2_ABI_VERSION) {
    fprintf(stderr, "header of ABI %d, library of ABI %u\n", MM2_ABI_VERSION,
            (unsigned)mm2_abi_version());
    return 1;
  }
  mm2_error_init(&error, sizeof error);
  if (mm2_buffer_create(&json, &error) != MM2_OK || mm2_build_info(json, &error) != MM2_OK)
    return 1;
  if (strstr((const char*)mm2_buffer_data(json), mm2_version_string()) == NULL) return 1;
  mm2_buffer_destroy(json);

  status = mm2_model_load("no/such/folder", NULL, &model, &error);
  if (status != MM2_E_NOT_FOUND || model != NULL ||
      strstr(error.message, "no/such/folder") == NULL) {
    fprintf(stderr, "a missing checkpoint gives %s: %s\n", mm2_status_name(status), error.message);
    return 1;
  }
  printf("mm2 %s works\n", mm2_version_string());
  return 0;
}
