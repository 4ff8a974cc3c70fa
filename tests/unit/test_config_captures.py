"""What is captured of a table is the union of what webhooks want of it."""

from cdc_hooks.config import Config, TableRules, captures
from cdc_hooks.model import Action

INSERT, UPDATE, DELETE, TRUNCATE = Action


def captured(*wishes, rules=None):
    webhooks = {
        f"w{number}": {"url": "https://a.example", "secret": "0123456789abcdef", "tables": tables}
        for number, tables in enumerate(wishes)
    }
    return captures(
        Config.model_validate({"database": {"dsn": "dbname=a"}, "webhooks": webhooks, "tables": rules or {}})
    )


def test_no_webhook_no_capture():
    assert captured(rules={"a.b": {}}) == []


def test_tables_in_the_order_of_their_names():
    assert [one.table for one in captured(["z.a", "a.z"], ["a.b"])] == ["a.b", "a.z", "z.a"]


def test_actions_of_all_webhooks():
    (one,) = captured({"a.b": {"actions": ["insert"]}}, {"a.b": {"actions": ["truncate", "insert"]}})
    assert one.actions == {INSERT, TRUNCATE}


def test_columns_of_all_webhooks_in_one_order():
    wishes = ({"a.b": {"fields": ["z", "id"]}}, {"A.B": {"fields": ["name", "id"]}})
    assert captured(*wishes)[0].columns == ("id", "name", "z")
    assert captured(*wishes) == captured(*reversed(wishes))


def test_one_webhook_that_wants_all_columns_is_enough():
    assert captured({"a.b": {"fields": ["id"]}}, ["a.b"])[0].columns is None


def test_the_dbas_say_comes_along():
    rules = {"a.b": {"exclude": "card", "when": "NEW.x"}, "c.d": {}}
    one, other = captured(["a.b", "x.y"], rules=rules)
    assert (one.rules.exclude, one.rules.when) == (("card",), "NEW.x")
    assert (other.table, other.rules) == ("x.y", TableRules())
    assert other.actions == {INSERT, UPDATE, DELETE}
