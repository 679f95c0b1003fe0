// Reads one job as JSON from standard input and writes its outcome to standard
// output. Bytes are hex.
//
//   open: {"do": "open", "envelopes": [{"envelope", "producer", "dek" | "seed"}]}
//   seal: {"do": "seal", "key_set", "service", "now", "to": {...}, "rows", "content", "signer"}
import { keySet, open, parse, seal, unwrap } from "./envelope.mjs";

const hex = (s) => Buffer.from(s, "hex");

async function openOne(job) {
  try {
    const parsed = parse(hex(job.envelope), hex(job.producer));
    const dek = job.seed === undefined ? hex(job.dek) : await unwrap(parsed.header, hex(job.seed));
    const { rows, content, report } = open(parsed, dek);
    return { name: parsed.name.toString("hex"), rows, content: content.toString("hex"), report: report.toString("hex") };
  } catch (e) {
    return { refused: String(e.message || e) };
  }
}

async function run(job) {
  if (job.do === "open") {
    const outcomes = [];
    for (const e of job.envelopes) outcomes.push(await openOne(e));
    return { outcomes };
  }
  const set = keySet(hex(job.key_set), hex(job.service), job.now);
  const { envelope, report } = await seal(set, job.to, job.rows, job.content === null ? null : hex(job.content), hex(job.signer));
  return { envelope: envelope.toString("hex"), report: report.toString("hex") };
}

const input = [];
for await (const part of process.stdin) input.push(part);
process.stdout.write(JSON.stringify(await run(JSON.parse(Buffer.concat(input).toString("utf8")))));
