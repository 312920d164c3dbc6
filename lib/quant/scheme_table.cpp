// The table of weight schemes. Layouts: reference documents of GPTQ, AWQ, compressed-tensors,
// ModelOpt and the vendor's FP8.
#include "quant/scheme.h"

namespace mm2 {
namespace {

template <typename... D>
constexpr uint32_t any_of(D... dtypes) {
  return ((uint32_t{1} << static_cast<int>(dtypes)) | ...);
}

constexpr uint32_t kFloat = any_of(Dtype::f32, Dtype::bf16, Dtype::f16);
constexpr uint32_t kF32 = any_of(Dtype::f32);
constexpr uint32_t kE4m3 = any_of(Dtype::f8_e4m3);
constexpr uint32_t kE8m0 = any_of(Dtype::u8, Dtype::f8_e8m0);
constexpr uint32_t kBytes = any_of(Dtype::u8);
constexpr uint32_t kSigned = any_of(Dtype::i8);
constexpr uint32_t kWords = any_of(Dtype::i32);
constexpr uint32_t kIndex = any_of(Dtype::i32, Dtype::i64);

using enum Extent;

constexpr Part codes(std::string_view suffix, uint32_t dtypes, Extent rows_extent,
                     Extent cols_extent) {
  return {PartKind::codes, suffix, dtypes, {rows_extent, cols_extent}, 2, true};
}
constexpr Part matrix(PartKind kind, std::string_view suffix, uint32_t dtypes, Extent first,
                      Extent second, bool required = true) {
  return {kind, suffix, dtypes, {first, second}, 2, required};
}
constexpr Part scalar(PartKind kind, std::string_view suffix, uint32_t dtypes, bool required) {
  return {kind, suffix, dtypes, {one, one}, 1, required, true};
}

constexpr Part kPlain[] = {codes(".weight", kFloat, rows, cols)};

constexpr Part kFp8Block[] = {
    codes(".weight", kE4m3, rows, cols),
    matrix(PartKind::scale, ".weight_scale_inv", kFloat, rows_by_block, cols_by_block),
};
constexpr Part kFp8BlockCt[] = {
    codes(".weight", kE4m3, rows, cols),
    matrix(PartKind::scale, ".weight_scale", kFloat, rows_by_block, cols_by_block),
    scalar(PartKind::unused, ".input_scale", kFloat, false),
};
constexpr Part kFp8Row[] = {
    codes(".weight", kE4m3, rows, cols),
    matrix(PartKind::scale, ".weight_scale", kFloat, rows, one),
    scalar(PartKind::unused, ".input_scale", kFloat, false),
};
constexpr Part kFp8Matrix[] = {
    codes(".weight", kE4m3, rows, cols),
    scalar(PartKind::scale, ".weight_scale", kFloat, true),
    scalar(PartKind::unused, ".input_scale", kFloat, false),
};
constexpr Part kFp8Group[] = {
    codes(".weight", kE4m3, rows, cols),
    matrix(PartKind::scale, ".weight_scale", kFloat, rows, cols_by_group),
    scalar(PartKind::unused, ".input_scale", kFloat, false),
};
constexpr Part kMxfp8[] = {
    codes(".weight", kE4m3, rows, cols),
    matrix(PartKind::scale, ".weight_scale", kE8m0, rows, cols_by_group),
};
constexpr Part kInt8Group[] = {
    codes(".weight", kSigned, rows, cols),
    matrix(PartKind::scale, ".weight_scale", kFloat, rows, cols_by_group),
    matrix(PartKind::zero, ".weight_zero_point", kSigned, rows, cols_by_group, false),
    {PartKind::group_map, ".weight_g_idx", kIndex, {cols, one}, 1, false},
    scalar(PartKind::unused, ".input_scale", kFloat, false),
    scalar(PartKind::unused, ".input_zero_point", kSigned, false),
};
constexpr Part kInt8Matrix[] = {
    codes(".weight", kSigned, rows, cols),
    scalar(PartKind::scale, ".weight_scale", kFloat, true),
    scalar(PartKind::zero, ".weight_zero_point", kSigned, false),
    scalar(PartKind::unused, ".input_scale", kFloat, false),
    scalar(PartKind::unused, ".input_zero_point", kSigned, false),
};
constexpr Part kGptq[] = {
    codes(".qweight", kWords, cols_by_word, rows),
    matrix(PartKind::scale, ".scales", kFloat, cols_by_group, rows),
    matrix(PartKind::zero, ".qzeros", kWords, cols_by_group, rows_by_word),
    {PartKind::group_map, ".g_idx", kIndex, {cols, one}, 1, false},
};
constexpr Part kAwq[] = {
    codes(".qweight", kWords, cols, rows_by_word),
    matrix(PartKind::scale, ".scales", kFloat, cols_by_group, rows),
    matrix(PartKind::zero, ".qzeros", kWords, cols_by_group, rows_by_word, false),
};
constexpr Part kPacked[] = {
    codes(".weight_packed", kWords, rows, cols_as_words),
    matrix(PartKind::scale, ".weight_scale", kFloat, rows, cols_by_group),
    matrix(PartKind::zero, ".weight_zero_point", kWords, rows_by_word, cols_by_group, false),
    {PartKind::group_map, ".weight_g_idx", kIndex, {cols, one}, 1, false},
    {PartKind::shape, ".weight_shape", kIndex, {two, one}, 1, false},
};
constexpr Part kNvfp4Ct[] = {
    codes(".weight_packed", kBytes, rows, cols_by_two),
    matrix(PartKind::scale, ".weight_scale", kE4m3, rows, cols_by_group),
    scalar(PartKind::global_scale, ".weight_global_scale", kF32, true),
    scalar(PartKind::unused, ".input_global_scale", kF32, false),
};
constexpr Part kMxfp4[] = {
    codes(".weight_packed", kBytes, rows, cols_by_two),
    matrix(PartKind::scale, ".weight_scale", kE8m0, rows, cols_by_group),
};
constexpr Part kNvfp4[] = {
    codes(".weight", kBytes, rows, cols_by_two),
    matrix(PartKind::scale, ".weight_scale", kE4m3, rows, cols_by_group),
    scalar(PartKind::global_scale, ".weight_scale_2", kF32, true),
    scalar(PartKind::unused, ".input_scale", kF32, false),
};

constexpr Scheme kSchemes[] = {
    {"plain", "plain", "", "", CodeType::plain, Packing::none, Granularity::none, Zero::none, 0,
     false, kPlain},
    {"fp8_block", "fp8 block", "", "", CodeType::e4m3, Packing::none, Granularity::block,
     Zero::none, 0, false, kFp8Block},
    {"fp8_block_ct", "fp8 block", "compressed-tensors modelopt", "", CodeType::e4m3, Packing::none,
     Granularity::block, Zero::none, 0, false, kFp8BlockCt},
    {"fp8_row", "fp8 with a scale per row", "", "", CodeType::e4m3, Packing::none, Granularity::row,
     Zero::none, 0, false, kFp8Row},
    {"fp8_matrix", "fp8 with one scale", "", "", CodeType::e4m3, Packing::none, Granularity::matrix,
     Zero::none, 0, false, kFp8Matrix},
    {"mxfp8", "mxfp8", "", "", CodeType::e4m3, Packing::none, Granularity::group, Zero::none, 32,
     false, kMxfp8},
    {"fp8_group", "fp8", "compressed-tensors", "", CodeType::e4m3, Packing::none,
     Granularity::group, Zero::none, 0, false, kFp8Group},
    {"int8_group", "compressed-tensors integers", "compressed-tensors", "", CodeType::integer,
     Packing::none, Granularity::group, Zero::half, 0, false, kInt8Group},
    {"int8_matrix", "compressed-tensors integers with one scale", "compressed-tensors", "",
     CodeType::integer, Packing::none, Granularity::matrix, Zero::half, 0, false, kInt8Matrix},
    {"gptq_v2", "gptq v2", "gptq auto-round", "gptq_v2", CodeType::integer, Packing::gptq,
     Granularity::group, Zero::stored, 0, false, kGptq},
    {"gptq", "gptq", "gptq auto-round", "gptq", CodeType::integer, Packing::gptq,
     Granularity::group, Zero::stored_plus_one, 0, false, kGptq},
    {"awq", "awq", "awq auto-round", "awq", CodeType::integer, Packing::awq, Granularity::group,
     Zero::stored, 0, false, kAwq},
    {"ct_packed", "compressed-tensors packed integers", "compressed-tensors", "", CodeType::integer,
     Packing::dense_words, Granularity::group, Zero::half, 0, false, kPacked},
    {"ct_nvfp4", "nvfp4 (compressed-tensors)", "compressed-tensors", "", CodeType::e2m1,
     Packing::nibbles, Granularity::group, Zero::none, 16, true, kNvfp4Ct},
    {"ct_mxfp4", "mxfp4", "compressed-tensors", "", CodeType::e2m1, Packing::nibbles,
     Granularity::group, Zero::none, 32, false, kMxfp4},
    {"nvfp4", "nvfp4 (ModelOpt)", "modelopt", "", CodeType::e2m1, Packing::nibbles,
     Granularity::group, Zero::none, 16, false, kNvfp4},
};

}  // namespace

std::span<const Scheme> schemes() {
  return kSchemes;
}

}  // namespace mm2
