// Quantised matrices of every dialect, as bytes of a checkpoint, and the speed of a plain copy.
#pragma once

#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/checked.h"
#include "base/host.h"
#include "bench/probe.h"
#include "quant/coded_matrix.h"

namespace bench {

using namespace mm2;

constexpr int64_t kRows = 1536, kCols = 3072;  // w1 of an expert

/// GB/s of all threads copying the next 64 MiB of a buffer to the next of another.
class CopyProbe {
 public:
  explicit CopyProbe(Team& team) : team_(team), from_(kBytes), to_(kBytes) {}
  double copy() {
    constexpr int64_t kPiece = 1 << 20;
    const double begin = now();
    team_.run(kSlice / kPiece, [&](int32_t i, int32_t) {
      const int64_t at = at_ + i * kPiece;
      std::memcpy(to_.data.get() + at, from_.data.get() + at, kPiece);
    });
    const double taken = now() - begin;
    at_ = (at_ + kSlice) % kBytes;
    return static_cast<double>(kSlice) / taken / 1e9;
  }

 private:
  static constexpr int64_t kBytes = int64_t{512} << 20, kSlice = int64_t{64} << 20;
  Team& team_;
  Bytes from_, to_;
  int64_t at_ = 0;
};

struct PartOf {
  const char* suffix;
  Dtype dtype;
  Shape shape;
  std::function<uint32_t(uint64_t& state)> word;  // content, 4 bytes at a time
};

struct Dialect {
  const char* name;
  QuantConfig config;
  std::vector<PartOf> parts;
};

/// Matrices of one dialect, one after the other, in memory or in a file.
class Set final : public TensorSource {
 public:
  Set(const Dialect& dialect, int64_t n_bytes) : data_(n_bytes) {
    uint64_t state = 1, offset = 0, one = 0;
    for (const PartOf& part : dialect.parts) one += round(*tensor_bytes(part.shape, part.dtype));
    for (int64_t m = 0; offset + one <= data_.size; ++m) {
      WeightPlace place;
      place.role = Role::w1;
      place.layer = 0;
      place.expert = static_cast<int32_t>(m);
      place.stem = join("m", m);
      place.name = join(place.stem, ".weight");
      place.found = true;
      place.shape = place.stored = Shape{kRows, kCols};
      places_.push_back(place);
      for (const PartOf& part : dialect.parts) {
        const uint64_t bytes = *tensor_bytes(part.shape, part.dtype);
        tensors_.push_back(
            {join(place.stem, part.suffix), part.dtype, part.shape, 0, offset, bytes});
        for (uint64_t at = 0; at + 4 <= bytes; at += 4) {
          const uint32_t word = part.word(state);
          std::memcpy(data_.data.get() + offset + at, &word, 4);
        }
        offset += round(bytes);
      }
    }
    for (size_t i = 0; i < tensors_.size(); ++i) by_name_[tensors_[i].name] = i;
    for (const WeightPlace& place : places_) {
      const auto description = describe_weight(place, *this, dialect.config);
      if (!description.ok()) give_up(description.status());
      auto m = coded_matrix(place, *description, *this);
      if (!m.ok()) give_up(m.status());
      matrices_.push_back(*m);
    }
  }
  ~Set() override {
    if (file_ != nullptr) std::remove(path_.c_str());
  }
  /// From now on all is read from a file of that name, which goes when the set goes.
  void move_to_file(const std::string& path) {
    path_ = path;
    std::FILE* out = std::fopen(path.c_str(), "wb");
    const bool done =
        out != nullptr && std::fwrite(data_.data.get(), 1, data_.size, out) == data_.size;
    if (out == nullptr || std::fclose(out) != 0 || !done) give_up(error(Code::io, path));
    auto file = file_system_source()->open(path);
    if (!file.ok()) give_up(file.status());
    file_ = *file;
    data_ = Bytes(1);
  }
  static void give_up(const Status& status) {
    std::fprintf(stderr, "%s\n", status.message().c_str());
    std::exit(1);
  }
  const std::vector<CodedMatrix>& matrices() const { return matrices_; }
  const std::vector<WeightPlace>& places() const { return places_; }
  std::vector<WeightDescription> descriptions() const {
    std::vector<WeightDescription> all;
    for (const CodedMatrix& m : matrices_) all.push_back(m.description);
    return all;
  }

