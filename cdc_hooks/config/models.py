"""The configuration as the rest of the program knows it: frozen, validated, with defaults filled in."""

from __future__ import annotations

import os
import pwd
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    SecretStr,
    Tag,
    field_validator,
    model_validator,
)

from cdc_hooks.config import rules
from cdc_hooks.config.choices import Level, LogFormat, LogLevel, WhenFull
from cdc_hooks.config.credentials import (
    CredentialFile,
    Secret,
    SecretHeaderValue,
    given_or_from_file,
    or_from_file,
)
from cdc_hooks.config.dsn import parse_dsn
from cdc_hooks.config.ledger import Ledger
from cdc_hooks.config.notify import Notify
from cdc_hooks.config.section import Section, fail
from cdc_hooks.config.values import (
    AnyColumns,
    Bytes,
    ColumnName,
    Kind,
    Listen,
    Network,
    ProxyUrl,
    Seconds,
    SomeColumns,
    TableName,
    WebhookName,
    as_list,
    nothing_or_off,
    tables_by_name,
)
from cdc_hooks.config.webhook import Basic, KiB, MiB, Webhook, credentials_for
from cdc_hooks.model import Action


class Database(Section):
    """The database whose changes are captured. The change log is kept in the same one."""

    dsn_file: CredentialFile | None = None
    """File that holds the dsn."""
    dsn: Secret = Field(default=None, validate_default=True)
    """How the daemon connects: a libpq connection string or URI. Its user is the daemon's role."""
    admin_dsn_file: CredentialFile | None = None
    """File that holds the admin_dsn."""
    admin_dsn: Secret | None = Field(default=None, validate_default=True)
    """How apply and remove connect, where no --dsn is given. Not given: as the daemon does."""
    owner_role: ColumnName = "cdc_hooks_owner"
    """The role, without login, that owns the schema cdc_hooks and the capture functions."""

    _dsn_file = field_validator("dsn", mode="before")(given_or_from_file)
    _admin_file = field_validator("admin_dsn", mode="before")(or_from_file)

    @field_validator("dsn", "admin_dsn")
    @classmethod
    def _is_conninfo(cls, dsn: SecretStr | None) -> SecretStr | None:
        parse_dsn(dsn.get_secret_value() if dsn else "")
        return dsn

    @property
    def role(self) -> str:
        """The role that the daemon connects as: the user in the dsn, or what libpq takes where there is none."""
        named = parse_dsn(self.dsn.get_secret_value()).get("user")
        return str(named or os.environ.get("PGUSER") or pwd.getpwuid(os.geteuid()).pw_name)


class NetworkRules(Section):
    """Where requests may go."""

    allow_http: bool = False
    """Whether webhooks may have http:// URLs: bodies and tokens then travel in the clear."""
    allow: Annotated[tuple[Network, ...], BeforeValidator(as_list)] = ()
    """Private networks and hosts that requests may go to nevertheless: CIDRs and host names, such as 127.0.0.0/8."""
    proxy: ProxyUrl | None = None
    """The proxy that requests go through, as http://host:port. The environment is not asked."""
    proxy_auth: Basic | None = None
    """User name and password for the proxy."""

    @model_validator(mode="after")
    def _auth_has_a_proxy(self) -> Self:
        credentials_for(self.proxy, self.proxy_auth)
        return self


def _condition(text: str) -> str:
    if not text.strip():
        raise ValueError("the condition is empty; leave it out")
    return text


def _form_of_condition(given: object) -> str:
    return "each" if isinstance(given, dict) else "all"


Sql = Annotated[str, Kind("SQL condition"), AfterValidator(_condition)]
Condition = Annotated[
    Annotated[Sql, Tag("all")] | Annotated[dict[Action, Sql], Tag("each")], Discriminator(_form_of_condition)
]


class TableRules(Section):
    """The DBA's say over the capture of one table."""

    key: SomeColumns | None = None
    """The columns that identify a row. Not given: the primary key."""
    exclude: AnyColumns = ()
    """Columns that are never captured, whatever webhooks ask for."""
    when: Condition | None = None
    """SQL condition over NEW and OLD: only where it is true is a change captured. A mapping: one for each action."""
    level: Level = Level.ROW
    """row, or statement for tables that are loaded in bulk."""
    max_row_bytes: Bytes = Field(default=MiB, ge=KiB)
    """Of rows that are larger only the key is captured."""


class ChangeLog(Section):
    """How long changes are kept, and how much."""

    history: Seconds = 86_400.0
    """How long changes that every webhook has are kept, for replaying them; the newest three million or so at most."""
    max_bytes: Bytes | None = Field(default=None, ge=64 * MiB)
    """Budget for the change log's size on disk. Not given: no limit."""
    when_full: WhenFull = WhenFull.HOLD
    """At max_bytes: hold keeps all and raises the alarm; drop_oldest makes room, records the gap, tells receivers."""


class Metrics(Section):
    """``metrics: off`` for none."""

    listen: Annotated[Listen | None, BeforeValidator(nothing_or_off)] = "127.0.0.1:9464"
    """Where /metrics, /healthz and /readyz are served; off for nowhere."""
    token_file: CredentialFile | None = None
    """File that holds the token."""
    token: SecretHeaderValue | None = Field(default=None, validate_default=True)
    """Wanted for /metrics, as Authorization: Bearer …; /readyz says why only to who has it. Not given: none."""

    _file = field_validator("token", mode="before")(or_from_file)


class Log(Section):
    format: LogFormat = LogFormat.AUTO
    """json, console, or auto: console on a terminal, else json."""
    level: LogLevel = LogLevel.INFO
    """debug, info, warning or error."""


def _off_is_a_section(given: object) -> object:
    return {"listen": None} if nothing_or_off(given) is None else given


class Config(Section):
    """The whole file."""

    database: Database
    network: NetworkRules = NetworkRules()
    webhooks: dict[WebhookName, Webhook]
    tables: Annotated[dict[TableName, TableRules], BeforeValidator(tables_by_name)] = Field(default={})
    """The DBA's say over capture, by table. Optional: a table that a webhook wants needs no entry here."""
    change_log: ChangeLog = ChangeLog()
    ledger: Ledger = Ledger()
    notify: Notify = Notify()
    metrics: Annotated[Metrics, BeforeValidator(_off_is_a_section)] = Metrics()
    log: Log = Log()

    @field_validator("webhooks", mode="before")
    @classmethod
    def _none_is_empty(cls, given: object) -> object:
        return {} if given is None else given

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        excluded = {name: table.exclude for name, table in self.tables.items()}
        wrong = list(rules.contradictions(self.webhooks, excluded, self.notify, allow_http=self.network.allow_http))
        if wrong:
            fail("config", wrong)
        return self
