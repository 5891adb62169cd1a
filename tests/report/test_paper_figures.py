"""The figures of the report as files for papers, read back: complete, of the size, text as text."""

from __future__ import annotations

import itertools
import json
import math
import re
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args
from xml.etree import ElementTree

import numpy as np
import pytest
from documents import make_document
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from phoneme_moe.errors import ArgumentError
from phoneme_moe.pipeline import Trained
from phoneme_moe.report.document import RoutingDocument
from phoneme_moe.report.page.charts import Chart
from phoneme_moe.report.page.heat_map import HeatMap
from phoneme_moe.report.page.palette import expert_colours, ramp, ramp_colours, theme_colours
from phoneme_moe.report.page.parts import Figure
from phoneme_moe.report.page.render import render_page
from phoneme_moe.report.paper import figures as module
from phoneme_moe.report.paper.figures import (
    CAPTIONS,
    draw_figure,
    figure_content,
    report_figures,
    write_figures,
)
from phoneme_moe.report.paper.style import paper_style
from phoneme_moe.report.seeds.page import render_seeds
from phoneme_moe.report.seeds.run import SeedsReport
from phoneme_moe.report.seeds.summary import summarize_seeds

if TYPE_CHECKING:
    from conftest import Outcome

MODELS = Path(module.__file__).parents[2] / "models"
SVG = "{http://www.w3.org/2000/svg}"
STYLE = paper_style()
EVIL = ["ann 😀", "$x^2$ $", "<b>&", "a_rather_long_name_" * 6 + "end", "\x1b[31m\u202e", "話者"]


def token_document() -> dict[str, Any]:
    document = make_document(4) | {"unit": "token"}
    document["correctness"]["unjudged"] = 0
    return document


def bare_document() -> dict[str, Any]:
    document = make_document(5, 3)
    for key in ("clustering", "mixing", "contribution", "tests", "edges", "layers", "training"):
        document[key] = None
    document["utterances"][0] |= {"reference": [], "hypothesis": []}
    document["utterances"][0] |= {"envelope": None, "spectrogram": None}
    return document


def shipped(name: str) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads((MODELS / name / "report" / "routing.json").read_text())
    return stored


DOCUMENTS: dict[str, Callable[[], dict[str, Any]]] = {
    "six speakers": make_document,
    "one speaker and one expert": lambda: make_document(1, 1, layers=1),
    "64 experts": lambda: make_document(20, 64),
    "tokens": token_document,
    "little": bare_document,
    "english": lambda: shipped("english"),
    "english_whisper": lambda: shipped("english_whisper"),
}


def plots_of(page: str) -> list[str]:
    """Identifiers of the plots of a page, in its order."""
    return re.findall(r'<div class="plot" id="([^"]+)"', page)


def stems(ids: list[str]) -> list[str]:
    """Names that the files of these plots have, without suffix."""
    return [f"{i:02}_{one.removeprefix('heat-').replace('-', '_')}" for i, one in enumerate(ids, 1)]


