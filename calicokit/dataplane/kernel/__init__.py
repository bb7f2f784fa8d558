"""The kernel under the rules: its settings and the connections that it tracks."""
