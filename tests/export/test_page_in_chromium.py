"""Pages in a browser: what they compute, what they ask for, and what drawing, dropping and sliding do."""

import jax.numpy as jnp
import networks
import numpy as np
import pytest
from PIL import Image

from kdgan.data.images import convert, fit
from kdgan.export import page
from kdgan.export.page import Examples, PageModel
from kdgan.losses.latents import project

pytestmark = pytest.mark.extra("onnx")
EVIL = """</script><script>window.hacked = 1</script><img src=x onerror="window.hacked = 1">"""
NAMES = ("ze<b>ro", "one", EVIL)
SHAPE = (8, 8, 1)
SEEN = """(() => {
    const canvas = document.querySelector('.seen canvas');
    const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    return [...data].filter((_, i) => i % 4 === 0);
})()"""


def written(browser, path, models, **given):
    """Open the page that is written; return the outputs of its self-test, one for each model."""
    page.write(path, models, title="x", **given)
    return browser.selftest(path)


def text(browser, selector):
    return browser.evaluate(f"[...document.querySelectorAll('{selector}')].map(one => one.textContent)")


def settle(browser):
    browser.wait("!working && !waiting.size")


def digits(count=6, seed=0):
    """Light strokes on a dark ground, uint8 [n, 8, 8, 1]."""
    image = np.zeros((count, *SHAPE), np.uint8)
    image[:, 1:7, 2:6] = np.random.default_rng(seed).integers(100, 256, (count, 6, 4, 1))
    return image


@pytest.fixture(scope="module")
def classifier(browser, tmp_path_factory):
    """An open page of a classifier, the functions of its networks and the outputs of its self-test."""
    made = [networks.classifier(SHAPE, 3, seed) for seed in range(2)] + [networks.classifier(SHAPE, 3, 1, batch=1)]
    models = [PageModel(label, model) for label, (model, _) in zip(("teacher", "student", EVIL), made, strict=True)]
    path = tmp_path_factory.mktemp("page") / "page.html"
    outputs = written(
        browser, path, models, kind="classifier", class_names=NAMES, image_shape=SHAPE,
        examples=Examples(digits(), np.arange(6) % 3),
    )  # fmt: skip
    settle(browser)
    return path, [function for _, function in made], outputs


def test_probabilities_are_those_of_the_network(classifier):
    _, functions, outputs = classifier
    assert len(outputs) == 3
    for function, output in zip(functions, outputs, strict=True):
        np.testing.assert_allclose(output, function(digits()), atol=1e-5)


def test_names_are_text_and_a_foreign_script_does_not_run(browser, classifier):
    path, _, _ = classifier
    browser.open(path.as_uri())
    assert browser.evaluate("typeof window.hacked") == "undefined"
    assert text(browser, ".card h3")[2] == EVIL
    assert set(text(browser, ".bars .name")) == set(NAMES)
    assert browser.evaluate("document.querySelectorAll('main img, .bars b').length") == 0
    other = path.with_name("other.html")
    other.write_text(path.read_text().replace("</main>", "<script>window.hacked = 1</script></main>"))
    browser.complaints.clear()
    browser.open(other.as_uri())
    assert browser.evaluate("typeof window.hacked") == "undefined"
    assert "Content Security Policy" in " ".join(browser.complaints)
    request = "fetch('data:text/plain,x').then(() => 'loaded', () => 'refused')"
    assert browser.evaluate(request) == "refused"


def test_an_example_shows_what_each_network_says_of_it(browser, classifier):
    path, functions, _ = classifier
    browser.open(path.as_uri())
    browser.evaluate("document.querySelectorAll('.thumbnails button')[4].click()")
    settle(browser)
    assert browser.evaluate(SEEN) == digits()[4].ravel().tolist()
    for place, function in enumerate(functions):
        probabilities = function(digits()[4:5])[0]
        best = probabilities.argmax()
        assert text(browser, ".verdict b")[place] == NAMES[best]
        shown = [float(one.split()[0]) for one in text(browser, ".bars .number")[3 * place : 3 * place + 3]]
        np.testing.assert_allclose(shown, 100 * probabilities, atol=0.051)
    assert all(" ms an image" in one for one in text(browser, ".cost"))
    assert text(browser, ".said") == [f"In the data: {NAMES[1]}"]


