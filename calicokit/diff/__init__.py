"""What changed between two sources: objects, rules, routes, sessions, sets, settings, interfaces, counters."""
