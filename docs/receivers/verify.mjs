// Verify a request of cdc-hooks: copy this file, and call verify before anything else.

import { createHmac, timingSafeEqual } from "node:crypto";

const TOLERANCE_S = 300;

export class WrongSignature extends Error {} // the request is not genuine, or too old: answer 401 and forget it

// Returns if the request is genuine, else throws. headers: request.headers of Node, whose names are in lower case.
// body: a Buffer with the body as it came, before any parsing.
export function verify(secret, headers, body) {
  const id = headers["webhook-id"] ?? "";
  const timestamp = headers["webhook-timestamp"] ?? "";
  if (!/^[0-9]{1,12}$/.test(timestamp) || Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE_S) {
    throw new WrongSignature("the timestamp is missing, or more than five minutes off");
  }
  const digest = createHmac("sha256", keyOf(secret)).update(`${id}.${timestamp}.`).update(body).digest("base64");
  const expected = Buffer.from(`v1,${digest}`);
  // One signature for each secret that is in use while secrets are being changed; other versions are skipped.
  for (const signature of (headers["webhook-signature"] ?? "").split(" ")) {
    const given = Buffer.from(signature);
    if (given.length === expected.length && timingSafeEqual(given, expected)) return;
  }
  throw new WrongSignature("no signature matches");
}

// whsec_ and base64 of the key, or plain text, which is the key itself.
function keyOf(secret) {
  const key = secret.startsWith("whsec_") ? Buffer.from(secret.slice(6), "base64") : Buffer.from(secret);
  if (key.length === 0) throw new Error("the secret is empty: everybody could sign with it");
  return key;
}
