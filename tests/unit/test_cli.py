"""The command line without a database: options, exit statuses, what goes where."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cdc_hooks import __version__
from cdc_hooks.cli import main
from cdc_hooks.cli.fitting import aligned
from cdc_hooks.cli.output import ago
from cdc_hooks.cli.program import Program, Session, config_option
from cdc_hooks.errors import ConfigError, DatabaseError

CONFIG = """\
database: {{dsn: "host=127.0.0.1 port={port} dbname=shop user=daemon password=hunter22"}}
webhooks:
  w: {{url: "{url}", secret: 0123456789abcdef, tables: [public.orders]}}
tables: {{public.ordres: {{exclude: [card]}}}}
"""
COMMANDS = (
    *("check", "plan", "apply", "remove", "run", "status", "pause", "resume", "replay", "deliveries"),
    *("demo", "rebase", "test", "notify", "secret"),
)


def run(*args, **env):
    return CliRunner(env={"CDC_HOOKS_CONFIG": None, **env}).invoke(main, args)


@pytest.fixture
def config(tmp_path):
    """A configuration whose database is not there: the port is taken, but nobody listens."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        path = tmp_path / "config.yaml"
        path.write_text(CONFIG.format(port=taken.getsockname()[1], url="https://1.1.1.1/hook"))
        yield path


def test_version():
    assert run("--version").output == f"cdc-hooks {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    shown = run(command, "--help")
    assert shown.exit_code == 0
    assert f"Usage: main {command}" in shown.stdout
    groups = {"deliveries", "secret"}  # their commands take it
    assert command in {"demo", *groups} or "-c, --config FILE" in shown.stdout


BAD_RATES = ["nan", "inf", "0", "-1", "many", "1e-9"]


@pytest.mark.parametrize(
    ("args", "what"),
    [
        (["nope"], "No such command"),
        (["plan", "--json", "--sql"], "cannot be used together"),
        (["remove"], "Name the tables, or say --all."),
        (["remove", "--all", "public.orders"], "Name the tables, or say --all."),
        (["demo", "--seconds", "0"], "Invalid value for '--seconds'"),
        (["plan", "--nope"], "No such option"),
        (["test"], "Missing argument 'WEBHOOK'"),
        (["test", "w", "--row", "1", "--data", "-"], "--row and --data cannot be used together."),
        (["test", "w", "--data", "/nowhere.json"], "No such file or directory"),
        (["test", "w", "--action", "upsert"], "Invalid value for '--action'"),
        (["test", "w", "--count", "0"], "Invalid value for '--count'"),
        (["deliveries", "list", "--limit", "0"], "Invalid value for '--limit': 0 is not in the range"),
        (["deliveries", "list", "--limit", "9" * 23], "Invalid value for '--limit': 9999"),
        *((["deliveries", "resend", "1", "--rate", rate], f"'--rate': '{rate}' is no rate") for rate in BAD_RATES),
        *((["replay", "w", "--from", "1h", "--rate", rate], f"'--rate': '{rate}' is no rate") for rate in BAD_RATES),
        (["deliveries", "list", "--row", "\udcff"], "Argument 4 is not text in UTF-8: '\\udcff'"),
        (["deliveries", "list", "--since", "yesterday"], "--since: 'yesterday' is no time"),
        (["deliveries", "list", "--until", "-2h"], "--until: '-2h' is no time"),
        (["deliveries", "list", "--until", "9" * 9 + "d"], "--until: '999999999d' is no time"),
        (["deliveries", "list", "--until", "0001-01-01T00:00+05:00"], "--until: '0001-01-01T00:00+05:00' is no time"),
        (["deliveries", "list", "--since", "1h", "--until", "2h"], "--since 1h is not before --until 2h"),
        (["deliveries", "list", "--status", "6x"], "--status: '6x' is no status"),
    ],
)
def test_wrong_usage_is_status_2(args, what):
    ended = run(*args)
    assert ended.exit_code == 2
    assert what in ended.stderr
    assert ended.stdout == ""


