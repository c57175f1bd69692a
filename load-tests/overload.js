// What the tests of more than a gateway takes have in common: reads of one path, each of which is
// served, refused cleanly, or something else, which is wrong.

import http from 'k6/http';
import exec from 'k6/execution';
import { Counter } from 'k6/metrics';
import { account, clients, gateway, isCleanRefusal, params, place, run, text, tokens } from './lib.js';

const path = text('READ_PATH', '/accounts/{account}/transactions');
const callers = clients(5);

const served = new Counter('served');
const shed = new Counter('shed');
const unclean = new Counter('unclean');

http.setResponseCallback(http.expectedStatuses({ min: 200, max: 299 }, 429, 503));

export function setup() {
  return { tokens: tokens(callers), run: run() };
}

export function read({ tokens: all, run: id }) {
  const n = exec.scenario.iterationInTest;
  const answer = http.get(
    `${gateway(n)}${place(path, account(id, n % 1000))}`,
    params(all[n % callers], { name: 'read' }),
  );
  if (answer.status >= 200 && answer.status < 300) {
    served.add(1);
  } else if (isCleanRefusal(answer)) {
    shed.add(1);
  } else {
    unclean.add(1);
    console.error(`${answer.status} ${answer.error} ${answer.headers['Content-Type'] || ''} ${answer.body || ''}`);
  }
}
