"""The words that keys may have as values."""

from __future__ import annotations

from enum import StrEnum


class Ordering(StrEnum):
    KEY = "key"
    STRICT = "strict"
    NONE = "none"


class Start(StrEnum):
    NOW = "now"
    EARLIEST = "earliest"


class Preset(StrEnum):
    FIRE_AND_FORGET = "fire-and-forget"
    FIVE_STRIKES = "five-strikes"
    PATIENT = "patient"


class OnExhausted(StrEnum):
    DEAD_LETTER = "dead_letter"
    PAUSE = "pause"
    DROP = "drop"


class OnPoison(StrEnum):
    CONTINUE = "continue"
    HOLD_ROW = "hold_row"


class Level(StrEnum):
    ROW = "row"
    STATEMENT = "statement"


class WhenFull(StrEnum):
    HOLD = "hold"
    DROP_OLDEST = "drop_oldest"


class Recorded(StrEnum):
    ALL = "all"
    REJECTED = "rejected"
    NONE = "none"


class OnResent(StrEnum):
    MARK = "mark"
    REMOVE = "remove"


class Tls(StrEnum):
    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"


class LogFormat(StrEnum):
    JSON = "json"
    CONSOLE = "console"
    AUTO = "auto"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
