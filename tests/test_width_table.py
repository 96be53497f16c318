from __future__ import annotations

import random
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from qmc import cache, width_search
from qmc.cost_models.analytical import AnalyticalModel, PsumRule
from qmc.cost_models.traffic import FirstFill
from qmc.errors import CostModelError, DataError, NoMappingError, OutputError, QmcError
from qmc.layer import Layer, LoopBounds, Op, Precision
from qmc.mapspace import map_space, space_size
from qmc.search import objective_value, search
from qmc.search_result import Objective
from qmc.targets import Target, load_target
from qmc.targets.target import WidthEnergy
from qmc.width_classes import width_classes
from qmc.width_csv import read_width_table, width_table_text, write_width_table
from qmc.width_table import WidthTable, width_table
from tests.machines import small_layer, small_target
from tests.test_search import brute_force

_MODEL = AnalyticalModel()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def conv(name: str = "conv", strides: tuple[int, int] = (1, 1), **bounds: int) -> Layer:
    return Layer(name, Op.CONV, ("x",), "y", LoopBounds(**bounds), strides=strides)


NETWORK = [
    conv("stem", (2, 2), K=8, C=3, P=7, Q=6, R=3, S=3),
    conv("depthwise", G=8, P=7, Q=6, R=3, S=3),
    conv("pointwise", K=12, C=8, P=7, Q=6),
    conv("again", G=8, P=7, Q=6, R=3, S=3),
    Layer("add", Op.ADD, ("x", "y"), "z", LoopBounds(G=12, P=7, Q=6)),
    Layer("classes", Op.DENSE, ("x",), "y", LoopBounds(K=10, C=12)),
]


@pytest.mark.parametrize("first", range(0, 120, 30))
def test_width_table_random_machines_equals_search_and_brute_force(first: int) -> None:
    compared = sum(_compare_random(seed) for seed in range(first, first + 30))
    assert compared >= 10


def _compare_random(seed: int) -> bool:
    """Compare a random problem with single searches and, at one triple, with brute force."""
    rng = random.Random(seed)
    layer, target = small_layer(rng), small_target(rng)
    target = replace(target, psum_bits=rng.choice([4, 8, 16, 20, 32]))
    model = AnalyticalModel(rng.choice(list(FirstFill)), rng.choice(list(PsumRule)))
    objective = rng.choice(list(Objective))
    widths = sorted(rng.sample(range(1, 10), 3))
    try:
        if space_size(map_space(layer, target)) > 1500:
            return False
    except NoMappingError:
        return False
    table = width_table([layer], target, model, objective, widths)
    for bits in product(widths, repeat=3):
        _compare_entry(table, layer, Precision(*bits, target.psum_bits), target, model, objective)
    rules = replace(model, psum=PsumRule.HONEST)
    bits = (rng.choice(widths[:2]), rng.choice(widths[:2]), rng.choice(widths))
    partial = target.psum_bits if model.psum is PsumRule.HONEST else bits[2]
    best = brute_force(layer, Precision(*bits, partial), target, rules, objective)
    entry = table.entries.get((layer.name, bits))
    assert (best is None) == (entry is None), seed
    if best is not None and entry is not None and entry.cost is not None:
        assert objective_value(entry.cost, objective) == pytest.approx(best[0], rel=1e-9), seed
        assert entry.cycles == best[1], seed
    return True


def _compare_entry(
    table: WidthTable,
    layer: Layer,
    precision: Precision,
    target: Target,
    model: AnalyticalModel,
    objective: Objective,
) -> None:
    """One entry against one search of its own."""
    if model.psum is PsumRule.OUTPUT:
        precision = replace(precision, psum_bits=precision.output_bits)
    try:
        alone = search(layer, precision, target, model, objective)
    except (NoMappingError, CostModelError):
        with pytest.raises(NoMappingError, match="no entry"):
            table.entry(layer.name, precision)
        return
    entry = table.entry(layer.name, precision)
    assert alone.certificate.proved
    assert entry.proved
    assert entry.cost is not None
    assert entry.mapping is not None
    found = objective_value(entry.cost, objective)
    assert found == pytest.approx(alone.certificate.best, rel=1e-11)
    assert (entry.energy_pj, entry.cycles) == pytest.approx(
        (alone.cost.energy_pj, alone.cost.cycles), rel=1e-11
    )
    honest = replace(model, psum=PsumRule.HONEST)
    assert entry.cost == honest.evaluate(layer, precision, target, entry.mapping)


