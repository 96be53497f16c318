"""C that finds out what this processor runs, and chooses among the variants of a program."""

from __future__ import annotations

from qmc.codegen.variants import Variant
from qmc.codegen.writer import Writer
from qmc.targets.processor import ARCH_PRCTL, REQUEST_COMPONENT

_RUNS_HERE = """\
/* Whether this computer has what the kernels need. A program calls it first: where they need more
   of Linux than every process has, it asks for that, too. */
int {name}_runs_here(void);

"""
_CHOICE_HEADER = """\
/* Variants of the kernels, best first. The first call of any function here chooses the first that
   this computer runs; {name}_select another one: 0, or -1 where there is no such variant or it does
   not run here. */
#define {upper}_VARIANTS "{names}"
int {name}_select(const char *variant);
const char *{name}_variant(void); /* the chosen one; "" where none runs here */
int {name}_can_run(const char *variant);

"""
_CHOICE = """\

static const struct variant {{
    const char *name;
    int (*runs_here)(void);
    int (*run)(const void *input, void *output);
}} variants[] = {{
{rows}
}};
static const struct variant *chosen;

static const struct variant *find_variant(const char *name)
{{
    for (unsigned i = 0; i < sizeof variants / sizeof *variants; i++) {{
        if ((!name || strcmp(name, variants[i].name) == 0) && variants[i].runs_here()) {{
            return &variants[i];
        }}
    }}
    return 0;
}}

int {name}_can_run(const char *variant)
{{
    return find_variant(variant) != 0;
}}

int {name}_select(const char *variant)
{{
    const struct variant *found = find_variant(variant);
    chosen = found ? found : chosen;
    return found ? 0 : -1;
}}

int {name}_runs_here(void)
{{
    return chosen || {name}_select(0) == 0;
}}

const char *{name}_variant(void)
{{
    return {name}_runs_here() ? chosen->name : "";
}}

int {name}_run(const void *input, void *output)
{{
    return {name}_runs_here() ? chosen->run(input, output) : -1;
}}
"""


def print_choice_header(writer: Writer, name: str, variants: tuple[Variant, ...]) -> None:
    """Declarations for ``<net>.h``."""
    if any(variant.family and variant.family.check for variant in variants):
        writer.lines(_RUNS_HERE.format(name=name))
    if len(variants) > 1:
        names = variant_names(variants)
        writer.lines(_CHOICE_HEADER.format(name=name, upper=name.upper(), names=names))


def variant_names(variants: tuple[Variant, ...]) -> str:
    """As the program lists them."""
    return " ".join(variant.machine for variant in variants)


def print_checks(writer: Writer, name: str, variants: tuple[Variant, ...]) -> None:
    """A function for each variant that tells whether this computer runs it."""
    if any(variant.family and variant.family.state_components for variant in variants):
        writer.line("long syscall(long number, ...); /* of Linux's C library */")
        writer.line()
    for variant in variants:
        if len(variants) > 1:
            writer.line(f"static int runs{variant.suffix}(void)")
        elif _check(variant):
            writer.line(f"int {name}_runs_here(void)")
        else:
            continue
        with writer.block(""):
            writer.line(f"return {_check(variant) or '1'};")
        writer.line()


def _check(variant: Variant) -> str:
    """C expression; empty where a variant runs anywhere."""
    if variant.family is None or not variant.family.check:
        return ""
    asked = (
        f"syscall({ARCH_PRCTL}, {REQUEST_COMPONENT:#x}, {component}L) == 0"
        for component in variant.family.state_components
    )
    return " && ".join((variant.family.check, *asked))


def print_choice(writer: Writer, name: str, variants: tuple[Variant, ...]) -> None:
    """``<net>_run`` of the chosen variant, and the functions that choose."""
    rows = ",\n".join(
        f'    {{"{variant.machine}", runs{variant.suffix}, run{variant.suffix}}}'
        for variant in variants
    )
    writer.lines(_CHOICE.format(name=name, rows=rows))
