"""``secret new``, ``show`` and ``rotate``: what they print, what they never print, and how a rotation goes."""

from __future__ import annotations

import base64
import json
import re

import pytest
import yaml
from click.testing import CliRunner

from cdc_hooks.cli import main
from cdc_hooks.config.credentials import key_of
from cdc_hooks.config.ed25519 import SigningKey
from cdc_hooks.deliver.sign import fingerprint

OLD, NEW = "a plain secret of old", "whsec_" + base64.b64encode(b"n" * 32).decode()
PRIVATE, NEXT = SigningKey.from_seed(b"p" * 32), SigningKey.from_seed(b"q" * 32)
PRINT = {secret: fingerprint(key_of(secret)) for secret in (OLD, NEW, PRIVATE.secret(), NEXT.secret())}
FRESH = re.compile(r"wh(?:sec|sk)_[A-Za-z0-9+/=]+")


@pytest.fixture
def site(tmp_path):
    """Writes a configuration with these keys for the webhook ``w``, and runs ``secret`` with these arguments."""
    path = tmp_path / "config.yaml"

    def run(keys, *args, **env):
        webhook = {"url": "https://a.example", "tables": ["public.orders"], **keys}
        path.write_text(yaml.safe_dump({"database": {"dsn": "dbname=a"}, "webhooks": {"w": webhook}}))
        ended = CliRunner(env=env).invoke(main, ["secret", *args, "-c", str(path)], catch_exceptions=False)
        for secret in (OLD, NEW, PRIVATE.secret(), NEXT.secret()):
            assert secret not in ended.output
            assert secret[6:] not in ended.output
        return ended

    run.path = path
    return run


def words(ended):
    """What it says, without the breaks of lines."""
    return " ".join(ended.stdout.split())


def written(ended):
    """The line that it tells to write, as data."""
    (line,) = (one for one in ended.stdout.splitlines() if re.match(r" +secret(_file)?: ", one))
    return yaml.safe_load(line)


# -- new ----------------------------------------------------------------------------------------------------------


def test_a_new_secret_is_all_that_is_printed():
    first, second = (CliRunner().invoke(main, ["secret", "new"]) for _ in range(2))
    assert len(key_of(first.stdout.removesuffix("\n"))) == 32
    assert first.stdout != second.stdout
    assert (first.exit_code, first.stderr) == (0, "")


def test_a_new_pair():
    lines = CliRunner().invoke(main, ["secret", "new", "--ed25519"]).stdout.splitlines()
    private, public = (line.split()[1] for line in lines)
    assert key_of(private).public_text() == public


@pytest.mark.parametrize("options", [[], ["--ed25519"]])
def test_a_new_one_for_scripts(options):
    told = json.loads(CliRunner().invoke(main, ["secret", "new", "--json", *options]).stdout)
    key = key_of(told["secret"])
    assert told["fingerprint"] == fingerprint(key)
    assert told["public"] == (key.public_text() if options else None)


# -- show ---------------------------------------------------------------------------------------------------------


def test_what_is_active_is_shown_by_fingerprints(site):
    keys = {"secret": [PRIVATE.secret(), OLD, NEW]}
    told = json.loads(site(keys, "show", "--json").stdout)
    assert [one["fingerprint"] for one in told] == [PRINT[secret] for secret in keys["secret"]]
    assert [one["hmac"] for one in told] == [False, True, False]
    assert [one["public"] for one in told] == [PRIVATE.public_text(), None, None]
    assert [one["scheme"] for one in told] == ["v1a", "v1", "v1"]
    lines = site(keys, "show", "w").stdout.splitlines()
    assert lines[1].split() == ["w", PRINT[PRIVATE.secret()], "v1a", "no", PRIVATE.public_text()]
    assert lines[2].split() == ["w", PRINT[OLD], "v1", "yes", "-"]


@pytest.mark.parametrize("command", ["show", "rotate"])
def test_a_webhook_that_is_not_there(site, command):
    ended = site({"secret": OLD}, command, "x")
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert ended.stderr == "there is no webhook x in the configuration\n  hint: it has: w\n"


# -- rotate -------------------------------------------------------------------------------------------------------


def test_a_rotation_from_beginning_to_end(site):
    """Each line that it tells to write is written, but for the secret that only the file knows."""
    begun = site({"secret": OLD}, "rotate", "w")
    assert begun.exit_code == 0
    old, fresh = written(begun)["secret"]
    assert old == f"<{PRINT[OLD]}, as it stands there>"
    assert FRESH.findall(begun.stdout) == [fresh]
    again = f"cdc-hooks secret rotate w --old {PRINT[OLD]}"
    assert again in begun.stdout

    both = site({"secret": [OLD, fresh]}, *again.split()[2:])
    assert both.exit_code == 0
    assert f"{PRINT[OLD]} stands first, then {fingerprint(key_of(fresh))}" in words(both)
    assert f"The hmac in the body is made with {PRINT[OLD]}." in words(both)
    assert fresh not in both.stdout
    assert written(both) == {"secret": f"<{fingerprint(key_of(fresh))}, as it stands there>"}

    done = site({"secret": fresh}, *again.split()[2:])
    assert done.exit_code == 0
    assert f"done: {PRINT[OLD]} is gone, {fingerprint(key_of(fresh))} signs alone" in words(done)


def test_where_the_secret_is_a_variable_so_is_the_new_one(site):
    begun = site({"secret": "${W}"}, "rotate", "w", W=OLD)
    assert written(begun) == {"secret": ["${W}", "${W_NEW}"]}
    assert len(FRESH.findall(begun.stdout)) == 1
    assert "systemctl restart cdc-hooks" in begun.stdout
    both = site({"secret": ["${W}", "${W_NEW}"]}, "rotate", "w", W=OLD, W_NEW=NEW)
    assert written(both) == {"secret": "${W_NEW}"}


