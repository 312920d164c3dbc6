#include "model_path.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "errors.h"

namespace cli {
namespace {

namespace fs = std::filesystem;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

fs::path hub_cache() {
  if (const auto hub = environment("HF_HUB_CACHE"); !hub.empty()) return hub;
  if (const auto home = environment("HF_HOME"); !home.empty()) return fs::path(home) / "hub";
  return fs::path(environment("HOME")) / ".cache" / "huggingface" / "hub";
}

bool looks_like_repo_id(const std::string& text) {
  const size_t slash = text.find('/');
  return slash != std::string::npos && slash > 0 && slash + 1 < text.size() &&
         text.find('/', slash + 1) == std::string::npos && text[0] != '.' && text[0] != '~';
}

/// models--owner--name/snapshots/<commit>: the commit that refs/main names, else the only one.
fs::path snapshot_of(const fs::path& repo) {
  std::error_code ignored;
  std::string commit;
  std::ifstream(repo / "refs" / "main") >> commit;
  if (!commit.empty() && fs::is_directory(repo / "snapshots" / commit, ignored)) {
    return repo / "snapshots" / commit;
  }
  fs::path only;
  for (const auto& entry : fs::directory_iterator(repo / "snapshots", ignored)) {
    if (!only.empty()) return {};
    only = entry.path();
  }
  return only;
}

}  // namespace

std::string find_model(const std::string& model) {
  const std::string doing = "looking for model '" + model + "'";
  std::error_code ignored;
  if (fs::exists(model, ignored)) return model;
  if (!looks_like_repo_id(model)) {
    throw Failure(kInvalidInput, doing, "there is no such file or folder");
  }
  std::string folder = "models--" + model;
  folder.replace(folder.find('/'), 1, "--");
  const fs::path repo = hub_cache() / folder;
  if (!fs::is_directory(repo, ignored)) {
    throw Failure(kInvalidInput, doing,
                  "neither a folder of that name nor " + repo.string() +
                      " exists (mm2 downloads nothing: fetch the checkpoint first)");
  }
  const fs::path snapshot = snapshot_of(repo);
  if (snapshot.empty()) {
    throw Failure(kInvalidInput, doing,
                  repo.string() + " holds no snapshot, or several and no refs/main to choose one");
  }
  return snapshot.string();
}

}  // namespace cli
