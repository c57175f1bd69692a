// A steady load: requests begin at a fixed rate, whether answers come or not. How long do they take,
// and does any fail?

import http from 'k6/http';
import exec from 'k6/execution';
import { Rate } from 'k6/metrics';
import {
  account, bound, clients, common, gateway, isHit, list, nameOf, number, over, params, percent, place, rate, report,
  run, seconds, share, steady, text, times, tokens,
} from './lib.js';

// Each account is read so many times at each path: within the quota of the summary.
const reads = number('READS', 4);
const paths = list('PATHS', ['/accounts/{account}/summary', '/accounts/{account}/balance', '/accounts/{account}/transactions']);
const perSecond = rate('RATE', 100);
const duration = text('DURATION', '30s');
const callers = clients(5);
const p95 = bound('P95', 150);
const p99 = bound('P99', 400);

export const options = {
  ...common,
  discardResponseBodies: true,
  scenarios: {
    steady: steady(perSecond, duration),
  },
  thresholds: {
    ...Object.fromEntries(paths.map((path) => [`http_req_duration{name:${nameOf(path)}}`, [`p(95)<${p95}`, `p(99)<${p99}`]])),
    http_req_failed: [`rate<=${number('FAILED', 0.001)}`],
    // What was not sent was not measured either.
    iterations: [`count>=${Math.floor(perSecond * seconds(duration) * 0.98)}`],
  },
};

const fromCache = new Rate('from_cache');

http.setResponseCallback(http.expectedStatuses({ min: 200, max: 299 }));

export function setup() {
  return { tokens: tokens(callers), run: run() };
}

export default function ({ tokens: all, run: id }) {
  const n = exec.scenario.iterationInTest;
  const path = paths[n % paths.length];
  const a = Math.floor(n / (paths.length * reads));
  const answer = http.get(
    `${gateway(n)}${place(path, account(id, a))}`,
    params(all[a % callers], { name: nameOf(path) }),
  );
  fromCache.add(isHit(answer));
}

export function handleSummary(data) {
  return report(data, `load: ${perSecond} requests a second for ${duration} ${over}`, [
    ...paths.map((path) => [path, times(data, `http_req_duration{name:${nameOf(path)}}`)]),
    ['from cache', percent(share(data, 'from_cache'))],
  ]);
}
