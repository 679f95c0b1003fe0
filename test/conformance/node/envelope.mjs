// Envelope, version 1, and key set, version 1, written from docs/spec/envelope.md
// and docs/spec/intake.md alone.
import crypto from "node:crypto";
import { Aes256Gcm, CipherSuite, HkdfSha384 } from "@hpke/core";
import { XWing } from "@hpke/hybridkem-x-wing";
import { decode, encode } from "./cbor.mjs";

const KMS = 1n;
const INTAKE = 2n;
const CHUNK = 65536;
const MAX = 16 << 20;

const suite = () => new CipherSuite({ kem: new XWing(), kdf: new HkdfSha384(), aead: new Aes256Gcm() });
const sha256 = (...parts) => parts.reduce((h, p) => h.update(p), crypto.createHash("sha256")).digest();
const u32 = (n) => {
  const b = Buffer.alloc(4);
  b.writeUInt32BE(n);
  return b;
};
const refuse = (why) => {
  throw new Error(why);
};

const publicKey = (raw) => crypto.createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: Buffer.from(raw).toString("base64url") }, format: "jwk" });
const privateKey = (seed) =>
  crypto.createPrivateKey({ key: Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), seed]), format: "der", type: "pkcs8" });

const isName = (s) => typeof s === "string" && /^[a-z0-9-]{1,63}$/.test(s);
const isText = (s, max) => typeof s === "string" && s.length <= max && /^[!-~]+$/.test(s) && !/["'`\\]/.test(s);
const isUnsigned = (n) => typeof n === "bigint" && n >= 0n && n < 1n << 64n;
const isBytes = (b, min, max) => b instanceof Uint8Array && b.length >= min && b.length <= max;
const hasKeys = (m, n) => m instanceof Map && m.size === n && [...m.keys()].every((k, i) => k === BigInt(i + 1));

function checkWrap(w) {
  if (!hasKeys(w, 4) || !isUnsigned(w.get(3n))) refuse("wrap");
  const [kind, key, epoch, blob] = [...w.values()];
  if (kind === KMS) return isText(key, 2048) && isBytes(blob, 1, 6144) ? undefined : refuse("wrap");
  if (kind !== INTAKE || epoch !== 0n || typeof key !== "string" || !/^sha256:[0-9a-f]{64}$/.test(key) || !isBytes(blob, 1168, 1168)) refuse("wrap");
}

function checkHeader(h) {
  if (!hasKeys(h, 10) || h.get(1n) !== 1n) refuse("header");
  if (![2n, 3n, 5n].every((k) => isName(h.get(k))) || !isText(h.get(4n), 64) || !isText(h.get(6n), 128)) refuse("header");
  if (!isUnsigned(h.get(7n)) || !isUnsigned(h.get(8n)) || h.get(8n) === 0n || h.get(8n) > 255n || !isBytes(h.get(10n), 32, 32)) refuse("header");
  checkWrap(h.get(9n));
}

// parse takes an envelope apart and checks the producer's signature.
export function parse(raw, producer) {
  if (raw.length > MAX || raw.length < 12 || raw.subarray(0, 8).toString("latin1") !== "CLENV1\n\0") refuse("magic");
  const length = raw.readUInt32BE(8);
  if (length < 1 || length > 8192 || raw.length < 12 + length + 32 + 17 + 64) refuse("length");
  const preamble = raw.subarray(0, 12 + length);
  const header = decode(preamble.subarray(12));
  checkHeader(header);
  const end = raw.length - 64;
  const message = Buffer.concat([Buffer.from("cloister envelope v1\0"), sha256(raw.subarray(0, end))]);
  if (!crypto.verify(null, message, publicKey(producer), raw.subarray(end))) refuse("signature");
  return { header, preamble, commitment: raw.subarray(12 + length, 44 + length), chunks: raw.subarray(44 + length, end), name: sha256(raw) };
}

// info is what a data key under an intake key is bound to.
function info(deployment, dataset, producer, stream, key) {
  const names = [deployment, dataset, producer, stream, key].map((s) => Buffer.from(s));
  return Buffer.concat([Buffer.from("cloister envelope v1 intake\0"), ...names.flatMap((n) => [u32(n.length), n])]);
}

function exact(bytes) {
  return Uint8Array.from(bytes).buffer;
}

// unwrap opens the data key of a header of kind 2 with the intake key's seed.
export async function unwrap(header, seed) {
  const s = suite();
  const wrap = header.get(9n);
  if (wrap.get(1n) !== INTAKE) refuse("not sealed to an intake key");
  const blob = wrap.get(4n);
  const opened = await s.open(
    {
      recipientKey: await s.kem.importKey("raw", exact(seed), false),
      enc: exact(blob.subarray(0, 1120)),
      info: exact(info(header.get(2n), header.get(3n), header.get(5n), header.get(6n), wrap.get(2n))),
    },
    exact(blob.subarray(1120)),
  );
  return Buffer.from(opened);
}

function derive(dek, salt, hash) {
  if (dek.length !== 32) refuse("data key");
  const out = Buffer.from(crypto.hkdfSync("sha384", dek, salt, Buffer.concat([Buffer.from("cloister envelope v1 content"), hash]), 96));
  return [out.subarray(0, 32), out.subarray(32, 64), out.subarray(64)];
}

function nonce(number, last) {
  const b = Buffer.alloc(12);
  b.writeBigUInt64BE(BigInt(number), 3);
  b[11] = last ? 1 : 0;
  return b;
}

// open answers rows, content and report key.
export function open(parsed, dek) {
  const hash = sha256(parsed.preamble);
  const [key, commitment, report] = derive(dek, parsed.header.get(10n), hash);
  if (!crypto.timingSafeEqual(commitment, parsed.commitment)) refuse("commitment");
  const plain = [];
  for (let at = 0, n = 0; at < parsed.chunks.length; n++) {
    const sealed = parsed.chunks.subarray(at, at + CHUNK + 16);
    at += sealed.length;
    if (sealed.length < 17) refuse("chunk");
    const d = crypto.createDecipheriv("aes-256-gcm", key, nonce(n, at === parsed.chunks.length), { authTagLength: 16 });
    d.setAAD(hash);
    d.setAuthTag(sealed.subarray(sealed.length - 16));
    plain.push(d.update(sealed.subarray(0, sealed.length - 16)), d.final());
  }
  const value = decode(Buffer.concat(plain));
  if (!Array.isArray(value) || value.length !== 2 || !isUnsigned(value[0]) || value[0] < 1n || value[0] > 65536n || !(value[1] instanceof Uint8Array)) refuse("content");
  return { rows: Number(value[0]), content: Buffer.from(value[1]), report };
}

// keySet checks a signed key set and answers what it says.
export function keySet(raw, service, now) {
  if (raw.length > 4096 || raw.length < 72 || raw.subarray(0, 8).toString("latin1") !== "CLKEY1\n\0") refuse("magic");
  const end = raw.length - 64;
  const message = Buffer.concat([Buffer.from("cloister intake key v1\0"), sha256(raw.subarray(0, end))]);
  if (!crypto.verify(null, message, publicKey(service), raw.subarray(end))) refuse("signature");
  const set = decode(raw.subarray(8, end));
  if (!hasKeys(set, 6) || set.get(1n) !== 1n || !isBytes(set.get(4n), 1216, 1216) || set.get(5n) >= set.get(6n)) refuse("key set");
  if (now !== undefined && BigInt(now) > set.get(6n)) refuse("expired");
  return { deployment: set.get(2n), key: set.get(4n), id: "sha256:" + sha256(set.get(4n)).toString("hex") };
}

// seal makes an envelope under a new data key that is sealed to the intake key.
export async function seal(set, to, rows, content, signer) {
  const dek = crypto.randomBytes(32);
  const s = suite();
  const sealed = await s.seal(
    {
      recipientPublicKey: await s.kem.importKey("raw", exact(set.key), true),
      info: exact(info(set.deployment, to.dataset, to.producer, to.stream, set.id)),
    },
    exact(dek),
  );
  const blob = Buffer.concat([Buffer.from(sealed.enc), Buffer.from(sealed.ct)]);
  const salt = crypto.randomBytes(32);
  const wrap = new Map([[1n, INTAKE], [2n, set.id], [3n, 0n], [4n, blob]]);
  const header = new Map([
    [1n, 1n], [2n, set.deployment], [3n, to.dataset], [4n, to.contract], [5n, to.producer],
    [6n, to.stream], [7n, BigInt(to.sequence)], [8n, BigInt(to.codec)], [9n, wrap], [10n, salt],
  ]);
  checkHeader(header);
  const encoded = encode(header);
  const preamble = Buffer.concat([Buffer.from("CLENV1\n\0"), u32(encoded.length), encoded]);
  const hash = sha256(preamble);
  const [key, commitment, report] = derive(dek, salt, hash);
  const parts = [preamble, commitment];
  const plain = encode([BigInt(rows), content]);
  for (let at = 0, n = 0; at < plain.length; at += CHUNK, n++) {
    const c = crypto.createCipheriv("aes-256-gcm", key, nonce(n, at + CHUNK >= plain.length), { authTagLength: 16 });
    c.setAAD(hash);
    parts.push(c.update(plain.subarray(at, at + CHUNK)), c.final(), c.getAuthTag());
  }
  const body = Buffer.concat(parts);
  const signature = crypto.sign(null, Buffer.concat([Buffer.from("cloister envelope v1\0"), sha256(body)]), privateKey(signer));
  return { envelope: Buffer.concat([body, signature]), report };
}
