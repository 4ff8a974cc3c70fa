-- cdc-hooks: what it keeps in your database. This file is today's truth, version 1; sql/migrations/ leads here from
-- older versions, and a test proves that both ways end in the same schema.
--
-- Everything lives in the schema cdc_hooks and is owned by the role that runs this script (cdc_hooks_owner).
-- Writers reach it only through the capture functions (SECURITY DEFINER), the daemon through the grants in grants.sql.

CREATE SCHEMA cdc_hooks;
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
    id          bigint      NOT NULL DEFAULT pg_catalog.nextval('cdc_hooks.change_id'),
    xid         xid8        NOT NULL DEFAULT pg_catalog.pg_current_xact_id(),
    at          timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    truncated   boolean,
    action      "char"      NOT NULL CONSTRAINT known_action CHECK (action IN ('I', 'U', 'D', 'T')),
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
    CONSTRAINT ids_in_order CHECK (after_id <= upto_id),
    CONSTRAINT next_xid_of_snapshot CHECK (next_xid = pg_catalog.pg_snapshot_xmax(snapshot))
);
COMMENT ON TABLE  cdc_hooks.tick IS 'Stored snapshots. The changes visible in one and not in an earlier one are a window, fixed for ever.';
COMMENT ON COLUMN cdc_hooks.tick.after_id IS 'The id sequence before the snapshot: transactions from next_xid on have ids above it.';
COMMENT ON COLUMN cdc_hooks.tick.upto_id IS 'The id sequence after the snapshot: what the snapshot sees has ids up to it.';
CREATE INDEX tick_next_xid_idx ON cdc_hooks.tick (next_xid);
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
    state           text        NOT NULL DEFAULT 'active' CONSTRAINT known_state CHECK (state IN ('active', 'retrying', 'retired')),
    state_at        timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    delivered       bigint      NOT NULL DEFAULT 0,
    last_success_at timestamptz,
    last_error_at   timestamptz,
    last_error      text
);
COMMENT ON TABLE  cdc_hooks.webhook IS 'The webhooks of the configuration. A retired one is no longer configured and holds nothing back.';
COMMENT ON COLUMN cdc_hooks.webhook.delivered IS 'Changes delivered so far (written every few seconds).';

CREATE TABLE cdc_hooks.progress (
    id          bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    webhook_id  integer     NOT NULL,  -- no foreign key: its check would lock the webhook's row on every append
    lo_tick     bigint      NOT NULL,
    hi_tick     bigint      NOT NULL,
    after_id    bigint      NOT NULL,
    to_id       bigint,
    done        integer[]   NOT NULL DEFAULT '{}',
    shape       text,
    at          timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    CONSTRAINT ticks_in_order CHECK (lo_tick <= hi_tick),
    CONSTRAINT page_in_order CHECK (to_id >= after_id)
);
COMMENT ON TABLE  cdc_hooks.progress IS
    'How far each webhook has got; its newest row counts. All up to lo_tick is acknowledged, and of the window to hi_tick '
    'the ids up to after_id. The page up to to_id is claimed: made into batches in lanes, of which done[n] are finished.';
COMMENT ON COLUMN cdc_hooks.progress.shape IS 'Fingerprint of the configuration that shaped the claimed page''s batches.';
CREATE INDEX progress_newest_idx ON cdc_hooks.progress (webhook_id, id DESC);

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

-- Batches whose first attempt failed: waiting for the next attempt, or given up on (dead letters, with their body).
CREATE TABLE cdc_hooks.delivery (
    id               bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    webhook_id       integer     NOT NULL REFERENCES cdc_hooks.webhook (id),
    message_id       text        NOT NULL,
    state            text        NOT NULL CONSTRAINT known_delivery_state CHECK (state IN ('retrying', 'dead')),
    table_name       text        NOT NULL,
    action           text        NOT NULL,
    event_count      integer     NOT NULL,
    first_event      text        NOT NULL,
    last_event       text        NOT NULL,
    attempts         integer     NOT NULL,
    first_attempt_at timestamptz NOT NULL,
    last_attempt_at  timestamptz NOT NULL,
    next_attempt_at  timestamptz,
    last_status      integer,
    last_error       text        NOT NULL,
    body             bytea       NOT NULL,
    CONSTRAINT delivery_once UNIQUE (webhook_id, message_id),
    CONSTRAINT retrying_has_a_next_attempt CHECK ((state = 'retrying') = (next_attempt_at IS NOT NULL))
);

-- Ranges of the log that a webhook did not get: dropped by the disk budget, or left behind by a rebase.
CREATE TABLE cdc_hooks.gap (
    id          bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    webhook_id  integer     NOT NULL REFERENCES cdc_hooks.webhook (id),
    after_id    bigint      NOT NULL,
    upto_id     bigint      NOT NULL,
    reason      text        NOT NULL,
    at          timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
