"""The base of all sections of the configuration, and how they report what is wrong with several keys together."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cdc_hooks.config.problems import Place


class Section(BaseModel):
    """A mapping in the configuration: frozen, and an unknown key is an error."""

    # Inputs are hidden in errors: they may be secrets.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_all_defaults(cls, given: object) -> object:
        """``batch:`` with all its keys commented out is an empty section."""
        return {} if given is None else given


def fail(title: str, wrong: Iterable[tuple[Place, str]]) -> NoReturn:
    """Report several errors at places below the section that is being validated. For use in its validators."""
    raise ValidationError.from_exception_data(
        title,
        [
            InitErrorDetails(type=PydanticCustomError("section", "{what}", {"what": what}), loc=place, input=None)
            for place, what in wrong
        ],
        hide_input=True,
    )
