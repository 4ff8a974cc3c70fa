"""The section ``webhooks``: where changes go, which ones, and how they are sent."""

from __future__ import annotations

import base64
import ssl
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from cdc_hooks.config.certificates import load_client_certificate
from cdc_hooks.config.choices import OnPoison, Ordering, Preset, Start
from cdc_hooks.config.credentials import (
    CertificateFile,
    CredentialFile,
    CredentialFiles,
    PemFile,
    Secret,
    SecretHeaderValue,
    SigningSecrets,
    given_or_from_file,
    key_of,
    or_from_file,
)
from cdc_hooks.config.ed25519 import SigningKey
from cdc_hooks.config.policy import (
    Breaker,
    Retry,
    Statuses,
    breaker_or_off,
    statuses,
    with_preset,
)
from cdc_hooks.config.section import Section, fail
from cdc_hooks.config.units import format_duration
from cdc_hooks.config.values import (
    NO_PROXY,
    AnyColumns,
    Bytes,
    HeaderName,
    HeaderValue,
    OwnProxyUrl,
    Seconds,
    TableName,
    Url,
    as_list,
    distinct,
    no_longer_than,
    not_empty,
    tables_by_name,
)
from cdc_hooks.model import Action

KiB, MiB = 2**10, 2**20


Actions = Annotated[tuple[Action, ...], BeforeValidator(as_list), AfterValidator(distinct), AfterValidator(not_empty)]


class TableWish(Section):
    """What a webhook wants of one table. Without any keys: all its inserts, updates and deletes, all columns."""

    actions: Actions = (Action.INSERT, Action.UPDATE, Action.DELETE)
    """What is sent: any of insert, update, delete, truncate."""
    fields: AnyColumns | None = None
    """The columns that are sent, in this order. Not given: all. An empty list: none, data is null."""


class BatchLimits(Section):
    max_events: int = Field(default=100, ge=1, le=1000)
    """Most changes in one request."""
    max_bytes: Bytes = Field(default=256 * KiB, ge=KiB, le=64 * MiB)
    """Largest request body. A single change that is larger goes alone."""
    max_wait: Seconds = Field(default=0.0, le=3600)
    """How long a batch that is not full waits for more. With 0s changes gather only while a request is in flight."""


_CONNECT_S = 5.0


class Timeout(Section):
    connect: Seconds = Field(default=_CONNECT_S, gt=0)
    """For making the connection, TLS included. Not given: no more than total."""
    total: Seconds = Field(default=20.0, gt=0, le=3600)
    """For the whole attempt, from the beginning to the end of the response."""

    @model_validator(mode="before")
    @classmethod
    def _connecting_takes_no_longer_than_all(cls, given: object) -> object:
        return no_longer_than(given, "connect", _CONNECT_S, "total")

    @model_validator(mode="after")
    def _connecting_is_part_of_it(self) -> Self:
        if self.connect > self.total:
            total = format_duration(self.total)
            fail("timeout", [(("connect",), f"longer than total ({total}), the time for the whole attempt")])
        return self


class Basic(Section):
    user: str = Field(min_length=1)
    """User name of HTTP basic authentication."""
    password_file: CredentialFile | None = None
    """File that holds the password."""
    password: Secret = Field(default=None, validate_default=True)
    """The password."""

    _file = field_validator("password", mode="before")(given_or_from_file)

    @field_validator("user")
    @classmethod
    def _no_colon(cls, user: str) -> str:
        if ":" in user:
            raise ValueError("the user name of basic authentication cannot contain a colon")
        return user

    def authorization(self) -> str:
        """The value, in the clear, of the header that carries them."""
        pair = f"{self.user}:{self.password.get_secret_value()}"
        return "Basic " + base64.b64encode(pair.encode()).decode()


class HeaderAuth(Section):
    name: HeaderName
    """Name of the header, such as X-Api-Key."""
    value_file: CredentialFile | None = None
    """File that holds its value."""
    value: SecretHeaderValue = Field(default=None, validate_default=True)
    """Its value."""

    _file = field_validator("value", mode="before")(given_or_from_file)


class Auth(Section):
    """How requests authenticate themselves, besides the signature: one of ``bearer``, ``basic`` and ``header``."""

    bearer_file: CredentialFile | None = None
    """File that holds the token."""
    bearer: SecretHeaderValue | None = Field(default=None, validate_default=True)
    """Token, sent as Authorization: Bearer …"""
    basic: Basic | None = None
    """User name and password, sent as Authorization: Basic …"""
    header: HeaderAuth | None = None
    """A header of the receiver's choice."""

    _file = field_validator("bearer", mode="before")(or_from_file)

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [name for name in ("bearer", "basic", "header") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"give exactly one of bearer, basic and header{', not ' + ' and '.join(given) if given else ''}"
            )
        return self

    def as_header(self) -> tuple[str, str]:
        """Name and value, in the clear, of the header that authenticates a request."""
        if self.header is not None:
            return self.header.name, self.header.value.get_secret_value()
        if self.basic is not None:
            return "Authorization", self.basic.authorization()
        return "Authorization", f"Bearer {self.bearer.get_secret_value()}" if self.bearer else ""


