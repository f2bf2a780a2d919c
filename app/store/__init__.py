"""Redis, the only state: characters, sessions and their leases. Nothing outside this package imports redis."""
