"""Spaces of one's own: what a definition gives, and what is wrong with each of its fields."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest
from factories.own_spaces import CANDIDATES, DEFINITION, FEW_SITES, own_space, write_space

from space import Architecture, ArchitectureError, SpaceConfig, define, find_space, load_space
from space.costs import all_macs, all_params
from space.dataset import Dataset
from space.errors import DatasetError
from space.memory import all_memory
from space.module_functions import find_function
from space.segments import Segment, all_segments
from space.selection import parse_model, select_models


def test_a_definition_is_a_space_as_any_other() -> None:
    config = own_space()
    assert len(config) == 2 * 3 * 3 * 2 and config.radices == (2, 3, 3, 2)
    assert [str(config[0]), str(config[1]), str(config[2]), str(config[35])] == [
        "mb/mb/mb/basic",
        "ghost/mb/mb/basic",
        "mb/ghost/mb/basic",
        "ghost/skip/skip/skip",
    ]
    assert [Architecture.parse(str(one), config).index for one in config] == list(range(36))
    assert select_models("all", config) == config[:]
    assert SpaceConfig(**config.to_plain()) == config


def test_sites_of_one_choice_run_the_same_candidate_and_a_lone_candidate_is_no_choice() -> None:
    config = own_space()
    assert config.chain is not None
    assert [site.choice for site in config.chain.sites] == [0, 1, 2, None, 3, 3]
    network = Architecture.parse("ghost/mb/skip/basic", config)
    run = [module.name for _, _, module in config.chain.modules(network.blocks)]
    assert run == ["ghost", "mb", "skip", "basic", "basic", "basic"]


def test_sums_over_blocks_are_what_the_networks_modules_count() -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from space.networks import build_network

    config = own_space()
    params, macs = all_params(config), all_macs(config)
    for index in (0, 13, 35):
        network = build_network(config[index]).eval()
        assert sum(one.numel() for one in network.parameters()) == params[index] == config[index].params
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            logits = network(torch.zeros(1, 3, 16, 16))
        assert counter.get_total_flops() == 2 * macs[index] == 2 * config[index].macs
        assert logits.shape == (1, 7)
    assert all_memory(config).min() > 4 * params.min()


def test_networks_that_differ_in_where_nothing_is_done_have_one_hash() -> None:
    config = own_space()
    first, second = (Architecture.parse(f"mb/{middle}/basic", config) for middle in ("mb/skip", "skip/mb"))
    assert first.graph_hash == second.graph_hash and first != second
    other = {parse_model(f"mb/{middle}/basic", config).graph_hash for middle in ("mb/ghost", "ghost/mb")}
    assert len(other) == 2
    assert parse_model(second.graph_hash, config) == min(first, second, key=lambda one: one.index)


def test_rounds_of_a_design_have_every_candidate_about_equally_often() -> None:
    config = own_space()
    networks = [config[index] for index in range(36)]
    chosen = select_models("design:2@3", config)
    assert set(chosen) <= set(networks) and len(chosen) <= 6
    assert {str(one.blocks[1]) for one in select_models("design:1", config)} == {"mb", "ghost", "skip"}


def test_segments_are_stem_head_and_each_candidate_that_does_something() -> None:
    config = own_space()
    texts = [str(one) for one in all_segments(config)]
    assert texts == [
        "segment:stem",
        "segment:site0:mb",
        "segment:site0:ghost",
        "segment:site1:mb",
        "segment:site1:ghost",
        "segment:site2:mb",
        "segment:site2:ghost",
        "segment:site3:basic",
        "segment:site4:basic",
        "segment:site5:basic",
        "segment:head",
    ]
    assert [Segment.parse(text, config) for text in texts] == list(all_segments(config))
    assert Segment.parse("segment:site3:basic", config).input_shape == (8, 4, 4)
    for text in ("segment:site1:skip", "segment:site6:mb", "segment:cell0:mb"):
        with pytest.raises(ArchitectureError, match="is not in space"):
            Segment.parse(text, config)


def test_the_reference_is_the_network_of_median_macs() -> None:
    config = own_space()
    assert config.chain is not None
    reference = Architecture.parse("/".join(config.chain.reference), config)
    assert sorted(all_macs(config))[(len(config) - 1) // 2] == reference.macs


def test_the_name_holds_the_digest_of_what_networks_are_and_of_nothing_else(tmp_path: Path) -> None:
    config = own_space()
    renamed = CANDIDATES.replace("self.first", "self.one").replace("Ghost", "Phantom")
    again = load_space(write_space(tmp_path, "# the same\n" + DEFINITION, renamed))
    assert again.name == config.name and again == config
    for changed, candidates in (
        (DEFINITION.replace("expansion = 2", "expansion = 3"), CANDIDATES),
        (DEFINITION, CANDIDATES.replace("torch.relu", "torch.sigmoid")),
        (DEFINITION.replace("classes = 7", "classes = 8"), CANDIDATES),
        (DEFINITION.replace('choice = "depth"', ""), CANDIDATES),
        (DEFINITION.replace('"mb", "ghost", "skip"]', '"ghost", "mb", "skip"]'), CANDIDATES),
    ):
        other = load_space(write_space(tmp_path, changed, candidates))
        assert other.name.startswith("mine@") and other.name != config.name and other != config


def ghost(channels_in: int, channels_out: int, stride: int, *, ratio: int = 2) -> object:
    namespace: dict[str, object] = {}
    exec(CANDIDATES, namespace)
    return namespace["ghost"](channels_in, channels_out, stride, ratio=ratio)  # type: ignore[operator]


def test_shipped_modules_are_traced_once_for_all_definitions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = DEFINITION.replace('{ module = "own_ops:ghost", ratio = 2 }', '"conv"')
    found = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        found.append(load_space(write_space(tmp_path / name, shipped)))
        monkeypatch.setattr("space.tracing.trace", lambda *_, **__: pytest.fail("was traced again"))
    assert found[0] == found[1]
    with pytest.raises(pytest.fail.Exception, match="was traced again"):
        load_space(write_space(tmp_path / "other"))  # a function of one's own is of its folder


def test_python_defines_the_same_space() -> None:
    found = define(
        "mine",
        image_size=16,
        classes=7,
        candidates={
            "mb": {"module": "mbconv", "expansion": 2},
            "ghost": {"module": ghost, "ratio": 2},
            "basic": "resnet_basic",
            "skip": "identity",
        },
        stem={"module": "conv", "channels": 6, "stride": 2},
        sites=[
            {"candidates": ["mb", "ghost"], "channels": 8, "stride": 2},
            {"candidates": ["mb", "ghost", "skip"], "repeat": 2},
            {"candidates": "basic", "channels": 12},
            {"candidates": ["basic", "skip"], "choice": "depth", "repeat": 2},
        ],
        head={"module": "conv_linear", "channels": 16},
    )
    assert found == own_space() and found.chain is not None
    assert found.chain.folder == str(Path(__file__).parent)
    with pytest.raises(ArchitectureError, match="cannot be found by other processes; define it by name"):
        define(
            "mine",
            image_size=16,
            classes=7,
            candidates={"a": lambda i, o, s: None},
            stem={"module": "conv", "channels": 6},
            sites=[{"candidates": "a"}],
        )


def test_a_file_that_was_changed_within_a_second_to_one_as_long_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file, beside = tmp_path / "quick_ops.py", tmp_path / "quick_beside.py"
    made = []
    for number in (1, 2):
        file.write_text(f"from quick_beside import other\n\ndef pair():\n    return ({number}, other)\n")
        beside.write_text(f"other = {number}\n")
        for one in (file, beside):
            os.utime(one, (1e9, 1e9))
        made.append(find_function("quick_ops:pair", str(tmp_path))())
        assert not list(tmp_path.glob("__pycache__/*")), "nothing compiled is left in the user's folder"
    assert made == [(1, 1), (2, 2)]


def test_files_that_candidates_import_from_beside_them_are_no_other_spaces(tmp_path: Path) -> None:
    for kernel in (1, 3):
        folder = tmp_path / str(kernel)
        (folder / "parts").mkdir(parents=True)
        (folder / "parts" / "layers.py").write_text(f"KERNEL = {kernel}\n")
        (folder / "helper.py").write_text("from torch import nn\nfrom parts.layers import KERNEL\n")
        code = "import helper\n" + CANDIDATES.replace(
            "    return Ghost(", "    from helper import KERNEL\n    return Ghost("
        ).replace("few, 1, stride", "few, helper.KERNEL, stride, helper.KERNEL // 2")
        config = load_space(write_space(folder, FEW_SITES, code))
        plain = CANDIDATES.replace("few, 1, stride", f"few, {kernel}, stride, {kernel // 2}")
        (folder / "plain").mkdir()
        assert config == load_space(write_space(folder / "plain", FEW_SITES, plain))
        assert {"helper", "parts", "parts.layers"}.isdisjoint(sys.modules)


def test_a_definition_that_was_read_is_found_by_its_name_when_its_file_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("space.registry._defined", {})
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    path = write_space(tmp_path)
    config = find_space(str(path))
    path.unlink()
    monkeypatch.setattr("space.registry._defined", {})
    assert find_space(config.name) == config
    kept = tmp_path / "data" / "harness" / "spaces" / f"{config.name}.json"
    kept.write_text(kept.read_text().replace('"macs": ', '"macs": 1'))
    monkeypatch.setattr("space.registry._defined", {})
    with pytest.raises(ArchitectureError, match=r"is defined in a file of its own.* --space FILE\.toml"):
        find_space(config.name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of definitions with one code, which is traced once."""
    return tmp_path_factory.mktemp("definitions")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "mine"', "", "name is missing"),
        ('name = "mine"', 'name = "Mine!"', "name = 'Mine!'; give a word"),
        ('name = "mine"', 'name = "blox"', "name = 'blox'; a space of harness"),
        ("image_size = 16", "image_size = 0", "image_size = 0; give a whole number from 1 to 4096"),
        ("image_size = 16", "image_size = 16.5", "image_size = 16.5; give a whole number"),
        ("image_size = 16", "imagesize = 16", r"image_size is missing \(there is 'imagesize'\)"),
        ("classes = 7", "classes = true", "classes = True; give a whole number"),
        ("classes = 7", "classes = 7\nnods = 2", "has no key 'nods'"),
        ("classes = 7", "classes = 7\nin_channels = -1", "in_channels = -1; give"),
        ("[candidates]", "[candidate]", r"candidates is missing \(there is 'candidate'\)"),
        ('skip = "identity"', 'skip = "identty"', "'identty' is no shipped module; did you mean 'identity'"),
        ('skip = "identity"', "skip = 3", "skip = 3: write a table"),
        ('skip = "identity"', 'Skip = "identity"', r"\[candidates\]: 'Skip' is no candidate's name"),
        ('skip = "identity"', 'in = "identity"', r"\[candidates\]: 'in' is no candidate's name"),
        ("expansion = 2", "expansin = 2", "mbconv has no option 'expansin'; did you mean 'expansion'"),
        ("expansion = 2", "expansion = 0", "candidate mb: expansion = 0: give a whole number of at least 1"),
        ("expansion = 2", "expansion = true", "candidate mb: expansion = True: give a whole number"),
        ("expansion = 2", 'residual = "no"', "candidate mb: residual = 'no': give true or false"),
        ("expansion = 2", f"expansion = {10**22}", r"mbconv\(6, 8, 2\) raised TypeError: [^\n]*$"),
        ("expansion = 2", f"expansion = {10**8}", "mbconv makes 16,200,000,016 parameters, more than"),
        (
            "channels = 12",
            "channels = 65536",
            "candidate basic: resnet_basic makes 38,.* parameters, more than",
        ),
        (
            "channels = 8",
            'channels = 8\nname = "stem"',
            r"\[\[sites\]\] 1: two parts are called stem; give each",
        ),
        ("channels = 8", 'channels = 8\nname = "site1"', r"\[\[sites\]\] 2: two parts are called site1"),
        ("expansion = 2", "kernel = true", "kernel = True: give an odd whole number"),
        ("expansion = 2", "kernel = 4", "kernel = 4: give an odd whole number"),
        ("expansion = 2", "expansion = [2]", r"expansion = \[2\]; an option is a number"),
        ("expansion = 2", 'activation = "rely"', "'rely' is unknown; did you mean 'relu'"),
        ("own_ops:ghost", "own_ops:gost", "module own_ops has no function 'gost'; did you mean 'ghost'"),
        (
            "own_ops:ghost",
            "our_ops:ghost",
            "module our_ops: no .*our_ops.py is there, and no installed package",
        ),
        ("own_ops:ghost", "own ops", "module = 'own ops'; give a shipped module's name"),
        ("own_ops:ghost", "json:dumps", r"json:dumps\(6, 8, 2\) raised TypeError|json:dumps has no option"),
        ("own_ops:ghost", "own_ops:few", "module own_ops has no function 'few'"),
        ("[stem]", "[stern]", r"stem is missing \(there is 'stern'\)"),
        ("channels = 6", "", r"\[stem\]: channels is missing"),
        ("channels = 6", "channels = 6\nkernal = 3", "conv has no option 'kernal'; did you mean 'kernel'"),
        (
            "stride = 2\n\n[[sites]]",
            "stride = 17\n\n[[sites]]",
            "stride = 17; give a whole number from 1 to 16",
        ),
        ('candidates = ["mb", "ghost"]', "", r"\[\[sites\]\] 1: candidates is missing"),
        ('["mb", "ghost"]', "[]", r"candidates = \[\]; list the names"),
        ('["mb", "ghost"]', '["mb", "mb"]', r"candidates = \['mb', 'mb'\]; list .* each once"),
        (
            '["mb", "ghost"]',
            '["mb", "gost"]',
            "candidates = 'gost'; no candidate has this name; did you mean",
        ),
        ("repeat = 2", "repeat = 0", "repeat = 0; give a whole number from 1"),
        ("repeat = 2", "repeat = 300", "repeat = 300; give a whole number from 1"),
        ("repeat = 2", "repeats = 2", "has no key 'repeats'; did you mean 'repeat'"),
        ('"depth"', "3", "choice = 3; give a word"),
        (
            "channels = 8",
            "channels = 7",
            r"candidate ghost: own_ops:ghost.*groups|candidate ghost: own_ops:ghost\(",
        ),
        (
            '"ghost", "skip"]\n',
            '"ghost", "skip"]\nchoice = "depth"\n',
            r"\[\[sites\]\] 4: choice = 'depth'; its first site has the candidates mb, ghost",
        ),
        (
            '["basic"]\n',
            '["basic"]\nchoice = "depth"\n',
            r"\[\[sites\]\] 3: choice = 'depth'; the site has basic alone; list more",
        ),
        ("[head]", "[hat]", r"head is missing"),
        ("channels = 16", "channels = 0", r"\[head\]: channels = 0: give"),
        ("[[sites]]", "[sites]", r"is not TOML"),
        ("name", "na me", r"is not TOML"),
    ],
)
def test_what_is_wrong_with_a_field_is_said_with_its_place_and_a_remedy(
    old: str, new: str, message: str, folder: Path
) -> None:
    assert old in DEFINITION
    with pytest.raises(ArchitectureError, match=message):
        load_space(write_space(folder, DEFINITION.replace(old, new, 1)))


