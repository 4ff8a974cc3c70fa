-- The daemon's queries on the change log, the ticks and the progress. All run as the daemon's role.

-- name: about
-- What must be known before anything else: is this a server and a schema that we can work with, and can it be written?
SELECT pg_catalog.current_setting('server_version_num')::integer AS server_version,
       pg_catalog.pg_is_in_recovery() OR pg_catalog.current_setting('transaction_read_only')::boolean AS read_only,
       pg_catalog.current_setting('max_prepared_transactions')::integer > 0 AS prepared_transactions,
       pg_catalog.to_regclass('cdc_hooks.migration') IS NOT NULL AS installed;

-- name: settle_session
-- No time limits, and the default isolation, whatever is set for the role (transaction_timeout is there from 17 on).
SELECT pg_catalog.set_config(name, CASE name WHEN 'default_transaction_isolation' THEN 'read committed' ELSE '0' END, false)
  FROM pg_catalog.pg_settings
 WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_session_timeout', 'idle_in_transaction_session_timeout',
                'transaction_timeout', 'default_transaction_isolation');

-- name: schema_version
SELECT max(version) FROM cdc_hooks.migration;

-- name: installation
SELECT id::text FROM cdc_hooks.installation;

-- name: cluster
-- Which history of which cluster this is, and how far its transactions are. The timeline comes from the WAL's name,
-- which changes at the moment of a promotion; the control file follows only at the next checkpoint.
SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system()) AS system_identifier,
       ('x' || pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))::bit(32)::bigint AS timeline,
       pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::numeric AS next_xid,
       (SELECT t.next_xid::text::numeric FROM cdc_hooks.tick t ORDER BY t.id DESC LIMIT 1) AS newest_tick_xid;

-- name: epochs
SELECT epoch, first_id, system_identifier, timeline FROM cdc_hooks.epoch ORDER BY epoch;

-- name: begin_epoch
-- A new epoch begins above all that a tick of the old one has seen.
WITH lead AS MATERIALIZED (SELECT cdc_hooks.hold_lead(%(generation)s) AS held)
INSERT INTO cdc_hooks.epoch (epoch, first_id, system_identifier, timeline)
SELECT coalesce((SELECT max(e.epoch) FROM cdc_hooks.epoch e), 0) + 1,
       CASE WHEN EXISTS (SELECT FROM cdc_hooks.epoch)
            THEN (SELECT t.upto_id + 1 FROM cdc_hooks.tick t ORDER BY t.id DESC LIMIT 1) ELSE 0 END,
       %(system_identifier)s, %(timeline)s
  FROM lead;

-- name: changes_from_the_future
-- Rows of transactions that this cluster has not assigned yet: the log of another cluster, restored from a dump.
SELECT EXISTS (SELECT FROM cdc_hooks.change WHERE xid >= pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()));

-- name: take_lead
SELECT cdc_hooks.take_lead(%(holder)s, %(lease_ms)s);

