"""Parameters and FLOPs: of public models, by published formulas, by a model counting itself."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kleiber.counting import (
    Convention,
    Shape,
    ShapeRule,
    Terms,
    chinchilla,
    conventions,
    count_forward,
    count_memory,
    count_params,
    count_training,
    exact,
    find_convention,
    kaplan,
    last_layer,
    powers_of_width,
    shape_at,
    solve_width,
)
from kleiber.formula import evaluate, symbol

OLD = {"biases": True, "layer_norm": True, "learned_positions": True}  # as GPT-2 and GPT-3
GPT2 = Shape(768, 12, 50257, 1024, heads=12, **OLD)
LLAMA2 = Shape(4096, 32, 32000, 4096, feed_forward=11008, heads=32, gated=True, tied=False)
GPT3 = Shape(12288, 96, 50257, 2048, heads=96, **OLD)
NEW = {"gated": True, "tied": False}
MIXTRAL = Shape(
    4096, 32, 32000, 32768, 14336, heads=32, key_heads=8, experts=8, active_experts=2, **NEW
)

# Parameters of released weights, as their publishers' files and cards give them.
PUBLIC = {
    "GPT-2": (GPT2, 124_439_808),
    "GPT-2 medium": (Shape(1024, 24, 50257, 1024, heads=16, **OLD), 354_823_168),
    "GPT-2 large": (Shape(1280, 36, 50257, 1024, heads=20, **OLD), 774_030_080),
    "GPT-2 XL": (Shape(1600, 48, 50257, 1024, heads=25, **OLD), 1_557_611_200),
    "Llama 2 7B": (LLAMA2, 6_738_415_616),
    "Llama 2 70B": (
        Shape(8192, 80, 32000, 4096, 28672, heads=64, key_heads=8, gated=True, tied=False),
        68_976_648_192,
    ),
    "Llama 3 8B": (
        Shape(4096, 32, 128256, 8192, 14336, heads=32, key_heads=8, gated=True, tied=False),
        8_030_261_248,
    ),
    "Mistral 7B": (
        Shape(4096, 32, 32000, 8192, 14336, heads=32, key_heads=8, gated=True, tied=False),
        7_241_732_096,
    ),
    "Mixtral 8x7B": (MIXTRAL, 46_702_792_704),
    "Qwen2.5 72B": (
        Shape(8192, 80, 152064, 32768, 29568, heads=64, key_heads=8, qkv_biases=True, **NEW),
        72_706_203_648,
    ),
    "Qwen3 4B": (
        Shape(
            2560,
            36,
            151936,
            40960,
            9728,
            heads=32,
            key_heads=8,
            head_size=128,
            gated=True,
            qk_norms=True,
        ),
        4_022_468_096,
    ),
    "Pythia 70M": (
        Shape(512, 6, 50304, 2048, heads=8, biases=True, layer_norm=True, tied=False),
        70_426_624,
    ),
}
# Brown et al. 2020, table D.1: width, depth, heads, millions of parameters as printed
BROWN = [
    (768, 12, 12, 125),
    (1024, 24, 16, 356),
    (1536, 24, 16, 760),
    (2560, 32, 32, 2650),
    (4096, 32, 32, 6660),
    (12288, 96, 96, 174_600),
]
# Hoffmann et al. 2022, table A4 (the sizes as table A9 prints them): millions, depth, width,
# feed-forward, heads, head size, ratio
HOFFMANN = [
    (74, 10, 640, 2560, 10, 64, 1.03),
    (306, 20, 1024, 4096, 16, 64, 1.10),
    (552, 24, 1280, 5120, 10, 128, 1.08),
    (1143, 26, 1792, 7168, 14, 128, 1.04),
    (1593, 28, 2048, 8192, 16, 128, 1.03),
    (6796, 40, 3584, 14336, 28, 128, 0.99),
]


@pytest.mark.parametrize("name", PUBLIC)
def test_public_models_have_their_parameters(name: str) -> None:
    shape, known = PUBLIC[name]
    assert count_params(shape).total == known


@pytest.mark.parametrize(("width", "depth", "heads", "millions"), BROWN)
def test_gpt3_family_has_its_parameters(width: int, depth: int, heads: int, millions: int) -> None:
    shape = Shape(width, depth, 50257, 2048, heads=heads, **OLD)
    assert count_params(shape).total / 1e6 == pytest.approx(millions, rel=2.5e-3)


def test_gpt2_by_hand() -> None:
    w, v, t = 768, 50257, 1024
    parts = count_params(GPT2)
    assert parts.embedding == v * w + t * w
    assert parts.attention_projections == 12 * (4 * w * w + 4 * w)
    assert parts.attention_scores == 0
    assert parts.feed_forward == 12 * (8 * w * w + 4 * w + w)
    assert parts.norms == 25 * 2 * w
    assert parts.unembedding == 0  # tied
    forward = count_forward(GPT2, replace(exact, elementwise_flops=False, softmax_flops=False))
    assert forward.embedding == 0
    assert forward.attention_projections == 12 * 8 * w * w
    assert forward.attention_scores == 12 * 4 * w * (t + 1) / 2
    assert forward.feed_forward == 12 * 16 * w * w
    assert forward.norms == 0
    assert forward.unembedding == 2 * w * v


def test_kaplan_is_six_times_its_parameters() -> None:
    for shape, _ in PUBLIC.values():
        for rule in (kaplan, last_layer):
            n = count_params(shape, rule, active=True).total
            assert count_training(shape, rule).total == 6 * n
    # table 1 of Kaplan et al. 2020: N = 2 width depth (2 attention + feed-forward), and
    # C_forward = 2 N + 2 depth context width, which is the scores at their customary half
    n = 2 * 768 * 12 * (2 * 768 + 4 * 768)
    assert count_params(GPT2, kaplan).total == n
    rule = replace(kaplan, score_flops=True, causal=0.5)
    assert count_forward(GPT2, rule).total == 2 * n + 2 * 12 * 1024 * 768


def test_gpt3_training_compute() -> None:
    # Brown et al. 2020, table D.1: 3.14e23 for 300 billion tokens
    c = count_training(GPT3, last_layer, 300e9).total
    assert c == pytest.approx(3.14e23, rel=2e-3)


def test_last_layer_as_in_the_code_of_porian() -> None:
    for shape, _ in PUBLIC.values():
        n, without = count_params(shape, last_layer), count_params(shape, kaplan)
        assert n.total - without.total == shape.vocabulary * shape.width


@pytest.mark.parametrize(("m", "depth", "width", "hidden", "heads", "size", "ratio"), HOFFMANN)
def test_hoffmann_appendix_f(
    m: int, depth: int, width: int, hidden: int, heads: int, size: int, ratio: float
) -> None:
    t, v, a = 2048, 32000, heads * size
    shape = Shape(width, depth, v, t, feed_forward=hidden, heads=heads, head_size=size)
    attention = 2 * 3 * t * width * a + 2 * t * t * a + 3 * heads * t * t + 2 * t * t * a
    block = attention + 2 * t * a * width + 2 * t * (2 * width * hidden)
    forward = count_forward(shape, chinchilla, t)
    assert forward.total == 2 * t * v * width + depth * block + 2 * t * width * v
    # Their sizes count a projection of relative positions, width^2 a layer, that is no field here
    # (and no biases or norms), and the printed ratios are of the layers alone: so all six come out
    n = count_params(shape, replace(chinchilla, small_params=False)).total + depth * width * a
    assert n / 1e6 == pytest.approx(m, rel=5e-3)
    layers = forward.total - forward.embedding - forward.unembedding
    assert round(3 * layers / (6 * n * t), 2) == ratio


def test_megatron_formula() -> None:
    # Narayanan et al. 2021, eq. 3: 96 B s l h^2 (1 + s/6h + V/16lh) with the layers recomputed
    h, l, v, s = 1024, 24, 51200, 2048  # noqa: E741
    shape = Shape(h, l, v, s, heads=16)
    rule = replace(chinchilla, embedding_flops=False, softmax_flops=False, recomputation=1.0)
    expected = 96 * s * l * h**2 * (1 + s / (6 * h) + v / (16 * l * h))
    assert count_training(shape, rule, s).total == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    ("factor", "causal", "again"), [(12, 1.0, 0.0), (6, 0.5, 0.0), (7, 0.5, 0.5)]
)
def test_the_three_factors_of_attention(factor: int, causal: float, again: float) -> None:
    # 12 (PaLM, nanoGPT), 6 (causal), 7 (FlashAttention): times depth, context and width a token
    rule = replace(exact, softmax_flops=False, causal=causal, score_recomputation=again)
    assert count_training(LLAMA2, rule).attention_scores == factor * 32 * 4096 * 4096


def test_palm_formula() -> None:
    # Chowdhery et al. 2022, appendix B: 6 N + 12 L H Q T, N without the lookup
    rule = replace(last_layer, score_flops=True, causal=1.0)
    n = count_params(LLAMA2, last_layer).total
    assert count_training(LLAMA2, rule).total == 6 * n + 12 * 32 * 32 * 128 * 4096


@pytest.mark.parametrize("label", conventions())
def test_tying_changes_parameters_not_flops(label: str) -> None:
    for tied in (GPT2, replace(LLAMA2, tied=True)):
        untied = replace(tied, tied=False)
        assert count_forward(tied, label) == count_forward(untied, label)
        more = count_params(untied, label).total - count_params(tied, label).total
        both = find_convention(label).embedding_params and find_convention(label).last_layer_params
        assert more == (tied.vocabulary * tied.width if both else 0)


@dataclass
class Counter:
    """A transformer of NumPy arrays that counts what it multiplies and what it computes."""

    shape: Shape
    params: dict[str, int] = field(default_factory=dict)
    flops: dict[str, float] = field(default_factory=dict)
    term: str = ""
    window: int = 0

    def weight(self, *size: int) -> np.ndarray:
        self.params[self.term] = self.params.get(self.term, 0) + int(np.prod(size))
        return np.full(size, 0.01)

    def count(self, amount: float) -> None:
        self.flops[self.term] = self.flops.get(self.term, 0) + amount

    def product(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        self.count(2 * a.shape[0] * a.shape[1] * b.shape[1])
        return a @ b

    def each(self, x: np.ndarray) -> np.ndarray:
        """One operation for each entry."""
        self.count(x.size)
        return x

    def linear(self, x: np.ndarray, units: int, biased: bool = False) -> np.ndarray:
        y = self.product(x, self.weight(x.shape[1], units))
        return self.each(y + self.weight(units)) if self.shape.biases or biased else y

    def norm(self, x: np.ndarray, heads: int = 0) -> np.ndarray:
        """Of the whole, or of every one of so many heads with gains that they share."""
        before, self.term = self.term, "norms"
        if heads:
            x, whole = x.reshape(len(x) * heads, -1), x.shape
            y = self.norm(x).reshape(whole)
            self.term = before
            return y
        if self.shape.layer_norm:
            self.count(x.size)  # the sum of the mean
            x = self.each(x - x.mean(axis=1, keepdims=True))
        square = self.each(x**2)
        self.count(x.size)  # the sum of squares
        x = self.each(x / np.sqrt(1e-5 + square.mean(axis=1, keepdims=True)))
        x = self.each(x * self.weight(x.shape[1]))
        x = self.each(x + self.weight(x.shape[1])) if self.shape.layer_norm else x
        self.term = before
        return x

    def attention(self, x: np.ndarray, heads: int, keys: int, size: int) -> np.ndarray:
        self.term = "attention_projections"
        y = self.norm(x)
        biased = self.shape.qkv_biases
        q, k, v = (self.linear(y, n * size, biased) for n in (heads, keys, keys))
        if self.shape.qk_norms:
            q, k = self.norm(q, heads), self.norm(k, keys)
        out = np.zeros_like(q)
        self.term = "attention_scores"
        for head in range(heads):
            own, shared = slice(head * size, (head + 1) * size), head * keys // heads
            theirs = slice(shared * size, (shared + 1) * size)
            for i in range(len(x)):  # below the causal mask only, and in the window
                seen = slice(max(0, i + 1 - self.window), i + 1)
                score = self.each(np.exp(self.product(q[i : i + 1, own], k[seen, theirs].T)))
                self.count(score.size)  # the sum
                share = self.each(score / score.sum())
                out[i, own] = self.product(share, v[seen, theirs])[0]
        self.term = "attention_projections"
        return self.each(x + self.linear(out, x.shape[1]))

    def feed_forward(self, x: np.ndarray, hidden: int) -> np.ndarray:
        self.term = "feed_forward"
        y = self.norm(x)
        if self.shape.experts is None:
            return self.each(x + self.expert(y, hidden))
        self.term = "router"
        score = self.product(y, self.weight(x.shape[1], self.shape.experts))
        self.term = "feed_forward"
        chosen = range(self.shape.active_experts)
        parts = [self.each(score[:, [k]] * self.expert(y, hidden)) for k in chosen]
        out = parts[0]
        for part in parts[1:]:
            out = self.each(out + part)
        before = dict(self.flops)
        for _ in range(self.shape.experts - len(chosen)):  # there, but no token passes them
            self.expert(y, hidden)
        self.flops = before
        return self.each(x + out)

    def expert(self, y: np.ndarray, hidden: int) -> np.ndarray:
        inner = self.each(np.tanh(self.linear(y, hidden)))
        if self.shape.gated:
            inner = self.each(inner * self.linear(y, hidden))
        return self.linear(inner, y.shape[1])

    def run(self, heads: int, keys: int, size: int, hidden: int) -> None:
        """One full context, forward."""
        shape, self.term = self.shape, "embedding"
        table = self.weight(shape.vocabulary, shape.width)
        x = table[np.arange(shape.context) % shape.vocabulary]
        if shape.learned_positions:
            x = self.each(x + self.weight(shape.context, shape.width))
        for layer in range(shape.depth):
            slides = layer < shape.window_share * shape.depth
            self.window = int((shape.window if slides else None) or shape.context)
            x = self.feed_forward(self.attention(x, heads, keys, size), hidden)
        x = self.norm(x)
        self.term = "unembedding"
        self.product(x, table.T if shape.tied else self.weight(shape.width, shape.vocabulary))


@pytest.mark.parametrize(
    ("options", "heads", "keys", "size", "hidden"),
    [
        ({}, 4, 4, 6, 96),
        (OLD, 4, 4, 6, 96),
        ({"gated": True, "tied": False, "feed_forward": 40, "key_heads": 2}, 4, 2, 6, 40),
        ({**OLD, "gated": True, "head_size": 10, "key_heads": 1}, 4, 1, 10, 64),
        ({"experts": 5, "active_experts": 2, "gated": True}, 4, 4, 6, 64),
        ({**OLD, "experts": 3, "active_experts": 1}, 4, 4, 6, 96),
        ({"qkv_biases": True, "qk_norms": True, "key_heads": 2}, 4, 2, 6, 96),
        ({**OLD, "qk_norms": True, "head_size": 10}, 4, 4, 10, 96),
        ({"window": 3}, 4, 4, 6, 96),
        ({"window": 70}, 4, 4, 6, 96),
        ({"window": 2, "window_share": 1 / 3}, 4, 4, 6, 96),
    ],
)
def test_a_model_that_counts_itself(
    options: dict[str, bool | int], heads: int, keys: int, size: int, hidden: int
) -> None:
    shape = Shape(24, 3, 50, 7, heads=4, **options)  # pyright: ignore[reportArgumentType]
    model = Counter(shape)
    model.run(heads, keys, size, hidden)
    assert as_dict(count_params(shape)) == pytest.approx(model.params)
    assert as_dict(count_forward(shape, exact, n_tokens=7)) == pytest.approx(model.flops)


def as_dict(parts: Terms) -> dict[str, float]:
    return {name: value for name, value in vars(parts).items() if value}


def test_training_is_three_forwards_and_recomputation_of_the_layers() -> None:
    for label in conventions():
        forward, training = count_forward(GPT2, label), count_training(GPT2, label)
        assert training.total == pytest.approx(3 * forward.total, rel=1e-15)
        again = count_training(GPT2, replace(find_convention(label), recomputation=1.0))
        extra = forward.total - forward.embedding - forward.unembedding
        if label == "exact":  # adding positions is part of the embedding
            assert forward.embedding == GPT2.width
        assert again.total - training.total == pytest.approx(extra, rel=1e-12)


def test_tokens_multiply() -> None:
    one, many = count_training(GPT2), count_training(GPT2, n_tokens=3e9)
    assert many.total == pytest.approx(3e9 * one.total, rel=1e-15)
    assert many.attention_scores == pytest.approx(3e9 * one.attention_scores, rel=1e-15)


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint16, np.float32, list, object])
def test_integers_of_any_width_do_not_wrap(kind: type) -> None:
    """3e11 tokens times 8e8 FLOPs is beyond 2^63: 2.398065048e20, as of Python's integers."""
    sizes = {"width": 768, "depth": 12, "vocabulary": 50257, "context": 1024, "heads": 12}
    alone = count_training(Shape(**sizes, **OLD), n_tokens=300_000_000_000)
    assert alone.total == pytest.approx(2.398065048e20, rel=1e-9)
    made = {name: [n] if kind is list else np.array([n], dtype=kind) for name, n in sizes.items()}
    many = Shape(**made, **OLD)
    for tokens in (300_000_000_000, np.array([300_000_000_000]), [300_000_000_000]):
        found = count_training(many, n_tokens=tokens)
        assert found.total == pytest.approx([alone.total], rel=1e-12)
        assert isinstance(found.total, np.ndarray)
    assert count_params(many).total == pytest.approx([124_439_808])
    large = Shape(np.array([2**17]), np.array([4096]), np.array([10**6]), np.array([2**20]))
    assert (count_memory(large).total > 0).all()


