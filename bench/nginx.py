"""nginx as a receiver that costs next to nothing."""

from __future__ import annotations

import os
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.processes import BenchError, running, wait_for
from cdc_hooks.demo.postgres import free_port

# With `return`, nginx reads and discards a body to its last byte before it takes the next request of the connection
# (and answers after that, where the body came together with its headers); connections stay open.
_CONF = """\
daemon off;
worker_processes 1;
pid {directory}/pid;
error_log stderr error;
{user}
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_max_body_size 0;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ return 200; }}
        location = /status {{ stub_status; }}
    }}
}}
"""


@dataclass(frozen=True)
class Nginx:
    url: str

    def requests(self) -> int:
        """How many it has had so far, this question included."""
        with urllib.request.urlopen(self.url + "status", timeout=5) as answer:
            return int(answer.read().split()[9])


@contextmanager
def nginx(directory: Path) -> Iterator[Nginx]:
    """A server with one worker that answers 200 to everything. ``directory`` must exist."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        raise BenchError("nginx is not on this machine; to get it: apt-get install nginx-light")
    home = directory / "nginx"
    home.mkdir(exist_ok=True)
    port = free_port()
    conf = home / "nginx.conf"
    conf.write_text(
        _CONF.format(directory=home, port=port, user="user root;" if os.geteuid() == 0 else ""), encoding="utf-8"
    )
    receiver = Nginx(f"http://127.0.0.1:{port}/")
    with running([program, "-p", str(home), "-c", str(conf), "-e", "stderr"], log=directory / "nginx.log") as process:
        wait_for(lambda: _answer(receiver), "nginx", timeout_s=10, process=process)
        yield receiver


def _answer(receiver: Nginx) -> int | None:
    try:
        return receiver.requests()
    except OSError:
        return None
