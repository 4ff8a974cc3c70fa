"""Telling somebody: events to an endpoint and mail to people, when a webhook or a capture needs a person.

``book`` decides what may be told now, ``words`` how it is said, ``outbox`` keeps what is to be sent and tries again,
``channels`` send it; ``notices`` joins them.
"""

from cdc_hooks.model import Cause
from cdc_hooks.ops.notices.notices import Notices

__all__ = ["Cause", "Notices"]
