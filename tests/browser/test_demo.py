"""The page of `hdf demo` in Chromium: an upload and its answer, bad files, two visitors, keys alone, a phone.

Needs the extras `demo` and `face`, playwright, and Chromium (`apt-get install chromium`).
`HDF_SCREENSHOTS=docs/images` takes the pictures of the documentation.
"""

import io
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import av
import pytest

pytest.importorskip("gradio")
playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("Chromium is not installed", allow_module_level=True)

from modeling_hdf.demo import serve  # noqa: E402
from modeling_hdf.demo.examples import EXAMPLES, rendered_video  # noqa: E402
from modeling_hdf.demo.limits import DEMO_LIMITS  # noqa: E402
from modeling_hdf.inference import analyze  # noqa: E402
from modeling_hdf.pretrained import RAW_VIDEO_MODEL  # noqa: E402

FACE = Path(__file__).parents[2] / "examples" / "face.mp4"
expect = playwright.expect
expect.set_options(timeout=60_000)


@pytest.fixture(scope="module")
def demo():
    with serve(RAW_VIDEO_MODEL, port=0) as page:
        yield page


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium, whose webcam shows a rendered face."""
    face = tmp_path_factory.mktemp("webcam") / "face.mjpeg"
    face.write_bytes(webcam_video())
    arguments = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    arguments.append(f"--use-file-for-fake-video-capture={face}")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


def webcam_video() -> bytes:
    """A rendered face in a frame of 640x480, as MJPEG."""
    with av.open(io.BytesIO(rendered_video(EXAMPLES["Rendered face 1"], frame=(480, 640)))) as video:
        pictures = [frame.to_image() for frame in video.decode(video=0)]
    with io.BytesIO() as file:
        for picture in pictures:
            picture.save(file, "JPEG", quality=90)
        return file.getvalue()


@pytest.fixture
def visit(demo, browser):
    """Opens the page as a new visitor; the browser may have begun no request to another server."""
    contexts, elsewhere = [], []

    def open_page(width: int = 1200, height: int = 900):
        context = browser.new_context(viewport={"width": width, "height": height})
        contexts.append(context)
        page = context.new_page()
        here = ("data:", "blob:", demo.local_url.rstrip("/"))
        page.on("request", lambda request: request.url.startswith(here) or elsewhere.append(request.url))
        page.goto(demo.local_url)
        expect(page.locator("#start")).to_be_visible()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert elsewhere == []


def upload(page, path: Path) -> None:
    page.set_input_files("#upload input[type=file]", str(path))
    expect(page.locator("#upload video")).to_be_visible()
    page.click("#start")


def take(page, name: str) -> None:
    folder = os.environ.get("HDF_SCREENSHOTS")
    if folder:
        page.wait_for_timeout(1500)
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)


def test_an_upload_gets_the_answer_of_analyze_and_leaves_no_file(visit, demo):
    page = visit()
    upload(page, FACE)
    expect(page.locator("#people li")).to_have_count(1)
    person = analyze(str(FACE), RAW_VIDEO_MODEL).summary.iloc[0]
    confidence = f"{person['mean_' + person['label']]:.0%}"
    expect(page.locator("#people li")).to_contain_text(f"Person 1: {person['label']}, confidence {confidence}")
    expect(page.locator("#annotated video")).to_be_visible()
    assert page.locator("#annotated video").evaluate("video => video.error") is None
    assert page.locator("#plot img").evaluate("image => image.complete && image.naturalWidth") > 300
    left = [path for path in Path(demo.GRADIO_CACHE).rglob("*") if path.is_file()]
    assert left == []


def test_a_file_that_is_no_video_gets_a_message(visit, tmp_path):
    (tmp_path / "holiday.mp4").write_bytes(b"PK\x03\x04" + bytes(5000))
    page = visit()
    page.set_input_files("#upload input[type=file]", str(tmp_path / "holiday.mp4"))
    page.wait_for_timeout(1500)
    page.click("#start")
    expect(page.get_by_text(re.compile(r"The file \(\d+ bytes\): cannot be read as a video"))).to_be_visible()
    expect(page.locator("#people li")).to_have_count(0)


def test_a_file_that_is_too_large_gets_a_message(visit, tmp_path):
    with open(tmp_path / "large.mp4", "wb") as file:
        file.truncate(60_000_000)
    page = visit()
    page.set_input_files("#upload input[type=file]", str(tmp_path / "large.mp4"))
    expect(page.get_by_text(re.compile("exceed the maximum allowed size", re.I)).first).to_be_visible()


def test_a_recording_of_the_webcam_gets_an_answer_and_leaves_no_file(visit, demo):
    page = visit()
    box = page.locator("#upload")
    box.get_by_role("button", name="Capture from camera").click()
    page.get_by_text("Click to Access Webcam").click()
    record = box.get_by_role("button", name="start recording")
    record.click()
    page.wait_for_timeout(3000)
    record.click()  # stops
    expect(box.get_by_role("button", name="Clear")).to_be_visible()
    page.click("#start")
    expect(page.locator("#people li")).to_have_count(1)
    assert [path for path in Path(demo.GRADIO_CACHE).rglob("*") if path.is_file()] == []


def test_nothing_chosen_gets_a_message(visit):
    page = visit()
    page.click("#start")
    expect(page.get_by_text("Choose a video first")).to_be_visible()


def test_the_browser_is_told_to_ask_no_other_server(visit):
    page = visit()
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.evaluate("fetch('https://example.com/').catch(() => null)")  # a request would end `visit` with an error
    assert any("Content Security Policy" in text for text in said)


def test_two_visitors_at_once_get_their_own_answers(visit):
    one, other = visit(), visit()
    one.get_by_role("button", name="Rendered face 1").click()
    other.get_by_role("button", name="Rendered face 2").click()
    for page in (one, other):
        expect(page.locator("#people li")).to_have_count(1)
    videos = [page.locator("#annotated video").get_attribute("src") for page in (one, other)]
    assert videos[0] != videos[1]


def test_a_visitor_too_many_is_asked_to_come_back(visit, demo, monkeypatch):
    monkeypatch.setattr(demo._queue, "max_size", 0)
    page = visit()
    page.get_by_role("button", name="Rendered face 1").click()
    expect(page.get_by_text("currently busy. Please try again")).to_be_visible()


def test_an_upload_too_many_is_asked_to_come_back(browser):
    with serve(RAW_VIDEO_MODEL, port=0, limits=replace(DEMO_LIMITS, uploads=1)) as demo:
        first, second = browser.new_page(), browser.new_page()
        for page in (first, second):
            page.goto(demo.local_url)
        first.set_input_files("#upload input[type=file]", str(FACE))
        expect(first.locator("#upload video")).to_be_visible()
        second.set_input_files("#upload input[type=file]", str(FACE))
        expect(second.get_by_text("The page holds too many videos. Please try again")).to_be_visible()
        expect(second.locator("#upload video")).to_have_count(0)
        first.close()
        second.close()


def test_keys_alone_reach_an_answer(visit):
    page = visit()
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText") == "Rendered face 1":
            break
    page.keyboard.press("Enter")
    expect(page.locator("#people li")).to_have_count(1)
    take(page, "demo")


def test_a_phone_shows_everything_and_only_the_plot_scrolls_sideways(visit):
    page = visit(width=360, height=740)
    page.get_by_role("button", name="Rendered face 1").click()
    expect(page.locator("#people li")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.locator("#plot img").bounding_box()["width"] >= 560  # narrower, its words would be too small to read
    for place in ("#caveats", "#start", "#people", "#annotated video", "#plot div:has(> img)"):
        box = page.locator(place).bounding_box()
        assert box["width"] > 100 and box["x"] >= 0 and box["x"] + box["width"] <= 360, place
    take(page, "demo-phone")


def test_the_live_tab_answers_a_webcam_and_leaves_no_file(visit, demo):
    page = visit()
    page.get_by_role("tab", name="Live").click()
    page.get_by_text("Click to Access Webcam").click()
    page.locator("#camera").get_by_role("button", name="capture photo").click()
    expect(page.locator("#live-line")).to_contain_text(re.compile(r"The last \d\.\d seconds\."))
    expect(page.locator("#live-label")).to_contain_text("%")
    assert [path for path in Path(demo.GRADIO_CACHE).rglob("*") if path.is_file()] == []