-- name: leader
SELECT holder, pg_catalog.to_char(since AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"') FROM cdc_hooks.leader;

-- name: release_lead
-- Only who still leads gives the lease back.
SELECT pg_catalog.setval('cdc_hooks.lease', 0), pg_catalog.setval('cdc_hooks.doorbell', 0)
  FROM cdc_hooks.leader WHERE generation = %(generation)s;

-- name: heartbeat
SELECT cdc_hooks.heartbeat(%(generation)s, %(lease_ms)s, %(ring_ms)s);

-- name: look
SELECT oldest_xid::text::bigint, lo_tick, hi_tick, first_xid::text::bigint, snapshot::text, late::text[]::bigint[],
       after_id, upto_id, claimed, (page).*
  FROM cdc_hooks.look(%(generation)s, %(forced)s, %(waiting_at)s, %(webhook_ids)s, %(shapes)s, %(short_ids)s, %(short_bytes)s);

-- name: look_and_beat
-- An idle daemon's only query: keep the lead, keep the doorbell set, see whether anything was missed.
SELECT t.oldest_xid::text::bigint, t.lo_tick, t.hi_tick, t.first_xid::text::bigint, t.snapshot::text,
       t.late::text[]::bigint[], t.after_id, t.upto_id, t.claimed, (t.page).*
  FROM cdc_hooks.look(%(generation)s, %(forced)s, %(waiting_at)s, %(webhook_ids)s, %(shapes)s, %(short_ids)s, %(short_bytes)s) AS t
       -- After the tick, on which it seems to depend: a heartbeat takes a transaction id, and the tick must be the first to.
 CROSS JOIN LATERAL cdc_hooks.heartbeat(%(generation)s, %(lease_ms)s + 0 * coalesce(t.hi_tick, 0), %(ring_ms)s) AS beat;

-- name: own_xid
SELECT pg_catalog.pg_current_xact_id()::text::bigint;

-- name: open_window
SELECT lo_tick, hi_tick, first_xid::text::bigint, snapshot::text, late::text[]::bigint[], after_id, upto_id
  FROM cdc_hooks.open_window(%(lo)s, %(hi)s);

-- name: page
SELECT (page).*
  FROM cdc_hooks.read_page(%(after_id)s, %(upto_id)s, %(first_xid)s::xid8, %(snapshot)s::pg_snapshot, %(late)s::xid8[],
                           %(max_rows)s, %(max_bytes)s) AS page;

-- name: next_id
SELECT cdc_hooks.next_id(%(after_id)s);

-- name: record
-- Claims and acknowledgements of several webhooks at once. No row comes back when superseded (SQLSTATE CH001 then). An
-- acknowledgement that comes late, when a look has claimed what follows it already, is not written: the newest row counts.
WITH lead AS MATERIALIZED (SELECT cdc_hooks.hold_lead(%(generation)s) AS held)
INSERT INTO cdc_hooks.progress (webhook_id, lo_tick, hi_tick, after_id, to_id, done, shape, earlier)
SELECT p.webhook_id, p.lo_tick, p.hi_tick, p.after_id, p.to_id, p.done::integer[], p.shape, p.earlier
  FROM lead,
       unnest(%(webhook_ids)s::integer[], %(lo_ticks)s::bigint[], %(hi_ticks)s::bigint[], %(after_ids)s::bigint[],
              %(to_ids)s::bigint[], %(done)s::text[], %(shapes)s::text[], %(earlier)s::text[])
       AS p (webhook_id, lo_tick, hi_tick, after_id, to_id, done, shape, earlier)
 WHERE p.lo_tick < p.hi_tick
    OR NOT EXISTS (SELECT FROM cdc_hooks.place n
                    WHERE n.webhook_id = p.webhook_id AND n.lo_tick = p.lo_tick AND n.hi_tick > n.lo_tick);

-- name: webhooks
SELECT id, name, state FROM cdc_hooks.webhook;

-- name: add_webhook
WITH lead AS MATERIALIZED (SELECT cdc_hooks.hold_lead(%(generation)s) AS held)
INSERT INTO cdc_hooks.webhook (name) SELECT %(name)s FROM lead RETURNING id;

-- name: set_webhook_state
WITH lead AS MATERIALIZED (SELECT cdc_hooks.hold_lead(%(generation)s) AS held)
UPDATE cdc_hooks.webhook SET state = %(state)s, state_at = pg_catalog.clock_timestamp()
  FROM lead WHERE id = %(webhook_id)s AND state <> %(state)s;

-- name: note_webhook
-- What status shows; written every few seconds at most.
WITH lead AS MATERIALIZED (SELECT cdc_hooks.hold_lead(%(generation)s) AS held)
UPDATE cdc_hooks.webhook
   SET state = %(state)s,
       state_at = CASE WHEN state = %(state)s THEN state_at ELSE pg_catalog.clock_timestamp() END,
       delivered = delivered + %(delivered)s,
       last_success_at = coalesce(%(last_success_at)s, last_success_at),
       last_error_at = coalesce(%(last_error_at)s, last_error_at),
       last_error = coalesce(%(last_error)s, last_error)
  FROM lead WHERE id = %(webhook_id)s AND state <> 'retired';

-- name: note_hour
-- What is new about a webhook's requests, added to the sums of this hour.
WITH lead AS MATERIALIZED (SELECT cdc_hooks.hold_lead(%(generation)s) AS held)
INSERT INTO cdc_hooks.webhook_hour AS h (webhook_id, hour, deliveries, attempts, failed, seconds, longest, buckets)
SELECT %(webhook_id)s, pg_catalog.date_trunc('hour', pg_catalog.clock_timestamp(), 'UTC'), %(deliveries)s, %(attempts)s,
       %(failed)s, %(seconds)s, %(longest)s, %(buckets)s
  FROM lead
ON CONFLICT (webhook_id, hour) DO UPDATE
   SET deliveries = h.deliveries + excluded.deliveries, attempts = h.attempts + excluded.attempts,
       failed = h.failed + excluded.failed, seconds = h.seconds + excluded.seconds,
       longest = greatest(h.longest, excluded.longest),
       buckets = ARRAY(SELECT coalesce(a.n, 0) + coalesce(b.n, 0)
                         FROM unnest(h.buckets) WITH ORDINALITY AS a (n, at)
                         FULL JOIN unnest(excluded.buckets) WITH ORDINALITY AS b (n, at) USING (at) ORDER BY at);

-- name: trim_hours
DELETE FROM cdc_hooks.webhook_hour WHERE hour < pg_catalog.clock_timestamp() - interval '31 days';

-- name: progress
-- The newest progress of one webhook.
SELECT lo_tick, hi_tick, after_id, to_id, done, shape, earlier
  FROM cdc_hooks.place WHERE webhook_id = %(webhook_id)s;

-- name: described_shape
SELECT shape FROM cdc_hooks.webhook WHERE id = %(webhook_id)s;

-- name: describe_shape
WITH lead AS MATERIALIZED (SELECT cdc_hooks.hold_lead(%(generation)s) AS held)
UPDATE cdc_hooks.webhook SET shape = %(shape)s FROM lead WHERE id = %(webhook_id)s;

-- name: newest_tick
SELECT id, upto_id FROM cdc_hooks.tick ORDER BY id DESC LIMIT 1;

-- name: add_gap
WITH lead AS MATERIALIZED (SELECT cdc_hooks.hold_lead(%(generation)s) AS held)
INSERT INTO cdc_hooks.gap (webhook_id, after_id, upto_id, reason, told_at)
SELECT %(webhook_id)s, %(after_id)s, %(upto_id)s, %(reason)s, CASE WHEN %(told)s THEN pg_catalog.clock_timestamp() END
  FROM lead;

-- name: pause_webhook
WITH lead AS MATERIALIZED (SELECT cdc_hooks.hold_lead(%(generation)s) AS held)
UPDATE cdc_hooks.webhook SET paused_at = pg_catalog.clock_timestamp(), paused_by = %(by)s, paused_why = %(why)s
  FROM lead WHERE id = %(webhook_id)s AND paused_at IS NULL;

-- name: resume_webhook
WITH lead AS MATERIALIZED (SELECT cdc_hooks.hold_lead(%(generation)s) AS held)
UPDATE cdc_hooks.webhook SET paused_at = NULL, paused_by = NULL, paused_why = NULL
  FROM lead WHERE id = %(webhook_id)s AND paused_by = %(by)s;

-- name: controls
SELECT id, paused_by, paused_why, resumed_at, resume_from FROM cdc_hooks.webhook;

-- name: moved_webhook
WITH lead AS MATERIALIZED (SELECT cdc_hooks.hold_lead(%(generation)s) AS held)
UPDATE cdc_hooks.webhook SET resume_from = NULL FROM lead WHERE id = %(webhook_id)s;

-- name: tick_or_before
SELECT max(id) FROM cdc_hooks.tick WHERE id <= %(tick)s;

-- name: upto_id
SELECT upto_id FROM cdc_hooks.tick WHERE id = %(tick)s;

-- name: tick_after_id
SELECT after_id FROM cdc_hooks.tick WHERE id = %(tick)s;

-- name: reclaimable
-- Partitions that all webhooks are past, and that are older than the kept history or next to be written to; reclaim
-- makes sure, under a lock.
SELECT r.slot FROM cdc_hooks.resting_partitions() AS r
 WHERE (r.past_at <= pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => %(history_s)s) OR r.is_next)
   AND NOT EXISTS (
       SELECT FROM cdc_hooks.webhook w
         LEFT JOIN cdc_hooks.place p ON p.webhook_id = w.id
        WHERE w.state <> 'retired' AND coalesce(p.lo_tick < r.past_tick, true))
 ORDER BY r.top_id;

