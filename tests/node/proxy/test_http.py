"""The promises of the Streamable HTTP listener, over real sockets."""

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import httpx
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enforcement.defend.policy import Policy
from node.proxy import limits
from node.proxy.http import Origins
from tests.support.proxies import (
    OTHER_TOKEN,
    TOKEN,
    Site,
    desk_of,
    echo_config,
    found,
    guard,
    site,
)

INIT = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
ACCEPT = "application/json, text/event-stream"


def client(**headers: str) -> httpx.AsyncClient:
    named = {"authorization": f"Bearer {TOKEN}", "accept": ACCEPT, **headers}
    return httpx.AsyncClient(headers=named, timeout=10, trust_env=False)


def call(key: object, tool: str, **arguments: object) -> dict[str, object]:
    params = {"name": tool, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": key, "method": "tools/call", "params": params}


@asynccontextmanager
async def opened(place: Site) -> AsyncIterator[httpx.AsyncClient]:
    async with client() as http:
        answer = await http.post(place.url, json=INIT)
        assert answer.status_code == 200, answer.text
        http.headers["mcp-session-id"] = answer.headers["mcp-session-id"]
        ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        assert (await http.post(place.url, json=ready)).status_code == 202
        yield http


async def test_a_call_is_answered_with_what_the_server_said() -> None:
    async with site() as place, opened(place) as http:
        answer = await http.post(place.url, json=call(1, "echo", word="hello"))

        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        text = answer.json()["result"]["content"][0]["text"]
        assert json.loads(text) == {"word": "hello"}


async def test_a_denial_is_an_answer_and_the_session_goes_on() -> None:
    async with site() as place, opened(place) as http:
        denied = await http.post(place.url, json=call(1, "forbidden"))
        assert denied.json()["error"]["data"]["picket"]["rule"] == "no-such"

        answer = await http.post(place.url, json=call(2, "echo"))
        assert "result" in answer.json()


async def test_progress_comes_on_the_calls_own_stream() -> None:
    async with site() as place, opened(place) as http:
        asked = call(7, "progress")
        asked["params"]["_meta"] = {"progressToken": "p"}  # type: ignore[index]  # a JSON literal
        answer = await http.post(place.url, json=asked)

        assert answer.headers["content-type"] == "text/event-stream"
        events = [
            json.loads(line.removeprefix("data: "))
            for line in answer.text.splitlines()
            if line.startswith("data: ")
        ]
        assert [e.get("method") or e["id"] for e in events] == [
            "notifications/progress",
            7,
        ]


async def test_a_question_of_the_server_reaches_the_client_and_its_answer_returns() -> (
    None
):
    async with site() as place, opened(place) as http:
        async with http.stream("POST", place.url, json=call(1, "ask")) as answer:
            lines = answer.aiter_lines()
            async for line in lines:
                if "roots/list" in line:
                    break
            roots = {"jsonrpc": "2.0", "id": "question", "result": {"roots": []}}
            assert (await http.post(place.url, json=roots)).status_code == 202
            rest = [line async for line in lines]
        assert any("roots" in line for line in rest)


async def test_what_belongs_to_no_call_comes_on_the_get_stream() -> None:
    async with (
        site() as place,
        opened(place) as http,
        http.stream("GET", place.url) as listening,
    ):
        assert listening.status_code == 200
        lines = listening.aiter_lines()
        assert (await http.get(place.url)).status_code == 409
        answer = await http.post(place.url, json=call(1, "news"))
        assert answer.headers["content-type"] == "application/json"
        while "list_changed" not in await anext(lines):
            pass
        await http.delete(place.url)
        assert [line async for line in lines if line] == []


async def test_a_pending_id_is_refused_and_the_first_call_is_still_answered() -> None:
    async with site() as place, opened(place) as http:
        answers: list[httpx.Response] = []

        async def first() -> None:
            answers.append(await http.post(place.url, json=call(1, "sleep", seconds=1)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(first)
            await trio.sleep(0.3)
            again = await http.post(place.url, json=call(1, "echo"))
            assert again.status_code == 400
        assert answers[0].json()["result"]["content"][0]["text"] == "slept"


async def test_a_server_that_dies_answers_its_calls_with_a_sentence() -> None:
    async with site() as place, opened(place) as http:
        answer = await http.post(place.url, json=call(1, "die"))

        assert "status 3" in answer.json()["error"]["message"]
        with trio.fail_after(5):
            while (await http.post(place.url, json=call(2, "echo"))).status_code != 404:
                await trio.lowlevel.checkpoint()


async def test_a_server_that_cannot_start_denies_with_a_sentence() -> None:
    roster, places = found("branch")
    broken = attrs.evolve(echo_config(), command=("/no/such/command",))
    desk = desk_of(places["branch"], roster, servers={"echo": broken})
    async with site(desk) as place, client() as http:
        answer = await http.post(place.url, json=INIT)

        error = answer.json()["error"]
        assert "could not be started" in error["message"]
        assert error["data"]["picket"]["advice"] == "see the log of node `branch`"
        assert "mcp-session-id" not in answer.headers
        assert desk.unstarted == {"echo"}
    desk.serve({"echo": echo_config()})
    assert desk.unstarted == set()


async def test_a_server_that_ends_at_once_is_shown_as_one_that_does_not_start() -> None:
    roster, places = found("branch")
    command = (sys.executable, "-c", "raise SystemExit(3)")
    broken = attrs.evolve(echo_config(), command=command)
    desk = desk_of(places["branch"], roster, servers={"echo": broken})
    async with site(desk) as place, client() as http:
        assert desk.unstarted == set(), "nothing is run before it is called"
        answer = await http.post(place.url, json=INIT)
        assert "status 3" in answer.json()["error"]["message"]
        assert desk.unstarted == {"echo"}
        desk.servers = {"echo": echo_config()}
        assert (await http.post(place.url, json=INIT)).is_success
        assert desk.unstarted == set()


async def test_a_session_that_ends_before_its_server_speaks_accuses_it_of_nothing() -> (
    None
):
    roster, places = found("branch")
    silent = attrs.evolve(echo_config(), command=("sleep", "60"))
    desk = desk_of(places["branch"], roster, servers={"echo": silent})
    async with site(desk) as place, client() as http:
        with trio.move_on_after(0.3):
            await http.post(place.url, json=INIT)
    assert desk.unstarted == set()


async def test_delete_ends_the_session_and_its_server() -> None:
    async with site() as place, opened(place) as http:
        said = await http.post(place.url, json=call(1, "pid"))
        pid = int(said.json()["result"]["content"][0]["text"])

        assert (await http.delete(place.url)).status_code == 200
        with trio.fail_after(5):
            while _alive(pid):
                await trio.lowlevel.checkpoint()
        assert (await http.post(place.url, json=call(2, "pid"))).status_code == 404


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": "Bearer guess"}, 401),
        ({"authorization": "Basic abc"}, 401),
        ({"host": "evil.example"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"mcp-session-id": "0" * 32}, 404),
    ],
)
async def test_who_should_not_be_here_is_refused(
    headers: dict[str, str], status: int
) -> None:
    async with site() as place, client(**headers) as http:
        body = json.dumps(INIT).encode()
        kind = {"content-type": headers.get("content-type", "application/json")}
        answer = await http.post(place.url, content=body, headers=kind)

        assert answer.status_code == status


async def test_a_session_is_of_no_use_to_another_agent() -> None:
    roster, places = found("branch", "vault")
    desk = desk_of(places["branch"], roster, servers={"echo": echo_config()})
    desk.agents = {**desk.agents, "other": places["vault"].principal}
    async with site(desk) as place, opened(place) as http:
        theirs = {"authorization": f"Bearer {OTHER_TOKEN}"}
        stolen = await http.post(place.url, json=call(1, "echo"), headers=theirs)
        assert stolen.status_code == 404

        assert (await http.post(place.url, json=call(1, "echo"))).status_code == 200


@pytest.mark.parametrize(
    ("listen", "host", "origin", "admitted"),
    [
        ("127.0.0.1", "localhost:8080", None, True),
        ("127.0.0.1", "127.0.0.1:8080", "http://localhost:8080", True),
        ("127.0.0.1", "LOCALHOST:8080", "http://localhost:8080", True),
        ("127.0.0.1", "localhost:8081", None, False),
        ("127.0.0.1", "", None, False),
        ("127.0.0.1", "10.0.0.7:8080", None, False),
        ("127.0.0.1", "localhost:8080", "null", False),
        ("127.0.0.1", "localhost:8080", "http://evil.example", False),
        ("127.0.0.1", "localhost:8080", "file://localhost:8080", False),
        ("0.0.0.0", "10.0.0.7:8080", "http://10.0.0.7:8080", True),
        ("0.0.0.0", "evil.example:8080", None, False),
        ("0.0.0.0", "10.0.0.7:8080", "http://evil.example:8080", False),
        ("::", "[::1]:8080", None, True),
        ("::", "[fd00::7]:8080", "http://[fd00::7]:8080", True),
        ("::", "[fd00::7", None, False),
    ],
)
def test_a_rebound_name_is_never_admitted(
    listen: str, host: str, origin: str | None, admitted: bool
) -> None:
    headers = {"host": host} | ({"origin": origin} if origin else {})

    assert Origins.of_listener(listen, 8080).admit(headers) is admitted


async def test_only_initialize_begins_a_session() -> None:
    async with site() as place, client() as http:
        answer = await http.post(place.url, json=call(5, "echo"))

        assert answer.status_code == 400
        assert answer.json()["id"] == 5


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{" * 5_000,
        b'{"jsonrpc":"2.0","id":1,"id":2}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"ping"}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":NaN}}',
        b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":null,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":true,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":1}',
        b'{"jsonrpc":"2.0","id":99999999999999999999,"method":"ping"}',
        b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping"} trailing',
        '{"jsonrpc":"2.0","id":1,"method":"ping"}'.encode("utf-16"),
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":'
        + b"[" * 99
        + b"]" * 99
        + b"}",
    ],
)
async def test_garbage_in_a_session_is_a_400_and_nothing_more(body: bytes) -> None:
    async with site() as place, opened(place) as http:
        kind = {"content-type": "application/json"}
        answer = await http.post(place.url, content=body, headers=kind)
        assert answer.status_code == 400

        good = await http.post(place.url, json=call(1, "echo"))
        assert "result" in good.json()


