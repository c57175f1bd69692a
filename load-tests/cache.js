// The account cache: how much it answers, and that it never answers with what was before a change.
//   readers  read few accounts again and again: share of hits, and no answer older than `fresh`
//   changes  change an account while others read it: the next read isn't from before
//   unseen   the backend changes and the gateway isn't told: seen when `fresh` has passed at the latest
//   purges   the same, and the account is purged: the next read isn't from before
// The last two need BEHIND, the address by which the backend is changed behind the gateway's back.

import http from 'k6/http';
import { check, sleep } from 'k6';
import exec from 'k6/execution';
import { Counter, Rate, Trend } from 'k6/metrics';
import {
  account, common, count, fromFile, gateway, gateways, isHit, list, needAccounts, number, over, params, percent, place,
  rate, report, run, seconds, share, stat, text, tokens,
} from './lib.js';

const path = text('READ_PATH', '/accounts/{account}/balance');
// What in the answer a change makes different, as k6 selects it (https://github.com/tidwall/gjson).
const value = text('VALUE', 'balance.current');
const changePath = text('CHANGE_PATH', '/accounts/{account}/transfers');
const changeBody = text('CHANGE_BODY', '{"amount":"0.01","to":"A2"}');
const changeScope = text('CHANGE_SCOPE', 'accounts:read payments:write');
const behind = text('BEHIND', '');
const admins = list('ADMIN').map((url) => url.replace(/\/$/, ''));
const adminToken = text('ADMIN_TOKEN', '');
const fresh = seconds(text('FRESH', '5s'));
const duration = text('DURATION', '20s');
const hot = number('ACCOUNTS', 10);
const perSecond = rate('RATE', 50);
// One read in each time that an answer is fresh asks the bank; a little less is let pass.
const hits = number('HITS', 0.95 * (1 - hot / (perSecond * fresh)));
// Other gateways of a fleet hear of a purge in a moment; a gateway of its own has done it.
const patience = number('PATIENCE', gateways.length > 1 ? 2 : 0);

const readerUsers = Math.max(50, perSecond);
const mostUsers = readerUsers + 20;
needAccounts(hot + mostUsers);

const loop = (exec, vus) => ({ executor: 'constant-vus', exec, vus, duration, gracefulStop: '30s' });
const watchUnseen = behind !== '';
const watchPurges = behind !== '' && admins.length > 0;

export const options = {
  ...common,
  scenarios: {
    readers: {
      executor: 'constant-arrival-rate',
      exec: 'readers',
      rate: perSecond,
      timeUnit: '1s',
      duration,
      preAllocatedVUs: readerUsers,
    },
    changes: loop('changes', number('VUS', 3)),
    ...(watchUnseen ? { unseen: loop('unseen', 2) } : {}),
    ...(watchPurges ? { purges: loop('purges', 1) } : {}),
  },
  thresholds: {
    hits: [`rate>=${hits.toFixed(3)}`],
    age: [`max<=${fresh}`],
    ages: ['count>0'],
    from_before: ['count==0'],
    changes: ['count>0'],
    http_req_failed: ['rate==0'],
    checks: ['rate==1'],
    ...(watchUnseen ? { unseen_for: [`max<=${(fresh + number('SLACK', 0.5)) * 1000}`], unseen_changes: ['count>0'] } : {}),
    ...(watchPurges ? { purges: ['count>0'] } : {}),
  },
};

const hitShare = new Rate('hits');
const age = new Trend('age');
const ages = new Counter('ages');
const fromBefore = new Counter('from_before');
const changed = new Counter('changes');
const purged = new Counter('purges');
const unseenFor = new Trend('unseen_for', true);
const unseenChanges = new Counter('unseen_changes');

http.setResponseCallback(http.expectedStatuses({ min: 200, max: 299 }));

export function setup() {
  return { reader: tokens(1)[0], writer: tokens(1, changeScope)[0], run: run() };
}

const readUrl = (at, of) => `${at}${place(path, of)}`;
const valueOf = (answer) => (answer.status === 200 ? answer.json(value) : undefined);

// Every read anywhere is held to this: a hit says how old it is, and is not too old.
function judge(answer) {
  if (!isHit(answer)) return;
  const told = answer.headers.Age;
  check(answer, { 'a hit says its age': () => told !== undefined });
  age.add(Number(told));
  ages.add(1);
}

function read(data, of, n) {
  const answer = http.get(readUrl(gateway(n), of), params(data.reader, { name: 'read' }));
  judge(answer);
  return answer;
}