-- name: oldest_partition
SELECT slot FROM cdc_hooks.resting_partitions() ORDER BY top_id LIMIT 1;

-- name: reclaim
SELECT cdc_hooks.reclaim(%(generation)s, %(slot)s, pg_catalog.make_interval(secs => %(history_s)s), %(force)s);

-- name: untold_gaps
SELECT id, after_id, upto_id, reason FROM cdc_hooks.gap WHERE webhook_id = %(webhook_id)s AND told_at IS NULL ORDER BY id;

-- name: told_gap
WITH lead AS MATERIALIZED (SELECT cdc_hooks.hold_lead(%(generation)s) AS held)
UPDATE cdc_hooks.gap SET told_at = pg_catalog.clock_timestamp() FROM lead WHERE id = %(gap_id)s;

-- name: trim_ticks
-- Ticks that no webhook stands on: all but one in 1,024, which tell later where a long transaction began, and but the
-- newest 8,192. Only in (after, upto], so that what was trimmed before is not walked over again.
DELETE FROM cdc_hooks.tick
 WHERE id > %(after)s AND id <= %(upto)s AND id %% 1024 <> 0
   AND id <> ALL (SELECT unnest(ARRAY[p.lo_tick, p.hi_tick]) FROM cdc_hooks.place p);

-- name: trim_progress
-- Progress that newer progress has replaced.
DELETE FROM cdc_hooks.progress p
 USING cdc_hooks.place AS newest
 WHERE p.webhook_id = newest.webhook_id AND p.id < newest.progress_id AND p.id > %(after)s AND p.id <= %(upto)s;

