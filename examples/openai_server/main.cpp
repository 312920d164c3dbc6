// The server as a program of its own; `mm2 serve` is the same.
#include <cstdio>

#include "serve.h"

int main(int argc, char** argv) {
  CLI::App app("Serves a checkpoint of the MiniMax-M2 family with OpenAI's API.", "openai_server");
  server::ServeOptions options;
  app.add_option("model", options.model, "checkpoint folder")->required()->type_name("MODEL");
  server::add_serve_options(app, options);
  CLI11_PARSE(app, argc, argv);
  try {
    server::serve(options);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "openai_server: %s\n", error.what());
    return 1;
  }
}
