"""A rule for the numbers of options and configurations."""


def check_least(fields: object, prefix: str = "", **least: float) -> None:
    """Raises `ValueError` for a field that is less than its least value; None passes.

    prefix: in front of the field's name; "--" makes it an option of the command line.
    """
    for name, smallest in least.items():
        value = getattr(fields, name)
        if value is None or value >= smallest:
            continue
        if prefix == "--":
            raise ValueError(f"--{name.replace('_', '-')} {value} must be {smallest} or more")
        raise ValueError(f"{prefix}{name} is {value}, must be {smallest} or more")