MODULE = """
import random
import torch
from torch import nn

made = [0]

class Own(nn.Module):
    def __init__(self, i, o, s):
        super().__init__()
        self.conv, self.runs = nn.Conv2d(i, o, 3, s, 1), 0

    def forward(self, x):
        y = self.conv(x)
        {forward}

def ghost(i, o, s, *, ratio=2):
    {function}
"""
DEPENDS = "does something that depends on the values of its input"
CHANGES = "own_ops:ghost is another network each time that it is made and run; keep counters"


def own(forward: str = "return y", function: str = "return Own(i, o, s)") -> str:
    return MODULE.format(
        forward=forward.replace("; ", "\n        "), function=function.replace("; ", "\n    ")
    )


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        (own("return y[:, y.mean((0, 2, 3)) > 0]"), DEPENDS),
        (own("return y if y.sum() > 0 else -y"), DEPENDS),
        (own("return y * y.mean().item()"), DEPENDS),
        (own("return y + torch.randn_like(y)"), "draws random numbers"),
        (own("return y * random.random()"), CHANGES),
        (own("self.runs += 1; return y * self.runs"), CHANGES),
        (own("self.runs += 1; return y if self.runs % 2 else -y"), CHANGES),
        (
            own(function="made[0] += 1; return nn.Conv2d(i, o, 1 + 2 * (made[0] % 2), s, made[0] % 2)"),
            CHANGES,
        ),
        (
            own(
                function="m = Own(i, o, s); m.conv.bias = None; m.register_buffer('by', torch.rand(1)); return m",
                forward="return y * self.by",
            ),
            CHANGES,
        ),
        (own(function="return nn.utils.parametrizations.spectral_norm(nn.Conv2d(i, o, 3, s, 1))"), CHANGES),
        (own("return (y,)"), "returns no single tensor; return one"),
        (own("return y, y"), "returns no single tensor; return one"),
        (own("return {'y': y}"), "returns no single tensor; return one"),
        (own("return None"), "returns no single tensor; return one"),
        (own("return y.half()"), "returns torch.float16; return float32"),
        (own("raise ValueError('one\\ntwo')"), "cannot be run on its input: ValueError: one two; see that"),
        (own("raise SystemExit(3)"), "cannot be run on its input: SystemExit: 3; see that"),
        (own(function="raise SystemExit(4)"), r"own_ops:ghost\(6, 8, 2\) raised SystemExit: 4; see that"),
        (own(function="raise KeyError('one\\ntwo')"), r"raised KeyError: [^\n]*; see that"),
        (
            own("import own_ops; return y"),
            "imports own_ops when it runs, where it is not found; import it at the",
        ),
        (own(function="import gone_thing"), "raised ModuleNotFoundError: No module named 'gone_thing'"),
        ("import gone_thing", "module own_ops cannot be loaded: ModuleNotFoundError"),
        ("import sys; sys.exit(0)", "module own_ops cannot be loaded: SystemExit: 0; repair it"),
        ("def ghost(:", "module own_ops cannot be loaded: SyntaxError"),
        (own(function="return None"), "returned None, which is no torch module"),
        (
            own(function="return nn.LazyConv2d(o, 3, s, 1)"),
            "parameters that have no values yet; make no lazy",
        ),
        (own(function="return Own(i, o, s).to('meta')"), "parameters that have no values yet"),
        (own(function="return Own(i, o, s).double()"), "cannot be run on its input: RuntimeError"),
        (
            own("return y[:, :4]"),
            "makes 1 x 4 x 4 x 4 of 1 x 6 x 8 x 8, where channels = 8 and stride = 2 ask",
        ),
    ],
)
def test_a_candidate_that_cannot_be_exported_is_refused_in_one_line(
    candidates: str, message: str, tmp_path: Path
) -> None:
    path = write_space(tmp_path, candidates=candidates)
    with pytest.raises(ArchitectureError, match=message) as caught:
        load_space(path)
    assert str(caught.value).startswith(f"{path}: [[sites]] 1, candidate ghost: ") and "\n" not in str(
        caught.value
    )


