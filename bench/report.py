"""What the figures say: tables for people, plots, and the text of RESULTS.md."""
import datetime
import os
import platform
import re
import ssl
import statistics
import textwrap

import svg
from parts import median, version
from peers import BUILD, NAMES

PEERS = ("nginx", "haproxy")


def prose(text):
    """One paragraph."""
    return [textwrap.fill(" ".join(text.split()), 120, break_long_words=False, break_on_hyphens=False), ""]


def row(*cells):
    return "| " + " | ".join(str(c) for c in cells) + " |"


def header(*cells):
    return [row(*cells), "|" + "---|" * len(cells)]


def of_all(runs, key):
    return {name: median(runs[name], key) for name in NAMES}


def ratio(values):
    """proofproxy to the better peer."""
    better = min(values[p] for p in PEERS)
    return values["proofproxy"] / better if better else float("nan")


def ratio_by_round(runs, key):
    """"0.93 to 1.04": the ratio in the single rounds."""
    found = [ratio({n: runs[n][i][key] for n in NAMES}) for i in range(len(runs[NAMES[0]]))]
    return f"{min(found):.2f} to {max(found):.2f}"


def load(results, plots):
    lines = ["## Under load", "", *prose("""The ratios: proofproxy to the better of the two peers, medians of one run;
        below 1 is better than both, but for requests/s, where above 1 is. In brackets the ratio in the single
        rounds. Where the load generator and the upstream use up the CPU they share, with small answers at 32
        connections and more, the high percentiles are theirs as much as the proxy's, and differ from round to
        round."""),
             *header("case", "connections", "CPU per request", "(rounds)", "p50", "p99", "(rounds)", "p99.9",
                     "requests/s")]
    for r in results:
        rates = of_all(r["runs"], "rps")
        lines.append(row(r["case"], r["connections"], f"**{ratio(of_all(r['runs'], 'cpu_us')):.2f}**",
                         f"({ratio_by_round(r['runs'], 'cpu_us')})",
                         f"{ratio(of_all(r['runs'], 'p50_us')):.2f}", f"{ratio(of_all(r['runs'], 'p99_us')):.2f}",
                         f"({ratio_by_round(r['runs'], 'p99_us')})", f"{ratio(of_all(r['runs'], 'p999_us')):.2f}",
                         f"{rates['proofproxy'] / max(rates[p] for p in PEERS):.2f}"))
    lines += ["", "The figures themselves, of a shared machine at that hour:", "",
              *header("case", "connections", "proxy", "requests/s", "CPU µs/request", "p50 µs", "p99 µs", "p99.9 µs")]
    for r in results:
        for name in NAMES:
            m = {k: median(r["runs"][name], k) for k in ("rps", "cpu_us", "p50_us", "p99_us", "p999_us")}
            lines.append(row(r["case"], r["connections"], name, f"{m['rps']:.0f}", f"{m['cpu_us']:.1f}",
                             *(f"{m[k]:.0f}" for k in ("p50_us", "p99_us", "p999_us"))))
    small = [(f"{r['case']}, {r['connections']}", r["runs"]) for r in results
             if r["case"] in ("GET 300 B", "POST 1 KiB")]
    plots["cpu.svg"] = svg.bars("CPU per request", "microseconds, by size and connections; lower is better",
                                [(label, of_all(runs, "cpu_us")) for label, runs in small])
    slow = [(label, {n: v / 1000 for n, v in of_all(runs, "p99_us").items()}) for label, runs in small]
    plots["p99.svg"] = svg.bars("Slowest hundredth (p99)", "milliseconds, by size and connections; lower is better",
                                slow)
    return [*lines, "", "![CPU per request](cpu.svg)", "", "![p99](p99.svg)", ""]


def growth(results, plots):
    lines = ["## Growth with connections", "", "300 B. CPU µs per request, and what it is to that at 1 connection.", "",
             *header("connections", *NAMES, "ratio to the better peer")]
    first = of_all(results[0]["runs"], "cpu_us")
    for r in results:
        cpu = of_all(r["runs"], "cpu_us")
        lines.append(row(r["connections"], *(f"{cpu[n]:.1f} ({cpu[n] / first[n]:.2f})" for n in NAMES),
                         f"**{ratio(cpu):.2f}**"))
    points = [(r["connections"], of_all(r["runs"], "cpu_us")) for r in results]
    plots["growth.svg"] = svg.lines("CPU per request as connections grow", "microseconds; lower is better",
                                    "connections", points)
    return [*lines, "", "![growth](growth.svg)", ""]


