// However requests race, over however many gateways: no account is served above its limit, and none
// below. The judge is what clients saw: each account's answers are counted where they were received.

import http from 'k6/http';
import { check, sleep } from 'k6';
import exec from 'k6/execution';
import { Counter, Rate } from 'k6/metrics';
import {
  account, clients, common, count, gateway, gateways, isCleanRefusal, isHit, needAccounts, number, over, params, percent,
  place, report, run, share, text, tokens,
} from './lib.js';

const path = text('READ_PATH', '/accounts/{account}/summary');
const limit = number('LIMIT', 4);
const callers = clients(5);
const accounts = number('ACCOUNTS', 100);
const pairs = callers * accounts;
const late = gateways.length;
needAccounts(accounts);

export const options = {
  ...common,
  batch: limit * 2,
  batchPerHost: limit * 2,
  scenarios: {
    // Each iteration is one account's and one client's; neighbours have the same account.
    race: { executor: 'shared-iterations', vus: number('VUS', 10), iterations: pairs, maxDuration: '10m' },
  },
  thresholds: {
    accounts_over: ['count==0'],
    accounts_under: [`count<=${number('UNDER', gateways.length > 1 ? Math.ceil(pairs / 100) : 0)}`],
    accounts_judged: [`count==${pairs}`],
    unclear: [`rate<=${number('UNCLEAR', gateways.length > 1 ? 0.01 : 0)}`],
    unexpected: ['count==0'],
    checks: ['rate==1'],
  },
};

const accountsOver = new Counter('accounts_over');
const accountsUnder = new Counter('accounts_under');
const accountsJudged = new Counter('accounts_judged');
const served = new Counter('served');
const servedFromCache = new Counter('served_from_cache');
const refused = new Counter('refused');
const unclear = new Rate('unclear');
const unexpected = new Counter('unexpected');

http.setResponseCallback(http.expectedStatuses(200, 429));

export function setup() {
  return { tokens: tokens(callers), run: run() };
}

export default function ({ tokens: all, run: id }) {
  const pair = exec.scenario.iterationInTest;
  const of = account(id, Math.floor(pair / callers));
  const what = () => params(all[pair % callers], { name: 'read' });
  const url = (n) => `${gateway(pair + n)}${place(path, of)}`;
  // Twice the limit at once, spread over all gateways: half must be refused.
  const race = Array.from({ length: limit * 2 }, (_, n) => ['GET', url(n), null, what()]);
  const answers = http.batch(race);
  // Then each gateway is asked once more: all of them must know by now.
  for (let n = 0; n < late; n += 1) answers.push(http.get(url(n), what()));

  let got = 0;
  let inDoubt = 0;
  for (let answer of answers) {
    const isUnclear = answer.status === 503 && isCleanRefusal(answer);
    unclear.add(isUnclear);
    // The count could not be asked: as the answer says, a little later. The use may count all the same.
    for (let again = 0; again < 5 && answer.status === 503 && isCleanRefusal(answer); again += 1) {
      inDoubt += 1;
      sleep(Number(answer.headers['Retry-After']));
      answer = http.get(answer.request.url, what());
    }
    if (answer.status === 200) {
      got += 1;
      if (isHit(answer)) servedFromCache.add(1);
    } else if (answer.status === 429) {
      refused.add(1);
      check(answer, {
        'a refusal says when to come back': (r) => Number(r.headers['Retry-After']) > 0,
        'a refusal is about the quota': (r) => /quota-exceeded/.test(r.body || ''),
      });
    } else {
      unexpected.add(1);
      console.error(`${of}: ${answer.status} ${answer.error} ${answer.body || ''}`);
    }
  }
  served.add(got);
  accountsJudged.add(1);
  if (got > limit) accountsOver.add(1);
  if (got < limit - inDoubt) accountsUnder.add(1);
}

export function handleSummary(data) {
  const above = count(data, 'accounts_over');
  const below = count(data, 'accounts_under');
  return report(data, `quota: ${callers} clients x ${accounts} accounts ${over}, ${limit} uses allowed each, ${limit * 2} tried at once`, [
    ['served', `${count(data, 'served')} of ${pairs * limit} allowed; ${count(data, 'served_from_cache')} of them from the cache`],
    ['refused', `${count(data, 'refused')} of ${pairs * (limit + late)} too many`],
    ['unclear', `${percent(share(data, 'unclear'))}: answered 503, and asked again`],
    ['neither', count(data, 'unexpected')],
    ['verdict', above + below === 0 ? 'no account got more or less than its quota' : `${above} got more than their quota, ${below} less`],
  ]);
}
