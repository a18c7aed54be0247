// Bodies that are refused before they are read, sent with Node's http module, and over TCP with fetch as well.
// Arguments: base, "path=status ...", sizes.
import http from 'node:http';

const [base, asks, ...sizes] = process.argv.slice(2);
const unix = base.startsWith('unix:') ? base.slice(5) : undefined;
const agent = new http.Agent({ keepAlive: true });

function call(path, body, how) {
  return new Promise((resolve, reject) => {
    const options = { method: 'POST', agent, headers: how === 'fixed' ? { 'content-length': body.length } : {} };
    const request = unix
      ? http.request({ ...options, socketPath: unix, path })
      : http.request(base + path, options);
    request.on('response', (answer) => {
      answer.resume();
      answer.on('end', () => resolve(answer.statusCode));
      answer.on('error', reject);
    });
    request.on('error', reject);
    for (let at = 0; at < body.length; at += 65537) request.write(body.subarray(at, at + 65537));
    request.end();
  });
}

async function fetched(path, body, how) {
  async function* pieces() {
    for (let at = 0; at < body.length; at += 65537) yield body.subarray(at, at + 65537);
  }
  const sent = how === 'fixed' ? { body } : { body: pieces(), duplex: 'half' };
  const answer = await fetch(base + path, { method: 'POST', ...sent });
  await answer.arrayBuffer();
  return answer.status;
}

for (const ask of asks.split(' ')) {
  const path = ask.split('=')[0];
  for (const size of sizes) {
    const body = Buffer.alloc(Number(size), 'a');
    for (const how of ['fixed', 'chunked']) {
      const status = await call(path, body, how);
      const same = unix ? status : await fetched(path, body, how);
      console.log(path, size, how, status === same ? status : `${status} ${same}`);
    }
  }
}
agent.destroy();
