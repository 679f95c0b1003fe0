// CBOR in the core deterministic encoding (RFC 8949, section 4.2.1): the part
// that envelopes and key sets use. Whatever else there is, is refused.

class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }

  take(n) {
    if (n > this.bytes.length - this.at) throw new Error("cbor: truncated");
    const part = this.bytes.subarray(this.at, this.at + n);
    this.at += n;
    return part;
  }

  head() {
    const first = this.take(1)[0];
    const major = first >> 5;
    const info = first & 31;
    if (info < 24) return [major, BigInt(info)];
    if (info > 27) throw new Error("cbor: indefinite or reserved length");
    const size = 1 << (info - 24);
    let value = 0n;
    for (const b of this.take(size)) value = (value << 8n) | BigInt(b);
    const least = size === 1 ? 24n : 1n << BigInt(4 * size);
    if (value < least) throw new Error("cbor: not the shortest form");
    return [major, value];
  }

  value(depth = 0) {
    if (depth > 8) throw new Error("cbor: too deep");
    const start = this.at;
    if (this.bytes[start] >> 5 === 7) {
      const simple = this.take(1)[0];
      if (simple === 0xf4) return false;
      if (simple === 0xf5) return true;
      if (simple === 0xf6) return null;
      throw new Error("cbor: a simple value or a float");
    }
    const [major, n] = this.head();
    if (major > 1 && n > BigInt(this.bytes.length)) throw new Error("cbor: truncated");
    switch (major) {
      case 0:
        return n;
      case 1:
        return -1n - n;
      case 2:
        return Uint8Array.from(this.take(Number(n)));
      case 3:
        return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(this.take(Number(n)));
      case 4:
        return Array.from({ length: Number(n) }, () => this.value(depth + 1));
      case 5:
        return this.map(Number(n), depth);
      default:
        throw new Error("cbor: a tag");
    }
  }

  map(n, depth) {
    const map = new Map();
    let before = null;
    for (let i = 0; i < n; i++) {
      const start = this.at;
      const key = this.value(depth + 1);
      const encoded = Buffer.from(this.bytes.subarray(start, this.at));
      if (before !== null && Buffer.compare(before, encoded) >= 0) throw new Error("cbor: keys out of order");
      before = encoded;
      map.set(key, this.value(depth + 1));
    }
    return map;
  }
}

// decode reads one item that is all of bytes. Integers are BigInts.
export function decode(bytes) {
  const reader = new Reader(bytes);
  const value = reader.value();
  if (reader.at !== bytes.length) throw new Error("cbor: bytes after the item");
  return value;
}

function head(major, n) {
  if (n < 24n) return Buffer.from([(major << 5) | Number(n)]);
  for (const [info, size] of [[24, 1], [25, 2], [26, 4], [27, 8]]) {
    if (n < 1n << BigInt(8 * size)) {
      const out = Buffer.alloc(1 + size);
      out[0] = (major << 5) | info;
      for (let i = size; i > 0; i--, n >>= 8n) out[i] = Number(n & 255n);
      return out;
    }
  }
  throw new Error("cbor: larger than 64 bits");
}

// encode writes BigInts, texts, bytes, booleans, null, arrays and Maps.
export function encode(value) {
  if (value === null) return Buffer.from([0xf6]);
  if (typeof value === "boolean") return Buffer.from([value ? 0xf5 : 0xf4]);
  if (typeof value === "bigint") return value >= 0n ? head(0, value) : head(1, -1n - value);
  if (typeof value === "string") {
    const text = Buffer.from(value, "utf8");
    return Buffer.concat([head(3, BigInt(text.length)), text]);
  }
  if (value instanceof Uint8Array) return Buffer.concat([head(2, BigInt(value.length)), value]);
  if (Array.isArray(value)) return Buffer.concat([head(4, BigInt(value.length)), ...value.map(encode)]);
  if (value instanceof Map) {
    const pairs = [...value].map(([k, v]) => [encode(k), encode(v)]).sort((a, b) => Buffer.compare(a[0], b[0]));
    return Buffer.concat([head(5, BigInt(pairs.length)), ...pairs.flat()]);
  }
  throw new Error("cbor: no such value");
}
