-- cdc-hooks rebase, in one transaction, as the schema's owner.

-- name: leading
SELECT s.last_value > cdc_hooks.now_ms(), l.holder FROM cdc_hooks.leader l CROSS JOIN cdc_hooks.lease s;

-- name: lock
-- No writer may be on its way: what it writes would be lost outside of any gap.
LOCK TABLE cdc_hooks.change IN ACCESS EXCLUSIVE MODE;

-- name: supersede
UPDATE cdc_hooks.leader SET generation = generation + 1, holder = 'rebase', since = pg_catalog.clock_timestamp();

-- name: record_gaps
-- What lies between each webhook's place and the end of the log that came with the dump.
INSERT INTO cdc_hooks.gap (webhook_id, after_id, upto_id, reason)
SELECT p.webhook_id, greatest(p.after_id, t.upto_id), cdc_hooks.last_id(), 'rebase: the log of another cluster was discarded'
  FROM cdc_hooks.place p
  JOIN cdc_hooks.tick t ON t.id = p.lo_tick
 WHERE p.state <> 'retired';

-- name: empty
TRUNCATE cdc_hooks.change, cdc_hooks.progress;

-- name: restart_ids
-- The ids go on: events of before and after keep apart, also by their epoch, which the daemon begins at its start.
DELETE FROM cdc_hooks.tick WHERE id > 0;

-- name: first_tick
INSERT INTO cdc_hooks.tick (next_xid, after_id, upto_id, snapshot)
SELECT pg_catalog.pg_current_xact_id(), cdc_hooks.last_id(), cdc_hooks.last_id(), pg_catalog.pg_current_snapshot();

-- name: restart_progress
INSERT INTO cdc_hooks.progress (webhook_id, lo_tick, hi_tick, after_id)
SELECT w.id, t.id, t.id, 0 FROM cdc_hooks.webhook w CROSS JOIN (SELECT max(id) AS id FROM cdc_hooks.tick) AS t;
