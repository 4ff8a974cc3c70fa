-- What `cdc-hooks check` asks the database besides what the captures need. Catalogs and settings only.

-- name: prepared_transactions
-- Where transactions can be prepared, a NOTIFY in one of them would make PREPARE TRANSACTION fail: nothing may ring.
SELECT pg_catalog.current_setting('max_prepared_transactions')::integer AS possible;
