-- The ledger: what the daemon records, and what `cdc-hooks deliveries` asks and does. All run as the daemon's role.
-- Many records come as one text, with U+001E between them and U+001F between their values; nothing stands for null.

-- name: tidy
SELECT made, dropped, bytes, busy
  FROM cdc_hooks.tidy_ledger(%(generation)s, pg_catalog.make_interval(secs => %(keep_s)s), %(max_bytes)s::bigint);

-- name: endpoint
-- What a webhook's deliveries are made with from now on. Returns its id.
WITH lead AS MATERIALIZED (SELECT cdc_hooks.hold_lead(%(generation)s) AS held),
new AS (
    INSERT INTO cdc_hooks.endpoint (webhook_id, fingerprint, url, secrets, fields, headers)
    SELECT %(webhook_id)s, %(fingerprint)s, %(url)s, %(secrets)s, %(fields)s, %(headers)s
      FROM lead
     WHERE NOT EXISTS (SELECT FROM cdc_hooks.endpoint e WHERE e.webhook_id = %(webhook_id)s AND e.fingerprint = %(fingerprint)s)
    ON CONFLICT ON CONSTRAINT endpoint_once DO NOTHING
    RETURNING id
)
SELECT id FROM new
UNION ALL
SELECT e.id FROM cdc_hooks.endpoint e WHERE e.webhook_id = %(webhook_id)s AND e.fingerprint = %(fingerprint)s;

-- name: unfinished
-- What a worker must know of, to send nothing twice: what waits, parts of what is being split, and what was given up on
-- lately, for that it is finished with may not have been recorded before a crash.
SELECT d.message_id, d.state, d.attempts, d.counted, coalesce(EXTRACT(epoch FROM d.next_attempt_at), 0)::double precision,
       EXTRACT(epoch FROM d.first_attempt_at)::double precision, d.part_of IS NOT NULL, d.remaining
  FROM cdc_hooks.delivery d
 WHERE d.webhook_id = %(webhook_id)s
   AND (d.state NOT IN ('rejected', 'dead')
        OR d.last_attempt_at > pg_catalog.clock_timestamp() - interval '1 hour'
        OR EXISTS (SELECT FROM cdc_hooks.delivery p
                    WHERE p.webhook_id = d.webhook_id AND p.message_id = d.part_of AND p.state = 'split'));

-- name: failed
-- An attempt that failed: remembered with its body, so that a restart goes on where the schedule was. With another
-- secret its body has another hmac.
WITH lead AS MATERIALIZED (SELECT cdc_hooks.hold_lead(%(generation)s) AS held)
INSERT INTO cdc_hooks.delivery AS d (webhook_id, endpoint_id, message_id, kind, part_of, state, table_name, action, row_ids,
                                     event_count, first_event, last_event, attempts, counted, remaining, first_attempt_at,
                                     last_attempt_at, next_attempt_at, duration_s, last_status, last_error, body)
SELECT %(webhook_id)s, %(endpoint_id)s, %(message_id)s, %(kind)s, %(part_of)s, %(state)s, %(table_name)s, %(action)s,
       %(row_ids)s, %(event_count)s, %(first_event)s, %(last_event)s, %(attempts)s, %(counted)s, %(remaining)s::bigint[],
       pg_catalog.to_timestamp(%(at)s), pg_catalog.to_timestamp(%(at)s),
       pg_catalog.to_timestamp(%(next_attempt_at)s::double precision), %(duration_s)s::real,
       %(last_status)s::integer, %(last_error)s, %(body)s
  FROM lead
ON CONFLICT ON CONSTRAINT delivery_once DO UPDATE
   SET state = excluded.state, endpoint_id = excluded.endpoint_id, attempts = excluded.attempts, counted = excluded.counted,
       remaining = excluded.remaining, last_attempt_at = excluded.last_attempt_at, next_attempt_at = excluded.next_attempt_at,
       duration_s = excluded.duration_s, last_status = excluded.last_status, last_error = excluded.last_error,
       body = CASE WHEN d.endpoint_id IS DISTINCT FROM excluded.endpoint_id THEN excluded.body ELSE d.body END
RETURNING d.number;

