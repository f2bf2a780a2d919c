"""`python -m tests.skewed_clock SECONDS`: the server of `tests.fake_engine` by a clock that is so far off."""

import sys
import time


def main() -> int:
    """Serve by the wrong clock; what is imported from here on knows no other."""
    right, seconds = time.time, float(sys.argv[1])
    vars(time)["time"] = lambda: right() + seconds

    from tests import fake_engine

    return fake_engine.main()


if __name__ == "__main__":
    sys.exit(main())
