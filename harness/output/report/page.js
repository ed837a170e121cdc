// The page: reads the table, listens to the limits, and shows the choice that follows from them.

const MOST_ROWS = 1000; // of the table of known networks: a page of tens of thousands opens
const PLOT_DELAY_MS = 60; // plots wait until a slider rests so long; answer, counts and tables do not
const BEST_ROWS = 20;

const table = readTable(byId("report-data").textContent);
const state = { limits: table.costs.map((cost) => cost.limit), upperEnds: table.upper_ends, shown: 0 };
const orders = new Map(); // networks by a cost, sorted when it is first shown
let plotTimer = 0;
let wanted = null; // what is to be drawn next
let drawing = false;

function orderOf(cost) {
  if (!orders.has(cost)) orders.set(cost, cheapestFirst(table, cost));
  return orders.get(cost);
}

function timed(name, begin) {
  performance.measure(`harness-${name}`, { start: begin, end: performance.now() });
}

function choose() {
  const meets = meetingLimits(table, state.limits, state.upperEnds);
  const best = mostAccurate(table, state.limits, meets, BEST_ROWS);
  const cost = table.costs[state.shown];
  return {
    meets,
    best,
    count: countOnes(meets),
    limited: state.limits.some((limit) => limit !== null),
    front: cost ? paretoFront(table, orderOf(cost), meets) : [],
    miss: best.length ? null : nearestMiss(table, state.limits, state.upperEnds),
  };
}

function refresh() {
  const begin = performance.now();
  const choice = choose();
  timed("choice", begin);
  const cost = table.costs[state.shown];
  fillAnswer(byId("answer"), table, choice);
  const ties = (index) => (index !== choice.best[0] && tiesWith(table.accuracy, index, choice.best[0]) ? tieMark() : "");
  fillNetworks(byId("best"), table, choice.best, ties);
  const starred = (index) => (index === choice.best[0] ? element("span", { class: "star", title: "the answer" }, " ★") : "");
  fillNetworks(byId("front"), table, choice.front, starred);
  byId("front-title").textContent = cost ? `Pareto front by ${costName(cost)}` : "Pareto front";
  byId("front-note").textContent = cost
    ? `${countText(choice.front.length, table.noun)} within the limits, each more accurate than every cheaper one; cost: ${cost.title}.`
    : "";
  byId("download").disabled = choice.front.length === 0;
  byId("download").onclick = () => download(choice.front, cost);
  byId("command").textContent = searchCommand(table, state.limits, state.upperEnds);
  timed("refresh", begin);
  wanted = { choice, cost };
  document.documentElement.dataset.plots = "behind";
  clearTimeout(plotTimer);
  plotTimer = setTimeout(drawLatest, PLOT_DELAY_MS);
}

// Draw what was chosen last; a choice made meanwhile is drawn after it, and those between never.
async function drawLatest() {
  if (drawing) return;
  drawing = true;
  try {
    while (wanted) {
      const { choice, cost } = wanted;
      wanted = null;
      if (cost) await draw(choice, cost);
    }
    document.documentElement.dataset.plots = "current";
  } finally {
    drawing = false;
  }
}

async function draw(choice, cost) {
  const begin = performance.now();
  const order = orderOf(cost);
  const count = await drawMain(table, cost, state.limits[state.shown], choice, order);
  byId("plot-note").textContent = plotNote(cost, order.length, count);
  const panels = table.costs.flatMap((one, place) => {
    const target = byId(`panel-${place}`);
    if (!target) return [];
    const whole = paretoFront(table, orderOf(one), table.eligible);
    const front = paretoFront(table, orderOf(one), choice.meets);
    return [{ cost: one, target, limit: state.limits[place], whole, front }];
  });
  await drawPanels(table, panels, choice);
  timed("draw", begin);
}

function plotNote(cost, known, drawn) {
  const missing = table.networks - known;
  const sentences = [];
  if (drawn < known) {
    sentences.push(
      `This browser has no WebGL: a sample of ${drawn.toLocaleString("en")} of ${countText(known, "network")} is drawn; ` +
        "front, answer and tables are of all.",
    );
  } else {
    sentences.push(`${countText(drawn, "network")} drawn.`);
  }
  if (missing) sentences.push(`${countText(missing, "network")} without an accuracy or without ${costName(cost)} are left out.`);
  return sentences.join(" ");
}

function tieMark() {
  return element("span", { class: "tie", title: "ties with the best within the noise of training seeds" }, " ≈");
}

function bestNote() {
  const { seed_sd: sd, seeds } = table.accuracy;
  if (sd === null) {
    return "≈ ties with the best: equal. How much an accuracy changes with the training seed is not known here, so that others may tie too.";
  }
  return (
    `≈ ties with the best: the 95 % intervals over training seeds (±) overlap. From one seed to the next an accuracy changes by ` +
    `${sd.toFixed(2)} points (standard deviation${seeds.length > 1 ? `, of ${seeds.length} seeds` : ""}).`
  );
}

