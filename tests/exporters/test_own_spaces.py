"""Models of a space of one's own: linked parts give torch's numbers, whatever candidates a network has."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from factories.own_spaces import CANDIDATES, own_space, write_space
from rigs.model_runs import random_image, run_model
from rigs.whole_networks import convert_networks

from exporters import ConversionError, ExpectedOutputs, Format, FragmentLibrary, Weights, standalone
from exporters import library as library_module
from exporters.calibration import calibrate
from exporters.expected_worker import expected_sums
from exporters.formats import Precision
from exporters.fragments import all_fragments, fragments_of, possible_steps, steps
from exporters.networks import fragment_module, torch_network
from exporters.onnx_export import _export
from space import Architecture, Space, find_space, load_space
from space.networks import build_network
from space.segments import Segment

pytestmark = pytest.mark.converter

TOLERANCE = 1e-4
NETWORKS = ("mb/mb/mb/basic", "ghost/skip/skip/skip", "ghost/mb/skip/basic", "mb/skip/ghost/skip")


@pytest.fixture(scope="module")
def opened(harness_cache: Path) -> FragmentLibrary:
    return FragmentLibrary.open("onnx", cache_dir=harness_cache / "fragments", config=own_space())


def network_of(text: str) -> Architecture:
    return Architecture.parse(text, own_space())


@pytest.mark.parametrize("text", NETWORKS)
def test_linked_models_give_what_torch_gives(text: str, opened: FragmentLibrary) -> None:
    architecture, image = network_of(text), random_image(own_space())
    linked = run_model("onnx", opened.assembly(architecture).whole(), image)
    for folded in (True, False):
        network = torch_network(architecture, Weights.seeded(0), folded=folded)
        with torch.no_grad():
            expected = network(torch.from_numpy(image)).numpy()
        assert np.abs(linked - expected).max() <= TOLERANCE * np.abs(expected).max()
    assert 0.1 < np.abs(expected).max() < 100


def test_a_linked_model_is_the_whole_networks_conversion(opened: FragmentLibrary) -> None:
    architecture, image = network_of(NETWORKS[2]), random_image(own_space())
    (whole,) = convert_networks([architecture], "onnx")
    linked = run_model("onnx", opened.assembly(architecture).whole(), image)
    assert np.abs(linked - run_model("onnx", whole.model, image)).max() <= TOLERANCE


def test_what_changes_nothing_is_no_part_of_a_model() -> None:
    names = [str(one) for one in fragments_of(network_of("ghost/skip/skip/skip"))]
    assert names == ["glue", "stem", "site0.ghost", "site3.basic", "head"]
    run = steps(network_of("mb/skip/ghost/skip"))
    assert [step.inputs[0] for step in run] == ["image", "s0.x", "s1.x", "s3.x", "s4.x"]


def test_a_fragment_may_read_what_some_network_has_it_read_and_nothing_else() -> None:
    config = own_space()
    read: dict[str, set[str]] = {}
    for network in config:
        for step in steps(network):
            read.setdefault(str(step.fragment), set()).add(step.inputs[0])
    assert read["site5.basic"] == {"s5.x"}  # the site before it follows the same choice, and so does not pass
    possible = {
        str(one): {step.inputs[0] for step in possible_steps(one, config)}
        for one in all_fragments(config)
        if str(one) != "glue"
    }
    assert possible == read


def test_networks_share_their_parts(opened: FragmentLibrary) -> None:
    one, other = (
        opened.assembly(network_of(text)).parts for text in ("mb/mb/skip/basic", "ghost/mb/skip/basic")
    )
    assert len(set(one) & set(other)) == len(one) - 1


@pytest.mark.parametrize(("text", "place"), [("segment:site0:ghost", 2), ("segment:head", -1)])
def test_segments_are_models_of_their_own(text: str, place: int, opened: FragmentLibrary) -> None:
    segment = Segment.parse(text, own_space())
    linked = opened.assembly(segment).whole()
    x = np.random.default_rng(0).normal(size=(1, *segment.input_shape)).astype(np.float32)
    fragment = fragments_of(network_of("ghost/mb/mb/skip"))[place]
    module = fragment_module(fragment, own_space(), Weights.seeded(0))
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    assert np.abs(run_model("onnx", linked, x) - expected).max() <= TOLERANCE * np.abs(expected).max()
    values = expected_sums(str(segment), own_space(), Weights.seeded(0))
    assert len(values["onnx"]) == 8 and (values["onnx"] != values["tflite"]) == (expected.ndim == 4)


def test_weights_follow_the_graph_and_not_the_names_of_parameters(tmp_path: Path) -> None:
    renamed = CANDIDATES.replace("self.first", "self.zero").replace("self.cheap", "self.a_cheap_one")
    other = load_space(write_space(tmp_path, candidates=renamed))
    fragment = fragments_of(network_of("ghost/mb/mb/skip"))[2]
    x = torch.ones(1, 6, 8, 8)
    with torch.no_grad():
        one, two = (
            fragment_module(fragment, config, Weights.seeded(0))(x) for config in (own_space(), other)
        )
    assert torch.equal(one, two) and one.std() > 0


def test_a_module_that_is_another_than_when_the_space_was_read_is_no_part_of_it(tmp_path: Path) -> None:
    config = load_space(write_space(tmp_path))
    (tmp_path / "own_ops.py").write_text(CANDIDATES.replace("torch.relu", "torch.tanh"))
    fragment = fragments_of(Architecture.parse("ghost/mb/mb/skip", config))[2]
    with pytest.raises(ConversionError, match=r"site0\.ghost: own_ops:ghost makes another module now"):
        fragment_module(fragment, config, Weights.seeded(0))
    (tmp_path / "own_ops.py").unlink()
    with pytest.raises(ConversionError, match=r"site0\.ghost: module own_ops: no .*own_ops\.py is there"):
        fragment_module(fragment, config, Weights.seeded(0))


def test_what_was_traced_is_forgotten_where_its_code_makes_another_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    file = tmp_path / "bias.pt"
    read = f"bias=bool(getattr(torch, 'lo' 'ad')({str(file)!r}))"  # in words that tell no one
    path = write_space(tmp_path, candidates=CANDIDATES.replace("bias=False", read))
    torch.save(torch.tensor(0), file)
    before = find_space(path)
    torch.save(torch.tensor(1), file)
    assert find_space(path) == before
    fragment = fragments_of(Architecture.parse("ghost/mb/mb/skip", before))[2]
    with pytest.raises(ConversionError, match="makes another module now than when the space was read"):
        fragment_module(fragment, before, Weights.seeded(0))
    assert find_space(path) != before == find_space(before.name)


def small_space(folder: Path, code: str, sites: str, more: str = "") -> Space:
    """Return a space of 6 channels on 4 x 4 pixels whose candidates `own` and `skip` are `code`'s function and nothing."""
    definition = f"""
name = "small"
image_size = 4
classes = 7
[candidates]
own = "own_ops:own"
skip = "identity"
{more}
[stem]
module = "conv"
channels = 6
{sites}
[head]
module = "linear"
"""
    return load_space(write_space(folder, definition, "import torch\nfrom torch import nn\n" + code))


