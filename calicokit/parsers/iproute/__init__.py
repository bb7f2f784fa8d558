"""What ip, bridge, tc and ss print."""
