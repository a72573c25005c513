"""Noticing changes that nobody notified."""
