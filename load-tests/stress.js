// Steps up until the gateway sheds load or the rate asked for is reached, then goes back to the first
// step. What is refused is refused cleanly, nothing else goes wrong, and afterwards all is as before.

import { bound, common, count, number, over, rate, report, seconds, text, times } from './lib.js';

export { setup, read as default } from './overload.js';

const top = rate('RATE', 1000);
const steps = number('STEPS', 5);
const step = text('STEP', '5s');
const base = Math.max(1, Math.round(top / steps / 4));
// Seconds for what the climb left behind.
const settle = number('SETTLE', 3);
const after = text('RECOVERY', '10s');
const climb = seconds(step) * steps;
const vus = number('VUS', 150);
const p99 = bound('P99', 500);

export const options = {
  ...common,
  scenarios: {
    climb: {
      executor: 'ramping-arrival-rate',
      tags: { phase: 'climb' },
      startRate: base,
      timeUnit: '1s',
      preAllocatedVUs: vus,
      // Up at once, then even: each step is a load of its own.
      stages: Array.from({ length: steps }, (_, n) => {
        const target = Math.round((top * (n + 1)) / steps);
        return [{ target, duration: '0s' }, { target, duration: step }];
      }).flat(),
      gracefulStop: '30s',
    },
    after: {
      executor: 'constant-arrival-rate',
      tags: { phase: 'after' },
      startTime: `${climb + settle}s`,
      rate: base,
      timeUnit: '1s',
      duration: after,
      preAllocatedVUs: vus,
    },
  },
  thresholds: {
    unclean: ['count==0'],
    served: ['count>0'],
    'served{phase:after}': [`count>=${Math.floor(base * seconds(after) * 0.98)}`],
    'shed{phase:after}': ['count==0'],
    'http_req_duration{phase:after}': [`p(99)<${p99}`],
    // For the summary.
    'http_req_duration{phase:climb}': [],
  },
};

export function handleSummary(data) {
  const dropped = count(data, 'dropped_iterations');
  let end = 'the rate asked for was reached, and nothing was refused';
  if (count(data, 'shed') > 0) end = 'the gateway shed load';
  else if (dropped > 0) end = 'neither shed nor reached: all virtual users waited. More VUS, or a lower RATE, say more';
  return report(data, `stress: ${steps} steps of ${step} up to ${top} requests a second ${over}`, [
    ['end', end],
    ['served', count(data, 'served')],
    ['refused cleanly', count(data, 'shed')],
    ['anything else', count(data, 'unclean')],
    ['climbing', times(data, 'http_req_duration{phase:climb}')],
    [`after, ${base} a second`, times(data, 'http_req_duration{phase:after}')],
  ]);
}
