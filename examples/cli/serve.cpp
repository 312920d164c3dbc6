// mm2 serve: the OpenAI-compatible server of examples/openai_server, as a verb.
#include "../openai_server/serve.h"

#include <cstdio>
#include <memory>

#include <mm2/mm2.hpp>

#include "model_path.h"
#include "options.h"
#include "program.h"

namespace cli {

void add_serve(Program& program) {
  CLI::App* verb = program.add_verb(
      "serve", "Serve a model with OpenAI's and Anthropic's HTTP APIs and a chat page.",
      "mm2 serve examples/models/mm2-tiny --port 8000");
  const auto options = std::make_shared<server::ServeOptions>();
  add_model(verb, options->model);
  server::add_serve_options(*verb, *options);
  program.on_run(verb, [options] {
    const std::string asked = options->model;
    options->model = find_model(asked);
    // A repo id is a better name than the commit that its snapshot is called by.
    if (options->served_names.empty() && options->model != asked) {
      options->served_names.push_back(asked);
    }
    try {
      server::serve(*options);
    } catch (const mm2::Error& error) {
      mm2_error said = new_error();
      std::snprintf(said.message, sizeof said.message, "%s", error.what());
      throw Failure(error.code(), "serving " + options->model, said);
    } catch (const std::runtime_error& error) {
      throw Failure(kResources, "serving " + options->model, error.what());
    }
    return kOk;
  });
}

}  // namespace cli
