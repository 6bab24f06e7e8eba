"""The command line."""


def main() -> None:
    """The entry point `fabric`."""
    from fabric.cli.commands import app

    app()
