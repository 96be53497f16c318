"""Commands on machines: targets, targets show, check, import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from qmc.cli_flags import JsonOption, show


class _TargetsGroup(TyperGroup):
    """``qmc targets NAME`` means ``qmc targets show NAME``."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first word names, or ``show``."""
        known = args[0] in self.commands or args[0].startswith("-")
        return super().resolve_command(ctx, args if known else ["show", *args])


targets_app = typer.Typer(
    cls=_TargetsGroup,
    invoke_without_command=True,
    subcommand_metavar="[NAME|FILE | COMMAND ...]",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@targets_app.callback()
def targets(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the machines; with a name or file, show one. Commands: show, check, import."""
    context.obj = as_json  # where --json stands before the name
    if context.invoked_subcommand is None:
        from qmc.targets_command import print_targets, targets_data

        show(targets_data(), as_json, print_targets)


@targets_app.command("show")
def show_target(
    context: typer.Context,
    target: Annotated[str, typer.Argument(help="Name or YAML file.")],
    as_json: JsonOption = False,
) -> None:
    """Show a machine: hierarchy, sizes, dataflow, energies with their sources."""
    from qmc.targets_command import print_target, target_data

    show(target_data(target), as_json or context.obj is True, print_target)


@targets_app.command("check")
def check_target(
    target: Annotated[str, typer.Argument(help="YAML file.")],
    as_json: JsonOption = False,
) -> None:
    """Explain every mistake in a description; exit with 2 if there is one."""
    from qmc.targets_command import check_data, print_check

    result = check_data(target)
    show(result, as_json, print_check)
    if not result["ok"]:
        raise typer.Exit(2)


@targets_app.command("import")
def import_target(
    files: Annotated[
        list[Path], typer.Argument(help="Timeloop files of one machine, or one of ZigZag.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="YAML file to write.")],
    ert: Annotated[
        Path | None, typer.Option(help="Timeloop's energy table; may be among FILES too.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Translate a machine of Timeloop (v0.3, v0.4) or ZigZag; say what has no translation."""
    from qmc.targets_command import import_data, print_import

    show(import_data([*files, *([ert] if ert else [])], output), as_json, print_import)
