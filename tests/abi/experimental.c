/* The experimental surface of single operations: refuses what does not fit, one field at a time, and
 * computes small known results. Prints nothing; the number of the first line whose claim is false goes
 * into the file argv[1]. */
#include <math.h>
#include <stdio.h>

#include "mm2/experimental/kernels.h"

static const char* report_path;
static int n_failures;

static void claim(int holds, int line) {
  FILE* report;
  if (holds || n_failures++ > 0) return;
  report = fopen(report_path, "w");
  if (report == NULL) return;
  fprintf(report, "experimental.c:%d\n", line);
  fclose(report);
}

#define CLAIM(condition) claim(condition, __LINE__)
#define REFUSED(call) CLAIM((call) == MM2_E_INVALID_ARGUMENT)

static mm2_error err;
static mm2x_kernels* kernels;
static mm2x_kernels* reference;
static const float kX[2][4] = {{1, 2, 3, 4}, {-1, 0, 1, 0}};
static const float kOnes[8] = {1, 1, 1, 1, 1, 1, 1, 1};
static const float kIdentity[4][4] = {{1, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}, {0, 0, 0, 1}};

static mm2x_matrix_source plain(const void* codes, int64_t n_out, int64_t n_in) {
  mm2x_matrix_source source;
  mm2x_matrix_source_init(&source, sizeof source);
  source.codes = codes;
  source.n_out = n_out;
  source.n_in = n_in;
  return source;
}

static mm2x_matrix* identity(void) {
  mm2x_matrix_source source = plain(kIdentity, 4, 4);
  mm2x_matrix* matrix = NULL;
  CLAIM(mm2x_matrix_pack(kernels, &source, &matrix, &err) == MM2_OK);
  return matrix;
}

static void check_create(void) {
  mm2x_kernels* none = NULL;
  mm2_buffer* json = NULL;
  REFUSED(mm2x_kernels_create(MM2_ISA_AUTO, 1, NULL, &err));
  REFUSED(mm2x_kernels_create(77, 1, &none, &err));
  REFUSED(mm2x_kernels_create(MM2_ISA_AUTO, -1, &none, &err));
  REFUSED(mm2x_kernels_create(MM2_ISA_AUTO, 1025, &none, &err));
  CLAIM(mm2x_kernels_create(MM2_ISA_REFERENCE_F64, 1, &none, &err) == MM2_E_UNSUPPORTED);
  CLAIM(none == NULL && err.message[0] != '\0');
  mm2_buffer_create(&json, NULL);
  REFUSED(mm2x_kernels_describe(NULL, json, &err));
  REFUSED(mm2x_kernels_describe(kernels, NULL, &err));
  CLAIM(mm2x_kernels_describe(kernels, json, &err) == MM2_OK && mm2_buffer_size(json) > 0);
  mm2_buffer_destroy(json);
  mm2x_kernels_destroy(NULL);
}

