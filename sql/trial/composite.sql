(SELECT pg_catalog.row_to_json(part.*) FROM (SELECT {attributes}) AS part)
