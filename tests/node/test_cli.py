"""The command line: births, and every mistake one sentence and never a traceback."""

import json
import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gossip.membership.founders import ActKind, parse_founders
from node.cli import wrap
from node.cli.doctor import tls_groups
from node.config import load_config, load_founders
from node.keys.suites import registry
from node.keys.suites.openssl import OpensslSuite
from node.keys.suites.registry import SuiteWithKeys
from tests.support.daemons import ROOT, picket


def fails(*words: str, code: int = 1) -> str:
    """Run a command that must fail; returns its one sentence."""
    done = picket(*words, check=False)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("picket: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.fixture
def solo(tmp_path: Path) -> Path:
    picket("init", str(tmp_path / "n"), "--name", "here", "--solo")
    return tmp_path / "n"


def test_solo_makes_a_cluster_of_one_that_lacks_nothing(solo: Path) -> None:
    config = load_config(solo / "config.toml")
    founders = load_founders(config)
    assert [node.name for node in founders.nodes] == ["here"]
    assert list(config.agents) == ["me"]
    done = picket("doctor", "--json", "-c", str(solo))
    said = json.loads(done.stdout)
    findings = {f["what"]: f["verdict"] for f in said["findings"]}
    assert {p["name"] for p in said["providers"] if p["usable"]} >= {"openssl"}
    assert "bad" not in findings.values()
    assert findings["certificate"] == findings["founders"] == "ok"


def test_solo_says_what_to_give_to_an_mcp_client(tmp_path: Path) -> None:
    home = tmp_path / "my guard"
    said = picket("init", str(home), "--name", "here", "--solo").stdout
    words = shlex.split(said.splitlines()[-1])
    assert words[-6:] == ["-c", str(home), "--server", "NAME", "--", "COMMAND"]
    done = subprocess.run(
        [*words[: words.index("wrap")], "--version"],
        capture_output=True,
        env={"PYTHONPATH": str(ROOT)},
        cwd="/",
    )
    assert done.returncode == 0


def test_cards_join_into_a_founders_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picket(
            *("init", str(tmp_path / name), "--name", name),
            *("--listen", "127.0.0.1:7946", "--advertise", "[::1]:7946"),
            *("--grant", "teller", "--server", f"db-{name}"),
        )
    picket("operator", "init", str(tmp_path), "--name", "opal")
    output = tmp_path / "founders.toml"
    done = picket(
        *("founders", str(tmp_path / "a" / "card.toml")),
        *(str(tmp_path / "b" / "card.toml"), "--name", "bank", "-o", str(output)),
        *("--operator", str(tmp_path / "opal.card.toml")),
    )
    assert "fewer than 4 nodes: only a proof convicts" in done.stdout
    (tmp_path / "a" / "founders.toml").write_bytes(output.read_bytes())
    founders = load_founders(load_config(tmp_path / "a" / "config.toml"))
    assert founders.nodes[1].servers == ("db-b",)
    assert founders.nodes[0].addresses == (("::1", 7946),)
    assert (tmp_path / "opal.key").stat().st_mode & 0o777 == 0o600


def cards(home: Path, *names: str, operators: int = 2) -> list[str]:
    """Cards of nodes, and words that name operators' cards."""
    for name in names:
        picket("init", str(home / name), "--name", name.strip("_"))
    words = [str(home / name / "card.toml") for name in names]
    for number in range(operators):
        picket("operator", "init", str(home), "--name", f"op{number}")
        words += ["--operator", str(home / f"op{number}.card.toml")]
    return [*words, "--name", "bank", "-o", str(home / "founders.toml")]


def test_quorums_and_colluders_are_written_where_people_read_them(
    tmp_path: Path,
) -> None:
    words = cards(tmp_path, "a", "b", "c", "d")
    done = picket("founders", *words, "--quorum", "release=1", "--colluders", "0")
    text = (tmp_path / "founders.toml").read_text()
    founders = parse_founders(text, "f")
    assert founders.quorum[ActKind.RELEASE] == 1
    assert founders.quorum[ActKind.POLICY] == 2
    assert founders.colluders == 0
    assert "# policy = 2" in text
    assert founders.cluster.hex()[:16] in done.stdout
    assert "only a proof convicts" not in done.stdout, "four nodes have voices"


def test_a_founders_file_that_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    words = cards(tmp_path, "a", "_a", operators=1)
    said = fails("founders", *words)
    assert "a/card.toml and " in said
    assert "_a/card.toml: both are cards of node `a`" in said
    words = [str(tmp_path / "a" / "card.toml"), *words[2:]]
    for option in ("release=3", "release=x", "nothing=1"):
        assert "release" in fails("founders", *words, "--quorum", option)
    picket("init", str(tmp_path / "new"), "--name", "new", "--sponsor", "a")
    newcomer = str(tmp_path / "new" / "card.toml")
    assert "the card of a newcomer" in fails("founders", newcomer, *words)
    words[2] = str(tmp_path / "op0.key")
    assert "op0.key: this is a key, not a card" in fails("founders", *words)
    assert not (tmp_path / "founders.toml").exists()


def test_an_agents_token_is_shown_once_and_its_roles_are_granted(solo: Path) -> None:
    token = picket(
        "agent", "add", "clerk", "--role", "retail", "-c", str(solo)
    ).stdout.strip()
    assert len(token) == 43
    assert token not in (solo / "config.toml").read_text()
    rows = json.loads(picket("agent", "list", "--json", "-c", str(solo)).stdout)
    (clerk,) = (row for row in rows if row["name"] == "clerk")
    assert clerk["roles"] == ["retail"]
    assert len(clerk["id"]) == 64
    said = fails("agent", "add", "x", "--role", "emperor", "-c", str(solo))
    assert "may not grant role `emperor`" in said
    assert "exists already" in fails(
        "agent", "add", "clerk", "--role", "retail", "-c", str(solo)
    )


def test_nothing_is_ever_born_twice(solo: Path) -> None:
    said = fails("init", str(solo), "--name", "here")
    assert "config.toml: exists already" in said


def seen_by_git(folder: Path) -> list[str]:
    """What `git add -A` in ``folder`` would take."""
    git = ["git", "-C", str(folder)]
    subprocess.run([*git, "init", "--quiet"], check=True)
    words = ["status", "--porcelain", "--untracked-files=all"]
    done = subprocess.run([*git, *words], check=True, capture_output=True, text=True)
    return [line[3:] for line in done.stdout.splitlines()]


def test_no_key_is_ever_taken_into_version_control_by_mistake(tmp_path: Path) -> None:
    picket("init", str(tmp_path / "guard"), "--name", "here", "--solo")
    picket("operator", "init", str(tmp_path / "ops"), "--name", "opal")
    assert (tmp_path / "guard" / "keys" / "root.seed").exists()
    assert (tmp_path / "ops" / "opal.key").exists()
    assert seen_by_git(tmp_path) == []


def test_what_lay_in_a_folder_before_is_left_to_git_but_not_the_keys(
    tmp_path: Path,
) -> None:
    (tmp_path / ".gitignore").write_text("*.pyc\n")
    (tmp_path / "mine.txt").touch()
    picket("init", str(tmp_path), "--name", "here", "--solo")
    assert (tmp_path / ".gitignore").read_text() == "*.pyc\n"
    seen = seen_by_git(tmp_path)
    assert "mine.txt" in seen
    assert not [path for path in seen if path.endswith((".seed", ".key"))]
    assert (tmp_path / "operator" / "here.key").exists()


def test_renewing_needs_the_root_key(solo: Path, tmp_path: Path) -> None:
    picket("renew", "-c", str(solo))
    away = tmp_path / "root.seed"
    (solo / "keys" / "root.seed").rename(away)
    assert "this key is missing" in fails("renew", "-c", str(solo))
    picket("renew", "-c", str(solo), "--root", str(away))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("status", "-c", "/nowhere"), "picket init"),
        (("run", "-c", "/nowhere/config.toml"), "the configuration is missing"),
        (("init", "/proc/x", "--name", "a"), "cannot make it"),
        (("init", "x", "--name", "a b"), "must be 1 to 64"),
        (("init", "x", "--name", "a", "--listen", "here"), "is not `host:port`"),
        (("act", "show", "/nowhere"), "the draft is missing"),
        (("policy", "check", "/nowhere"), "cannot read the policy folder"),
    ],
)
def test_a_mistake_is_one_sentence(words: tuple[str, ...], says: str) -> None:
    assert says in fails(*words)


