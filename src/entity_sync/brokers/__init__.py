"""Adapters to what carries changes between nodes."""
