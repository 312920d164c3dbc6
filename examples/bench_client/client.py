"""Streamed requests to an OpenAI endpoint, with the time of every piece. The standard library is enough."""
import http.client
import json
import ssl
import time
import urllib.parse


class Failed(Exception):
    """The server refused or broke off; the text is its own."""


class Result:
    """What one request took. Times are seconds since it was sent."""

    def __init__(self):
        self.first = None        # until the first piece of the answer
        self.total = 0.0
        self.gaps = []           # between pieces
        self.prompt_tokens = self.completion_tokens = self.cached_tokens = 0

    @property
    def per_token(self):
        """Seconds for each token after the first."""
        return (self.total - self.first) / (self.completion_tokens - 1) if self.completion_tokens > 1 else None


class Endpoint:
    def __init__(self, url, model=None, key=None, timeout=600):
        parts = urllib.parse.urlsplit(url)
        self.secure, self.host = parts.scheme == "https", parts.netloc
        self.base = parts.path.rstrip("/") or "/v1"
        self.headers = {"Content-Type": "application/json", **({"Authorization": "Bearer " + key} if key else {})}
        self.timeout = timeout
        self.extra = {"ignore_eos": True}  # answers as long as asked; dropped for a server that does not know it
        self.model = model or self.get("/models")["data"][0]["id"]

    def connect(self):
        if self.secure:
            return http.client.HTTPSConnection(self.host, timeout=self.timeout, context=ssl.create_default_context())
        return http.client.HTTPConnection(self.host, timeout=self.timeout)

    def get(self, path):
        connection = self.connect()
        try:
            connection.request("GET", self.base + path, headers=self.headers)
            response = connection.getresponse()
            body = response.read()
            if response.status != 200:
                raise Failed(f"GET {path}: {response.status}: {body[:300].decode(errors='replace')}")
            return json.loads(body)
        finally:
            connection.close()

    def complete(self, prompt, max_tokens):
        """Streams /completions and returns its Result."""
        body = {"model": self.model, "prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "stream": True,
                "stream_options": {"include_usage": True}, **self.extra}
        connection = self.connect()
        try:
            begin = time.perf_counter()
            connection.request("POST", self.base + "/completions", json.dumps(body), self.headers)
            response = connection.getresponse()
            if response.status == 200:
                return self.read(response, begin)
            error = response.read()[:300].decode(errors="replace")
        finally:
            connection.close()
        if "ignore_eos" not in error or not self.extra:
            raise Failed(f"{response.status}: {error}")
        self.extra = {}
        return self.complete(prompt, max_tokens)

    @staticmethod
    def read(response, begin):
        result, last = Result(), None
        for line in response:
            if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
                continue
            now = time.perf_counter()
            event = json.loads(line[6:])
            if "error" in event:
                raise Failed(str(event["error"]))
            usage = event.get("usage")
            if usage:
                result.prompt_tokens, result.completion_tokens = usage["prompt_tokens"], usage["completion_tokens"]
                result.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
            if event.get("choices") and event["choices"][0].get("text"):
                if last is None:
                    result.first = now - begin
                else:
                    result.gaps.append(now - last)
                last = now
                result.total = now - begin
        if result.first is None:
            raise Failed("an answer without a single token")
        if not result.completion_tokens:  # a server that sends no usage: one token a piece
            result.completion_tokens = len(result.gaps) + 1
        return result


def make_prompt(n_tokens, salt, vocabulary=900):
    """Token ids that no cache has seen: they depend on `salt` from the first one on."""
    state, ids = (salt * 2654435761 + 12345) & 0xFFFFFFFF, []
    for _ in range(n_tokens):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        ids.append(100 + (state >> 8) % (vocabulary - 100))
    return ids
