-- The awkward parts of real schemas, and a function that writes to them at random.
-- Run as superuser on a fresh database. Writers are members of awkward_app, which has no rights beyond these tables.

CREATE ROLE awkward_app LOGIN;
CREATE SCHEMA "Größen";
GRANT USAGE ON SCHEMA "Größen" TO awkward_app;
SET search_path = "Größen";

CREATE TYPE mood AS ENUM ('sad', 'ok', 'très content', 'says "hi"', 'a,b');
CREATE TYPE address AS (street text, "No" integer, tags text[]);
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE DOMAIN scores AS integer[] CHECK (cardinality(VALUE) < 100);
CREATE TYPE span AS RANGE (subtype = double precision);

-- Every kind of value; names that need quotes; a column n, which is also a variable's favourite name.
CREATE TABLE "Alle Werte" (
    "Id"      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    n         integer NOT NULL DEFAULT 0,
    "select"  text,
    "na""me"  text,
    "x%s{y}"  text,
    big       text,
    yes       boolean,
    bytes     bytea,
    js        json,
    jsb       jsonb,
    num       numeric,
    price     numeric(12, 2),
    f4        real,
    f8        double precision,
    d         date,
    t         time,
    ttz       timetz,
    ts        timestamp,
    tstz      timestamptz,
    iv        interval,
    r         int4range,
    nr        numrange,
    tsr       tstzrange,
    mr        datemultirange,
    sp        span,
    m         mood,
    ms        mood[],
    a         bigint[],
    aa        text[][],
    pos       positive,
    sc        scores,
    adr       address,
    adrs      address[],
    u         uuid,
    ip        inet,
    net       cidr,
    mac       macaddr,
    bits      bit varying,
    fixed     character(6),
    p         point,
    words     tsvector,
    oids      oid,
    doubled   numeric GENERATED ALWAYS AS (price * 2) STORED,
    shouted   text GENERATED ALWAYS AS (upper("select")) STORED
);

-- A key of several columns, of which one has a zone, and which updates change.
CREATE TABLE "Zeilen" (
    "Kunde"  text,
    at       timestamptz,
    line     integer,
    amount   numeric,
    PRIMARY KEY ("Kunde", at, line)
);

-- Partitions below partitions; rows move between them.
CREATE TABLE messung (
    id      bigint,
    day     date,
    region  text,
    value   double precision,
    doc     jsonb,
    PRIMARY KEY (id, day, region)
) PARTITION BY RANGE (day);
CREATE TABLE messung_2024 PARTITION OF messung FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') PARTITION BY LIST (region);
CREATE TABLE messung_2024_eu PARTITION OF messung_2024 FOR VALUES IN ('eu');
CREATE TABLE "messung 2024 Übrige" PARTITION OF messung_2024 DEFAULT;
CREATE TABLE messung_2025 PARTITION OF messung FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE messung_rest PARTITION OF messung DEFAULT;

-- No primary key; the configuration names one.
CREATE TABLE konten (code text NOT NULL UNIQUE, saldo numeric NOT NULL);

-- Loaded in bulk, captured by statement.
CREATE TABLE bulk (id integer PRIMARY KEY, v text);

-- Emptied now and then.
CREATE TABLE eimer (id integer PRIMARY KEY, v text);

-- A trigger of the application that changes the row again, after the insert that it fires for.
CREATE TABLE gestempelt (id bigserial PRIMARY KEY, v integer, stamped integer);
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE "Größen".gestempelt SET stamped = NEW.v * 10 WHERE id = NEW.id;
    RETURN NULL;
END
$$;
CREATE TRIGGER a_stamp AFTER INSERT ON gestempelt FOR EACH ROW EXECUTE FUNCTION stamp();

GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA "Größen" TO awkward_app;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA "Größen" TO awkward_app;

-- ---------------------------------------------------------------------------------------------------------------

CREATE FUNCTION pick(VARIADIC of text[]) RETURNS text LANGUAGE sql VOLATILE AS
$$ SELECT of[1 + floor(random() * cardinality(of))::integer] $$;

CREATE FUNCTION below(top integer) RETURNS integer LANGUAGE sql VOLATILE AS $$ SELECT floor(random() * top)::integer $$;

