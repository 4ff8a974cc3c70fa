-- How far a webhook has acknowledged the log, when (seconds since 1970), and how far the log goes.
SELECT greatest(p.after_id, t.upto_id), EXTRACT(epoch FROM p.at)::float8, s.last_value
  FROM cdc_hooks.place p
 CROSS JOIN cdc_hooks.change_id s
  JOIN cdc_hooks.tick t ON t.id = p.lo_tick
 WHERE p.name = %(webhook)s;
