"""Characters over HTTP."""
