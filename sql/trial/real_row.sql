-- A row as it stands now: what a capture of it would log. What is stored is measured first: a huge value must never be
-- made into JSON.
SELECT {key} AS key, CASE WHEN {size} <= {max_bytes} THEN {data} END AS data
  FROM {table} AS captured
 WHERE {condition}
 LIMIT 1;