def test_what_a_candidate_prints_is_no_output_of_a_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = own("print('in forward'); return y", "print('in function'); return Own(i, o, s)")
    assert len(load_space(write_space(tmp_path, candidates=told + "\nprint('in import')\n"))) == 36
    captured = capsys.readouterr()
    assert captured.out == ""
    assert all(f"in {place}" in captured.err for place in ("import", "function", "forward"))


SCRIPT = """
from torch import nn
from space import define

print("runs as", __name__)

def mine(i, o, s):
    return nn.Conv2d(i, o, 3, s, 1)

define("script", image_size=8, classes=2, stem={"module": "conv", "channels": 4}, head="linear",
       candidates={"mine": {"module": mine}, "conv": "conv"}, sites=[{"candidates": ["mine", "conv"]}])
"""


@pytest.mark.long
def test_a_script_that_defines_a_space_whenever_it_is_loaded_is_refused(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    found = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    wanted = (
        f"space.errors.ArchitectureError: space 'script': [[sites]] 1, candidate mine: {script} defines its space while it is "
        "being loaded; put that under `if __name__ == '__main__':`"
    )
    assert found.stderr.splitlines()[-1].startswith(wanted)
    assert found.stdout == "runs as __main__\n" and found.stderr.count("runs as _space_") == 1


def test_the_main_module_stays_where_a_file_beside_the_definition_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = ModuleType("__main__")
    main.__file__ = str(tmp_path / "__main__.py")
    Path(main.__file__).touch()
    monkeypatch.setitem(sys.modules, "__main__", main)
    code = own(function="import sys; sys.modules['__main__'].seen = True; return Own(i, o, s)")
    load_space(write_space(tmp_path, FEW_SITES, code))
    assert main.seen


def test_threads_that_load_definitions_leave_the_process_as_it_was(tmp_path: Path) -> None:
    paths = []
    for number in range(4):
        (tmp_path / str(number)).mkdir()
        code = (
            f"import time\nimport helper\ntime.sleep(0.05 * {number % 2})\nassert helper.NUMBER == {number}\n"
        )
        (tmp_path / str(number) / "helper.py").write_text(
            f"import time\nNUMBER = {number}\ntime.sleep(0.1)\n"
        )
        paths.append(write_space(tmp_path / str(number), FEW_SITES, code + CANDIDATES))
    before = sys.stdout, sys.path[:]
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(load_space, paths))) == 1
    assert (sys.stdout, sys.path) == before and "helper" not in sys.modules


