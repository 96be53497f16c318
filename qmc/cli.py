"""The command line: its commands, and errors to exit codes; light to import."""

from __future__ import annotations

import sys
from typing import Annotated, Any, NoReturn

import typer

from qmc import __version__, cli_build, cli_compile, cli_map, cli_targets, cli_train, cli_tune
from qmc.errors import QmcError

#: What typer makes of Ctrl-C.
_INTERRUPTED = 130
#: Wrong flags and arguments; typer has its own copy of click, older ones import it.
_UsageError: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Quantization-mapping compiler: a trained ONNX CNN in; widths, proved-best mappings and "
    "bit-exact integer C out.",
)


def main() -> None:
    """Run the command line; exit 0 fine, 2 user error (one line), 1 our bug."""
    try:
        status = app(standalone_mode=False)
    except QmcError as error:
        _fail(f"{error} [{error.code}]")
    except _UsageError as error:
        if not str(error).strip():  # no arguments at all: typer has the help text ready
            error.show()
            raise SystemExit(2) from None
        _fail(f"{error.format_message()} (try --help)")
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted; nothing was written")
    if status == _INTERRUPTED:
        _fail("interrupted; nothing was written")
    raise SystemExit(status if isinstance(status, int) else 0)


def _fail(message: str) -> NoReturn:
    from qmc.console import printable

    print(f"qmc: error: {printable(' '.join(message.split()))}", file=sys.stderr)
    raise SystemExit(2)


def _version(value: bool) -> None:
    if value:
        print(f"qmc {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print and exit.")
    ] = False,
) -> None:
    """Options before the command."""


app.add_typer(cli_targets.targets_app, name="targets")
app.command("compile")(cli_compile.compile_command)
app.command("explore")(cli_compile.explore_command)
app.command("buffers")(cli_compile.buffers_command)
app.command("tune")(cli_tune.tune_command)
app.command("finetune")(cli_train.finetune_command)
app.command("serve")(cli_tune.serve_command)
app.command("map")(cli_map.map_command)
app.command("evaluate")(cli_map.evaluate)
app.command("calibrate")(cli_map.calibrate_command)
app.command("run")(cli_build.run)
app.command("verify")(cli_build.verify)
app.command("diff")(cli_build.diff_command)
app.command("report")(cli_build.report_command)
app.command("export")(cli_build.export_command)


if __name__ == "__main__":
    main()
