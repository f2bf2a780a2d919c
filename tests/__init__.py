"""The tests: on real parts, without sleeps."""
