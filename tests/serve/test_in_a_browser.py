"""The page in a real Chromium, at the widths of a desk and a telephone, used by keyboard alone, light and dark."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from browser import CHROMIUM, Browser
from serve.conftest import Live

from srkd.images.read import ImageData, write_image
from srkd.inference.files import upscale_observed
from support import textured

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium to open the page in: apt-get install chromium")
SIZES = [(1280, 900), (390, 844)]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two images, and a file that is none."""
    folder = tmp_path_factory.mktemp("images")
    write_image(folder / "first.png", ImageData(textured(0, 60, 80)))
    write_image(folder / "a second image with a long name.jpg", ImageData(textured(1, 70, 50)))
    (folder / "notes.png").write_bytes(b"no image")
    return sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)


def opened(browser: Browser, server: Live, images: list[Path], width: int, height: int) -> Browser:
    """The page with two results."""
    for path in images[:2]:
        (job,) = server.call("POST", f"/api/jobs?name={quote(path.name)}", path.read_bytes()).json["jobs"]
        server.ended(job["id"])
    browser.complaints.clear()
    browser.requests.clear()
    browser.open(f"{server.ready.address}/", width, height)
    browser.wait_for("document.querySelectorAll('#jobs .done').length === 2")
    browser.wait_for("document.querySelector('.compare .after').naturalWidth")
    return browser


@pytest.fixture(params=SIZES, ids=["desk", "telephone"])
def page(request: pytest.FixtureRequest, server: Live, browser: Browser, images: list[Path]) -> Browser:
    return opened(browser, server, images, *request.param)


@pytest.fixture
def desk(server: Live, browser: Browser, images: list[Path]) -> Browser:
    return opened(browser, server, images, *SIZES[0])


def accessible(browser: Browser) -> list[tuple[str, str]]:
    """(role, name) of what a screen reader finds, in its order."""
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    kept = [node for node in nodes if not node.get("ignored")]
    return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in kept if "role" in node]


def focused(browser: Browser) -> str:
    return str(browser.run("document.activeElement.getAttribute('aria-label') || document.activeElement.id"))


def tab_to(browser: Browser, selector: str, key: str = "Tab") -> None:
    """Press Tab until the focus is there, as a user without a mouse must."""
    for _ in range(40):
        if browser.run(f"document.activeElement.matches({selector!r})"):
            return
        browser.press(key)
    raise AssertionError(f"no press of Tab leads to {selector}")


