"""YAML text → plain data, the line of every value, and what is wrong with it as YAML.

Every plain value stays the text that is in the file, or None where there is none: what ``0100``, ``on`` or ``1e3``
means is decided by the type of the key that it belongs to, never guessed from its looks.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import yaml

from cdc_hooks.config.environment import interpolate
from cdc_hooks.config.problems import Place, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_NULLS = {"", "~", "null", "Null", "NULL"}
_MERGE = "tag:yaml.org,2002:merge"
_PLAIN_TAGS = re.compile(r"tag:yaml\.org,2002:(str|null|bool|int|float|timestamp|value|merge|map|seq)")


_QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""")


class Document(NamedTuple):
    """A parsed file. ``data`` is made of dict, list, str and None; ``lines`` count from 1."""

    data: object
    lines: Mapping[Place, int]
    problems: tuple[Problem, ...]


class NotYamlError(ValueError):
    """The text is no YAML at all; ``line`` counts from 1."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line
        self.what = what


def parse(text: str, environ: Mapping[str, str] | None) -> Document:
    """Raises NotYamlError where nothing can be read; lesser problems are returned, with what could be read.

    Without ``environ``, variables stay as they are written.
    """
    loader = None
    try:
        loader = yaml.SafeLoader(text)  # looks at the characters, and may refuse them
        root = loader.get_single_node()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise NotYamlError(
            line, f"the character U+{ord(text[error.position]):04X} may not stand in a YAML file"
        ) from error
    except yaml.MarkedYAMLError as error:
        raise _not_yaml(text, error) from None  # it quotes the file, and thereby perhaps a secret
    except RecursionError as error:
        raise NotYamlError(1, "nested too deeply") from error
    finally:
        if loader is not None:
            loader.dispose()
    reader = _Reader(environ)
    data = None if root is None else reader.read(root, (), ())
    return Document(data, reader.lines, tuple(reader.problems))


def _not_yaml(text: str, error: yaml.MarkedYAMLError) -> NotYamlError:
    mark = error.problem_mark or error.context_mark
    number = mark.line if mark else 0
    lines = text.splitlines()
    line = lines[number] if number < len(lines) else ""
    what = f"not YAML: {_QUOTED.sub(_only_punctuation, str(error.problem))}"
    if error.context_mark and error.context_mark.line != number:
        what += f" ({error.context}, line {error.context_mark.line + 1})"
    return NotYamlError(number + 1, what + _hint(line, mark.column if mark else 0))


def _only_punctuation(quoted: re.Match[str]) -> str:
    """What a message quotes, where that is a single character or a name such as ``<scalar>``: more may be a secret."""
    return quoted[0] if len(quoted[0]) <= 3 or quoted[0][1] == "<" else "…"


def _hint(line: str, column: int) -> str:
    """What to do, by the looks of the line that the parser stumbled over."""
    if "\t" in line[: column + 1]:
        return "; indent with spaces, not with tabs"
    if line[column : column + 1] in {"@", "`", "%", "*", "&", "!", "|", ">"}:
        return f"; put a value that begins with {line[column]} in double quotes"
    if line.count(": ") > 1 or re.search(r":\s+\S.*:\s*$", line):
        return "; put a value that contains ': ' in double quotes"
    return "; look for a missing colon, quote or bracket, or a wrong indentation, here or just above"


class _Reader:
    """Walks the nodes of one document and keeps the lines and the problems."""

    def __init__(self, environ: Mapping[str, str] | None) -> None:
        self.environ = environ
        self.lines: dict[Place, int] = {(): 1}
        self.problems: list[Problem] = []

    def read(self, node: yaml.Node, place: Place, inside: tuple[yaml.Node, ...]) -> object:
        if any(node is outer for outer in inside):
            return self._problem(node, place, "this alias contains itself")
        if not _PLAIN_TAGS.fullmatch(node.tag):
            return self._problem(node, place, "a value that begins with ! is a tag, not text; put it in double quotes")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place, (*inside, node))
        if isinstance(node, yaml.SequenceNode):
            return [self._item(item, (*place, number), (*inside, node)) for number, item in enumerate(node.value)]
        return self._scalar(node, place)

    def _item(self, node: yaml.Node, place: Place, inside: tuple[yaml.Node, ...]) -> object:
        self.lines[place] = _line(node)
        return self.read(node, place, inside)

    def _mapping(self, node: yaml.MappingNode, place: Place, inside: tuple[yaml.Node, ...]) -> dict[str, object]:
        found: dict[str, object] = {}
        first_line: dict[str, int] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem(key_node, place, "a key must be a plain word, not a list or a mapping")
                continue
            key = str(key_node.value)
            if key in first_line:
                self._problem(key_node, (*place, key), f"this key is already on line {first_line[key]}")
                continue
            first_line[key] = self.lines[*place, key] = _line(key_node)
            found[key] = self.read(value_node, (*place, key), inside)
        for merged in self._merged(node, place):
            if merged in inside:
                self._problem(merged, place, "this alias contains itself")
                continue
            outer = dict(self.lines)
            for key, value in self._mapping(merged, place, (*inside, merged)).items():
                found.setdefault(key, value)
            # A key that stands in the mapping itself keeps its own line.
            self.lines.update(outer)
        return found

    def _merged(self, node: yaml.MappingNode, place: Place) -> Iterator[yaml.MappingNode]:
        """The mappings that ``<<: *alias`` brings in; earlier ones win."""
        for key_node, value_node in node.value:
            if key_node.tag != _MERGE:
                continue
            for one in value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]:
                if isinstance(one, yaml.MappingNode):
                    yield one
                else:
                    self._problem(one, place, "<< wants a mapping, or a list of mappings")

    def _scalar(self, node: yaml.Node, place: Place) -> str | None:
        text = str(node.value)
        if getattr(node, "style", None) is None and text in _NULLS:
            return None
        try:
            return text if self.environ is None else interpolate(text, self.environ)
        except ValueError as error:
            return self._problem(node, place, str(error))

    def _problem(self, node: yaml.Node, place: Place, what: str) -> str:
        """Returns what stands in for the value: given, but empty, so that nothing is reported as missing as well."""
        self.problems.append(Problem(_line(node), place, what))
        return ""


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