static void check_pack(void) {
  static unsigned char codes[2 * 32];
  static float scales[2] = {0.5f, 0.25f};
  unsigned char zero = 16;
  uint64_t bytes = 0;
  mm2x_matrix* matrix = NULL;
  mm2x_matrix_source s = plain(kIdentity, 4, 4);
  REFUSED(mm2x_matrix_source_init(NULL, sizeof s));
  REFUSED(mm2x_matrix_pack(NULL, &s, &matrix, &err));
  REFUSED(mm2x_matrix_pack(kernels, NULL, &matrix, &err));
  REFUSED(mm2x_matrix_pack(kernels, &s, NULL, &err));
  s = plain(NULL, 4, 4);
  REFUSED(mm2x_matrix_pack(kernels, &s, &matrix, &err));
  s = plain(kIdentity, 0, 4);
  REFUSED(mm2x_matrix_pack(kernels, &s, &matrix, &err));
  s = plain(kIdentity, 4, -1);
  REFUSED(mm2x_matrix_pack(kernels, &s, &matrix, &err));
  s = plain(kIdentity, 4, 4);
  s.scheme = 9;
  REFUSED(mm2x_matrix_pack(kernels, &s, &matrix, &err));
  s = plain(kIdentity, 4, 4);
  s.number = 17;
  CLAIM(mm2x_matrix_pack(kernels, &s, &matrix, &err) == MM2_E_UNSUPPORTED);
  s = plain(kIdentity, 4, 4);
  s.zeros = codes;
  REFUSED(mm2x_matrix_pack(kernels, &s, &matrix, &err));
  s = plain(codes, 2, 32); /* a matrix of four bits, with one thing wrong at a time */
  s.scheme = MM2X_INTEGER;
  s.bits = 4;
  s.patch_rows = 1;
  s.patch_cols = 32;
  REFUSED(mm2x_matrix_pack(kernels, &s, &matrix, &err)); /* no scales */
  s.scales = scales;
  codes[63] = 16;
  REFUSED(mm2x_matrix_pack(kernels, &s, &matrix, &err));
  codes[63] = 15;
  s.patch_cols = 0;
  REFUSED(mm2x_matrix_pack(kernels, &s, &matrix, &err));
  s.patch_cols = 24;
  CLAIM(mm2x_matrix_pack(kernels, &s, &matrix, &err) == MM2_E_UNSUPPORTED);
  s.patch_cols = 32;
  s.number = MM2X_BF16;
  scales[1] = 0.1f; /* not exact in BF16 */
  REFUSED(mm2x_matrix_pack(kernels, &s, &matrix, &err));
  scales[1] = 0.25f;
  s.n_out = 1;
  s.zeros = &zero;
  REFUSED(mm2x_matrix_pack(kernels, &s, &matrix, &err));
  zero = 8;
  CLAIM(mm2x_matrix_pack(kernels, &s, &matrix, &err) == MM2_OK);
  CLAIM(mm2x_matrix_get_shape(matrix, NULL, NULL, &bytes, &err) == MM2_OK && bytes >= 16);
  REFUSED(mm2x_matrix_get_shape(NULL, NULL, NULL, &bytes, &err));
  mm2x_matrix_destroy(matrix);
  s.scheme = MM2X_FP8;
  s.bits = 0;
  s.zeros = NULL;
  codes[3] = 0x7F;
  matrix = NULL;
  REFUSED(mm2x_matrix_pack(kernels, &s, &matrix, &err));
  CLAIM(matrix == NULL);
  mm2x_matrix_destroy(NULL);
}

static void check_rows(void) {
  const int32_t tokens[2] = {3, 1}, wrong[2] = {0, 4};
  float y[2][4];
  REFUSED(mm2x_embed(NULL, kIdentity, MM2X_F32, 4, 4, tokens, 2, y[0], &err));
  REFUSED(mm2x_embed(kernels, NULL, MM2X_F32, 4, 4, tokens, 2, y[0], &err));
  REFUSED(mm2x_embed(kernels, kIdentity, MM2X_E4M3, 4, 4, tokens, 2, y[0], &err));
  REFUSED(mm2x_embed(kernels, kIdentity, MM2X_F32, 4, 4, wrong, 2, y[0], &err));
  REFUSED(mm2x_embed(kernels, kIdentity, MM2X_F32, 4, 4, NULL, 2, y[0], &err));
  REFUSED(mm2x_embed(kernels, kIdentity, MM2X_F32, 4, 4, tokens, 0, y[0], &err));
  REFUSED(mm2x_embed(kernels, kIdentity, MM2X_F32, 4, 4, tokens, 2, NULL, &err));
  CLAIM(mm2x_embed(kernels, kIdentity, MM2X_F32, 4, 4, tokens, 2, y[0], &err) == MM2_OK);
  CLAIM(y[0][3] == 1 && y[0][0] == 0 && y[1][1] == 1);

  REFUSED(mm2x_rms_norm(NULL, kX[0], kOnes, 0, 2, 4, y[0], &err));
  REFUSED(mm2x_rms_norm(kernels, NULL, kOnes, 0, 2, 4, y[0], &err));
  REFUSED(mm2x_rms_norm(kernels, kX[0], NULL, 0, 2, 4, y[0], &err));
  REFUSED(mm2x_rms_norm(kernels, kX[0], kOnes, -1, 2, 4, y[0], &err));
  REFUSED(mm2x_rms_norm(kernels, kX[0], kOnes, 0, 0, 4, y[0], &err));
  REFUSED(mm2x_rms_norm(kernels, kX[0], kOnes, 0, 2, -4, y[0], &err));
  REFUSED(mm2x_rms_norm(kernels, kX[0], kOnes, 0, 2, 4, NULL, &err));
  CLAIM(mm2x_rms_norm(kernels, kX[0], kOnes, 0, 2, 4, y[0], &err) == MM2_OK);
  CLAIM(fabs(y[0][3] - 4 / sqrt(7.5)) < 1e-6 && y[1][1] == 0);

  REFUSED(mm2x_rope_table(kernels, NULL, 2, 4, 10000, y[0], &err));
  REFUSED(mm2x_rope_table(kernels, tokens, 2, 3, 10000, y[0], &err));
  REFUSED(mm2x_rope_table(kernels, tokens, 2, 4, 0, y[0], &err));
  REFUSED(mm2x_rope_table(NULL, tokens, 2, 4, 10000, y[0], &err));
  CLAIM(mm2x_rope_table(kernels, tokens, 2, 4, 10000, y[0], &err) == MM2_OK);
  CLAIM(fabs(y[0][0] - cos(3.0)) < 1e-6 && fabs(y[1][3] - sin(0.01)) < 1e-6);
}

