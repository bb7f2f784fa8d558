"""Where evidence comes from and what it is: the catalog, the sources, provenance."""
