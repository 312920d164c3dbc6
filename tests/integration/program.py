"""Runs the mm2 program for the tests and reads what it writes."""
import array
import json
import os
import struct
import subprocess
import unittest

SOURCE = os.environ["MM2_SOURCE_DIR"]
PROGRAM = os.environ["MM2_PROGRAM"]
DATA = os.path.join(SOURCE, "tests", "data")
TINY = os.path.join(SOURCE, "examples", "models", "mm2-tiny")
SMALL = os.path.join(DATA, "models", "bf16_single")

OK, USAGE, INVALID_INPUT, CHECK_FAILED, RESOURCES, INTERRUPTED = range(6)


def data(*parts):
    return os.path.join(DATA, *parts)


def run(*arguments, text="", **options):
    """The finished program; standard output and standard error as text."""
    return subprocess.run([PROGRAM, *map(str, arguments)], input=text.encode(), capture_output=True, timeout=240, **options)


def json_lines(verb, *arguments, lines):
    """What `verb --jsonl` answers to these objects, and its exit code."""
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    done = run(verb, *arguments, "--jsonl", text=text)
    return [json.loads(line) for line in done.stdout.decode().split("\n")[:-1]], done.returncode


def read_safetensors(path):
    """{name: (shape, array of float)} of a file of F32 tensors."""
    with open(path, "rb") as file:
        content = file.read()
    size = struct.unpack("<Q", content[:8])[0]
    tensors = {}
    for name, entry in json.loads(content[8:8 + size]).items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        values = array.array("f")
        values.frombytes(content[8 + size + begin:8 + size + end])
        tensors[name] = (entry["shape"], values)
    return tensors


class ProgramTest(unittest.TestCase):
    def assert_fails(self, done, code, *words):
        """The exit code, and one line `mm2: <doing>: <wrong>` that holds these words."""
        error = done.stderr.decode()
        self.assertEqual(done.returncode, code, error)
        self.assertEqual(len(error.splitlines()), 1, error)
        self.assertRegex(error, r"^mm2: [^:]+: .+\n$")
        for word in words:
            self.assertIn(word, error)

    def assert_succeeds(self, done):
        self.assertEqual(done.returncode, OK, done.stderr.decode())
        return done.stdout.decode()