@pytest.mark.parametrize("command", ["check", "plan", "apply", "run", "status", "rebase"])
def test_a_wrong_configuration_is_status_2(command, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("database: {dsn: ''}\nwebhook: {}\n")
    ended = run(command, "-c", str(path))
    assert ended.exit_code == 2
    assert ended.stdout == ""
    assert ended.stderr.splitlines() == [
        f"{path}:1: database.dsn: the value is empty",
        f"{path}:1: webhooks: this key is required",
        f"{path}:2: webhook: unknown key; did you mean webhooks?",
    ]


def test_where_the_configuration_is_looked_for(tmp_path):
    def named(*args, **env):
        return run(*args, **env).stderr.partition(":")[0]

    assert named("check") == "/etc/cdc-hooks/config.yaml"
    assert named("check", CDC_HOOKS_CONFIG="/nowhere/env.yaml") == "/nowhere/env.yaml"
    assert named("-c", "/nowhere/a.yaml", "check", CDC_HOOKS_CONFIG="/nowhere/env.yaml") == "/nowhere/a.yaml"
    assert named("check", "-c", "/nowhere/b.yaml") == "/nowhere/b.yaml"
    assert named("-c", "/nowhere/a.yaml", "check", "--config", "/nowhere/b.yaml") == "/nowhere/b.yaml"


@pytest.mark.parametrize(
    "args", [["plan"], ["apply"], ["remove", "--all", "--yes"], ["status"], ["rebase", "--yes"], ["test", "w"]]
)
def test_a_database_that_is_not_there(args, config):
    ended = run(*args, "-c", str(config))
    assert ended.exit_code == 1
    assert ended.stdout == ""
    assert ended.stderr.startswith("cannot connect to user=daemon dbname=shop host=127.0.0.1 port=")
    assert "hint: look whether the server runs" in ended.stderr
    assert "hunter22" not in ended.output


def test_check_goes_as_far_as_it_can(config):
    ended = run("check", "-c", str(config))
    assert ended.exit_code == 1
    lines = ended.stdout.splitlines()
    assert lines[1].split() == ["ok", "configuration", "1", "webhook", "for", "1", "table"]
    assert "no webhook wants this table" in lines[2]
    assert lines[3].startswith("error")
    assert "cannot connect to user=daemon" in lines[3]
    assert "hunter22" not in ended.output


def test_check_for_scripts(config):
    ended = run("check", "--json", "-c", str(config))
    assert ended.exit_code == 1
    said = json.loads(ended.stdout)
    assert [one["level"] for one in said["checks"]] == ["ok", "warning", "error"]
    assert said["configuration"]["webhooks"]["w"]["secret"] == ["**********"]
    assert "hunter22" not in ended.output
    assert "0123456789abcdef" not in ended.output


@pytest.mark.parametrize(
    ("url", "level", "says", "hint"),
    [
        (
            "https://[::ffff:10.0.0.5]/x",
            "error",
            "is an IPv6 form of an IPv4 address (::ffff:0:0/96, 10.0.0.5)",
            'write network: {allow: ["::ffff:',
        ),
        ("https://10.0.0.5/x", "error", "requests will be refused: 10.0.0.5 is private", '{allow: ["10.0.0.5"]}'),
        ("https://127.0.0.1:9464/x", "error", "where cdc-hooks itself listens", "own port is refused in any case"),
        ("https://nobody.invalid/x", "warning", "nobody.invalid cannot be resolved now: ", "this machine's resolver"),
    ],
)
def test_check_says_where_requests_will_not_go(config, url, level, says, hint):
    config.write_text(config.read_text().replace("https://1.1.1.1/hook", url))
    said = json.loads(run("check", "--json", "-c", str(config)).stdout)["checks"]
    (found,) = [one for one in said if one["subject"] == "webhook w"]
    assert found["level"] == level
    assert says in found["message"]
    assert hint in found["hint"]


def test_check_lets_a_proxy_resolve_names(config):
    proxied = config.read_text().replace("https://1.1.1.1/hook", "https://nobody.invalid")
    config.write_text(proxied + "network: {proxy: 'http://proxy.example:3128'}\n")
    said = json.loads(run("check", "--json", "-c", str(config)).stdout)["checks"]
    assert not [one for one in said if one["subject"] == "webhook w"]


def test_the_dsn_on_the_command_line_comes_first(config):
    ended = run("plan", "-c", str(config), "--dsn", "postgresql://dba:hunter22@127.0.0.1:1/other?connect_timeout=1")
    assert "cannot connect to user=dba dbname=other host=127.0.0.1 port=1" in ended.stderr
    assert "hunter22" not in ended.output
    broken = run("plan", "-c", str(config), "--dsn", "hunter22 x")
    assert broken.exit_code == 2
    assert "--dsn: not a connection string" in broken.stderr
    assert "hunter22" not in broken.output


def program(error):
    @click.group(cls=Program)
    @config_option
    def group():
        pass

    @group.command()
    def go():
        if isinstance(error, BaseException):
            raise error
        return error

    return group


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (None, 0, ""),
        (3, 3, ""),
        (ConfigError("what", hint="how"), 2, "what\n  hint: how\n"),
        (DatabaseError("what"), 1, "what\n"),
        (KeyboardInterrupt(), 130, "\n"),
        (click.ClickException("what"), 1, "Error: what\n"),
    ],
)
def test_how_commands_end(error, status, told):
    ended = CliRunner().invoke(program(error), ["go"])
    assert (ended.exit_code, ended.stdout, ended.stderr) == (status, "", told)


def test_a_fault_of_ours_shows_where_it_is():
    ended = CliRunner().invoke(program(ZeroDivisionError()), ["go"])
    assert isinstance(ended.exception, ZeroDivisionError)


def test_without_its_own_exit_a_command_returns_its_status():
    assert program(3).main(["go"], standalone_mode=False) == 3


def test_a_reader_that_has_seen_enough():
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "cdc_hooks", "--help"],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(writing)
    assert done.stderr == ""


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "cdc_hooks", "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: cdc-hooks [OPTIONS] COMMAND")


def test_an_interrupt_while_it_loads_says_nothing():
    begin = "import os, signal, sys; sys.path_hooks.insert(0, lambda _: os.kill(os.getpid(), signal.SIGINT)); "
    begin += "sys.path_importer_cache.clear(); "
    script = "from cdc_hooks.__main__ import main; " + begin + "main()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_the_path_without_options(monkeypatch):
    monkeypatch.delenv("CDC_HOOKS_CONFIG", raising=False)
    assert Session().path == Path("/etc/cdc-hooks/config.yaml")
    assert Session(Path("a")).path == Path("a")


def test_columns_stand_below_each_other():
    assert aligned([["a", "b"], ["long", ""], ["x", "y"]]) == ["a     b", "long", "x     y"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "-"), (0, "0 s"), (119, "119 s"), (180, "3 min"), (7200, "2 h"), (172_800, "2 d"), (9e6, "104 d")],
)
def test_time_spans(seconds, words):
    assert ago(seconds) == words
