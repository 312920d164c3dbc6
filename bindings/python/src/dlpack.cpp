#include "dlpack.h"

namespace mm2::python {
namespace {

/// A managed tensor and all that it points to, in one piece.
template <typename Managed>
struct Exported {
  Managed managed{};
  std::vector<int64_t> shape;
  std::shared_ptr<void> owner;
};

template <typename Managed>
void release(Managed* managed) {
  delete static_cast<Exported<Managed>*>(managed->context);
}

template <typename Managed>
py::object capsule_of(std::shared_ptr<void> owner, void* data, std::vector<int64_t> shape,
                      const char* name, void (*forget)(PyObject*)) {
  auto made = std::make_unique<Exported<Managed>>();
  made->shape = std::move(shape);
  made->owner = std::move(owner);
  made->managed.context = made.get();
  made->managed.release = release<Managed>;
  DlTensor& tensor = made->managed.tensor;
  tensor.data = data;
  tensor.device = {kDlCpu, 0};
  tensor.n_dims = static_cast<int32_t>(made->shape.size());
  tensor.type = {kDlFloat, 32, 1};
  tensor.shape = made->shape.data();
  if constexpr (std::is_same_v<Managed, DlManagedVersioned>) made->managed.major = 1;
  PyObject* capsule = PyCapsule_New(&made->managed, name, forget);
  if (capsule == nullptr) throw py::error_already_set();
  made.release();
  return py::reinterpret_steal<py::object>(capsule);
}

/// A capsule that no consumer took: its name is still the first one.
template <typename Managed>
void forget(PyObject* capsule, const char* name) {
  if (PyCapsule_IsValid(capsule, name) == 0) return;
  auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule, name));
  managed->release(managed);
}

}  // namespace

py::object export_dlpack(std::shared_ptr<void> owner, void* data, std::vector<int64_t> shape,
                         bool versioned) {
  if (versioned) {
    return capsule_of<DlManagedVersioned>(
        std::move(owner), data, std::move(shape), "dltensor_versioned",
        [](PyObject* c) { forget<DlManagedVersioned>(c, "dltensor_versioned"); });
  }
  return capsule_of<DlManaged>(std::move(owner), data, std::move(shape), "dltensor",
                               [](PyObject* c) { forget<DlManaged>(c, "dltensor"); });
}

}  // namespace mm2::python
