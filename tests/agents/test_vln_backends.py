"""Back ends of prompted agents: likelihoods against a plain forward pass, a service that fails."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from pilotage.agents.vln.prompted.asking import STOP, Option, Request
from pilotage.agents.vln.prompted.choosers import Nearest, Oracle
from pilotage.agents.vln.prompted.embedding import HashedWords
from pilotage.agents.vln.prompted.local import NO_CONTENT, CausalLM
from pilotage.agents.vln.prompted.service import KEY, MODEL, URL, Service

from .tiny_language import write_language

OPTIONS = tuple(
    Option(label, k, text, caption, way)
    for k, (label, text, caption, way) in enumerate(
        [
            ("left", "stop", "a hall", ""),
            ("cube", "x", "a red stove", "turn left"),
            ("b7", "y", "", ""),
        ]
    )
)
ASKED = Request("go to the red cube", "slowly left", OPTIONS, "Action: {answer}", "find the stove")


# -- choosers --------------------------------------------------------------------------------------


def test_the_oracle_names_what_the_expert_does() -> None:
    for action, label in [(0, "left"), (1, "cube"), (2, "b7"), (9, "left")]:
        request = Request("", "", OPTIONS, "Action: {answer}.", expert=action)
        assert Oracle().answer([request])[0].text == f"Action: {label}."
    with pytest.raises(ValueError, match="expert_actions=True"):
        Oracle().answer([ASKED])


def test_nearest_weighs_captions_turns_and_the_agents_rules() -> None:
    nearest = Nearest(HashedWords(), stop_bonus=0.2)
    assert nearest.answer([ASKED])[0].text == "Action: cube"
    turn = Request("", "", OPTIONS, "{answer}", "turn left")
    assert nearest.answer([turn])[0].text == "cube"
    nothing = Request("", "", OPTIONS, "{answer}", "zebra")
    assert nearest.answer([nothing])[0].text == "left"  # the bonus of stopping
    ruled = (Option("s", STOP, "stop", "a stove", bonus=-1.0), *OPTIONS[1:])
    with_rule = Request("", "", ruled, "{answer}", "a stove")
    assert nearest.answer([with_rule])[0].text == "cube"
    with pytest.raises(ValueError, match="only chooses among options"):
        nearest.answer([Request("", "write something")])


# -- a language model ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language(tmp_path_factory.mktemp("lm") / "tiny")


def plain_scores(folder: Path, request: Request, prompt: str) -> tuple[np.ndarray, int]:
    """Mean log-likelihoods of the labels, each row in one pass, and the tokens that all share."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    start = f"{request.system}\n\n{prompt}\n\nAction: "
    rows = [tokenizer.encode(start + option.label).ids for option in request.options]
    shared = 0
    while len({tuple(row[: shared + 1]) for row in rows}) == 1:
        shared += 1
    scores = []
    for row in rows:
        with torch.inference_mode():
            logits = model(torch.tensor([row]), use_cache=False).logits[0].double()
        logp = torch.log_softmax(logits, -1)
        scores.append(np.mean([float(logp[i - 1, row[i]]) for i in range(shared, len(row))]))
    return np.array(scores), shared


@pytest.mark.parametrize("calibrated", [False, True])
def test_choices_are_the_likeliest_labels(folder: Path, calibrated: bool) -> None:
    model = CausalLM(folder, name="tiny", calibrated=calibrated)
    other = Request("another system", "right", OPTIONS, "Action: {answer}")
    prompts = ["slowly left", "quickly go to the cube", "right right", "the gripper is over"]
    requests = [Request(ASKED.system, p, OPTIONS, "Action: {answer}") for p in prompts]
    replies = model.answer([*requests, other])
    for request, reply in zip([*requests, other], replies, strict=True):
        scores, shared = plain_scores(folder, request, request.prompt)
        if calibrated:
            scores = scores - plain_scores(folder, request, NO_CONTENT)[0]
        gaps = np.sort(scores)
        assert gaps[-1] - gaps[-2] > 1e-4  # no tie that rounding decides
        assert reply.text == f"Action: {OPTIONS[int(scores.argmax())].label}"
        assert reply.tokens_in == shared
    assert [model.answer([r])[0] for r in (*requests, other)] == replies


def test_scores_do_not_depend_on_what_was_asked_before(folder: Path) -> None:
    model, fresh = (CausalLM(folder, name="tiny") for _ in range(2))
    requests = [Request("go left", p, OPTIONS, "Action: {answer}") for p in ("a", "cube b", "red")]
    model.answer(requests)
    with torch.inference_mode():
        first = model._scores(requests[2], model._rows(requests[2], "red"))
        again = fresh._scores(requests[2], fresh._rows(requests[2], "red"))
    assert np.array_equal(first, again)
    assert first == pytest.approx(plain_scores(folder, requests[2], "red")[0], abs=1e-4)