OWN_OR_SKIP = '[[sites]]\ncandidates = ["own", "skip"]\n'


def test_a_candidate_of_bloxs_layers_alone_is_converted_to_int8(tmp_path: Path) -> None:
    code = "def own(i, o, s):\n    return nn.Sequential(nn.Conv2d(i, o, 3, s, 1), nn.Sigmoid())\n"
    config = small_space(tmp_path, code, OWN_OR_SKIP)  # int8's sigmoid has a scale of its own
    library = FragmentLibrary.open("tflite", cache_dir=tmp_path, config=config, precision="int8")
    architecture, image = Architecture.parse("own", config), random_image(config)
    linked = run_model("tflite", library.assembly(architecture).whole(), image)
    with torch.no_grad():
        expected = torch_network(architecture, Weights.seeded(0))(torch.from_numpy(image)).numpy()
    assert np.linalg.norm(linked - expected) <= 0.2 * np.linalg.norm(expected)


RESHAPED = """
class Reshaped(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv, self.gate = nn.Conv2d(channels, channels, 3, padding=1, groups=2), nn.Linear(channels, channels)
        self.pairs, self.bias = nn.Linear(channels, 3 * channels), nn.Parameter(torch.ones(1, channels))
    def forward(self, x):
        b, c, h, w = x.size()
        y = self.conv(x).view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, -1, h, w)
        y = y * torch.sigmoid(self.gate(y.mean((2, 3)).view(b, c))).view(b, c, 1, 1).expand_as(y)
        pixels = self.pairs(y.flatten(2).transpose(1, 2)).reshape(b, h * w, 3, 2, c // 2).permute(2, 0, 3, 1, 4)
        y = nn.functional.scaled_dot_product_attention(*pixels).transpose(1, 2).reshape(b, h * w, c)
        y = y.transpose(1, 2).view(b, c, h, w) + self.bias.view(1, c, 1, 1)
        return y * torch.sigmoid(self.bias.mean(1)).view(())
def own(i, o, s):
    return Reshaped(o)
"""


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_batch_passes_modules_that_reshape_by_the_number_of_images(
    tmp_path: Path, precision: Precision
) -> None:
    config = small_space(tmp_path, RESHAPED, OWN_OR_SKIP)
    architecture = Architecture.parse("own", config)
    library = FragmentLibrary.open("onnx", cache_dir=tmp_path, config=config, precision=precision)
    images = np.concatenate([random_image(config, seed) for seed in range(3)])
    session = onnxruntime.InferenceSession(library.assembly(architecture, 3).whole())
    (found,) = session.run(None, {"image": images})
    one_by_one = run_model("onnx", library.assembly(architecture).whole(), images)
    assert np.abs(found - one_by_one).max() <= TOLERANCE * np.abs(one_by_one).max()
    assert np.ptp(found, axis=0).max() > 0.01