def test_scalars_of_numpy_are_numbers_of_python() -> None:
    shape = Shape(np.int32(8192), np.int16(80), np.uint32(152064), np.int64(32768), np.int32(29568))
    assert isinstance(shape.width, int)
    assert count_training(shape, n_tokens=np.int64(10**13)).total > 1e24
    assert isinstance(shape_at(ShapeRule(), np.arange(1, 4) * 4096).width, np.ndarray)


def test_active_parameters_of_experts() -> None:
    # 12.9 billion (Jiang et al. 2024, arXiv 2401.04088, section 2): all but 6 of 8 experts
    assert count_params(MIXTRAL, active=True).total == 12_879_925_248
    apart = 6 * 32 * 3 * 4096 * 14336
    assert count_params(MIXTRAL).total - count_params(MIXTRAL, active=True).total == apart
    for label in conventions():
        assert count_params(LLAMA2, label) == count_params(LLAMA2, label, active=True)
    one = replace(MIXTRAL, experts=1, active_experts=1)
    dense = replace(MIXTRAL, experts=None, active_experts=None)
    more = {name: getattr(count_params(one), name) for name in vars(count_params(dense))}
    assert more.pop("router") == 32 * 4096
    assert more == {k: v for k, v in vars(count_params(dense)).items() if k != "router"}


