-- What the daemon's role may do: read all that is in the schema cdc_hooks, write what a daemon writes, and nothing else.
-- It may not write to the change log, and it gets nothing on your own tables. The query missing_grants in
-- queries/capture.sql knows the same list; a test proves both equal.

GRANT USAGE ON SCHEMA cdc_hooks TO {daemon};
GRANT INSERT, DELETE ON cdc_hooks.tick, cdc_hooks.progress TO {daemon};
GRANT UPDATE ON cdc_hooks.leader TO {daemon};
GRANT INSERT, UPDATE, DELETE ON cdc_hooks.webhook_hour TO {daemon};
GRANT INSERT, UPDATE ON cdc_hooks.webhook, cdc_hooks.delivery, cdc_hooks.gap, cdc_hooks.epoch TO {daemon};
GRANT DELETE ON cdc_hooks.delivery TO {daemon};
GRANT INSERT ON cdc_hooks.endpoint TO {daemon};
GRANT INSERT, DELETE ON cdc_hooks.delivery_log, cdc_hooks.attempt TO {daemon};
GRANT SELECT, UPDATE ON SEQUENCE cdc_hooks.doorbell, cdc_hooks.lease TO {daemon};
GRANT SELECT ON SEQUENCE cdc_hooks.change_id TO {daemon};
GRANT USAGE, SELECT ON SEQUENCE cdc_hooks.delivery_number TO {daemon};

-- To read: all but the partitions of the ledger, which come and go, and are read by their parents' names. The partitions of
-- the log, to give back their space. And the functions that are not capture functions.
DO $grants$
DECLARE
    one text;
BEGIN
    FOR one IN
        SELECT pg_catalog.format('SELECT ON %s', c.oid::pg_catalog.regclass)
          FROM pg_catalog.pg_class c
         WHERE c.relnamespace = 'cdc_hooks'::pg_catalog.regnamespace AND c.relkind IN ('r', 'p', 'v')
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i
                            WHERE i.inhrelid = c.oid AND i.inhparent <> 'cdc_hooks.change'::pg_catalog.regclass)
        UNION ALL
        SELECT pg_catalog.format('TRUNCATE ON %s', i.inhrelid::pg_catalog.regclass)
          FROM pg_catalog.pg_inherits i
         WHERE i.inhparent = 'cdc_hooks.change'::pg_catalog.regclass
        UNION ALL
        SELECT pg_catalog.format('EXECUTE ON FUNCTION %s', p.oid::pg_catalog.regprocedure)
          FROM pg_catalog.pg_proc p
         WHERE p.pronamespace = 'cdc_hooks'::pg_catalog.regnamespace
           AND NOT pg_catalog.starts_with(p.proname, 'capture_')
    LOOP
        EXECUTE pg_catalog.format('GRANT %s TO %I', one, {daemon_name});
    END LOOP;
END
$grants$;
