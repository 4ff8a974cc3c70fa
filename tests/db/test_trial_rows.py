"""Rows for a test send: as a capture would log them, by roles with no rights on the tables, and nothing written."""

import json
from pathlib import Path

import psycopg
import pytest

from cdc_hooks.capture import Wanted
from cdc_hooks.errors import ConfigError, DatabaseError
from cdc_hooks.model import Action
from cdc_hooks.trial import rows
from cdc_hooks.trial.rows import real_row, sample_row
from tests.db.conftest import ROW_ACTIONS

AWKWARD = Path(__file__).parent.parent / "acceptance" / "schemas" / "awkward.sql"
TABLES = ('"Alle Werte"', '"Zeilen"', "messung", "konten", "bulk", "eimer", "gestempelt")
TYPES = """
    bool int2 int4 int8 float4 float8 numeric numeric(12,2) numeric(3,3) numeric(2,-3) money oid
    text varchar varchar(3) bpchar char(9) name "char" bytea uuid json jsonb jsonpath tsvector tsquery pg_lsn
    date time timetz timestamp timestamp(0) timestamptz interval
    inet cidr macaddr macaddr8 bit(5) bit varbit point line lseg box path polygon circle
    int4range int8range numrange daterange tsrange tstzrange int4multirange nummultirange tstzmultirange
    int4[] text[] varchar(2)[] timestamptz[] jsonb[]
    own.mood own.mood[] own.colour own.positive own.scores own.address own.address[] own.place
    own.span own.spans own.moments own.nothing"""
CREATE_TYPES = """
    CREATE SCHEMA own;
    CREATE TYPE own.mood AS ENUM ('très "content"', 'b');
    CREATE DOMAIN own.colour AS own.mood;
    CREATE DOMAIN own.positive AS int2 CHECK (VALUE > 0);
    CREATE DOMAIN own.scores AS int[];
    CREATE DOMAIN own.moment AS timestamptz;
    CREATE TYPE own.address AS (street varchar(4), "No" int, tags text[], since own.moment, mood own.mood);
    CREATE DOMAIN own.place AS own.address;
    CREATE TYPE own.span AS RANGE (subtype = float8, multirange_type_name = own.spans);
    CREATE TYPE own.moments AS RANGE (subtype = own.moment);
    CREATE TYPE own.nothing AS ()"""

# What PostgreSQL makes of values is the same in between, and there are many of them.
pytestmark = pytest.mark.oldest_and_newest


@pytest.fixture
def awkward(captured):
    """The awkward schema, its tables captured and written to."""
    script = AWKWARD.read_text().replace("awkward_app", f"app_{captured.conn.info.dbname}")
    captured.execute(script)
    wanted = [
        Wanted(
            f'"Größen".{table}',
            ROW_ACTIONS,
            key=("code",) if table == "konten" else None,
            level="statement" if table == "bulk" else "row",
        )
        for table in TABLES
    ]
    captured.capture(*wanted)
    captured.execute("SELECT setseed(0.5)")
    captured.execute('SELECT "Größen".write_something() FROM generate_series(1, 600)')
    return {one.table: one for one in wanted}


def as_daemon(captured, wanted, *args):
    """A sample, or with a key the real row, with the rights of the daemon."""
    with captured.connect(captured.roles.daemon) as daemon:
        return real_row(daemon, wanted, *args) if args else sample_row(daemon, wanted)


def kinds(value):
    """A JSON value without what it says; None where it may be anything."""
    match value:
        case dict():
            return {name: kinds(inner) for name, inner in value.items()}
        case list():
            return [kinds(inner) for inner in value[:1]]
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case _:
            return None if value is None else "text"


def test_samples_look_like_captured_rows(awkward, captured):
    for table, wanted in awkward.items():
        sample = json.loads(as_daemon(captured, wanted).data)
        really = [
            json.loads(data)
            for (data,) in captured.execute("SELECT data FROM cdc_hooks.change WHERE table_name = %s", table).fetchall()
        ]
        assert really
        assert {tuple(sample)} == {tuple(row) for row in really}, table
        for name, value in sample.items():
            seen = [kinds(row[name]) for row in really if row[name] is not None]
            # NaN and the like are texts.
            assert not seen or kinds(value) in seen or isinstance(value, (dict, list)), (name, value, seen)
            assert value is not None, (table, name)


