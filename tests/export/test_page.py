"""The file of a page: what of the data and of the person stands in it as text, what it may do, and what is refused."""

import base64
import gzip
import hashlib
import io
import json
import re
import tarfile
from html.parser import HTMLParser

import jax.numpy as jnp
import numpy as np
import pytest

from kdgan.data.fields import Field
from kdgan.export import latents, onnxruntime_web, page
from kdgan.export.pad import pad_of
from kdgan.export.page import Examples, PageModel
from kdgan.losses.latents import project

EVIL = """</script><script>window.hacked = 1</script><!-- <img src=x onerror="window.hacked = 1"> & 'x' {{wasm}}"""


class Parsed(HTMLParser):
    """Elements with their attributes, and the text of each."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self._open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append([tag, dict(attributes), ""])
        if tag not in ("meta", "link", "br"):
            self._open.append(self.elements[-1])

    def handle_endtag(self, tag):
        assert self._open.pop()[0] == tag

    def handle_data(self, data):
        if self._open:
            self._open[-1][2] += data

    def all(self, tag):
        return [(attributes, text) for name, attributes, text in self.elements if name == tag]

    def one(self, identifier):
        return next(text for _, attributes, text in self.elements if attributes.get("id") == identifier)


@pytest.fixture
def runtime_files(monkeypatch):
    """Files in place of onnxruntime-web's, which a test without a browser does not run."""
    files = onnxruntime_web.Runtime(b"export default {};", b"\0asm" * 50)
    monkeypatch.setattr(onnxruntime_web, "read", lambda: files)
    return files


def classifier_page(path, **changed):
    image = np.zeros((3, 8, 8, 1), np.uint8)
    image[:, 2:6, 3:5] = 255
    given = dict(
        models=[PageModel("teacher", b"t" * 9_960, "large"), PageModel("student", b"s" * 600)],
        kind="classifier", title="Digits", class_names=["zero", "one"], image_shape=(8, 8, 1),
        examples=Examples(image, np.array([0, 1, 0])),
    )  # fmt: skip
    given.update(changed)
    return Parsed(page.write(path, given.pop("models"), **given).read_text(encoding="utf-8"))


def test_what_a_data_set_and_a_person_bring_is_text(tmp_path, runtime_files):
    parsed = classifier_page(
        tmp_path / "page.html", models=[PageModel(EVIL, b"x", EVIL)], title=EVIL, description=EVIL,
        about={EVIL: EVIL}, class_names=[EVIL, "</style>"],
    )  # fmt: skip
    data = json.loads(parsed.one("data"))
    assert data["classes"] == [EVIL, "</style>"]
    assert data["title"] == data["models"][0]["label"] == EVIL
    assert [attributes.get("id") for attributes, _ in parsed.all("script")] == [
        "selftest", "data", "network-0", "runtime-module", "runtime-wasm", None,
    ]  # fmt: skip
    assert not parsed.all("img")
    for tag in ("title", "h1", "dt", "dd"):
        assert [text for _, text in parsed.all(tag)] == [EVIL]
    assert EVIL in [text for _, text in parsed.all("p")]
    assert "{{" not in re.sub(re.escape("{{wasm}}"), "", parsed.one("data"))