def test_a_window_as_long_as_the_context_is_none() -> None:
    for label in conventions():
        for rule in (find_convention(label), replace(find_convention(label), causal=0.5)):
            whole = count_forward(LLAMA2, rule)
            for window in (4096, 10**6):
                near = count_forward(replace(LLAMA2, window=window), rule)
                assert near.total == pytest.approx(whole.total, rel=1e-15)
    # of 4096 the last 256: 256 - 256 * 255 / 2 / 4096 on average; half of a mask without direction
    short = replace(LLAMA2, window=256)
    bare = replace(exact, softmax_flops=False)
    seen = 256 - 256 * 255 / 8192
    assert count_forward(short, bare).attention_scores == 4 * 32 * 4096 * seen
    half = count_forward(short, replace(bare, causal=0.5)).attention_scores
    assert half == 4 * 32 * 4096 * (256 - 128 / 16)
    some = count_forward(replace(short, window_share=0.5), bare).attention_scores
    assert some == 2 * 32 * 4096 * (seen + 2048.5)


def test_arrays_and_expressions_count_like_numbers() -> None:
    widths = np.array([64.0, 768.0, 4096.0])
    new = ShapeRule(experts=8, active_experts=2, window=100, qkv_biases=True, qk_norms=True)
    for rule, label in itertools.product((ShapeRule(), new), conventions()):
        many, traced = shape_at(rule, widths), shape_at(rule, symbol("width"))
        for count in (count_params, count_forward, count_training):
            alone = [count(shape_at(rule, w), label).total for w in widths.tolist()]
            assert count(many, label).total == pytest.approx(alone, rel=1e-15)
            written = evaluate(count(traced, label).total, {"width": widths})
            assert written == pytest.approx(alone, rel=1e-15)


