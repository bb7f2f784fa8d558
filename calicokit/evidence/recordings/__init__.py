"""Recordings: read, written, redacted, and those that come with the kit."""
