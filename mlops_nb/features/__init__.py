"""Feature definitions and point-in-time joins."""
