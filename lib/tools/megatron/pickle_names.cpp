#include <algorithm>
#include <array>

#include "tools/megatron/pickle.h"

namespace mm2 {

namespace {

struct Known {
  std::string_view module;
  std::string_view names;  // separated by spaces; "*": all
};

constexpr std::array kKnown = {
    Known{"torch._utils",
          "_rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_parameter "
          "_rebuild_parameter_with_state"},
    Known{"torch",
          "DoubleStorage FloatStorage HalfStorage BFloat16Storage CharStorage ByteStorage "
          "ShortStorage IntStorage LongStorage BoolStorage ComplexFloatStorage "
          "float64 float32 float16 bfloat16 float8_e4m3fn float8_e5m2 float8_e8m0fnu "
          "float8_e4m3fnuz float8_e5m2fnuz int8 uint8 int16 uint16 int32 uint32 int64 uint64 bool "
          "complex64 Size device Tensor"},
    Known{"torch.storage", "UntypedStorage"},
    Known{"torch.nn.parameter", "Parameter"},
    Known{"torch._tensor", "Tensor"},
    Known{"collections", "OrderedDict defaultdict"},
    Known{"argparse", "Namespace"},
    Known{"types", "SimpleNamespace"},
    Known{"_io", "BytesIO"},
    Known{"io", "BytesIO"},
    Known{"builtins",
          "set frozenset complex slice range bytearray object int float bool str bytes list dict "
          "tuple"},
    Known{"__builtin__",
          "set frozenset complex slice xrange bytearray object int long float bool str unicode "
          "bytes list "
          "dict tuple"},
    Known{"copyreg", "_reconstructor"},
    Known{"copy_reg", "_reconstructor"},
    Known{"_codecs", "encode"},
    Known{"datetime", "datetime timedelta date timezone"},
    Known{"pathlib", "PosixPath Path PurePosixPath PureWindowsPath WindowsPath"},
    Known{"signal", "Signals"},
    Known{"numpy", "ndarray dtype"},
    Known{"numpy.core.multiarray", "_reconstruct scalar"},
    Known{"numpy._core.multiarray", "_reconstruct scalar"},
};

// Training frameworks keep enumerations and configurations of their own among the arguments.
constexpr std::array<std::string_view, 2> kFrameworks = {"megatron.", "transformer_engine."};

}  // namespace

bool is_known_name(std::string_view module, std::string_view name) {
  constexpr size_t kMaxName = 256;
  if (module.size() > kMaxName || name.size() > kMaxName) return false;
  for (const std::string_view framework : kFrameworks) {
    if (module.substr(0, framework.size()) == framework) return true;
  }
  for (const Known& known : kKnown) {
    if (known.module != module) continue;
    std::string_view rest = known.names;
    while (!rest.empty()) {
      const size_t n = std::min(rest.find(' '), rest.size());
      if (rest.substr(0, n) == name) return true;
      rest.remove_prefix(std::min(n + 1, rest.size()));
    }
  }
  return false;
}

}  // namespace mm2