@pytest.mark.parametrize("name", ["eyeriss", "simba", "eyeriss-8b"])
def test_width_table_of_a_network_equals_single_searches(name: str) -> None:
    target = load_target(name)
    table = width_table(NETWORK, target, _MODEL, jobs=2)
    assert table.layers == ("stem", "depthwise", "pointwise", "again", "classes")
    assert len(table.entries) == 5 * 7**3
    rng = random.Random(1)
    for layer in NETWORK:
        for bits in (
            rng.sample(list(product(range(2, 9), repeat=3)), 6) if layer.has_weights else ()
        ):
            precision = Precision(*bits, target.psum_bits)
            _compare_entry(table, layer, precision, target, _MODEL, Objective.EDP)


@pytest.mark.parametrize("name", ["eyeriss", "simba"])
def test_width_table_fewer_bits_never_cost_more(name: str) -> None:
    table = width_table(NETWORK[:3], load_target(name), _MODEL)
    for (layer, bits), entry in table.entries.items():
        for operand in range(3):
            wider = tuple(b + (x == operand) for x, b in enumerate(bits))
            if (layer, wider) in table.entries:
                worse = table.entries[layer, wider]
                limit = worse.energy_pj * worse.cycles * (1 + 1e-12)
                assert entry.energy_pj * entry.cycles <= limit


def test_width_classes_of_16_bit_words_are_five_by_operand() -> None:
    classes = width_classes(load_target("simba"), 32, range(2, 9))
    assert classes.bits == ((2, 3, 4, 5, 6), (2, 3, 4, 5, 6), (2, 3, 4, 5, 6))
    assert len(classes.triples) == 343
    assert len(classes.problems) == 125
    assert classes.triples[6, 7, 8] == classes.triples[8, 6, 7]
    assert classes.triples[5, 7, 8] != classes.triples[6, 7, 8]


def test_width_classes_tell_apart_what_the_macs_do() -> None:
    target = load_target("simba")
    cheap = replace(target.mac, energy_by_width=(WidthEnergy(6, 8, 0.5),))
    classes = width_classes(replace(target, mac=cheap), 32, range(6, 9))
    assert len(classes.problems) == 2
    assert classes.triples[6, 8, 8] != classes.triples[7, 8, 8]


def test_width_classes_leave_out_what_the_macs_do_not_execute() -> None:
    target = load_target("simba")
    narrow = replace(target, mac=replace(target.mac, weight_bits=(2, 4)))
    classes = width_classes(narrow, 32, (4, 5))
    assert set(classes.triples) == {(4, i, o) for i in (4, 5) for o in (4, 5)}


def test_width_table_searches_large_spaces_triple_by_triple(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target, layers = load_target("eyeriss"), NETWORK[:1]
    joint = width_table(layers, target, _MODEL, widths=(4, 8))
    monkeypatch.setattr(width_search, "_LARGE_SPACE", 0)
    monkeypatch.setenv(cache.CACHE_VARIABLE, "")
    alone = width_table(layers, target, _MODEL, widths=(4, 8))
    assert {key: (e.energy_pj, e.cycles, e.gap) for key, e in alone.entries.items()} == {
        key: (e.energy_pj, e.cycles, e.gap) for key, e in joint.entries.items()
    }


def test_width_table_is_the_same_for_any_number_of_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.CACHE_VARIABLE, "")
    target = load_target("simba")
    one = width_table(NETWORK, target, _MODEL, widths=(3, 8), jobs=1)
    assert one == width_table(NETWORK, target, _MODEL, widths=(3, 8), jobs=2)


def test_width_table_goes_on_where_it_was_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    target = load_target("eyeriss")
    seen: list[tuple[int, int]] = []

    def stop(done: int, total: int) -> None:
        seen.append((done, total))
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        width_table(NETWORK, target, _MODEL, widths=(4, 8), progress=stop)
    whole = width_table(NETWORK[:3], target, _MODEL, widths=(4, 8))
    searched: list[str] = []
    original = width_search.search_widths
    monkeypatch.setattr(
        "qmc.width_table.search_widths",
        lambda layer, *rest, **more: searched.append(layer.name) or original(layer, *rest, **more),
    )
    again = width_table(NETWORK[:3], target, _MODEL, widths=(4, 8))
    assert not searched
    assert again == whole
    width_table(NETWORK[:3], target, _MODEL, Objective.ENERGY, widths=(4, 8))
    assert len(searched) == 3


def test_width_table_ignores_corrupted_entries(own_cache: Path) -> None:
    target = load_target("simba")
    first = width_table(NETWORK, target, _MODEL, widths=(4, 8))
    entries = [path for path in (own_cache / "mappings").rglob("*") if path.is_file()]
    assert len(entries) == 4
    entries[0].write_bytes(b"")
    entries[1].write_bytes(entries[1].read_bytes()[:-7])
    entries[2].write_bytes(b"x" * 4096)
    assert width_table(NETWORK, target, _MODEL, widths=(4, 8)) == first


