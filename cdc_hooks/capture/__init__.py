"""The DBA's side: from wanted captures to a plan, from a plan to the database, and an audit of what is there."""

from cdc_hooks.capture.apply import Patience, Progress, apply, remove
from cdc_hooks.capture.audit import Finding, audit, findings
from cdc_hooks.capture.catalog import CATALOG_QUERIES, parameters
from cdc_hooks.capture.compare import State
from cdc_hooks.capture.plan import plan
from cdc_hooks.capture.removal import plan_removal
from cdc_hooks.capture.steps import Plan, Step
from cdc_hooks.capture.wanted import Roles, Wanted

__all__ = [
    "CATALOG_QUERIES",
    "Finding",
    "Patience",
    "Plan",
    "Progress",
    "Roles",
    "State",
    "Step",
    "Wanted",
    "apply",
    "audit",
    "findings",
    "parameters",
    "plan",
    "plan_removal",
    "remove",
]