def test_a_drawing_is_scaled_and_placed_as_the_images_are(browser, classifier):
    path, functions, _ = classifier
    browser.open(path.as_uri())
    left, top, side = browser.evaluate(
        "(box => [box.left, box.top, box.width])(document.querySelector('.pad').getBoundingClientRect())"
    )
    # A small upright stroke in a corner becomes as tall as what the images show, 6 of 8 rows, in their middle.
    browser.drag(*[(left + 0.15 * side, top + y * side) for y in (0.15, 0.2, 0.3, 0.4)])
    settle(browser)
    seen = np.array(browser.evaluate(SEEN)).reshape(8, 8)
    rows, columns = np.nonzero(seen > 64)
    assert (rows.min(), rows.max()) == (1, 6)
    assert {*columns} <= {3, 4}
    assert (seen * (np.arange(8) + 0.5)).sum() / seen.sum() == pytest.approx(4, abs=0.1)
    assert seen.max() >= 230
    best = functions[0](seen.astype(np.uint8).reshape(1, *SHAPE)).argmax()
    assert text(browser, ".verdict b")[0] == NAMES[best]
    browser.evaluate("[...document.querySelectorAll('button')].find(one => one.textContent === 'Clear').click()")
    assert text(browser, ".verdict")[0] == "–"
    assert not np.any(browser.evaluate(SEEN))


