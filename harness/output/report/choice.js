// Which networks meet the limits, which of them is best, which are Pareto-optimal. Pure functions of typed arrays.

// Return the numbers that a limit on a cost is held against: the upper ends of its intervals where these must hold.
function heldNumbers(cost, upperEnds) {
  return upperEnds && cost.high ? cost.high : cost.values;
}

// Return for each network 1 where it has an accuracy, is like those that were measured, and meets every limit. `limits` holds for each cost a number, or null.
// What is unknown (NaN) meets no limit.
function meetingLimits(table, limits, upperEnds) {
  const meets = table.eligible.slice();
  table.costs.forEach((cost, place) => {
    const limit = limits[place];
    if (limit === null) return;
    const numbers = heldNumbers(cost, upperEnds);
    for (let i = 0; i < meets.length; i += 1) meets[i] &= numbers[i] <= limit;
  });
  return meets;
}

function countOnes(flags) {
  let count = 0;
  for (let i = 0; i < flags.length; i += 1) count += flags[i];
  return count;
}

// Return up to `count` of the networks in `meets`, the most accurate first. Of equally accurate ones the cheaper comes first by the
// first cost that is limited, then the earlier in canonical order.
function mostAccurate(table, limits, meets, count) {
  const accuracy = table.accuracy.values;
  const first = table.costs.find((_, place) => limits[place] !== null);
  const before = (a, b) => accuracy[b] - accuracy[a] || (first ? first.values[a] - first.values[b] : 0) || a - b;
  const best = [];
  for (let i = 0; i < meets.length; i += 1) {
    if (!meets[i] || (best.length === count && accuracy[i] < accuracy[best[count - 1]])) continue;
    let place = best.length;
    while (place > 0 && before(i, best[place - 1]) < 0) place -= 1;
    best.splice(place, 0, i);
    if (best.length > count) best.pop();
  }
  return best;
}

// Return the networks that have a cost and an accuracy, the cheapest first and of equally cheap ones the most accurate.
function cheapestFirst(table, cost) {
  const accuracy = table.accuracy.values, values = cost.values;
  const order = [];
  for (let i = 0; i < values.length; i += 1) {
    if (!Number.isNaN(values[i]) && !Number.isNaN(accuracy[i])) order.push(i);
  }
  return Uint32Array.from(order).sort((a, b) => values[a] - values[b] || accuracy[b] - accuracy[a] || a - b);
}

// Return the Pareto front of the networks in `meets`: each more accurate than all cheaper ones.
// Of networks equal in both the first in canonical order stands for all. `order` is that of `cheapestFirst`.
function paretoFront(table, order, meets) {
  const front = [];
  let best = -Infinity;
  for (const i of order) {
    if (!meets[i]) continue;
    if (table.accuracy.values[i] > best) {
      best = table.accuracy.values[i];
      front.push(i);
    }
  }
  return front;
}

// Return what it takes where no network meets the limits: {index, lacks, alone}, or null where too little is known.
//   index: the network whose largest excess over any limit is the least; of equal ones the most accurate
//   lacks: [{cost, limit, needed, share}] of the limits that it breaks
//   alone: the same of each limit that lets a network in when it alone is raised to `needed`, the nearest first
function nearestMiss(table, limits, upperEnds) {
  const limited = table.costs
    .map((cost, place) => ({ cost, place, limit: limits[place], numbers: heldNumbers(cost, upperEnds) }))
    .filter(({ limit }) => limit !== null);
  const { values } = table.accuracy;
  let index = -1, least = Infinity;
  for (let i = 0; i < table.networks; i += 1) {
    if (!table.eligible[i]) continue;
    let worst = -Infinity;
    for (const { cost, limit, numbers } of limited) {
      worst = Math.max(worst, Number.isNaN(numbers[i]) ? Infinity : excess(numbers[i], limit, cost));
    }
    if (worst < least || (worst === least && index >= 0 && values[i] > values[index])) [least, index] = [worst, i];
  }
  if (index < 0) return null;
  const lack = ({ cost, limit }, needed) => ({ cost, limit, needed, share: excess(needed, limit, cost) });
  const alone = [];
  for (const one of limited) {
    const meets = meetingLimits(table, limits.map((limit, place) => (place === one.place ? null : limit)), upperEnds);
    let needed = Infinity;
    for (let i = 0; i < meets.length; i += 1) if (meets[i] && one.numbers[i] < needed) needed = one.numbers[i];
    if (needed < Infinity) alone.push(lack(one, needed));
  }
  return {
    index,
    lacks: limited.filter(({ numbers, limit }) => numbers[index] > limit).map((one) => lack(one, one.numbers[index])),
    alone: alone.sort((a, b) => a.share - b.share),
  };
}

// Return by what share of the limit a number is above it; of a limit that is not positive, by what share of the least cost.
function excess(number, limit, cost) {
  return (number - limit) / (limit > 0 ? limit : Math.abs(cost.least) || 1);
}

// Return half of the interval that a network's accuracy has over training seeds, in points; 0 where their scatter is not known.
function accuracyReach(accuracy, index) {
  return accuracy.seed_sd === null ? 0 : (accuracy.z * accuracy.seed_sd) / Math.sqrt(Math.max(accuracy.seedCounts[index], 1));
}

// Say whether a network's accuracy cannot be told from the best one's: equal, or their intervals over training seeds overlap.
function tiesWith(accuracy, index, best) {
  const least = accuracy.values[best] - accuracyReach(accuracy, best);
  return accuracy.values[index] + accuracyReach(accuracy, index) >= least;
}
