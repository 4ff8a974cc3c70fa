"""The section ``notify``: who is told of trouble, how, and how often at most."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from cdc_hooks.config.choices import Tls
from cdc_hooks.config.credentials import (
    CertificateFile,
    CredentialFile,
    CredentialFiles,
    Secret,
    SigningSecrets,
    given_or_from_file,
    or_from_file,
    signing_key,
)
from cdc_hooks.config.section import Section, fail
from cdc_hooks.config.values import HeaderName, HeaderValue, Kind, Seconds, Url, as_list, distinct, header_names_once
from cdc_hooks.config.webhook import Timeout
from cdc_hooks.model import Cause

_LOCAL = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
_DOMAIN = r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*"
_ADDRESS = re.compile(rf"{_LOCAL}@{_DOMAIN}")
_SMTP_HOST = re.compile(rf"{_DOMAIN}\.?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")


_USUAL_PORTS = {Tls.STARTTLS: 587, Tls.TLS: 465, Tls.NONE: 25}


def _address(text: str) -> str:
    if not _ADDRESS.fullmatch(text) or len(text) > 254:
        raise ValueError("this is not an e-mail address; write it as ops@shop.example, without a name around it")
    return text


def _smtp_host(text: str) -> str:
    if not _SMTP_HOST.fullmatch(text) or len(text) > 253:
        raise ValueError("this is not a host; write its name or address alone, its port as port: …, a login as user: …")
    return text


def _recipients(addresses: tuple[str, ...]) -> tuple[str, ...]:
    if not addresses:
        raise ValueError("the list is empty: nobody would get the mail; name at least one address")
    return addresses


Address = Annotated[str, Kind("e-mail address"), AfterValidator(_address)]
SmtpHost = Annotated[str, Kind("host"), AfterValidator(_smtp_host)]


class NoticeWebhook(Section):
    """An endpoint that is sent an event of its own for each notice."""

    url: Url
    """Where to post. http:// only where network.allow_http says so."""
    secret_file: CredentialFiles = ()
    """File that holds the secret, or a list of files."""
    secret: SigningSecrets = Field(default=None, validate_default=True)
    """Signs each event, as at webhooks. While rotating, a list."""
    headers: dict[HeaderName, HeaderValue] = Field(default={})
    """Headers to add to each request."""
    timeout: Timeout = Timeout()
    ca_file: CertificateFile | None = None
    """Certificates (PEM) to trust besides the system's."""

    _file = field_validator("secret", mode="before")(given_or_from_file)
    _once = field_validator("headers")(header_names_once)

    @property
    def signing_keys(self) -> tuple[bytes, ...]:
        """The HMAC keys, one for each active secret."""
        return tuple(signing_key(secret.get_secret_value()) for secret in self.secret)


class Email(Section):
    """A mail server that takes plain-text mail for these people. Things to tell at once become one mail."""

    host: SmtpHost
    """The mail server."""
    port: int | None = Field(default=None, ge=1, le=65535)
    """Its port. Not given: 587 with starttls, 465 with tls, 25 with none."""
    tls: Tls = Tls.STARTTLS
    """starttls, tls (from the first byte on), or none, for a mail server on this host."""
    ca_file: CertificateFile | None = None
    """Certificates (PEM) to trust besides the system's."""
    user: str | None = Field(default=None, min_length=1)
    """Whom to log in as. Not given: no login."""
    password_file: CredentialFile | None = None
    """File that holds the password."""
    password: Secret | None = Field(default=None, validate_default=True)
    """The password."""
    from_: Address = Field(alias="from")
    """Whom the mail is from."""
    to: Annotated[tuple[Address, ...], BeforeValidator(as_list), AfterValidator(distinct), AfterValidator(_recipients)]
    """Whom it goes to: an address, or a list of them."""
    timeout: Seconds = Field(default=30.0, gt=0, le=600)
    """For handing over one mail, from connecting to the server's last answer."""

    _file = field_validator("password", mode="before")(or_from_file)

    @property
    def usual_port(self) -> int:
        """The port, also where none is given."""
        return self.port or _USUAL_PORTS[self.tls]

    @model_validator(mode="after")
    def _login_is_whole(self) -> Self:
        if self.password is not None and self.user is None:
            where = "password_file" if self.password_file is not None else "password"
            fail("email", [((where,), "there is a password without a user; give user, too")])
        if self.user is not None and self.password is None:
            fail("email", [(("user",), "there is a user without a password; give password or password_file, too")])
        return self


class Notify(Section):
    """Who is told when something needs a person. Without ``webhook`` and ``email``: nobody."""

    interval: Seconds = Field(default=3600.0, ge=1)
    """Of each cause and webhook at most one notice in this time; what happens meanwhile is counted."""
    on: Annotated[tuple[Cause, ...], BeforeValidator(as_list), AfterValidator(distinct)] = tuple(Cause)
    """What is told. sick: the endpoint fails and all is held back; disk_budget: at 80 % of it; disk_full: at 100 %."""
    webhook: NoticeWebhook | None = None
    email: Email | None = None

    @model_validator(mode="after")
    def _somebody_is_told(self) -> Self:
        if self.model_fields_set and self.webhook is None and self.email is None:
            raise ValueError("nobody is told: give webhook or email, or leave notify out")
        if not self.on:
            fail("notify", [(("on",), "the list is empty: nothing is told; name at least one, or leave notify out")])
        return self