-- name: closed
-- It is open no more. Returns its number, and when it was first tried, in seconds since 1970.
WITH lead AS MATERIALIZED (SELECT cdc_hooks.hold_lead(%(generation)s) AS held)
DELETE FROM cdc_hooks.delivery d USING lead
 WHERE d.webhook_id = %(webhook_id)s AND d.message_id = %(message_id)s
RETURNING d.number, EXTRACT(epoch FROM d.first_attempt_at)::double precision;

-- name: part_delivered
-- A part of a split delivery: remembered until all of it is finished with, without its body.
WITH lead AS MATERIALIZED (SELECT cdc_hooks.hold_lead(%(generation)s) AS held)
INSERT INTO cdc_hooks.delivery AS d (webhook_id, endpoint_id, message_id, kind, part_of, state, table_name, action, row_ids,
                                     event_count, first_event, last_event, attempts, first_attempt_at, last_attempt_at,
                                     duration_s, last_status, last_error, body)
SELECT %(webhook_id)s, %(endpoint_id)s, %(message_id)s, %(kind)s, %(part_of)s, 'part', %(table_name)s, %(action)s,
       %(row_ids)s, %(event_count)s, %(first_event)s, %(last_event)s, %(attempts)s, pg_catalog.to_timestamp(%(at)s),
       pg_catalog.to_timestamp(%(at)s), %(duration_s)s::real, %(last_status)s::integer, '', ''
  FROM lead
ON CONFLICT ON CONSTRAINT delivery_once DO UPDATE
   SET state = 'part', remaining = NULL, attempts = excluded.attempts, last_attempt_at = excluded.last_attempt_at, next_attempt_at = NULL,
       duration_s = excluded.duration_s, last_status = excluded.last_status, last_error = '', body = ''
RETURNING d.number, EXTRACT(epoch FROM d.first_attempt_at)::double precision;

-- name: finished
-- A split delivery, all of whose parts are finished with. What is itself a part stays as one. Returns what to record of it,
-- in the order of log_deliveries; nothing where it had a remainder, for what that leaves has a record or a letter already.
WITH lead AS MATERIALIZED (SELECT cdc_hooks.hold_lead(%(generation)s) AS held),
whole AS MATERIALIZED (
    SELECT d.* FROM lead CROSS JOIN cdc_hooks.delivery d
     WHERE d.webhook_id = %(webhook_id)s AND d.message_id = %(message_id)s AND d.state = 'split'
),
parts AS (
    DELETE FROM cdc_hooks.delivery d USING lead
     WHERE d.webhook_id = %(webhook_id)s AND d.part_of = %(message_id)s AND d.state = 'part'
),
part AS (
    UPDATE cdc_hooks.delivery d SET state = 'part', remaining = NULL, body = '' FROM whole
     WHERE d.number = whole.number AND d.part_of IS NOT NULL
),
gone AS (
    DELETE FROM cdc_hooks.delivery d USING whole WHERE d.number = whole.number AND d.part_of IS NULL
)
SELECT number, webhook_id, endpoint_id, message_id, kind, part_of, state, table_name, action, row_ids, event_count, first_event,
       last_event, attempts, EXTRACT(epoch FROM first_attempt_at)::double precision,
       EXTRACT(epoch FROM last_attempt_at)::double precision, duration_s, last_status, last_error
  FROM whole WHERE remaining IS NULL;

-- name: forget
WITH lead AS MATERIALIZED (SELECT cdc_hooks.hold_lead(%(generation)s) AS held)
DELETE FROM cdc_hooks.delivery USING lead
 WHERE webhook_id = %(webhook_id)s AND state IN ('pending', 'split', 'part')
   AND (message_id = ANY (%(message_ids)s) OR part_of = ANY (%(message_ids)s));

-- name: held_rows
-- The rows of a webhook whose changes wait, or were given up on: table, and key as JSON.
SELECT DISTINCT d.table_name, k.value::text
  FROM cdc_hooks.delivery d CROSS JOIN json_array_elements(d.row_ids::json) AS k (value)
 WHERE d.webhook_id = %(webhook_id)s AND d.state IN ('held', 'rejected', 'dead');

