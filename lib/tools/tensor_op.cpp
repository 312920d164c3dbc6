#include "tools/tensor_op.h"

#include <array>
#include <cstring>

#include "format/atomic_writer.h"
#include "format/safetensors.h"
#include "tensor/convert.h"
#include "tools/option_reader.h"
#include "tools/verbs.h"

namespace mm2 {
namespace {

struct Row {
  std::string_view name;
  TensorOp run;
};

// name, function
// One a line: operations come from many sides.
// clang-format off
constexpr std::array kOps = {
    Row{"quantize", quantize_op},
    Row{"dequantize", dequantize_op},
    Row{"repack", repack_op},
    Row{"merge", merge_op},
    Row{"match", match_op},
    Row{"reap", reap_op},
};
// clang-format on

struct TensorOptions {
  std::string op, in, out;
  std::vector<std::string> tensors;
  Json params = Json::object();
};

Result<TensorOptions> read_options(const Json& json) {
  static constexpr std::string_view kAllowed[] = {"op",     "in",     "out",    "tensors",
                                                  "params", "format", "threads"};
  const OptionReader reader("tensor", json);
  MM2_RETURN_IF_ERROR(reader.check_names(kAllowed));
  TensorOptions to;
  MM2_RETURN_IF_ERROR(reader.text("op", to.op));
  MM2_RETURN_IF_ERROR(reader.text("in", to.in));
  MM2_RETURN_IF_ERROR(reader.text("out", to.out));
  MM2_RETURN_IF_ERROR(reader.texts("tensors", to.tensors));
  if (const Json* params = reader.find("params")) {
    if (!params->is_object()) return reader.wrong("params", "must be an object");
    to.params = *params;
  }
  if (const Json* format = reader.find("format")) {  // the one parameter that is asked for most
    if (to.params.contains("format")) return reader.wrong("format", "must not be in params too");
    to.params["format"] = *format;
  }
  if (to.op.empty()) return reader.wrong("op", "must name an operation");
  if (to.in.empty()) return reader.wrong("in", "must name a .safetensors file");
  if (to.out.empty()) return reader.wrong("out", "must name the file to write");
  if (to.tensors.empty()) return reader.wrong("tensors", "must name at least one tensor");
  return to;
}

Result<TensorOp> find_op(const std::string& name) {
  std::string known;
  for (const Row& row : kOps) {
    if (row.name == name) return row.run;
    known += join(known.empty() ? "" : ", ", row.name);
  }
  return error(Code::not_found, "tensor: there is no operation \"", name.substr(0, 100),
               "\"; there are ", known.empty() ? "none yet" : known);
}

Result<std::vector<NamedTensor>> read_tensors(const SafetensorsFile& file,
                                              std::span<const std::string> names) {
  std::vector<NamedTensor> tensors;
  for (const std::string& name : names) {
    const TensorInfo* info = file.find(name);
    if (info == nullptr) {
      return error(Code::not_found, file.path(), ": there is no tensor ", name.substr(0, 200));
    }
    NamedTensor& tensor =
        tensors.emplace_back(NamedTensor{info->name, info->dtype, info->shape, {}});
    tensor.bytes.resize(info->bytes);
    MM2_RETURN_IF_ERROR(file.read(*info, 0, info->bytes, tensor.bytes.data()));
  }
  return tensors;
}

Status write_tensors(const std::string& path, const std::vector<NamedTensor>& tensors) {
  std::vector<SafetensorsWriter::Tensor> heads;
  for (const NamedTensor& tensor : tensors) {
    heads.push_back({tensor.name, tensor.dtype, tensor.shape});
  }
  MM2_ASSIGN_OR_RETURN(const auto writer, SafetensorsWriter::create(path, std::move(heads)));
  for (const NamedTensor& tensor : tensors) {
    MM2_RETURN_IF_ERROR(writer->append(tensor.bytes.data(), tensor.bytes.size()));
  }
  return writer->publish();
}

template <typename T>
T element(const std::vector<std::byte>& bytes, size_t i) {
  T value;
  std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
  return value;
}

}  // namespace

Result<std::vector<float>> to_f32(const NamedTensor& tensor) {
  const auto n = static_cast<size_t>(tensor.shape.n_elements());
  std::vector<float> values(n);
  for (size_t i = 0; i < n; ++i) {
    switch (tensor.dtype) {
      case Dtype::f32:
        values[i] = element<float>(tensor.bytes, i);
        break;
      case Dtype::f64:
        values[i] = static_cast<float>(element<double>(tensor.bytes, i));
        break;
      case Dtype::bf16:
        values[i] = bf16_to_f32(element<uint16_t>(tensor.bytes, i));
        break;
      case Dtype::f16:
        values[i] = f16_to_f32(element<uint16_t>(tensor.bytes, i));
        break;
      default:
        return error(Code::invalid_argument, "tensor ", tensor.name, " is ",
                     dtype_name(tensor.dtype), ", wanted is F32, F64, BF16 or F16");
    }
  }
  return values;
}

NamedTensor from_f32(std::string name, Dtype dtype, Shape shape, std::span<const float> values) {
  NamedTensor tensor{std::move(name), dtype, std::move(shape), {}};
  const size_t width = dtype == Dtype::f32 ? 4 : 2;
  tensor.bytes.resize(values.size() * width);
  for (size_t i = 0; i < values.size(); ++i) {
    const uint16_t narrow = dtype == Dtype::bf16 ? f32_to_bf16(values[i]) : f32_to_f16(values[i]);
    const void* from = &values[i];
    if (dtype != Dtype::f32) from = &narrow;
    std::memcpy(tensor.bytes.data() + i * width, from, width);
  }
  return tensor;
}

Status run_tensor(const Json& json, const Host& host, Json* report) {
  MM2_ASSIGN_OR_RETURN(const TensorOptions options, read_options(json));
  MM2_ASSIGN_OR_RETURN(const TensorOp op, find_op(options.op));
  MM2_ASSIGN_OR_RETURN(const auto file, SafetensorsFile::open(options.in, host));
  MM2_ASSIGN_OR_RETURN(const auto tensors, read_tensors(*file, options.tensors));
  TensorOpResult result;
  MM2_RETURN_IF_ERROR(op(options.params, tensors, result).in("tensor " + options.op));
  MM2_RETURN_IF_ERROR(write_tensors(options.out, result.tensors));
  *report = {{"out", options.out}, {"tensors", Json::array()}, {"figures", result.figures}};
  for (const NamedTensor& tensor : result.tensors) {
    (*report)["tensors"].push_back({{"name", tensor.name},
                                    {"dtype", std::string(dtype_name(tensor.dtype))},
                                    {"shape", tensor.shape.extents()}});
  }
  return {};
}

}  // namespace mm2
