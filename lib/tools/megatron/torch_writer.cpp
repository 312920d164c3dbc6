#include "tools/megatron/torch_writer.h"

#include <algorithm>

#include "tools/megatron/zip_index.h"

namespace mm2 {

namespace {

constexpr uint64_t kAlignment = 64;
constexpr uint64_t kIn64 = 0xFFFFFFFF;  // sizes from here on stand in a 64-bit field
constexpr size_t kLocalBytes = 30;

std::string little(uint64_t value, int n) {
  std::string bytes;
  for (int i = 0; i < n; ++i) bytes += static_cast<char>(value >> 8 * i & 0xFF);
  return bytes;
}

std::string low(uint64_t value) {
  return little(std::min(value, kIn64), 4);
}

// Version, flags (a checksum follows the data; names are UTF-8), stored as it is, a date that zip knows.
std::string common_head() {
  return little(45, 2) + little(0x0808, 2) + little(0, 2) + little(0, 2) + little(0x21, 2);
}

std::string local_header(const std::string& name, uint64_t bytes, uint64_t at) {
  std::string extra;
  if (bytes >= kIn64) extra = little(1, 2) + little(16, 2) + little(bytes, 8) + little(bytes, 8);
  const uint64_t data = at + kLocalBytes + name.size() + extra.size() + 4;
  const uint64_t gap = (kAlignment - data % kAlignment) % kAlignment;
  extra += "FB" + little(gap, 2) + std::string(static_cast<size_t>(gap), 'Z');
  return "PK\x03\x04" + common_head() + little(0, 4) + low(bytes) + low(bytes) +
         little(name.size(), 2) + little(extra.size(), 2) + name + extra;
}

}  // namespace

Result<TorchWriter> TorchWriter::begin(const TorchContents& contents, Append append) {
  MM2_ASSIGN_OR_RETURN(const std::string pickle, torch_pickle(contents));
  TorchWriter writer(std::move(append));
  for (const TorchContents::Group& group : contents.groups) {
    for (const TorchContents::Tensor& tensor : group.tensors) {
      writer.tensor_bytes_.push_back(tensor_bytes(tensor.shape, tensor.dtype).value_or(0));
    }
  }
  MM2_RETURN_IF_ERROR(writer.whole_entry("data.pkl", pickle));
  MM2_RETURN_IF_ERROR(writer.whole_entry("byteorder", "little"));
  MM2_RETURN_IF_ERROR(writer.whole_entry("version", "3\n"));
  MM2_RETURN_IF_ERROR(writer.next_tensor());
  return writer;
}

Status TorchWriter::put(const std::string& bytes) {
  written_ += bytes.size();
  return append_(bytes.data(), bytes.size());
}

Status TorchWriter::open_entry(Entry entry) {
  entry.header = written_;
  entry.name = join("archive/", entry.name);
  entries_.push_back(std::move(entry));
  return put(local_header(entries_.back().name, entries_.back().bytes, written_));
}

Status TorchWriter::close_entry() {
  const Entry& entry = entries_.back();
  const int width = entry.bytes >= kIn64 ? 8 : 4;
  return put("PK\x07\x08" + little(entry.crc, 4) + little(entry.bytes, width) +
             little(entry.bytes, width));
}

Status TorchWriter::whole_entry(const std::string& name, const std::string& bytes) {
  MM2_RETURN_IF_ERROR(open_entry({name, bytes.size(), 0, crc32(0, bytes.data(), bytes.size())}));
  MM2_RETURN_IF_ERROR(put(bytes));
  return close_entry();
}

// Closes the tensor that is full and opens the next one that has bytes.
Status TorchWriter::next_tensor() {
  while (missing_ == 0) {
    if (open_) {
      MM2_RETURN_IF_ERROR(close_entry());
      open_ = false;
    }
    if (n_begun_ == tensor_bytes_.size()) return {};
    missing_ = tensor_bytes_[n_begun_];
    MM2_RETURN_IF_ERROR(open_entry({join("data/", n_begun_), missing_, 0, 0}));
    open_ = true;
    ++n_begun_;
  }
  return {};
}

Status TorchWriter::append(const void* data, size_t n) {
  const auto* bytes = static_cast<const char*>(data);
  while (n > 0) {
    if (missing_ == 0) {
      return error(Code::invalid_argument, "a torch file: ", n,
                   " bytes more than its tensors need");
    }
    const auto part = static_cast<size_t>(std::min<uint64_t>(n, missing_));
    entries_.back().crc = crc32(entries_.back().crc, bytes, part);
    written_ += part;
    MM2_RETURN_IF_ERROR(append_(bytes, part));
    missing_ -= part;
    bytes += part;
    n -= part;
    MM2_RETURN_IF_ERROR(next_tensor());
  }
  return {};
}

Status TorchWriter::finish() {
  if (missing_ != 0) {
    return error(Code::invalid_argument, "a torch file: ", missing_, " bytes of tensor ",
                 n_begun_ - 1, " of ", tensor_bytes_.size(), " are missing");
  }
  const uint64_t begin = written_;
  for (const Entry& entry : entries_) {
    std::string extra;
    for (const uint64_t value : {entry.bytes, entry.bytes, entry.header}) {
      if (value >= kIn64) extra += little(value, 8);
    }
    if (!extra.empty()) extra = little(1, 2) + little(extra.size(), 2) + extra;
    MM2_RETURN_IF_ERROR(put("PK\x01\x02" + little(45, 2) + common_head() + little(entry.crc, 4) +
                            low(entry.bytes) + low(entry.bytes) + little(entry.name.size(), 2) +
                            little(extra.size(), 2) + little(0, 10) + low(entry.header) +
                            entry.name + extra));
  }
  const uint64_t bytes = written_ - begin, end = written_, n = entries_.size();
  std::string tail = "PK\x06\x06" + little(44, 8) + little(45, 2) + little(45, 2) + little(0, 8) +
                     little(n, 8) + little(n, 8) + little(bytes, 8) + little(begin, 8);
  tail += "PK\x06\x07" + little(0, 4) + little(end, 8) + little(1, 4);
  const uint64_t few = std::min<uint64_t>(n, 0xFFFF);
  tail += "PK\x05\x06" + little(0, 4) + little(few, 2) + little(few, 2) + low(bytes) + low(begin) +
          little(0, 2);
  return put(tail);
}

}  // namespace mm2
