"""Change data capture for PostgreSQL: row changes as signed webhook batches."""

__version__ = "0.1.0"
