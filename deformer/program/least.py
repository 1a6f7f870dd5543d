"""Lower bounds of numbers in options and configurations."""


def check_least(fields: object, prefix: str = "", **least: float) -> None:
    """Raises `ValueError` for a field below its least value; None passes.

    prefix: of the field's name in the message; "--" writes it as an option of the command line.
    """
    for name, smallest in least.items():
        value = getattr(fields, name)
        if value is None or value >= smallest:
            continue
        if prefix == "--":
            raise ValueError(f"--{name.replace('_', '-')} {value} must be {smallest} or more")
        raise ValueError(f"{prefix}{name} is {value}, must be {smallest} or more")