@pytest.mark.parametrize("type_name", TYPES.split())
def test_a_sample_is_written_as_its_capture_would(captured, type_name):
    """The sample is put into the table, and captured: byte for byte the same."""
    captured.execute(CREATE_TYPES)
    captured.execute(f'CREATE TABLE t ("Id" bigint PRIMARY KEY, "a""b" {type_name})')
    [wanted] = captured.capture("public.t")
    sample = as_daemon(captured, wanted)
    assert json.loads(sample.data)['a"b'] is not None
    captured.execute("INSERT INTO t SELECT * FROM json_populate_record(NULL::t, %s)", sample.data.decode())
    [row] = captured.rows()
    assert (sample.key, sample.data) == (row.key.encode(), row.data.encode())


@pytest.mark.parametrize(
    "type_name", ["int2", "int4", "int8", "numeric", "numeric(5,1)", "text", "uuid", "date", "own.positive", "own.mood"]
)
def test_keys_of_samples(captured, type_name):
    captured.execute(CREATE_TYPES)
    captured.execute(f"CREATE TABLE t (n int, k {type_name}, PRIMARY KEY (k, n))")
    [wanted] = captured.capture("public.t")
    sample = as_daemon(captured, wanted)
    captured.execute("INSERT INTO t SELECT * FROM json_populate_record(NULL::t, %s)", sample.data.decode())
    assert sample.key.decode() == captured.rows()[0].key
    key = json.loads(sample.key)
    assert list(key) == ["k", "n"]
    assert key["n"] == 2147483647  # hardly the key of a real row
    if type_name.startswith("int"):
        assert key["k"] > 30_000


def test_an_array_of_a_domain_over_arrays(captured):
    captured.execute(CREATE_TYPES)
    captured.execute("CREATE TABLE t (id int PRIMARY KEY, a own.scores[])")
    [wanted] = captured.capture("public.t")
    captured.execute("INSERT INTO t VALUES (2147483647, ARRAY['{1}'::own.scores])")
    assert as_daemon(captured, wanted).data == captured.rows()[0].data.encode()


def test_real_rows_are_as_their_last_change_was_logged(awkward, captured):
    with captured.conn.cursor() as cursor:
        for table, wanted in awkward.items():
            if table == '"Größen".eimer':
                continue  # is emptied now and then
            logged = cursor.execute(
                "SELECT DISTINCT ON (c.key) c.key, c.data, c.action FROM cdc_hooks.change c WHERE c.table_name = %s "
                "AND NOT EXISTS (SELECT FROM cdc_hooks.change later WHERE later.id > c.id "
                "AND later.table_name = c.table_name AND later.old_key = c.key) ORDER BY c.key, c.id DESC",
                [table],
            ).fetchall()
            there = [(key, data) for key, data, action in logged if action != "D"][:20]
            assert there
            for key, data in there:
                given = json.loads(key, parse_int=str)
                row = real_row(captured.conn, wanted, key if isinstance(given, dict) else str(given))
                assert (row.key, row.data) == (key.encode(), data.encode()), (table, key)


def test_what_is_not_captured_is_in_no_row(captured, pg_version):
    virtual = ", v int GENERATED ALWAYS AS (a + 1) VIRTUAL" if pg_version >= 18 else ""
    captured.execute(
        "CREATE TABLE t (id int PRIMARY KEY, a int, card text, code text, "
        f"s int GENERATED ALWAYS AS (a * 2) STORED{virtual}, gone int)"
    )
    captured.execute("ALTER TABLE t DROP COLUMN gone")
    captured.execute("INSERT INTO t (id, a, card, code) VALUES (1, 2, 'secret', 'x')")
    [wanted] = captured.capture(Wanted("public.t", ROW_ACTIONS, exclude=("card",), key=("code",)))
    sample, real = as_daemon(captured, wanted), real_row(captured.conn, wanted, "x")
    assert list(json.loads(sample.data)) == list(json.loads(real.data)) == ["id", "a", "code", "s"]
    assert (sample.key, real.key) == (b'"sample"', b'"x"')
    some = Wanted("public.t", ROW_ACTIONS, columns=("a", "card"), exclude=("card",))
    sample, real = as_daemon(captured, some), real_row(captured.conn, some, "1")
    assert (sample.data, real.data) == (b'{"a":1}', b'{"a":2}')
    assert (sample.key, real.key) == (b"2147483647", b"1")


