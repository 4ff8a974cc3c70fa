"""The benchmark: what cdc-hooks must reach, measured on this machine. See docs/benchmark.md."""
