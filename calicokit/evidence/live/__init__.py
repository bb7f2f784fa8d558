"""A live cluster as a source of evidence."""