def test_names_that_need_care(captured):
    captured.execute(
        'CREATE TABLE "Order ""Items%s{}" ("captured" int PRIMARY KEY, "chosen" text, "part" text, "%s{x}" int)'
    )
    captured.execute("""INSERT INTO "Order ""Items%s{}" VALUES (1, '%s', '{}', 3)""")
    wanted = Wanted('public."Order ""Items%s{}"', ROW_ACTIONS)
    assert json.loads(sample_row(captured.conn, wanted).data)["%s{x}"] == 1
    assert json.loads(real_row(captured.conn, wanted, "1").data) == {
        "captured": 1,
        "chosen": "%s",
        "part": "{}",
        "%s{x}": 3,
    }


def test_constant_defaults_are_shown_others_are_not_run(captured):
    captured.execute(
        "CREATE TYPE mood AS ENUM ('sad', 'it''s ok'); "
        "CREATE TABLE t (id serial PRIMARY KEY, status varchar(9) DEFAULT 'new', mood mood DEFAULT 'it''s ok', "
        "yes bool DEFAULT false, n int DEFAULT -7, at timestamptz DEFAULT now(), upper text DEFAULT upper('x'), "
        "nothing text DEFAULT NULL)"
    )
    sample = json.loads(sample_row(captured.conn, Wanted("public.t", ROW_ACTIONS)).data)
    assert sample == {
        "id": 2147483647, "status": "new", "mood": "it's ok", "yes": False, "n": -7,
        "at": "2026-01-31T12:30:00+00:00", "upper": "sample", "nothing": "sample",
    }  # fmt: skip
    assert captured.execute("SELECT is_called FROM t_id_seq").fetchone() == (False,)


def test_types_that_nobody_knows_are_null_and_no_code_of_users_runs(captured):
    captured.execute(
        "CREATE FUNCTION alarm(text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'run'; END $$; "
        "CREATE DOMAIN checked AS text CHECK (alarm(VALUE)); CREATE TYPE nobody AS ENUM (); "
        "CREATE TYPE texts AS RANGE (subtype = text); "
        "CREATE TABLE t (id int PRIMARY KEY, c checked, e nobody, r texts, acl aclitem, acls aclitem[])"
    )
    sample = sample_row(captured.conn, Wanted("public.t", ROW_ACTIONS))
    assert json.loads(sample.data) == {
        "id": 2147483647, "c": "sample", "e": None, "r": "empty", "acl": None, "acls": [None],
    }  # fmt: skip


def test_a_table_without_a_key(captured):
    captured.execute("CREATE TABLE t (a int)")
    wanted = Wanted("public.t", ROW_ACTIONS)
    assert sample_row(captured.conn, wanted)[:2] == (None, b'{"a":1}')
    with pytest.raises(ConfigError, match=r"public\.t has no key to find a row by"):
        real_row(captured.conn, wanted, "1")


def test_rows_above_the_limit_go_by_their_key(captured):
    captured.execute("CREATE TABLE t (id int PRIMARY KEY, blob bytea, note text COMPRESSION pglz)")
    captured.execute("INSERT INTO t VALUES (1, 'x'), (2, convert_to(repeat('x', 6000), 'UTF8'))")
    # Its JSON would be above 1 GB, six bytes for each.
    captured.execute("INSERT INTO t VALUES (3, NULL, repeat(E'\\x01', 190000000))")
    wanted = Wanted("public.t", ROW_ACTIONS, max_row_bytes=10_000)
    rows_read = [real_row(captured.conn, wanted, key) for key in "123"]
    assert [(row.key, row.data is None, row.truncated) for row in rows_read] == [
        (b"1", False, False), (b"2", True, True), (b"3", True, True),
    ]  # fmt: skip


