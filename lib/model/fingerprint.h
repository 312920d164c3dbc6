// Which weights a model has, in 256 bits, to tell data of one model from that of another.
#pragma once

#include "base/blake2b.h"
#include "format/checkpoint.h"
#include "kernels/api/types.h"
#include "quant/kv_scales.h"

namespace mm2 {

/// Of the shape, the KV scales, every tensor's name, type and shape, and samples of several hundred
/// tensors. How they are spread over shards does not matter. It tells models apart that differ by
/// training, merging, pruning or quantisation; weights changed on purpose between the samples are
/// not seen.
Result<Digest> fingerprint_of(const kernels::ModelShape& shape, const KvScales& kv_scales,
                              const Checkpoint& checkpoint);

}  // namespace mm2
