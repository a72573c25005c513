"""Measurements behind docs/performance.md; each one also checks what arrived: `python -m benchmarks`."""
