// Many clients and accounts: however the requests race, no account may be served above its limit.
// The judge is what the clients saw: each response counts where it was received, by account.
//
//   k6 run -e GATEWAY=http://127.0.0.1:8080 -e IDENTITY=http://127.0.0.1:7106 load-tests/accounts.js

import http from 'k6/http';
import { check } from 'k6';
import exec from 'k6/execution';
import { Counter, Rate } from 'k6/metrics';

const gateway = __ENV.GATEWAY || 'http://127.0.0.1:8080';
const identity = __ENV.IDENTITY || 'http://127.0.0.1:7106';
const limit = Number(__ENV.LIMIT || 4);
const clients = Number(__ENV.CLIENTS || 5);
const accounts = Number(__ENV.ACCOUNTS || 200);
export const options = {
  scenarios: {
    race: {
      executor: 'shared-iterations',
      vus: Number(__ENV.VUS || 50),
      // Twice the limit for every client and account: half must be refused.
      iterations: clients * accounts * limit * 2,
      maxDuration: '5m',
    },
  },
  thresholds: {
    served: [`count==${clients * accounts * limit}`],
    refused: [`count==${clients * accounts * limit}`],
    unexpected: ['count==0'],
    checks: ['rate==1'],
  },
};

const served = new Counter('served');
const refused = new Counter('refused');
const unexpected = new Counter('unexpected');
const fromCache = new Rate('from_cache');

export function setup() {
  const tokens = [];
  for (let n = 0; n < clients; n += 1) {
    const answer = http.post(
      `${identity}/token`,
      { grant_type: 'client_credentials', scope: 'accounts:read', client_id: `client-${n}`, client_secret: `secret-${n}` },
    );
    tokens.push(answer.json('access_token'));
  }
  // Accounts of this run's own, so that it can be repeated within the quota's window. Made once, here:
  // each virtual user runs the rest of this file for itself.
  return { tokens, run: __ENV.RUN || String(Date.now()) };
}

// Every pair of client and account gets exactly 2 x limit requests, in an order that mixes them.
export default function ({ tokens, run }) {
  const pair = exec.scenario.iterationInTest % (clients * accounts);
  const account = `${run}-${Math.floor(pair / clients)}`;
  const answer = http.get(`${gateway}/accounts/${account}/summary`, {
    headers: { Authorization: `Bearer ${tokens[pair % clients]}` },
    tags: { name: 'summary' },
  });
  if (answer.status === 200) {
    served.add(1);
    fromCache.add(/; hit/.test(answer.headers['Cache-Status'] || ''));
  } else if (answer.status === 429) {
    refused.add(1);
    check(answer, {
      'a refusal says when to come back': (r) => Number(r.headers['Retry-After']) > 0,
      'a refusal names the quota': (r) => r.json('violated-policies.0') === 'unattended',
    });
  } else {
    unexpected.add(1);
  }
}

export function handleSummary(data) {
  const count = (name) => (data.metrics[name] ? data.metrics[name].values.count : 0);
  const verdict = count('served') === clients * accounts * limit && count('unexpected') === 0;
  const text = [
    '',
    `  ${clients} clients x ${accounts} accounts, ${limit} uses allowed each, ${limit * 2} tried`,
    `  served    ${count('served')} of ${clients * accounts * limit} allowed`,
    `  refused   ${count('refused')}`,
    `  other     ${count('unexpected')}`,
    `  ${verdict ? 'No account got more or less than its quota.' : 'AN ACCOUNT GOT MORE OR LESS THAN ITS QUOTA.'}`,
    '',
  ];
  return { stdout: text.join('\n') };
}