def test_the_policy_lets_its_own_script_run_and_nothing_be_loaded(tmp_path, runtime_files):
    parsed = classifier_page(tmp_path / "page.html")
    order = [(tag, attributes) for tag, attributes, _ in parsed.elements]
    policies = [
        place for place, (_, attributes) in enumerate(order)
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]  # fmt: skip
    assert len(policies) == 1
    assert policies[0] < min(place for place, (tag, _) in enumerate(order) if tag in ("script", "style", "link"))
    policy = dict(part.split(maxsplit=1) for part in order[policies[0]][1]["content"].split("; "))
    assert policy["default-src"] == policy["connect-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["img-src"] == "data: blob:"
    digest = lambda text: f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
    (script,) = (text for attributes, text in parsed.all("script") if not attributes)
    assert policy["script-src"] == f"{digest(script)} blob: 'wasm-unsafe-eval'"
    assert policy["style-src"] == digest(parsed.all("style")[0][1])


@pytest.mark.parametrize("kind", page.KINDS)
def test_no_script_makes_markup_of_text_or_asks_the_network(kind):
    script = "".join((page.FILES / name).read_text() for name in ("pixels.js", "page.js", page.KINDS[kind], "start.js"))
    for forbidden in (
        "innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function(", "fetch(", "XMLHttp",
        "WebSocket", "sendBeacon", "http:", "https:", "</", "<!--",
    ):  # fmt: skip
        assert forbidden not in script, forbidden


def test_the_page_holds_networks_runtime_and_sizes_and_refers_to_nothing(tmp_path, runtime_files):
    path = tmp_path / "page.html"
    parsed = classifier_page(path, about={"data": "digits"})
    assert base64.b64decode(parsed.one("network-0")) == b"t" * 9_960
    assert base64.b64decode(parsed.one("network-1")) == b"s" * 600
    assert base64.b64decode(parsed.one("runtime-module")) == runtime_files.module
    assert gzip.decompress(base64.b64decode(parsed.one("runtime-wasm"))) == runtime_files.wasm
    assert [text for _, text in parsed.all("td")] == ["", "large", "10 kB", "", "0.6 kB"]
    assert "Permission is hereby granted" in path.read_text()
    references = {
        value for _, attributes, _ in parsed.elements for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "data")
    }  # fmt: skip
    assert references == {"data:,"}
    data = json.loads(parsed.one("data"))
    assert data["labels"] == [[0], [1], [0]]
    assert [one["shape"] for one in data["examples"]] == [[8, 8, 1]] * 3
    assert [model["bytes"] for model in data["models"]] == [9_960, 600]


def test_a_smaller_generator_is_given_the_projection_that_players_share(tmp_path, runtime_files):
    models = [PageModel("teacher", b"t", latent=6), PageModel("student", b"s", latent=2)]
    text = page.write(tmp_path / "page.html", models, kind="generator", title="x", sliders=(5, 0)).read_text()
    data = json.loads(Parsed(text).one("data"))
    array = lambda packed: np.frombuffer(base64.b64decode(packed["bytes"]), np.float32).reshape(packed["shape"])
    noise = array(data["noise"])
    assert noise.shape == (16, 6)
    np.testing.assert_array_equal(noise, page.start_noise(6))
    teacher, student = data["models"]
    assert teacher["projection"] is None
    np.testing.assert_allclose(noise @ array(student["projection"]), project(jnp.asarray(noise), 2), atol=1e-6)
    assert data["sliders"] == [5, 0]


IMAGE, TEXT = Field("image", (8, 8, 1)), Field("vector", (5,))
NOISE, LABEL = Field("vector", (4,)), Field("class", (), None, ("a", "b"))


@pytest.mark.parametrize(
    ("inputs", "output", "kind"),
    [
        ({"image": IMAGE}, "probabilities", "classifier"),
        ({"photo": IMAGE}, "tags", "tags"),
        ({"image": IMAGE}, "images", "images"),
        ({"noise": NOISE}, "images", "generator"),
        ({"noise": NOISE, "label": LABEL}, "images", "generator"),
    ],
)
def test_what_a_player_takes_and_gives_decides_the_kind(inputs, output, kind):
    assert page.kind_of("student", inputs, output) == kind


@pytest.mark.parametrize(
    ("inputs", "output"),
    [
        ({"image": IMAGE, "text": TEXT}, "probabilities"),
        ({"text": TEXT}, "probabilities"),
        ({"image": IMAGE}, "values"),
    ],
)
def test_a_player_that_no_page_runs_is_refused(inputs, output):
    taken = ", ".join(f"{name} ({field.kind})" for name, field in inputs.items())
    with pytest.raises(ValueError, match="format page cannot hold student: it takes " + re.escape(taken)):
        page.kind_of("student", inputs, output)