def test_a_model_that_writes_and_a_prompt_that_is_too_long(folder: Path) -> None:
    model = CausalLM(folder, name="tiny", free=True, max_new_tokens=3)
    reply = model.answer([Request("go", "left")])[0]
    assert 1 <= reply.tokens_out <= 3
    long = model.answer([Request("go", "left " * 3000)])[0]
    assert long.error is not None
    assert "the model reads 2048" in long.error
    assert long.mishaps == {"too long": 1}
    with pytest.raises(ValueError, match=r"config\.json is not there"):
        CausalLM(folder / "nothing", name="x")


# -- a service -------------------------------------------------------------------------------------


class Script:
    """What a loopback server answers, in turn; the last answer stays."""

    def __init__(self, *answers: tuple[int, Any]) -> None:
        self.answers = list(answers)
        self.heard: list[tuple[str, dict[str, Any], str | None]] = []
        self.lock = threading.Lock()

    def next(self) -> tuple[int, Any]:
        with self.lock:
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def said(text: str) -> tuple[int, Any]:
    usage = {"prompt_tokens": 11, "completion_tokens": 3}
    return 200, {"choices": [{"message": {"content": text}}], "usage": usage}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.delenv(KEY, raising=False)
    running = []

    def start(script: Script, **settings: Any) -> Service:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with script.lock:
                    script.heard.append((self.path, body, self.headers.get("Authorization")))
                status, answer = script.next()
                if status == 0:
                    time.sleep(1.0)
                    return
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", answer)
                self.end_headers()
                text = answer if isinstance(answer, str) else json.dumps(answer)
                self.wfile.write(text.encode())

            do_GET = do_POST

            def log_message(self, *args: Any) -> None:
                pass

        http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        http.daemon_threads = True
        threading.Thread(target=http.serve_forever, daemon=True).start()
        running.append(http)
        url = f"http://127.0.0.1:{http.server_port}/v1"
        return Service(url, "some-model", pause_s=0.0, **settings)

    yield start
    for http in running:
        http.shutdown()
        http.server_close()


def test_a_service_is_asked_in_openais_way(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(said("Action: A"))
    monkeypatch.setenv(KEY, "secret-1")
    service = server(script)
    replies = service.answer([Request("sys", f"prompt {k}") for k in range(6)])
    assert [(r.text, r.tokens_in, r.tokens_out, r.error) for r in replies] == [
        ("Action: A", 11, 3, None)
    ] * 6
    path, body, key = script.heard[0]
    assert (path, key) == ("/v1/chat/completions", "Bearer secret-1")
    assert (body["model"], body["temperature"]) == ("some-model", 0)
    assert {h[1]["messages"][1]["content"] for h in script.heard} == {
        f"prompt {k}" for k in range(6)
    }
    assert "secret-1" not in json.dumps(service.manifest())


@pytest.mark.parametrize(
    ("answers", "mishaps", "n_asked"),
    [
        ([(503, "busy"), (429, ""), said("ok")], {"HTTP 503": 1, "HTTP 429": 1}, 3),
        ([(200, "not json"), (200, {"choices": []}), said("ok")], {"unreadable answer": 2}, 3),
        (
            [(200, {"choices": [{"message": {"content": None}}]}), said("ok")],
            {"unreadable answer": 1},
            2,
        ),
        ([(0, None), said("ok")], {"timeout": 1}, 2),
    ],
)
def test_what_goes_wrong_is_tried_again_and_counted(
    server: Any, answers: list[tuple[int, Any]], mishaps: dict[str, int], n_asked: int
) -> None:
    script = Script(*answers)
    reply = server(script, timeout_s=0.4).answer([ASKED])[0]
    assert (reply.text, reply.error, dict(reply.mishaps)) == ("ok", None, mishaps)
    assert len(script.heard) == n_asked


def test_a_service_that_never_answers_is_an_error(server: Any) -> None:
    script = Script((500, "no"))
    reply = server(script, retries=2).answer([ASKED])[0]
    assert reply.error == "no answer in 3 attempts, the last: HTTP 500"
    assert dict(reply.mishaps) == {"HTTP 500": 3}
    refused = Script((401, "who are you"))
    assert dict(server(refused).answer([ASKED])[0].mishaps) == {"HTTP 401": 1}
    assert len(refused.heard) == 1
    gone = Service("http://127.0.0.1:9/v1", "m", retries=1, pause_s=0.0)
    assert dict(gone.answer([ASKED])[0].mishaps) == {"no connection": 2}


def test_the_key_does_not_follow_a_redirect(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "secret-2")
    thief = Script(said("hello"))
    to = server(thief)._url
    reply = server(Script((302, to))).answer([ASKED])[0]
    assert dict(reply.mishaps) == {"HTTP 302": 1}
    assert thief.heard == []


def test_a_service_needs_a_url_a_model_and_sane_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (URL, MODEL):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match=f"needs {URL} and {MODEL}"):
        Service.from_environment()
    for url in ("ftp://host/v1", "host/v1", "http://user:pass@host/v1"):
        with pytest.raises(ValueError, match="must be http") as caught:
            Service(url, "m")
        assert "pass" not in str(caught.value).replace("password", "")
    with pytest.raises(ValueError, match="retries=-1"):
        Service("http://host/v1", "m", retries=-1)
