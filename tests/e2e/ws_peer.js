// npm's ws as either end of a tunnel: "client URL DEFLATE" or "server CERT KEY". One JSON line tells what happened.
"use strict";
const WebSocket = require("ws");
const https = require("https");
const fs = require("fs");

const SIZES = [0, 1, 125, 126, 65535, 65536, 1 << 20, 16 << 20];

function say(what) {
    process.stdout.write(JSON.stringify(what) + "\n");
}

function pattern(size) {
    const data = Buffer.alloc(size);
    for (let i = 0; i < size; i++)
        data[i] = (i * 31 + (i >> 8)) & 0xff;
    return data;
}

function client(url, deflate) {
    const ws = new WebSocket(url, ["v2.proof", "v1.proof"], { perMessageDeflate: deflate });
    const echoed = [];
    let next = 0;
    let pongs = 0;

    function send() {
        if (next < SIZES.length) {
            ws.send(pattern(SIZES[next]));
        } else if (next === SIZES.length) { // in fragments, a Ping among them
            ws.send("one ", { fin: false });
            ws.ping("between");
            ws.send("two ", { fin: false });
            ws.send("three", { fin: true });
        } else {
            ws.close(4000, "enough");
        }
    }
    ws.on("open", send);
    ws.on("pong", () => pongs++);
    ws.on("message", (data, binary) => {
        if (next < SIZES.length) {
            if (!binary || !data.equals(pattern(SIZES[next])))
                say({ error: `wrong echo of ${SIZES[next]} bytes` });
            echoed.push(data.length);
        } else if (binary || data.toString() !== "one two three") {
            say({ error: `wrong echo of fragments: ${data}` });
        }
        next++;
        send();
    });
    ws.on("error", (error) => say({ error: error.message }));
    ws.on("close", (code, reason) => say({
        echoed, pongs, code, reason: reason.toString(), protocol: ws.protocol, extensions: ws.extensions
    }));
}

function server(cert, key) {
    const listener = https.createServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) });
    const sockets = new WebSocket.Server({
        server: listener,
        perMessageDeflate: { threshold: 0 },
        maxPayload: 64 << 20,
        handleProtocols: (offered) => offered.has("v1.proof") ? "v1.proof" : false
    });
    sockets.on("connection", (ws, request) => {
        say({ authorized: request.headers.authorization !== undefined, extensions: ws.extensions });
        ws.on("message", (data, binary) => ws.send(data, { binary }));
        ws.on("close", (code, reason) => say({ code, reason: reason.toString() }));
        ws.on("error", (error) => say({ error: error.message }));
    });
    listener.listen(0, "127.0.0.1", () => say({ port: listener.address().port }));
}

if (process.argv[2] === "client")
    client(process.argv[3], process.argv[4] === "true");
else
    server(process.argv[3], process.argv[4]);
