"""Ticks, windows, progress, lease, doorbell: the only place that knows the log's tables."""

from cdc_hooks.changelog.rebase import rebase

__all__ = ["rebase"]
