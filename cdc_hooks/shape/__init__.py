"""From a page of changes to messages ready to sign: route, select, batch, envelope. Pure functions of bytes."""

from cdc_hooks.shape.envelope import render, render_gap
from cdc_hooks.shape.lanes import lanes
from cdc_hooks.shape.left import left_of
from cdc_hooks.shape.route import route
from cdc_hooks.shape.webhook import Shape, Subscription, fingerprint_of

__all__ = ["Shape", "Subscription", "fingerprint_of", "lanes", "left_of", "render", "render_gap", "route"]
