-- What an operator does to a webhook, as the daemon's role; the daemon that leads hears of it at once, or within seconds.

-- name: pause
UPDATE cdc_hooks.webhook
   SET paused_at = pg_catalog.clock_timestamp(), paused_by = 'operator', paused_why = %(why)s
 WHERE name = %(name)s AND state <> 'retired';

-- name: resume
UPDATE cdc_hooks.webhook
   SET paused_at = NULL, paused_by = NULL, paused_why = NULL, resumed_at = pg_catalog.clock_timestamp()
 WHERE name = %(name)s AND state <> 'retired';

-- name: tell
SELECT pg_catalog.pg_notify('cdc_hooks', 'control');
