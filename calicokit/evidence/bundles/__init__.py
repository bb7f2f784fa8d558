"""What people have at hand instead of a recording, as a source."""
