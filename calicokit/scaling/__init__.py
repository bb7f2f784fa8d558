"""Advice for large clusters, with the numbers that asked for it."""
