"""Policy: which rule of which policy allows or denies a flow, and why."""
