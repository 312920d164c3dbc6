#include "cuda_emulator/stream.h"

#include <string.h>

#include <vector>

using Work = std::vector<std::function<cudaError_t()>>;

struct CUstream_st {
  bool captures = false;
  Work work;
};
struct CUevent_st {
  int32_t records = 0;
};
struct CUgraph_st {
  Work work;
};
struct CUgraphExec_st {
  Work work;
};

using namespace cuda_emulator;

namespace cuda_emulator {

cudaError_t in_stream(cudaStream_t stream, std::function<cudaError_t()> what) {
  if (stream == nullptr || !stream->captures) return what();
  stream->work.push_back(what);
  return cudaSuccess;
}

}  // namespace cuda_emulator

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  if (const cudaError_t error = state_of_device(); error != cudaSuccess) return error;
  *stream = new CUstream_st;
  count_stream(1, 0);
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  count_stream(-1, 0);
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (stream != nullptr && stream->captures) return cudaErrorStreamCaptureUnsupported;
  return state_of_device();
}

cudaError_t cudaStreamQuery(cudaStream_t) {
  return state_of_device();
}

cudaError_t cudaDeviceSynchronize() {
  return state_of_device();
}

cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) {
  return state_of_device();
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  if (const cudaError_t error = state_of_device(); error != cudaSuccess) return error;
  *event = new CUevent_st;
  count_stream(0, 1);
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  count_stream(0, -1);
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  ++event->records;
  return state_of_device();
}

cudaError_t cudaEventSynchronize(cudaEvent_t) {
  return state_of_device();
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (stream == nullptr || stream->captures) return cudaErrorStreamCaptureUnsupported;
  stream->captures = true;
  stream->work.clear();
  return state_of_device();
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  if (stream == nullptr || !stream->captures) return cudaErrorStreamCaptureInvalidated;
  stream->captures = false;
  *graph = new CUgraph_st{stream->work};
  stream->work.clear();
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  *exec = new CUgraphExec_st{graph->work};
  return state_of_device();
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  for (const auto& work : exec->work) {
    if (const cudaError_t error = in_stream(stream, work); error != cudaSuccess) return error;
  }
  return state_of_device();
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t n_bytes, cudaMemcpyKind,
                            cudaStream_t stream) {
  if (const cudaError_t error = state_of_device(); error != cudaSuccess) return error;
  return in_stream(stream, [=] {
    if (n_bytes != 0) memmove(to, from, n_bytes);
    return cudaSuccess;
  });
}

cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch,
                              size_t width, size_t height, cudaMemcpyKind, cudaStream_t stream) {
  if (const cudaError_t error = state_of_device(); error != cudaSuccess) return error;
  if (width > to_pitch || width > from_pitch) return cudaErrorInvalidValue;
  return in_stream(stream, [=] {
    for (size_t i = 0; i < height; ++i) {
      memmove(static_cast<char*>(to) + i * to_pitch,
              static_cast<const char*>(from) + i * from_pitch, width);
    }
    return cudaSuccess;
  });
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t n_bytes, cudaMemcpyKind kind) {
  return cudaMemcpyAsync(to, from, n_bytes, kind, nullptr);
}

cudaError_t cudaMemsetAsync(void* to, int byte, size_t n_bytes, cudaStream_t stream) {
  if (const cudaError_t error = state_of_device(); error != cudaSuccess) return error;
  return in_stream(stream, [=] {
    if (n_bytes != 0) memset(to, byte, n_bytes);
    return cudaSuccess;
  });
}

cudaError_t cudaMemset(void* to, int byte, size_t n_bytes) {
  return cudaMemsetAsync(to, byte, n_bytes, nullptr);
}
