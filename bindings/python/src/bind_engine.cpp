#include "engine.h"
#include "host.h"
#include "model.h"
#include "quick.h"
#include "sampler.h"

namespace mm2::python {
namespace {

using namespace py::literals;

struct Option {
  const char* name;
  int32_t mm2_engine_options::*field;
};
constexpr Option kOptions[] = {{"max_seqs", &mm2_engine_options::max_seqs},
                               {"max_tokens_per_step", &mm2_engine_options::max_tokens_per_step},
                               {"max_outputs_per_step", &mm2_engine_options::max_outputs_per_step},
                               {"kv_block_size", &mm2_engine_options::kv_block_size},
                               {"kv_dtype", &mm2_engine_options::kv_dtype},
                               {"kv_scales", &mm2_engine_options::kv_scales},
                               {"activations", &mm2_engine_options::activations},
                               {"device_kernels", &mm2_engine_options::device_kernels},
                               {"prefix_cache", &mm2_engine_options::prefix_cache},
                               {"n_threads", &mm2_engine_options::n_threads}};

/// Options by the names of the C struct; what has no such name is an error.
mm2_engine_options options_of(const py::dict& given) {
  auto options = mm2::make<mm2_engine_options>();
  for (const auto& [key, value] : given) {
    const auto name = key.cast<std::string>();
    bool known = name == "kv_tokens" || name == "device_stream";
    if (name == "device_stream") {
      options.device_stream = reinterpret_cast<void*>(integer_of(value, name, 0, INT64_MAX));
    } else if (known) {
      options.kv_tokens = integer_of(value, name, INT64_MIN, INT64_MAX);
    }
    for (const Option& option : kOptions) {
      if (name != option.name) continue;
      options.*option.field = int32_of(value, name);
      known = true;
    }
    if (!known) throw py::type_error("engine has no option '" + name + "'");
  }
  return options;
}

std::unique_ptr<Engine> make_engine(const Model& model, const py::dict& given) {
  mm2_engine_options options = options_of(given);
  const Host host;
  options.host = host.get();
  const mm2_model_info info = model.handle.info();
  const py::gil_scoped_release released;
  mm2_engine* made = nullptr;
  mm2::detail::call(mm2_engine_create, model.handle.get(), &options, &made);
  return std::make_unique<Engine>(made, info.n_vocab);
}

py::dict estimate(const Model& model, const py::dict& given) {
  const mm2_engine_options options = options_of(given);
  return dict_of(model.handle.estimate(&options));
}

py::dict info_of(Engine& engine) {
  const mm2_engine_info i = engine.alone([](mm2::Engine& e) { return e.info(); });
  return py::dict("max_seqs"_a = i.max_seqs, "max_tokens_per_step"_a = i.max_tokens_per_step,
                  "max_outputs_per_step"_a = i.max_outputs_per_step, "kv_tokens"_a = i.kv_tokens,
                  "kv_blocks"_a = i.kv_blocks, "max_positions"_a = i.max_positions,
                  "kv_block_size"_a = i.kv_block_size, "kv_dtype"_a = i.kv_dtype,
                  "activations"_a = i.activations, "prefix_cache"_a = i.prefix_cache,
                  "n_threads"_a = i.n_threads, "isa"_a = i.isa, "n_vocab"_a = i.n_vocab,
                  "device"_a = i.device);
}

py::tuple kv_pool(Engine& engine) {
  int64_t free = 0, total = 0;
  int32_t block_size = 0;
  engine.alone(
      [&](mm2::Engine& e) { mm2::detail::call(mm2_kv_pool, e.get(), &free, &total, &block_size); });
  return py::make_tuple(free, total, block_size);
}

/// Any integer of 64 bits, as Python's hash() gives them too.
uint64_t salt_of(const py::object& salt) {
  const uint64_t bits = PyLong_AsUnsignedLongLongMask(salt.ptr());
  if (bits == UINT64_MAX && PyErr_Occurred() != nullptr) throw py::error_already_set();
  return bits;
}

int32_t prefix_match(Engine& engine, int32_t seq, const py::object& tokens,
                     const py::object& salt) {
  const std::vector<int32_t> ids = ids_of(tokens);
  const uint64_t tenant = salt_of(salt);
  return engine.alone([&](mm2::Engine& e) {
    int32_t matched = 0;
    mm2::detail::call(mm2_prefix_match, e.get(), seq, ids.data(), static_cast<int32_t>(ids.size()),
                      tenant, &matched);
    return matched;
  });
}

py::bytes export_seq(Engine& engine, int32_t seq) {
  const mm2::detail::Buffer buffer;
  engine.alone(
      [&](mm2::Engine& e) { mm2::detail::call(mm2_seq_export, e.get(), seq, buffer.get()); });
  return {static_cast<const char*>(mm2_buffer_data(buffer.get())), mm2_buffer_size(buffer.get())};
}

void import_seq(Engine& engine, int32_t seq, const py::bytes& data) {
  const std::string_view bytes = bytes_of(data);
  engine.alone([&](mm2::Engine& e) {
    mm2::detail::call(mm2_seq_import, e.get(), seq, bytes.data(), bytes.size());
  });
}

void bind_prefix(py::class_<Engine>& engine) {
  engine.def("prefix_match", &prefix_match, "seq"_a, "tokens"_a, "salt"_a = 0)
      .def("export_seq", &export_seq, "seq"_a)
      .def("import_seq", &import_seq, "seq"_a, "data"_a)
      .def(
          "prefix_evict",
          [](Engine& e, int64_t n_blocks) {
            return e.alone([&](mm2::Engine& h) {
              int64_t evicted = 0;
              mm2::detail::call(mm2_prefix_evict, h.get(), n_blocks, &evicted);
              return evicted;
            });
          },
          "n_blocks"_a)
      .def(
          "prefix_clear",
          [](Engine& e, const py::object& salt) {
            const uint64_t tenant = salt.is_none() ? 0 : salt_of(salt);
            const uint64_t* only = salt.is_none() ? nullptr : &tenant;
            e.alone([&](mm2::Engine& h) { mm2::detail::call(mm2_prefix_clear, h.get(), only); });
          },
          "salt"_a = py::none());
}

void bind_rows(py::module_& m) {
  py::class_<Cancellation>(m, "Cancellation")
      .def(py::init<>())
      .def("cancel", &Cancellation::cancel)
      .def_property_readonly("cancelled", &Cancellation::is_cancelled);
  py::class_<Rows>(m, "Rows")
      .def(py::init([](int32_t seq, const py::object& tokens, int32_t outputs,
                       const py::object& position) {
             const int64_t first =
                 position.is_none() ? -1 : integer_of(position, "position", 0, INT32_MAX);
             return Rows{seq, ids_of(tokens), outputs, static_cast<int32_t>(first)};
           }),
           "seq"_a, "tokens"_a, "outputs"_a = 1, "position"_a = py::none())
      .def_readonly("seq", &Rows::seq)
      .def_readonly("tokens", &Rows::tokens)
      .def_readonly("outputs", &Rows::outputs)
      .def_property_readonly("position", [](const Rows& r) -> py::object {
        return r.position < 0 ? py::none() : py::object(py::int_(r.position));
      });
}

Cancellation* cancellation_of(PyObject* given) {
  if (given == nullptr || given == Py_None) return nullptr;
  return &argument_of<Cancellation>(given, "cancellation");
}

py::object step(Engine& engine, Arguments& given) {
  const auto rows = py::reinterpret_borrow<py::object>(given.need(0, "rows"));
  const bool keep = given.flag("keep"), partial = given.flag("partial");
  Cancellation* const cancellation = cancellation_of(given.find(-1, "cancellation"));
  given.finish();
  return py::cast(engine.step(rows, keep, partial, cancellation));
}

py::object advance(Engine& engine, Arguments& given) {
  const int32_t seq = int32_of(given.need(0, "seq"), "seq");
  const std::vector<int32_t> ids = ids_of(given.need(1, "tokens"));
  const int32_t position = int32_of(given.need(2, "position"), "position");
  auto& sampler = argument_of<Sampler>(given.need(3, "sampler"), "sampler");
  const bool logprobs = PyObject_IsTrue(given.need(4, "logprobs").ptr()) == 1;
  Cancellation* const cancellation = cancellation_of(given.find(5, "cancellation"));
  given.finish();
  return engine.advance({seq, position, static_cast<int32_t>(ids.size()), 1}, ids, sampler,
                        logprobs, cancellation);
}

}  // namespace

void bind_engine(py::module_& m) {
  bind_rows(m);
  m.def("_estimate", &estimate);
  py::class_<Engine> engine(m, "Engine");
  bind_prefix(engine);
  add_quick<Engine, step>(engine, "step");
  add_quick<Engine, advance>(engine, "_advance");
  engine.def(py::init(&make_engine), "model"_a, "options"_a = py::dict())
      .def("_info", &info_of)
      .def("_memory",
           [](Engine& e) { return dict_of(e.alone([](mm2::Engine& h) { return h.memory(); })); })
      .def("_stats",
           [](Engine& e) { return to_str(e.alone([](mm2::Engine& h) { return h.stats(); })); })
      .def("_kv_pool", &kv_pool)
      .def("interrupt", &Engine::interrupt)
      .def(
          "seq_length",
          [](Engine& e, int32_t seq) {
            return e.alone([&](mm2::Engine& h) { return h.length(seq); });
          },
          "seq"_a)
      .def(
          "fork",
          [](Engine& e, int32_t from, int32_t to, std::optional<int32_t> length) {
            e.alone([&](mm2::Engine& h) { h.fork(from, to, length ? *length : h.length(from)); });
          },
          "from_seq"_a, "to_seq"_a, "length"_a = py::none())
      .def(
          "truncate",
          [](Engine& e, int32_t seq, int32_t length) {
            e.alone([&](mm2::Engine& h) { h.truncate(seq, length); });
          },
          "seq"_a, "length"_a)
      .def(
          "free", [](Engine& e, int32_t seq) { e.alone([&](mm2::Engine& h) { h.free(seq); }); },
          "seq"_a);
}

}  // namespace mm2::python
