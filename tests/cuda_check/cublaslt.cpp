// cuBLASLt as a peer: opened by name where it is installed, never needed.
#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <algorithm>
#include <chrono>

#include "cuda_check/products.h"

namespace check {
namespace {

struct Library {
  decltype(&cublasLtCreate) create = nullptr;
  decltype(&cublasLtDestroy) destroy = nullptr;
  decltype(&cublasLtMatmulDescCreate) desc = nullptr;
  decltype(&cublasLtMatmulDescSetAttribute) set_desc = nullptr;
  decltype(&cublasLtMatrixLayoutCreate) layout = nullptr;
  decltype(&cublasLtMatmulPreferenceCreate) preference = nullptr;
  decltype(&cublasLtMatmulPreferenceSetAttribute) set_preference = nullptr;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic = nullptr;
  decltype(&cublasLtMatmul) matmul = nullptr;
  decltype(&cublasLtMatmulDescDestroy) free_desc = nullptr;
  decltype(&cublasLtMatrixLayoutDestroy) free_layout = nullptr;
  decltype(&cublasLtMatmulPreferenceDestroy) free_preference = nullptr;
  bool is_whole = false;

  Library() {
    void* handle = dlopen("libcublasLt.so.13", RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) return;  // stays open until the program ends
    is_whole = find(handle, "cublasLtCreate", create) && find(handle, "cublasLtDestroy", destroy) &&
               find(handle, "cublasLtMatmulDescCreate", desc) &&
               find(handle, "cublasLtMatmulDescSetAttribute", set_desc) &&
               find(handle, "cublasLtMatrixLayoutCreate", layout) &&
               find(handle, "cublasLtMatmulPreferenceCreate", preference) &&
               find(handle, "cublasLtMatmulPreferenceSetAttribute", set_preference) &&
               find(handle, "cublasLtMatmulAlgoGetHeuristic", heuristic) &&
               find(handle, "cublasLtMatmul", matmul) &&
               find(handle, "cublasLtMatmulDescDestroy", free_desc) &&
               find(handle, "cublasLtMatrixLayoutDestroy", free_layout) &&
               find(handle, "cublasLtMatmulPreferenceDestroy", free_preference);
  }

 private:
  template <typename F>
  static bool find(void* handle, const char* name, F& function) {
    function = reinterpret_cast<F>(dlsym(handle, name));
    return function != nullptr;
  }
};

constexpr size_t kWorkspace = size_t{64} << 20;

// What describes a product, with an owner.
struct Description {
  const Library& lib;
  cublasLtMatmulDesc_t product = nullptr;
  cublasLtMatrixLayout_t w = nullptr, x = nullptr, y = nullptr;
  cublasLtMatmulPreference_t preference = nullptr;
  explicit Description(const Library& library) : lib(library) {}
  ~Description() {
    if (product != nullptr) lib.free_desc(product);
    for (cublasLtMatrixLayout_t layout : {w, x, y}) {
      if (layout != nullptr) lib.free_layout(layout);
    }
    if (preference != nullptr) lib.free_preference(preference);
  }
  Description(const Description&) = delete;
  Description& operator=(const Description&) = delete;
};

// Its matrices are column-major: y^T[n_out, n_tokens] = (w^T)^T x^T.
double time_matmul(const Library& lib, cublasLtHandle_t handle, int32_t n_tokens, int64_t n_out,
                   int64_t n_in, char* memory) {
  Description description(lib);
  auto& product = description.product;
  auto &w = description.w, &x = description.x, &y = description.y;
  auto& preference = description.preference;
  const cublasOperation_t transposed = CUBLAS_OP_T;
  cublasLtMatmulHeuristicResult_t best{};
  int n_found = 0;
  const auto m = static_cast<uint64_t>(n_out), k = static_cast<uint64_t>(n_in),
             n = static_cast<uint64_t>(n_tokens);
  const bool ready = lib.desc(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F) == CUBLAS_STATUS_SUCCESS &&
                     lib.set_desc(product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                  sizeof transposed) == CUBLAS_STATUS_SUCCESS &&
                     lib.layout(&w, CUDA_R_16BF, k, m, n_in) == CUBLAS_STATUS_SUCCESS &&
                     lib.layout(&x, CUDA_R_16BF, k, n, n_in) == CUBLAS_STATUS_SUCCESS &&
                     lib.layout(&y, CUDA_R_16BF, m, n, n_out) == CUBLAS_STATUS_SUCCESS &&
                     lib.preference(&preference) == CUBLAS_STATUS_SUCCESS &&
                     lib.set_preference(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                        &kWorkspace, sizeof kWorkspace) == CUBLAS_STATUS_SUCCESS &&
                     lib.heuristic(handle, product, w, x, y, y, preference, 1, &best, &n_found) ==
                         CUBLAS_STATUS_SUCCESS &&
                     n_found > 0;
  if (!ready) return 0;
  const float one = 1, zero = 0;
  char *w_at = memory + kWorkspace, *x_at = w_at + m * k * 2, *y_at = x_at + n * k * 2;
  const auto run = [&](int times) {
    const auto begin = std::chrono::steady_clock::now();
    bool ran = true;
    for (int i = 0; i < times; ++i) {
      ran = ran && lib.matmul(handle, product, &one, w_at, w, x_at, x, &zero, y_at, y, y_at, y,
                              &best.algo, memory, kWorkspace, nullptr) == CUBLAS_STATUS_SUCCESS;
    }
    ran = ran && cudaStreamSynchronize(nullptr) == cudaSuccess;
    const double s =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    return ran ? s / times : 0.0;
  };
  const double first = run(3);
  if (first == 0) return 0;
  const int times = static_cast<int>(std::clamp(0.05 / first, 5.0, 500.0));
  return std::min({run(times), run(times), run(times)});
}

}  // namespace

double cublaslt_seconds(int32_t n_tokens, int64_t n_out, int64_t n_in) {
  static const Library lib;
  cublasLtHandle_t handle = nullptr;
  if (!lib.is_whole || lib.create(&handle) != CUBLAS_STATUS_SUCCESS) return 0;
  const size_t n_bytes =
      kWorkspace + static_cast<size_t>(n_out * n_in + n_tokens * (n_in + n_out)) * 2;
  void* memory = nullptr;
  double seconds = 0;
  // 0x3C3C is 0.0115: power depends on data, but less than on its being zero.
  if (cudaMalloc(&memory, n_bytes) == cudaSuccess &&
      cudaMemset(memory, 0x3C, n_bytes) == cudaSuccess) {
    seconds = time_matmul(lib, handle, n_tokens, n_out, n_in, static_cast<char*>(memory));
  }
  (void)cudaFree(memory);
  lib.destroy(handle);
  return seconds;
}

}  // namespace check
