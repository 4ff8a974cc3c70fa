-- What an operator does to a webhook, as the daemon's role; the daemon that leads hears of it at once, or within seconds.

-- name: pause
UPDATE cdc_hooks.webhook
   SET paused_at = pg_catalog.clock_timestamp(), paused_by = 'operator', paused_why = %(why)s
 WHERE name = %(name)s AND state <> 'retired';

-- name: resume
UPDATE cdc_hooks.webhook
   SET paused_at = NULL, paused_by = NULL, paused_why = NULL, resumed_at = pg_catalog.clock_timestamp(),
       resume_from = coalesce(%(to)s, resume_from)
 WHERE name = %(name)s AND state <> 'retired';

-- name: tick_at
-- The last tick that is not after a time: all that was committed later is after it.
SELECT id, at FROM cdc_hooks.tick WHERE at <= %(at)s ORDER BY id DESC LIMIT 1;

-- name: oldest_tick
SELECT id, at FROM cdc_hooks.tick ORDER BY id LIMIT 1;

-- name: tick_before
-- The last tick that has not seen an event.
SELECT id, at FROM cdc_hooks.tick WHERE upto_id < %(change_id)s ORDER BY id DESC LIMIT 1;

-- name: epochs
-- Each with its first and its last id, as far as they have been given out.
SELECT e.epoch, e.first_id,
       lead(e.first_id - 1, 1, cdc_hooks.last_id()) OVER (ORDER BY e.epoch)
  FROM cdc_hooks.epoch e ORDER BY e.epoch;

-- name: tick_after
-- The first tick that has seen all that was committed by a time, or the newest one.
SELECT id, at FROM cdc_hooks.tick
 WHERE id = coalesce((SELECT min(id) FROM cdc_hooks.tick WHERE at > %(at)s), (SELECT max(id) FROM cdc_hooks.tick));

-- name: oldest_kept
SELECT id, at FROM cdc_hooks.change ORDER BY id LIMIT 1;

-- name: tell
SELECT pg_catalog.pg_notify('cdc_hooks', 'control');