RULES = st.builds(
    ShapeRule,
    aspect=st.floats(8, 200),
    vocabulary=st.floats(256, 3e5),
    context=st.floats(64, 2e5),
    ratio=st.none() | st.floats(1, 8),
    group=st.sampled_from([1.0, 4.0, 8.0]),
    gated=st.booleans(),
    tied=st.booleans(),
    biases=st.booleans(),
    layer_norm=st.booleans(),
    learned_positions=st.booleans(),
    window=st.none() | st.floats(16, 1e5),
    window_share=st.floats(0.1, 1),
    qkv_biases=st.booleans(),
    qk_norms=st.booleans(),
)
EXPERTS = st.sampled_from(
    [{}, {"experts": 8, "active_experts": 2}, {"experts": 128.0, "active_experts": 8}]
)
BARE = replace(exact, name="bare", embedding_params=False, last_layer_params=False)


@given(
    RULES,
    EXPERTS,
    st.sampled_from([*conventions().values(), BARE]),
    st.floats(1e2, 1e14),
)
def test_the_width_is_solved(
    rule: ShapeRule, experts: dict[str, float], convention: Convention, n_params: float
) -> None:
    rule = replace(rule, **experts)
    width = solve_width(rule, n_params, convention)
    assert width > 0
    again = count_params(shape_at(rule, width), convention).total
    assert again == pytest.approx(n_params, rel=1e-11)