def test_a_variable_with_a_default_may_hold_a_secret_in_the_file(site):
    begun = site({"secret": f"${{W:-{OLD}}}"}, "rotate", "w")
    assert written(begun)["secret"][0] == f"<{PRINT[OLD]}, as it stands there>"


def test_where_the_secret_is_in_a_file_so_is_the_new_one(site):
    (site.path.parent / "w").write_text(f"{OLD}\n")
    begun = site({"secret_file": "w"}, "rotate", "w")
    assert written(begun) == {"secret_file": ["w", "w.new"]}
    (fresh,) = FRESH.findall(begun.stdout)
    assert "systemctl reload cdc-hooks" in begun.stdout
    (site.path.parent / "w.new").write_text(f"{fresh}\n")
    both = site({"secret_file": ["w", "w.new"]}, "rotate", "w", "--old", PRINT[OLD])
    assert (both.exit_code, written(both)) == (0, {"secret_file": "w.new"})


def test_a_credential_of_systemd_wants_a_restart(site):
    (site.path.parent / "w").write_text(f"{OLD}\n")
    file = "${CREDENTIALS_DIRECTORY:-.}/w"
    begun = site({"secret_file": file}, "rotate", "w")
    assert written(begun) == {"secret_file": [file, f"{file}.new"]}
    assert "LoadCredential=" in begun.stdout
    assert "systemctl restart cdc-hooks" in begun.stdout


@pytest.mark.parametrize(
    ("secrets", "old", "what"),
    [
        ([NEW, OLD], OLD, f"the order is wrong: {PRINT[OLD]} is the old one, and stands behind {PRINT[NEW]}"),
        ([OLD, OLD], None, "the same secret stands there twice"),
        ([NEW, NEW.rstrip("=")], None, "the same secret stands there twice"),
        ([OLD], OLD, f"the new secret is not in the file yet: {PRINT[OLD]} is the only one"),
        ([OLD, NEW, "yet another of plain text"], None, "there are 3 secrets"),
        ([OLD, NEW], PRIVATE.secret(), f"neither of the two secrets ({PRINT[OLD]}, {PRINT[NEW]}) is "),
        (
            [NEXT.secret(), PRIVATE.secret()],
            PRIVATE.secret(),
            f"the order is wrong: {PRINT[PRIVATE.secret()]} is the old",
        ),
    ],
)
def test_what_is_wrong_with_a_rotation(site, secrets, old, what):
    options = ["--old", PRINT[old]] if old else []
    ended = site({"secret": secrets}, "rotate", "w", *options)
    assert ended.exit_code == 1
    assert words(ended).startswith(f"w: {what}")
    told = json.loads(site({"secret": secrets}, "rotate", "w", "--json", *options).stdout)
    assert (told["state"], told["new"], told["problem"][: len(what)]) == ("wrong", None, what)


@pytest.mark.parametrize("secret", ["whsec_c2hvcnQ=", "short", "whsk_c2hvcnQ=", NEXT.public_text()])
def test_a_new_secret_that_is_malformed(site, secret):
    ended = site({"secret": [OLD, secret]}, "rotate", "w")
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert "webhooks.w.secret[1]: " in ended.stderr
    assert "secret new" in ended.stderr or "public key" in ended.stderr


def test_a_fingerprint_that_is_none(site):
    ended = site({"secret": OLD}, "rotate", "w", "--old", "0xABC")
    assert ended.exit_code == 2
    assert "--old wants a fingerprint: eight hex digits" in ended.stderr


def test_a_private_key_is_changed_by_its_public_one(site):
    begun = site({"secret": PRIVATE.secret()}, "rotate", "w")
    old, fresh = written(begun)["secret"]
    assert old == f"<{PRINT[PRIVATE.secret()]}, as it stands there>"
    assert key_of(fresh).public_text() in begun.stdout
    assert begun.stdout.count(fresh) == 1
    assert "hmac" not in begun.stdout
    both = site({"secret": [PRIVATE.secret(), fresh]}, "rotate", "w", "--old", PRINT[PRIVATE.secret()])
    assert both.exit_code == 0


def test_a_secret_and_a_private_key_are_no_rotation(site):
    """They are two schemes at a time: each is changed by itself, and the other stays where it is."""
    keys = {"secret": [PRIVATE.secret(), OLD]}
    kept, old, new = written(site(keys, "rotate", "w"))["secret"]
    assert [kept, old] == [f"<{PRINT[one]}, as it stands there>" for one in keys["secret"]]
    assert new.startswith("whsec_")
    first, new, last = written(site(keys, "rotate", "w", "--ed25519"))["secret"]
    assert [first, last] == [kept, old]
    assert new.startswith("whsk_")
    refused = site({"secret": OLD}, "rotate", "w", "--ed25519")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "no private key for Ed25519" in refused.stderr


def test_for_scripts(site):
    told = json.loads(site({"secret": OLD}, "rotate", "w", "--json").stdout)
    assert (told["state"], told["scheme"], told["fingerprints"]) == ("single", "v1", [PRINT[OLD]])
    new = told["new"]
    assert new["fingerprint"] == fingerprint(key_of(new["secret"]))
    assert yaml.safe_load(told["write"])["secret"][1] == f"<{new['fingerprint']}, the new secret>"
    told = json.loads(site({"secret": [OLD, NEW]}, "rotate", "w", "--json").stdout)
    assert (told["state"], told["new"], told["fingerprints"]) == ("overlap", None, [PRINT[OLD], PRINT[NEW]])
