-- cdc-hooks {version}: this script does what cdc-hooks itself would do in database {database}.
-- Run it with psql, as the role that cdc-hooks would use. Each part is a transaction of its own; after a failure (such as
-- a lock that was not free within the timeout) make a new script: what is done already will not be in it.
\set ON_ERROR_STOP on
\set VERBOSITY default

{parts}
