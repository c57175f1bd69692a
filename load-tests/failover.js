// Something is killed in the middle (run.sh does that; otherwise whoever runs the test). Few requests
// fail, nobody waits long for an answer, and no account is served above its limit.
//   accounts  reads each account more often than it may be, in the course of a second and a half
//   probes    ask for what no cache has until there is an answer: how long that takes is the gap

import http from 'k6/http';
import { sleep } from 'k6';
import exec from 'k6/execution';
import { Counter, Rate, Trend } from 'k6/metrics';
import {
  account, Balancer, bound, clients, common, count, gateways, number, over, params, percent, place, rate, report,
  run, seconds, share, stat, text, tokens,
} from './lib.js';

const path = text('READ_PATH', '/accounts/{account}/summary');
const probePath = text('PROBE_PATH', '/accounts/{account}/transactions');
const limit = number('LIMIT', 4);
const duration = text('DURATION', '30s');
const perSecond = rate('RATE', 5);
const callers = clients(5);
const probes = number('PROBES', 4);
const probeAccounts = 30;

export const options = {
  ...common,
  scenarios: {
    accounts: {
      executor: 'constant-arrival-rate',
      exec: 'accounts',
      rate: perSecond,
      timeUnit: '1s',
      duration,
      preAllocatedVUs: Math.max(10, perSecond * 4),
      maxVUs: perSecond * 30 + 10,
      gracefulStop: '60s',
    },
    probes: { executor: 'constant-vus', exec: 'probe', vus: probes, duration, gracefulStop: '60s' },
  },
  thresholds: {
    accounts_over: ['count==0'],
    accounts_judged: [`count>=${Math.floor(perSecond * seconds(duration) * 0.95)}`],
    // What no fault excuses: an account that was asked often enough and never refused.
    accounts_never_refused: ['count==0'],
    gap: [`max<${bound('GAP', gateways.length > 1 ? 5000 : 1000)}`],
    gaps: ['count>0'],
    failed: [`rate<=${number('FAILED', gateways.length > 1 ? 0.01 : 0.001)}`],
  },
};

const accountsOver = new Counter('accounts_over');
const accountsUnder = new Counter('accounts_under');
const accountsJudged = new Counter('accounts_judged');
const neverRefused = new Counter('accounts_never_refused');
const gap = new Trend('gap', true);
const gaps = new Counter('gaps');
const failed = new Rate('failed');
const notConnected = new Counter('not_connected');

// https://grafana.com/docs/k6/latest/javascript-api/error-codes/: from looking up a name to a refused
// connection, nothing has been sent.
const isNotConnected = ({ error_code: code }) => (code >= 1100 && code < 1200) || (code >= 1210 && code < 1220);

http.setResponseCallback(http.expectedStatuses(200, 429));

export function setup() {
  return { tokens: tokens(callers), run: run() };
}

let balancer;

// Asks the gateways in turn until one answers, as a client behind a load balancer does who tries
// again. What came of the last try, and how long all of it took.
function ask(url, token, name, patience) {
  balancer = balancer || new Balancer(exec.vu.idInTest);
  const began = Date.now();
  for (;;) {
    const index = balancer.next();
    const answer = http.get(`${gateways[index]}${url}`, params(token, { name }));
    const took = Date.now() - began;
    const answered = answer.status === 200 || answer.status === 429;
    // A load balancer sends what it could not deliver to another gateway at once: the client waits, and
    // that is in the gap, but nothing failed. With a single gateway there is no other.
    const delivered = gateways.length === 1 || !isNotConnected(answer);
    if (delivered) failed.add(!answered);
    else notConnected.add(1);
    if (answered) return { answer, took };
    if (delivered) console.error(`${gateways[index]}${url}: ${answer.status} ${answer.error} ${answer.body || ''}`);
    if (answer.status === 0) balancer.leaveOut(index);
    if (took > patience) return { answer, took };
    sleep(0.05);
  }
}

export function accounts({ tokens: all, run: id }) {
  const n = exec.scenario.iterationInTest;
  const url = place(path, account(id, n));
  let served = 0;
  let refused = 0;
  for (let read = 0; read < limit + 2; read += 1) {
    const { answer } = ask(url, all[n % callers], 'read', 20000);
    if (answer.status === 200) served += 1;
    if (answer.status === 429) refused += 1;
    sleep(0.25);
  }
  accountsJudged.add(1);
  if (served > limit) accountsOver.add(1);
  // A use whose answer was lost counts: fewer are possible, and only told.
  if (served < limit) accountsUnder.add(1);
  if (served + refused > limit && refused === 0) neverRefused.add(1);
}

export function probe({ tokens: all, run: id }) {
  const n = exec.vu.iterationInScenario * probes + exec.vu.idInTest;
  const { took } = ask(place(probePath, account(id, `probe-${n % probeAccounts}`)), all[n % callers], 'probe', 60000);
  gap.add(took);
  gaps.add(1);
  sleep(0.05);
}

export function handleSummary(data) {
  return report(data, `failover: ${perSecond} accounts a second and ${probes} probes for ${duration} ${over}`, [
    ['accounts', `${count(data, 'accounts_judged')} judged: ${count(data, 'accounts_over')} above their limit of ${limit}, ${count(data, 'accounts_under')} below`],
    ['longest gap', `${(stat(data, 'gap', 'max') / 1000).toFixed(2)} s without an answer`],
    ['failed', `${percent(share(data, 'failed'))} of the requests that reached a gateway`],
    ['not connected', `${count(data, 'not_connected')} times, and another gateway asked`],
  ], { failed: share(data, 'failed') === 0 ? 0 : data.metrics.failed.values.passes });
}
