-- How far a webhook has acknowledged the log, when (seconds since 1970), and how far the log goes.
SELECT greatest(p.after_id, t.upto_id), EXTRACT(epoch FROM p.at)::float8, s.last_value
  FROM cdc_hooks.webhook w
 CROSS JOIN cdc_hooks.change_id s
 CROSS JOIN LATERAL (SELECT * FROM cdc_hooks.progress n WHERE n.webhook_id = w.id ORDER BY n.id DESC LIMIT 1) AS p
  JOIN cdc_hooks.tick t ON t.id = p.lo_tick
 WHERE w.name = %(webhook)s;
