-- A row that is in no table: what a capture of it would log.
SELECT {key} AS key, CASE WHEN {size} <= {max_bytes} THEN {data} END AS data
  FROM (SELECT {values}) AS captured;
