"""Logs of Calico's components: patterns, their frequency, and lines with a known meaning."""