def test_tags_of_examples_are_numbers(tmp_path, runtime_files):
    examples = Examples(np.zeros((2, 8, 8, 1), np.uint8), np.array([[True, False, True], [False] * 3]))
    parsed = classifier_page(tmp_path / "page.html", kind="tags", class_names="abc", examples=examples)
    assert json.loads(parsed.one("data"))["labels"] == [[0, 2], []]


def test_examples_of_several_sizes_are_few_where_they_are_large(tmp_path, runtime_files):
    sides = (4, 600, 500, 900)
    images = [np.zeros((side, 5 + side, 3), np.uint8) for side in sides]
    targets = [image.repeat(2, 0).repeat(2, 1) for image in images]
    given = dict(kind="images", image_shape=(None, None, 3))
    parsed = classifier_page(tmp_path / "page.html", **given, examples=Examples(images))
    data = json.loads(parsed.one("data"))
    assert [one["shape"] for one in data["examples"]] == [[4, 9, 3], [600, 605, 3], [500, 505, 3]]
    parsed = classifier_page(tmp_path / "page.html", **given, examples=Examples(images, targets=targets))
    assert [one["shape"] for one in json.loads(parsed.one("data"))["targets"]] == [[8, 18, 3]]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kind": "tokens"}, "kind = 'tokens': a page is of kind classifier, tags, generator, images"),
        ({"models": []}, "one or more models"),
        ({"image_shape": (8, 8)}, r"image_shape = \(8, 8\)"),
        ({"image_shape": (None, None, 1)}, "an image_shape of three numbers"),
        ({"class_names": []}, "needs class_names"),
        ({"examples": Examples(np.zeros((2, 8, 8, 1), np.float32))}, "an example is float32"),
        (
            {"examples": Examples(np.zeros((2, 9, 8, 1), np.uint8))},
            r"shape \[9, 8, 1\]; the models take \[8, 8, 1\]",
        ),
        (
            {"examples": Examples(np.zeros((2, 8, 8, 1), np.uint8), np.zeros(3, int))},
            "examples have 2 images and 3 labels",
        ),
        ({"kind": "generator"}, "latent of 'teacher' is not given"),
        ({"kind": "generator", "models": [PageModel("g", b"x", latent=4)], "sliders": (1, 4)}, "sliders = 4"),
    ],
)
def test_what_makes_no_page_is_refused(tmp_path, runtime_files, changed, message):
    with pytest.raises(ValueError, match=message):
        classifier_page(tmp_path / "page.html", **changed)
    assert not list(tmp_path.iterdir())


# ---- the runtime's files ---------------------------------------------------------------------------------------------
@pytest.fixture
def pinned(monkeypatch, tmp_path):
    """A cache of its own, and files with other digests than the published ones."""
    monkeypatch.setenv("KDGAN_CACHE_DIR", str(tmp_path / "cache"))
    contents = {onnxruntime_web.MODULE: b"module", onnxruntime_web.WASM: b"wasm"}
    monkeypatch.setattr(
        onnxruntime_web, "SHA256", {name: hashlib.sha256(text).hexdigest() for name, text in contents.items()}
    )
    return contents


def archive(path, contents):
    with tarfile.open(path, "w:gz") as package:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(content)
            package.addfile(member, io.BytesIO(content))
    return path


def test_files_are_taken_from_the_package_and_read_back(pinned, tmp_path, capsys):
    package = archive(tmp_path / "package.tgz", {**pinned, "ort.js": b"other"})
    assert onnxruntime_web.main([str(package)]) == 0
    assert str(onnxruntime_web.folder()) in capsys.readouterr().out
    assert sorted(path.name for path in onnxruntime_web.folder().iterdir()) == sorted(pinned)
    assert onnxruntime_web.read() == (b"module", b"wasm")


