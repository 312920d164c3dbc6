// Memory of a device: copies from many threads, packing on the device.
#include <thread>

#include "kernels/cuda/layout/pack.h"
#include "kernels/cuda/plugin/emulated_plugin.h"

using namespace support;
namespace cuda = mm2::kernels::cuda;

TEST_CASE("cuda plugin memory: copies of any size and alignment arrive, many at once") {
  const Emulated emulated;
  const OpenDevice device;
  const std::vector<int64_t> sizes = {1, 4095, (8 << 20) - 1, 8 << 20, (8 << 20) + 1, 33'333'333};
  std::vector<std::thread> threads;
  std::vector<int> wrong(8, -1);
  for (size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      wrong[t] = 0;
      for (size_t i = 0; i < sizes.size(); ++i) {
        const int64_t n = sizes[(i + t) % sizes.size()];
        std::vector<char> from(static_cast<size_t>(n) + 3), to(from.size());
        Random random(t * 100 + i);
        for (char& byte : from) byte = static_cast<char>(random.bits());
        void* memory = nullptr;
        DeviceError error{};
        const Plugin& p = plugin();
        bool ok = p.allocate(device.get(), n, &memory, &error) == kDeviceOk;
        ok = ok && reinterpret_cast<uintptr_t>(memory) % 256 == 0;
        ok = ok && p.copy_to(device.get(), memory, from.data() + 3, n, &error) == kDeviceOk;
        ok = ok && p.copy_from(device.get(), to.data() + 3, memory, n, &error) == kDeviceOk;
        ok = ok && std::equal(from.begin() + 3, from.end(), to.begin() + 3);
        p.release(device.get(), memory);
        wrong[t] += ok ? 0 : 1;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == std::vector<int>(wrong.size(), 0));
}

TEST_CASE("cuda plugin memory: packing on the device gives the bytes of packing on the host") {
  const Emulated emulated;
  const OpenDevice device;
  Random random(81);
  for (const NamedFormat& named : all_formats(200, 300)) {
    const Weights weights(random, 200, 300, named.format);
    const int64_t n = plugin().backend->packed_bytes(&named.format, 200, 300);
    const Memory want(n);
    plugin().backend->pack(&weights.rows(), want.get());
    const char* bytes = static_cast<const char*>(want.get());
    void* whole = device.allocate(n);
    DeviceError error{};
    REQUIRE(plugin().pack(device.get(), &weights.rows(), whole, &error) == kDeviceOk);
    INFO(named.name);
    CHECK(device.download(whole, n) == std::vector<char>(bytes, bytes + n));
    plugin().release(device.get(), whole);
  }
}

TEST_CASE(
    "cuda plugin memory: codes as GPTQ, AWQ and rows of nibbles keep them are packed in slices") {
  const Emulated emulated;
  const OpenDevice device;
  Random random(82);
  const int64_t n_in = 4096, n_out = 20'096;  // more than one slice of 32 MiB
  for (const int32_t code_layout : {kNibblesOfRows, kNibblesOfWords, kNibblesOfEight}) {
    const bool large = code_layout == kNibblesOfWords;
    const int64_t rows = large ? n_out : 192, patches = n_in / 128;
    const int64_t stride = code_layout == kNibblesOfRows    ? n_in / 8 + 3
                           : code_layout == kNibblesOfWords ? rows + 5
                                                            : rows / 8 + 2;
    const int64_t n_lines = code_layout == kNibblesOfRows    ? rows
                            : code_layout == kNibblesOfWords ? n_in / 8
                                                             : n_in;
    std::vector<uint32_t> codes(static_cast<size_t>(stride * n_lines - 2));
    for (uint32_t& code : codes) code = static_cast<uint32_t>(random.bits());
    const std::vector<float> scales(static_cast<size_t>(rows * patches), 0.5f);
    MatrixRows m{Format{kInteger, kF16, 4, 0, 0, 1, 128},
                 rows,
                 n_in,
                 0,
                 rows,
                 codes.data(),
                 scales.data(),
                 nullptr,
                 nullptr,
                 code_layout,
                 stride};
    const int64_t n = plugin().backend->packed_bytes(&m.format, rows, n_in);
    const Memory want(n);
    cuda::pack_on_host(&m, want.get());
    const char* bytes = static_cast<const char*>(want.get());
    void* packed = device.allocate(n);
    DeviceError error{};
    REQUIRE(plugin().pack(device.get(), &m, packed, &error) == kDeviceOk);
    INFO(code_layout);
    CHECK(device.download(packed, n) == std::vector<char>(bytes, bytes + n));
    plugin().release(device.get(), packed);
  }
}

TEST_CASE("cuda plugin memory: everything is given back when devices are closed") {
  const Emulated emulated;
  const auto before = emulated.counts();
  {
    const OpenDevice device(1);
    const std::vector<char> bytes(100, 'x');
    void* memory = device.upload(bytes.data(), 100);
    CHECK(device.download(memory, 100) == bytes);
    plugin().release(device.get(), memory);
  }
  const auto after = emulated.counts();
  CHECK(after.allocated_bytes == before.allocated_bytes);
  CHECK(after.pinned_bytes == before.pinned_bytes);
  CHECK(after.streams == before.streams);
  CHECK(after.events == before.events);
  CHECK(after.contexts == before.contexts);
}
