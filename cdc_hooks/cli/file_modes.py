"""For ``check``: files that hold secrets, and who else may read them."""

from __future__ import annotations

import re
import stat
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from cdc_hooks.config import Section, Webhook, as_written
from cdc_hooks.config.credentials import Credential
from cdc_hooks.config.dsn import parse_dsn
from cdc_hooks.config.problems import Place, show_place

if TYPE_CHECKING:
    from cdc_hooks.config import Config

_VARIABLE = re.compile(r"\$\{[^}]*\}")
_DSNS = frozenset({("database", "dsn"), ("database", "admin_dsn")})


@dataclass(frozen=True)
class Exposed:
    """A file that everybody on this machine may read or change, and which keys have their secrets in it."""

    path: Path
    may: str
    keys: tuple[str, ...]


def exposed(path: Path, config: Config) -> list[Exposed]:
    """``path``: the configuration file. What cannot be looked at is left out."""
    held: dict[Path, list[str]] = defaultdict(list)
    for place, file in _secrets(config, as_written(path).data, ()):
        held[path if file is None else file].append(show_place(place))
    return [Exposed(file, may, tuple(keys)) for file, keys in held.items() if (may := _everybody_may(file))]


def _secrets(section: Section, written: Any, place: Place) -> Iterator[tuple[Place, Path | None]]:
    """Where secrets are: the key, and the file that it names; None for one that stands in the configuration itself."""
    if isinstance(section, Webhook) and section.client_cert_file is not None:
        key = "client_key_file" if section.client_key_file is not None else "client_cert_file"
        yield (*place, key), getattr(section, key)
    for name, field in type(section).model_fields.items():
        key = field.alias or name
        below = written.get(key) if isinstance(written, Mapping) else None
        for step, value, text in _each(getattr(section, name), below):
            here = (*place, key, *step)
            if isinstance(value, Section):
                yield from _secrets(value, text, here)
            elif isinstance(value, Credential):
                yield here, value.path
            elif isinstance(value, SecretStr) and isinstance(text, str) and _is_secret(here, text):
                yield here, None


def _each(value: object, written: Any) -> Iterator[tuple[Place, object, Any]]:
    """A value, or those of a list or of a mapping, each with what is written of it."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield (key,), one, written.get(key) if isinstance(written, Mapping) else None
    elif isinstance(value, tuple):
        texts = written if isinstance(written, Sequence) and not isinstance(written, str) else [written]
        for one, text in zip(value, texts, strict=False):
            yield (), one, text
    else:
        yield (), value, written


def _is_secret(place: Place, written: str) -> bool:
    """Whether there is more than a variable: of a connection string, in its password."""
    if place in _DSNS:
        try:
            written = str(parse_dsn(written).get("password") or "")
        except ValueError:
            return False
    return bool(_VARIABLE.sub("", written))


def _everybody_may(file: Path) -> str | None:
    try:
        real = file.resolve()
        mode = real.stat().st_mode
        reached = all(one.stat().st_mode & stat.S_IXOTH for one in real.parents)
    except OSError:
        return None
    may = [word for word, bit in (("read", stat.S_IROTH), ("change", stat.S_IWOTH)) if mode & bit]
    return " and ".join(may) if reached and may else None