def texts_of(svg: bytes) -> list[str]:
    return [text.text or "" for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def svg_of(document: Mapping[str, Any], name: str) -> bytes:
    (figure,) = [one for one in report_figures(document) if one.id == name]
    return figure_content(figure, STYLE)


@pytest.mark.slow
@pytest.mark.parametrize("kind", DOCUMENTS)
def test_every_plot_of_the_page_is_a_file_in_its_order(kind: str, tmp_path: Path) -> None:
    document = DOCUMENTS[kind]()
    written = write_figures(report_figures(document), tmp_path, STYLE)
    names = [path.name for path in written]
    assert names[:-1] == [f"{stem}.svg" for stem in stems(plots_of(render_page(document)))]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    captions = (tmp_path / CAPTIONS).read_text().splitlines()
    assert [line.partition(":")[0] for line in captions] == names[:-1]


@pytest.mark.parametrize("fixture", ["recognized", "classified"])
def test_a_run_is_drawn_as_its_page(
    fixture: str,
    request: pytest.FixtureRequest,
    phoneme_moe: Callable[..., Outcome],
    tmp_path: Path,
) -> None:
    trained: Trained = request.getfixturevalue(fixture)
    folders = ["--out", tmp_path / "out", "--figures", tmp_path / "figures"]
    done = phoneme_moe("report", trained.run.folder, *folders, "--format", "png")
    assert done.code == 0, done.err
    assert done.err == ""
    page = (tmp_path / "out" / "report.html").read_text()
    written = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert written == [f"{stem}.png" for stem in stems(plots_of(page))] + [CAPTIONS]
    for name in written:
        assert f"{name}: " in done.out


@pytest.mark.parametrize("experts", [1, 5])
def test_every_heat_map_of_several_seeds_is_a_file(experts: int, tmp_path: Path) -> None:
    data = make_document(6, experts) | {"training": None}
    data["contribution"]["uniform"] = None
    report = RoutingDocument.model_validate(data)
    document = summarize_seeds(["a", "b"], [0, 1], [report, report])
    written = SeedsReport(document, ()).save_figures(tmp_path)
    heat_maps = re.findall(r'<table[^>]* class="heat', render_seeds(document))
    assert len([path for path in written if path.suffix == ".svg"]) == len(heat_maps)
    assert [path.name for path in written] == (["01_speakers.svg", CAPTIONS] if experts > 1 else [])


def test_every_kind_of_chart_is_in_these_documents() -> None:
    shown = {type(one.chart) for kind in DOCUMENTS for one in report_figures(DOCUMENTS[kind]())}
    assert shown == set(get_args(Chart))


@pytest.mark.parametrize(
    ("width", "points"), [("84mm", 84 * 72 / 25.4), ("17.4 cm", 17.4 * 72 / 2.54), ("3.3IN", 237.6)]
)
@pytest.mark.parametrize("size", [6, 8.5])
def test_width_and_font_size_are_those_of_the_files(width: str, points: float, size: float) -> None:
    figures = report_figures(make_document(3, layers=2))
    for figure in (one for one in figures if one.id in {"heat-speakers", "time-0", "load-0"}):
        root = ElementTree.fromstring(figure_content(figure, paper_style("svg", width, size)))
        assert float(root.attrib["width"].removesuffix("pt")) == pytest.approx(points, abs=1e-4)
        left, top, *extent = map(float, root.attrib["viewBox"].split())
        assert (left, top, extent[0]) == (0, 0, pytest.approx(points, abs=1e-4))
        fonts = {
            re.findall(r"font-size: ([\d.]+)px", t.attrib["style"])[0] for t in text_elements(root)
        }
        assert fonts == {f"{size:g}"}
        pdf = Pdf(figure_content(figure, paper_style("pdf", width, size)))
        assert pdf.width == pytest.approx(points, abs=1e-4)
        assert pdf.font_sizes == {size}


def text_elements(root: ElementTree.Element) -> list[ElementTree.Element]:
    found = list(root.iter(f"{SVG}text"))
    assert found
    return found


class Pdf:
    """What a test asks of a PDF file as matplotlib writes it."""

    def __init__(self, content: bytes) -> None:
        self.objects = {
            int(number): body
            for number, body in re.findall(rb"\n(\d+) 0 obj\n(.*?)\nendobj", content, re.DOTALL)
        }
        (box,) = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ", content)
        self.width = float(box)
        (self.page,) = [s for s in map(self.stream, self.objects) if b" Tf\n" in s]
        self.font_sizes = {float(size) for size in re.findall(rb"/F\S+ ([\d.]+) Tf", self.page)}
        self.fonts = {
            name: self.objects[int(number)]
            for name, number in re.findall(rb"/(F\d+\S*) (\d+) 0 R", content)
        }

    def stream(self, number: int) -> bytes:
        found = re.search(rb"\nstream\r?\n(.*)\r?\nendstream", self.objects[number], re.DOTALL)
        return zlib.decompress(found[1]) if found and found[1][:1] == b"\x78" else b""

    def characters(self, font: bytes) -> dict[int, str]:
        """Unicode of each code of a font."""
        (number,) = re.findall(rb"/ToUnicode (\d+) 0 R", self.fonts[font])
        ranges = re.findall(rb"<(....)> <....> \[(.*?)\]", self.stream(int(number)))
        return {
            int(start, 16) + i: bytes.fromhex(code.decode()).decode("utf-16-be")
            for start, codes in ranges
            for i, code in enumerate(re.findall(rb"<([0-9a-f]+)>", codes))
        }

    @property
    def texts(self) -> list[str]:
        """Every text of the page, from its codes."""
        texts = []
        for block in re.findall(rb"BT\n(.*?)ET\n", self.page, re.DOTALL):
            text = ""
            for font, shown in re.findall(rb"/(\S+) \S+ Tf\n(.*?)(?=/F|\Z)", block, re.DOTALL):
                characters = self.characters(font)
                for part in re.findall(rb"\(((?:\\.|[^\\)])*)\)", shown, re.DOTALL):
                    codes = re.sub(rb"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), part)
                    pairs = zip(codes[::2], codes[1::2], strict=True)
                    text += "".join(characters[256 * high + low] for high, low in pairs)
            texts.append(text)
        return texts


_ESCAPES = {b"n": b"\n", b"r": b"\r"}


def test_names_are_text() -> None:
    document = make_document()
    names = {"heat-speakers": document["speakers"], "heat-phonemes": document["phonemes"]}
    longest = max(
        document["utterances"][0]["reference"], key=lambda span: span["end"] - span["start"]
    )
    names |= {"time-0": [longest["phoneme"], "ref.", "hyp."]}
    names |= {"removal": document["experts"], "agreement": document["layers"]["names"]}
    for figure in report_figures(document):
        if figure.id in names:
            wanted = set(names[figure.id])
            assert wanted <= set(texts_of(figure_content(figure, STYLE)))
            pdf = Pdf(figure_content(figure, paper_style("pdf")))
            assert wanted <= set(pdf.texts), figure.id
            fonts = b"".join(pdf.objects.values())
            assert b"/Subtype /CIDFontType2" in fonts  # TrueType
            assert b"/FontFile2" in fonts  # embedded
            assert b"/Type3" not in fonts


def test_there_is_no_title_inside() -> None:
    document = make_document(3, layers=1)
    for figure in report_figures(document):
        inside = texts_of(figure_content(figure, STYLE))
        assert document["title"] not in inside
        assert figure.label not in inside


def test_order_is_that_of_the_page() -> None:
    document = make_document()
    order = document["clustering"]
    texts = texts_of(svg_of(document, "heat-speakers"))
    names = [name for name in texts if name in document["speakers"]]
    speakers = [document["speakers"][i] for i in order["speaker_order"]]
    experts = [document["experts"][i] for i in order["expert_order"]]
    assert names == [*speakers, *experts]
    weights = np.array(document["weights"])
    cells = weights[np.ix_(order["speaker_order"], order["expert_order"])]
    whole = [f"{math.floor(100 * weight + 0.5)}" for weight in cells.flat]
    numbers = [text for text in texts if text.isdigit()]
    assert numbers[: len(whole)] == whole


@pytest.mark.parametrize("kind", ["six speakers", "64 experts", "little"])
def test_colours_are_those_of_the_page(kind: str) -> None:
    document = DOCUMENTS[kind]()
    known = {*ramp_colours("light"), *theme_colours().values(), "#ffffff", "#000000"}
    known |= {*expert_colours(len(document["experts"])), *expert_colours(3)}
    steps = np.round(255 * ramp("light", 21)).astype(int).tolist()
    known |= {f"#{r:02x}{g:02x}{b:02x}" for r, g, b in steps}
    for figure in report_figures(document):
        svg = figure_content(figure, STYLE).decode()
        found = set(re.findall("#[0-9a-f]{6}", svg))
        assert found <= known, figure.id


def test_pictures_have_300_dots_per_inch_or_more_over_the_whole_width(tmp_path: Path) -> None:
    figures = report_figures(make_document(3, layers=1))[:2]
    for width in ("84mm", "90.5mm"):
        for path in write_figures(figures, tmp_path, paper_style("png", width))[:-1]:
            with Image.open(path) as picture:
                across, down = picture.info["dpi"]
                assert across >= 300
                assert down >= 300
                inches = float(width.removesuffix("mm")) / 25.4
                assert picture.width / across == pytest.approx(inches, rel=2e-4)


def rectangle(box: Any) -> tuple[float, float, float, float]:
    return box.x0, box.y0, box.x1, box.y1


def assert_legible(figure: Figure, width: str, size: float) -> None:
    """Nothing is written beyond the edges of the sheet, or over another text."""
    sheet = draw_figure(figure, paper_style("svg", width, size)).figure
    sheet.set_dpi(600)  # at fewer, letters are moved to whole pixels
    boxes = [(t.get_text(), rectangle(t.get_window_extent())) for t in sheet.texts if t.get_text()]
    end, top = sheet.bbox.x1, sheet.bbox.y1
    # The boxes are of whole lines, taller than letters.
    slack = 0.35 * size * sheet.dpi / 72
    for text, (x0, y0, x1, y1) in boxes:
        assert x0 >= -slack, (figure.id, text)
        assert x1 <= end + slack, (figure.id, text)
        assert y0 >= -slack, (figure.id, text)
        assert y1 <= top + slack, (figure.id, text)
    for (one, a), (two, b) in itertools.combinations(boxes, 2):
        beside = a[2] - slack <= b[0] or b[2] - slack <= a[0]
        assert beside or a[3] - slack <= b[1] or b[3] - slack <= a[1], (figure.id, one, two)


@pytest.mark.slow
@pytest.mark.parametrize("kind", DOCUMENTS)
@pytest.mark.parametrize(("width", "size"), [("84mm", 8), ("174mm", 8), ("60mm", 7), ("120mm", 12)])
def test_texts_are_on_the_sheet_and_apart(kind: str, width: str, size: float) -> None:
    for figure in report_figures(DOCUMENTS[kind]()):
        assert_legible(figure, width, size)


# Shrinking would draw hundreds of figures.
@settings(max_examples=12, phases=[Phase.explicit, Phase.generate])
@example(1, 1, 1, 30, True)
@example(80, 64, 30, 30, False)
@example(250, 30, 30, 30, True)
@given(
    st.integers(1, 80), st.integers(1, 64), st.integers(1, 30), st.integers(1, 30), st.booleans()
)
def test_heat_maps_of_any_size_are_legible(
    rows: int, columns: int, longest_row: int, longest_column: int, beside: bool
) -> None:
    weights = np.random.default_rng(0).dirichlet(np.ones(columns), rows)
    heat = HeatMap(
        rows=[f"{i}{'x' * longest_row}" for i in range(rows)],
        columns=[f"{i}{'y' * longest_column}" for i in range(columns)],
        weights=weights,
        effective=np.exp(-(weights * np.log(weights)).sum(axis=1)) if beside else None,
    )
    figure = heat.figure("heat", "weights", "")
    assert_legible(figure, "84mm", 8)
    assert draw_figure(figure, STYLE).figure.get_figheight() * 25.4 < 226


def test_odd_names_are_shown_as_they_are() -> None:
    document = make_document(len(EVIL))
    new = dict(zip(document["speakers"], EVIL, strict=True))
    for key in ("speakers", "experts", "most_used"):
        document[key] = [new[name] for name in document[key]]
    document["phonemes"] = [*EVIL, *document["phonemes"][len(EVIL) :]]
    for format in ("svg", "pdf", "png"):
        for figure in report_figures(document):
            content = figure_content(figure, paper_style(format))
            if format == "svg":
                texts = texts_of(content)
                if figure.id in {"heat-speakers", "heat-phonemes", "blend", "credit"}:
                    assert {"ann 😀", "$x^2$ $", "<b>&", "話者"} <= set(texts), figure.id
                    assert any("…" in text and text.endswith("end") for text in texts)
                    assert r"\x1b[31m\u202e" in texts


def test_nothing_changes_if_a_figure_cannot_be_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = report_figures(make_document(3, layers=1))
    (tmp_path / "01_speakers.svg").write_text("old")

    def fail(figure: Figure, style: object) -> bytes:
        if figure is figures[2]:
            raise MemoryError
        return b"new"

    monkeypatch.setattr(module, "figure_content", fail)
    with pytest.raises(MemoryError):
        write_figures(figures, tmp_path, STYLE)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("01_speakers.svg", "old")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--width", "84"], "--width: found '84', expected a length in mm, cm, in or pt"),
        (["--width", "8 ells"], "--width: found '8 ells', expected a length in mm"),
        (["--width", "-84mm"], "--width: found '-84mm', expected a length in mm"),
        (["--width", "3mm"], "--width: found 3mm, expected 57mm to 1000mm with text of 8 points"),
        (["--width", "9e9mm"], "--width: found '9e9mm', expected a length"),
        (["--width", "9" * 400 + "mm"], "expected 57mm to 1000mm"),
        (["--format", "gif"], "--format: found 'gif', expected svg, pdf or png"),
        (["--font-size", "0"], "--font-size: found 0, expected 4 to 24 points"),
        (["--font-size", "nan"], "--font-size: found nan, expected 4 to 24 points"),
        (["--figures", "file"], "--figures: found a file, file, expected a folder"),
        (["--figures", "file/below"], "--figures: found a file, file, expected a folder"),
    ],
)
def test_what_cannot_be_is_refused_before_the_work(
    options: list[str],
    message: str,
    phoneme_moe: Callable[..., Outcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    done = phoneme_moe("report", "english", "--figures", "figures", *options)
    assert done.code == 1
    assert message in done.err
    assert done.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("option", ["--format=pdf", "--width=84mm", "--font-size=8"])
def test_options_of_figures_need_the_folder(
    option: str, phoneme_moe: Callable[..., Outcome], tmp_path: Path
) -> None:
    done = phoneme_moe("report", "english", option, "--out", tmp_path / "out")
    assert done.code == 1
    assert f"{option.partition('=')[0]}: expected --figures DIR with it" in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_stored_report_is_drawn_without_its_corpora(
    phoneme_moe: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHONEME_MOE_DATA", str(tmp_path / "nothing"))
    folders = ["--out", tmp_path / "out", "--figures", tmp_path / "figures"]
    done = phoneme_moe("report", "english", *folders)
    assert done.code == 0, done.err
    plots = plots_of((tmp_path / "out" / "report.html").read_text())
    assert {path.stem for path in (tmp_path / "figures").glob("*.svg")} == set(stems(plots))


def test_help_names_the_units_and_formats(phoneme_moe: Callable[..., Outcome]) -> None:
    shown = " ".join(phoneme_moe("report", "--help").out.replace("│", " ").split())
    for words in ("--figures", "svg|pdf|png", "in mm, cm, in or pt", "--font-size"):
        assert words in shown


@pytest.mark.parametrize(("length", "points"), [("84mm", 238.11), (84, 238.11), ("238pt", 238)])
def test_a_length_is_understood(length: str | float, points: float) -> None:
    assert paper_style(width=length).width == pytest.approx(points, abs=0.01)


@given(st.text(max_size=8))
def test_any_other_length_is_refused(length: str) -> None:
    with pytest.raises(ArgumentError, match=r"^width: found "):
        paper_style(width=length)


@pytest.mark.parametrize("format", ["svg", "pdf", "png"])
def test_the_same_report_gives_the_same_bytes(format: str) -> None:
    document = make_document(3, layers=1)
    for figure in report_figures(document):
        again = next(one for one in report_figures(document) if one.id == figure.id)
        style = paper_style(format)
        assert figure_content(figure, style) == figure_content(again, style), figure.id
