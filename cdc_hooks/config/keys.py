"""What the models say about a place in the file: which keys it may have, which values, of what kind."""

from __future__ import annotations

from enum import Enum
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from cdc_hooks.config.models import Config
from cdc_hooks.config.values import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

    from cdc_hooks.config.problems import Place


def unfold(annotation: Any, metadata: tuple[Any, ...] = ()) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """The types that a value may have, without None, each with what is annotated to it."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        yield from unfold(inner, (*more, *metadata))
    elif get_origin(annotation) in {Union, UnionType}:
        for one in get_args(annotation):
            if one is not NoneType:
                yield from unfold(one, metadata)
    else:
        yield annotation, metadata


def annotation_of(field: FieldInfo) -> Any:
    """A field's type with its metadata, as it was written."""
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


def key_of(name: str, field: FieldInfo) -> str:
    """What a field is called in the file: a word of Python's, such as from, is no name of a field."""
    return field.alias or name


def keys_at(place: Place) -> tuple[str, ...]:
    """The keys of a section; none where the keys are the operator's names."""
    return tuple(
        key_of(name, field)
        for known, _ in _at(place)
        if isinstance(known, type) and issubclass(known, BaseModel)
        for name, field in known.model_fields.items()
    )


def values_at(place: Place, *, of_key: bool = False) -> tuple[str, ...]:
    """The words that a value may be, or, ``of_key``, that the key itself may be; none where it is free."""
    if not of_key:
        # What stands where a list is wanted is a list of one.
        kinds = [kind for known, _ in _at(place) for kind in (known, *(of_list for of_list, _ in _items_of(known)))]
        return tuple(value for kind in kinds for value in words_of(kind))
    keys = (get_args(known)[0] for known, _ in _at(place[:-1]) if get_origin(known) is dict)
    return tuple(value for key in keys for known, _ in unfold(key) for value in words_of(known))


def kind_at(place: Place) -> str:
    """What the value is, in words: ``duration``, ``size``, …; empty where the type says enough."""
    return next((one.words for _, metadata in _at(place) for one in metadata if isinstance(one, Kind)), "")


def words_of(known: Any) -> tuple[str, ...]:
    """The values of an enumeration or a Literal."""
    if isinstance(known, type) and issubclass(known, Enum):
        return tuple(str(member.value) for member in known)
    return tuple(map(str, get_args(known))) if get_origin(known) is Literal else ()


def _at(place: Place) -> list[tuple[Any, tuple[Any, ...]]]:
    found = list(unfold(Config))
    for step in place:
        found = [below for known, _ in found for below in _below(known, step)]
    return found


def _items_of(known: Any) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    return _below(known, 0) if get_origin(known) is tuple else iter(())


def _below(known: Any, step: str | int) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    if get_origin(known) is dict:
        yield from unfold(get_args(known)[1])
    elif get_origin(known) is tuple and isinstance(step, int):
        yield from unfold(get_args(known)[0])
    elif isinstance(known, type) and issubclass(known, BaseModel):
        for name, field in known.model_fields.items():
            if key_of(name, field) == step:
                yield from unfold(annotation_of(field))
