-- What `cdc-hooks test` asks the database. Catalogs and settings only; the daemon's role may run all of it. (The row that
-- --row asks for is read by sql/trial/real_row.sql.)

-- name: limits
-- For the transaction that it is run in, which is rolled back: nothing is written, and nothing waits for long.
SELECT pg_catalog.set_config('transaction_read_only', 'on', true),
       pg_catalog.set_config('statement_timeout', %(statement_timeout_ms)s::text, true),
       pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

-- name: pin
-- A setting that the output of values follows, as a capture function pins it.
SELECT pg_catalog.set_config(%(setting)s, %(value)s, true);

-- name: types
-- What the columns of a table are made of: one row for each column, whose path is its number, and one for each part of
-- its type (what a domain is based on, the elements of an array, the attributes of a composite type, the bounds of a
-- range), whose path is that of the whole and a number more. Types are described, not used: those in schemas that this
-- role may not use are told, too.
WITH RECURSIVE part (path, typid, typmod, name) AS (
    SELECT ARRAY[a.attnum::integer], a.atttypid, a.atttypmod, a.attname
      FROM pg_catalog.pg_attribute a
     WHERE a.attrelid = %(table)s AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT p.path || inner_part.number, inner_part.typid, inner_part.typmod, inner_part.name
      FROM part p
      JOIN pg_catalog.pg_type t ON t.oid = p.typid
     CROSS JOIN LATERAL (
            SELECT 0, t.typbasetype, CASE WHEN t.typtypmod >= 0 THEN t.typtypmod ELSE p.typmod END, NULL::pg_catalog.name
             WHERE t.typtype = 'd'
            UNION ALL
            SELECT 0, t.typelem, p.typmod, NULL WHERE t.typtype = 'b' AND t.typcategory = 'A' AND t.typelem <> 0
            UNION ALL
            SELECT 0, r.rngsubtype, -1, NULL
              FROM pg_catalog.pg_range r
             WHERE t.typtype IN ('r', 'm') AND t.oid IN (r.rngtypid, r.rngmultitypid)
            UNION ALL
            SELECT a.attnum::integer, a.atttypid, a.atttypmod, a.attname
              FROM pg_catalog.pg_attribute a
             WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
          ) AS inner_part (number, typid, typmod, name)
     WHERE pg_catalog.cardinality(p.path) < 20
)
SELECT p.path, p.name::text AS name, pg_catalog.quote_ident(p.name) AS sql_name,
       CASE WHEN t.typtype = 'b' AND t.typcategory = 'A' AND t.typelem <> 0 THEN 'array'
            ELSE CASE t.typtype WHEN 'd' THEN 'domain' WHEN 'e' THEN 'enum' WHEN 'c' THEN 'composite'
                                WHEN 'r' THEN 'range' WHEN 'm' THEN 'multirange' ELSE 'base' END END AS kind,
       -- 16384 is where the types begin that are not PostgreSQL's own.
       CASE WHEN t.oid < 16384 THEN t.typname::text END AS type_name,
       t.typcategory::text AS category, pg_catalog.format_type(p.typid, p.typmod) AS written, p.typmod,
       (SELECT e.enumlabel::text FROM pg_catalog.pg_enum e
         WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder LIMIT 1) AS first_label,
       (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid)
          FROM pg_catalog.pg_attrdef d
          JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum AND a.attgenerated = ''
         WHERE d.adrelid = %(table)s AND ARRAY[d.adnum::integer] = p.path) AS default_sql
  FROM part p
  JOIN pg_catalog.pg_type t ON t.oid = p.typid
 ORDER BY p.path;
