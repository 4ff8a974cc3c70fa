-- cdc-hooks: what it keeps in your database. This file is today's truth, version 1; sql/migrations/ leads here from
-- older versions, and a test proves that both ways end in the same schema.
--
-- Everything lives in the schema cdc_hooks and is owned by the role that runs this script (cdc_hooks_owner).
-- Writers reach it only through the capture functions (SECURITY DEFINER), the daemon through the grants in grants.sql.

DO $do$
BEGIN
    -- Where the owner may not create schemas in this database, the installer has made it already, for the owner.
    IF pg_catalog.to_regnamespace('cdc_hooks') IS NULL THEN
        CREATE SCHEMA cdc_hooks;
    END IF;
END
$do$;
COMMENT ON SCHEMA cdc_hooks IS 'cdc-hooks: change data capture to webhooks. Remove it with: cdc-hooks remove --all';

CREATE TABLE cdc_hooks.migration (
    version     integer     PRIMARY KEY,
    applied_at  timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    applied_by  text        NOT NULL DEFAULT session_user
);
COMMENT ON TABLE cdc_hooks.migration IS 'Schema versions that were applied here; the highest is the current one.';

-- One row. The id makes the ids of batches unique among databases; it survives dump and restore.
CREATE TABLE cdc_hooks.installation (
    one         boolean     PRIMARY KEY DEFAULT true CONSTRAINT only_one_installation CHECK (one),
    id          uuid        NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
    created_at  timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
INSERT INTO cdc_hooks.installation DEFAULT VALUES;

-- ---------------------------------------------------------------------------------------------------------------
-- The change log. Append-only: nothing in it is updated or deleted row by row, space comes back by TRUNCATE of a
-- partition. The partitions are a ring over the id, 2^18 ids each: none is ever missing, none is ever "current".
-- ---------------------------------------------------------------------------------------------------------------

-- CACHE 1: a larger cache would give ids out of order to the writers of one row.
CREATE SEQUENCE cdc_hooks.change_id AS bigint CACHE 1;

CREATE TABLE cdc_hooks.change (
    -- First the transaction, then the id: defaults are computed in this order, and the windows rely on it (see make_tick).
    xid         xid8        NOT NULL DEFAULT pg_catalog.pg_current_xact_id(),
    id          bigint      NOT NULL DEFAULT pg_catalog.nextval('cdc_hooks.change_id'),
    at          timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    truncated   boolean,
    -- I, U, D or T. No CHECK says so: PostgreSQL would make it ready anew for each statement, a quarter of what capture
    -- costs a small transaction.
    action      "char"      NOT NULL,
    table_name  text        NOT NULL,
    key         text,
    old_key     text,
    data        text
) PARTITION BY LIST (((id >> 18) % 16));
COMMENT ON TABLE  cdc_hooks.change IS 'The change log: one row for each captured insert, update, delete or truncate.';
COMMENT ON COLUMN cdc_hooks.change.xid IS 'The writing transaction (top level, also inside savepoints).';
COMMENT ON COLUMN cdc_hooks.change.truncated IS 'True where the row was larger than the capture''s limit and data was left out.';
COMMENT ON COLUMN cdc_hooks.change.key IS 'JSON: a scalar for a key of one column, an object for several, null for a table without a key.';
COMMENT ON COLUMN cdc_hooks.change.old_key IS 'JSON: the key before an update that changed it.';
COMMENT ON COLUMN cdc_hooks.change.data IS 'JSON text of the row, as row_to_json made it; of a delete, the row that was.';

CREATE INDEX change_id_idx ON cdc_hooks.change (id);

DO $do$
BEGIN
    FOR slot IN 0..15 LOOP
        EXECUTE pg_catalog.format(
            'CREATE TABLE cdc_hooks.change_%s PARTITION OF cdc_hooks.change FOR VALUES IN (%s)'
            ' WITH (autovacuum_enabled = false, toast.autovacuum_enabled = false)',
            pg_catalog.lpad(slot::text, 2, '0'), slot);
    END LOOP;
END
$do$;

-- The doorbell: "ring until this time", in milliseconds since 1970; 0 means "awake, do not ring". A sequence, because
-- reading one is not transactional: a writer sees the present value, also in a SERIALIZABLE transaction, without a lock.
CREATE SEQUENCE cdc_hooks.doorbell AS bigint MINVALUE 0 START 0 CACHE 1;
SELECT pg_catalog.setval('cdc_hooks.doorbell', 0);

-- ---------------------------------------------------------------------------------------------------------------
-- Ticks and progress. Both are appended to, never updated: a transaction held open for hours, which keeps every dead
-- row version alive, costs them nothing. They are read from the newest end and trimmed in bulk at the oldest.
-- ---------------------------------------------------------------------------------------------------------------

CREATE TABLE cdc_hooks.tick (
    id          bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    at          timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    next_xid    xid8        NOT NULL,
    after_id    bigint      NOT NULL,
    upto_id     bigint      NOT NULL,
    snapshot    pg_snapshot NOT NULL,
    CONSTRAINT ids_in_order CHECK (after_id <= upto_id)
);
COMMENT ON TABLE  cdc_hooks.tick IS 'Stored snapshots. The changes visible in one and not in an earlier one are a window, fixed for ever.';
COMMENT ON COLUMN cdc_hooks.tick.next_xid IS 'The transaction that made the tick.';
COMMENT ON COLUMN cdc_hooks.tick.after_id IS 'The id sequence before next_xid was assigned: transactions from it on have ids above this.';
COMMENT ON COLUMN cdc_hooks.tick.upto_id IS 'The id sequence after the snapshot: what the snapshot sees has ids up to it.';
CREATE INDEX tick_next_xid_idx ON cdc_hooks.tick (next_xid, id);
CREATE INDEX tick_after_id_idx ON cdc_hooks.tick (after_id, id);
-- The beginning of time: every change is after it. "start: earliest" begins here.
INSERT INTO cdc_hooks.tick (id, next_xid, after_id, upto_id, snapshot) OVERRIDING SYSTEM VALUE VALUES (0, '3', 0, 0, '3:3:');

-- An event's id is EPOCH-ID; the epoch is the last one here whose first_id is not above the id.
CREATE TABLE cdc_hooks.epoch (
    epoch             integer     PRIMARY KEY,
    first_id          bigint      NOT NULL,
    system_identifier bigint      NOT NULL,
    timeline          bigint      NOT NULL,
    at                timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
COMMENT ON TABLE cdc_hooks.epoch IS 'A failover may give an id twice: each timeline of each cluster has an epoch of its own.';

CREATE TABLE cdc_hooks.webhook (
    id              integer     PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    name            text        NOT NULL CONSTRAINT webhook_name_is_unique UNIQUE,
    created_at      timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    state           text        NOT NULL DEFAULT 'active' CONSTRAINT known_state CHECK (state IN ('active', 'retrying', 'open', 'paused', 'retired')),
    state_at        timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    paused_at       timestamptz,
    paused_by       text        CONSTRAINT known_pauser CHECK (paused_by IN ('policy', 'operator')),
    paused_why      text,
    resumed_at      timestamptz,
    resume_from     text        CONSTRAINT now_or_a_tick CHECK (resume_from ~ '^(now|[0-9]+)$'),
    shape           text,
    delivered       bigint      NOT NULL DEFAULT 0,
    last_success_at timestamptz,
    last_error_at   timestamptz,
    last_error      text,
    CONSTRAINT paused_by_somebody_for_a_reason CHECK (num_nulls(paused_at, paused_by, paused_why) IN (0, 3))
);
COMMENT ON TABLE  cdc_hooks.webhook IS 'The webhooks of the configuration. A retired one is no longer configured and holds nothing back.';
COMMENT ON COLUMN cdc_hooks.webhook.state IS 'As its daemon has it; "open" is its circuit breaker: the endpoint is sick.';
COMMENT ON COLUMN cdc_hooks.webhook.paused_at IS 'Since when nothing is sent, its place kept, until somebody resumes it.';
COMMENT ON COLUMN cdc_hooks.webhook.resume_from IS 'Where the daemon shall move it, when it reads this: now, or a tick or the last one before.';
COMMENT ON COLUMN cdc_hooks.webhook.shape IS 'JSON: what decides its batches, as its newest claims were made. Holds no secrets.';
COMMENT ON COLUMN cdc_hooks.webhook.delivered IS 'Changes delivered so far (written every few seconds).';

-- What became of each webhook's requests, by the hour: for the sums that status shows. Kept for 31 days.
CREATE TABLE cdc_hooks.webhook_hour (
    webhook_id  integer          NOT NULL REFERENCES cdc_hooks.webhook (id),
    hour        timestamptz      NOT NULL,
    deliveries  bigint           NOT NULL,
    attempts    bigint           NOT NULL,
    failed      bigint           NOT NULL,
    seconds     double precision NOT NULL,
    longest     double precision NOT NULL,
    buckets     bigint[]         NOT NULL,
    PRIMARY KEY (webhook_id, hour)
);
COMMENT ON COLUMN cdc_hooks.webhook_hour.deliveries IS 'Batches that arrived.';
COMMENT ON COLUMN cdc_hooks.webhook_hour.seconds IS 'Of all attempts together.';
COMMENT ON COLUMN cdc_hooks.webhook_hour.longest IS 'Seconds that the longest attempt took.';
COMMENT ON COLUMN cdc_hooks.webhook_hour.buckets IS 'How many attempts took up to 1 ms, 2 ms, 5 ms, 10 ms, and so on (the last: longer).';

CREATE TABLE cdc_hooks.progress (
    id          bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    webhook_id  integer     NOT NULL,  -- no foreign key: its check would lock the webhook's row on every append
    lo_tick     bigint      NOT NULL,
    hi_tick     bigint      NOT NULL,
    after_id    bigint      NOT NULL,
    to_id       bigint,
    done        integer[]   NOT NULL DEFAULT '{}',
    shape       text,
    earlier     text,
    at          timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    CONSTRAINT ticks_in_order CHECK (lo_tick <= hi_tick),
    CONSTRAINT page_in_order CHECK (to_id >= after_id)
);
COMMENT ON TABLE  cdc_hooks.progress IS
    'How far each webhook has got; its newest row counts. All up to lo_tick is acknowledged, and of the window to hi_tick '
    'the ids up to after_id. The page up to to_id is claimed: made into batches in lanes, of which done[n] are finished.';
COMMENT ON COLUMN cdc_hooks.progress.shape IS 'Fingerprint of the configuration that shaped the claimed page''s batches.';
COMMENT ON COLUMN cdc_hooks.progress.earlier IS
    'JSON: other configurations that had the claimed page before, and what was finished of it then. Mostly null.';
CREATE INDEX progress_newest_idx ON cdc_hooks.progress (webhook_id, id DESC);

CREATE VIEW cdc_hooks.place AS
SELECT w.id AS webhook_id, w.name, w.state, p.id AS progress_id, p.lo_tick, p.hi_tick, p.after_id, p.to_id, p.done,
       p.shape, p.earlier, p.at
  FROM cdc_hooks.webhook w
 CROSS JOIN LATERAL (SELECT * FROM cdc_hooks.progress n WHERE n.webhook_id = w.id ORDER BY n.id DESC LIMIT 1) AS p;
COMMENT ON VIEW cdc_hooks.place IS 'Where each webhook stands: its newest progress.';

-- One row. Who acts on this database: each takeover raises the generation, and every tick, claim and acknowledgement
-- holds the row (FOR SHARE) with the generation it knows, so that a superseded daemon cannot write.
CREATE TABLE cdc_hooks.leader (
    one         boolean     PRIMARY KEY DEFAULT true CONSTRAINT only_one_leader CHECK (one),
    generation  bigint      NOT NULL DEFAULT 0,
    holder      text,
    since       timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
INSERT INTO cdc_hooks.leader DEFAULT VALUES;

-- Until when the leader leads, in milliseconds since 1970 by this server's clock. A sequence, so that renewing it for
-- months leaves no dead rows.
CREATE SEQUENCE cdc_hooks.lease AS bigint MINVALUE 0 START 0 CACHE 1;
SELECT pg_catalog.setval('cdc_hooks.lease', 0);

-- ---------------------------------------------------------------------------------------------------------------
-- The ledger. Deliveries that are not finished with are few and updated in place (delivery); finished ones and failed
-- attempts are appended (delivery_log, attempt) and dropped by partitions, which tidy_ledger makes and drops.
-- ---------------------------------------------------------------------------------------------------------------

-- The number of a delivery, for people. Numbers are given in the order of the attempts.
CREATE SEQUENCE cdc_hooks.delivery_number AS bigint CACHE 1;

CREATE TABLE cdc_hooks.endpoint (
    id          integer     PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    webhook_id  integer     NOT NULL REFERENCES cdc_hooks.webhook (id),
    fingerprint text        NOT NULL,
    url         text        NOT NULL,
    secrets     text        NOT NULL,
    fields      text        NOT NULL,
    headers     text        NOT NULL,
    CONSTRAINT endpoint_once UNIQUE (webhook_id, fingerprint)
);
COMMENT ON TABLE  cdc_hooks.endpoint IS 'What of a webhook''s configuration deliveries were made with. Holds no secrets.';
COMMENT ON COLUMN cdc_hooks.endpoint.fingerprint IS 'A hash of the other columns.';
COMMENT ON COLUMN cdc_hooks.endpoint.url IS 'Without the values that may be a secret.';
COMMENT ON COLUMN cdc_hooks.endpoint.secrets IS 'Fingerprints of the active secrets, with spaces in between.';
COMMENT ON COLUMN cdc_hooks.endpoint.fields IS 'JSON: by table the columns that are sent, null for all.';
COMMENT ON COLUMN cdc_hooks.endpoint.headers IS 'Names of the configured request headers, with spaces in between.';

-- Deliveries that are not finished with. pending: tried again at next_attempt_at; split: its parts are deliveries of their
-- own; part: such a part, delivered, kept so that it is not sent again with the others; held: waits behind a rejected change
-- of its row. Dead letters: rejected (the receiver refuses the content) and dead (all attempts failed); they stay until
-- somebody resends or deletes them.
CREATE TABLE cdc_hooks.delivery (
    number           bigint      PRIMARY KEY DEFAULT pg_catalog.nextval('cdc_hooks.delivery_number'),
    webhook_id       integer     NOT NULL REFERENCES cdc_hooks.webhook (id),
    endpoint_id      integer     REFERENCES cdc_hooks.endpoint (id),
    message_id       text        NOT NULL,
    kind             text        NOT NULL DEFAULT 'normal' CONSTRAINT known_delivery_kind CHECK (kind IN ('normal', 'resend', 'replay')),
    part_of          text,
    state            text        NOT NULL CONSTRAINT known_delivery_state
                                 CHECK (state IN ('pending', 'split', 'part', 'held', 'rejected', 'dead')),
    table_name       text        NOT NULL,
    action           text        NOT NULL,
    row_ids          text        NOT NULL DEFAULT '[]',
    event_count      integer     NOT NULL,
    first_event      text        NOT NULL,
    last_event       text        NOT NULL,
    attempts         integer     NOT NULL,
    counted          integer     NOT NULL DEFAULT 0,
    remaining        bigint[],
    first_attempt_at timestamptz NOT NULL,
    last_attempt_at  timestamptz NOT NULL,
    next_attempt_at  timestamptz,
    duration_s       real,
    last_status      integer,
    last_error       text        NOT NULL,
    body             bytea       NOT NULL,
    CONSTRAINT only_split_has_a_remainder CHECK (state = 'split' OR remaining IS NULL),
    CONSTRAINT delivery_once UNIQUE (webhook_id, message_id),
    CONSTRAINT only_pending_has_a_next_attempt CHECK (state = 'pending' OR next_attempt_at IS NULL)
);
COMMENT ON COLUMN cdc_hooks.delivery.counted IS 'Attempts that count against it; while the endpoint is sick they do not.';
COMMENT ON COLUMN cdc_hooks.delivery.part_of IS 'Message id of the delivery that it was split from.';
COMMENT ON COLUMN cdc_hooks.delivery.remaining IS 'Ids of the changes that its receiver has not accepted, where it has accepted the others, or those are held.';
COMMENT ON COLUMN cdc_hooks.delivery.row_ids IS 'JSON array of its rows'' keys.';

CREATE TABLE cdc_hooks.delivery_log (
    number           bigint      NOT NULL DEFAULT pg_catalog.nextval('cdc_hooks.delivery_number'),
    logged_at        timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    webhook_id       integer     NOT NULL,
    endpoint_id      integer,
    message_id       text        NOT NULL,
    kind             text        NOT NULL,
    part_of          text,
    resend_of        bigint,
    -- delivered, dropped, split, resent or failed. No CHECK says so, nor a foreign key: they would cost each of many rows.
    state            text        NOT NULL,
    table_name       text        NOT NULL,
    action           text        NOT NULL,
    row_ids          text        NOT NULL,
    event_count      integer     NOT NULL,
    first_event      text        NOT NULL,
    last_event       text        NOT NULL,
    attempts         integer     NOT NULL,
    first_attempt_at timestamptz NOT NULL,
    last_attempt_at  timestamptz NOT NULL,
    duration_s       real,
    last_status      integer,
    last_error       text,
    response_headers text,
    response_body    bytea,
    body             bytea
) PARTITION BY RANGE (logged_at);
COMMENT ON TABLE  cdc_hooks.delivery_log IS
    'Deliveries that are finished with: delivered, dropped, split (its parts are deliveries of their own), resent (a dead letter that got through by hand), failed (a resend).';
COMMENT ON COLUMN cdc_hooks.delivery_log.logged_at IS 'By this server''s clock, so that there is a partition for it.';
COMMENT ON COLUMN cdc_hooks.delivery_log.resend_of IS 'Of a resend: the number of the delivery whose body was sent again.';
CREATE INDEX delivery_log_number_idx ON cdc_hooks.delivery_log (number);

CREATE TABLE cdc_hooks.attempt (
    delivery         bigint      NOT NULL,
    attempt          integer     NOT NULL,
    logged_at        timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    at               timestamptz NOT NULL,
    by_hand          boolean     NOT NULL DEFAULT false,
    duration_s       real,
    status           integer,
    error_class      text,
    error            text,
    request_headers  text,
    response_headers text,
    response_body    bytea
) PARTITION BY RANGE (logged_at);
COMMENT ON TABLE  cdc_hooks.attempt IS 'Attempts that failed. One that succeeded stands in the row of its delivery.';
COMMENT ON COLUMN cdc_hooks.attempt.delivery IS 'The number of the delivery.';
COMMENT ON COLUMN cdc_hooks.attempt.by_hand IS 'Made by: cdc-hooks deliveries resend.';
COMMENT ON COLUMN cdc_hooks.attempt.error_class IS 'In one word: timeout, tls, and so on, or a class of statuses, such as 5xx.';
COMMENT ON COLUMN cdc_hooks.attempt.request_headers IS 'Those that sign it, as sent. Headers stand in lines, as in HTTP.';
CREATE INDEX attempt_delivery_idx ON cdc_hooks.attempt (delivery);

CREATE VIEW cdc_hooks.every_delivery AS
SELECT number, true AS open, last_attempt_at AS logged_at, webhook_id, endpoint_id, message_id, kind, part_of, NULL::bigint AS resend_of,
       state, table_name, action, row_ids, event_count, first_event, last_event, attempts, first_attempt_at, last_attempt_at,
       next_attempt_at, duration_s, last_status, last_error, NULL::text AS response_headers, NULL::bytea AS response_body, body
  FROM cdc_hooks.delivery
 WHERE state <> 'part'
UNION ALL
SELECT number, false, logged_at, webhook_id, endpoint_id, message_id, kind, part_of, resend_of,
       state, table_name, action, row_ids, event_count, first_event, last_event, attempts, first_attempt_at, last_attempt_at,
       NULL, duration_s, last_status, last_error, response_headers, response_body, body
  FROM cdc_hooks.delivery_log;
COMMENT ON VIEW cdc_hooks.every_delivery IS 'Deliveries, finished with or not, as far as they are recorded; each once.';

-- Ranges of the log that a webhook did not get: dropped by the disk budget, or left behind by a rebase. The receiver is
-- told of each by a message of its own, before anything that comes after.
CREATE TABLE cdc_hooks.gap (
    id          bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    webhook_id  integer     NOT NULL REFERENCES cdc_hooks.webhook (id),
    after_id    bigint      NOT NULL,
    upto_id     bigint      NOT NULL,
    reason      text        NOT NULL,
    at          timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    told_at     timestamptz,
    CONSTRAINT gap_in_order CHECK (after_id <= upto_id)
);

-- ---------------------------------------------------------------------------------------------------------------
-- Functions. They run with the rights of the caller, the daemon's role, but for tidy_ledger, which makes and drops
-- partitions of the ledger with the owner's. SQLSTATE CH001 means: superseded.
-- ---------------------------------------------------------------------------------------------------------------

-- Purpose: milliseconds since 1970 by this server's clock: the unit of the doorbell and the lease. Touches: nothing.
CREATE FUNCTION cdc_hooks.now_ms() RETURNS bigint
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
RETURN (EXTRACT(epoch FROM pg_catalog.clock_timestamp()) * 1000)::bigint;

-- Purpose: the newest id that was given out, 0 if none was. Touches: change_id. Never by "SELECT last_value": that reads
-- without a lock, and while one id in 32 is given out it sees one that is up to 32 ahead, which nobody has got yet.
CREATE FUNCTION cdc_hooks.last_id() RETURNS bigint
LANGUAGE sql VOLATILE
RETURN coalesce(pg_catalog.pg_sequence_last_value('cdc_hooks.change_id'::pg_catalog.regclass), 0);

-- Purpose: whether the lease of another holds. One that ends later than any could be given now was given before this
-- server's clock was set back, and does not count. Touches: lease, leader.
CREATE FUNCTION cdc_hooks.is_led_by_another(me text, lease_ms bigint) RETURNS boolean
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT s.last_value BETWEEN cdc_hooks.now_ms() + 1 AND cdc_hooks.now_ms() + 2 * lease_ms
           AND l.holder IS DISTINCT FROM me
      FROM cdc_hooks.lease s CROSS JOIN cdc_hooks.leader l;
END;

-- Purpose: to become the leader if nobody is. Touches: leader, lease. Returns: the new generation, or null while the
-- lease of another holds. (One's own is no hindrance: after a lost connection the same process leads again at once.)
CREATE FUNCTION cdc_hooks.take_lead(new_holder text, lease_ms bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    new_generation bigint;
BEGIN
    IF cdc_hooks.is_led_by_another(new_holder, lease_ms) THEN
        RETURN NULL;
    END IF;
    -- Waits for a tick or an acknowledgement that the old leader is just committing, and for a rival.
    PERFORM FROM cdc_hooks.leader FOR UPDATE;
    IF cdc_hooks.is_led_by_another(new_holder, lease_ms) THEN
        RETURN NULL;
    END IF;
    UPDATE cdc_hooks.leader
       SET generation = generation + 1, holder = new_holder, since = clock_timestamp()
    RETURNING generation INTO new_generation;
    PERFORM setval('cdc_hooks.lease', cdc_hooks.now_ms() + lease_ms);
    RETURN new_generation;
END
$$;

-- Purpose: to stay the leader. Touches: lease, and the doorbell if ring_ms is not null (0: awake, do not ring).
-- Returns: nothing; raises CH001 if superseded.
CREATE FUNCTION cdc_hooks.heartbeat(my_generation bigint, lease_ms bigint, ring_ms bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF (SELECT generation FROM cdc_hooks.leader) IS DISTINCT FROM my_generation THEN
        RAISE EXCEPTION 'cdc-hooks: another daemon has taken over' USING ERRCODE = 'CH001';
    END IF;
    PERFORM setval('cdc_hooks.lease', cdc_hooks.now_ms() + lease_ms);
    IF ring_ms IS NOT NULL THEN
        PERFORM setval('cdc_hooks.doorbell', CASE ring_ms WHEN 0 THEN 0 ELSE cdc_hooks.now_ms() + ring_ms END);
    END IF;
END
$$;

-- Purpose: to hold the lead to the end of this transaction: a takeover waits for it, and a superseded daemon fails here.
-- Its commit is made durable too, and with it all that it has seen: nothing is published that a crash could take back.
-- Touches: leader (a share lock). Returns: nothing; raises CH001 if superseded.
CREATE FUNCTION cdc_hooks.hold_lead(my_generation bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    PERFORM FROM cdc_hooks.leader WHERE generation = my_generation FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'cdc-hooks: another daemon has taken over' USING ERRCODE = 'CH001';
    END IF;
END
$$;

-- Purpose: a bound for the ids of transactions from a given one on. Touches: tick. Returns: an id that all of theirs are
-- above: that of the last tick whose own transaction is not after the given one.
CREATE FUNCTION cdc_hooks.ids_above(oldest xid8) RETURNS bigint
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT after_id FROM cdc_hooks.tick WHERE next_xid <= oldest ORDER BY next_xid DESC, id DESC LIMIT 1;
END;

-- Purpose: what a reader must know of the window between two ticks. Touches: tick. Returns: one row, or none if a tick
-- is not there. A change belongs to the window if
--   * its transaction is not below the lower snapshot's xmax (first_xid) and had ended by the upper one, or
--   * its transaction was running at the lower tick and had ended by the upper one (xid in late).
-- Its id lies in (after_id, upto_id]. A snapshot's xmax is the last *ended* transaction plus one: some from xmax on may
-- have been running already (they are not in its list of running ones), and have taken ids. So the bound is that of the
-- oldest transaction that can be in the window, not simply the lower tick's.
CREATE FUNCTION cdc_hooks.open_window(lo bigint, hi bigint)
RETURNS TABLE (lo_tick bigint, hi_tick bigint, first_xid xid8, snapshot pg_snapshot, late xid8[],
               after_id bigint, upto_id bigint)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT l.id, h.id, pg_snapshot_xmax(l.snapshot), h.snapshot, ended.xids,
           least(l.after_id, cdc_hooks.ids_above(least(
               ended.oldest,
               CASE WHEN pg_snapshot_xmax(l.snapshot) < l.next_xid THEN pg_snapshot_xmax(l.snapshot) END))),
           h.upto_id
      FROM cdc_hooks.tick l
      JOIN cdc_hooks.tick h ON h.id = hi
     CROSS JOIN LATERAL (SELECT coalesce(array_agg(running), '{}') AS xids, min(running) AS oldest
                           FROM pg_snapshot_xip(l.snapshot) AS running
                          WHERE pg_visible_in_snapshot(running, h.snapshot)) AS ended
     WHERE l.id = lo;
END;

CREATE TYPE cdc_hooks.page AS (
    length bigint, is_full boolean, ids text, kinds text, keys text, old_keys text, times text, data text, truncated text
);
COMMENT ON TYPE cdc_hooks.page IS 'Changes, column by column: each value holds those of all of them, with U+001F in between.';

-- Purpose: the changes of a window with ids in (after_id, upto_id], which lie in one partition. Touches: change. Returns:
-- rows in no order. (Has no settings, so that its query becomes part of those that use it.)
CREATE FUNCTION cdc_hooks.stretch(after_id bigint, upto_id bigint, first_xid xid8, snapshot pg_snapshot, late xid8[])
RETURNS SETOF cdc_hooks.change
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT c.*
      FROM cdc_hooks.change c
     WHERE ((c.id >> 18) % 16) = ((stretch.upto_id >> 18) % 16) AND c.id > stretch.after_id AND c.id <= stretch.upto_id
       AND ((c.xid >= stretch.first_xid
             AND (c.xid < pg_catalog.pg_snapshot_xmin(stretch.snapshot) OR pg_catalog.pg_visible_in_snapshot(c.xid, stretch.snapshot)))
            OR c.xid = ANY (stretch.late));
END;

-- Purpose: about how many bytes a change takes in a page. Touches: nothing.
CREATE FUNCTION cdc_hooks.size_of(c cdc_hooks.change) RETURNS bigint
LANGUAGE sql IMMUTABLE
RETURN pg_catalog.octet_length(COALESCE((c).data, ''))::bigint + pg_catalog.octet_length(COALESCE((c).key, ''))
       + pg_catalog.octet_length(COALESCE((c).old_key, '')) + 200;

-- Purpose: to read a stretch (see there) in order, at most max_rows of it, and no more after the change with which
-- max_bytes are reached (null then, if all_or_nothing). Touches: change. Returns: one row: how many changes, whether a
-- limit ended them, and of each column the values of all, one after the other. Ten thousand rows cost a client more than
-- twice as much to take in.
--
-- U+001F stands between the values: it is in no JSON, and capture accepts no names with control characters. Nothing
-- stands for null. kinds: the action and the table. old_keys and truncated: null if there are none.
--
-- The times are in UTC, as a cast to text writes them: with a space, and without zeros at the end.
--
-- Whatever the statistics say (nothing analyses the log), it reads one partition by its index and sorts nothing. It goes
-- over the rows for their sizes first (and once more, where these end it): a running sum for all would take longer.
CREATE FUNCTION cdc_hooks.read_page(after_id bigint, upto_id bigint, first_xid xid8, snapshot pg_snapshot, late xid8[],
                                    max_rows bigint, max_bytes bigint, all_or_nothing boolean DEFAULT false)
RETURNS cdc_hooks.page
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET datestyle = 'ISO'
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_partition_pruning = on
SET enable_indexscan = on
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_sort = off
AS $$
#variable_conflict use_variable
DECLARE
    us     CONSTANT text := E'\x1f';
    rows   bigint;
    bytes  bigint;
    end_id bigint;
    page   cdc_hooks.page;
BEGIN
    SELECT count(*), sum(s.bytes), max(s.id) INTO rows, bytes, end_id
      FROM (SELECT c.id, cdc_hooks.size_of(c) AS bytes
              FROM cdc_hooks.stretch(after_id, upto_id, first_xid, snapshot, late) AS c
             ORDER BY c.id LIMIT max_rows) AS s;
    IF all_or_nothing AND (rows >= max_rows OR bytes >= max_bytes) THEN
        RETURN NULL;
    END IF;
    IF bytes >= max_bytes THEN
        SELECT s.id INTO end_id
          FROM (SELECT c.id, sum(cdc_hooks.size_of(c)) OVER (ORDER BY c.id ROWS UNBOUNDED PRECEDING) AS bytes
                  FROM cdc_hooks.stretch(after_id, end_id, first_xid, snapshot, late) AS c) AS s
         WHERE s.bytes >= max_bytes ORDER BY s.id LIMIT 1;
    END IF;
    SELECT count(*),
           rows >= max_rows OR bytes >= max_bytes,
           string_agg(c.id::text, us),
           string_agg(c.action::text || c.table_name, us),
           string_agg(coalesce(c.key, ''), us),
           CASE WHEN count(c.old_key) > 0 THEN string_agg(coalesce(c.old_key, ''), us) END,
           string_agg((c.at AT TIME ZONE 'UTC')::text, us),
           string_agg(coalesce(c.data, ''), us),
           CASE WHEN bool_or(c.truncated) THEN string_agg(CASE WHEN c.truncated THEN 't' ELSE '' END, us) END
      INTO page
      FROM (SELECT * FROM cdc_hooks.stretch(after_id, end_id, first_xid, snapshot, late) AS s ORDER BY s.id) AS c;
    RETURN page;
END
$$;

-- Purpose: to see whether the newest tick is behind: whether a change was committed that it does not see. Touches: tick,
-- change. Returns: true if so, or if that would take long to find out.
CREATE FUNCTION cdc_hooks.has_news() RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    look_at_most CONSTANT bigint := 4096;
    newest    cdc_hooks.tick;
    now_seen  pg_snapshot := pg_current_snapshot();
    first_xid xid8;
    ended     xid8[];
    from_id   bigint;
    last_id   bigint;
BEGIN
    SELECT * INTO newest FROM cdc_hooks.tick ORDER BY id DESC LIMIT 1;
    last_id := cdc_hooks.last_id();
    first_xid := pg_snapshot_xmax(newest.snapshot);
    ended := ARRAY(SELECT running FROM pg_snapshot_xip(newest.snapshot) AS running
                    WHERE pg_visible_in_snapshot(running, now_seen));
    IF last_id = newest.after_id AND ended = '{}' AND first_xid >= newest.next_xid THEN
        RETURN false;
    END IF;
    from_id := least(newest.after_id, cdc_hooks.ids_above(least(
        (SELECT min(xid) FROM unnest(ended) AS xid), CASE WHEN first_xid < newest.next_xid THEN first_xid END)));
    -- Ids move also for transactions that are still running or were rolled back: no tick for those.
    RETURN last_id - from_id > look_at_most OR EXISTS (
        SELECT FROM cdc_hooks.change c
         WHERE ((c.id >> 18) % 16) IN ((from_id >> 18) % 16, (last_id >> 18) % 16)
           AND c.id > from_id AND c.id <= last_id
           AND ((c.xid >= first_xid AND pg_visible_in_snapshot(c.xid, now_seen)) OR c.xid = ANY (ended)));
END
$$;

-- Purpose: to make a tick if there is anything new since the last one (or always, if forced). Touches: tick, leader.
-- Returns: one row: the oldest running transaction now, and the window from the last tick to the new one, all null if
-- there is none. Raises CH001 if superseded.
--
-- The order of the reads is what makes it right (each statement of a volatile function sees the present): the id
-- sequence, then a transaction id of our own, then the snapshot, then the sequence again. Transactions above ours take
-- ids above the first reading; what the snapshot sees has ids up to the second.
CREATE FUNCTION cdc_hooks.make_tick(my_generation bigint, forced boolean DEFAULT false)
RETURNS TABLE (oldest_xid xid8, lo_tick bigint, hi_tick bigint, first_xid xid8, snapshot pg_snapshot, late xid8[],
               after_id bigint, upto_id bigint)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    last_tick bigint;
    new_tick  bigint;
    before_id bigint;
    own_xid   xid8;
    now_seen  pg_snapshot;
    last_id   bigint;
BEGIN
    IF pg_current_xact_id_if_assigned() IS NOT NULL THEN
        RAISE EXCEPTION 'cdc-hooks: a tick must be the first thing in its transaction';
    END IF;
    now_seen := pg_current_snapshot();
    IF NOT forced AND NOT cdc_hooks.has_news() THEN
        RETURN QUERY SELECT pg_snapshot_xmin(now_seen), NULL::bigint, NULL::bigint, NULL::xid8, NULL::pg_snapshot,
                            NULL::xid8[], NULL::bigint, NULL::bigint;
        RETURN;
    END IF;
    before_id := cdc_hooks.last_id();
    own_xid := pg_current_xact_id();
    PERFORM cdc_hooks.hold_lead(my_generation);
    SELECT max(id) INTO last_tick FROM cdc_hooks.tick;
    now_seen := pg_current_snapshot();
    last_id := cdc_hooks.last_id();
    INSERT INTO cdc_hooks.tick AS t (next_xid, after_id, upto_id, snapshot)
    VALUES (own_xid, before_id, last_id, now_seen)
    RETURNING t.id INTO new_tick;
    RETURN QUERY SELECT pg_snapshot_xmin(now_seen), w.* FROM cdc_hooks.open_window(last_tick, new_tick) AS w;
END
$$;

-- Purpose: to leap over ids that were reclaimed. Touches: change. Returns: the next id that is in the log at all, or null.
CREATE FUNCTION cdc_hooks.next_id(after_id bigint) RETURNS bigint
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_sort = off
BEGIN ATOMIC
    SELECT c.id FROM cdc_hooks.change c WHERE c.id > next_id.after_id ORDER BY c.id LIMIT 1;
END;

-- Purpose: to see what is new, and at once what it is: a tick if there is anything new (or always, if forced); if its window
-- is short, its changes, and claims of them for the webhooks that wait for it. One round trip and one commit lie so
-- between a row and its first attempt, not three. Touches: tick, leader, change, progress. Returns: one row: that of make_tick
-- and that of read_page (null if the window is not short, or ends in another partition, or is large in bytes), and whether it
-- was claimed. Raises CH001 if superseded.
--
-- Claims are made only for a window that begins at the tick at which the webhooks wait.
CREATE FUNCTION cdc_hooks.look(my_generation bigint, forced boolean, waiting_at bigint, webhook_ids integer[], shapes text[],
                               short_ids bigint, short_bytes bigint)
RETURNS TABLE (oldest_xid xid8, lo_tick bigint, hi_tick bigint, first_xid xid8, snapshot pg_snapshot, late xid8[],
               after_id bigint, upto_id bigint,
               page cdc_hooks.page, claimed boolean)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    seen     record;
    its_page cdc_hooks.page;
    is_ours  boolean := false;
BEGIN
    SELECT * INTO seen FROM cdc_hooks.make_tick(my_generation, forced);
    IF seen.upto_id - seen.after_id <= short_ids AND (seen.after_id + 1) >> 18 = seen.upto_id >> 18 THEN
        its_page := cdc_hooks.read_page(seen.after_id, seen.upto_id, seen.first_xid, seen.snapshot, seen.late, short_ids + 1, short_bytes, true);
        IF its_page.length > 0 AND seen.lo_tick = waiting_at THEN
            INSERT INTO cdc_hooks.progress (webhook_id, lo_tick, hi_tick, after_id, to_id, shape)
            SELECT w.id, seen.lo_tick, seen.hi_tick, seen.after_id, seen.upto_id, w.shape
              FROM unnest(webhook_ids, shapes) AS w (id, shape);
            is_ours := true;
        END IF;
    END IF;
    RETURN QUERY SELECT seen.oldest_xid, seen.lo_tick, seen.hi_tick, seen.first_xid, seen.snapshot, seen.late, seen.after_id,
                        seen.upto_id, its_page, is_ours;
END
$$;

-- Purpose: the partitions that may be worth a look: not written to now, not empty. Touches: change, tick. Returns: slot and
-- newest id of each, the oldest first; the first tick that all of its transactions began before, if there is one; and
-- whether the ring comes back to it soon.
CREATE FUNCTION cdc_hooks.resting_partitions() RETURNS TABLE (slot integer, top_id bigint, past_tick bigint, past_at timestamptz, is_next boolean)
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT s.slot, top.id, past.id, past.at, (last_id >> 18) - (top.id >> 18) >= 12
      FROM generate_series(0, 15) AS s (slot)
     CROSS JOIN cdc_hooks.last_id() AS last_id
     CROSS JOIN LATERAL (SELECT c.id FROM cdc_hooks.change c WHERE ((c.id >> 18) % 16) = s.slot
                          ORDER BY c.id DESC LIMIT 1) AS top
      LEFT JOIN LATERAL (SELECT t.id, t.at FROM cdc_hooks.tick t WHERE t.after_id >= top.id
                          ORDER BY t.after_id, t.id LIMIT 1) AS past ON true
     WHERE s.slot NOT IN ((last_id >> 18) % 16, ((last_id + 1) >> 18) % 16)
     ORDER BY top.id;
END;

-- Purpose: to give back the space of one partition of the log. Touches: change_NN (TRUNCATE), reads tick, progress,
-- webhook. Returns: true if it was emptied. It is, only if every row in it has been acknowledged by every webhook that is
-- not retired, and is older than the history that is kept; never while a writer is in it (LOCK ... NOWAIT). The history is
-- cut short where the ring comes back to the partition soon (12 of 16 segments on): else its space would never come back.
--
-- With force (the disk budget is used up, and the policy is to drop the oldest) it is emptied all the same, and what a
-- webhook did not get is recorded as a gap.
CREATE FUNCTION cdc_hooks.reclaim(my_generation bigint, slot integer, history interval, force boolean DEFAULT false)
RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    partition_name text := format('cdc_hooks.change_%s', lpad(slot::text, 2, '0'));
    last_id  bigint := cdc_hooks.last_id();
    top_id   bigint;
    past     cdc_hooks.tick;
    first_lost bigint;
    last_lost  bigint;
    place    record;
BEGIN
    PERFORM cdc_hooks.hold_lead(my_generation);
    IF slot IN ((last_id >> 18) % 16, ((last_id + 1) >> 18) % 16) THEN
        RETURN false;
    END IF;
    BEGIN
        EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE NOWAIT', partition_name);
    EXCEPTION WHEN lock_not_available THEN
        RETURN false;
    END;
    EXECUTE format('SELECT max(id) FROM %s', partition_name) INTO top_id;
    IF top_id IS NULL THEN
        RETURN false;
    END IF;
    -- The first tick that all of this partition's transactions began before.
    SELECT * INTO past FROM cdc_hooks.tick WHERE after_id >= top_id ORDER BY after_id, id LIMIT 1;
    IF NOT force AND (past.id IS NULL OR (past.at > clock_timestamp() - history
                                          AND (last_id >> 18) - (top_id >> 18) < 12)) THEN
        RETURN false;
    END IF;
    FOR place IN
        -- By the lower tick alone: below its after_id there may be changes of transactions that end after the window.
        SELECT w.id AS webhook_id, t.snapshot
          FROM cdc_hooks.webhook w
          LEFT JOIN cdc_hooks.place p ON p.webhook_id = w.id
          LEFT JOIN cdc_hooks.tick t ON t.id = p.lo_tick
         WHERE w.state <> 'retired'
    LOOP
        CONTINUE WHEN pg_snapshot_xmin(place.snapshot) >= past.next_xid;
        EXECUTE format('SELECT min(id), max(id) FROM %s WHERE pg_visible_in_snapshot(xid, $1) IS NOT TRUE', partition_name)
           INTO first_lost, last_lost USING place.snapshot;
        CONTINUE WHEN first_lost IS NULL;
        IF NOT force THEN
            RETURN false;
        END IF;
        INSERT INTO cdc_hooks.gap (webhook_id, after_id, upto_id, reason)
        VALUES (place.webhook_id, first_lost - 1, last_lost, 'the change log had reached its disk budget');
    END LOOP;
    EXECUTE format('TRUNCATE %s', partition_name);
    RETURN true;
END
$$;

-- Purpose: the partitions of the ledger. Touches: the catalogs. Returns: each with the table it belongs to, its range and
-- its size with indexes and long values.
CREATE FUNCTION cdc_hooks.ledger_partitions()
RETURNS TABLE (parent text, name text, lower timestamptz, upper timestamptz, bytes bigint)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT p.relname::text, c.relname::text,
           substring(b.bound FROM $re$FROM \('([^']+)'\)$re$)::timestamptz, substring(b.bound FROM $re$TO \('([^']+)'\)$re$)::timestamptz,
           pg_total_relation_size(c.oid)
      FROM pg_class p
      JOIN pg_inherits i ON i.inhparent = p.oid
      JOIN pg_class c ON c.oid = i.inhrelid
     CROSS JOIN LATERAL pg_get_expr(c.relpartbound, c.oid) AS b (bound)
     WHERE p.oid IN ('cdc_hooks.delivery_log'::regclass, 'cdc_hooks.attempt'::regclass);
END;

-- Purpose: room in the ledger for today and the next two days (by UTC), and no more on disk than is wanted. A partition is
-- a day; one that has grown to an eighth of max_bytes is ended now, and another takes the rest of its day: so that there
-- is something old to drop on a busy day, too. Dropped are partitions that ended longer ago than keep, and, oldest first,
-- what is above max_bytes (null: no limit). Touches: delivery_log, attempt (their partitions), leader. Returns: how many
-- partitions it made, the names of those it dropped, the bytes then; busy: it did nothing, because somebody reads
-- the ledger for long. Raises CH001 if superseded.
--
-- It runs as its owner, for the daemon's role may create and drop nothing. It gives no rights on what it makes: the ledger
-- is used by its parents' names only.
CREATE FUNCTION cdc_hooks.tidy_ledger(my_generation bigint, keep interval, max_bytes bigint)
RETURNS TABLE (made integer, dropped text[], bytes bigint, busy boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC'
SET DateStyle = 'ISO'
-- Whoever writes waits behind us meanwhile.
SET lock_timeout = '500ms'
AS $$
#variable_conflict use_variable
DECLARE
    now_at   timestamptz := clock_timestamp();
    ends_at  timestamptz;
    day      timestamptz;
    from_at  timestamptz;
    piece    record;
    table_of text;
BEGIN
    PERFORM cdc_hooks.hold_lead(my_generation);
    made := 0;
    dropped := '{}';
    busy := false;
    BEGIN
        FOR piece IN
            SELECT p.* FROM cdc_hooks.ledger_partitions() AS p
             WHERE p.lower <= now_at AND p.upper > now_at AND p.bytes > max_bytes / 8
        LOOP
            EXECUTE format('ALTER TABLE cdc_hooks.%I DETACH PARTITION cdc_hooks.%I', piece.parent, piece.name);
            EXECUTE format('SELECT greatest(clock_timestamp(), max(logged_at)) + interval ''1 microsecond'' FROM cdc_hooks.%I', piece.name)
               INTO ends_at;
            ends_at := least(ends_at, piece.upper);
            EXECUTE format('ALTER TABLE cdc_hooks.%I ATTACH PARTITION cdc_hooks.%I FOR VALUES FROM (%L) TO (%L)',
                           piece.parent, piece.name, piece.lower, ends_at);
        END LOOP;
        FOREACH table_of IN ARRAY ARRAY['delivery_log', 'attempt'] LOOP
            FOR day IN SELECT date_trunc('day', now_at) + make_interval(days => n) FROM generate_series(0, 2) AS n LOOP
                SELECT coalesce(max(p.upper), day) INTO from_at FROM cdc_hooks.ledger_partitions() AS p
                 WHERE p.parent = table_of AND p.upper > day AND p.lower < day + interval '1 day';
                CONTINUE WHEN from_at >= day + interval '1 day';
                EXECUTE format('CREATE TABLE cdc_hooks.%I PARTITION OF cdc_hooks.%I FOR VALUES FROM (%L) TO (%L)',
                               table_of || to_char(from_at, CASE from_at WHEN day THEN '"_"YYYYMMDD' ELSE '"_"YYYYMMDD"_"HH24MISSUS' END),
                               table_of, from_at, day + interval '1 day');
                made := made + 1;
            END LOOP;
        END LOOP;
        SELECT sum(p.bytes) INTO bytes FROM cdc_hooks.ledger_partitions() AS p;
        FOR piece IN SELECT p.* FROM cdc_hooks.ledger_partitions() AS p ORDER BY p.upper, p.name LOOP
            EXIT WHEN (piece.upper <= now_at - keep OR (piece.upper <= clock_timestamp() AND bytes > max_bytes)) IS NOT TRUE;
            EXECUTE format('DROP TABLE cdc_hooks.%I', piece.name);
            dropped := dropped || piece.name;
            bytes := bytes - piece.bytes;
        END LOOP;
    EXCEPTION WHEN lock_not_available THEN
        made := 0;
        dropped := '{}';
        busy := true;
        SELECT sum(p.bytes) INTO bytes FROM cdc_hooks.ledger_partitions() AS p;
    END;
    RETURN NEXT;
END
$$;
REVOKE ALL ON FUNCTION cdc_hooks.tidy_ledger(bigint, interval, bigint) FROM PUBLIC;