  std::span<const TensorInfo> tensors() const override { return tensors_; }
  const TensorInfo* find(std::string_view name) const override {
    const auto found = by_name_.find(std::string(name));
    return found == by_name_.end() ? nullptr : &tensors_[found->second];
  }
  Status read(const TensorInfo& tensor, uint64_t from, size_t n, void* to) const override {
    if (file_ != nullptr) return file_->read_at(tensor.offset + from, to, n);
    std::memcpy(to, data_.data.get() + tensor.offset + from, n);
    return {};
  }
  const std::byte* map(const TensorInfo& tensor) const override {
    if (file_ == nullptr || file_->map() == nullptr) return nullptr;
    return file_->map() + tensor.offset;
  }
  void bring(const TensorInfo& tensor, uint64_t from, uint64_t n) const override {
    if (file_ != nullptr) file_->bring(tensor.offset + from, n);
  }
  void let_go(const TensorInfo& tensor, uint64_t from, uint64_t n) const override {
    if (file_ != nullptr) file_->let_go(tensor.offset + from, n);
  }
  std::string_view file_of(const TensorInfo&) const override { return "memory"; }

 private:
  static uint64_t round(uint64_t n) { return round_up<uint64_t>(n, 64); }
  Bytes data_;
  std::string path_;
  std::shared_ptr<SourceFile> file_;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, size_t> by_name_;
  std::vector<WeightPlace> places_;
  std::vector<CodedMatrix> matrices_;
};

inline uint32_t any_bits(uint64_t& state) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return static_cast<uint32_t>(state >> 32);
}
inline uint32_t no_nan(uint64_t& state) {  // E4M3
  return any_bits(state) & 0xF7F7F7F7u;
}
inline std::function<uint32_t(uint64_t&)> always(uint32_t word) {
  return [word](uint64_t&) { return word; };
}

inline QuantConfig config(const char* method, const char* layout, bool symmetric,
                          bool desc_act = false) {
  QuantConfig c;
  c.method = method;
  c.layout = layout;
  c.words.symmetric = symmetric;
  c.words.desc_act = desc_act;
  return c;
}

inline std::vector<Dialect> dialects() {
  const auto half = always(0x2C002C00u), bf16 = always(0x3D803D80u);
  const auto one = always(0x3F800000u);
  const Shape words{kCols / 8, kRows}, zeros{kCols / 128, kRows / 8}, scales{kCols / 128, kRows};
  const std::vector<PartOf> gptq = {{".qweight", Dtype::i32, words, any_bits},
                                    {".qzeros", Dtype::i32, zeros, always(0x77777777u)},
                                    {".scales", Dtype::f16, scales, half}};
  std::vector<PartOf> ordered = gptq;
  const auto next = std::make_shared<uint32_t>(0);
  ordered.push_back({".g_idx", Dtype::i32, {kCols}, [next](uint64_t&) {
                       return (*next)++ * 7 % kCols % (kCols / 128);
                     }});
  return {
      {"GPTQ 4 bit, group 128", config("gptq", "gptq", true), gptq},
      {"GPTQ 4 bit, group 128, with zeros", config("gptq", "gptq", false), gptq},
      {"GPTQ 4 bit, group 128, desc_act", config("gptq", "gptq", true, true), ordered},
      {"AWQ 4 bit, group 128",
       config("awq", "awq", false),
       {{".qweight", Dtype::i32, {kCols, kRows / 8}, any_bits},
        {".qzeros", Dtype::i32, zeros, any_bits},
        {".scales", Dtype::f16, scales, half}}},
      {"compressed-tensors 4 bit, group 128",
       config("compressed-tensors", "", true),
       {{".weight_packed", Dtype::i32, {kRows, kCols / 8}, any_bits},
        {".weight_scale", Dtype::bf16, {kRows, kCols / 128}, bf16}}},
      {"compressed-tensors 4 bit, group 32, zeros",
       config("compressed-tensors", "", false),
       {{".weight_packed", Dtype::i32, {kRows, kCols / 8}, any_bits},
        {".weight_zero_point", Dtype::i32, {kRows / 8, kCols / 32}, any_bits},
        {".weight_scale", Dtype::bf16, {kRows, kCols / 32}, bf16}}},
      {"int8, a scale per row",
       config("compressed-tensors", "", true),
       {{".weight", Dtype::i8, {kRows, kCols}, any_bits},
        {".weight_scale", Dtype::bf16, {kRows, 1}, bf16}}},
      {"NVFP4 of ModelOpt",
       config("modelopt", "", true),
       {{".weight", Dtype::u8, {kRows, kCols / 2}, any_bits},
        {".weight_scale", Dtype::f8_e4m3, {kRows, kCols / 16}, always(0x38383838u)},
        {".weight_scale_2", Dtype::f32, {1}, one}}},
      {"MXFP4",
       config("compressed-tensors", "", true),
       {{".weight_packed", Dtype::u8, {kRows, kCols / 2}, any_bits},
        {".weight_scale", Dtype::u8, {kRows, kCols / 32}, always(0x78787878u)}}},
      {"FP8, blocks of 128x128",
       config("fp8", "", true),
       {{".weight", Dtype::f8_e4m3, {kRows, kCols}, no_nan},
        {".weight_scale_inv", Dtype::f32, {kRows / 128, kCols / 128}, one}}},
  };
}

}  // namespace bench
