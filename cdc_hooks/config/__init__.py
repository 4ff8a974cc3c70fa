"""Configuration: one YAML file → frozen, validated objects."""

from cdc_hooks.config.captures import TableCapture, captures
from cdc_hooks.config.choices import (
    Level,
    LogFormat,
    LogLevel,
    OnExhausted,
    OnPoison,
    Ordering,
    Preset,
    Start,
    Tls,
    WhenFull,
)
from cdc_hooks.config.load import DEFAULT_PATH, VARIABLE, as_written, load, warnings
from cdc_hooks.config.models import (
    ChangeLog,
    Config,
    Database,
    Log,
    Metrics,
    NetworkRules,
    TableRules,
)
from cdc_hooks.config.notify import Email, NoticeWebhook, Notify
from cdc_hooks.config.policy import PRESETS, Breaker, Retry
from cdc_hooks.config.redact import redacted
from cdc_hooks.config.section import Section
from cdc_hooks.config.webhook import Auth, Basic, BatchLimits, TableWish, Timeout, Webhook

__all__ = [
    "DEFAULT_PATH",
    "PRESETS",
    "VARIABLE",
    "Auth",
    "Basic",
    "BatchLimits",
    "Breaker",
    "ChangeLog",
    "Config",
    "Database",
    "Email",
    "Level",
    "Log",
    "LogFormat",
    "LogLevel",
    "Metrics",
    "NetworkRules",
    "NoticeWebhook",
    "Notify",
    "OnExhausted",
    "OnPoison",
    "Ordering",
    "Preset",
    "Retry",
    "Section",
    "Start",
    "TableCapture",
    "TableRules",
    "TableWish",
    "Timeout",
    "Tls",
    "Webhook",
    "WhenFull",
    "as_written",
    "captures",
    "load",
    "redacted",
    "warnings",
]
