#!/usr/bin/env python3
"""Chat templates against Jinja2, in one run: each repetition of one is followed by one of the others.

    python3 -m venv /tmp/peers && /tmp/peers/bin/pip install jinja2
    /tmp/peers/bin/python tests/bench/template_peers.py build/bench/tests/bench/template_bench

A conversation of 40 messages (calls of tools and their results among them) with 20 tools, in the M2.7 template. Jinja2 runs
in the environment of transformers, its template compiled beforehand; texts must be equal. Never needed by the build or the tests.
"""
import json, pathlib, statistics, subprocess, sys, tempfile, time, zlib

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

SOURCE = pathlib.Path(__file__).resolve().parents[2]
TEMPLATE = SOURCE / "tests/data/chat/templates/minimax_m2.7_official_reconstructed.jinja"


def environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    return env


def request():
    tools = [{"type": "function", "function": {"name": f"tool_{i}", "description": f"Does the thing number {i}, and says what it did.",
              "parameters": {"type": "object", "required": ["path"], "properties": {
                  "path": {"type": "string", "description": "Where to look"}, "depth": {"type": "integer", "minimum": 0},
                  "mode": {"type": "string", "enum": ["read", "write", "list"]}}}}} for i in range(20)]
    text = "The value is kept in a table of its own, so that nobody else's change can touch it. "
    messages = [{"role": "system", "content": "You are a careful assistant.\n" + text}]
    while len(messages) < 40:
        i = len(messages)
        messages += [
            {"role": "user", "content": f"Question {i}: {text * 3}"},
            {"role": "assistant", "reasoning_content": text * 4, "content": "Let me look.", "tool_calls": [
                {"type": "function", "function": {"name": f"tool_{i % 20}", "arguments": {"path": f"/data/{i}/x.txt", "depth": i, "mode": "read"}}}]},
            {"role": "tool", "content": json.dumps({"lines": [text, text], "n": i})},
            {"role": "assistant", "reasoning_content": text, "content": text * 5},
        ]
    return {"messages": messages[:40], "tools": tools, "add_generation_prompt": True}


def main():
    content = json.dumps(request(), ensure_ascii=False)
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        ours = subprocess.Popen([sys.argv[1], str(TEMPLATE), file.name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        template = environment().from_string(TEMPLATE.read_text(encoding="utf-8"))
        parsed = json.loads(content)
        expected = zlib.crc32(template.render(**parsed).encode())

        def ask(how):
            ours.stdin.write(how + "\n")
            ours.stdin.flush()
            seconds, crc = ours.stdout.readline().split()
            assert int(crc) == expected, f"{how}: another text"
            return float(seconds)

        def peer(work, n=20):
            begin = time.perf_counter()
            for _ in range(n):
                work()
            return (time.perf_counter() - begin) / n

        names = ["native", "interpreter", "native-json", "interpreter-json"]
        took = {name: [] for name in [*names, "Jinja2", "Jinja2-json"]}
        for _ in range(25):
            took["Jinja2"].append(peer(lambda: template.render(**parsed)))
            took["Jinja2-json"].append(peer(lambda: template.render(**json.loads(content))))
            for name in names:
                took[name].append(ask(name))
        ms = {name: statistics.median(values) * 1e3 for name, values in took.items()}
        print(f"Jinja2 {jinja2.__version__}, Python {sys.version.split()[0]}; {len(parsed['messages'])} messages, {len(parsed['tools'])} tools, "
              f"{len(content)} bytes of JSON, prompt of {len(template.render(**parsed).encode())} bytes")
        print("| | Jinja2 | native | times | interpreter | times |\n|---|---|---|---|---|---|")
        for label, suffix in (("from values in memory", ""), ("reading the request's JSON too", "-json")):
            j, n, i = ms["Jinja2" + suffix], ms["native" + suffix], ms["interpreter" + suffix]
            print(f"| {label} | {j:.3f} ms | {n:.4f} ms | {j / n:.1f} | {i:.3f} ms | {j / i:.1f} |")
        ours.stdin.close()


main()
