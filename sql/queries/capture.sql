-- The queries of plan, apply, remove and audit. All read the catalogs only (and cdc_hooks.migration): the daemon's role
-- may run them. Names of tables come in as users write them and are parsed as SQL identifiers by the server.

-- name: server
-- Who and where we are, and what we may do here.
SELECT pg_catalog.current_setting('server_version_num')::integer AS version,
       pg_catalog.pg_is_in_recovery() AS standby,
       pg_catalog.current_setting('default_transaction_read_only')::boolean AS read_only,
       pg_catalog.current_database()::text AS database,
       current_user::text AS user_name,
       pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE') AS may_create_schema,
       (SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.rolname = current_user) AS superuser,
       (SELECT r.rolsuper OR r.rolcreaterole FROM pg_catalog.pg_roles r WHERE r.rolname = current_user) AS may_create_roles;

-- name: roles
-- The two roles, as far as they exist, and whether we have the rights of them and may grant them.
SELECT r.rolname::text AS name,
       pg_catalog.pg_has_role(r.oid, 'USAGE') AS ours,
       pg_catalog.pg_has_role(r.oid, 'USAGE WITH ADMIN OPTION') AS administered
  FROM pg_catalog.pg_roles r
 WHERE r.rolname IN (%(owner)s, %(daemon)s);

-- name: owner_elsewhere
-- Does the owner's role have anything in other databases? (What it has in this one goes with the schema.)
SELECT count(*) > 0 AS used
  FROM pg_catalog.pg_shdepend d
 WHERE d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
   AND d.refobjid = (SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname = %(owner)s)
   AND d.dbid <> (SELECT b.oid FROM pg_catalog.pg_database b WHERE b.datname = pg_catalog.current_database());

-- name: schema
SELECT pg_catalog.pg_get_userbyid(n.nspowner)::text AS owner,
       EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid AND c.relname = 'migration') AS ours
  FROM pg_catalog.pg_namespace n
 WHERE n.nspname = 'cdc_hooks';

-- name: schema_version
SELECT max(m.version) AS version FROM cdc_hooks.migration m;

-- name: lock
-- One apply at a time in a database; scripts take the same lock, transaction by transaction.
SELECT pg_catalog.pg_advisory_lock(7234012590731);

-- name: unlock
SELECT pg_catalog.pg_advisory_unlock(7234012590731);

-- name: lock_in_transaction
SELECT pg_catalog.pg_advisory_xact_lock(7234012590731);

