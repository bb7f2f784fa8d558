"""One module per tool that speaks: pure functions of its text, returning tables with a declared schema."""
