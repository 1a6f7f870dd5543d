"""How programs tell why they end."""

from rich.console import Console
from rich.markup import escape


def print_error(error: Exception | str, console: Console) -> None:
    """One line, whatever brackets are in it; the terminal breaks it."""
    console.print(f"[red]error:[/red] {escape(str(error))}", soft_wrap=True, highlight=False)
