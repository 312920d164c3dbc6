"""What the tests of the Python module share."""
import functools
import os

import mm2

SOURCE = os.environ["MM2_SOURCE_DIR"]
TINY = os.path.join(SOURCE, "examples", "models", "mm2-tiny")
SUM = [{"role": "user", "content": "What is 47 + 38?"}]
WEATHER = [{"role": "user", "content": "What is the weather in Paris?"}]
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "The weather of a city",
                                          "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]


@functools.lru_cache(maxsize=None)
def tiny():
    return mm2.load(TINY)


def prompt(text="The capital of Japan is"):
    return tiny().tokenizer.encode(text)


def all_free(engine):
    pool = engine.kv_pool()
    return pool.free_blocks == pool.total_blocks