CREATE FUNCTION write_values() RETURNS void LANGUAGE sql SET search_path = "Größen" AS $$
INSERT INTO "Alle Werte" (
    n, "select", "na""me", "x%s{y}", big, yes, bytes, js, jsb, num, price, f4, f8, d, t, ttz, ts, tstz, iv, r, nr, tsr, mr, sp,
    m, ms, a, aa, pos, sc, adr, adrs, u, ip, net, mac, bits, fixed, p, words, oids)
VALUES (
    below(1000),
    pick(NULL, '', 'plain', E'tab\tline\nquote"back\\slash', 'Grüße 東京 🐘', E'\u0001\u001f\u007f\u2028'),
    pick(NULL, '%s {} %%', 'null'),
    pick(NULL, '{"looks": "like json"}'),
    CASE below(10) WHEN 0 THEN (SELECT string_agg(md5(g::text), '') FROM generate_series(1, 500) g) END,
    pick(NULL, 't', 'f')::boolean,
    pick(NULL, '\x', '\x00ff5c22', sha512('x')::text)::bytea,
    pick(NULL, '{"nul": "\u0000", "huge": 1e200000}', E' { "spaced" :  [ ] ,\n "dup":1, "dup":2 } ', '"\ud83d\udc18"')::json,
    pick(NULL, '{"a": [1.50, {"b": "é \" \\ \n"}], "": {}}', '[]', '1e30')::jsonb,
    pick(NULL, 'NaN', 'Infinity', '-Infinity', '0.000', '-12345678901234567890.1234567890', '1e50', '1e-50')::numeric,
    pick(NULL, 'NaN', '9999999999.99', '-0.01')::numeric,
    pick(NULL, 'NaN', 'Infinity', '-Infinity', '3.4028235e38', '1e-45', '0.1')::real,
    pick(NULL, 'NaN', 'Infinity', '-Infinity', '1.7976931348623157e308', '5e-324', '0.1', '-0')::double precision,
    pick(NULL, 'infinity', '-infinity', '0044-03-15 BC', '2024-02-29', '20000-12-31')::date,
    pick(NULL, '00:00', '23:59:59.999999', '24:00')::time,
    pick(NULL, '12:00+05:30', '23:59:59.9-12')::timetz,
    pick(NULL, 'infinity', '-infinity', '0044-03-15 12:00 BC', '2024-02-29 23:59:59.999999')::timestamp,
    pick(NULL, 'infinity', '-infinity', '1883-11-18 12:00-04:56:02', '2024-10-27 02:30+02', '12345-01-01 00:00+00')::timestamptz,
    pick(NULL, '0', '1 mon -3 days 04:05:06.789', '-178000000 years', '1 year 2 mons ago', '00:00:00.000001')::interval,
    pick(NULL, 'empty', '[1,5)', '(,3]', '(,)')::int4range,
    pick(NULL, 'empty', '[1.50,2.5]', '(-Infinity,NaN)')::numrange,
    pick(NULL, 'empty', '["2024-01-01 00:00+02","infinity"]', '[2024-01-01,)')::tstzrange,
    pick(NULL, '{}', '{[2024-01-01,2024-02-01),[2024-03-01,infinity)}')::datemultirange,
    pick(NULL, 'empty', '[0.1,0.30000000000000004)')::span,
    pick(NULL, 'sad', 'ok', 'très content', 'says "hi"', 'a,b')::mood,
    pick(NULL, '{}', '{ok,NULL,"a,b","says \"hi\""}')::mood[],
    pick(NULL, '{}', '{1,NULL,-9223372036854775808}')::bigint[],
    pick(NULL, '{}', '{{a,NULL},{"NULL","x \"y\" , z"}}')::text[],
    pick(NULL, '1', '2147483647')::positive,
    pick(NULL, '{}', '{3,1,2}')::scores,
    pick(NULL, '(,,)', '("Haupt ""Str""",7,"{a,""b c""}")')::address,
    pick(NULL, '{}', '{"(x,1,{})",NULL}')::address[],
    pick(NULL, gen_random_uuid()::text)::uuid,
    pick(NULL, '10.0.0.1', '10.1.2.3/8', '::ffff:1.2.3.4')::inet,
    pick(NULL, '10.0.0.0/8', '2001:db8::/32')::cidr,
    pick(NULL, '08:00:2b:01:02:03')::macaddr,
    pick(NULL, '', '10110')::bit varying,
    pick(NULL, '', 'ab', 'äöü')::character(6),
    pick(NULL, '(1.5,-0)', '(Infinity,NaN)')::point,
    pick(NULL, 'it''s:1A fat:2,3')::tsvector,
    pick(NULL, '4294967295')::oid)
