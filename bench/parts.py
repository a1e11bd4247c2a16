"""What is measured under load: sizes and connections, workers, reloads, and how the cost grows with connections."""
import statistics
import subprocess
import sys
import threading
import time

from peers import BOTH, NAMES, Failed, good, wrk

# label, path, method, connections
CASES = [("GET 300 B", "/widget/small", "GET", n) for n in (1, 32, 256)] + \
        [("POST 1 KiB", "/widget/session", "POST", n) for n in (1, 32, 256)] + \
        [("GET 64 KiB", "/widget/64k", "GET", n) for n in (1, 32, 256)] + \
        [("GET 8 MiB", "/widget/8m", "GET", n) for n in (1, 8)]
SMALL_LONGER = 3  # times as long: connections made at its start must not be what its slowest hundredth consists of
LARGE_ROUNDS = 3  # at most
GROWTH = (1, 16, 256, 1024, 4096)


def say(text):
    print(text, file=sys.stderr, flush=True)


def steady(program, path, connections, seconds, **how):
    """Figures of a run without failures. One with some, on a machine that did something else for seconds, is said and
    made once more."""
    figures = wrk(program, path, connections, seconds, **how)
    if figures["failed"] or figures["status"] or not figures["requests"]:
        say(f"{program.name} at {connections} connections, made once more after failures: {figures}")
        time.sleep(2)
        figures = good(wrk(program, path, connections, seconds, **how), program.name)
    return figures


def rounds_of(proxies, path, connections, rounds, seconds, method="GET", lead=0.5):
    """Runs interleaved, after one each that is not counted: {name: [figures]}."""
    runs = {name: [] for name in NAMES}
    for name in NAMES:
        wrk(proxies[name], path, connections, 1, method=method, lead=lead)
    for turn in range(rounds):
        for shift in range(len(NAMES)):  # another one begins each time
            name = NAMES[(turn + shift) % len(NAMES)]
            runs[name].append(steady(proxies[name], path, connections, seconds, method=method, lead=lead))
    return runs


def load(bench, options):
    """Requests/s, CPU and latency by size and number of connections."""
    cases = [CASES[1], CASES[4]] if options.quick else CASES
    results = []
    upstream = bench.upstream()
    try:
        with bench.proxies(upstream.port) as proxies:
            for label, path, method, connections in cases:
                small = path in ("/widget/small", "/widget/session")
                rounds = options.rounds if small else min(options.rounds, LARGE_ROUNDS)
                seconds = options.seconds * (SMALL_LONGER if small and not options.quick else 1)
                runs = rounds_of(proxies, path, connections, rounds, seconds, method=method)
                results.append({"case": label, "connections": connections, "runs": runs})
                say(f"load: {label} at {connections}")
    finally:
        upstream.end()
    return results


def growth(bench, options):
    """CPU per request from 1 connection to thousands."""
    counts = (1, 256) if options.quick else [n for n in GROWTH if 2 * n + 1000 <= bench.files]
    results = []
    upstream = bench.upstream()
    try:
        with bench.proxies(upstream.port) as proxies:
            for connections in counts:
                lead = 0.5 + connections / 1000  # as many TLS handshakes upstream
                runs = rounds_of(proxies, "/widget/small", connections, min(options.rounds, 3), options.seconds,
                                 lead=lead)
                results.append({"connections": connections, "runs": runs})
                say(f"growth: {connections} connections")
    finally:
        upstream.end()
    return results


def workers(bench, options):
    """The same load with one worker and with two, everything free to run on both CPUs; how evenly workers are used."""
    results = []
    upstream = bench.upstream(cpus=BOTH)
    try:
        with bench.proxies(upstream.port, workers=1, cpus=BOTH) as one, \
                bench.proxies(upstream.port, workers=2, cpus=BOTH) as two:
            for connections in (32,) if options.quick else (32, 256):
                runs = {1: {n: [] for n in NAMES}, 2: {n: [] for n in NAMES}}
                for turn in range(options.rounds + 1):  # the first is to open connections
                    for name in NAMES:
                        for count, proxies in ((1, one), (2, two)):
                            figures = steady(proxies[name], "/widget/small", connections, options.seconds, cpus=BOTH)
                            if turn > 0:
                                runs[count][name].append(figures)
                results.append({"connections": connections, "one": runs[1], "two": runs[2]})
                say(f"workers: {connections} connections")
    finally:
        upstream.end()
    return results


def reload(bench, options):
    """Load while the configuration is loaded again twice a second."""
    results = {}
    seconds = 2 if options.quick else 6
    upstream = bench.upstream()
    try:
        with bench.proxies(upstream.port, master=True) as proxies:
            for name in NAMES:
                program = proxies[name]
                wrk(program, "/widget/small", 32, 1)
                runs = {"calm": [], "reloading": []}
                for _ in range(1 if options.quick else 2):
                    runs["calm"].append(good(wrk(program, "/widget/small", 32, seconds), name))
                    over = threading.Event()
                    count = [0]

                    def again(program=program, over=over, count=count):
                        while not over.wait(0.5):
                            program.reload()
                            count[0] += 1
                    thread = threading.Thread(target=again)
                    thread.start()
                    try:
                        figures = wrk(program, "/widget/small", 32, seconds)
                    finally:
                        over.set()
                        thread.join()
                    if program.process.poll() is not None:
                        raise Failed(f"{name} ended during reloads")
                    figures["reloads"] = count[0]
                    del figures["cpu_us"], figures["workers"]  # of processes that are gone too
                    runs["reloading"].append(figures)
                    time.sleep(1)
                results[name] = runs
                say(f"reload: {name}")
    finally:
        upstream.end()
    return results


def median(runs, key):
    return statistics.median(r[key] for r in runs)


def version(command):
    done = subprocess.run(command, capture_output=True, text=True)
    return (done.stdout + done.stderr).splitlines()[0].strip()
