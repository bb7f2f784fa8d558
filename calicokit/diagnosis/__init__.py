"""From tables to findings: the vocabulary, the registry of checks, and the ranking of what they find."""