// An account that nobody else reads or changes; of a file, always the same.
const own = (data) => account(data.run, hot + exec.vu.idInTest + (fromFile ? 0 : mostUsers * exec.vu.iterationInScenario));

export function readers(data) {
  const n = exec.scenario.iterationInTest;
  const answer = read(data, account(data.run, n % hot), Math.floor(n / hot));
  hitShare.add(isHit(answer));
}

const request = (data, of, n) => ['GET', readUrl(gateway(n), of), null, params(data.reader, { name: 'read' })];
const change = (data, of, n) => [
  'POST', `${gateway(n)}${place(changePath, of)}`, changeBody,
  params(data.writer, { name: 'change' }, { 'Content-Type': 'application/json' }),
];

// Reads until the value is another one, `patience` seconds at most. Whether it came.
function otherThan(before, data, of, n) {
  const until = Date.now() + patience * 1000;
  for (;;) {
    const now = valueOf(read(data, of, n));
    if (now !== undefined && now !== before) return true;
    if (Date.now() >= until) return false;
    sleep(0.02);
  }
}

export function changes(data) {
  const of = own(data);
  const n = exec.vu.iterationInScenario;
  const before = valueOf(read(data, of, n));
  check(read(data, of, n + 1), { 'a second read is a hit': isHit, 'a hit says the same': (r) => valueOf(r) === before });
  // Reads on both sides of the change: what one of them fetched before it must not be kept.
  const answers = http.batch([request(data, of, n), change(data, of, n), request(data, of, n + 1), request(data, of, n + 2)]);
  answers.forEach((answer, at) => at !== 1 && judge(answer));
  if (answers[1].status >= 300 || before === undefined) return;
  changed.add(1);
  // Every gateway, at once: the change was confirmed.
  for (let at = 0; at < Math.max(2, gateways.length); at += 1) {
    const now = valueOf(read(data, of, n + at));
    if (now === before) {
      fromBefore.add(1, { after: 'change' });
      console.error(`${of}: still ${before} after a change`);
    }
  }
  sleep(0.1);
}

function changeBehind(data, of) {
  const answer = http.post(place(behind, of), changeBody, { headers: { 'Content-Type': 'application/json' }, tags: { name: 'behind' } });
  return answer.status < 300;
}

export function unseen(data) {
  const of = own(data);
  const before = valueOf(read(data, of, 0));
  // The clock of the gateway starts before the answer is here, that of this test after it.
  if (before === undefined || !changeBehind(data, of)) return;
  const since = Date.now();
  const givenUp = since + (fresh * 2 + 10) * 1000;
  for (let n = 0; ; n += 1) {
    const asked = Date.now();
    const now = valueOf(read(data, of, n));
    if (now !== undefined && now !== before) break;
    // Asked then, the answer was still the old one.
    unseenFor.add(asked - since);
    if (asked > givenUp) break;
    sleep(0.1);
  }
  unseenChanges.add(1);
}

export function purges(data) {
  const of = own(data);
  const n = exec.vu.iterationInScenario;
  const before = valueOf(read(data, of, n));
  if (before === undefined || !changeBehind(data, of)) return;
  const answer = http.post(`${admins[n % admins.length]}/cache/purge`, JSON.stringify({ account: of }), {
    headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${adminToken}` },
    tags: { name: 'purge' },
  });
  check(answer, { 'a purge is confirmed': (r) => r.status === 200 });
  if (answer.status !== 200) return;
  purged.add(1);
  if (!otherThan(before, data, of, n + 1)) {
    fromBefore.add(1, { after: 'purge' });
    console.error(`${of}: still ${before} after a purge`);
  }
  sleep(0.1);
}

export function handleSummary(data) {
  const skipped = 'not looked at: BEHIND is not given';
  return report(data, `cache: ${perSecond} reads a second of ${hot} accounts for ${duration} ${over}, fresh for ${fresh} s`, [
    ['hits', percent(share(data, 'hits'))],
    ['oldest hit', `${stat(data, 'age', 'max')} s`],
    ['changes', `${count(data, 'changes')}, each read at once afterwards`],
    ['purges', watchPurges ? `${count(data, 'purges')}, each read afterwards` : skipped],
    ['unseen changes', watchUnseen
      ? `${count(data, 'unseen_changes')}; the old answer was given for ${(stat(data, 'unseen_for', 'max') / 1000).toFixed(1)} s at most`
      : skipped],
    ['from before', `${count(data, 'from_before')} answers after a change or a purge`],
  ]);
}