static void check_linear(void) {
  float y[2][4];
  mm2x_matrix_source source = plain(kIdentity, 4, 4);
  mm2x_matrix *w = identity(), *other = NULL;
  CLAIM(mm2x_matrix_pack(reference, &source, &other, &err) == MM2_OK);
  REFUSED(mm2x_linear(NULL, kX[0], w, NULL, 2, MM2_ACTIVATIONS_F32, y[0], &err));
  REFUSED(mm2x_linear(kernels, NULL, w, NULL, 2, MM2_ACTIVATIONS_F32, y[0], &err));
  REFUSED(mm2x_linear(kernels, kX[0], NULL, NULL, 2, MM2_ACTIVATIONS_F32, y[0], &err));
  REFUSED(mm2x_linear(kernels, kX[0], other, NULL, 2, MM2_ACTIVATIONS_F32, y[0], &err));
  REFUSED(mm2x_linear(kernels, kX[0], w, NULL, 0, MM2_ACTIVATIONS_F32, y[0], &err));
  REFUSED(mm2x_linear(kernels, kX[0], w, NULL, 2, 9, y[0], &err));
  REFUSED(mm2x_linear(kernels, kX[0], w, NULL, 2, MM2_ACTIVATIONS_F32, NULL, &err));
  REFUSED(mm2x_linear(kernels, y[0], w, NULL, 2, MM2_ACTIVATIONS_F32, y[0], &err));
  CLAIM(mm2x_linear(kernels, kX[0], w, kX[0], 2, MM2_ACTIVATIONS_F32, y[0], &err) == MM2_OK);
  CLAIM(y[0][0] == 2 && y[0][3] == 8 && y[1][0] == -2 && y[1][1] == 0);
  mm2x_matrix_destroy(other);
  mm2x_matrix_destroy(w);
}

