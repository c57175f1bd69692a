// Every route once, one request after the other: right statuses, right headers, right refusals.
// CASES=FILE has a list of one's own (load-tests/README.md).

import http from 'k6/http';
import { check } from 'k6';
import { account, common, gateway, gateways, over, params, place, report, run, text, tokens } from './lib.js';

const PROBLEM = { 'Content-Type': '^application/problem\\+json' };
const SUMMARY = '/accounts/{account}/summary';
const BALANCE = '/accounts/{account}/balance';
const TRANSFER = { method: 'POST', path: '/accounts/{account}/transfers', body: { amount: '0.01', to: 'A2' } };

// `as`: whose token, nobody's if absent. `until`: repeated up to so many times, until the status comes.
const STACK = [
  { what: 'a public route', path: '/status', status: 200, headers: { 'X-Request-Id': '.', 'X-Fapi-Interaction-Id': '.' } },

  { what: 'no token', path: SUMMARY, status: 401, headers: { ...PROBLEM, 'Www-Authenticate': '^Bearer', 'Cache-Control': 'no-store' }, body_has: '"urn:tollgate:problem:unauthenticated"' },
  { what: 'a forged token', path: SUMMARY, as: 'forger', status: 401, headers: { ...PROBLEM, 'Www-Authenticate': 'invalid_token' } },
  { what: 'a token without the scope', ...TRANSFER, as: 'reader', status: 403, headers: { ...PROBLEM, 'Www-Authenticate': 'insufficient_scope' }, body_has: 'insufficient-scope' },
  { what: 'no such path', path: '/nowhere', status: 404, headers: PROBLEM, body_has: 'no-route' },
  { what: 'no such method', method: 'DELETE', path: SUMMARY, as: 'reader', status: 405, headers: { ...PROBLEM, Allow: 'GET' }, body_has: 'method-not-allowed' },
  { what: 'a path with two meanings', path: '/accounts/a%2Fb/summary', as: 'reader', status: 400, headers: PROBLEM, body_has: 'bad-path' },

  { what: 'a first read asks the banks', path: SUMMARY, as: 'reader', status: 200, headers: { 'Cache-Status': 'fwd=uri-miss; stored', 'Ratelimit-Policy': '"unattended";q=4;w=86400', Ratelimit: '"unattended";r=3', Etag: '"' }, body_has: '"savings":\\{' },
  { what: 'a second one is answered from the cache, and counts', path: SUMMARY, as: 'reader', status: 200, headers: { 'Cache-Status': '; hit', Ratelimit: '"unattended";r=2', Age: '^\\d+$' } },
  { what: 'one who has it already is told so', path: SUMMARY, as: 'reader', request_headers: { 'If-None-Match': '{etag}' }, status: 304, headers: { Ratelimit: '"unattended";r=1' } },
  { what: 'the last one allowed', path: SUMMARY, as: 'reader', status: 200, headers: { Ratelimit: '"unattended";r=0' } },
  { what: 'one more is refused, with the reason and a time', path: SUMMARY, as: 'reader', status: 429, headers: { ...PROBLEM, 'Retry-After': '^[1-9]', 'Cache-Control': 'no-store', Ratelimit: '"unattended";r=0' }, body_has: 'quota-exceeded' },
  { what: 'another client has a quota of its own', path: SUMMARY, as: 'writer', status: 200, headers: { Ratelimit: '"unattended";r=3' } },

  { what: 'a balance', path: BALANCE, as: 'reader', status: 200, headers: { 'Cache-Status': 'fwd=uri-miss; stored' }, body_has: '"balance"' },
  { what: 'the balance from the cache', path: BALANCE, as: 'reader', status: 200, headers: { 'Cache-Status': '; hit' } },
  { what: 'a transfer', ...TRANSFER, as: 'writer', status: 201, body_has: '"BOOKED"' },
  { what: 'the balance after it is not from the cache', path: BALANCE, as: 'reader', status: 200, headers: { 'Cache-Status': 'fwd=' } },
  { what: 'transactions are never from the cache', path: '/accounts/{account}/transactions', as: 'reader', status: 200, headers: { 'Cache-Status': '^(?!.*; hit)|^$' }, body_has: '"transactions":\\[' },

  { what: 'a rated route', path: '/rates', as: 'reader', status: 200, headers: { Ratelimit: '"few";r=\\d' } },
  { what: 'too many at once are refused', path: '/rates', as: 'reader', until: 50, status: 429, headers: { ...PROBLEM, 'Retry-After': '^[1-9]' }, body_has: 'rate-limited' },
];

const cases = text('CASES', '') ? JSON.parse(open(__ENV.CASES)) : STACK;

export const options = {
  ...common,
  scenarios: { once: { executor: 'shared-iterations', vus: 1, iterations: 1, maxDuration: '5m' } },
  thresholds: {
    checks: ['rate==1'],
    // Counted as well, so that a run that asked nothing is none.
    http_reqs: [`count>=${cases.length}`],
  },
};

export function setup() {
  const [reader] = tokens(1);
  const [writer] = cases.some(({ as }) => as === 'writer') ? tokens(2, 'accounts:read payments:write').slice(-1) : [null];
  return { run: run(), reader, writer };
}

// The first character of the signature: the last one has bits that mean nothing.
function forged(token) {
  const [head, payload, signature = 'AA'] = token.value.split('.');
  return { value: [head, payload, (signature[0] === 'A' ? 'B' : 'A') + signature.slice(1)].join('.') };
}

function ask(one, at, account, token, etag) {
  const extra = {};
  for (const [name, value] of Object.entries(one.request_headers || {})) extra[name] = value.replace('{etag}', etag);
  if (one.body) extra['Content-Type'] = 'application/json';
  const body = one.body ? JSON.stringify(one.body) : null;
  const accepted = http.expectedStatuses(...(one.until ? [one.status, { min: 200, max: 299 }] : [one.status]));
  const what = { ...params(token, { name: one.what }, extra), responseCallback: accepted, redirects: 0 };
  return http.request(one.method || 'GET', `${at}${place(one.path, account)}`, body, what);
}

export default function (data) {
  const whose = { reader: data.reader, writer: data.writer, forger: forged(data.reader) };
  const of = account(data.run, 0);
  let etag = '';
  cases.forEach((one, n) => {
    let answer;
    for (let tried = 0; tried < (one.until || 1); tried += 1) {
      answer = ask(one, gateway(n), of, whose[one.as], etag);
      if (answer.status === one.status) break;
    }
    etag = answer.headers.Etag || etag;
    const told = `${one.what}: ${one.method || 'GET'} ${one.path}`;
    const wanted = { [`${told} is answered ${one.status}`]: (r) => r.status === one.status };
    for (const [name, pattern] of Object.entries(one.headers || {})) {
      wanted[`${told} has ${name}: ${pattern}`] = (r) => new RegExp(pattern).test(r.headers[name] || '');
    }
    if (one.body_has) wanted[`${told} says ${one.body_has}`] = (r) => new RegExp(one.body_has).test(r.body || '');
    if (!check(answer, wanted)) {
      console.error(`${told}: ${answer.status} ${answer.error} ${JSON.stringify(answer.headers)} ${answer.body || ''}`);
    }
  });
}

export function handleSummary(data) {
  const checks = data.metrics.checks ? data.metrics.checks.values : { passes: 0, fails: 0 };
  return report(data, `smoke: every route once, ${over}`, [
    ['cases', `${cases.length}, over ${gateways.length} gateway${gateways.length > 1 ? 's in turn' : ''}`],
    ['held', `${checks.passes} of ${checks.passes + checks.fails} expectations`],
  ]);
}
