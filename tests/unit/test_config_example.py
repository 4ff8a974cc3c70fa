"""The example and the reference say what the models say."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from cdc_hooks.config import Config, warnings
from cdc_hooks.config.keys import annotation_of, key_of, unfold
from cdc_hooks.config.load import parse
from cdc_hooks.config.reference import reference

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / "config.example.yaml").read_text(encoding="utf-8")
ENVIRON = {"DATABASE_URL": "postgresql://cdc_hooks@db.example/shop", "ORDER_SYNC_SECRET": "0123456789abcdef"}


def uncommented(text):
    """``#key: value`` is a key in waiting, ``# text`` is text."""
    return re.sub(r"^( *)#(?=[^ \n])", r"\1", text, flags=re.MULTILINE)


def all_keys(model):
    for key, field in model.model_fields.items():
        yield key_of(key, field)
        for known, _ in unfold(annotation_of(field)):
            for inner in (known, *getattr(known, "__args__", ())):
                if isinstance(inner, type) and issubclass(inner, BaseModel):
                    yield from all_keys(inner)


def test_the_example_runs_with_one_dsn_and_one_secret():
    config = parse(EXAMPLE, Path("config.yaml"), ENVIRON)
    assert list(config.webhooks) == ["order-sync"]
    assert warnings(config) == []


def test_the_examples_optional_keys_are_right_too():
    config = parse(uncommented(EXAMPLE), Path("config.yaml"), ENVIRON)
    assert config.tables["public.orders"].exclude == ("card_number",)
    assert config.webhooks["order-sync"].auth is not None
    assert config.notify.webhook is not None
    assert config.notify.email is not None


def test_the_defaults_that_the_example_shows_are_the_defaults():
    plain, full = (parse(text, Path("config.yaml"), ENVIRON) for text in (EXAMPLE, uncommented(EXAMPLE)))
    examples = {"auth", "headers", "client_code", "rate_limit", "preset", "retry", "pause_after", "probe_paused"}
    ours, theirs = plain.webhooks["order-sync"], full.webhooks["order-sync"]
    assert ours.model_copy(update={name: getattr(theirs, name) for name in examples}) == theirs
    assert ours.retry == theirs.retry.model_copy(update={"max_attempts": None})
    assert plain.log == full.log
    assert plain.metrics == full.metrics
    assert plain.notify == full.notify.model_copy(update={"webhook": None, "email": None})
    assert plain.change_log == full.change_log.model_copy(update={"max_bytes": None})


@pytest.mark.parametrize("key", sorted(set(all_keys(Config))))
def test_every_key_is_in_the_example(key):
    assert re.search(rf"\b{key}\b", EXAMPLE)


def test_the_reference_is_up_to_date():
    assert (ROOT / "docs/configuration.md").read_text(encoding="utf-8") == reference(), (
        "run: python -m cdc_hooks.config.reference > docs/configuration.md"
    )


def test_every_key_is_explained():
    page = reference()
    for key in all_keys(Config):
        assert f"| `{key}` |" in page or re.search(rf"^#+ \S*\b{key}\b", page, re.MULTILINE), key
    assert "|  |\n" not in page