@pytest.mark.parametrize(
    "words", [("nosuch",), ("init",), ("status", "--nosuch"), ("reports", "--last=x")]
)
def test_a_wrong_call_is_one_sentence_and_exit_2(words: tuple[str, ...]) -> None:
    page = "picket" if words == ("nosuch",) else f"picket {words[0]}"
    assert f"see `{page} --help`" in fails(*words, code=2)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_daemon_that_cannot_start_says_why(solo: Path) -> None:
    config = solo / "config.toml"
    good = config.read_text()

    edit(config, 'mode = "auto"', 'mode = "auto"\nhttp = "127.0.0.1:99999"')
    assert "`http` address" in fails("run", "-c", str(solo))

    config.write_text(good.replace('name = "here"', 'name = "there"'))
    assert "no [[node]] is called `there`" in fails("run", "-c", str(solo))

    config.write_text(good.replace('roles = ["agent"]', 'roles = ["emperor"]'))
    assert "may not grant" in fails("run", "-c", str(solo))
    config.write_text(good)

    edit(solo / "policy" / "tutorial.cedar", "permit(", "permitt(")
    assert "tutorial.cedar" in fails("run", "-c", str(solo))
    edit(solo / "policy" / "tutorial.cedar", "permitt(", "permit(")

    founders = solo / "founders.toml"
    whole = founders.read_text()
    founders.write_text(whole.replace("[[operator]]", "[[operators]]"))
    assert "unknown key `operators`" in fails("run", "-c", str(solo))
    node_id = next(line for line in whole.splitlines() if line.startswith("id"))
    founders.write_text(whole.replace(node_id, f'id = "{"0" * 64}"'))
    assert "another id than the keys" in fails("run", "-c", str(solo))
    founders.unlink()
    assert "the founders' file is missing" in fails("run", "-c", str(solo))
    founders.write_text(whole)

    (solo / "keys" / "renewal.seed").chmod(0o644)
    assert "chmod 600" in fails("run", "-c", str(solo))