def test_code_in_the_working_folder_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    path = write_space(tmp_path / "there", DEFINITION.replace("own_ops:", "other_ops:"))
    (tmp_path / "here" / "other_ops.py").write_text("raise SystemExit('was run')")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.syspath_prepend("")
    with pytest.raises(
        ArchitectureError, match=r"module other_ops: no .*, and no installed package has this name"
    ):
        load_space(path)
    (tmp_path / "there" / "other_ops.py").write_text("raise SystemExit('was run')")
    with pytest.raises(
        ArchitectureError, match="module other_ops cannot be loaded: SystemExit: was run; repair it"
    ):
        load_space(path)


def test_a_space_of_more_networks_than_a_float_holds_is_refused(tmp_path: Path) -> None:
    names = [f"c{k}" for k in range(17)]
    text = 'name = "mine"\nimage_size = 4\nclasses = 7\n[candidates]\n'
    text += "".join(f'{one} = "identity"\n' for one in names)
    text += f'[stem]\nmodule = "conv"\nchannels = 6\n[[sites]]\ncandidates = {names}\nrepeat = 256\n'
    with pytest.raises(ArchitectureError, match="over 1e314 networks are too many to number; use fewer"):
        load_space(write_space(tmp_path, text + '[head]\nmodule = "linear"\n'))


