// Numbers, names and command lines as people read them.

const SYNTHETIC = "synthetic";

function costName(cost) {
  return cost.synthetic ? `${SYNTHETIC} ${cost.name}` : cost.name;
}

// Return a cost's name with its unit, for axes and the heads of tables.
function costTitle(cost) {
  return cost.sign ? `${costName(cost)}, ${cost.sign}` : costName(cost);
}

function accuracyTitle(accuracy) {
  return `${accuracy.label}, %`;
}

// Return a number in the cost's sign with 3 digits or more, without the sign.
function costNumber(cost, value) {
  if (Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return "∞";
  const number = value / cost.scale;
  if (cost.scale === 1 && cost.unit === "") return number.toLocaleString("en");
  const size = Math.abs(number);
  if (size > 0 && size < 0.1) return number.toFixed(Math.min(9, 2 - Math.floor(Math.log10(size))));
  return number.toFixed(size >= 100 ? 1 : size >= 10 ? 2 : 3);
}

function costText(cost, value) {
  return cost.sign ? `${costNumber(cost, value)} ${cost.sign}` : costNumber(cost, value);
}

function intervalText(cost, index) {
  if (!cost.high || Number.isNaN(cost.high[index])) return "";
  return `${costNumber(cost, cost.low[index])} to ${costNumber(cost, cost.high[index])}`;
}

// Return where a latency is from: measured, with its grade, or predicted; empty for costs that are computed.
function sourceText(table, cost, index) {
  if (!cost.measured || Number.isNaN(cost.values[index])) return "";
  if (!cost.measured[index]) return "predicted";
  const grade = cost.grades ? table.grades[cost.grades[index]] : "";
  return grade ? `measured, grade ${grade}` : "measured";
}

function accuracyText(value) {
  return Number.isNaN(value) ? "–" : value.toFixed(2);
}

function reachText(accuracy, index) {
  const reach = accuracyReach(accuracy, index);
  return reach > 0 && !Number.isNaN(accuracy.values[index]) ? `± ${reach.toFixed(2)}` : "";
}

function percentText(share) {
  return `${Number((100 * share).toFixed(Math.abs(share) < 0.01 ? 2 : 1))} %`;
}

function countText(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}

// Return what a limit says when it is read back: 4 digits, so that the number shown is the number that holds.
function roundedLimit(cost, value) {
  return Number((value / cost.scale).toPrecision(4));
}

// Return the command line that asks the same question: of the same devices, whether they are limited or not.
function searchCommand(table, limits, upperEnds) {
  const words = [table.command];
  for (const cost of table.costs) if (cost.unit === "ms") words.push(`--device ${quoted(cost.name)}`);
  const sure = [];
  table.costs.forEach((cost, place) => {
    if (limits[place] === null) return;
    const number = Number((limits[place] / cost.scale).toPrecision(12));
    words.push(`--constraint ${quoted(`${cost.name}<=${number}${cost.sign}`)}`);
    if (cost.high) sure.push(cost.coverage);
  });
  if (upperEnds && sure.length) words.push(`--confidence ${Math.min(...sure)}`);
  return words.join(" ");
}

// Return a word that a shell takes as it is.
function quoted(word) {
  if (/^[\w.:@%,+\/<=>-]+$/.test(word)) return `"${word}"`;
  return `'${word.replaceAll("'", "'\\''")}'`;
}

// Return the lines of a CSV file (RFC 4180) with everything known of some networks.
function csvText(table, indices) {
  const heads = ["index", "architecture", accuracyTitle(table.accuracy), ...table.shown.map(accuracyTitle)];
  for (const cost of table.costs) {
    const unit = cost.unit ? `_${cost.unit}` : "";
    heads.push(`${costName(cost)}${unit}`);
    if (cost.high) heads.push(`${costName(cost)}_low${unit}`, `${costName(cost)}_high${unit}`);
    if (cost.measured) heads.push(`${costName(cost)}_source`, `${costName(cost)}_grade`);
  }
  const number = (value) => (Number.isFinite(value) ? String(value) : ""); // an interval without an upper end has none here
  const rows = indices.map((i) => {
    const cells = [networkIndex(table.space, i), networkText(table.space, i)];
    for (const accuracy of [table.accuracy, ...table.shown]) cells.push(number(accuracy.values[i]));
    for (const cost of table.costs) {
      cells.push(number(cost.values[i]));
      if (cost.high) cells.push(number(cost.low[i]), number(cost.high[i]));
      if (cost.measured) {
        cells.push(Number.isNaN(cost.values[i]) ? "" : cost.measured[i] ? "measured" : "predicted");
        cells.push(cost.grades ? table.grades[cost.grades[i]] : "");
      }
    }
    return cells;
  });
  const cell = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  return [heads, ...rows].map((line) => `${line.map(cell).join(",")}\r\n`).join("");
}