@pytest.mark.parametrize("also", ["", ", application/json"])
async def test_who_takes_only_events_or_names_them_first_is_answered_by_one(
    also: str,
) -> None:
    accept = f"text/event-stream{also}"
    async with site() as place, client(accept=accept) as http:
        answer = await http.post(place.url, json=INIT)

        assert answer.headers["content-type"] == "text/event-stream"
        assert len(answer.headers["mcp-session-id"]) == 32
        assert '"protocolVersion"' in answer.text


async def test_a_server_is_not_told_what_concerns_only_its_guard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/secret")
    monkeypatch.setenv("PICKET_CONFIG", "/etc/secret")
    roster, places = found("branch")
    config = attrs.evolve(echo_config(), env={"GREETING": "hello"})
    desk = desk_of(places["branch"], roster, servers={"echo": config})
    async with site(desk) as place, opened(place) as http:
        answer = await http.post(place.url, json=call(1, "environment"))
        told = json.loads(answer.json()["result"]["content"][0]["text"])

        assert told["GREETING"] == "hello"
        assert "PATH" in told
        assert "secret" not in json.dumps(told)


async def test_many_calls_at_once_keep_their_answers_apart() -> None:
    """Three sessions, each with forty calls under way, ids alike in all."""

    async def one(http: httpx.AsyncClient, url: str, who: int, key: int) -> None:
        answer = await http.post(url, json=call(key, "echo", who=who, turn=key))
        assert answer.json()["id"] == key
        text = answer.json()["result"]["content"][0]["text"]
        assert json.loads(text) == {"who": who, "turn": key}

    async def many(place: Site, who: int) -> None:
        async with opened(place) as http, trio.open_nursery() as nursery:
            for key in range(40):
                nursery.start_soon(one, http, place.url, who, key)

    async with site() as place, trio.open_nursery() as nursery:
        for who in range(3):
            nursery.start_soon(many, place, who)