-- name: log_deliveries
WITH lead AS MATERIALIZED (SELECT cdc_hooks.hold_lead(%(generation)s) AS held)
INSERT INTO cdc_hooks.delivery_log (number, webhook_id, endpoint_id, message_id, kind, part_of, state, table_name, action, row_ids,
                                    event_count, first_event, last_event, attempts, first_attempt_at, last_attempt_at,
                                    duration_s, last_status, last_error, response_headers, response_body, body)
SELECT coalesce(r.f[1]::bigint, pg_catalog.nextval('cdc_hooks.delivery_number')), r.f[2]::integer, r.f[3]::integer, r.f[4], r.f[5],
       r.f[6], r.f[7], r.f[8], r.f[9], r.f[10], r.f[11]::integer, r.f[12], r.f[13], r.f[14]::integer,
       pg_catalog.to_timestamp(r.f[15]::double precision), pg_catalog.to_timestamp(r.f[16]::double precision), r.f[17]::real,
       r.f[18]::integer, r.f[19], r.f[20], r.f[21]::bytea, r.f[22]::bytea
  FROM lead
 CROSS JOIN string_to_table(%(records)s, U&'\001E') AS record
 CROSS JOIN LATERAL (SELECT string_to_array(record, U&'\001F', '') OFFSET 0) AS r (f);

-- name: log_attempts
WITH lead AS MATERIALIZED (SELECT cdc_hooks.hold_lead(%(generation)s) AS held)
INSERT INTO cdc_hooks.attempt (delivery, attempt, at, duration_s, status, error_class, error, request_headers, response_headers,
                               response_body)
SELECT r.f[1]::bigint, r.f[2]::integer, pg_catalog.to_timestamp(r.f[3]::double precision), r.f[4]::real, r.f[5]::integer, r.f[6],
       r.f[7], r.f[8], r.f[9], r.f[10]::bytea
  FROM lead
 CROSS JOIN string_to_table(%(records)s, U&'\001E') AS record
 CROSS JOIN LATERAL (SELECT string_to_array(record, U&'\001F', '') OFFSET 0) AS r (f);

-- name: filter
-- Which deliveries a command is about; a part of the queries below. The hour: partitions go by the server's clock, times of
-- attempts by the daemon's.
    (%(numbers)s::bigint[] IS NULL OR d.number = ANY (%(numbers)s::bigint[]) OR d.message_id = ANY (%(message_ids)s::text[]))
AND (%(after)s::bigint IS NULL OR d.number > %(after)s)
AND (%(webhook)s::text IS NULL OR w.name = %(webhook)s)
AND (%(states)s::text[] IS NULL OR d.state = ANY (%(states)s::text[]))
AND (%(since)s::timestamptz IS NULL
     OR (d.logged_at >= %(since)s::timestamptz - interval '1 hour' AND d.last_attempt_at >= %(since)s::timestamptz))
AND (%(until)s::timestamptz IS NULL OR d.last_attempt_at < %(until)s::timestamptz)
AND (%(table)s::text IS NULL OR d.table_name = %(table)s)
AND (%(row)s::text[] IS NULL OR EXISTS (SELECT FROM json_array_elements(d.row_ids::json) AS k (value)
                                         WHERE k.value::text = ANY (%(row)s::text[])
                                            OR CASE WHEN json_typeof(k.value) = 'object' THEN
                                               (SELECT count(*) > 0 AND count(w.name) = count(*)
                                                       AND count(*) = (SELECT count(DISTINCT n) FROM unnest(%(row_names)s::text[]) AS n)
                                                  FROM json_each(k.value) AS e
                                                  LEFT JOIN unnest(%(row_names)s::text[], %(row_values)s::text[]) AS w (name, value)
                                                         ON w.name = e.key AND w.value = e.value::text) END))
AND (%(status_from)s::integer IS NULL OR d.last_status BETWEEN %(status_from)s AND %(status_to)s)

-- name: find
SELECT d.number, d.open, w.name AS webhook, d.state, d.kind, d.message_id, d.part_of, d.resend_of, d.table_name, d.action,
       d.row_ids, d.event_count, d.first_event, d.last_event, d.attempts, d.first_attempt_at, d.last_attempt_at,
       d.next_attempt_at, d.duration_s, d.last_status, d.last_error, d.body IS NOT NULL AS has_body
  FROM cdc_hooks.every_delivery d
  JOIN cdc_hooks.webhook w ON w.id = d.webhook_id
 WHERE {filter}
 ORDER BY {order}
 LIMIT %(limit)s;