-- name: missing_grants
-- What the daemon's role lacks of the rights in grants.sql.
WITH needed (kind, object, rights) AS (
    SELECT 'table', c.oid, 'SELECT'
      FROM pg_catalog.pg_class c
     WHERE c.relnamespace = 'cdc_hooks'::pg_catalog.regnamespace AND c.relkind IN ('r', 'p', 'v')
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i
                        WHERE i.inhrelid = c.oid AND i.inhparent <> 'cdc_hooks.change'::pg_catalog.regclass)
    UNION ALL
    SELECT 'table', n.name::pg_catalog.regclass::oid, n.rights
      FROM (VALUES ('cdc_hooks.tick', 'INSERT'), ('cdc_hooks.tick', 'DELETE'),
                   ('cdc_hooks.progress', 'INSERT'), ('cdc_hooks.progress', 'DELETE'),
                   ('cdc_hooks.leader', 'UPDATE'),
                   ('cdc_hooks.webhook', 'INSERT'), ('cdc_hooks.webhook', 'UPDATE'),
                   ('cdc_hooks.delivery', 'INSERT'), ('cdc_hooks.delivery', 'UPDATE'), ('cdc_hooks.delivery', 'DELETE'),
                   ('cdc_hooks.webhook_hour', 'INSERT'), ('cdc_hooks.webhook_hour', 'UPDATE'),
                   ('cdc_hooks.webhook_hour', 'DELETE'),
                   ('cdc_hooks.endpoint', 'INSERT'),
                   ('cdc_hooks.delivery_log', 'INSERT'), ('cdc_hooks.delivery_log', 'DELETE'),
                   ('cdc_hooks.attempt', 'INSERT'), ('cdc_hooks.attempt', 'DELETE'),
                   ('cdc_hooks.gap', 'INSERT'), ('cdc_hooks.gap', 'UPDATE'),
                   ('cdc_hooks.epoch', 'INSERT'), ('cdc_hooks.epoch', 'UPDATE')) AS n (name, rights)
    UNION ALL
    SELECT 'table', i.inhrelid, 'TRUNCATE'
      FROM pg_catalog.pg_inherits i
     WHERE i.inhparent = 'cdc_hooks.change'::pg_catalog.regclass
    UNION ALL
    SELECT 'sequence', n.name::pg_catalog.regclass::oid, n.rights
      FROM (VALUES ('cdc_hooks.doorbell', 'SELECT'), ('cdc_hooks.doorbell', 'UPDATE'),
                   ('cdc_hooks.lease', 'SELECT'), ('cdc_hooks.lease', 'UPDATE'),
                   ('cdc_hooks.change_id', 'SELECT'),
                   ('cdc_hooks.delivery_number', 'USAGE'), ('cdc_hooks.delivery_number', 'SELECT')) AS n (name, rights)
    UNION ALL
    SELECT 'function', p.oid, 'EXECUTE'
      FROM pg_catalog.pg_proc p
     WHERE p.pronamespace = 'cdc_hooks'::pg_catalog.regnamespace AND NOT pg_catalog.starts_with(p.proname, 'capture_')
    UNION ALL
    SELECT 'schema', 'cdc_hooks'::pg_catalog.regnamespace::oid, 'USAGE'
)
SELECT n.rights || ' on ' || CASE n.kind WHEN 'function' THEN n.object::pg_catalog.regprocedure::text
                                         WHEN 'schema' THEN n.object::pg_catalog.regnamespace::text
                                         ELSE n.object::pg_catalog.regclass::text END AS missing
  FROM needed n
 WHERE NOT CASE n.kind WHEN 'table' THEN pg_catalog.has_table_privilege(%(daemon)s, n.object, n.rights)
                       WHEN 'sequence' THEN pg_catalog.has_sequence_privilege(%(daemon)s, n.object, n.rights)
                       WHEN 'function' THEN pg_catalog.has_function_privilege(%(daemon)s, n.object, n.rights)
                       ELSE pg_catalog.has_schema_privilege(%(daemon)s, n.object, n.rights) END
 ORDER BY 1;

-- name: tables
-- The tables that are wanted, one row for each name, also where there is no such table (oid is null).
SELECT w.name AS wanted, w.parts, c.oid::bigint AS oid, c.relkind::text AS kind, c.relpersistence::text AS persistence,
       c.relispartition AS is_partition, c.schema_name, c.table_name, c.sql_name, c.owner, c.owned,
       EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid) AS has_parent
  FROM (SELECT n.name, pg_catalog.parse_ident(n.name) AS parts
          FROM pg_catalog.unnest(%(tables)s::text[]) AS n (name)) AS w
  LEFT JOIN LATERAL (
        SELECT c.oid, c.relkind, c.relpersistence, c.relispartition,
               n.nspname::text AS schema_name, c.relname::text AS table_name,
               pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS sql_name,
               pg_catalog.pg_get_userbyid(c.relowner)::text AS owner,
               pg_catalog.pg_has_role(c.relowner, 'USAGE') AS owned
          FROM pg_catalog.pg_class c
          JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = w.parts[1]::pg_catalog.name
           AND c.relname = w.parts[2]::pg_catalog.name
           AND pg_catalog.cardinality(w.parts) = 2) AS c ON true;

