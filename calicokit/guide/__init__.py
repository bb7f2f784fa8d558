"""The troubleshooting guide for one cluster: its checklist, its best practices, and each of its commands."""