def evenness(runs):
    """The most used worker to the least used one, median of the runs."""
    return statistics.median(max(r["workers"]) / max(min(r["workers"]), 0.01) for r in runs)


def workers(results, plots):
    lines = ["## One worker and two", "", *prose("""Two CPUs in all, and the load generator and the upstream need at
        least one of them: requests/s can't double here, and would say nothing. So everything may run on both CPUs,
        with one worker and with two in turn, and what counts is CPU per request: work that takes no lock and shares
        no memory costs with two workers what it costs with one (ratio 1). The last column compares the CPU time of
        the two workers, most used to least used: 1 is perfect balance."""),
             *header("connections", "proxy", "CPU per request, two workers to one",
                     "CPU of two workers, most to least")]
    for r in results:
        for name in NAMES:
            cost = median(r["two"][name], "cpu_us") / median(r["one"][name], "cpu_us")
            lines.append(row(r["connections"], name, f"{cost:.2f}", f"{evenness(r['two'][name]):.2f}"))
    return [*lines, ""]


def reload(results, plots):
    lines = ["## Reloading under load", "", *prose("""32 connections, 300 B, the configuration loaded again twice a
        second. Lost: what the load generator counts as failed connections, reads, writes, timeouts and answers outside
        2xx and 3xx. A proxy that closes idle connections at a reload loses what was just being written to them."""),
             *header("proxy", "reloads", "requests", "lost", "p99 with reloads, to p99 without")]
    for name in NAMES:
        calm, with_them = results[name]["calm"], results[name]["reloading"]
        lines.append(row(name, sum(r["reloads"] for r in with_them), sum(r["requests"] for r in with_them),
                         f"**{sum(r['failed'] + r['status'] for r in with_them)}**",
                         f"{median(with_them, 'p99_us') / median(calm, 'p99_us'):.2f}"))
    return [*lines, ""]


def memory(results, plots):
    idle, tunnels = results["idle"], results["tunnels"]
    steps = [s["tunnels"] for s in tunnels]
    last, before = tunnels[-1], tunnels[-2]
    per_tunnel = {n: (last["kib"][n] - before["kib"][n]) / (steps[-1] - steps[-2]) for n in NAMES}
    lines = ["## Memory", "", *prose(f"""Resident. Per idle client: one request was answered, the connection stays. Per
        idle WebSocket: a tunnel to the TLS upstream, from {steps[-2]} to {steps[-1]} open."""),
             *header("proxy", "at rest, MiB", "per idle client, KiB", "per idle WebSocket, KiB")]
    for name in NAMES:
        lines.append(row(name, f"{idle[name]['rest_kib'] / 1024:.1f}", f"{idle[name]['client_kib']:.1f}",
                         f"{per_tunnel[name]:.1f}"))
    lines += ["", "![memory](memory.svg)", "", f"## Growth with WebSockets, {steps[0]} to {steps[-1]}", "",
              *prose("""CPU µs per message of 64 bytes there and back, over all of them in turn and 32 at a time; and
              per HTTP request on 32 connections beside them. The ratios are to the better peer."""),
              *header("WebSockets", *(f"{n}, message" for n in NAMES), "ratio",
                      *(f"{n}, request" for n in NAMES), "ratio")]
    messages = [(s["tunnels"], {n: statistics.median(s["message_us"][n]) for n in NAMES}) for s in tunnels]
    for (step, message), s in zip(messages, tunnels):
        request = of_all(s["runs"], "cpu_us")
        lines.append(row(step, *(f"{message[n]:.1f}" for n in NAMES), f"**{ratio(message):.2f}**",
                         *(f"{request[n]:.1f}" for n in NAMES), f"**{ratio(request):.2f}**"))
    plots["websockets.svg"] = svg.lines("CPU per WebSocket message as tunnels grow", "microseconds; lower is better",
                                        "open tunnels", messages)
    plots["memory.svg"] = svg.bars("Resident memory", "lower is better", [
        ("at rest, MiB", {n: idle[n]["rest_kib"] / 1024 for n in NAMES}),
        ("idle client, KiB", {n: idle[n]["client_kib"] for n in NAMES}), ("idle WebSocket, KiB", per_tunnel)])
    return [*lines, "", "![WebSockets](websockets.svg)", ""]


