// A quiet load, all at once ten times as much, and quiet again. During the spike nothing goes wrong but
// clean refusals; after it requests take as long as before.

import { bound, common, count, number, over, rate, report, seconds, text, times } from './lib.js';

export { setup, read as default } from './overload.js';

const base = rate('RATE', 30);
const factor = number('FACTOR', 10);
const quiet = text('QUIET', '8s');
const peak = text('PEAK', '6s');
const vus = number('VUS', 100);
const p99 = bound('P99', 400);
const settle = number('SETTLE', 1);
const quietLeast = Math.floor(base * seconds(quiet) * 0.98);

const scenario = (phase, perSecond, start, duration, users) => ({
  executor: 'constant-arrival-rate',
  tags: { phase },
  startTime: `${start}s`,
  rate: perSecond,
  timeUnit: '1s',
  duration,
  preAllocatedVUs: users,
  // What is in progress at the end of a phase belongs to it.
  gracefulStop: '30s',
});

export const options = {
  ...common,
  scenarios: {
    before: scenario('before', base, 0, quiet, Math.max(50, base)),
    spike: scenario('spike', base * factor, seconds(quiet), peak, vus),
    // So long may what the spike left behind take.
    after: scenario('after', base, seconds(quiet) + seconds(peak) + settle, quiet, Math.max(50, base)),
  },
  thresholds: {
    unclean: ['count==0'],
    'served{phase:before}': [`count>=${quietLeast}`],
    'served{phase:spike}': ['count>0'],
    'served{phase:after}': [`count>=${quietLeast}`],
    'shed{phase:before}': ['count==0'],
    'shed{phase:after}': ['count==0'],
    'http_req_duration{phase:before}': [`p(99)<${p99}`],
    'http_req_duration{phase:after}': [`p(99)<${p99}`],
    'http_req_duration{phase:spike}': [`p(99)<${bound('SPIKE_P99', 5000)}`],
  },
};

export function handleSummary(data) {
  return report(data, `spike: ${base} requests a second, ${base * factor} for ${peak}, ${base} again, ${over}`, [
    ['served', `${count(data, 'served{phase:spike}')} in the spike`],
    ['refused cleanly', count(data, 'shed')],
    ['anything else', count(data, 'unclean')],
    ['before', times(data, 'http_req_duration{phase:before}')],
    ['spike', times(data, 'http_req_duration{phase:spike}')],
    ['after', times(data, 'http_req_duration{phase:after}')],
  ]);
}
