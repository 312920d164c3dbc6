// Which file becomes the plug-in, and what is said when none does.
#include "device/plugin.h"

#include "device/report.h"
#include "unit/device/fake.h"
#include "unit/format/temp_folder.h"

using mm2::Code;
using mm2::DevicePlugin;
using support::Fake;
using support::says;

namespace {

bool is_loaded(const std::string& path) {
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_NOLOAD);
  if (handle != nullptr) dlclose(handle);
  return handle != nullptr;
}

}  // namespace

TEST_CASE("plug-in: the file that is named is the one that is opened") {
  const auto plugin = DevicePlugin::open(MM2_FAKE_DEVICE);
  REQUIRE(plugin.ok());
  CHECK((*plugin)->file() == MM2_FAKE_DEVICE);
  CHECK(std::string((*plugin)->backend().name) == "fake");
}

TEST_CASE(
    "plug-in: without a name it is looked for beside the library, then where the loader looks") {
  const auto plugin = DevicePlugin::open("");
  REQUIRE_FALSE(plugin.ok());
  CHECK(plugin.status().code() == Code::unsupported);
  // The library is part of this program, so beside it is beside the program.
  char own[4096];
  const ssize_t n = readlink("/proc/self/exe", own, sizeof own);
  REQUIRE(n > 0);
  const std::string folder(own, std::string_view(own, static_cast<size_t>(n)).rfind('/'));
  CHECK(says(plugin.status(), "searched " + folder + "/libmm2_cuda.so (cannot open shared object"));
  CHECK(says(plugin.status(), "the loader's search path for libmm2_cuda.so (cannot open shared"));
  CHECK(plugin.status().message().size() < 480);  // of mm2_error
}

TEST_CASE("plug-in: a file that is not there, and one that is no library, in the loader's words") {
  const auto missing = DevicePlugin::open("/nowhere/libmm2_cuda.so");
  CHECK(missing.status().code() == Code::not_found);
  CHECK(says(missing.status(), "/nowhere/libmm2_cuda.so (cannot open shared object file"));
  const TempFolder folder;
  folder.write("libmm2_cuda.so", "not a library, however long this text is made to be");
  const auto text = DevicePlugin::open(folder / "libmm2_cuda.so");
  CHECK(text.status().code() == Code::unsupported);
  CHECK(says(text.status(), "file too short"));
}

TEST_CASE("plug-in: one without the symbol, or of another version, is refused") {
  const auto other = DevicePlugin::open(MM2_FAKE_NO_PLUGIN);
  CHECK(other.status().code() == Code::unsupported);
  CHECK(says(other.status(), "is no device plug-in: "));
  CHECK(says(other.status(), mm2::kernels::kPluginSymbol));
  const auto tomorrow = DevicePlugin::open(MM2_FAKE_DEVICE_OF_TOMORROW);
  CHECK(tomorrow.status().code() == Code::unsupported);
  CHECK(says(tomorrow.status(), "version 1000"));
  CHECK(says(tomorrow.status(), mm2::join("takes version ", mm2::kernels::kPluginVersion)));
}

TEST_CASE("plug-in: what was opened stays in the process, and is opened again as the same") {
  const auto first = DevicePlugin::open(MM2_FAKE_DEVICE);
  REQUIRE(first.ok());
  const mm2::kernels::Plugin* table = &(*first)->table();
  CHECK(is_loaded(MM2_FAKE_DEVICE));
  const auto again = DevicePlugin::open(MM2_FAKE_DEVICE);
  REQUIRE(again.ok());
  CHECK(&(*again)->table() == table);
}

TEST_CASE("plug-in: no device is a sentence with the device's own number") {
  const Fake fake;
  fake->n_devices = 0;
  const auto plugin = DevicePlugin::open(MM2_FAKE_DEVICE);
  REQUIRE(plugin.ok());
  const mm2::Status none = (*plugin)->count().status();
  CHECK(none.code() == Code::unsupported);
  CHECK(none.message() == "there is no driver");
  CHECK(none.domain() == mm2::Domain::cuda);
  CHECK(none.native_code() == 35);
}

TEST_CASE("plug-in: what there is, as JSON") {
  const Fake fake;
  fake->n_devices = 2;
  const mm2::Json two = mm2::describe_devices(MM2_FAKE_DEVICE);
  CHECK(two["available"] == true);
  CHECK(two["plugin"] == MM2_FAKE_DEVICE);
  REQUIRE(two["devices"].size() == 2);
  CHECK(two["devices"][1]["name"] == "Fake 1");
  CHECK(two["devices"][1]["compute_capability"] == "9.0");
  CHECK(two["devices"][1]["memory"] == fake->memory_bytes);
  CHECK(two["devices"][0]["driver"] == "13.0");
  fake->n_devices = 0;
  const mm2::Json none = mm2::describe_devices(MM2_FAKE_DEVICE);
  CHECK(none["available"] == false);
  CHECK(none["detail"] == std::string(MM2_FAKE_DEVICE) + ": there is no driver");
  const mm2::Json nothing = mm2::describe_devices("/nowhere/x.so");
  CHECK(nothing["available"] == false);
  CHECK(nothing["plugin"].is_null());
}
