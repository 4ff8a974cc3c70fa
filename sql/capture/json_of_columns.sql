(SELECT pg_catalog.row_to_json(chosen.*) FROM (SELECT {columns}) AS chosen)::pg_catalog.text