async def test_a_session_has_no_more_than_its_share_of_sessions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "SESSIONS_PER_AGENT_MAX", 1)
    async with site() as place, opened(place) as http:
        del http.headers["mcp-session-id"]
        assert (await http.post(place.url, json=INIT)).status_code == 503

        other = {"authorization": f"Bearer {OTHER_TOKEN}"}
        answer = await http.post(place.url, json=INIT, headers=other)
        assert answer.status_code == 401, "nobody has this token here"


async def test_a_session_nobody_uses_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EVENTS_PING_S", 0.05)
    monkeypatch.setattr(limits, "SESSION_IDLE_S", 0.1)
    async with site() as place, opened(place) as http:
        said = await http.post(place.url, json=call(1, "pid"))
        pid = int(said.json()["result"]["content"][0]["text"])
        stream = await trio.open_tcp_stream("127.0.0.1", place.port)
        async with stream:
            headers = {**http.headers, "host": f"127.0.0.1:{place.port}"}
            named = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            await stream.send_all(f"GET /mcp/echo HTTP/1.1\r\n{named}\r\n".encode())
            heard = b""
            while heard.count(b":\n\n") < 8:  # with a stream open it stays
                heard += await stream.receive_some(1_000)
            assert _alive(pid)
        with trio.fail_after(10):
            while _alive(pid):
                await trio.lowlevel.checkpoint()
        assert (await http.get(place.url)).status_code == 404


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "arguments", "_meta", "progressToken", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)
OPEN = Policy.load({"open.cedar": "permit(principal, action, resource);\n"})
bodies = st.binary(max_size=40) | st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | values,
        "id": st.integers(0, 9) | values,
        "method": st.sampled_from(["ping", "tools/list", "notifications/x"]) | values,
        "params": values,
        "result": values,
        "error": values,
    },
).map(lambda message: json.dumps(message).encode())


@given(st.lists(bodies, min_size=30, max_size=60))
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
async def test_whatever_is_posted_is_answered(posted: list[bytes]) -> None:
    kind = {"content-type": "application/json"}
    roster, places = found("branch")
    desk = desk_of(places["branch"], roster, servers={"echo": echo_config()})
    guard(desk, places["branch"], OPEN)
    async with site(desk) as place, opened(place) as http:
        for body in posted:
            answer = await http.post(place.url, content=body, headers=kind)
            assert answer.status_code in (200, 202, 400)