-- name: members
-- Partitions and inheritance children of the wanted tables, at any depth.
WITH RECURSIVE member (root, oid) AS (
    SELECT c.oid, i.inhrelid
      FROM (SELECT pg_catalog.parse_ident(n.name) AS parts FROM pg_catalog.unnest(%(tables)s::text[]) AS n (name)) AS w
      JOIN pg_catalog.pg_namespace n ON n.nspname = w.parts[1]::pg_catalog.name
      JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.parts[2]::pg_catalog.name
      JOIN pg_catalog.pg_inherits i ON i.inhparent = c.oid
     WHERE c.relkind IN ('r', 'p')
    UNION
    SELECT m.root, i.inhrelid FROM member m JOIN pg_catalog.pg_inherits i ON i.inhparent = m.oid
)
SELECT m.root::bigint AS root, c.oid::bigint AS oid, c.relkind::text AS kind, c.relispartition AS is_partition,
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS sql_name,
       pg_catalog.pg_get_userbyid(c.relowner)::text AS owner, pg_catalog.pg_has_role(c.relowner, 'USAGE') AS owned
  FROM member m
  JOIN pg_catalog.pg_class c ON c.oid = m.oid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 ORDER BY m.root, sql_name;

-- name: columns
-- The columns of the wanted tables. For each: what it is made of, through domains, arrays, composites and ranges: plain
-- holds the types whose values json functions render themselves, ranged those that a range renders as text.
WITH RECURSIVE attribute AS (
    SELECT c.oid AS relid, a.attnum, a.attname, a.atttypid, a.atttypmod, a.attgenerated
      FROM (SELECT pg_catalog.parse_ident(n.name) AS parts FROM pg_catalog.unnest(%(tables)s::text[]) AS n (name)) AS w
      JOIN pg_catalog.pg_namespace n ON n.nspname = w.parts[1]::pg_catalog.name
      JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.parts[2]::pg_catalog.name
      JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
     WHERE c.relkind IN ('r', 'p')
), part (relid, attnum, typid, typmod, base, ranged) AS (
    SELECT a.relid, a.attnum, a.atttypid, a.atttypmod, true, false FROM attribute a
    UNION
    SELECT p.relid, p.attnum, inner_part.typid, inner_part.typmod, p.base AND t.typtype = 'd', p.ranged OR inner_part.ranged
      FROM part p
      JOIN pg_catalog.pg_type t ON t.oid = p.typid
     CROSS JOIN LATERAL (
            SELECT t.typbasetype, CASE WHEN t.typtypmod >= 0 THEN t.typtypmod ELSE p.typmod END, false
             WHERE t.typtype = 'd'
            UNION ALL
            SELECT t.typelem, p.typmod, false WHERE t.typcategory = 'A' AND t.typelem <> 0
            UNION ALL
            SELECT r.rngsubtype, -1, true
              FROM pg_catalog.pg_range r
             WHERE t.typtype IN ('r', 'm') AND t.oid IN (r.rngtypid, r.rngmultitypid)
            UNION ALL
            SELECT a.atttypid, a.atttypmod, false
              FROM pg_catalog.pg_attribute a
             WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
          ) AS inner_part (typid, typmod, ranged)
), leaf AS (
    -- 16384 is where the types begin that are not PostgreSQL's own: what settings their output follows, nobody knows.
    SELECT p.relid, p.attnum, p.ranged, p.base, p.typmod, t.typlen,
           CASE WHEN t.typtype = 'e' THEN 'enum' WHEN t.oid >= 16384 THEN 'unknown' ELSE t.typname::text END AS type_name,
           (t.typtype = 'b' AND NOT (t.typcategory = 'A' AND t.typelem <> 0)) OR t.typtype = 'e' AS simple,
           t.typtype = 'd' AS is_domain
      FROM part p
      JOIN pg_catalog.pg_type t ON t.oid = p.typid
)
SELECT a.relid::bigint AS relid, a.attname::text AS name, pg_catalog.quote_ident(a.attname) AS sql_name,
       a.attgenerated = 'v' AS virtual,
       coalesce(pg_catalog.array_position(k.columns, a.attnum), 0) AS key_position,
       b.type_name AS base_type, b.typmod, b.typlen::integer AS length,
       ARRAY(SELECT DISTINCT l.type_name FROM leaf l
              WHERE l.relid = a.relid AND l.attnum = a.attnum AND l.simple AND NOT l.ranged) AS plain,
       ARRAY(SELECT DISTINCT l.type_name FROM leaf l
              WHERE l.relid = a.relid AND l.attnum = a.attnum AND l.simple AND l.ranged) AS ranged
  FROM attribute a
  JOIN leaf b ON b.relid = a.relid AND b.attnum = a.attnum AND b.base AND NOT b.is_domain
  LEFT JOIN LATERAL (
        SELECT pg_catalog.string_to_array(i.indkey::text, ' ')::smallint[] AS columns
          FROM pg_catalog.pg_index i
         WHERE i.indrelid = a.relid AND i.indisprimary) AS k ON true
 ORDER BY a.relid, a.attnum;

