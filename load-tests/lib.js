// What the tests have in common: where they go, who they are, and a summary that a person reads.
// load-tests/README.md explains the environment.

import http from 'k6/http';

// ---- environment

const given = (name) => __ENV[name] !== undefined && __ENV[name] !== '';

export const text = (name, fallback) => (given(name) ? __ENV[name] : fallback);

export const list = (name, fallback = []) =>
  given(name) ? __ENV[name].split(',').map((item) => item.trim()).filter(Boolean) : fallback;

export function number(name, fallback) {
  const value = given(name) ? Number(__ENV[name]) : fallback;
  if (Number.isNaN(value)) throw new Error(`${name} must be a number, and is '${__ENV[name]}'`);
  return value;
}

// Rates that nobody asked for are of a machine with some cores to spare: SCALE moves all of them.
export const rate = (name, fallback) =>
  given(name) ? number(name) : Math.max(1, Math.round(fallback * number('SCALE', 1)));

// Bounds on times, in milliseconds, are of such a machine too: SLOW moves those that nobody asked for.
export const bound = (name, fallback) => (given(name) ? number(name) : fallback * number('SLOW', 1));

const UNITS = { ms: 0.001, s: 1, m: 60, h: 3600 };

export function seconds(duration) {
  const parts = [...duration.matchAll(/([\d.]+)(ms|s|m|h)/g)];
  if (parts.map(([part]) => part).join('') !== duration || parts.length === 0) {
    throw new Error(`'${duration}' is no duration such as 30s or 1h30m`);
  }
  return parts.reduce((sum, [, count, unit]) => sum + Number(count) * UNITS[unit], 0);
}

// ---- the target

export const gateways = list('GATEWAYS', list('GATEWAY', ['http://127.0.0.1:8080'])).map((url) => url.replace(/\/$/, ''));
export const gateway = (n) => gateways[n % gateways.length];
export const identity = text('IDENTITY', 'http://127.0.0.1:7106');
export const over = gateways.length > 1 ? `over ${gateways.length} gateways` : `over ${gateways[0]}`;

export const place = (path, account) => path.replace('{account}', encodeURIComponent(account));

// A path as the value of a tag that thresholds can name.
export const nameOf = (path) => path.replace(/[^A-Za-z0-9]+/g, '-').replace(/^-|-$/g, '');

// Options that every test has. Percentiles are those of the summary.
export const common = {
  summaryTrendStats: ['med', 'p(95)', 'p(99)', 'max', 'count'],
  insecureSkipTLSVerify: text('INSECURE', '') === '1',
};

// So many requests begin each second, whether answers come or not.
export const steady = (perSecond, duration) => ({
  executor: 'constant-arrival-rate',
  rate: perSecond,
  timeUnit: '1s',
  duration,
  preAllocatedVUs: number('VUS', Math.max(50, perSecond)),
});

// ---- accounts: of the run's own, so that it can be repeated within a quota's window, or those of a file

const named = given('ACCOUNTS_FILE') ? open(__ENV.ACCOUNTS_FILE).split('\n').map((line) => line.trim()).filter(Boolean) : [];

export const fromFile = named.length > 0;

export function account(run, n) {
  return fromFile ? named[n % named.length] : `${run}-${n}`;
}

// Throws if a test needs more accounts of its own than there are.
export function needAccounts(count) {
  if (fromFile && named.length < count) {
    throw new Error(`${count} accounts are needed, and ${__ENV.ACCOUNTS_FILE} has ${named.length}`);
  }
}

export const run = () => text('RUN', String(Date.now()));

// ---- tokens

const fixed = list('TOKEN');

// How many clients a test can be: as many as it likes of the demo bank's, else as many as were given.
export const clients = (fallback) => {
  if (fixed.length > 0) return fixed.length;
  return given('CLIENT_ID') ? 1 : number('CLIENTS', fallback);
};

function grant(n, scope) {
  const id = text('CLIENT_ID', `client-${n}`);
  const secret = text('CLIENT_SECRET', `secret-${n}`);
  const answer = http.post(
    text('TOKEN_URL', `${identity}/token`),
    { grant_type: 'client_credentials', scope, client_id: id, client_secret: secret },
    { responseType: 'text', tags: { name: 'token' }, responseCallback: http.expectedStatuses(200) },
  );
  if (answer.status !== 200) {
    throw new Error(`no token for ${id}: ${answer.status} ${answer.error || answer.body}`);
  }
  const life = Number(answer.json('expires_in')) || 300;
  return { n, scope, value: answer.json('access_token'), until: Date.now() + life * 800 };
}

// For setup(): one token for each of so many clients.
export function tokens(count = 1, scope = text('SCOPE', 'accounts:read')) {
  if (fixed.length > 0) return fixed.map((value) => ({ value }));
  return Array.from({ length: count }, (_, n) => grant(n, scope));
}

const renewed = {};

// The token's text; a new one when most of its life has passed. Each virtual user renews for itself.
export function bearer(token) {
  const key = `${token.n} ${token.scope}`;
  let current = renewed[key] || token;
  if (current.until && Date.now() > current.until) {
    current = grant(token.n, token.scope);
    renewed[key] = current;
  }
  return current.value;
}

