#!/usr/bin/env python3
"""Writes seeds/ from tests/data: python3 tests/fuzz/make_seeds.py. Each file is one input in the form that its target reads."""
import json, pathlib, shutil, zipfile

HERE = pathlib.Path(__file__).resolve().parent
DATA = HERE.parent / "data"


def put(target, name, content):
    folder = HERE / "seeds" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def every(items, n):
    """About n of them, evenly."""
    return items[:: max(1, len(items) // n)]


def lines(*parts):
    with open(DATA.joinpath(*parts), encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def small_tokenizer(name):
    """The first tokens and merges of a tokenizer of the tests."""
    document = json.loads((DATA / "text/model_4096" / name).read_text())
    model = document["model"]
    model["vocab"] = {token: i for token, i in model["vocab"].items() if i < 270}
    model["merges"] = model["merges"][:14]
    document["added_tokens"] = [t for t in document["added_tokens"] if t["content"] in ("]~b]", "<think>")]
    for i, token in enumerate(document["added_tokens"]):
        token["id"] = 270 + i
    return document


def main():
    shutil.rmtree(HERE / "seeds", ignore_errors=True)

    texts = [line for line in lines("text", "ids.jsonl") if 8 < len(line["text"]) < 300]
    categories = sorted({line["category"] for line in texts})
    for category in categories:
        for i, line in enumerate(every([t for t in texts if t["category"] == category], 2)[:2]):
            put("fuzz_tokenizer", f"{category}-{i}", bytes([i + 1]) + line["text"].encode())

    for name in ("tokenizer.json", "tokenizer_old_spelling.json", "tokenizer_normalized_added.json"):
        put("fuzz_tokenizer_json", name, json.dumps(small_tokenizer(name), ensure_ascii=False, separators=(",", ":")).encode())

    cases = lines("chat", "jinja", "cases.jsonl")
    for category in sorted({case["category"] for case in cases}):
        mine = [case for case in cases if case["category"] == category and len(case["template"]) < 2000]
        for case in every(mine, 2)[:2]:
            put("fuzz_template", case["id"], case["template"].encode())
    for path in sorted((DATA / "chat/templates").glob("*.jinja"))[:3]:
        put("fuzz_template", path.stem, path.read_bytes())

    for i, line in enumerate(every(lines("chat", "conversations.jsonl"), 16)):
        put("fuzz_template_context", f"request-{i:02}", bytes([2 * (i % 5)]) + json.dumps(line["context"], ensure_ascii=False).encode()[:4000])
    for i in range(12):
        put("fuzz_template_context", f"decisions-{i:02}", bytes([2 * (i % 5) + 1] + [(i * 37 + k * k * 11 + k * 5) % 256 for k in range(200)]))

    codec = json.loads((DATA / "chat/toolcall_cases.json").read_text())["cases"]
    for i, case in enumerate(every(codec, 43)):
        put("fuzz_codec", case["id"], bytes([8 + 4 * case["starts_in_think"], i]) + case["output"].encode()[:3000])
    typed = [case for case in codec if case["id"].startswith("types")]
    for case in typed:
        value = case["output"].split('">', 2)[-1].split("</parameter>")[0]
        tools = json.dumps(case["tools"]).replace(json.dumps(case["expect"]["tool_calls"][0]["name"]) if case["expect"]["tool_calls"] else "?", '"f"')
        put("fuzz_tool_schema", case["id"], b"\0" + tools.encode() + b"\0" + value.encode())
    put("fuzz_tool_schema", "overflowing-number",  # was taken for JSON once
        b'\0[{"name": "f", "parameters": {"properties": {"p": {"type": "object"}}}}]\x00181e18446744073709103')
    put("fuzz_tool_schema", "half-a-pair", b'\0[{"name": "f", "parameters": {"properties": {"p": {"type": "object"}}}}]\x00"a\\ud800s"')
    for i in range(8):
        put("fuzz_tool_schema", f"decisions-{i}", bytes([1] + [(i * 53 + k * k * 7 + k) % 256 for k in range(160)]))

    for path in sorted((DATA / "broken").glob("*.safetensors")):
        if path.stat().st_size < 1500:
            put("fuzz_safetensors", path.stem, b"\0" + path.read_bytes())
    put("fuzz_safetensors", "header", b'\1{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,4],"data_offsets":[0,32]},'
        b'"b":{"dtype":"F8_E4M3","shape":[32],"data_offsets":[32,64]},"c":{"dtype":"I64","shape":[0,3],"data_offsets":[64,64]}}')
    put("fuzz_safetensors", "index", b'\2{"metadata": {"total_size": 128}, "weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}')

    for path in sorted((DATA / "models").iterdir()):
        if (path / "config.json").exists():
            put("fuzz_config", path.name, json.dumps(json.loads((path / "config.json").read_text()), separators=(",", ":")).encode()[:4096])

    for path in sorted((DATA / "tools/torch_pt").glob("*.pt")):
        content = path.read_bytes()
        if len(content) > 4000:
            continue
        put("fuzz_torch_file", path.stem, b"\0" + content)
        if path.stem == "05_legacy":
            put("fuzz_torch_file", "object-of-05_legacy", b"\2" + content[137:])
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                pickle = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
                put("fuzz_torch_file", f"pickle-of-{path.stem}", b"\1" + archive.read(pickle))


main()
