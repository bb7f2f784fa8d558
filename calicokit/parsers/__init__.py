"""Parsers, one module for each tool: pure functions of its text that return tables with a declared schema."""
