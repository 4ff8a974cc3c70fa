-- A row that is in no table: what a capture of it would log.
SELECT {key} AS key, {data} AS data FROM (SELECT {values}) AS captured;
