// One F32 matrix as a safetensors file that appears whole or not at all.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <span>
#include <string>

namespace cli {

class TensorFile {
 public:
  /// Starts a file for `name` [n_rows, n_columns] beside `path`; it takes that name in publish().
  TensorFile(const std::string& path, const std::string& name, int64_t n_rows, int64_t n_columns);
  /// Removes what was not published.
  ~TensorFile();
  TensorFile(const TensorFile&) = delete;
  TensorFile& operator=(const TensorFile&) = delete;

  /// Appends values; all calls together must give n_rows x n_columns of them.
  void write(std::span<const float> values);
  void publish();

 private:
  void write_bytes(const void* bytes, size_t n);

  std::string path_, temporary_, doing_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
  int64_t n_missing_;
};

}  // namespace cli
