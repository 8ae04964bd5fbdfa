"""Every role is readable on every ground, and Python and JavaScript write numbers and tokens alike."""

import itertools
from typing import Any

import pytest

from model.records.trace import Token
from tests.js.node import in_node
from tests.viz.framed import HOSTILE
from viz import markup, theme

NUMBERS = (0, 1, 9, 999, 1000, 49_152, 98_362_432, 134_515_008)
SHARES = (0, 1e-12, 1e-7, 1.5e-6, 0.0000123, 0.00099, 0.001, 0.00421, 0.0999, 0.1, 0.5, 0.823, 0.99949, 0.9996, 1)
SIZES = (0, 5, 999, 1000, 9_994, 230_400, 782_336, 98_362_432, 3.2e12)
SECONDS = (0.0000823, 0.0082, 0.0823, 0.5, 0.9994, 0.9996, 1.24, 12.34, 123.4)
TEXTS = (*HOSTILE, "", "\u200b", "a\u200db", "\t\r\n", "\x7f\x85", "\xa0", "\u5929\u7a7a", "e\u0301")


def test_text_of_every_role_can_be_read_on_every_ground():
    for mode, ground in theme.GROUND.items():
        words = [ground["ink"], ground["muted"], *(role[mode].text for role in theme.ROLES.values())]
        for word, below in itertools.product(words, (ground["page"], ground["card"], ground["sunk"])):
            assert theme.contrast(word, below) >= 4.5, (mode, word, below)


def test_contrast_is_that_of_the_standard():
    assert theme.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert theme.contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_the_stylesheet_is_the_theme():
    assert (markup.ASSETS / "css" / "theme.css").read_text(encoding="utf-8") == theme.css_variables()


@pytest.mark.parametrize(
    ("probability", "reads"),
    [
        (0, "0%"),
        (1.57e-8, "1.57e\u22126%"),
        (0.0000123, "0.00123%"),
        (0.00421, "0.421%"),
        (0.09996, "10.0%"),
        (0.823, "82.3%"),
        (0.9996, "over 99.9%"),
        (1, "100%"),
    ],
)
def test_a_probability_is_never_rounded_up_to_certainty(probability: float, reads: str):
    assert theme.percent(probability) == reads


def test_sizes_and_durations_carry_their_unit():
    assert [theme.size(n) for n in (999, 230_400, 98_362_432)] == ["999 bytes", "230 kB", "98.4 MB"]
    assert [theme.duration(s) for s in (0.0823, 1.24)] == ["82.3 ms", "1.24 s"]


def test_what_cannot_be_seen_is_made_visible():
    def read(text: str) -> str:
        return markup.visible(Token(id=1, text=text, data=text.encode(), span=(0, 0), special=False, generated=False))

    assert read(" a\nb\x00") == "\u2423a\u21b5b\u2400"
    assert read("\u202eevil") == "[RLO]evil"
    assert read("\U0001f469\u200d\U0001f467") == "\U0001f469\u200d\U0001f467"
    part = Token(id=1, text="\ufffd", data=b"\xe2\x9c", span=(0, 0), special=False, generated=False)
    assert markup.visible(part) == "bytes E2 9C"


def test_python_and_javascript_write_numbers_and_tokens_alike():
    tokens = [{"text": text, "hex": text.encode().hex()} for text in TEXTS] + [{"text": "\ufffd", "hex": "e29c"}]
    said = in_node(
        """
        import * as f from "@/core/format.js";
        const [numbers, shares, sizes, seconds, tokens] = given;
        const answer = [numbers.map(f.count), shares.map(f.percent), sizes.map(f.size), seconds.map(f.duration),
          tokens.map((token) => f.label(token, 100000))];""",
        [NUMBERS, SHARES, SIZES, SECONDS, tokens],
    )
    assert said[:4] == [
        [theme.count(n) for n in NUMBERS],
        [theme.percent(p) for p in SHARES],
        [theme.size(n) for n in SIZES],
        [theme.duration(s) for s in SECONDS],
    ]
    assert said[4] == [
        markup.visible(
            Token(id=1, text=each["text"], data=bytes.fromhex(each["hex"]), span=(0, 0), special=False, generated=False)
        )
        for each in tokens
    ]


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_charts_of_both_kinds_look_like_one_product(mode: theme.Mode):
    """The type of canvases, quiet words at the axes and in the legend, and lines across only."""
    family, font = in_node('import * as c from "@/core/canvas.js"; const answer = [c.FONT_FAMILY, c.FONT];', None)
    assert font == f"14px {family}" and family == theme.FONT_FAMILY
    look: Any = theme.plotly_template(mode).layout
    ground = theme.GROUND[mode]
    assert look.font.family == look.hoverlabel.font.family == family
    for quiet in (
        look.legend.font,
        *(part for axis in (look.xaxis, look.yaxis) for part in (axis.tickfont, axis.title.font)),
    ):
        assert (quiet.size, quiet.color) == (14, ground["muted"])
    assert (look.xaxis.showgrid, look.yaxis.showgrid, look.yaxis.gridcolor) == (False, None, ground["line"])
    assert (look.hoverlabel.bgcolor, look.hoverlabel.bordercolor) == (ground["card"], ground["muted"])


def test_a_weight_from_8_bits_is_told_with_the_digits_that_they_carry():
    """One decimal below 10% within 0.2 points, whole percents above within 1; the ends are named as the ends."""
    weights = [i / 20_000 for i in range(20_001)]
    sent = [round(weight**0.5 * 255) for weight in weights]
    said = in_node(
        """
        import { roughly, decoded } from "@/core/format.js";
        const answer = [given.map((byte) => roughly((byte / 255) ** 2)), given.map(decoded)];""",
        sent,
    )
    for weight, reads, number in zip(weights, *said, strict=True):
        if reads == "under 0.1%":
            assert weight < 0.001
        elif reads == "over 99%":
            assert weight > 0.99
        else:
            share = reads.removeprefix("\u2248 ").removesuffix("%")
            assert abs(float(share) - 100 * weight) <= (0.2 if "." in share else 1), (weight, reads)
        if number.startswith("under "):
            assert weight < float(number.removeprefix("under "))
        elif number.startswith("over "):
            assert weight > float(number.removeprefix("over "))
        else:
            assert abs(float(number) - weight) <= 0.0045, (weight, number)
    assert (said[0][0], said[0][-1], said[0][10_000]) == ("under 0.1%", "over 99%", "\u2248 50%")