-- name: details
-- What find leaves out: with what it was made, the end of it, and what stands in its way.
SELECT e.url, e.secrets, e.fields, e.headers, d.response_headers, d.response_body, d.body, w.paused_why,
       w.state = 'retired' AS retired
  FROM cdc_hooks.every_delivery d
  JOIN cdc_hooks.webhook w ON w.id = d.webhook_id
  LEFT JOIN cdc_hooks.endpoint e ON e.id = d.endpoint_id
 WHERE d.number = %(number)s AND d.open = %(open)s
 LIMIT 1;

-- name: attempts
SELECT attempt, at, by_hand, duration_s, status, error_class, error, request_headers, response_headers, response_body
  FROM cdc_hooks.attempt WHERE delivery = %(number)s ORDER BY at, attempt;

-- name: attempts_of
-- The same of many, one after the other.
SELECT delivery, attempt, at, by_hand, duration_s, status, error_class, error, request_headers, response_headers, response_body
  FROM cdc_hooks.attempt WHERE delivery = ANY (%(numbers)s) ORDER BY delivery, at, attempt;

-- name: related
-- Its parts, and its resends.
SELECT d.number, d.state, d.resend_of IS NOT NULL AS is_resend, d.last_attempt_at
  FROM cdc_hooks.every_delivery d
 WHERE d.number > %(number)s AND (d.resend_of = %(number)s OR (d.part_of = %(message_id)s AND d.kind <> 'resend'))
 ORDER BY d.number
 LIMIT 20;

-- name: webhook_names
SELECT name FROM cdc_hooks.webhook ORDER BY name;

-- name: tidy_as_leader
-- Room in the ledger, also where no daemon has run for days.
SELECT made FROM cdc_hooks.tidy_ledger((SELECT generation FROM cdc_hooks.leader), pg_catalog.make_interval(secs => %(keep_s)s),
                                       %(max_bytes)s::bigint);

-- name: newest_number
SELECT coalesce(pg_catalog.pg_sequence_last_value('cdc_hooks.delivery_number'::pg_catalog.regclass), 0);

-- name: be_patient
-- For a transaction that waits for a receiver's answer.
SELECT pg_catalog.set_config(name, '0', true)
  FROM pg_catalog.pg_settings
 WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout');

-- name: claim_letter
-- A delivery that was set aside, for whoever resends it: no row comes where somebody else has it, or had it meanwhile.
SELECT d.body FROM cdc_hooks.delivery d
 WHERE d.number = %(number)s AND d.state IN ('rejected', 'dead', 'held') AND d.attempts = %(attempts)s
   FOR UPDATE SKIP LOCKED;

-- name: claim_number
-- Records that are finished with are not locked as rows: nobody may change them.
SELECT pg_catalog.pg_try_advisory_xact_lock(1733212601, (%(number)s %% 2147483647)::integer);

-- name: claim_finished
SELECT d.body FROM cdc_hooks.delivery_log d
 WHERE d.number = %(number)s AND d.body IS NOT NULL
   AND NOT EXISTS (SELECT FROM cdc_hooks.delivery_log l WHERE l.number > %(newest)s AND l.resend_of = %(number)s)
 LIMIT 1;

-- name: record_resend
-- A resend is a delivery of its own.
INSERT INTO cdc_hooks.delivery_log (webhook_id, endpoint_id, message_id, kind, part_of, resend_of, state, table_name, action, row_ids,
                                    event_count, first_event, last_event, attempts, first_attempt_at, last_attempt_at,
                                    duration_s, last_status, last_error, response_headers, response_body)
SELECT d.webhook_id, d.endpoint_id, d.message_id, 'resend', d.part_of, d.number, %(state)s, d.table_name, d.action, d.row_ids,
       d.event_count, d.first_event, d.last_event, 1, pg_catalog.to_timestamp(%(at)s), pg_catalog.to_timestamp(%(at)s),
       %(duration_s)s, %(status)s, %(error)s, %(response_headers)s, %(response_body)s
  FROM cdc_hooks.every_delivery d WHERE d.number = %(number)s AND d.open = %(open)s