static void check_experts(void) {
  const int32_t good[2][2] = {{0, 1}, {0, 1}}, falling[2][2] = {{0, 1}, {1, 0}};
  const float half[2][2] = {{0.5f, 0.5f}, {0.5f, 0.5f}};
  const mm2x_matrix* both[2];
  const mm2x_matrix* one[2];
  mm2x_matrix* w = identity();
  float y[2][4] = {{0}}, weights[2][2];
  int32_t ids[2][2];
  both[0] = both[1] = one[0] = w;
  one[1] = NULL;
  REFUSED(mm2x_router(kernels, kX[0], w, kOnes, 2, 5, ids[0], weights[0], &err));
  REFUSED(mm2x_router(kernels, kX[0], w, NULL, 2, 2, ids[0], weights[0], &err));
  REFUSED(mm2x_router(kernels, NULL, w, kOnes, 2, 2, ids[0], weights[0], &err));
  REFUSED(mm2x_router(kernels, kX[0], NULL, kOnes, 2, 2, ids[0], weights[0], &err));
  REFUSED(mm2x_router(kernels, kX[0], w, kOnes, 2, 2, NULL, weights[0], &err));
  REFUSED(mm2x_router(kernels, kX[0], w, kOnes, 2, 2, ids[0], NULL, &err));
  CLAIM(mm2x_router(kernels, kX[0], w, kOnes, 2, 2, ids[0], weights[0], &err) == MM2_OK);
  CLAIM(ids[0][0] == 2 && ids[0][1] == 3 && ids[1][0] == 1 && ids[1][1] == 2);
  CLAIM(fabs(weights[0][0] + weights[0][1] - 1) < 1e-6);

#define EXPERTS(x, gates, n, chosen, shares, k, to)                                             \
  mm2x_experts(kernels, x, gates, both, both, n, chosen, shares, 2, k, MM2_ACTIVATIONS_F32, to, \
               &err)
  REFUSED(EXPERTS(kX[0], NULL, 2, good[0], half[0], 2, y[0]));
  REFUSED(EXPERTS(kX[0], one, 2, good[0], half[0], 2, y[0]));
  REFUSED(EXPERTS(kX[0], both, 0, good[0], half[0], 2, y[0]));
  REFUSED(EXPERTS(kX[0], both, 2, NULL, half[0], 2, y[0]));
  REFUSED(EXPERTS(kX[0], both, 2, falling[0], half[0], 2, y[0]));
  REFUSED(EXPERTS(kX[0], both, 1, good[0], half[0], 1, y[0]));
  REFUSED(EXPERTS(kX[0], both, 2, good[0], NULL, 2, y[0]));
  REFUSED(EXPERTS(kX[0], both, 2, good[0], half[0], 3, y[0]));
  REFUSED(EXPERTS(NULL, both, 2, good[0], half[0], 2, y[0]));
  REFUSED(EXPERTS(y[0], both, 2, good[0], half[0], 2, y[0]));
  CLAIM(EXPERTS(kX[0], both, 2, good[0], half[0], 2, y[0]) == MM2_OK);
  /* silu(x) * x */
  CLAIM(fabs(y[0][1] - 4 / (1 + exp(-2.0))) < 1e-5 && y[1][1] == 0);
  mm2x_matrix_destroy(w);
}

