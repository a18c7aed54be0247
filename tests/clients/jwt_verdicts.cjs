// What a hub in Node says of tokens of JWT Auth: jose checks the signature, this file what the scheme adds. Input and output are those
// of jwt_verdicts.py. The library is Debian's, whose folder the first argument names.
"use strict";

const jose = require(process.argv[2]);
const LEEWAY = 10;
const UUID4 = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

async function verdict(asked, token, at) {
  let header;
  try {
    header = jose.decodeProtectedHeader(token);
  } catch (error) {
    return `form: ${error.message}`;
  }
  const expected = { alg: "PS256", cty: "json", kid: header.kid, typ: "JOSE" };
  const sorted = Object.fromEntries(Object.entries(header).sort());
  if (JSON.stringify(sorted) !== JSON.stringify(expected)) return `header: ${JSON.stringify(sorted)}`;
  const keys = asked.jwks.keys.filter((key) => key.kid === header.kid);
  if (keys.length !== 1) return `kid: ${keys.length} keys`;
  let claims;
  try {
    const verified = await jose.jwtVerify(token, jose.createLocalJWKSet(asked.jwks), {
      algorithms: ["PS256"],
      audience: asked.audience,
      issuer: asked.issuer,
      subject: asked.subject,
      clockTolerance: LEEWAY,
      currentDate: new Date(at * 1000),
      maxTokenAge: 30,
    });
    claims = verified.payload;
  } catch (error) {
    return `${error.code}: ${error.message}`;
  }
  const known = ["iss", "sub", "aud", "iat", "exp", "jti", "nbf"];
  if (typeof claims.aud !== "string" || Object.keys(claims).some((name) => !known.includes(name))) return "claims";
  const lifetime = claims.exp - claims.iat;
  if (!(lifetime >= 10 && lifetime <= 30)) return "lifetime";
  if (claims.iat - LEEWAY > at) return "not yet";
  return UUID4.test(claims.jti) ? "ok" : "jti";
}

async function main() {
  let text = "";
  for await (const part of process.stdin) text += part;
  const asked = JSON.parse(text);
  const verdicts = [];
  for (const one of asked.tokens) verdicts.push(await verdict(asked, one.token, one.at));
  process.stdout.write(JSON.stringify(verdicts));
}

main();