def first_byte(results, plots):
    floor, late = statistics.median(results["floor"]), results["relay"]
    trip = 2 * results["one_way_us"] / 1000
    kinds = [("at_once", "at once after the start"), ("settled", "seconds after the start"),
             ("silent", f"after {results['silence_s']} s of silence")]
    at = [(label, {n: statistics.median(results[kind][n]) for n in NAMES}) for kind, label in kinds]
    lines = ["## The first byte of a first request", "", *prose(f"""Through a relay that adds {trip / 2:.0f} ms each
        way, so that 1 round trip is {trip:.0f} ms; the TCP handshake costs one too (bench/relay.c says how).
        Milliseconds, medians of several instances; in brackets what it took beyond one round trip. Without any proxy,
        over an open connection: {floor:.1f}. What comes with the start itself finds nothing warm behind any of them.
        The relay itself was late by {late['p50_us']} µs (p50) and {late['p99_us']} µs (p99)."""),
             *header("", *NAMES)]
    for label, values in at:
        lines.append(row(label, *(f"{values[n]:.1f} (+{values[n] - trip:.1f})" for n in NAMES)))
    plots["first-byte.svg"] = svg.bars("First byte of a first request",
                                       f"milliseconds; one round trip is {trip:.0f}; lower is better", at)
    return [*lines, "", "![first byte](first-byte.svg)", ""]


def machine(options, minutes):
    with open("/proc/cpuinfo") as f:
        info = f.read()
    model = re.search(r"model name\s*: (.*)", info)
    processor = model.group(1) if model else platform.machine()
    virtual = ", a virtual machine" if re.search(r"^flags.* hypervisor", info, re.M) else ""
    commands = [BUILD / "proofproxy", "-V"], ["/usr/sbin/nginx", "-v"], ["/usr/sbin/haproxy", "-v"]
    programs = [version(c) for c in commands]
    facts = ["""All three do the same job: connections to a TLS 1.3 upstream are verified, resumed and kept alive,
             Authorization is set, every request has its line in an access log that is written to a file.""",
             """In turn, in rounds, so that whatever else the machine does hits all alike. Compare within one table:
             figures of two runs, or of two machines, are not comparable, and the ratios are what counts.""",
             """One worker, pinned to a CPU; the load generator (wrk) and the upstream (nginx) share another. They bound
             requests/s as much as the proxy does; CPU per request is the proxy's own: from /proc/PID/stat (all
             threads and processes), by the requests the upstream counted in the same time, once connections are
             open.""",
             f"""{processor}, {os.cpu_count()} CPUs{virtual}; Linux {platform.release()}; load average at the start
             {options.load_average:.1f}.""",
             f"{'; '.join(programs)}; {ssl.OPENSSL_VERSION}."]
    lines = ["# proofproxy beside nginx and HAProxy", "", *prose(f"""Made by `make bench` on {datetime.date.today()} in
        {minutes:.0f} minutes; medians of up to {options.rounds} rounds of {options.seconds:g} s, with small answers
        under load three times that. The raw figures are in results.json.""")]
    for fact in facts:
        lines.append(textwrap.fill("- " + " ".join(fact.split()), 120, subsequent_indent="  ", break_on_hyphens=False))
    return [*lines, ""]


PARTS = {"load": load, "growth": growth, "workers": workers, "reload": reload, "memory": memory,
         "first_byte": first_byte}


def write(results, failed, options, minutes):
    """(text of RESULTS.md, {file name: SVG})"""
    plots, lines = {}, machine(options, minutes)
    if failed:
        lines += prose(f"**Not measured this time, since it failed: {', '.join(failed)}.**")
    for name, part in PARTS.items():
        if name in results:
            lines += part(results[name], plots)
    return "\n".join(lines).rstrip() + "\n", plots
