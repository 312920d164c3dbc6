#include "device/engine.h"

namespace mm2 {

using kernels::DeviceError;
using kernels::Plugin;

Result<std::unique_ptr<DeviceEngine>> DeviceEngine::make(
    std::shared_ptr<DeviceModel> model, const kernels::DeviceEngineOptions& options) {
  std::unique_ptr<DeviceEngine> engine(new DeviceEngine(std::move(model)));
  MM2_RETURN_IF_ERROR(engine->call([&](const Plugin& t, DeviceError* failure) {
    return t.make_engine(engine->model_->handle(), &options, &engine->handle_, failure);
  }));
  return engine;
}

DeviceEngine::~DeviceEngine() {
  if (handle_ == nullptr) return;
  model_->device()->give_back([&](const Plugin& t) { t.free_engine(handle_); });
}

Status DeviceEngine::step(const kernels::StepPlan& plan) {
  return call(
      [&](const Plugin& t, DeviceError* failure) { return t.step(handle_, &plan, failure); });
}

Status DeviceEngine::copy_block(int32_t from, int32_t to) {
  return call([&](const Plugin& t, DeviceError* failure) {
    return t.copy_block(handle_, from, to, failure);
  });
}

Status DeviceEngine::read_positions(const kernels::StepRow& row, int64_t first, int64_t n,
                                    void* to) const {
  return call([&](const Plugin& t, DeviceError* failure) {
    return t.read_positions(handle_, &row, first, n, to, failure);
  });
}

Status DeviceEngine::write_positions(const kernels::StepRow& row, int64_t first, int64_t n,
                                     const void* from) {
  return call([&](const Plugin& t, DeviceError* failure) {
    return t.write_positions(handle_, &row, first, n, from, failure);
  });
}

Json DeviceEngine::describe() const {
  std::lock_guard lock(mutex_);
  if (!device().usable().ok()) return Json::object();
  const char* text = device().plugin().table().describe(handle_);
  auto json = parse_json(text == nullptr ? "{}" : text, "what the device tells of its last step");
  return json.ok() && json->is_object() ? *std::move(json) : Json::object();
}

}  // namespace mm2