def test_it_fits_and_loads_nothing_from_elsewhere(page: Browser, server: Live) -> None:
    assert page.run("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    assert all(address.startswith((server.ready.address, "data:", "blob:")) for address in page.requests)
    assert not page.complaints
    states = page.run("[...document.querySelectorAll('#jobs .state')].map((state) => state.textContent)")
    assert states[0].startswith("80\u00d760 \u2192 160\u00d7120, ")
    # Nothing that is shown is cut off at the side, and what is pressed is large enough for a finger.
    over = """[...document.querySelectorAll('button, a, select, label, li')].filter((e) => e.checkVisibility())
        .filter((e) => e.getBoundingClientRect().right > innerWidth + 1 || e.getBoundingClientRect().left < -1)
        .map((e) => e.outerHTML)"""
    assert page.run(over) == []
    small = """[...document.querySelectorAll('#jobs .actions *:is(a, button), .zooms button, .more a')]
        .filter((e) => e.getBoundingClientRect().height < 32).map((e) => e.outerHTML)"""
    assert page.run(small) == []


def test_a_screen_reader_finds_everything_by_name(page: Browser, checkpoint: Path) -> None:
    found = accessible(page)
    for role, name in [
        ("status", ""),
        ("group", "Model"),
        ("combobox", "Save as"),
        ("link", "Download first_x2.png"),
        ("button", "Remove first.png"),
        ("slider", "Divider between before and after"),
        ("group", "Zoom"),
        ("link", "HTTP API"),
        ("region", "Before and after"),
        ("list", "Images in the queue"),
    ]:
        assert any(r == role and n.startswith(name) for r, n in found), (role, name)
    unnamed = [
        role for role, name in found if role in ("button", "link", "radio", "combobox", "slider", "image") and not name
    ]
    assert not unnamed
    assert page.run("document.documentElement.lang") == "en" and page.run("document.querySelectorAll('h1').length") == 1


def test_by_keyboard_it_compares_and_zooms(page: Browser) -> None:
    tab_to(page, "#jobs .open")
    assert page.run("getComputedStyle(document.activeElement).outlineStyle") == "solid", "the focus is seen"
    page.press("Enter")
    page.wait_for("document.querySelector('.about b').textContent === 'first.png'")
    page.wait_for("document.querySelector('.compare .after').naturalWidth === 160")
    assert page.run("document.querySelector('#jobs li').classList.contains('shown')")
    tab_to(page, ".divider")
    page.press("ArrowRight", "ArrowRight")
    assert page.run("document.activeElement.getAttribute('aria-valuenow')") == "54"
    page.press("Home")
    cut = "document.querySelector('.before').style.clipPath"
    assert re.search(r"calc\(100% [-+] 0px\)", page.run(cut)), (
        "nothing of the image before"
    )  # browsers differ in the sign
    page.press("End")
    assert page.run("document.activeElement.getAttribute('aria-valuetext')") == "100 % before"
    width = "document.querySelector('.canvas').clientWidth"
    fitting = page.run(width)
    tab_to(page, "[data-zoom='4']", "Shift+Tab")
    page.press("Enter")
    assert page.run(width) == 640 and page.run("document.activeElement.getAttribute('aria-pressed')") == "true"
    tab_to(page, ".viewport")
    page.press("+")
    assert page.run(width) == 1280
    page.press("ArrowDown")
    page.wait_for(
        "document.querySelector('.viewport').scrollTop > 0 || document.querySelector('.viewport').scrollLeft >= 0"
    )
    page.press("0")
    assert page.run(width) == fitting


def test_by_keyboard_it_removes_and_keeps_the_focus(desk: Browser) -> None:
    tab_to(desk, "[aria-label='Remove first.png']")
    desk.press("Enter")
    desk.wait_for("document.querySelectorAll('#jobs li').length === 1")
    assert desk.run("document.activeElement !== document.body"), "the focus moves on"
    tab_to(desk, "#clear", "Shift+Tab")
    desk.press("Enter")
    desk.wait_for("document.querySelectorAll('#jobs li').length === 0")
    assert desk.run("!document.getElementById('empty').hidden && document.getElementById('compare').hidden")


def test_chosen_files_are_uploaded_in_their_order(desk: Browser, images: list[Path]) -> None:
    desk.choose("#files", *images, images[0])
    desk.wait_for("document.querySelectorAll('#jobs .done').length === 5 && document.querySelector('#jobs .failed')")
    names = desk.run("[...document.querySelectorAll('#jobs .done .name')].map((name) => name.textContent)")
    assert names[2:] == [images[0].name, images[1].name, images[0].name]
    reason = desk.run("document.querySelector('#jobs .failed .state').textContent")
    assert reason.startswith("Not an image that can be read")
    assert ("button", "Remove notes.png") in accessible(desk)
    assert desk.run("document.getElementById('status').textContent") == "5 done, 1 failed"
    (complaint,) = [json.loads(line)["entry"]["text"] for line in desk.complaints]
    assert "422" in complaint, "Chromium's, of the file that is no image"


def test_a_chosen_model_says_what_it_is_for(desk: Browser) -> None:
    desk.run("document.querySelector('#models [value=realesrgan_s_x4]').click()")
    note = desk.run("document.getElementById('model-note').textContent")
    assert "noise and JPEG blocks go" in note and "Licence: BSD-3-Clause" in note


def test_dropped_files_are_upscaled_by_the_chosen_model_and_format(
    desk: Browser, server: Live, images: list[Path]
) -> None:
    desk.run("document.getElementById('format').value = 'webp'")
    data = list(images[0].read_bytes())
    desk.run(
        f"""(() => {{
        const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array({data})], 'dropped.png'));
        for (const kind of ['dragenter', 'drop'])
            document.body.dispatchEvent(new DragEvent(kind, {{dataTransfer: transfer, bubbles: true}}));
    }})()"""
    )
    desk.wait_for("document.querySelectorAll('#jobs .done').length === 3")
    assert not desk.run("document.body.classList.contains('dragging')")
    (job,) = [job for job in server.call("GET", "/api/jobs").json["jobs"] if job["name"] == "dropped.png"]
    assert (job["format"], job["state"], job["result_name"]) == ("webp", "done", "dropped_x2.webp")


def test_progress_and_cancel(desk: Browser, server: Live, images: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    go, started = threading.Event(), threading.Event()

    def held(model: Any, job: Any, options: Any, decoded: Any, progress: Any) -> Any:
        def half(pixels: Any) -> None:
            decoded(pixels)
            progress(0.5)
            started.set()
            go.wait(60)

        return upscale_observed(model, job, options, half, progress)

    monkeypatch.setattr("srkd.serve.queue.upscale_observed", held)
    desk.choose("#files", images[0], images[1])
    desk.wait_for("document.querySelector('#jobs .running [role=progressbar]')?.getAttribute('aria-valuenow') === '50'")
    assert desk.run("document.querySelector('#jobs .running .state').textContent") == "Upscaling, 50 %"
    desk.wait_for("document.querySelector('#jobs .queued .state')?.textContent === 'Waiting, next in line'")
    assert desk.run("document.title") == "2 of 4 - srkd"
    desk.run("document.querySelector('#jobs .queued .actions button').click()")
    desk.wait_for("document.querySelector('#jobs .cancelled')")
    desk.run("document.querySelector('#jobs .running .actions button').click()")
    (running,) = [image for image in server.ready.queue if image.state == "running"]
    deadline = time.monotonic() + 60
    while not running.cancelled and time.monotonic() < deadline:
        time.sleep(0.01)
    go.set()
    desk.wait_for("document.querySelectorAll('#jobs .cancelled').length === 2")


def test_text_has_contrast_in_light_and_dark(page: Browser) -> None:
    for scheme in ("light", "dark"):
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        low = page.run(CONTRAST)
        page.call("Emulation.setEmulatedMedia", features=[])
        assert low == [], f"{scheme}: below 4.5 to 1 (WCAG 2.2, 1.4.3)"


# Texts whose contrast to the background behind them is too low; transparent colours are not judged.
CONTRAST = """(() => {
    const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => [r, g, b].map((v) => linear(v / 255))
        .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
    const behind = (element) => {
        for (let e = element; e; e = e.parentElement) {
            const colour = parse(getComputedStyle(e).backgroundColor);
            if (colour.length === 3 || colour[3] === 1) return colour;
        }
        return [255, 255, 255];
    };
    const judged = (e) => e.checkVisibility() && !e.matches(':disabled, .tag, .unseen')
        && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    return [...document.querySelectorAll('body *')].filter(judged).filter((e) => {
            const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
            return (a + 0.05) / (b + 0.05) < 4.5;
        }).map((e) => e.outerHTML.slice(0, 200));
})()"""


def test_the_page_of_the_api_fits(browser: Browser, server: Live) -> None:
    for width, height in SIZES:
        browser.complaints.clear()
        browser.open(f"{server.ready.address}/api", width, height)
        assert browser.run("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
        assert not browser.complaints
        assert browser.run("[...document.querySelectorAll('nav a')].every((a) => document.querySelector(a.hash))")


def test_a_server_that_is_gone_is_stated(desk: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.call("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1)
    desk.wait_for("document.getElementById('status').textContent === 'No connection to the server'")
    desk.call("Network.emulateNetworkConditions", offline=False, latency=0, downloadThroughput=-1, uploadThroughput=-1)
    desk.wait_for("document.getElementById('status').textContent.startsWith('2 done')")
