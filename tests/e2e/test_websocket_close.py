"""WebSocket tunnels through a drain, a reload and a rotation: who gets a Close, when, and who is left alone."""
import asyncio
import json
import signal
import time

import websockets

from harness.websocket import TEXT, Pair, close_frame, frame, read_close, read_frame, upgrade
from harness.admin import metric
from harness.vault import fingerprint
from harness.waiting import until


def stop(running):
    running.look_at_proc()
    running.process.send_signal(signal.SIGTERM)
    return time.monotonic()


# --- drain ---
def test_a_drain_closes_politely_and_ends_with_0(daemon, raw_upstream):
    running = daemon(upstream := raw_upstream())
    with Pair(running, upstream) as one, Pair(running, upstream) as two:
        began = stop(running)
        for pair in (one, two):
            assert read_close(pair.take) == (1012, b"service restart", False)
            pair.client.send(frame(TEXT, b"still on its way", masked=True) + close_frame(1012, masked=True))
            assert read_frame(pair.take_up) == (TEXT, b"still on its way", True)
            assert read_close(pair.take_up) == (1012, b"", True)
            pair.upstream.send(close_frame(1012))
            assert pair.client.at_end() and pair.client.broken is None
        assert running.wait_exit() == 0
        assert time.monotonic() - began < 4
    assert running.log.count('"close":"answered","end":"drained"') == 2


def test_a_drain_waits_for_the_end_of_a_frame(daemon, raw_upstream):
    running = daemon(upstream := raw_upstream())
    with Pair(running, upstream) as pair:
        long = frame(TEXT, b"x" * 100000)
        pair.upstream.send(long[:50000])
        assert pair.take(50000) == long[:50000]
        at = len(running.log)
        stop(running)
        running.wait_log("drain", after=at)
        time.sleep(1.2)  # past the spread
        pair.upstream.send(long[50000:] + frame(TEXT, b"never seen"))
        assert pair.take(len(long) - 50000) == long[50000:]
        assert read_close(pair.take) == (1012, b"service restart", False)
        pair.client.send(close_frame(1012, masked=True))
        assert read_close(pair.take_up)[0] == 1012
        pair.upstream.send(close_frame(1012))
        assert pair.client.at_end()
        assert running.wait_exit() == 0


def test_peers_that_do_not_answer_are_cut_and_count_as_drained(daemon, raw_upstream):
    running = daemon(upstream := raw_upstream(), settings={"drain_timeout": "15s"})
    with Pair(running, upstream) as silent, Pair(running, upstream) as endless:
        endless.upstream.send(frame(TEXT, b"x" * 1000)[:500])
        endless.take(500)
        began = stop(running)
        assert read_close(silent.take) == (1012, b"service restart", False)
        assert silent.client.at_end()
        assert read_close(silent.take_up) == (1012, b"service restart", True)
        assert endless.client.at_end()
        assert running.wait_exit() == 0
        assert 4.9 < time.monotonic() - began < 9
    assert running.log.count('"end":"drained"') == 2


def test_a_drain_adds_no_second_close(daemon, raw_upstream):
    running = daemon(upstream := raw_upstream())
    with Pair(running, upstream) as pair:
        pair.upstream.send(close_frame(4001, b"theirs"))
        assert read_close(pair.take) == (4001, b"theirs", False)
        stop(running)
        running.wait_log("drain")
        time.sleep(1.2)
        pair.client.send(close_frame(4001, masked=True))
        assert read_close(pair.take_up)[0] == 4001
        pair.upstream.close("orderly")
        assert pair.client.at_end()
        assert running.wait_exit() == 0


def test_a_second_signal_cuts(daemon, raw_upstream):
    running = daemon(upstream := raw_upstream())
    with Pair(running, upstream) as pair:
        stop(running)
        assert read_close(pair.take)[0] == 1012
        running.process.send_signal(signal.SIGTERM)
        running.expected_exit = 1
        assert running.wait_exit() == 1
        assert pair.client.at_end()


def test_a_real_client_sees_1012(daemon, fakeproof):
    fake = fakeproof()
    fake.fault("ws", echo=True, count=0)
    running = daemon(fake)

    async def talk():
        async with websockets.connect(f"ws://127.0.0.1:{running.port}/ws") as ws:
            await ws.send("hello")
            assert await ws.recv() == "hello"
            stop(running)
            try:
                await ws.recv()
            except websockets.ConnectionClosed as closed:
                assert (closed.rcvd.code, closed.rcvd.reason) == (1012, "service restart")
            else:
                raise AssertionError("no Close came")

    asyncio.run(asyncio.wait_for(talk(), 20))
    assert running.wait_exit() == 0


