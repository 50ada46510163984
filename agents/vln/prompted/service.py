"""Any service with OpenAI's chat interface (`POST …/chat/completions`) as a back end.

Nothing that goes wrong is lost: each timeout, HTTP error and unreadable answer is counted in the
reply's `mishaps`, retries too, and a prompt without any answer ends its episode as an error.
"""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from pilotage.episodes.types import Json

from .asking import Reply, Request, n_words_and_signs

URL, MODEL, KEY = "PILOTAGE_LLM_URL", "PILOTAGE_LLM_MODEL", "PILOTAGE_LLM_KEY"
MAX_BYTES = 4_000_000
WORTH_A_RETRY = frozenset({408, 409, 425, 429})  # and all of 5xx


class Service:
    """A model behind a URL.

    Args:
        url: up to `/v1`, without `/chat/completions`; http or https, no user and password in it.
        model: as the service calls it.
        key_from: the environment variable that holds the key; none is sent when it is not set.
            The key is sent to `url` only: redirects are not followed.
        timeout_s: for one attempt.
        retries: attempts after the first, each after twice the pause of the last.
        workers: prompts at a time.

    Raises ValueError for a URL of another kind or a number out of range.
    """

    needs_expert = False
    writes = True

    def __init__(
        self,
        url: str,
        model: str,
        *,
        name: str = "api",
        key_from: str = KEY,
        timeout_s: float = 60.0,
        retries: int = 3,
        pause_s: float = 1.0,
        workers: int = 4,
        max_tokens: int = 1000,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise ValueError(
                "the service's URL must be http(s)://host[:port]/…, without user and password, "
                f"got {parts.scheme}://{parts.hostname or ''}…; put the key into {key_from}"
            )
        if timeout_s <= 0 or retries < 0 or pause_s < 0 or workers < 1 or max_tokens < 1:
            raise ValueError(
                f"timeout_s={timeout_s}, retries={retries}, pause_s={pause_s}, workers={workers}, "
                f"max_tokens={max_tokens}: one is out of range"
            )
        self.name, self._model, self._key_from = name, model, key_from
        self._url = url.rstrip("/") + "/chat/completions"
        self._timeout_s, self._retries, self._pause_s = timeout_s, retries, pause_s
        self._workers, self._max_tokens = workers, max_tokens
        self._opener = urllib.request.build_opener(_NoRedirects)

    @classmethod
    def from_environment(cls) -> Service:
        """The service that `PILOTAGE_LLM_URL` and `PILOTAGE_LLM_MODEL` name; ValueError when one
        of them is not set."""
        missing = [name for name in (URL, MODEL) if not os.environ.get(name)]
        if missing:
            raise ValueError(
                f"the back end 'api' needs {' and '.join(missing)} (and {KEY} for its key)"
            )
        return cls(os.environ[URL], os.environ[MODEL])

    def manifest(self) -> dict[str, Json]:
        about = {"model": self._model, "url": self._url, "tokens": "as the service counts them"}
        return {"backend": self.name, **about, "max_tokens": self._max_tokens, "temperature": 0}

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        with ThreadPoolExecutor(min(self._workers, max(1, len(requests)))) as pool:
            return list(pool.map(self._reply, requests))

    def _reply(self, request: Request) -> Reply:
        mishaps: Counter[str] = Counter()
        what = ""
        for attempt in range(1 + self._retries):
            if attempt:
                time.sleep(self._pause_s * 2 ** (attempt - 1))
            try:
                return self._read(request, self._post(request), mishaps)
            except urllib.error.HTTPError as error:
                what, again = f"HTTP {error.code}", _worth_a_retry(error.code)
                error.close()
            except (OSError, HTTPException) as error:
                what, again = _connection_trouble(error), True
            except (KeyError, IndexError, TypeError, ValueError):
                what, again = "unreadable answer", True
            mishaps[what] += 1
            if not again:
                break
        n = sum(mishaps.values())
        return Reply("", 0, 0, f"no answer in {n} attempts, the last: {what}", dict(mishaps))

    def _post(self, request: Request) -> Any:
        body = {
            "model": self._model,
            "messages": [
                {"role": "system", "content": request.system},
                {"role": "user", "content": request.prompt},
            ],
            "temperature": 0,
            "max_tokens": self._max_tokens,
        }
        headers = {"Content-Type": "application/json"}
        key = os.environ.get(self._key_from)
        if key:
            headers["Authorization"] = f"Bearer {key}"
        post = urllib.request.Request(self._url, json.dumps(body).encode(), headers)
        with self._opener.open(post, timeout=self._timeout_s) as answer:
            return json.loads(answer.read(MAX_BYTES))

    def _read(self, request: Request, data: Any, mishaps: Counter[str]) -> Reply:
        """ValueError, KeyError, IndexError or TypeError for an answer of another shape."""
        text = data["choices"][0]["message"]["content"]
        if not isinstance(text, str):
            raise TypeError(f"the content is {type(text).__name__}")
        usage = data.get("usage") or {}
        n_in = usage.get("prompt_tokens", n_words_and_signs(request.system + " " + request.prompt))
        n_out = usage.get("completion_tokens", n_words_and_signs(text))
        return Reply(text, int(n_in), int(n_out), mishaps=dict(mishaps))


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is an HTTP error: it must not carry the key elsewhere."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def _worth_a_retry(code: int) -> bool:
    return code >= 500 or code in WORTH_A_RETRY


def _connection_trouble(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    timed_out = isinstance(error, TimeoutError) or isinstance(reason, TimeoutError)
    return "timeout" if timed_out else "no connection"