$$;

-- One random write to one random table. Rows are few, so that writers meet.
CREATE FUNCTION write_something() RETURNS void LANGUAGE plpgsql SET search_path = "Größen" AS $$
DECLARE
    some_id integer := below(60);
BEGIN
    CASE below(19)
    WHEN 0, 1, 2 THEN
        PERFORM write_values();
    WHEN 3 THEN
        UPDATE "Alle Werte" SET n = n + 1, price = pick(NULL, '0.50', '19.99')::numeric, "select" = pick('ß', NULL, "select")
         WHERE "Id" = (SELECT "Id" FROM "Alle Werte" ORDER BY random() LIMIT 1);
    WHEN 4 THEN
        DELETE FROM "Alle Werte" WHERE "Id" = (SELECT "Id" FROM "Alle Werte" ORDER BY random() LIMIT 1);
    WHEN 5, 6 THEN
        INSERT INTO "Zeilen" VALUES ('K"' || below(3), timestamptz '2024-10-27 00:30+00' + below(4) * interval '30 min', below(5), 1)
        ON CONFLICT ("Kunde", at, line) DO UPDATE SET amount = "Zeilen".amount + 1.10;
    WHEN 7 THEN  -- another key
        UPDATE "Zeilen" SET line = line + 1000 + below(1000000)
         WHERE ("Kunde", at, line) IN (SELECT "Kunde", at, line FROM "Zeilen" WHERE line < 5 ORDER BY random() LIMIT 2);
    WHEN 8 THEN
        DELETE FROM "Zeilen" WHERE "Kunde" = 'K"' || below(3) AND line = below(5);
    WHEN 9, 10 THEN
        INSERT INTO messung VALUES (some_id, date '2024-01-01' + below(900), pick('eu', 'us', 'ÜB'), random(), '{"a": 1}')
        ON CONFLICT DO NOTHING;
    WHEN 11 THEN  -- from one partition to another
        UPDATE messung SET day = date '2024-01-01' + below(900), region = pick('eu', 'us', 'ÜB'), value = 'NaN'
         WHERE id = some_id AND NOT EXISTS (SELECT FROM messung m WHERE m.id = some_id OFFSET 1);
    WHEN 12 THEN
        DELETE FROM messung WHERE id = some_id AND day < '2024-06-01';
    WHEN 13 THEN
        INSERT INTO konten VALUES ('c' || some_id, 1) ON CONFLICT (code) DO UPDATE SET saldo = konten.saldo + 1;
    WHEN 14 THEN
        UPDATE konten SET code = code || '/' || below(1000000) WHERE code = 'c' || some_id;
    WHEN 15 THEN
        INSERT INTO bulk SELECT g, md5(g::text) FROM generate_series(some_id * 10, some_id * 10 + 9) g
        ON CONFLICT (id) DO UPDATE SET v = bulk.v || '+';
    WHEN 16 THEN
        IF below(2) = 0 THEN
            DELETE FROM bulk WHERE id / 10 = some_id;
        ELSE
            UPDATE bulk SET id = id + 1000 + below(1000) * 1000 WHERE id / 10 = some_id;
        END IF;
    WHEN 17 THEN
        IF below(8) = 0 THEN
            TRUNCATE eimer;
        ELSE
            INSERT INTO eimer SELECT g, 'x' FROM generate_series(some_id, some_id + 3) g ON CONFLICT (id) DO UPDATE SET v = eimer.v || 'x';
        END IF;
    WHEN 18 THEN
        INSERT INTO gestempelt (v) VALUES (some_id);
    END CASE;
END
$$;

-- A new partition, made beside the table and attached, then written to at once. As superuser.
CREATE FUNCTION attach_year(year integer) RETURNS void LANGUAGE plpgsql SET search_path = "Größen" AS $$
BEGIN
    EXECUTE format('CREATE TABLE "messung_%s" (LIKE messung INCLUDING ALL)', year);
    EXECUTE format('ALTER TABLE messung ATTACH PARTITION "messung_%s" FOR VALUES FROM (%L) TO (%L)',
                   year, format('%s-01-01', year), format('%s-01-01', year + 1));
    EXECUTE format('INSERT INTO "messung_%s" VALUES (1, %L, ''eu'', 1, ''[]''), (2, %L, ''us'', ''-Infinity'', NULL)',
                   year, format('%s-05-05', year), format('%s-06-06', year));
END
$$;
