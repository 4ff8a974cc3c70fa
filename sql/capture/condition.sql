-- Is the condition one that a trigger may have? Asked of a temporary copy of the table, in a transaction that is rolled back.
CREATE TEMPORARY TABLE cdc_hooks_condition (LIKE {table} INCLUDING GENERATED) ON COMMIT DROP;
CREATE TRIGGER cdc_hooks_condition AFTER {event} ON cdc_hooks_condition FOR EACH ROW
WHEN ({condition}
) EXECUTE FUNCTION pg_catalog.suppress_redundant_updates_trigger();