-- name: newest_progress
SELECT coalesce(max(id), 0) FROM cdc_hooks.progress;

-- name: sizes
-- Of the change log: bytes on disk and rows (ids given out since the oldest one that is in it: an upper bound, for
-- rolled-back transactions leave holes). And how full the cluster's queue of notifications is.
SELECT (SELECT coalesce(sum(pg_catalog.pg_total_relation_size(i.inhrelid)), 0)::bigint
          FROM pg_catalog.pg_inherits i WHERE i.inhparent = 'cdc_hooks.change'::pg_catalog.regclass) AS log_bytes,
       coalesce(cdc_hooks.last_id() - (SELECT min(id) FROM cdc_hooks.change) + 1, 0) AS log_rows,
       pg_catalog.pg_notification_queue_usage() AS notify_queue;

-- name: dead_letters
-- By webhook: deliveries that were given up on and kept, and those that wait for one of them.
SELECT w.name, count(*) FILTER (WHERE d.state <> 'held'), count(*) FILTER (WHERE d.state = 'held')
  FROM cdc_hooks.delivery d JOIN cdc_hooks.webhook w ON w.id = d.webhook_id
 WHERE d.state IN ('rejected', 'dead', 'held') GROUP BY w.name;

-- name: backend_pid
SELECT pg_catalog.pg_backend_pid();

-- name: oldest_newest_progress
-- The oldest of the webhooks' newest progress.
SELECT coalesce(min(progress_id) - 1, 0) FROM cdc_hooks.place;

-- name: behind
-- How far webhooks are behind the log: ids given out since (of all tables, also of transactions that were rolled back:
-- an upper bound), and seconds since the tick that they have not finished.
SELECT p.webhook_id,
       greatest(0, s.last_id - greatest(p.after_id, t.upto_id)) AS backlog,
       CASE WHEN s.last_id > greatest(p.after_id, t.upto_id)
            THEN EXTRACT(epoch FROM pg_catalog.clock_timestamp() - coalesce(n.at, t.at)) ELSE 0 END AS lag_s
  FROM (SELECT cdc_hooks.last_id() AS last_id) AS s
 CROSS JOIN unnest(%(webhook_ids)s::integer[], %(ticks)s::bigint[], %(after_ids)s::bigint[]) AS p (webhook_id, tick, after_id)
  JOIN cdc_hooks.tick t ON t.id = p.tick
  LEFT JOIN LATERAL (SELECT at FROM cdc_hooks.tick n WHERE n.id > p.tick ORDER BY n.id LIMIT 1) AS n ON true;
