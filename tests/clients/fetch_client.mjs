// The calls of an LFI, made with Node's fetch as an application would. Prints what came back as JSON.
import { createHash } from 'node:crypto';

const base = process.argv[2];
const big = Buffer.alloc(10 * 1024 * 1024, '0123456789abcdef');
const results = {};

async function call(name, method, path, more = {}) {
  const answer = await fetch(base + path, { method, redirect: 'manual', ...more });
  const body = Buffer.from(await answer.arrayBuffer());
  results[name] = {
    status: answer.status,
    location: answer.headers.get('location'),
    id: answer.headers.get('x-fapi-interaction-id'),
    length: body.length,
    sha256: createHash('sha256').update(body).digest('hex'),
  };
}

async function* pieces(buffer, size) {
  for (let at = 0; at < buffer.length; at += size) yield buffer.subarray(at, at + size);
}

await call('get', 'GET', '/cm/consents/1?a=%2Fb&c=d%20e&a=+');
await call('auth', 'GET', '/hh/auth?client_id=tpp&request=a%3D%3D&redirect_uri=https%3A%2F%2Ftpp.example%2Fcb');
await call('form', 'POST', '/hh/auth/3f1c9d2e/doConfirm', { body: new URLSearchParams({ a: '1', b: 'x y' }) });
await call('patch', 'PATCH', '/cm/consents/1', { body: big, headers: { 'content-type': 'application/json' } });
await call('chunked', 'PATCH', '/cm/consents/2', { body: pieces(big, 65537), duplex: 'half' });
await call('small-chunked', 'PATCH', '/cm/consents/3', { body: pieces(Buffer.from('{} \n'), 2), duplex: 'half' });
await call('missing', 'GET', '/cm/nothing');
console.log(JSON.stringify(results));
