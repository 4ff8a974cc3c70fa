"""The same page gives the same batches in the next version too, or the version of the rules is raised."""

from __future__ import annotations

import hashlib

from cdc_hooks.shape import lanes, render
from cdc_hooks.shape.webhook import _RULES_VERSION
from tests.unit.pages import INSERT, change, random_page, shape

KNOWN = {3: "3adedc36295764002f4016bd111391c8209e54c8a5d1fd5eae51b767f4ff1689"}


def test_batches_and_ids_are_those_of_this_version_of_the_rules() -> None:
    """If this fails and is meant to: raise _RULES_VERSION, and write down what it makes. A claim is resumed by it."""
    pages = [random_page(seed, key_changes=seed % 2 == 0, truncates=seed % 3 == 0) for seed in range(12)]
    pages += [[change(n, INSERT, n) for n in range(700)], [change(n, INSERT, n % 50) for n in range(700)]]
    digest = hashlib.sha256()
    for page in pages:
        for ordering in ("key", "strict", "none"):
            for max_events, max_bytes in ((100, 256 * 1024), (3, 2_000)):
                how = shape(ordering=ordering, concurrency=4, max_events=max_events, max_bytes=max_bytes)
                for lane in lanes(page, how):
                    digest.update(b"lane")
                    for batch in lane:
                        digest.update(render(batch, how, lambda _: 1).id.encode())
    assert {_RULES_VERSION: digest.hexdigest()} == KNOWN
