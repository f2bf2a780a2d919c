"""Writing characters over HTTP."""