# --- what operators see ---
def test_sessions_are_counted_by_token(daemon, raw_upstream, token):
    running = daemon(upstream := raw_upstream())
    mine = {"environment": "production", "token": fingerprint(token)}

    def sessions():
        return metric(running, "proofproxy_websocket_sessions", **mine)

    with Pair(running, upstream) as one, Pair(running, upstream) as two:
        until(lambda: sessions() == 2, "two sessions to be counted")
        assert metric(running, "proofproxy_inflight") == 0
        one.both_ways(b"four")
        two.both_ways(b"four")
        until(lambda: metric(running, "proofproxy_websocket_bytes_total", direction="to_upstream") == 20 and
              metric(running, "proofproxy_websocket_bytes_total", direction="to_client") == 12, "the bytes")
        one.client.close()
        until(lambda: sessions() == 1, "one session to be left")
        two.both_ways()
    until(lambda: sessions() == 0, "no session to be left")


# --- reload and rotation ---
def test_reloads_and_added_tokens_touch_no_tunnel(daemon, raw_upstream, vault, token):
    running = daemon(upstream := raw_upstream(), websocket_retire_delay="100ms")
    with Pair(running, upstream) as pair:
        for i in range(5):
            running.environments["production"]["request_timeout"] = f"{20 + i}s"
            running.write_config()
            running.reload()
            pair.both_ways()
        running.set_tokens(vault.token("added"), token)
        running.reload()
        time.sleep(1.5)
        pair.both_ways()
        running.environments["production"]["base_url"] = raw_upstream().url
        running.write_config()
        running.reload()
        pair.both_ways()
        assert '"event":"websocket_end"' not in running.log


def test_at_another_upstream_tunnels_are_asked_to_come_again(daemon, raw_upstream):
    running = daemon(upstream := raw_upstream(), websocket_retire_delay="1s")
    with Pair(running, upstream) as pair:
        running.environments["production"]["base_url"] = (other := raw_upstream()).url
        running.write_config()
        running.reload()
        pair.both_ways()
        with Pair(running, other) as again:
            assert read_close(pair.take) == (1012, b"token retired", False)
            again.both_ways()


def test_a_removed_environment_keeps_its_tunnels(daemon, raw_upstream, token, certs):
    upstream = raw_upstream()
    keys = {"base_url": upstream.url, "token_file": [token], "tls": {"ca_file": f"{certs}/ca.crt"}}
    running = daemon(environments={"one": dict(keys), "two": dict(keys)})
    with Pair(running, upstream) as pair:
        del running.environments["one"]
        running.write_config()
        running.reload()
        pair.both_ways()


def test_tunnels_on_a_retired_token_get_their_close(daemon, fakeproof, vault, token):
    fresh = vault.token("fresh")
    fake = fakeproof([token, fresh])
    fake.fault("ws", echo=True, count=0)
    running = daemon(fake, websocket_retire_delay="1s")

    async def talk():
        url = f"ws://127.0.0.1:{running.port}/ws"
        async with websockets.connect(url) as old:
            await old.send("a")
            assert await old.recv() == "a"
            running.set_tokens(fresh, token)
            await asyncio.to_thread(running.reload)
            async with websockets.connect(url) as new:
                await new.send("b")
                assert await new.recv() == "b"
                await old.send("c")
                assert await old.recv() == "c"
                running.set_tokens(fresh)
                await asyncio.to_thread(running.reload)
                began = time.monotonic()
                try:
                    await old.recv()
                except websockets.ConnectionClosed as closed:
                    assert (closed.rcvd.code, closed.rcvd.reason) == (1012, "token retired")
                    assert 0.5 < time.monotonic() - began < 4
                else:
                    raise AssertionError("no Close came")
                await asyncio.sleep(1.5)
                await new.send("d")
                assert await new.recv() == "d"

    asyncio.run(asyncio.wait_for(talk(), 30))
    line = running.wait_log('"event":"websocket_end"', '"end":"token_retired"')
    assert json.loads(line)["token"] == fingerprint(token)
    assert json.loads(line)["close"] == "answered"


def test_a_token_that_comes_back_keeps_its_tunnels(daemon, fakeproof, vault, token):
    fresh = vault.token("fresh")
    fake = fakeproof([token, fresh])
    fake.fault("ws", echo=True, count=0)
    running = daemon(fake, websocket_retire_delay="2s")
    with running.client() as client:
        client.send(upgrade())
        assert client.response().status == 101
        running.set_tokens(fresh)
        running.reload()
        running.set_tokens(fresh, token)
        running.reload()
        time.sleep(4)
        client.send(frame(TEXT, b"hello", masked=True))
        while len(client.buffer) < 7:
            assert client.receive()
        assert client.buffer == frame(TEXT, b"hello")
