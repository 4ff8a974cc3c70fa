"""The benchmark: what cdc-hooks must reach, measured on this machine. ``python -m bench --help``; see docs/benchmark.md."""
