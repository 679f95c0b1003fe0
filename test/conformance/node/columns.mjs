// Packed columns (codec 2), written from docs/spec/columns.md alone. It needs
// no packages.
//
// Reads {"batches": [{"rows", "content"}]} from standard input, content in hex,
// and writes {"outcomes": [{"records"} | {"refused"}]}.

const MAX_CONTENT = 16 << 20;
const MAX_ROWS = 65536;
const MAX_COLUMNS = 1024;
const MAX_CELLS = 4194304;
const MAX_TEXT = 65536;
const MAX_NAME = 128;
const KINDS = ["null", "int", "text", "bool"];
const [NULL, INT, TEXT, BOOL] = [0, 1, 2, 3];

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

const refuse = (why) => {
  throw new Error(why);
};

// check refuses with a class where a rule doesn't hold.
const check = (holds, fault) => holds || refuse(fault);

class Wire {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }

  get done() {
    return this.at === this.bytes.length;
  }

  tag(tag) {
    if (this.done || this.bytes[this.at] !== tag) return false;
    this.at++;
    return true;
  }

  varint() {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      check(!this.done && shift < 28, "wire");
      const b = this.bytes[this.at++];
      value += (b & 127) * 2 ** shift;
      if (b < 128) {
        check(b !== 0 || shift === 0, "wire");
        check(value <= MAX_CONTENT, "wire");
        return value;
      }
    }
  }

  take(n) {
    check(n <= this.bytes.length - this.at, "wire");
    this.at += n;
    return this.bytes.subarray(this.at - n, this.at);
  }

  // optional is a field of bytes, which is left out when it is empty.
  optional(tag) {
    if (!this.tag(tag)) return Buffer.alloc(0);
    const b = this.take(this.varint());
    check(b.length > 0, "wire");
    return b;
  }
}

// message reads the fields of a column as they stand.
function message(w) {
  check(w.tag(0x0a), "wire");
  const in_ = new Wire(w.take(w.varint()));
  const f = { name: in_.optional(0x0a), kind: 0, base: 0n, texts: [] };
  if (in_.tag(0x10)) check((f.kind = in_.varint()) !== 0, "wire");
  f.present = in_.optional(0x1a);
  if (in_.tag(0x21)) check((f.base = in_.take(8).readBigInt64LE()) !== 0n, "wire");
  while (in_.tag(0x2a)) f.texts.push(in_.take(in_.varint()));
  f.values = in_.optional(0x32);
  check(in_.done, "wire");
  return f;
}

function decodeText(bytes, fault) {
  try {
    return utf8.decode(bytes);
  } catch {
    return refuse(fault);
  }
}

// bits reads one bit a record; null when that isn't their form.
function bits(bytes, rows) {
  if (bytes.length !== Math.ceil(rows / 8)) return null;
  const out = Array.from({ length: rows }, (_, i) => (bytes[i >> 3] >> (i & 7)) & 1);
  return rows % 8 !== 0 && bytes[bytes.length - 1] >> (rows % 8) !== 0 ? null : out;
}

const compareNames = (a, b) => a.length - b.length || Buffer.compare(a, b);

function present(f, rows, before) {
  let has = Array(rows).fill(1);
  if (f.present.length > 0) {
    has = bits(f.present, rows);
    check(has !== null && has.includes(1) && has.includes(0), "present");
  }
  check(rows > 0, "present");
  for (const c of before) {
    if (c.name.equals(f.name)) check(!c.has.some((b, i) => b && has[i]), "present");
  }
  return has;
}

const WIDTHS = [1, 2, 4, 8];
const widthOf = (n) => WIDTHS.find((w) => n < 1n << BigInt(8 * w));

function unsigned(bytes, at, width) {
  let v = 0n;
  for (let i = width - 1; i >= 0; i--) v = (v << 8n) | BigInt(bytes[at * width + i]);
  return v;
}

function ints(f, n) {
  const width = f.values.length / n;
  check(WIDTHS.includes(width), "values");
  const distances = Array.from({ length: n }, (_, i) => unsigned(f.values, i, width));
  const [low, high] = distances.reduce(([l, h], d) => [d < l ? d : l, d > h ? d : h], [distances[0], distances[0]]);
  check(low === 0n && widthOf(high) === width && f.base + high < 1n << 63n, "values");
  return distances.map((d) => String(f.base + d));
}

function texts(f, n) {
  check(f.texts.length > 0 && f.texts.length <= n, "texts");
  const dictionary = f.texts.map((t, i) => {
    check(t.length <= MAX_TEXT && (i === 0 || Buffer.compare(f.texts[i - 1], t) < 0), "texts");
    return decodeText(t, "texts");
  });
  const width = dictionary.length <= 256 ? 1 : 2;
  check(f.values.length === n * width, "values");
  const codes = Array.from({ length: n }, (_, i) => Number(unsigned(f.values, i, width)));
  check(Math.max(...codes) < dictionary.length && new Set(codes).size === dictionary.length, "values");
  return [codes.map((c) => dictionary[c]), codes.reduce((sum, c) => sum + f.texts[c].length, 0)];
}

// column reads one column; values has those of the records that have one.
function column(w, rows, before) {
  check(before.length < MAX_COLUMNS && rows * (before.length + 1) <= MAX_CELLS, "limit");
  const f = message(w);
  check(f.name.length > 0 && f.name.length <= MAX_NAME, "name");
  const name = decodeText(f.name, "name");
  check(f.kind <= BOOL && (f.kind === INT || f.base === 0n) && (f.kind === TEXT || f.texts.length === 0), "kind");
  check(f.kind !== NULL || f.values.length === 0, "kind");
  const last = before.at(-1);
  if (last) {
    const order = compareNames(last.name, f.name);
    check(order < 0 || (order === 0 && last.kind < f.kind), "order");
  }
  const c = { name: f.name, title: name, kind: f.kind, has: present(f, rows, before), weight: 0 };
  const n = c.has.reduce((a, b) => a + b, 0);
  if (c.kind === NULL) c.values = Array(n).fill("");
  if (c.kind === INT) c.values = ints(f, n);
  if (c.kind === TEXT) [c.values, c.weight] = texts(f, n);
  if (c.kind === BOOL) {
    const truths = bits(f.values, rows);
    check(truths !== null && truths.every((b, i) => !b || c.has[i]), "values");
    c.values = truths.filter((_, i) => c.has[i]).map((b) => (b ? "true" : "false"));
  }
  return c;
}

// decode answers records of cells, each a name, a kind and the value as text.
export function decode(content, rows) {
  check(rows >= 0 && rows <= MAX_ROWS && content.length <= MAX_CONTENT, "limit");
  const columns = [];
  for (const w = new Wire(content); !w.done; ) {
    try {
      columns.push(column(w, rows, columns));
    } catch (e) {
      refuse(`column ${columns.length}: ${e.message}`);
    }
  }
  check(columns.reduce((sum, c) => sum + c.weight, 0) <= MAX_CONTENT, "limit");
  const records = Array.from({ length: rows }, () => []);
  for (const c of columns) {
    let at = 0;
    c.has.forEach((b, i) => b && records[i].push([c.title, KINDS[c.kind], c.values[at++]]));
  }
  return records;
}

const input = [];
for await (const part of process.stdin) input.push(part);
const outcomes = JSON.parse(Buffer.concat(input).toString("utf8")).batches.map(({ rows, content }) => {
  try {
    return { records: decode(Buffer.from(content, "hex"), rows) };
  } catch (e) {
    return { refused: e.message };
  }
});
process.stdout.write(JSON.stringify({ outcomes }));