def test_a_space_without_a_choice_is_none(tmp_path: Path) -> None:
    head = DEFINITION.partition("[[sites]]")[0]
    text = head + '[[sites]]\ncandidates = ["mb"]\n[head]\nmodule = "linear"\n'
    with pytest.raises(ArchitectureError, match="no site has two candidates"):
        load_space(write_space(tmp_path, text))


SHARED = """
from torch import nn

layer = nn.Conv2d(6, 6, 3, 1, 1)


def own(i, o, s, *, wide=True):
    return nn.Conv2d(i, o, 3, s, 1) if wide is True else nn.Conv2d(i, o, 1, s)


def shared(i, o, s):
    return nn.Sequential(layer, nn.Conv2d(i, o, 1))
"""


def two_candidates(first: str, second: str) -> str:
    return f"""
name = "two"
image_size = 8
classes = 7
candidates = {{ one = {first}, other = {second} }}
stem = {{ module = "conv", channels = 6 }}
sites = [{{ candidates = ["one", "other"] }}]
head = "linear"
"""


def test_weights_that_sites_would_share_are_refused(tmp_path: Path) -> None:
    definition = two_candidates('"identity"', '"own_ops:shared"')
    with pytest.raises(
        ArchitectureError, match=r"candidate other: own_ops:shared gives the same weights when"
    ):
        load_space(write_space(tmp_path, definition, SHARED))


