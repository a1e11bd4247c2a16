"""The status page in a real browser: with and without JavaScript, light and dark, on a phone."""
import re

import pytest

from harness.admin import ask, ask_tcp
from harness.browser import DARK, LIGHT, Browser
from harness.daemon import Reservation
from harness.vault import fingerprint
from harness.waiting import until

NOBODY = "/widget/transactions/00000000-0000-0000-0000-000000000000"
BACKGROUND = {LIGHT: (0xf6, 0xf7, 0xf9), DARK: (0x0f, 0x12, 0x16)}
BAD = (0xb3, 0x26, 0x1e)


@pytest.fixture
def page(daemon, fake, tmp_path):
    """(daemon, URL of its page, browser)"""
    port = Reservation()
    running = daemon(fake, probe_interval="200ms",
                     settings={"admin": {"listen": [f"unix:{tmp_path}/daemon0/admin.sock", port.text]}})
    running.get(NOBODY)
    until(lambda: ask(running, "/upstreamz").status == 200, "the first probe to end well")
    yield running, f"http://{port.text}/", Browser(tmp_path)
    port.close()


def test_it_shows_what_there_is(page, token, fake):
    running, url, browser = page
    dom, complaints = browser.dom(url)
    assert complaints == []
    for words in (fingerprint(token), "accepted", fake.url, f"127.0.0.1:{running.port}", "answers (404 in",
                  str(running.config_file), "peer gate off", "<svg"):
        assert words in dom, words
    assert token not in dom


def test_it_refreshes_itself(page):
    _, url, browser = page
    dom, complaints = browser.dom(url, "--virtual-time-budget=25000")
    assert complaints == []
    assert int(re.search(r'data-turns="(\d+)"', dom).group(1)) >= 2


def test_it_works_without_javascript(page, token, tmp_path):
    running, _, browser = page
    body = ask(running, "/").body  # what it is drawn from, before any script
    assert fingerprint(token) in body and "answers (404 in" in body and "<svg" in body
    assert re.search(r'<noscript><meta http-equiv="refresh" content="\d+">', body)
    bare = tmp_path / "bare.html"
    bare.write_text(re.sub("<script>.*?</script>", "", body, flags=re.S))
    picture = browser.picture(bare.as_uri(), 800, 900, LIGHT)
    assert picture.pixel(1, 1) == BACKGROUND[LIGHT] and len(picture.colours()) > 20


def boxed(picture):
    """Is there a box with a border in the colour of problems?"""
    return any(sum(picture.pixel(x, y) == BAD for x in range(picture.width)) > picture.width / 2
               for y in range(picture.height))


@pytest.mark.parametrize("scheme", [LIGHT, DARK])
def test_light_and_dark(page, scheme):
    _, url, browser = page
    picture = browser.picture(url, 800, 900, scheme)
    assert picture.pixel(1, 1) == BACKGROUND[scheme]  # the style sheet passed the page's own policy
    assert len(picture.colours()) > 20


def test_it_fits_on_a_phone(page):
    _, url, browser = page
    picture = browser.picture(url, 390, 1600, LIGHT)
    for x in (1, picture.width - 3):
        assert picture.column(x) == {BACKGROUND[LIGHT]}, f"something reaches into the margin at {x}"


def test_problems_stand_out(page):
    running, url, browser = page
    assert not boxed(browser.picture(url, 800, 900, LIGHT))
    running.write_config("this is <b>no</b> config")
    running.reload()
    dom, complaints = browser.dom(url)
    assert complaints == [] and "1 problem" in dom and "proofproxy.conf:1" in dom
    assert boxed(browser.picture(url, 800, 900, LIGHT))


def test_its_policy_lets_nothing_else_in(page):
    running, url, _ = page
    answer = ask_tcp(running, int(url.rsplit(":", 1)[1].strip("/")), "/")
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-") and "unsafe" not in policy and "*" not in policy
    assert answer.headers["X-Frame-Options"] == "DENY" and answer.headers["Cache-Control"] == "no-store"
    assert not re.search(r'(src|href)="(?!data:,")', answer.body)
    assert " style=" not in answer.body and " onclick" not in answer.body