function download(indices, cost) {
  const file = new Blob([csvText(table, indices)], { type: "text/csv;charset=utf-8" });
  const word = table.anySynthetic ? `${SYNTHETIC}-` : "";
  const link = element("a", { download: `${word}front-${cost.name.replace(/[^\w.-]+/g, "-")}.csv` });
  link.href = URL.createObjectURL(file);
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

async function copyCommand() {
  const button = byId("copy-command");
  try {
    await navigator.clipboard.writeText(byId("command").textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(byId("command")); // where pages may not copy, one key does
    button.textContent = "Selected: press Ctrl+C";
  }
  setTimeout(() => { button.textContent = "Copy the command"; }, 2000);
}

function fillHead() {
  const { space, accuracy, costs } = table;
  const devices = costs.filter((cost) => cost.unit === "ms").map(costName);
  const known = accuracy.known === space.networks ? "" : `, known of ${accuracy.known.toLocaleString("en")}`;
  const of = table.isPart ? ` of the ${space.size}` : "";
  byId("about").textContent =
    `${countText(space.networks, table.noun)}${of} of the space ${space.name}; ` +
    `${accuracy.known ? `accuracy: ${accuracy.label}${known}` : "no accuracies"}; ` +
    `${devices.length ? `latencies on ${devices.join(", ")}` : "no latencies"}; made ${table.made_utc}`;
  byId("synthetic").hidden = !table.anySynthetic;
  const made = [accuracy, ...table.shown, ...costs].filter((one) => one.synthetic).map((one) => one.name ?? one.label);
  byId("synthetic").replaceChildren(
    element("strong", {}, "Synthetic. "),
    `Made up to try things out, not measured and not trained: ${made.join(", ")}. Draw no conclusion from what depends on it.`,
  );
  byId("versions").textContent = table.versions.map(([name, version]) => `${name} ${version}`).join(", ");
}

function fillLegend() {
  const item = (kind, text) => element("li", { class: kind }, text);
  const anyMeasured = table.costs[state.shown]?.measured;
  byId("legend").replaceChildren(
    item("predicted", anyMeasured ? "predicted" : "network"),
    ...(anyMeasured ? [item("measured", "measured")] : []),
    item("dimmed", table.supported.every((one) => one) ? "outside the limits" : "left out"),
    item("front", "Pareto front"),
    item("best", "answer"),
  );
}

// Of a space too large to list, show all networks that the page has; of such without accuracies nothing is chosen.
function fillKnown() {
  byId("known").hidden = !table.isPart;
  byId("command-row").hidden = table.isPart;
  byId("devices-of").textContent = `${table.noun}s`;
  for (const id of ["choice", "best-section", "front-section"]) byId(id).hidden = !table.isRanked;
  if (!table.isPart) return;
  byId("best-title").textContent = "Most accurate known network within the limits";
  const cost = table.costs[0];
  const order = [...Array(table.networks).keys()];
  order.sort((a, b) => cost.values[a] - cost.values[b]);
  const first = cost.unit === "ms" ? "the fastest" : `the least ${costName(cost)}`;
  const cut = table.networks > MOST_ROWS
    ? ` Listed are the first ${MOST_ROWS.toLocaleString("en")} of ${countText(table.networks, "network")}; limits, plots and front have all.`
    : "";
  byId("known-note").textContent =
    `Those that were measured or have an accuracy, ${first} first; of all others of the space nothing is said.${cut}`;
  fillNetworks(byId("known-networks"), table, order.slice(0, MOST_ROWS), () => "");
}

function begin() {
  fillHead();
  fillConditions(table);
  fillNotes(table);
  fillKnown();
  if (!table.isRanked) {
    document.documentElement.dataset.plots = "current";
    return;
  }
  byId("best-note").textContent = bestNote();
  fillLimits(table, state.limits, (place, limit) => {
    state.limits[place] = limit;
    refresh();
  });
  byId("clear").addEventListener("click", () => {
    emptyLimits(table);
    state.limits.fill(null);
    refresh();
  });
  fillSwitch(table);
  byId("upper").checked = state.upperEnds;
  byId("upper").addEventListener("change", () => {
    state.upperEnds = byId("upper").checked;
    refresh();
  });
  byId("shown").replaceChildren(...table.costs.map((cost, place) => element("option", { value: place }, cost.axis)));
  byId("shown").addEventListener("change", () => {
    state.shown = Number(byId("shown").value);
    fillLegend();
    refresh();
  });
  const latencies = table.costs.flatMap((cost, place) => (cost.unit === "ms" ? [place] : []));
  byId("devices").hidden = latencies.length < 2;
  if (latencies.length > 1) {
    byId("panels").replaceChildren(
      ...latencies.map((place) => element("figure", {}, element("div", { id: `panel-${place}`, class: "plot" }))),
    );
  }
  byId("copy-command").addEventListener("click", copyCommand);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", refresh);
  addEventListener("scroll", () => { byId("tip").hidden = true; }, { passive: true });
  fillLegend();
  refresh();
}

begin();
