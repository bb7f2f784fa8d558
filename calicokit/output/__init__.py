"""What the tools themselves printed, as tables: one for each command, log and scrape of the catalog with a parser."""
