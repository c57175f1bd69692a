// A moderate load for long over accounts that come again and again: nothing may grow but time. With
// ADMIN the gateways' memory and open files are watched, and whether they panicked or were started again.

import http from 'k6/http';
import exec from 'k6/execution';
import { Counter, Rate, Trend } from 'k6/metrics';
import {
  account, bound, clients, common, count, gateway, isHit, list, nameOf, number, over, params, percent, place, rate,
  report, run, seconds, share, stat, steady, text, times, tokens,
} from './lib.js';

const paths = list('PATHS', ['/accounts/{account}/summary', '/accounts/{account}/balance', '/accounts/{account}/transactions']);
const perSecond = rate('RATE', 50);
const duration = text('DURATION', '20m');
const accounts = number('ACCOUNTS', 500);
const callers = clients(5);
const admins = list('ADMIN').map((url) => url.replace(/\/$/, ''));
// Caches fill and pools open: what is held at the end of the first fifth is what the rest is measured by.
const warm = number('WARMUP', 0.2);
const looks = text('LOOK_EVERY', '5s');
const p99 = bound('P99', 400);

const watching = {
  executor: 'constant-arrival-rate',
  exec: 'watch',
  rate: 1,
  timeUnit: looks,
  duration,
  preAllocatedVUs: 1,
};

export const options = {
  ...common,
  scenarios: {
    steady: steady(perSecond, duration),
    ...(admins.length > 0 ? { watch: watching } : {}),
  },
  thresholds: {
    http_req_failed: [`rate<=${number('FAILED', 0.0001)}`],
    iterations: [`count>=${Math.floor(perSecond * seconds(duration) * 0.98)}`],
    'http_req_duration{part:first}': [`p(99)<${p99}`],
    'http_req_duration{part:last}': [`p(99)<${p99}`],
    ...(admins.length > 0 ? {
      memory_growth_mib: [`max<${number('GROWTH', 64)}`],
      open_files_growth: [`max<${number('FILES', 100)}`],
      looks_after_warmup: [`count>=${Math.max(1, Math.floor((seconds(duration) / seconds(looks)) * (1 - warm) * 0.8)) * admins.length}`],
      panics: ['count==0'],
      restarts: ['count==0'],
    } : {}),
  },
};

const fromCache = new Rate('from_cache');
const refused = new Rate('refused');
const memory = new Trend('memory_mib');
const memoryGrowth = new Trend('memory_growth_mib');
const filesGrowth = new Trend('open_files_growth');
const looksAfterWarmup = new Counter('looks_after_warmup');
const panics = new Counter('panics');
const restarts = new Counter('restarts');

// The summary's quota is used up soon: from then on its refusals are part of the load.
http.setResponseCallback(http.expectedStatuses({ min: 200, max: 299 }, 429));

export function setup() {
  return { tokens: tokens(callers), run: run() };
}

export default function ({ tokens: all, run: id }) {
  const n = exec.scenario.iterationInTest;
  const path = paths[n % paths.length];
  const a = Math.floor(n / paths.length) % accounts;
  const progress = exec.scenario.progress;
  const tags = { name: nameOf(path) };
  if (progress >= warm && progress < 0.5 + warm / 2) tags.part = 'first';
  if (progress >= 0.5 + warm / 2) tags.part = 'last';
  const answer = http.get(
    `${gateway(n)}${place(path, account(id, a))}`,
    { ...params(all[a % callers], tags), responseType: 'none' },
  );
  fromCache.add(isHit(answer));
  refused.add(answer.status === 429);
}

// One virtual user does all the looking, so that what it saw first stays in its memory.
const first = {};

function look(at) {
  const page = http.get(`${at}/metrics`, { tags: { name: 'metrics' } });
  if (page.status !== 200) {
    console.error(`${at}/metrics: ${page.status} ${page.error}`);
    return;
  }
  // Sums over labels.
  const read = (metric) => {
    const values = [...page.body.matchAll(new RegExp(`^${metric}(?:\\{[^}]*\\})? ([0-9.eE+]+)`, 'gm'))];
    return values.reduce((sum, [, value]) => sum + Number(value), 0);
  };
  const now = {
    memory: read('process_resident_memory_bytes') / 1048576,
    files: read('process_open_fds'),
    started: read('process_start_time_seconds'),
    panics: read('tollgate_panics_total'),
  };
  memory.add(now.memory);
  const seen = first[at] || now;
  first[at] = seen;
  if (now.started !== seen.started) restarts.add(1);
  if (now.panics > seen.panics) panics.add(now.panics - seen.panics);
  Object.assign(seen, { started: now.started, panics: now.panics });
  if (exec.scenario.progress < warm) {
    seen.memory = Math.max(seen.memory, now.memory);
    seen.files = Math.max(seen.files, now.files);
    return;
  }
  memoryGrowth.add(now.memory - seen.memory);
  filesGrowth.add(now.files - seen.files);
  looksAfterWarmup.add(1);
}

export function watch() {
  admins.forEach(look);
}

export function handleSummary(data) {
  const grown = (metric, unit) => `${stat(data, metric, 'max').toFixed(0)}${unit} more than in the first ${percent(warm)}, at most`;
  return report(data, `soak: ${perSecond} requests a second for ${duration} ${over}, ${accounts} accounts again and again`, [
    ['first half', times(data, 'http_req_duration{part:first}')],
    ['last half', times(data, 'http_req_duration{part:last}')],
    ['from cache', percent(share(data, 'from_cache'))],
    ['quota used up', percent(share(data, 'refused'))],
    ...(admins.length > 0 ? [
      ['memory', `${stat(data, 'memory_mib', 'max').toFixed(0)} MiB at most; ${grown('memory_growth_mib', ' MiB')}`],
      ['open files', grown('open_files_growth', '')],
      ['panics, restarts', `${count(data, 'panics')}, ${count(data, 'restarts')}`],
    ] : [['memory', 'not watched: ADMIN is not given']]),
  ]);
}
