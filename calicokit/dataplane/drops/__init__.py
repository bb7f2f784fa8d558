"""What was dropped: by which rule, of which flow, and by whose."""