def test_a_daemon_starts_from_nothing_that_others_may_change(solo: Path) -> None:
    for path in (solo, solo / "keys", solo / "policy"):
        path.chmod(0o770)
        assert f"{path}: others may write here" in fails("run", "-c", str(solo))
        doctor = picket("doctor", "-c", str(solo), check=False)
        assert "bad   state" in doctor.stdout
        path.chmod(0o700)
    policy = solo / "policy" / "tutorial.cedar"
    policy.chmod(0o666)
    (solo / "policy").chmod(0o755)
    assert "chmod go-w" in fails("run", "-c", str(solo))
    (solo / "policy").chmod(0o700)
    (solo / "keys" / "renewal.seed").write_bytes(bytes(63))
    assert "renewal.seed: not a key" in fails("run", "-c", str(solo))


@pytest.mark.timeout(20)
def test_a_pipe_named_like_a_policy_makes_nobody_wait(solo: Path) -> None:
    os.mkfifo(solo / "policy" / "more.cedar", 0o600)
    assert "more.cedar: cannot read this policy" in fails("run", "-c", str(solo))


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        solo = tmp_path / "n"
        address = f"127.0.0.1:{port}"
        picket("init", str(solo), "--name", "here", "--solo", "--metrics", address)
        assert address in fails("run", "-c", str(solo))
        assert not (solo / "control.sock").exists()
        doctor = picket("doctor", "-c", str(solo), check=False)
        assert doctor.returncode == 1
        assert f"bad   port         {address} cannot be listened on" in doctor.stdout


def test_optimised_python_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-O", "-m", "node.cli.main", "--version"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 1
    assert "python -O" in done.stderr


def test_asking_does_not_import_what_only_the_daemon_needs(solo: Path) -> None:
    code = (
        "import sys\nfrom node.cli.main import main\n"
        f"sys.argv = ['picket', 'status', '-c', {str(solo)!r}]\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(sorted(m for m in ('libp2p', 'trio', 'cedarpy', 'rich', 'oqs',"
        " 'prometheus_client', 'sqlite3') if m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout == "[]\n"


def test_doctor_says_which_provider_the_configuration_leads_to(
    solo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PICKET_LIBOQS", str(solo / "nowhere"))
    config = solo / "config.toml"
    for named, verdict, code, taken in (
        ("auto", "ok    provider     auto takes openssl", 0, "openssl"),
        (
            "openssl",
            "ok    provider     openssl, as the configuration says",
            0,
            "openssl",
        ),
        ("liboqs", "bad   provider     crypto.provider is `liboqs`, but", 1, None),
    ):
        text = config.read_text().split("[crypto]")[0]
        config.write_text(f'{text}\n[crypto]\nprovider = "{named}"\n')
        done = picket("doctor", "-c", str(solo), check=False)
        assert (done.returncode, verdict in done.stdout) == (code, True), done.stdout
        told = picket("doctor", "--json", "-c", str(solo), check=False).stdout
        assert json.loads(told)["provider"] == taken


def test_a_wrap_alone_finds_liboqs_in_the_state_folder_as_the_daemon_does(
    solo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, Path | None]] = []

    def load(provider: str = "auto", state_dir: Path | None = None) -> SuiteWithKeys:
        asked.append((provider, state_dir))
        return OpensslSuite()

    monkeypatch.setattr(registry, "load_suite", load)
    config = solo / "config.toml"
    text = config.read_text().split("[crypto]")[0]
    config.write_text(f'{text}\n[crypto]\nprovider = "liboqs"\n')
    wrap._alone("me", "echo", str(solo))
    assert asked == [("liboqs", load_config(config).state)]


def test_doctor_says_whether_tls_can_be_post_quantum() -> None:
    assert "X25519MLKEM768" in tls_groups((3, 5, 0)).sentence
    assert tls_groups((3, 5, 0)).verdict == "ok"
    assert tls_groups((3, 0, 19)).verdict == "note"
    assert "OpenSSL 3.5" in tls_groups((3, 0, 19)).sentence
