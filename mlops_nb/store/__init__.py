"""The registry, its durable write path, and the artifact store."""
