"""What a synthesized root holds."""

from pathlib import Path


def files_of(root: Path) -> dict[str, bytes]:
    """Every file's content by its path within the root."""
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
