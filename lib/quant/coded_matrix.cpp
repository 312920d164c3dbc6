#include "quant/coded_matrix.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include "base/checked.h"
#include "kernels/api/format.h"
#include "quant/scales.h"

namespace mm2 {
namespace {

constexpr uint64_t kAlignment = 64;
constexpr int64_t kWordBits = 32;

int32_t number_of(Dtype scales) {
  switch (scales) {
    case Dtype::bf16:
      return kernels::kBF16;
    case Dtype::f16:
      return kernels::kF16;
    case Dtype::f8_e4m3:
      return kernels::kE4M3;
    case Dtype::f8_e8m0:
    case Dtype::u8:
      return kernels::kE8M0;
    default:
      return kernels::kF32;
  }
}

kernels::Format format_of(const WeightDescription& d, int64_t n_rows, int64_t first_row) {
  kernels::Format f{};
  f.number = number_of(d.part(PartKind::scale)->dtype);
  f.scheme = d.scheme->codes == CodeType::e4m3   ? kernels::kFp8
             : d.scheme->codes == CodeType::e2m1 ? kernels::kFp4
                                                 : kernels::kInteger;
  // Narrower integers are widened: kernels know 4 and 8 bits.
  f.bits = f.scheme == kernels::kInteger ? (d.bits <= 4 ? 4 : 8) : d.bits;
  f.zeros = d.zero == Zero::stored || d.zero == Zero::stored_plus_one ? 1 : 0;
  f.ordered = d.ordered ? 1 : 0;
  // Patches count from the first row; a slice that starts inside one has its own scale in each row.
  const bool whole = d.scale_rows == 0 || first_row % d.scale_rows == 0;
  f.patch_rows = d.scheme->granularity == Granularity::matrix ? n_rows : whole ? d.scale_rows : 1;
  f.patch_cols = d.scale_cols;
  return f;
}

bool is_read(PartKind kind) {
  return kind != PartKind::unused;
}

int64_t element_bytes(const TensorInfo& tensor) {
  return dtype_bits(tensor.dtype) / 8;
}

// Which of `n` stored rows or columns of a part hold rows [first, first + n_rows) of the matrices.
struct Span {
  int64_t first, n;
};
Span span_of(Extent extent, const WeightDescription& d, int64_t first, int64_t n_rows, int64_t n) {
  int64_t per_step = 1, steps = 1;  // rows per stored one: per_step / steps
  if (extent == Extent::rows_by_word) {
    per_step = kWordBits;
    steps = d.bits;
  } else if (extent == Extent::rows_by_block) {
    per_step = d.scale_rows;
  } else if (extent != Extent::rows) {
    return {0, n};
  }
  const int64_t from = first * steps / per_step;
  return {from, ceil_div((first + n_rows) * steps, per_step) - from};
}

Window window_of(const CodedMatrix& m, size_t part, int64_t first_row, int64_t n_rows) {
  const Part& p = m.description.scheme->parts[part];
  const Shape& shape = m.description.parts[part]->shape;
  const int64_t first = m.first_row + first_row;
  if (p.rank == 1 || shape.rank() < 2) return {0, 1, 0, shape.n_elements()};
  const Span rows = span_of(p.extents[0], m.description, first, n_rows, shape[0]);
  const Span cols = span_of(p.extents[1], m.description, first, n_rows, shape[1]);
  return {rows.first, rows.n, cols.first, cols.n};
}

template <typename F>
void each_part(const CodedMatrix& m, F&& f) {
  const Scheme& scheme = *m.description.scheme;
  for (size_t i = 0; i < scheme.parts.size(); ++i) {
    if (m.description.parts[i] != nullptr && is_read(scheme.parts[i].kind)) f(i);
  }
}

// The rows of w where the file is mapped, w then being all of their columns; or null.
const std::byte* mapped_rows(const TensorSource& source, const TensorInfo& tensor, Window& w) {
  if (tensor.shape.rank() != 2) return nullptr;
  const std::byte* data = source.map(tensor);
  const auto width = static_cast<uintptr_t>(element_bytes(tensor));
  if (data == nullptr || reinterpret_cast<uintptr_t>(data) % width != 0) return nullptr;
  w.first_col = 0;
  w.n_cols = tensor.shape.n_cols();
  const int64_t row_bytes = w.n_cols * element_bytes(tensor);
  source.bring(tensor, static_cast<uint64_t>(w.first_row * row_bytes),
               static_cast<uint64_t>(w.n_rows * row_bytes));
  return data + w.first_row * row_bytes;
}

Status read_window(const TensorSource& source, const TensorInfo& tensor, const Window& w,
                   std::byte* to) {
  const int64_t width = element_bytes(tensor);
  const int64_t stride = w.n_rows > 1 || tensor.shape.rank() > 1 ? tensor.shape.n_cols() : w.n_cols;
  const bool whole_rows = w.n_cols == stride;
  const int64_t n_reads = whole_rows ? 1 : w.n_rows;
  const int64_t n = (whole_rows ? w.n_rows : 1) * w.n_cols * width;
  for (int64_t r = 0; r < n_reads; ++r) {
    const int64_t from = ((w.first_row + r) * stride + w.first_col) * width;
    Status read =
        source.read(tensor, static_cast<uint64_t>(from), static_cast<size_t>(n), to + r * n);
    if (!read.ok()) return std::move(read).in("tensor " + tensor.name);
  }
  return {};
}

int64_t index_at(const TensorInfo& tensor, const std::byte* data, int64_t i) {
  if (tensor.dtype == Dtype::i64) {
    int64_t value;
    std::memcpy(&value, data + i * 8, 8);
    return value;
  }
  int32_t value;
  std::memcpy(&value, data + i * 4, 4);
  return value;
}

Status check_shape(const CodedMatrix& m, const TensorSource& source, const TensorInfo& tensor,
                   const std::byte* data) {
  const int64_t rows = index_at(tensor, data, 0), cols = index_at(tensor, data, 1);
  if (rows == m.stored_rows && cols == m.n_cols) return {};
  return error(Code::format, file_and_name(source, tensor), ": it says [", rows, ", ", cols,
               "], the matrix is [", m.stored_rows, ", ", m.n_cols, "]");
}

// The columns sorted by group, those of a group in their order. `order` [n_cols].
Status check_groups(const CodedMatrix& m, const TensorSource& source, const TensorInfo& map,
                    const std::byte* data, int32_t* order) {
  const int64_t group = m.format.patch_cols;
  const int64_t n_groups = m.n_patches();
  std::vector<int64_t> next(static_cast<size_t>(n_groups));
  for (int64_t g = 0; g < n_groups; ++g) next[static_cast<size_t>(g)] = g * group;
  for (int64_t k = 0; k < m.n_cols; ++k) {
    const int64_t g = index_at(map, data, k);
    if (g < 0 || g >= n_groups) {
      return error(Code::format, file_and_name(source, map), ": [", k, "] is ", g,
                   ", groups are 0 to ", n_groups - 1);
    }
    if (order == nullptr) {
      if (g == k / group) continue;
      return error(Code::format, file_and_name(source, map), ": [", k, "] is ", g, ", but without ",
                   "desc_act column ", k, " is of group ", k / group);
    }
    int64_t& at = next[static_cast<size_t>(g)];
    if (at < std::min((g + 1) * group, m.n_cols)) order[at] = static_cast<int32_t>(k);
    ++at;
  }
  for (int64_t g = 0; g < n_groups && order != nullptr; ++g) {
    const int64_t n = next[static_cast<size_t>(g)] - g * group;
    const int64_t wanted = std::min(group, m.n_cols - g * group);
    if (n == wanted) continue;
    return error(Code::format, file_and_name(source, map), ": group ", g, " has ", n,
                 " columns, must have ", wanted);
  }
  return {};
}

Status check_global(const CodedMatrix& m, const TensorSource& source, const TensorInfo& tensor,
                    const std::byte* data, float& scale) {
  widen_scales(tensor.dtype, data, 1, &scale);
  const std::string fault = scale_fault(global_scale_rule(m.description), scale);
  if (fault.empty()) return {};
  return error(Code::format, file_and_name(source, tensor), ": the global scale ", fault);
}

}  // namespace

int64_t CodedMatrix::n_patches() const {
  return kernels::n_patches(format, n_cols);
}

Result<CodedMatrix> coded_matrix(const WeightPlace& place, const WeightDescription& description,
                                 const TensorSource& source) {
  const auto refuse = [&](const std::string& why) {
    return error(Code::unsupported, file_and_name(source, description.codes()), ": ",
                 description.to_string(), ": ", why);
  };
  if (description.is_plain()) return refuse("there are no codes");
  CodedMatrix m{description,    {}, place.n_rows(), place.n_cols(), place.stored.n_rows(),
                place.first_row};
  m.format = format_of(description, m.n_rows, m.first_row);
  if (m.n_cols > std::numeric_limits<int32_t>::max()) return refuse("rows are too long");
  const bool by_eight = description.scheme->packing == Packing::awq;
  if (by_eight && m.first_row % 8 != 0) {
    return refuse(join("rows from ", m.first_row, " on begin inside a word"));
  }
  if (!kernels::is_format(m.format, m.n_cols)) {
    return refuse(join("no kernel takes patches of ", m.format.patch_rows, "x", m.format.patch_cols,
                       " for rows of ", m.n_cols, "; groups may have 32, 64 or a multiple of 128 ",
                       "columns, or a whole row"));
  }
  return m;
}

Status check_executable(const WeightPlace& place, const WeightDescription& description,
                        const TensorSource& source) {
  if (description.is_plain()) return {};
  return coded_matrix(place, description, source).status();
}

uint64_t read_bytes(const CodedMatrix& m, int64_t first_row, int64_t n_rows) {
  uint64_t bytes = 0;
  each_part(m, [&](size_t i) {
    const Window w = window_of(m, i, first_row, n_rows);
    bytes += static_cast<uint64_t>(w.n_rows * w.n_cols * element_bytes(*m.description.parts[i]));
  });
  return bytes;
}

uint64_t raw_bytes(const CodedMatrix& m, int64_t n_rows) {
  uint64_t bytes = 0;
  each_part(m, [&](size_t i) {
    const Shape& shape = m.description.parts[i]->shape;
    Window w = window_of(m, i, 0, n_rows);
    // Rows that begin inside a word or block touch one more.
    if (shape.rank() == 2) {
      w.n_rows = std::min(w.n_rows + 1, shape[0]);
      w.n_cols = std::min(w.n_cols + 1, shape[1]);
    }
    bytes += round_up(
        static_cast<uint64_t>(w.n_rows * w.n_cols * element_bytes(*m.description.parts[i])),
        kAlignment);
  });
  if (m.format.ordered != 0) bytes += round_up(static_cast<uint64_t>(m.n_cols) * 4, kAlignment);
  return bytes;
}

Result<RawParts> read_parts(const CodedMatrix& m, const TensorSource& source, int64_t first_row,
                            int64_t n_rows, bool may_map, std::byte* memory) {
  RawParts raw;
  raw.first_row = first_row;
  raw.n_rows = n_rows;
  std::byte* at = memory;
  Status status;
  const auto take = [&](int64_t bytes) {
    std::byte* here = at;
    at += round_up(static_cast<uint64_t>(bytes), kAlignment);
    return here;
  };
  const Scheme& scheme = *m.description.scheme;
  each_part(m, [&](size_t i) {
    if (!status.ok()) return;
    const TensorInfo& tensor = *m.description.parts[i];
    Window& w = raw.windows[i] = window_of(m, i, first_row, n_rows);
    const std::byte* data = may_map ? mapped_rows(source, tensor, w) : nullptr;
    raw.mapped[i] = data != nullptr;
    if (data == nullptr) {
      std::byte* read = take(w.n_rows * w.n_cols * element_bytes(tensor));
      status = read_window(source, tensor, w, read);
      if (!status.ok()) return;
      data = read;
    }
    raw.parts[i] = data;
    switch (scheme.parts[i].kind) {
      case PartKind::group_map: {
        int32_t* order = nullptr;
        if (m.format.ordered != 0) order = reinterpret_cast<int32_t*>(take(m.n_cols * 4));
        raw.order = order;
        status = check_groups(m, source, tensor, data, order);
        return;
      }
      case PartKind::shape:
        status = check_shape(m, source, tensor, data);
        return;
      case PartKind::global_scale:
        status = check_global(m, source, tensor, data, raw.global_scale);
        return;
      default:
        return;
    }
  });
  if (!status.ok()) return status;
  return raw;
}

void let_go_of_parts(const CodedMatrix& m, const TensorSource& source, const RawParts& raw) {
  each_part(m, [&](size_t i) {
    if (!raw.mapped[i]) return;
    const TensorInfo& tensor = *m.description.parts[i];
    const Window& w = raw.windows[i];
    const int64_t row_bytes = w.n_cols * element_bytes(tensor);
    source.let_go(tensor, static_cast<uint64_t>(w.first_row * row_bytes),
                  static_cast<uint64_t>(w.n_rows * row_bytes));
  });
}

}  // namespace mm2
