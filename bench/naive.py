"""What people write first: a process that listens, and posts each notification. ``python -m bench.naive DSN URL``."""

from __future__ import annotations

import http.client
import sys
from urllib.parse import urlsplit

import psycopg


def main(dsn: str, url: str) -> None:
    receiver = urlsplit(url)
    http_connection = http.client.HTTPConnection(receiver.hostname or "", receiver.port or 80)
    headers = {"content-type": "application/json"}
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("LISTEN naive")
        print("listening", flush=True)
        for notification in connection.notifies():
            http_connection.request("POST", receiver.path, body=notification.payload.encode(), headers=headers)
            http_connection.getresponse().read()


if __name__ == "__main__":
    main(*sys.argv[1:])