def test_the_solved_width_is_the_model_it_came_from() -> None:
    rule = ShapeRule(context=1024.0, **OLD)  # GPT-2 has width/depth 64
    assert solve_width(rule, 124_439_808.0) == pytest.approx(768, rel=1e-13)
    assert count_params(shape_at(rule, 768)).total == 124_439_808


def test_a_count_is_a_cubic_of_the_width() -> None:
    rule = ShapeRule(gated=True, biases=True)
    c1, c2, c3 = powers_of_width(rule, lambda shape: count_training(shape).total)
    width = 1234.5
    total = count_training(shape_at(rule, width)).total
    assert c1 * width + c2 * width**2 + c3 * width**3 == pytest.approx(total, rel=1e-14)
    assert powers_of_width(rule, lambda shape: count_params(shape).total, depth=12.0)[2] == 0
    with pytest.raises(ValueError, match="part of 5 that does not depend on the width"):
        powers_of_width(rule, lambda shape: count_params(shape).total + 5)


def test_memory_of_adam() -> None:
    # 16 bytes a parameter: Rajbhandari et al. 2020, section 3.1; GPT-2 XL then needs 24 GB or more
    memory = count_memory(PUBLIC["GPT-2 XL"][0])
    assert memory.total == 16 * 1_557_611_200
    assert memory.optimiser == 12 * 1_557_611_200
    plain = count_memory(GPT2, parameter_bytes=4, gradient_bytes=4, optimiser_bytes=8)
    assert plain.total == 16 * 124_439_808
    assert count_memory(GPT2, gradient_bytes=0, optimiser_bytes=0).total == 2 * 124_439_808
    with pytest.raises(ValueError, match="optimiser_bytes must be zero or more, got -1"):
        count_memory(GPT2, optimiser_bytes=-1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width must be positive and finite, got 0"),
        ({"depth": -1}, "depth must be positive"),
        ({"vocabulary": float("nan")}, "vocabulary must be positive and finite"),
        ({"width": np.array([64, -1])}, "width must be positive"),
        ({"context": "2048"}, "context must be a number, got '2048'"),
        ({"depth": True}, "depth must be a number, got True"),
        ({"heads": 7}, "width 768 is not a multiple of heads 7; give head_size"),
        ({"width": True}, "width must be a number, got True"),
        ({"width": np.array([True])}, "width must be a number"),
        ({"width": 10**400}, "width must"),
        ({"depth": np.array(["2"])}, "depth must be a number"),
        ({"depth": [2, "x"]}, "depth must be a number"),
        ({"depth": [2, {}]}, "depth must hold numbers"),
        ({"width": None}, "width must be a number, got None"),
        ({"experts": 8}, "are given together"),
        ({"active_experts": 2}, "are given together"),
        ({"experts": 8, "active_experts": 9}, "passes 9 experts of only 8"),
        ({"window": 0}, "window must be positive"),
        ({"window": 9, "window_share": 1.5}, "a share of the layers, up to 1, got 1.5"),
        ({"heads": 12, "key_heads": 5}, "heads, 12, are not a multiple of key_heads, 5"),
    ],
)
def test_impossible_shapes(options: dict[str, object], message: str) -> None:
    base: dict[str, object] = {"width": 768, "depth": 12, "vocabulary": 50257, "context": 1024}
    with pytest.raises(ValueError, match=message):
        Shape(**{**base, **options})  # pyright: ignore[reportArgumentType]


def test_heads_need_not_divide_the_width_when_their_size_is_given() -> None:
    shape = Shape(768, 2, 100, 64, heads=7, head_size=64)
    assert count_params(shape, kaplan).attention_projections == 2 * 4 * 768 * 7 * 64


def test_an_unknown_convention() -> None:
    with pytest.raises(ValueError, match=r"no convention named 'chinchila'.*Did you mean 'chinc"):
        count_params(GPT2, "chinchila")
    assert find_convention(exact) is exact