def test_absent_and_damaged_files_say_what_fetches_them(pinned, tmp_path):
    with pytest.raises(ValueError, match=r"run `python -m kdgan\.export\.onnxruntime_web` once") as absent:
        page.write(
            tmp_path / "page.html", [PageModel("s", b"x")], kind="classifier", title="x", class_names="ab",
            image_shape=(8, 8, 1),
        )  # fmt: skip
    assert "\n" not in str(absent.value)
    assert not (tmp_path / "page.html").exists()
    onnxruntime_web.fetch(archive(tmp_path / "package.tgz", pinned))
    (onnxruntime_web.folder() / onnxruntime_web.WASM).write_bytes(b"other")
    with pytest.raises(
        ValueError, match=r"is not that of onnxruntime-web@.*run `python -m kdgan\.export\.onnxruntime_web`"
    ):
        onnxruntime_web.read()


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({onnxruntime_web.MODULE: b"module"}, f"no package of onnxruntime-web@{onnxruntime_web.VERSION}"),
        ({onnxruntime_web.MODULE: b"module", onnxruntime_web.WASM: b"changed"}, "is not that of"),
        (None, "no .tgz as"),
    ],
)
def test_another_package_is_refused_and_the_cache_kept(pinned, tmp_path, capsys, contents, message):
    onnxruntime_web.fetch(archive(tmp_path / "right.tgz", pinned))
    wrong = tmp_path / "wrong.tgz"
    archive(wrong, contents) if contents else wrong.write_bytes(b"no archive")
    assert onnxruntime_web.main([str(wrong)]) == 1
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert onnxruntime_web.read() == (b"module", b"wasm")


def test_without_npm_or_file_it_says_so(pinned, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert onnxruntime_web.main([]) == 1
    assert f"run `npm pack onnxruntime-web@{onnxruntime_web.VERSION}`" in capsys.readouterr().err
    assert onnxruntime_web.main([str(tmp_path / "absent.tgz")]) == 1
    assert "no such file" in capsys.readouterr().err


def test_npm_is_asked_for_the_pinned_package_and_its_errors_are_told(pinned, tmp_path, monkeypatch):
    packed = archive(tmp_path / "packed.tgz", pinned)
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\nfor last; do :; done\ncp {packed} "$last"/x.tgz\n')
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{npm.parent}:/usr/bin:/bin")
    onnxruntime_web.fetch()
    assert (tmp_path / "asked").read_text().split()[:3] == ["pack", onnxruntime_web.PACKAGE, "--ignore-scripts"]
    assert onnxruntime_web.read() == (b"module", b"wasm")
    npm.write_text('#!/bin/sh\necho "npm error code E404" >&2\nexit 1\n')
    with pytest.raises(ValueError, match=r"npm pack onnxruntime-web@[\d.]+` failed: npm error code E404$"):
        onnxruntime_web.fetch()


# ---- drawings and sliders --------------------------------------------------------------------------------------------
def test_a_drawing_is_made_like_the_images():
    image = np.zeros((2, 20, 10, 1), np.uint8)
    image[0, 4:14, 2:6] = 200  # 10 of 20 rows; centre of mass x 4, y 9
    image[1, 6:16, 4:8] = 200  # x 6, y 11
    assert pad_of(image) == {
        "dark": True,
        "extent": 0.5,
        "centre": [0.5, 0.5],
        "peak": pytest.approx(200 / 255, abs=1e-4),
    }
    light = pad_of(255 - image)
    assert light == {**pad_of(image), "dark": False}


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((2, 8, 8, 3), np.uint8),
        np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), dtype=np.uint8),
        np.full((2, 8, 8, 1), 128, np.uint8),
        np.zeros((2, 8, 8, 1), np.uint8),
    ],
    ids=["colour", "noise", "grey", "empty"],
)
def test_images_that_one_does_not_draw_have_no_pad(image):
    assert pad_of(image) is None


def test_sliders_move_the_dimensions_that_change_the_images_most():
    weight = np.array([0.1, 3.0, 0.0, 2.0, 1.0], np.float32)
    assert latents.most_changing(lambda noise: noise * weight, 5, count=3) == (1, 3, 4)
    assert latents.most_changing(lambda noise: noise * weight, 5) == (1, 3, 4, 0, 2)