RETURNING number;

-- name: record_resent
-- What was set aside has got through: it goes to those that are finished with. The resend was its last attempt.
INSERT INTO cdc_hooks.delivery_log (number, webhook_id, endpoint_id, message_id, kind, part_of, state, table_name, action, row_ids,
                                    event_count, first_event, last_event, attempts, first_attempt_at, last_attempt_at,
                                    duration_s, last_status, last_error, body)
SELECT d.number, d.webhook_id, d.endpoint_id, d.message_id, d.kind, d.part_of, 'resent', d.table_name, d.action, d.row_ids,
       d.event_count, d.first_event, d.last_event, d.attempts + 1, d.first_attempt_at, pg_catalog.to_timestamp(%(at)s),
       %(duration_s)s, %(status)s, NULL, CASE WHEN %(keep_body)s THEN d.body END
  FROM cdc_hooks.delivery d WHERE d.number = %(number)s;

-- name: record_failure
UPDATE cdc_hooks.delivery
   SET attempts = attempts + 1, last_attempt_at = pg_catalog.to_timestamp(%(at)s), duration_s = %(duration_s)s,
       last_status = %(status)s, last_error = %(error)s
 WHERE number = %(number)s
RETURNING attempts;

-- name: record_attempt
INSERT INTO cdc_hooks.attempt (delivery, attempt, at, by_hand, duration_s, status, error_class, error, request_headers,
                               response_headers, response_body)
VALUES (%(number)s, %(attempt)s, pg_catalog.to_timestamp(%(at)s), true, %(duration_s)s, %(status)s, %(error_class)s, %(error)s,
        %(request_headers)s, %(response_headers)s, %(response_body)s);

-- name: close_letters
-- Set aside no more. A part of what is still being delivered is remembered, so that it is not sent again with the others.
WITH chosen AS MATERIALIZED (
    SELECT d.number, EXISTS (SELECT FROM cdc_hooks.delivery p
                              WHERE p.webhook_id = d.webhook_id AND p.message_id = d.part_of AND p.state = 'split') AS is_part
      FROM cdc_hooks.delivery d
      JOIN cdc_hooks.webhook w ON w.id = d.webhook_id
     WHERE d.number = ANY (%(numbers)s) AND d.state <> 'part'
       AND (d.state IN ('rejected', 'dead', 'held') OR %(waiting_too)s OR w.state = 'retired')
       FOR UPDATE OF d
), kept AS (
    UPDATE cdc_hooks.delivery d SET state = 'part', remaining = NULL, body = '', next_attempt_at = NULL
      FROM chosen c WHERE d.number = c.number AND c.is_part
    RETURNING d.number
), gone AS (
    DELETE FROM cdc_hooks.delivery d USING chosen c WHERE d.number = c.number AND NOT c.is_part
    RETURNING d.number
)
SELECT number FROM kept UNION ALL SELECT number FROM gone;

-- name: delete_finished
DELETE FROM cdc_hooks.delivery_log WHERE number = ANY (%(numbers)s) RETURNING number;

-- name: delete_attempts
DELETE FROM cdc_hooks.attempt WHERE delivery = ANY (%(numbers)s);

-- name: count
SELECT d.state, count(*)
  FROM cdc_hooks.every_delivery d
  JOIN cdc_hooks.webhook w ON w.id = d.webhook_id
 WHERE {filter}
 GROUP BY d.state ORDER BY d.state;

-- name: export
SELECT d.number, w.name AS webhook, d.state, d.kind, d.message_id, d.part_of, d.resend_of, d.table_name, d.action, d.row_ids,
       d.event_count, d.first_event, d.last_event, d.attempts, d.first_attempt_at, d.last_attempt_at, d.next_attempt_at,
       d.duration_s, d.last_status, d.last_error, e.url, e.secrets, d.response_headers, d.response_body, d.body
  FROM cdc_hooks.every_delivery d
  JOIN cdc_hooks.webhook w ON w.id = d.webhook_id
  LEFT JOIN cdc_hooks.endpoint e ON e.id = d.endpoint_id
 WHERE {filter}
 ORDER BY {order};