POOLED = """
class Pooled(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv, self.mixed = nn.Conv2d(channels, channels, 1), nn.Conv2d(2 * channels, channels, 1)
    def forward(self, x):
        return self.mixed(torch.cat([x, self.conv(x.mean((2, 3), keepdim=True)).expand_as(x)], 1))
def own(i, o, s):
    return Pooled(o)
"""


def test_a_batch_passes_what_is_expanded_to_an_image_in_tflite(tmp_path: Path) -> None:
    config = small_space(tmp_path, POOLED, OWN_OR_SKIP)
    architecture = Architecture.parse("own", config)
    library = FragmentLibrary.open("tflite", cache_dir=tmp_path, config=config)
    images = np.concatenate([random_image(config, seed) for seed in range(3)])
    interpreter = Interpreter(model_content=library.assembly(architecture, 3).whole())
    (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(source["index"], [3, 4, 4, 3])
    interpreter.allocate_tensors()
    interpreter.set_tensor(source["index"], np.ascontiguousarray(images.transpose(0, 2, 3, 1)))
    interpreter.invoke()
    with torch.no_grad():
        expected = torch_network(architecture, Weights.seeded(0))(torch.from_numpy(images)).numpy()
    assert (
        np.abs(interpreter.get_tensor(result["index"]) - expected).max() <= TOLERANCE * np.abs(expected).max()
    )


LEVELS = """
class Level(nn.Module):
    def __init__(self, channels, level):
        super().__init__()
        self.conv, self.level = nn.Conv2d(channels, channels, 1), float(level)
    def forward(self, x):
        return torch.tanh(self.conv(x)) + self.level
def own(i, o, s, *, level=-100):
    return Level(o, level)
"""


def test_a_fragment_is_calibrated_on_what_each_candidate_before_it_writes(tmp_path: Path) -> None:
    levels = [100 * level for level in range(-4, 5)]
    more = "".join(
        f"c{k} = {{ module = 'own_ops:own', level = {level} }}\n" for k, level in enumerate(levels)
    )
    names = [f"c{k}" for k in range(len(levels))]
    config = small_space(tmp_path, LEVELS, f"[[sites]]\ncandidates = {names}\nrepeat = 3", more)
    calibration = calibrate(config, Weights.seeded(0))
    for fragment in all_fragments(config):
        if fragment.kind == "head" or (fragment.stage or 0) > 0:
            means = {round(float(x.mean()) / 100) * 100 for (x,) in calibration.inputs[fragment]}
            assert means == set(levels), str(fragment)


RECURRENT = """
class Rows(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.rows = nn.LSTM(channels, channels, batch_first=True)
    def forward(self, x):
        return self.rows(x.flatten(2).transpose(1, 2))[0].transpose(1, 2).reshape(x.shape)
def own(i, o, s):
    return Rows(o)
"""
SUMS = """
class Sums(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.eye(channels))
    def forward(self, x):
        return torch.einsum("bchw,dc->bdhw", x, self.weight)
def own(i, o, s):
    return Sums(o)
"""


def test_sums_by_einsum_keep_the_scale_of_what_they_read(tmp_path: Path) -> None:
    config = small_space(tmp_path, SUMS, OWN_OR_SKIP)
    module = fragment_module(fragments_of(Architecture.parse("own", config))[2], config, Weights.seeded(0))
    assert 0.5 < float(module(torch.randn(8, 6, 4, 4, generator=torch.Generator().manual_seed(1))).std()) < 2


@pytest.mark.parametrize(("code", "op"), [(RECURRENT, "LSTM"), (SUMS, "Einsum")])
def test_what_the_quantizer_leaves_in_floats_is_not_called_int8(tmp_path: Path, code: str, op: str) -> None:
    config = small_space(tmp_path, code, OWN_OR_SKIP)
    with pytest.raises(ConversionError, match=rf"site0\.own: ONNX Runtime's quantizer leaves {op} in single"):
        FragmentLibrary.open("onnx", cache_dir=tmp_path, config=config, precision="int8")


@pytest.mark.parametrize("layers", ["nn.Conv2d(i, o, 3, s, 1)", "nn.Conv2d(i, o, 3, s, 1), nn.ReLU6()"])
def test_activations_stay_in_int8_where_other_candidates_write_below_zero(
    tmp_path: Path, layers: str
) -> None:
    code = f"def own(i, o, s):\n    return nn.Sequential({layers})\n"
    more = 'below = { module = "conv", activation = "none" }'
    config = small_space(tmp_path, code, OWN_OR_SKIP.replace('"skip"', '"skip", "below"') * 2, more)
    library = FragmentLibrary.open("onnx", cache_dir=tmp_path, config=config, precision="int8")
    image = random_image(config).clip(-1, 1)
    for text in ("own/own", "skip/own"):  # behind the stem, which ends in a ReLU
        architecture = Architecture.parse(text, config)
        linked = run_model("onnx", library.assembly(architecture).whole(), image)
        with torch.no_grad():
            expected = torch_network(architecture, Weights.seeded(0))(torch.from_numpy(image)).numpy()
        assert np.linalg.norm(linked - expected) <= 0.2 * np.linalg.norm(expected)


LISTED = """
class Own(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.mixed = nn.Parameter(torch.randn(channels, channels))
        self.row = nn.Parameter(torch.randn(1, channels, 1, 1))
        self.lowest = nn.Parameter(torch.randn(channels, 1, 1))
        self.conv = nn.Conv2d(channels, channels, (2, 1))

    def forward(self, x):
        x = torch.einsum("bchw,dc->bdhw", x, self.mixed)
        return torch.clamp(self.conv(torch.cat([x, self.row.expand(len(x), -1, 1, x.shape[3])], 2)), max=self.lowest)


class Constant(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.value = nn.Parameter(torch.randn(1, channels, 4, 4))

    def forward(self, x):
        return self.value


def own(i, o, s):
    return Own(i)


def constant(i, o, s):
    return Constant(i)
"""


def test_weights_are_drawn_whatever_reads_them(tmp_path: Path) -> None:
    config = small_space(
        tmp_path,
        LISTED,
        OWN_OR_SKIP.replace("own", "constant") + OWN_OR_SKIP,
        'constant = "own_ops:constant"',
    )
    for fragment in fragments_of(Architecture.parse("constant/own", config))[2:4]:
        one, two = (fragment_module(fragment, config, Weights.seeded(0)).state_dict() for _ in range(2))
        assert [name for name in one if not torch.equal(one[name], two[name])] == []


def test_all_values_that_fragments_read_in_turn_have_one_range(tmp_path: Path) -> None:
    one, other = (OWN_OR_SKIP + f'choice = "{name}"\n' for name in ("one", "other"))
    code = "def own(i, o, s):\n    return nn.Conv2d(i, o, 3, s, 1)\n"
    config = small_space(tmp_path, code, one + other + one)
    reads = [
        {step.inputs[0] for step in possible_steps(fragment, config)}
        for fragment in all_fragments(config)[3:]
    ]
    assert reads == [{"s0.x", "s1.x"}, {"s1.x", "s2.x"}, {"s0.x", "s2.x", "s3.x"}]
    ranges = calibrate(config, Weights.seeded(0)).ranges
    assert len({ranges[f"s{place}.x"] for place in range(4)}) == 1


def test_a_candidate_without_an_onnx_form_is_named(tmp_path: Path) -> None:
    code = CANDIDATES.replace("torch.relu", "torch.erfinv")
    space = load_space(write_space(tmp_path, candidates=code))
    said = r"site0\.ghost: torch\.onnx\.export does not take it in fp32: .*erfinv.*; use other layers"
    with pytest.raises(ConversionError, match=said):
        FragmentLibrary.open("onnx", cache_dir=tmp_path / "cache", config=space)


BEYOND_FP16, LIFTED = r"site0\.own: a constant .* beyond 65504", "torch.full((1, i, 1, 1), {})"
CONSTANTS = """
class Own(nn.Module):
    def __init__(self, channels, factor):
        super().__init__()
        self.conv, self.factor = nn.Conv2d(channels, channels, 3, 1, 1), factor

    def forward(self, x):
        y = self.conv(x) + torch.sigmoid(x * self.factor)
        padded = nn.functional.pad(y, (1, 1, 1, 1), value=float("-inf"))
        return nn.functional.max_pool2d(padded, 3, 1).clamp(max=1.0)


def own(i, o, s):
    return Own(i, FACTOR)
"""


@pytest.mark.parametrize(
    ("model_format", "factor", "says"),
    [
        ("onnx", "1e6", BEYOND_FP16),
        ("onnx", "1e3", ""),
        ("onnx", LIFTED.format("1e6"), ""),  # of another type: it is computed with in fp32
        ("tflite", "1e6", BEYOND_FP16),
        ("tflite", "1e3", ""),
        ("tflite", LIFTED.format("1e6"), BEYOND_FP16),
        ("tflite", LIFTED.format("1e3"), ""),
    ],
)
def test_a_constant_beyond_fp16_is_refused_and_an_infinity_that_is_meant_is_not(
    tmp_path: Path, model_format: Format, factor: str, says: str
) -> None:
    config = small_space(tmp_path, CONSTANTS.replace("FACTOR", factor), OWN_OR_SKIP)
    with pytest.raises(ConversionError, match=says) if says else nullcontext():
        library = FragmentLibrary.open(model_format, cache_dir=tmp_path, config=config, precision="fp16")
        architecture, image = Architecture.parse("own", config), random_image(config)
        found = run_model(model_format, library.assembly(architecture).whole(), image)
        with torch.inference_mode():
            right = torch_network(architecture, Weights.seeded(0))(torch.from_numpy(image)).numpy()
        np.testing.assert_allclose(found, right, atol=1e-2 * np.ptp(right))


def test_a_users_modules_are_exported_anew_once_there_are_further_checks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_space(tmp_path, CONSTANTS.replace("FACTOR", "1e3"), OWN_OR_SKIP)
    asked: list[int] = []
    convert = library_module.convert_fragments
    monkeypatch.setattr(
        library_module,
        "convert_fragments",
        lambda fragments, *rest, **named: (asked.append(len(fragments)), convert(fragments, *rest, **named)),
    )
    for version, exported in ((1, 1), (1, 1), (2, 2)):
        monkeypatch.setattr(library_module, "CHECKS_VERSION", version)
        FragmentLibrary.open("onnx", cache_dir=tmp_path, config=config)
        assert len(asked) == exported


NORMS = """
from torch.nn import functional


class Doubled(nn.BatchNorm2d):
    def forward(self, x):
        return 2 * super().forward(x)


def hooked(channels):
    norm = nn.BatchNorm2d(channels)
    norm.register_forward_hook(lambda module, given, found: found + 1)
    return norm


class Own(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(6, 6, 3, 1, 1), norm

    def forward(self, x):
        return FORWARD


def own(i, o, s):
    return Own(NORM(i))
"""
IN_A_ROW = "self.norm(self.conv(x))"


@pytest.mark.parametrize(
    ("norm", "forward"),
    [
        ("Doubled", IN_A_ROW),
        ("hooked", IN_A_ROW),
        ("nn.BatchNorm2d", "self.norm(functional.conv2d(x, self.conv.weight, None, 1, 1))"),
        (
            "nn.BatchNorm2d",
            "functional.batch_norm(self.conv(x), self.norm.running_mean, self.norm.running_var, self.norm.weight)",
        ),
    ],
)
def test_a_batch_norm_that_is_more_than_its_class_is_not_folded_away(
    tmp_path: Path, norm: str, forward: str
) -> None:
    config = small_space(tmp_path, NORMS.replace("FORWARD", forward).replace("NORM", norm), OWN_OR_SKIP)
    fragment = fragments_of(Architecture.parse("own", config))[2]
    with pytest.raises(
        ConversionError, match=r"site0\.own: BatchNorm norm folded into .* gives other outputs"
    ):
        fragment_module(fragment, config, Weights.seeded(0))


def test_a_batch_norm_of_a_module_that_is_the_convolution_itself_is_not_folded_away(tmp_path: Path) -> None:
    code = """
class Own(nn.Conv2d):
    def __init__(self, channels):
        super().__init__(channels, channels, 1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x):
        return self.norm(super().forward(x))


def own(i, o, s):
    return Own(i)
"""
    config = small_space(tmp_path, code, OWN_OR_SKIP)
    fragment = fragments_of(Architecture.parse("own", config))[2]
    with pytest.raises(ConversionError, match=r"BatchNorm norm folded into .* gives other outputs"):
        fragment_module(fragment, config, Weights.seeded(0))


@pytest.mark.parametrize(
    ("model_format", "layers", "says"),
    [
        # The converters leave these arguments out.
        ("onnx", "nn.Conv2d(i, o, 1), nn.Softplus(threshold=1)", "a model of it that gives other outputs"),
        ("tflite", "nn.Conv2d(i, o, 1), nn.Softplus(threshold=1)", "its TFLite model gives other outputs"),
        (
            "tflite",
            "nn.AvgPool2d(2), nn.Upsample(scale_factor=2.1, mode='bilinear')",
            "its TFLite model gives other outputs",
        ),
        ("tflite", "nn.Dropout(0.5)", "no operator of TFLite is left of it; put nn.Identity"),
    ],
)
def test_a_candidate_of_which_a_converter_makes_something_else_is_refused(
    tmp_path: Path, model_format: Format, layers: str, says: str
) -> None:
    config = small_space(tmp_path, f"def own(i, o, s):\n    return nn.Sequential({layers})\n", OWN_OR_SKIP)
    with pytest.raises(ConversionError, match=rf"site0\.own: .*{says}"):
        FragmentLibrary.open(model_format, cache_dir=tmp_path, config=config)


UNUSUAL = """
@torch.jit.script
def thrice(x: torch.Tensor, count: int):
    for _ in range(count):
        x = x + 1 if x.size(0) > 5 else torch.tanh(x)
    return x


class Own(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, 1, 1)

    def forward(self, x, *, scale=2.0, mask=None, **more):
        return thrice(self.conv(x), 3) * scale


def own(i, o, s):
    return Own(i)
"""


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
def test_control_flow_and_arguments_by_name_are_exported_to_onnx(tmp_path: Path) -> None:
    config = small_space(tmp_path, UNUSUAL, OWN_OR_SKIP * 2)
    library = FragmentLibrary.open("onnx", cache_dir=tmp_path, config=config)
    architecture, image = Architecture.parse("own/own", config), random_image(config)
    found = run_model("onnx", library.assembly(architecture).whole(), image)
    with torch.no_grad():
        right = torch_network(architecture, Weights.seeded(0))(torch.from_numpy(image)).numpy()
    assert np.abs(found - right).max() <= TOLERANCE * np.abs(right).max()
    standalone(architecture, "onnx", cache_dir=tmp_path)  # which onnx checks


TURNED = """
class Own(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.one, self.other = nn.Conv2d(channels, channels, 1), nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        return self.FIRST(torch.relu(self.SECOND(x)))


def own(i, o, s):
    return Own(i)
"""


def test_a_checkpoints_parts_are_exported_anew_where_the_code_calls_its_weights_in_another_order(
    tmp_path: Path,
) -> None:
    found, expected = [], []
    for first, second in (("one", "other"), ("other", "one")):
        code = TURNED.replace("FIRST", first).replace("SECOND", second)
        config = small_space(tmp_path, code, OWN_OR_SKIP)  # by its graph, the same both times
        architecture, image = Architecture.parse("own", config), random_image(config)
        path = tmp_path / "weights.pt"
        if not path.exists():
            torch.manual_seed(0)
            torch.save(build_network(architecture).state_dict(), path)
        weights = Weights.from_checkpoint(path, architecture)
        library = FragmentLibrary.open("onnx", cache_dir=tmp_path, config=config, weights=weights)
        found.append(run_model("onnx", library.assembly(architecture).whole(), image))
        outputs = ExpectedOutputs(cache_dir=tmp_path, config=config, weights=weights)
        expected.append(outputs.of("own", "onnx"))
        with torch.no_grad():
            right = torch_network(architecture, weights)(torch.from_numpy(image)).numpy()
        assert np.abs(found[-1] - right).max() <= TOLERANCE * np.abs(right).max()
    assert np.abs(found[0] - found[1]).max() > 0.01 and expected[0] != expected[1]


class Pixels(torch.nn.MultiheadAttention):
    """Attention of all pixels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        y = x.flatten(2).transpose(1, 2)
        return super().forward(y, y, y, need_weights=False)[0].transpose(1, 2).reshape(x.shape)


@pytest.mark.filterwarnings("ignore")  # of torch, while it traces
def test_attention_with_frozen_weights_becomes_products_in_onnx() -> None:
    module, given = Pixels(8, 2, batch_first=True).eval().requires_grad_(False), torch.randn(1, 8, 4, 4)
    model = _export(module, [given], ["a"], "out")
    (found,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"a": given.numpy()})
    np.testing.assert_allclose(found, module(given).numpy(), atol=1e-5)
    assert torch.backends.mha.get_fastpath_enabled(), "as before"
