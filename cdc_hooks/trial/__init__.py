"""A test send: a sample of a webhook's table as the daemon would send it, once, and what came of it.

Nothing is written to the database: no change, no delivery, no statistics.
"""
