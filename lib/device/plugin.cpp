#include "device/plugin.h"

#include <dlfcn.h>
#include <link.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <string_view>
#include <vector>

namespace mm2 {
namespace {

std::string loader_words() {
  const char* words = dlerror();
  return words == nullptr ? "the loader gives no reason" : words;
}

// The file that holds this function: libmm2.so, or the program that the static library is part of.
std::string own_file() {
  Dl_info found{};
  link_map* map = nullptr;
  const auto here = reinterpret_cast<const void*>(&own_file);
  if (dladdr1(here, &found, reinterpret_cast<void**>(&map), RTLD_DL_LINKMAP) == 0) return {};
  if (map != nullptr && map->l_name != nullptr && map->l_name[0] != '\0') return map->l_name;
  char
      path[PATH_MAX];  // the program itself, whose name in the loader is only what it was called by
  const ssize_t n = readlink("/proc/self/exe", path, sizeof path);
  return n < 0 ? std::string() : std::string(path, static_cast<size_t>(n));
}

struct Place {
  std::string file;  // for dlopen
  std::string name;  // for people
};

std::vector<Place> places(const std::string& path) {
  if (!path.empty()) return {{path, path}};
  std::vector<Place> all;
  const std::string own = own_file();
  if (const size_t slash = own.rfind('/'); slash != std::string::npos) {
    const std::string beside = own.substr(0, slash + 1) + kPluginFile;
    all.push_back({beside, beside});
  }
  all.push_back({kPluginFile, join("the loader's search path for ", kPluginFile)});
  return all;
}

// The words of the loader begin with the name of the file that it could not open: once is enough.
std::string without_name(std::string words, const std::string& name) {
  if (words.compare(0, name.size() + 2, name + ": ") == 0) words.erase(0, name.size() + 2);
  return words;
}

struct Opened {
  void* handle;
  Place place;
};

Result<Opened> open_first(const std::string& path) {
  std::string tried;
  for (const Place& place : places(path)) {
    if (void* handle = dlopen(place.file.c_str(), RTLD_NOW | RTLD_LOCAL)) {
      return Opened{handle, place};
    }
    tried += join(tried.empty() ? "" : "; ", place.name, " (",
                  without_name(loader_words(), place.file), ")");
  }
  // The errno of the last try tells nothing: the loader has tried several files for each.
  const bool is_missing = !path.empty() && access(path.c_str(), F_OK) != 0 && errno == ENOENT;
  return error(is_missing ? Code::not_found : Code::unsupported,
               "there is no CUDA plug-in: searched ", tried);
}

bool is_complete(const kernels::Plugin& t) {
  return t.name != nullptr && t.backend != nullptr && t.count != nullptr && t.info != nullptr &&
         t.open != nullptr && t.close != nullptr && t.allocate != nullptr && t.release != nullptr &&
         t.copy_to != nullptr && t.copy_from != nullptr && t.pack != nullptr &&
         t.make_model != nullptr && t.free_model != nullptr && t.make_engine != nullptr &&
         t.free_engine != nullptr && t.step != nullptr && t.copy_block != nullptr &&
         t.read_positions != nullptr && t.write_positions != nullptr && t.describe != nullptr &&
         t.engine_bytes != nullptr;
}

Result<const kernels::Plugin*> table_of(const Opened& opened) {
  using Entry = const kernels::Plugin* (*)();
  const auto entry = reinterpret_cast<Entry>(dlsym(opened.handle, kernels::kPluginSymbol));
  if (entry == nullptr) {
    return error(Code::unsupported, opened.place.name, " is no device plug-in: ", loader_words());
  }
  const kernels::Plugin* table = entry();
  // Only the first two members are where every version has them.
  if (table != nullptr && (table->version != kernels::kPluginVersion ||
                           table->size != uint32_t{sizeof(kernels::Plugin)})) {
    return error(Code::unsupported, opened.place.name, " is a device plug-in of version ",
                 table->version, " (a table of ", table->size,
                 " bytes), this library takes version ", kernels::kPluginVersion, " (",
                 sizeof(kernels::Plugin), " bytes): both must be of one build");
  }
  if (table == nullptr || !is_complete(*table)) {
    return error(Code::unsupported, opened.place.name, " is a device plug-in whose table has gaps");
  }
  return table;
}

}  // namespace

Status device_status(const kernels::Plugin& table, int32_t code,
                     const kernels::DeviceError& failure) {
  Code as = Code::device;
  const char* otherwise = "a device call failed";
  switch (code) {
    case kernels::kDeviceOk:
      return {};
    case kernels::kDeviceNone:
      as = Code::unsupported;
      otherwise = "there is no such device";
      break;
    case kernels::kDeviceUnsupported:
      as = Code::unsupported;
      otherwise = "the device's kernels do not take this";
      break;
    case kernels::kDeviceOutOfMemory:
      as = Code::out_of_memory;
      otherwise = "out of device memory";
      break;
    case kernels::kDeviceLost:
      as = Code::device_lost;
      otherwise = "the device is lost to this process";
      break;
    case kernels::kDeviceInterrupted:
      as = Code::cancelled;
      otherwise = "interrupted";
      break;
    default:
      break;
  }
  const size_t n = std::string_view(failure.text, sizeof failure.text).find('\0');
  std::string text(failure.text, n == std::string_view::npos ? sizeof failure.text : n);
  if (text.empty()) text = otherwise;
  Status status(as, std::move(text));
  if (failure.native == 0) return status;
  const bool is_cuda = std::string_view(table.name) == "cuda";
  return std::move(status).with_native(is_cuda ? Domain::cuda : Domain::none, failure.native);
}

Result<std::shared_ptr<const DevicePlugin>> DevicePlugin::open(const std::string& path) {
  MM2_ASSIGN_OR_RETURN(const Opened opened, open_first(path));
  MM2_ASSIGN_OR_RETURN(const kernels::Plugin* table, table_of(opened));
  Dl_info found{};
  const bool is_known = dladdr(dlsym(opened.handle, kernels::kPluginSymbol), &found) != 0;
  return std::shared_ptr<const DevicePlugin>(
      new DevicePlugin(table, is_known ? found.dli_fname : opened.place.name));
}

Result<int32_t> DevicePlugin::count() const {
  kernels::DeviceError failure{};
  int32_t n = 0;
  const int32_t code = table_->count(&n, &failure);
  if (code != kernels::kDeviceOk) return device_status(*table_, code, failure);
  if (n < 1) return error(Code::unsupported, file_, " finds no device");
  return n;
}

Result<kernels::DeviceInfo> DevicePlugin::info(int32_t index) const {
  kernels::DeviceError failure{};
  kernels::DeviceInfo info{};
  const int32_t code = table_->info(index, &info, &failure);
  if (code != kernels::kDeviceOk) return device_status(*table_, code, failure);
  info.name[sizeof info.name - 1] = '\0';
  return info;
}

}  // namespace mm2