def credentials_for(proxy: str | None, given: Basic | None) -> None:
    """Report credentials that are for no proxy. For use in a section's validators."""
    if given is not None and proxy in {None, NO_PROXY}:
        fail(
            "proxy", [(("proxy_auth",), "there is no proxy beside it; name it, as in proxy: http://proxy.example:3128")]
        )


class Webhook(Section):
    """One destination."""

    url: Url
    """Where to post. http:// only where network.allow_http says so."""
    secret_file: CredentialFiles = ()
    """File that holds the secret, or a list of files."""
    secret: SigningSecrets = Field(default=None, validate_default=True)
    """Signs each request: whsec_… (base64 of 24 bytes or more) or plain text (16 or more) by HMAC, whsk_… by Ed25519.
    A list: each signs; so while rotating, the old one first."""
    tables: Annotated[dict[TableName, TableWish], BeforeValidator(tables_by_name)] = Field(min_length=1)
    """The tables whose changes are sent, named as in SQL. A list of names: all changes of these."""
    batch: BatchLimits = BatchLimits()
    ordering: Ordering = Ordering.KEY
    """key: changes of one row in order, different rows concurrently; strict: one request at a time; none: free."""
    concurrency: int = Field(default=4, ge=1, le=64)
    """Most requests in flight at a time; with ordering: strict it is one."""
    rate_limit: float | None = Field(default=None, gt=0)
    """Most requests a second. Not given: no limit."""
    timeout: Timeout = Timeout()
    preset: Preset | None = None
    """Sets success, timeout, retry, breaker, bisect and pause_after as known senders do; what is given comes first."""
    success: Annotated[tuple[Statuses, ...], BeforeValidator(as_list), AfterValidator(not_empty)] = ("200-299",)
    """Which statuses mean that the batch has arrived: numbers and ranges."""
    partial_ack: bool = False
    """Whether a success may name events that failed, {"failed": ["1-4711"]}: only those are sent again."""
    retry: Retry = Retry()
    breaker: Annotated[Breaker | None, BeforeValidator(breaker_or_off)] = Breaker()
    """Holds back the whole webhook while its endpoint is sick; off for none."""
    bisect: bool = True
    """Whether a batch that is refused is halved, to set aside only the change to blame. With 413 it always is."""
    on_poison: OnPoison = OnPoison.CONTINUE
    """When a change is set aside: continue with the later ones of its row, or hold_row until it is resent."""
    pause_after: int | None = Field(default=None, ge=1)
    """Pause the webhook when so many deliveries in a row were given up on. Not given: never."""
    probe_paused: Seconds | None = Field(default=None, gt=0)
    """How often to try whether a webhook that paused by itself is well again. Not given: until somebody resumes it."""
    auth: Auth | None = None
    headers: dict[HeaderName, HeaderValue] = Field(default={})
    """Headers to add to each request."""
    client_code: str | None = None
    """Sent in each body as clientCode."""
    ca_file: CertificateFile | None = None
    """Certificates (PEM) to trust besides the system's, for a receiver with a private authority."""
    client_cert_file: PemFile | None = None
    """Certificate (PEM, with those between it and its authority) to present to a receiver that asks for one."""
    client_key_file: PemFile | None = None
    """Its private key (PEM, not encrypted). Not given: it stands in client_cert_file."""
    proxy: OwnProxyUrl | None = None
    """A proxy of its own, as http://host:port; none: without. Not given: as in the section network."""
    proxy_auth: Basic | None = None
    """User name and password for the proxy."""
    start: Start = Start.NOW
    """Where a new webhook begins: now, or earliest, with all that the change log still has."""

    _file = field_validator("secret", mode="before")(given_or_from_file)
    _preset = model_validator(mode="before")(with_preset)

    @property
    def success_statuses(self) -> frozenset[int]:
        """The statuses that mean that the batch has arrived."""
        return statuses(self.success)

    @property
    def signing_keys(self) -> tuple[bytes | SigningKey, ...]:
        """The keys, one for each active secret: bytes for HMAC."""
        return tuple(key_of(secret.get_secret_value()) for secret in self.secret)

    def request_headers(self) -> dict[str, str]:
        """The configured headers of each request, in the clear: ``headers`` and ``auth``."""
        return self.headers | dict([self.auth.as_header()] if self.auth else [])

    @model_validator(mode="after")
    def _certificate_is_usable(self) -> Self:
        if self.client_cert_file is None:
            if self.client_key_file is not None:
                fail("webhook", [(("client_key_file",), "a key without its certificate; give client_cert_file, too")])
            return self
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            load_client_certificate(context, self.client_cert_file, self.client_key_file)
        except ValueError as error:
            fail("webhook", [(("client_cert_file",), str(error))])
        return self

    @model_validator(mode="after")
    def _auth_has_a_proxy(self) -> Self:
        credentials_for(self.proxy, self.proxy_auth)
        return self

    @model_validator(mode="after")
    def _headers_once(self) -> Self:
        names = [*self.headers, *([self.auth.as_header()[0]] if self.auth else [])]
        seen: set[str] = set()
        for name in names:
            if name.lower() in seen:
                fail("webhook", [(("headers", name), f"the header {name.lower()} is given twice")])
            seen.add(name.lower())
        return self
