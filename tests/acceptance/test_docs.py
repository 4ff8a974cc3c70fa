"""Pages that are made from the code say what the code says."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_installed_sql_is_what_plan_prints(database):
    script = runpy.run_path(str(ROOT / "docs/installed_sql.py"))
    page = script["PAGE"].read_text(encoding="utf-8")
    assert page == script["renewed"](page, database), "run: make docs"
