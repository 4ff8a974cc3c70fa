-- What `cdc-hooks status` reads, as the daemon's role.

-- name: daemon
SELECT l.holder, l.since, s.last_value > cdc_hooks.now_ms() AS leads,
       (SELECT coalesce(sum(pg_catalog.pg_total_relation_size(i.inhrelid)), 0)::bigint
          FROM pg_catalog.pg_inherits i WHERE i.inhparent = 'cdc_hooks.change'::pg_catalog.regclass)
  FROM cdc_hooks.leader l CROSS JOIN cdc_hooks.lease s;

-- name: hours
-- Sums over the last hour, day and 30 days, each to the full hour before; buckets are added up by the program.
SELECT w.name, s.span, h.deliveries, h.attempts, h.failed, h.seconds, h.longest, h.buckets
  FROM cdc_hooks.webhook w
  JOIN cdc_hooks.webhook_hour h ON h.webhook_id = w.id
  JOIN (VALUES ('hour', interval '1 hour'), ('day', interval '1 day'), ('month', interval '30 days')) AS s (span, length)
    ON h.hour >= pg_catalog.date_trunc('hour', pg_catalog.clock_timestamp() - s.length, 'UTC');

-- name: webhooks
-- One row a webhook: its place against the end of the log, what is being retried, what was given up on. The backlog
-- counts ids, of all tables: an upper bound. Ids of transactions that were rolled back or still run are no news: at the
-- newest tick, with nothing committed since, nothing waits.
SELECT w.name, CASE WHEN w.paused_at IS NOT NULL AND w.state <> 'retired' THEN 'paused' ELSE w.state END AS state, w.delivered, w.last_success_at, w.last_error_at, w.last_error,
       CASE WHEN s.news OR place.next_at IS NOT NULL THEN greatest(0, s.last_id - place.id) ELSE 0 END::bigint AS backlog,
       CASE WHEN s.last_id > place.id AND (s.news OR place.next_at IS NOT NULL)
            THEN EXTRACT(epoch FROM pg_catalog.clock_timestamp() - coalesce(place.next_at, place.at)) ELSE 0 END::float8 AS lag_s,
       (SELECT count(*) FROM cdc_hooks.delivery d WHERE d.webhook_id = w.id AND d.state IN ('rejected', 'dead')) AS dead_letters,
       (SELECT count(*) FROM cdc_hooks.delivery d WHERE d.webhook_id = w.id AND d.state = 'held') AS held,
       (SELECT count(*) FROM cdc_hooks.gap g WHERE g.webhook_id = w.id) AS gaps,
       w.paused_at, w.paused_why, retrying.next_attempt_at, retrying.attempts, retrying.last_error AS failing_for
  FROM cdc_hooks.webhook w
 CROSS JOIN (SELECT cdc_hooks.last_id() AS last_id, cdc_hooks.has_news() AS news) AS s
  LEFT JOIN LATERAL (
        SELECT greatest(p.after_id, t.upto_id) AS id, t.at,
               (SELECT n.at FROM cdc_hooks.tick n WHERE n.id > p.lo_tick ORDER BY n.id LIMIT 1) AS next_at
          FROM cdc_hooks.place p JOIN cdc_hooks.tick t ON t.id = p.lo_tick
         WHERE p.webhook_id = w.id) AS place ON true
  LEFT JOIN LATERAL (
        SELECT d.next_attempt_at, d.attempts, d.last_error FROM cdc_hooks.delivery d
         WHERE d.webhook_id = w.id AND d.state = 'pending' ORDER BY d.next_attempt_at LIMIT 1) AS retrying ON true
 ORDER BY w.name;