def test_options_of_equal_values_and_other_types_are_other_options(tmp_path: Path) -> None:
    texts = (f'{{ module = "own_ops:own", wide = {one} }}' for one in ("true", "1"))
    space = load_space(write_space(tmp_path, two_candidates(*texts), SHARED))
    assert space.chain is not None
    one, other = (module.traced.params for module in space.chain.sites[0].candidates)
    assert (one, other) == (6 * 6 * 9 + 6, 6 * 6 + 6)
    definition = two_candidates('{ module = "mbconv", kernel = 3 }', '{ module = "mbconv", kernel = 3.0 }')
    with pytest.raises(ArchitectureError, match=r"candidate other: kernel = 3.0: give an odd whole number"):
        load_space(write_space(tmp_path, definition, SHARED))


def test_networks_of_a_chain_have_no_vector() -> None:
    config = own_space()
    vector = [[[0], [0, 1, 0, 0]]] * config.stages  # would be Blox's second block, of other ops
    with pytest.raises(ArchitectureError, match=r"networks of space 'mine@.* have no vector.*joined by '/'"):
        Architecture.from_vector(vector, config)
    for text in (str(vector), str(vector).replace(" ", "")):
        with pytest.raises(ArchitectureError, match="have no vector"):
            parse_model(text, config)
    with pytest.raises(ArchitectureError, match="have no vector"):
        _ = config[0].vector
    rows = {"arch_vec": [[[0, 0, 1, 0, 0]] * config.stages]}
    with pytest.raises(DatasetError, match=r"column arch_vec: networks of space 'mine@.* have no vector"):
        Dataset(dataset_type="static", indices=[0], columns=rows, extra={}, config=config)
