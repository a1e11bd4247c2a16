// Says what Node's own HTTP parser (llhttp) makes of each case, in the form of ours.c.
'use strict';

const { HTTPParser } = process.binding('http_parser');
const { readFileSync } = require('fs');

// Header lines come in batches of alternating names and values, latin-1 strings.
function judge(bytes, toHead) {
  const parser = new HTTPParser();
  parser.initialize(HTTPParser.RESPONSE, {});
  let answer, body, done;
  const restart = () => {
    answer = null;
    body = [];
    done = false;
  };
  restart();
  let early = [];
  parser[HTTPParser.kOnMessageBegin] = () => {};
  parser[HTTPParser.kOnHeaders] = (lines) => {
    if (answer === null) early = early.concat(lines);
  };
  parser[HTTPParser.kOnHeadersComplete] = (major, minor, lines, method, url, status) => {
    if (answer !== null) throw new Error('a second message');
    answer = { status, lines: early.concat(lines || []) };
    early = [];
    return toHead || status === 304 ? 1 : 0; // 1: no body follows; llhttp 6 leaves it to its user to know that
  };
  parser[HTTPParser.kOnBody] = (chunk, at, n) => {
    body.push(at === undefined ? Buffer.from(chunk) : Buffer.from(chunk.subarray(at, at + n)));
  };
  let final = null;
  parser[HTTPParser.kOnMessageComplete] = () => {
    if (final !== null) return;
    if (answer.status >= 200 || answer.status === 101) final = { answer, body };
    restart();
  };
  let failed = false;
  try {
    failed = parser.execute(bytes) instanceof Error;
    if (!failed && final === null) parser.finish();
  } catch {
    failed = true;
  }
  parser.close();
  const found = final || { answer, body };
  if (final === null && (failed || found.answer === null)) return { verdict: failed ? 'refused' : 'cut' };
  const headers = [];
  for (let i = 0; i < found.answer.lines.length; i += 2)
    headers.push([0, 1].map((j) => Buffer.from(found.answer.lines[i + j], 'latin1').toString('hex')));
  return {
    status: found.answer.status,
    headers,
    body: Buffer.concat(found.body).toString('hex'),
    verdict: final === null ? 'cut' : 'complete',
  };
}

const input = readFileSync(0);
const output = [];
for (let at = 0; at < input.length;) {
  const n = input.readUInt32BE(at);
  const toHead = input[at + 4] !== 0;
  output.push(JSON.stringify(judge(Buffer.from(input.subarray(at + 5, at + 5 + n)), toHead)));
  at += 5 + n;
}
process.stdout.write(output.join('\n') + '\n');
