"""Starts the server for the tests, and talks to it with nothing but sockets and http.client."""
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time

SOURCE = os.environ["MM2_SOURCE_DIR"]
PROGRAM = os.environ["MM2_PROGRAM"]
TINY = os.path.join(SOURCE, "examples", "models", "mm2-tiny")
NAME = "mm2-tiny"

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Get the current weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "The name of the city."}},
                   "required": ["city"]}}}


def chat(question, **others):
    """The body of a greedy request."""
    return {"model": NAME, "messages": [{"role": "user", "content": question}], "temperature": 0, **others}


class Server:
    """`mm2 serve` on a free port, until the end of the `with` block."""

    def __init__(self, *options, model=TINY):
        self.process = subprocess.Popen([PROGRAM, "serve", model, "--port", "0", *map(str, options)],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.lines = []
        while True:
            line = self.process.stderr.readline().decode()
            if not line:
                raise RuntimeError("the server did not start: " + "".join(self.lines))
            self.lines.append(line)
            found = re.search(r"http://[^:]+:(\d+)", line)
            if found:
                self.port = int(found[1])
                return

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.end()

    def end(self, patience=60):
        """SIGTERM; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self.process.stderr.close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def alive(self):
        return self.process.poll() is None

    def connection(self, timeout=300):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def request(self, method, path, body=None, headers=None, timeout=300):
        """(status, headers, body as bytes). A body that is no bytes is sent as JSON."""
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        connection = self.connection(timeout)
        try:
            connection.request(method, path, body=body, headers={"Content-Type": "application/json", **(headers or {})})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def post(self, path, body, **options):
        """(status, JSON)"""
        status, _, text = self.request("POST", path, body, **options)
        return status, json.loads(text)

    def get(self, path, **options):
        status, _, text = self.request("GET", path, **options)
        return status, json.loads(text)

    def send(self, data, patience=60, finish=False):
        """Bytes over a socket; everything that comes back until the server closes or is silent for a while."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=patience) as connection:
            answer = b""
            try:
                connection.sendall(data)
                if finish:
                    connection.shutdown(socket.SHUT_WR)
                while True:
                    connection.settimeout(patience if not answer else 2)
                    piece = connection.recv(65536)
                    if not piece:
                        break
                    answer += piece
            except (TimeoutError, ConnectionError):
                pass
            return answer

    def stats(self):
        return self.get("/stats")[1]

    def wait_until_idle(self, patience=120):
        """The statistics once nothing runs any more."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            stats = self.stats()
            if stats["running"] == 0 and stats["waiting"] == 0:
                return stats
            time.sleep(0.02)
        raise AssertionError(f"still running: {stats}")

    def rss(self):
        """Bytes of memory in use."""
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def events(response):
    """The data of server-sent events, parsed; [DONE] is left out."""
    for line in response:
        line = line.decode().rstrip("\n")
        if line.startswith("data: ") and line != "data: [DONE]":
            yield json.loads(line[6:])