// ---- requests

const host = text('HOST', '');

export function params(token, tags, headers = {}) {
  const all = { ...headers };
  if (token) all.Authorization = `Bearer ${bearer(token)}`;
  // In a fleet answers are found again by the host that was asked for.
  if (host) all.Host = host;
  return { headers: all, tags, timeout: text('TIMEOUT', '30s') };
}

export const isHit = (answer) => /; hit/.test(answer.headers['Cache-Status'] || '');

// A refusal that a client can act upon: it says what it is, and when to come back.
export const isCleanRefusal = (answer) =>
  (answer.status === 429 || answer.status === 503)
  && /^application\/problem\+json/.test(answer.headers['Content-Type'] || '')
  && Number(answer.headers['Retry-After']) > 0;

// One virtual user's view of the gateways, as a load balancer has it: one that can't be reached is left
// out for a moment.
export class Balancer {
  constructor(start = 0) {
    this.turn = start;
    this.outUntil = gateways.map(() => 0);
  }

  next() {
    for (let tried = 0; tried < gateways.length; tried += 1) {
      this.turn += 1;
      if (this.outUntil[this.turn % gateways.length] < Date.now()) break;
    }
    return this.turn % gateways.length;
  }

  leaveOut(index) {
    this.outUntil[index] = Date.now() + 2000;
  }
}

// ---- the summary

const rounded = (value) => (Number.isInteger(value) ? String(value) : value.toFixed(value < 10 ? 2 : 1));
const ms = (value) => (value >= 1000 ? `${(value / 1000).toFixed(2)} s` : `${value.toFixed(1)} ms`);

export const count = (data, metric) => (data.metrics[metric] ? data.metrics[metric].values.count || 0 : 0);
export const share = (data, metric) => (data.metrics[metric] ? data.metrics[metric].values.rate || 0 : 0);
export const percent = (value) => `${(value * 100).toFixed(value > 0 && value < 0.01 ? 2 : 1)} %`;
export const stat = (data, metric, name) => (data.metrics[metric] && data.metrics[metric].values[name]) || 0;
export const times = (data, metric) => {
  const values = data.metrics[metric] ? data.metrics[metric].values : {};
  if (!values.count) return 'none';
  return `p50 ${ms(values.med)}, p95 ${ms(values['p(95)'])}, p99 ${ms(values['p(99)'])}, longest ${ms(values.max)}`;
};

function thresholds(data) {
  const found = [];
  for (const [metric, { values, thresholds: own }] of Object.entries(data.metrics)) {
    for (const [expression, { ok }] of Object.entries(own || {})) {
      const [statistic] = expression.match(/^\s*[a-z]+(\([\d.]+\))?/) || [''];
      const value = values[statistic.trim()];
      found.push({ metric, expression, ok, value: value === undefined ? '' : rounded(value) });
    }
  }
  return found.sort((one, other) => one.metric.localeCompare(other.metric));
}

function failedChecks(group) {
  const own = group.checks.filter((check) => check.fails > 0);
  return group.groups.reduce((all, inner) => all.concat(failedChecks(inner)), own);
}

// For handleSummary(): rows are pairs of a name and a value. With SUMMARY=FILE also one line for a
// table, as run.sh makes it: requests, p50, p99, failed. `failed`: where the test knows better than k6,
// which takes each status that it does not expect, and each connection refused, for a failure.
export function report(data, title, rows, { failed: known } = {}) {
  const judged = thresholds(data);
  const wrong = judged.filter(({ ok }) => !ok).length;
  const requests = count(data, 'http_reqs');
  const byK6 = data.metrics.http_req_failed ? data.metrics.http_req_failed.values.passes : 0;
  const failed = known === undefined ? byK6 : known;
  const all = [
    ...rows,
    ['requests', `${requests}, ${rounded(stat(data, 'http_reqs', 'rate'))} a second; failed: ${failed}`],
    ['times', times(data, 'http_req_duration')],
  ];
  const dropped = count(data, 'dropped_iterations');
  if (dropped > 0) all.push(['not sent', `${dropped}: no virtual user was free`]);
  const width = Math.max(...all.map(([name]) => name.length));
  const lines = ['', `  ${title}`, ''];
  for (const [name, value] of all) lines.push(`    ${name.padEnd(width)}  ${value}`);
  lines.push('');
  const longest = Math.max(0, ...judged.map(({ metric, expression }) => metric.length + expression.length + 1));
  for (const { metric, expression, ok, value } of judged) {
    lines.push(`    ${ok ? 'ok    ' : 'FAILED'}  ${`${metric} ${expression}`.padEnd(longest)}  ${value}`);
  }
  for (const { name, fails } of failedChecks(data.root_group)) lines.push(`    not so: ${name} (${fails} times)`);
  lines.push('', wrong === 0 ? '  Passed.' : `  FAILED: ${wrong} of ${judged.length} thresholds.`, '', '');
  const result = { stdout: lines.join('\n') };
  if (given('SUMMARY')) {
    const line = [requests, stat(data, 'http_req_duration', 'med'), stat(data, 'http_req_duration', 'p(99)'), failed];
    result[__ENV.SUMMARY] = `${line.join('\t')}\n`;
  }
  return result;
}