-- name: triggers
-- All triggers in the database that have our names or call our functions; on partitions also the clones.
SELECT c.oid::bigint AS table_oid,
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS table_name,
       pg_catalog.pg_get_userbyid(c.relowner)::text AS owner, pg_catalog.pg_has_role(c.relowner, 'USAGE') AS owned,
       t.tgname::text AS name, t.tgparentid <> 0 AS cloned, t.tgenabled::text AS enabled, t.tgtype::integer AS type,
       t.tgqual IS NOT NULL AS conditional, t.tgattr::text = '' AND t.tgnargs = 0 AS plain,
       f.nspname = 'cdc_hooks' AND pg_catalog.starts_with(p.proname, 'capture_') AS ours, p.proname::text AS function,
       coalesce(pg_catalog.obj_description(t.oid, 'pg_trigger'), '') AS comment
  FROM pg_catalog.pg_trigger t
  JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
  JOIN pg_catalog.pg_namespace f ON f.oid = p.pronamespace
 WHERE pg_catalog.starts_with(t.tgname, '00_cdc_hooks_')
    OR (f.nspname = 'cdc_hooks' AND pg_catalog.starts_with(p.proname, 'capture_'))
 ORDER BY table_name, t.tgname;

-- name: functions
-- All capture functions that are installed.
SELECT p.proname::text AS name, p.prosrc AS body, coalesce(p.proconfig, '{}') AS settings,
       p.prosecdef AND l.lanname = 'plpgsql' AND p.prorettype = 'pg_catalog.trigger'::pg_catalog.regtype AS definer,
       p.proowner = n.nspowner AS owned,
       EXISTS (SELECT FROM pg_catalog.aclexplode(coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))) AS a
                WHERE a.grantee = 0) AS public
  FROM pg_catalog.pg_proc p
  JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
  JOIN pg_catalog.pg_language l ON l.oid = p.prolang
 WHERE n.nspname = 'cdc_hooks' AND pg_catalog.starts_with(p.proname, 'capture_')
 ORDER BY p.proname;

-- name: detached
-- Tables that were partitions of a captured table when it was last applied (its trigger's comment names them) and stand
-- alone now. DETACH takes the capture away.
SELECT DISTINCT t.tgrelid::bigint AS root, q.sql_name
  FROM pg_catalog.pg_trigger t
  JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid AND pg_catalog.starts_with(p.proname, 'capture_')
  JOIN pg_catalog.pg_namespace f ON f.oid = p.pronamespace AND f.nspname = 'cdc_hooks'
  JOIN pg_catalog.pg_description d ON d.objoid = t.oid AND d.classoid = 'pg_catalog.pg_trigger'::pg_catalog.regclass
  JOIN (SELECT c.oid, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS sql_name
          FROM pg_catalog.pg_class c
          JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition) AS q
    ON pg_catalog.strpos(d.description, pg_catalog.to_json(q.sql_name)::text) > 0
 WHERE t.tgparentid = 0 AND pg_catalog.strpos(d.description, '; partitions: [') > 0
 ORDER BY 1, 2;

-- name: all_tables
-- For the nearest names, where there is no such table.
SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS sql_name
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'cdc_hooks')
 ORDER BY 1;