def test_values_do_not_depend_on_the_settings_of_the_session(captured):
    captured.execute("CREATE TABLE t (at timestamptz PRIMARY KEY, took interval, raw bytea, f float8)")
    captured.execute("INSERT INTO t VALUES ('2026-01-02 03:04:05Z', '1 day', '\\x00ff', 0.30000000000000004)")
    odd = "-c TimeZone=Asia/Kathmandu -c IntervalStyle=sql_standard -c bytea_output=escape -c extra_float_digits=-5"
    with captured.connect(options=odd) as session:
        row = real_row(session, Wanted("public.t", ROW_ACTIONS), "2026-01-02 03:04:05+00")
        sample = sample_row(session, Wanted("public.t", ROW_ACTIONS))
        assert session.execute("SHOW IntervalStyle").fetchone() == ("sql_standard",)  # rolled back
    assert json.loads(row.data) == {
        "at": "2026-01-02T03:04:05+00:00", "took": "P1D", "raw": "\\x00ff", "f": 0.30000000000000004,
    }  # fmt: skip
    assert json.loads(sample.data) == {
        "at": "2026-01-31T12:30:00+00:00", "took": "PT1H", "raw": "\\x73616d706c65", "f": 1.5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("table", "key", "said"),
    [
        ("public.t", "18", "has no row with the key 18"),
        ("public.t", "x", "'x' cannot be a key of table public.t: invalid input syntax"),
        ("public.t", "1' OR 'a'='a", "cannot be a key of table"),
        ("public.two", "a=1", "is not a key of several columns: a, b"),
        ("public.two", "a=1,b=2", "has no row with the key a=1,b=2"),
        ("public.doc", "{}", "cannot be a key of table public.doc: operator does not exist"),
        ("public.tt", "1", "there is no table public.tt in this database; did you mean public.t"),
        ("public.v", "1", "is a view"),
    ],
)
def test_a_row_that_cannot_be_found(captured, table, key, said):
    captured.execute(
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (17); CREATE VIEW v AS SELECT * FROM t; "
        "CREATE TABLE two (a int, b text, PRIMARY KEY (a, b)); CREATE TABLE doc (d json)"
    )
    wanted = Wanted(table, ROW_ACTIONS, key=("d",) if table == "public.doc" else None)
    with pytest.raises(ConfigError) as refused:
        real_row(captured.conn, wanted, key)
    assert said in refused.value.message
    assert refused.value.hint


def test_the_daemon_may_not_read_rows_and_says_what_to_do(captured):
    captured.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (17)")
    [wanted] = captured.capture("public.t")
    daemon = captured.roles.daemon
    with pytest.raises(
        DatabaseError, match=rf"role {daemon} may not read table public\.t: permission denied"
    ) as refused:
        as_daemon(captured, wanted, "17")
    assert f'GRANT SELECT ON public.t TO "{daemon}"' in refused.value.hint
    captured.execute(f"GRANT SELECT ON public.t TO {daemon}")
    assert as_daemon(captured, wanted, "17").data == b'{"id":17}'


def test_a_lock_is_not_waited_for_long(captured, monkeypatch):
    monkeypatch.setattr(rows, "STATEMENT_TIMEOUT_MS", 100)
    captured.execute("CREATE TABLE t (id int PRIMARY KEY)")
    with captured.connect() as other, other.transaction():
        other.execute("LOCK TABLE t")
        with pytest.raises(DatabaseError, match=r"nothing could be read within 0\.1 s") as refused:
            real_row(captured.conn, Wanted("public.t", ROW_ACTIONS), "1")
    assert "lock" in refused.value.hint


def test_nothing_can_be_written_on_the_way(captured):
    captured.execute(
        "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE seen (id int); ALTER TABLE t ENABLE ROW LEVEL SECURITY; "
        "CREATE FUNCTION note(int) RETURNS bool LANGUAGE sql AS 'INSERT INTO public.seen VALUES ($1) RETURNING true'; "
        "CREATE POLICY p ON t USING (note(id)); INSERT INTO t VALUES (1)"
    )
    [wanted] = captured.capture("public.t", actions=frozenset({Action.INSERT}))
    captured.execute(f"GRANT ALL ON t, seen TO {captured.roles.daemon}")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        as_daemon(captured, wanted, "1")
    assert captured.execute("SELECT count(*) FROM seen").fetchone() == (0,)
    assert captured.rows() == []