@pytest.mark.parametrize(("mode", "size"), [("RGB", (31, 20)), ("L", (5, 6)), ("RGB", (200, 300))])
def test_a_file_is_scaled_as_a_folder_of_images_is(browser, tmp_path, mode, size, classifier):
    path, _, _ = classifier
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
    pixels = np.random.default_rng(0).integers(0, 120, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    browser.open(path.as_uri())
    settle(browser)
    browser.choose("#file", tmp_path / "image.png")
    browser.wait("document.querySelector('.said').textContent === ''")
    settle(browser)
    wanted = fit(convert(pixels.reshape(size[1], size[0], -1), 1), (8, 8))
    np.testing.assert_allclose(browser.evaluate(SEEN), wanted.ravel(), atol=1.01)
    # Dark on light is turned, as the images are light on dark.
    Image.fromarray(255 - pixels).save(tmp_path / "light.png")
    browser.choose("#file", tmp_path / "light.png")
    browser.wait("document.querySelector('.said').textContent.startsWith('Inverted')")
    np.testing.assert_allclose(browser.evaluate(SEEN), wanted.ravel(), atol=2.01)
    (tmp_path / "text.png").write_text("no image")
    browser.choose("#file", tmp_path / "text.png")
    browser.wait("document.querySelector('.said').textContent.startsWith('This file is no image')")


def test_tags_hold_each_by_itself(browser, tmp_path):
    model, function = networks.classifier(SHAPE, 3, 2)  # probabilities that sum to 1 are tags as good as any
    examples = Examples(digits(40), np.eye(3, dtype=bool)[np.arange(40) % 3])
    written(
        browser, tmp_path / "page.html", [PageModel("student", model)], kind="tags", class_names="abc",
        image_shape=SHAPE, examples=examples,
    )  # fmt: skip
    probabilities = function(digits(40))
    for place in (int((probabilities.max(-1) < 0.5).argmax()), int((probabilities[:, 1] > 0.5).argmax())):
        browser.evaluate(f"document.querySelectorAll('.thumbnails button')[{place}].click()")
        settle(browser)
        chosen = np.flatnonzero(probabilities[place] > 0.5)
        assert text(browser, ".verdict b") == ["".join("abc"[k] for k in chosen) or "none"]
        assert text(browser, ".said") == [f"In the data: {'abc'[place % 3]}"]


@pytest.fixture(scope="module")
def generator(browser, tmp_path_factory):
    made = [networks.generator(SHAPE, 6, 3, seed=0), networks.generator(SHAPE, 2, 3, seed=1)]
    models = [PageModel("teacher", made[0][0], latent=6), PageModel("student", made[1][0], latent=2)]
    path = tmp_path_factory.mktemp("page") / "page.html"
    outputs = written(browser, path, models, kind="generator", class_names=NAMES, sliders=(4, 1))
    return path, [function for _, function in made], outputs


def test_images_are_made_of_the_same_noise(generator):
    _, (teacher, student), outputs = generator
    noise, label = page.start_noise(6), np.arange(16) % 3
    np.testing.assert_allclose(outputs[0], teacher(noise, label), atol=1e-5)
    np.testing.assert_allclose(outputs[1], student(np.asarray(project(jnp.asarray(noise), 2)), label), atol=1e-5)


SLIDE = """(input => {{ input.value = {}; input.dispatchEvent(new Event('input')); }})(
    document.querySelectorAll('input[type=range]')[{}])"""
PICTURES = """[...document.querySelectorAll('.card canvas')].map(canvas =>
    [...canvas.getContext('2d').getImageData(0, 0, 8, 8).data].filter((_, i) => i % 4 === 0))"""


def test_sliders_classes_and_the_way_between_noises_change_both(browser, generator):
    path, (teacher, student), _ = generator
    browser.open(path.as_uri())
    noise, label = page.start_noise(6), 0

    def check(z, label):
        settle(browser)
        small = np.asarray(project(jnp.asarray(z[None]), 2))
        for pixels, image in zip(
            browser.evaluate(PICTURES), (teacher(z[None], [label]), student(small, [label])), strict=True
        ):
            np.testing.assert_allclose(pixels, 255 * image.ravel(), atol=1)

    check(noise[0], label)
    browser.evaluate(SLIDE.format(1.5, 0))
    changed = noise[0].copy()
    changed[4] = 1.5
    check(changed, label)
    browser.evaluate("document.querySelectorAll('.chips input')[2].click()")
    check(changed, 2)
    browser.evaluate(SLIDE.format(1, 2))
    check(noise[1], 2)
    browser.evaluate("[...document.querySelectorAll('button')].find(one => one.textContent === 'New noise').click()")
    settle(browser)
    assert np.abs(np.array(browser.evaluate(PICTURES)[0]) - 255 * teacher(noise[1:2], [2]).ravel()).max() > 5


def test_a_generator_without_classes(browser, tmp_path):
    model, function = networks.generator((8, 8, 3), 4)
    outputs = written(browser, tmp_path / "page.html", [PageModel("student", model, latent=4)], kind="generator")
    np.testing.assert_allclose(outputs[0], function(page.start_noise(4)), atol=1e-5)
    assert text(browser, "fieldset") == []
    assert len(text(browser, ".sliders .slider")) == 4


def test_before_and_after(browser, tmp_path):
    model, function = networks.larger(3, scale=2)
    image = np.random.default_rng(0).integers(0, 256, (2, 6, 9, 3), dtype=np.uint8)
    target = image.repeat(2, 1).repeat(2, 2)
    target[1, :, :, 0] ^= 16
    outputs = written(
        browser, tmp_path / "page.html", [PageModel("student", model)], kind="images", image_shape=(None, None, 3),
        examples=Examples(image, targets=target),
    )  # fmt: skip
    np.testing.assert_allclose(outputs[0], function(image), atol=1e-6)
    browser.evaluate("document.querySelectorAll('.thumbnails button')[1].click()")
    settle(browser)
    # A third of the numbers differ by 16 of 255.
    assert f"PSNR {-10 * np.log10((16 / 255) ** 2 / 3):.2f} dB" in text(browser, ".cost")[0]
    browser.evaluate("document.querySelector('.compare input').focus()")
    for _ in range(3):
        for event in ("rawKeyDown", "keyUp"):
            browser.send("Input.dispatchKeyEvent", type=event, key="ArrowRight", windowsVirtualKeyCode=39)
    assert browser.evaluate("document.querySelector('.compare').style.getPropertyValue('--share')") == "53%"
    Image.fromarray(image[0]).save(tmp_path / "image.png")
    browser.choose("#file", tmp_path / "image.png")
    browser.wait("document.querySelectorAll('.card')[1].hidden")  # no target is known of it
    pixels = browser.evaluate("[...document.querySelector('.over').getContext('2d').getImageData(0, 0, 18, 12).data]")
    np.testing.assert_array_equal(np.array(pixels).reshape(12, 18, 4)[..., :3], image[0].repeat(2, 0).repeat(2, 1))


def test_pages_fit_a_narrow_phone(browser, classifier, generator):
    for path, *_ in (classifier, generator):
        browser.open(path.as_uri(), width=320, height=640)
        settle(browser)
        assert browser.evaluate("document.documentElement.scrollWidth") <= 320


def test_what_is_no_network_is_said(browser, tmp_path):
    path = tmp_path / "page.html"
    page.write(path, [PageModel("x", b"no network")], kind="classifier", title="x", class_names="ab", image_shape=SHAPE)
    browser.open(path.as_uri())
    assert browser.evaluate("document.getElementById('status').textContent").startswith("The networks cannot be run: ")
