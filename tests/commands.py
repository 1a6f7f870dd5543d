"""Commands called in this process."""

import sys
from collections.abc import Callable
from unittest.mock import patch


def call(main: Callable[[], int], *arguments: object) -> int:
    """The exit status of a command with these arguments."""
    with patch.object(sys, "argv", [main.__module__, *map(str, arguments)]):
        return main()
