"""Benchmarks: figures and ratios from one run each, never part of the tests (docs/performance.md)."""