static void check_attention(void) {
  float y[2][4], q[2][4], kv[2][2][4];
  mm2x_matrix* w = identity();
  mm2x_heads heads;
  REFUSED(mm2x_heads_init(NULL, sizeof heads));
  mm2x_heads_init(&heads, sizeof heads);
  heads.n_heads = 2;
  heads.n_kv_heads = 2;
  heads.head_dim = 2;
  heads.rotary_dim = 2;
#define ATTEND(from, keys, n, positions, number, to)                                            \
  mm2x_attention(kernels, from, keys, kX[0], &heads, n, positions, number, MM2_ACTIVATIONS_F32, \
                 to, &err)
  REFUSED(ATTEND(NULL, kX[0], 1, 2, MM2X_F32, y[0]));
  REFUSED(ATTEND(kX[0], NULL, 1, 2, MM2X_F32, y[0]));
  REFUSED(ATTEND(kX[0], kX[0], 3, 2, MM2X_F32, y[0]));
  REFUSED(ATTEND(kX[0], kX[0], 0, 2, MM2X_F32, y[0]));
  REFUSED(ATTEND(kX[0], kX[0], 1, 2, MM2X_F16, y[0]));
  REFUSED(ATTEND(kX[0], kX[0], 1, 2, MM2X_F32, NULL));
  REFUSED(mm2x_attention(kernels, kX[0], kX[0], kX[0], NULL, 1, 2, MM2X_F32, 0, y[0], &err));
  heads.n_heads = 3;
  REFUSED(ATTEND(kX[0], kX[0], 1, 2, MM2X_F32, y[0]));
  heads.n_heads = 2;
  /* The first query sees the first position alone. */
  CLAIM(ATTEND(kX[0], kX[0], 2, 2, MM2X_F32, y[0]) == MM2_OK);
  CLAIM(y[0][0] == 1 && y[0][3] == 4);
  {
    /* 1 and 4 are codes of E4M3; 1 / 3 and 4 / 3 are not, and what is beyond 448 scales is cut. */
    const float three[2] = {3, 3}, wrong[3] = {1, 0, NAN}, tiny[2] = {0.001953125f, 0.001953125f};
    CLAIM(ATTEND(kX[0], kX[0], 2, 2, MM2X_E4M3, y[0]) == MM2_OK);
    CLAIM(y[0][0] == 1 && y[0][3] == 4);
    heads.v_scales = three;
    REFUSED(ATTEND(kX[0], kX[0], 2, 2, MM2X_F32, y[0]));
    REFUSED(ATTEND(kX[0], kX[0], 2, 2, MM2X_BF16, y[0]));
    CLAIM(ATTEND(kX[0], kX[0], 2, 2, MM2X_E4M3, y[0]) == MM2_OK);
    CLAIM(y[0][0] == 3 * 0.34375f && y[0][3] == 3 * 1.375f);
    heads.v_scales = tiny;
    CLAIM(ATTEND(kX[0], kX[0], 2, 2, MM2X_E4M3, y[0]) == MM2_OK);
    CLAIM(y[0][0] == 0.875f && y[0][3] == 0.875f);
    heads.v_scales = wrong;
    REFUSED(ATTEND(kX[0], kX[0], 2, 2, MM2X_E4M3, y[0]));
    heads.v_scales = wrong + 1;
    REFUSED(ATTEND(kX[0], kX[0], 2, 2, MM2X_E4M3, y[0]));
    heads.v_scales = NULL;
    heads.k_scales = wrong + 1;
    REFUSED(ATTEND(kX[0], kX[0], 2, 2, MM2X_E4M3, y[0]));
    heads.k_scales = NULL;
  }

#define QKV(m, norm, rope, to)                                                             \
  mm2x_qkv(kernels, kX[0], m, w, w, norm, kOnes, rope, &heads, 2, MM2_ACTIVATIONS_F32, to, \
           kv[0][0], &err)
  REFUSED(QKV(NULL, kOnes, kOnes, q[0]));
  REFUSED(QKV(w, NULL, kOnes, q[0]));
  REFUSED(QKV(w, kOnes, NULL, q[0]));
  REFUSED(QKV(w, kOnes, kOnes, NULL));
  heads.rotary_dim = 3;
  REFUSED(QKV(w, kOnes, kOnes, q[0]));
  heads.rotary_dim = 2;
  heads.head_dim = 3;
  REFUSED(QKV(w, kOnes, kOnes, q[0]));
  heads.head_dim = 2;
  {
    const float unturned[2][2] = {{1, 0}, {1, 0}};
    CLAIM(QKV(w, kOnes, unturned[0], q[0]) == MM2_OK);
    CLAIM(fabs(q[0][3] - 4 / sqrt(7.5)) < 1e-6 && kv[0][1][3] == 4 && kv[1][1][0] == -1);
  }
  mm2x_matrix_destroy(w);
}

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  report_path = argv[1];
  mm2_error_init(&err, sizeof err);
  CLAIM(mm2x_kernels_create(MM2_ISA_AUTO, 2, &kernels, &err) == MM2_OK);
  CLAIM(mm2x_kernels_create(MM2_ISA_REFERENCE, 1, &reference, &err) == MM2_OK);
  check_create();
  check_pack();
  check_rows();
  check_linear();
  check_experts();
  check_attention();
  mm2x_kernels_destroy(reference);
  mm2x_kernels_destroy(kernels);
  return n_failures == 0 ? 0 : 1;
}
