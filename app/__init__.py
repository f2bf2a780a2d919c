"""How characters are served: settings, storage, sessions, turns, the HTTP API and the command line."""