def test_width_table_layer_that_fits_at_narrow_widths_only() -> None:
    target = load_target("eyeriss")
    buffer = replace(target.memories[1], depth_words=20)
    target = replace(target, memories=(target.memories[0], buffer, *target.memories[2:]))
    table = width_table(NETWORK[:1], target, _MODEL)
    assert 0 < len(table.entries) < 7**3
    for bits in product((2, 5, 8), repeat=3):
        precision = Precision(*bits, target.psum_bits)
        _compare_entry(table, NETWORK[0], precision, target, _MODEL, Objective.EDP)


def test_width_table_other_partial_sums_are_refused() -> None:
    table = width_table(NETWORK[:1], load_target("eyeriss"), _MODEL, widths=(8,))
    assert table.entry("stem", Precision()).proved
    with pytest.raises(NoMappingError, match="psums of 16"):
        table.entry("stem", Precision(psum_bits=16))


@pytest.mark.parametrize("widths", [(), (0, 8), (8, 65), tuple(range(1, 18))])
def test_width_table_of_impossible_widths_is_refused(widths: tuple[int, ...]) -> None:
    with pytest.raises(QmcError, match="from 1 to 64"):
        width_table(NETWORK, load_target("simba"), _MODEL, widths=widths)


def test_width_table_that_the_macs_do_not_execute_at_all_is_refused() -> None:
    with pytest.raises(CostModelError, match=r"'ne16' execute weights of 2 to 8 and inputs of 8"):
        width_table(NETWORK, load_target("ne16"), _MODEL, widths=(4, 5))


def test_width_table_of_bit_planes_has_a_class_for_every_width() -> None:
    target = load_target("stripes")
    table = width_table(NETWORK, target, _MODEL, Objective.ENERGY, tuple(range(1, 17)), jobs=2)
    for bits in ((1, 1, 1), (16, 16, 16), (3, 9, 14)):
        precision = Precision(*bits, target.psum_bits)
        _compare_entry(table, NETWORK[0], precision, target, _MODEL, Objective.ENERGY)


@pytest.mark.parametrize("psum", PsumRule)
def test_width_csv_round_trip_keeps_every_number(psum: PsumRule, tmp_path: Path) -> None:
    table = width_table(NETWORK, load_target("simba"), AnalyticalModel(psum=psum), widths=(3, 8))
    write_width_table(table, tmp_path / "table.csv")
    back = read_width_table(tmp_path / "table.csv")
    bare = {key: replace(e, mapping=None, cost=None) for key, e in table.entries.items()}
    assert back == replace(table, entries=bare)
    assert width_table_text(back) == (tmp_path / "table.csv").read_text()
    assert [path.name for path in tmp_path.glob("*.csv*")] == ["table.csv"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "columns target"),
        ("a,b\n", "columns target"),
        ("HEAD\n", "no entries"),
        ("HEAD\nsimba,edp,a,8,8,x,32,1.0,1,1.0,compute,yes,0.0\n", "line 2"),
        ("HEAD\nsimba,speed,a,8,8,8,32,1.0,1,1.0,compute,yes,0.0\n", "line 2"),
        ("HEAD\nsimba,edp,a,8\n", "line 2"),
        ("HEAD\nsimba,edp,a,8,8,8,32,1,1,1,c,yes,0\nsimba,edp,b,8,8,4,16,1,1,1,c,yes,0\n", "psum"),
        ("HEAD\nsimba,edp,a,8,8,8,32,1,1,1,c,yes,0\ntpu,edp,a,8,8,4,32,1,1,1,c,yes,0\n", "targets"),
    ],
)
def test_width_csv_that_is_wrong_is_told(content: str, words: str, tmp_path: Path) -> None:
    head = "target,objective,layer,weight_bits,input_bits,output_bits,psum_bits,energy_pj,cycles,"
    head += "edp_pj_cycles,bound,proved,gap"
    (tmp_path / "t.csv").write_text(content.replace("HEAD", head))
    with pytest.raises(DataError, match=words):
        read_width_table(tmp_path / "t.csv")


def test_width_csv_into_no_folder_is_told(tmp_path: Path) -> None:
    table = width_table(NETWORK[:1], load_target("simba"), _MODEL, widths=(8,))
    with pytest.raises(OutputError, match="cannot be written"):
        write_width_table(table, tmp_path / "nowhere" / "t.csv")
